"""Where the settings come from: files, the environment, the command line, in this order; the later wins.

Each source is validated by itself, before they are put together. So every fault is found, also one that a stronger source
would hide, and each is reported with the source it stands in.
"""

import os
import reprlib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import override

from superd import __version__
from superd.settings import Settings
from superd_client.instances import Instance

DEFAULT_CONFIG: Final = Path("/etc/superd/superd.toml")
ENVIRONMENT_PREFIX: Final = "SUPERD_"
CONFIG_VARIABLE: Final = "SUPERD_CONFIG"

#: Settings that there were once: since which version there are no more, and what to write now. Files of an older superd have them.
RETIRED: Final[Mapping[str, str]] = MappingProxyType({})

#: Variables with the prefix that are no settings: the client's address, and the path of the file.
OTHER_VARIABLES: Final = frozenset({"SUPERD_SOCKET", CONFIG_VARIABLE})

#: Characters of a wrong value that an error repeats.
VALUE_SHOWN_MAX: Final = 40

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = _shorten.maxlong = VALUE_SHOWN_MAX


class Problem(NamedTuple):
    """One fault: where it stands (a file, "environment", "command line"), the dotted key, what is wrong."""

    source: str
    key: str
    message: str

    @override
    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.key, self.message) if part)


class SettingsError(Exception):
    """The settings cannot be used. Carries all faults of all sources; one line each as text."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class _Layer(NamedTuple):
    source: str
    values: Mapping[str, object]


def load_settings(
    *,
    config: Path | None = None,
    instance: Instance = Instance(),  # noqa: B008 - a tuple
    overrides: Mapping[str, object] = MappingProxyType({}),
) -> Settings:
    """The settings of all sources: file, its drop-ins, environment, `overrides`; the later wins.

    `instance` says which file is the default; one that has a name must have the file. `config` replaces it and must
    exist; so must the file that SUPERD_CONFIG names. `overrides` are the command line; None in it means absent. Raises
    SettingsError with every fault of every source.
    """
    problems: list[Problem] = []
    layers = [*_file_layers(config, instance, problems), _environment_layer(problems)]
    layers.append(
        _Layer("command line", {key: value for key, value in overrides.items() if value is not None})
    )
    parts = [_validate(layer, problems) for layer in layers]
    if problems:
        raise SettingsError(problems)
    return _merge(instance, parts)


def _merge(instance: Instance, parts: Iterable[Settings]) -> Settings:
    """Put validated layers together: the last one that sets a field wins; services add up."""
    merged: dict[str, Any] = {}
    for part in parts:
        services = _unique((*merged.get("services", ()), *part.services))
        merged |= {name: getattr(part, name) for name in part.model_fields_set}
        merged["services"] = services
    return Settings.of_instance(instance).model_copy(update=merged)


def _validate(layer: _Layer, problems: list[Problem]) -> Settings:
    """The layer as settings; its faults go to `problems`."""
    unknown = [key for key in layer.values if key not in Settings.model_fields]
    problems.extend(Problem(layer.source, key, _unknown_key(key)) for key in unknown)
    try:
        return Settings.model_validate(
            {key: value for key, value in layer.values.items() if key not in unknown}
        )
    except ValidationError as error:
        problems.extend(_as_problem(layer.source, fault) for fault in error.errors(include_url=False))
        return Settings()


def _as_problem(source: str, fault: ErrorDetails) -> Problem:
    key = ".".join(map(str, fault["loc"]))
    message = fault["msg"].removeprefix("Input ")
    return Problem(source, key, f"{message} (got {_shorten.repr(fault['input'])})")


def _unknown_key(key: str, prefix: str = "") -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only for a wrong key, and no start waits for it

    retired = RETIRED.get(key.lower())
    if retired is not None:
        return f"there is no such key any more: {retired}"
    near = get_close_matches(key.lower(), Settings.model_fields, n=1)
    if not near:
        return f"unknown key; this is superd {__version__}, and a newer one may have it"
    name = f"{prefix}{near[0]}"
    return f"unknown key; did you mean {name.upper() if prefix else name}? (this is superd {__version__})"


def _file_layers(config: Path | None, instance: Instance, problems: list[Problem]) -> list[_Layer]:
    """The file and its drop-ins, `superd.toml` and `superd.d/*.toml` beside it, in lexical order."""
    named = config if config is not None else os.environ.get(CONFIG_VARIABLE) or None
    path = Path(named) if named is not None else _default_config(instance)
    # The plain superd is of use without one; an instance is there for what its file says, and a name can be misspelt.
    main = _read_file(path, problems, must_exist=named is not None or bool(instance.name))
    drop_ins = (_read_file(each, problems, must_exist=True) for each in _list_drop_ins(path, problems))
    return [main, *drop_ins]


def _default_config(instance: Instance) -> Path:
    return Path(instance.config_path) if instance != Instance() else DEFAULT_CONFIG


def _list_drop_ins(path: Path, problems: list[Problem]) -> list[Path]:
    folder = path.with_suffix(".d")
    try:
        return sorted(each for each in folder.iterdir() if each.suffix == ".toml")
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(Problem(str(folder), "", f"cannot be read: {error.strerror}"))
        return []


def _read_file(path: Path, problems: list[Problem], *, must_exist: bool) -> _Layer:
    """The keys of one TOML file; none, and a problem, where it cannot be read."""
    try:
        return _Layer(str(path), tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        fault = "no such file" if must_exist else None
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        fault = f"is not UTF-8 at byte {error.start}"
    except tomllib.TOMLDecodeError as error:
        fault = f"is not TOML: {error}"
    except RecursionError:
        fault = "is not TOML: nested too deep"
    if fault is not None:
        problems.append(Problem(str(path), "", fault))
    return _Layer(str(path), {})


def _environment_layer(problems: list[Problem]) -> _Layer:
    """The SUPERD_ variables; unknown ones are problems, so that a misspelt one is not a silent no-op."""
    fields = {f"{ENVIRONMENT_PREFIX}{field.upper()}": field for field in Settings.model_fields}
    ours = sorted(name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX))
    for name in ours:
        if name not in fields and name not in OTHER_VARIABLES:
            key = name.removeprefix(ENVIRONMENT_PREFIX)
            problems.append(Problem("environment", name, _unknown_key(key, ENVIRONMENT_PREFIX)))
    # The raw strings: each field parses its own.
    return _Layer("environment", {fields[name]: os.environ[name] for name in ours if name in fields})


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
