"""The prompt of the shell: line editing, history, completion; plain where Python has no readline."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Final, Self

from superd.ctl.interface import Interface, read_interface
from superd.ctl.session import Session
from superd_client.errors import SuperdError

try:
    import readline as _readline
except ImportError:  # Python can be built without it
    readline: ModuleType | None = None
else:
    readline = _readline

#: Lines of history that are kept.
HISTORY_MAX: Final = 1000

#: Commands that a method's name may follow.
_BEFORE_METHODS: Final = frozenset({"call", "notify", "describe", "list"})


#: What says which connections are meant.
_SELECTION: Final = ("--uid ", "--unit ")

#: Options that follow a command which takes no method.
_OPTIONS: Final = {"peers": _SELECTION, "kick": _SELECTION, "drain": (*_SELECTION, "--wait ")}


def history_path() -> Path:
    """Where the history is: $XDG_STATE_HOME, see the XDG Base Directory Specification."""
    state = os.environ.get("XDG_STATE_HOME", "")
    # The specification says to ignore a path that is not absolute.
    home = Path(state) if state.startswith("/") else Path("~/.local/state").expanduser()
    return home / "superd" / "history"


class Prompt:
    """Reads lines from a person. A context manager: it loads the history and saves it."""

    def __init__(self, text: str, session: Session, words: Sequence[str]) -> None:
        """Show `text`; complete `words` and the names that the server offers."""
        self._text = text
        self._completer = Completer(session, words)
        self._read = 0

    def __enter__(self) -> Self:
        """Set line editing up."""
        if readline is not None:
            readline.set_completer_delims(" \t\n")
            readline.set_completer(self._completer)
            is_libedit = "libedit" in (readline.__doc__ or "")
            readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
            # The history is a convenience: a home that cannot be read must not cost the shell.
            with contextlib.suppress(OSError):
                readline.read_history_file(history_path())
        return self

    def read(self) -> str:
        """One line; raises EOFError at its end."""
        line = input(self._text)
        self._read += bool(line)
        return line

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Save what was typed."""
        if readline is not None:
            readline.set_completer(None)
            # Nor must one that cannot be written.
            with contextlib.suppress(OSError):
                _save_history(readline, self._read)


def _save_history(editor: ModuleType, lines: int) -> None:
    """Append the last `lines` lines. Params may be private: nobody else reads the file."""
    if not lines:
        return
    path = history_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    editor.set_history_length(HISTORY_MAX)
    if hasattr(editor, "append_history_file"):
        editor.append_history_file(min(lines, editor.get_current_history_length()), path)
    else:
        editor.write_history_file(path)


class Completer:
    """What readline asks for the words that may stand at the cursor."""

    def __init__(self, session: Session, words: Sequence[str]) -> None:
        """Know the commands; the methods are asked for at the first Tab."""
        self._session = session
        self._words = words
        self._found: list[str] = []

    def __call__(self, text: str, state: int) -> str | None:
        """The candidate number `state` for `text`; None after the last."""
        if state == 0:
            before = (
                readline.get_line_buffer()[: readline.get_begidx()].split() if readline is not None else []
            )
            self._found = self.candidates(text, before)
        return self._found[state] if state < len(self._found) else None

    def candidates(self, text: str, before: Sequence[str]) -> list[str]:
        """The words that begin with `text`, where `before` stands in front of them."""
        interface = self._interface()
        methods = [f"{method.name} " for method in interface.methods] if interface is not None else []
        if not before:
            known = [f"{word} " for word in self._words] + methods
        elif before == [before[0]] and before[0] in _BEFORE_METHODS:
            known = methods
        elif before[0] in _OPTIONS:
            known = [option for option in _OPTIONS[before[0]] if option.rstrip() not in before]
        elif before[0] == "help" and len(before) == 1:
            known = [f"{word} " for word in self._words]
        else:
            known = _keys(interface, before)
        # readline writes them as they are.
        return [word for word in known if word.startswith(text) and word.isprintable()]

    def _interface(self) -> Interface | None:
        """What the server offers; None where it does not say. A Tab must not fail."""
        try:
            return read_interface(self._session.document(timeout=1))
        except SuperdError:
            return None


def _keys(interface: Interface | None, before: Sequence[str]) -> list[str]:
    """The params of the method that the line calls and that it does not give yet."""
    name = before[1] if before[0] in {"call", "notify"} and len(before) > 1 else before[0]
    method = interface.find(name) if interface is not None else None
    given = {word.partition("=")[0].removesuffix(":") for word in before}
    params = method.params if method is not None else ()
    return [key for param in params if param.name not in given for key in _key(param.name, param.json_schema)]


def _key(name: str, schema: Any) -> Iterator[str]:
    """How to begin the param; nothing for a descriptor, which an option gives."""
    if not isinstance(schema, dict):
        yield f"{name}:="
    elif schema.get("x-superd-type") != "fd":
        yield f"{name}=" if schema.get("type") == "string" else f"{name}:="
