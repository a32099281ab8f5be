"""What an operator may set, read at the start and at each reload. `docs/reference/configuration.md` is the manual.

Each source (file, environment, command line) is validated by itself, before they are put together. So every
fault is found, also one that a stronger source would hide, and each is reported with the source it stands in.
"""

import json
import os
import re
import reprlib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    PrivateAttr,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import override

from superd import __version__
from superd.quota import (
    BYTES_SHARED_DEFAULT,
    CALLS_SHARED_DEFAULT,
    CONNECTIONS_DEFAULT,
    DESCRIPTORS_SHARED_DEFAULT,
    STREAMS_SHARED_DEFAULT,
)
from superd.timespan import parse_span
from superd_client.instances import Instance
from superd_client.polling import Latency
from superd_client.wire.limits import (
    CALLS_IN_FLIGHT_DEFAULT,
    FRAME_SIZE_DEFAULT,
    FRAME_SIZE_MAX,
    FRAME_SIZE_MIN,
    IDEMPOTENCY_AGE_DEFAULT,
    IDEMPOTENCY_BYTES_DEFAULT,
    IDEMPOTENCY_ENTRIES_DEFAULT,
    STREAMS_DEFAULT,
    WRITE_BUFFER_DEFAULT,
)

DEFAULT_CONFIG: Final = Path("/etc/superd/superd.toml")
DEFAULT_POLICY_DIR: Final = "/etc/superd/policy.d"
ENVIRONMENT_PREFIX: Final = "SUPERD_"
CONFIG_VARIABLE: Final = "SUPERD_CONFIG"

#: Settings that there were once: since which version there are no more, and what to write now. Files of an older superd have them.
RETIRED: Final[Mapping[str, str]] = MappingProxyType({})

#: Variables with the prefix that are no settings: the client's address, and the path of the file.
OTHER_VARIABLES: Final = frozenset({"SUPERD_SOCKET", CONFIG_VARIABLE})

#: Threads for plain `def` handlers. They are for blocking work; more of them wait for the GIL, not the disk.
WORKER_THREADS_DEFAULT: Final = 8

#: Seconds for running calls to end after SIGTERM: a call's default time-out is 25 s (as D-Bus), and systemd
#: kills after 90 s (DefaultTimeoutStopSec=).
DRAIN_TIMEOUT_DEFAULT: Final = 30.0

#: A user may have one frame received whatever others hold; below a megabyte there would be little to share.
TOTAL_BYTES_MIN: Final = 1024 * 1024

#: Seconds without anything to do before superd may end. systemd fails a socket that starts its service 20 times in two seconds
#: (TriggerLimitBurst= of systemd.socket(5)): with this it is twice at most.
IDLE_EXIT_MIN: Final = 1.0

#: A day. Timers of the event loop are exact up to here, and a longer drain is a typing error.
DRAIN_TIMEOUT_MAX: Final = 86_400.0

#: Seconds without a byte read by a peer for which replies wait. A process that is stopped in a debugger, or waits for a
#: disk, comes back within it; TCP servers give as much (nginx: send_timeout, 60 s).
WRITE_TIMEOUT_DEFAULT: Final = 30.0

#: Seconds for a whole frame. Of 256 MiB it takes less than one where both ends have a processor.
FRAME_TIMEOUT_DEFAULT: Final = 60.0

#: The shortest of these times-out: below it a busy host would cut honest peers off.
TIMEOUT_MIN: Final = 0.1

#: Characters of a wrong value that an error repeats.
VALUE_SHOWN_MAX: Final = 40

_SIZE: Final = re.compile(r"([0-9]{1,15})\s*(?:([KMG])(?:iB)?|B)?")
_SHIFT: Final = {None: 0, "K": 10, "M": 20, "G": 30}
_MODE: Final = re.compile(r"0?[0-7]{3}")

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = _shorten.maxlong = VALUE_SHOWN_MAX


def parse_seconds(value: object) -> object:
    """Seconds out of a number (as it is) or a time span of systemd.time(7), such as "1min 30s"."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not value.strip():
        raise PydanticCustomError("time_span", "write seconds, or a time span such as '1min 30s'")
    try:
        return parse_span(value)
    except ValueError:
        raise PydanticCustomError(
            "time_span", "not a time span: write one such as '30s' or '1min 30s'"
        ) from None


def parse_size(value: object) -> object:
    """Bytes out of an integer or a size such as "16MiB"; K, M and G count by 1024, as in unit files."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise PydanticCustomError("size", "write bytes, or a size such as '512KiB' or '16MiB'")
    return int(match[1]) << _SHIFT[match[2]]


def parse_mode(value: object) -> int:
    """A file mode out of its octal digits. Not of a number: 600 and 0600 are different ones."""
    if not isinstance(value, str) or _MODE.fullmatch(value) is None:
        raise PydanticCustomError("mode", "write the mode in octal digits and quotes, such as '0660'")
    return int(value, 8)


def split_list(value: object) -> object:
    """A list out of a string: JSON where it begins with a bracket, else parted by commas."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [part for part in map(str.strip, value.split(",")) if part]
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise PydanticCustomError("json", "begins like a JSON list and is none") from None


def _off_or_long_enough(seconds: float) -> float:
    if 0 < seconds < IDLE_EXIT_MIN:
        raise PydanticCustomError(
            "idle_exit", "should be 0, for never, or at least {least} s", {"least": f"{IDLE_EXIT_MIN:g}"}
        )
    return seconds


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool | float):
        raise PydanticCustomError("int_type", "write a whole number")
    return value


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(split_list)]
Count = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1)]
Size = Annotated[
    int,
    BeforeValidator(_refuse_bool),
    BeforeValidator(parse_size),
    Field(ge=FRAME_SIZE_MIN, le=FRAME_SIZE_MAX),
]
TotalSize = Annotated[
    int,
    BeforeValidator(_refuse_bool),
    BeforeValidator(parse_size),
    Field(ge=TOTAL_BYTES_MIN),
]
Seconds = Annotated[
    float, BeforeValidator(parse_seconds), Field(ge=0, le=DRAIN_TIMEOUT_MAX, allow_inf_nan=False)
]
Mode = Annotated[
    int, BeforeValidator(parse_mode), PlainSerializer(lambda mode: f"{mode:04o}", when_used="json")
]
Timeout = Annotated[
    float, BeforeValidator(parse_seconds), Field(ge=TIMEOUT_MIN, le=DRAIN_TIMEOUT_MAX, allow_inf_nan=False)
]
IdleTime = Annotated[Seconds, AfterValidator(_off_or_long_enough)]
BuiltinService = Literal["echo", "status", "discover"]


class Live:
    """Marks a setting that a reload changes; all others need a restart. The one list of them is these marks."""


LIVE: Final = Live()


class Settings(BaseModel):
    """The settings of one run. Constructing it reads no file and no environment: `load_settings` does."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    _instance: Instance = PrivateAttr(Instance())

    services: Texts = Field(
        default=(), description="Services to host: MODULE:NAME, or an entry point of superd.services."
    )
    builtin_services: Annotated[tuple[BuiltinService, ...], BeforeValidator(split_list)] = Field(
        default=("echo", "status", "discover"), description="Which of superd's own services to offer."
    )
    listen: Texts = Field(default=(), description="Addresses to listen on where systemd passes no sockets.")
    socket_mode: Mode = Field(
        default=0o600,
        description="Mode of the sockets in `listen`, in octal. Those of systemd have SocketMode=.",
    )
    policy_dir: Annotated[Text, LIVE] = Field(
        default=DEFAULT_POLICY_DIR, description="The folder of the files that say who may call what."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], LIVE] = Field(
        default="info", description="The least severe log lines to write."
    )
    log_target: Literal["auto", "journal", "stderr"] = Field(
        default="auto", description="Where log lines go; auto: to the journal where stderr leads there."
    )
    frame_size: Annotated[Size, LIVE] = Field(
        default=FRAME_SIZE_DEFAULT,
        description="Largest frame in bytes, in both directions: bounds the memory of a call.",
    )
    calls_in_flight: Annotated[Count, LIVE] = Field(
        default=CALLS_IN_FLIGHT_DEFAULT,
        description="Running calls of one connection above which it is not read from: bounds the work of a peer.",
    )
    write_buffer: Annotated[Size, LIVE] = Field(
        default=WRITE_BUFFER_DEFAULT,
        description="Bytes of unread replies above which a connection is not read from: bounds a peer's memory.",
    )
    streams: Annotated[Count, LIVE] = Field(
        default=STREAMS_DEFAULT,
        description="Open streams and uploads of one connection: bounds the work and the memory of a peer.",
    )
    connections: Annotated[Count, LIVE] = Field(
        default=CONNECTIONS_DEFAULT,
        description="Open connections of all peers: bounds descriptors and memory.",
    )
    total_calls: Annotated[Count, LIVE] = Field(
        default=CALLS_SHARED_DEFAULT,
        description="Running calls of all users: one alone gets a half, each further one a share of what is left.",
    )
    total_streams: Annotated[Count, LIVE] = Field(
        default=STREAMS_SHARED_DEFAULT,
        description="Open streams and uploads of all users, shared as the calls are.",
    )
    total_bytes: Annotated[TotalSize, LIVE] = Field(
        default=BYTES_SHARED_DEFAULT,
        description="Bytes held for all users, shared: requests read in part, params, unread replies.",
    )
    total_descriptors: Annotated[Count, LIVE] = Field(
        default=DESCRIPTORS_SHARED_DEFAULT,
        description="Descriptors that came with the running calls of all users, shared.",
    )
    call_rate: Annotated[int, BeforeValidator(_refuse_bool), Field(ge=0)] = Field(
        default=0,
        description="Calls of one user in a second above which they are refused; 0: any number.",
    )
    write_timeout: Annotated[Timeout, LIVE] = Field(
        default=WRITE_TIMEOUT_DEFAULT,
        description="Seconds in which a peer has to read something of the replies that wait: bounds how long it holds memory.",
    )
    frame_timeout: Annotated[Timeout, LIVE] = Field(
        default=FRAME_TIMEOUT_DEFAULT,
        description="Seconds in which a peer has to finish a frame that it began: bounds how long it holds memory.",
    )
    worker_threads: Count = Field(
        default=WORKER_THREADS_DEFAULT,
        description="Threads for handlers that are plain functions: bounds blocking work.",
    )
    latency: Latency = Field(
        default="normal",
        description="low: poll for a moment before sleeping while calls come fast; trades CPU for speed.",
    )
    drain_timeout: Annotated[Seconds, LIVE] = Field(
        default=DRAIN_TIMEOUT_DEFAULT,
        description="Seconds that running calls get to end when the daemon stops.",
    )
    idle_exit: Annotated[IdleTime, LIVE] = Field(
        default=0.0,
        description="Seconds without connections, calls and streams after which superd ends, until somebody connects; 0: never.",
    )
    keep_connections: bool = Field(
        default=False,
        description="Whether connections outlive a restart. Needs FileDescriptorStoreMax= in the unit.",
    )
    idempotency_age: Seconds = Field(
        default=IDEMPOTENCY_AGE_DEFAULT / 1_000_000,
        description="Seconds for which the answer to a call with an idempotency key is kept for its repeats.",
    )
    idempotency_entries: Count = Field(
        default=IDEMPOTENCY_ENTRIES_DEFAULT,
        description="Calls with a key of one user that are remembered: bounds memory.",
    )
    idempotency_bytes: Size = Field(
        default=IDEMPOTENCY_BYTES_DEFAULT,
        description="Bytes of the answers of one user that are kept for repeats: bounds memory.",
    )

    @classmethod
    def of_instance(cls, instance: Instance) -> Self:
        """The defaults of a superd."""
        settings = cls(policy_dir=instance.policy_dir)
        settings._instance = instance
        return settings

    @property
    def instance(self) -> Instance:
        """Whose settings these are."""
        return self._instance


class Change(NamedTuple):
    """A setting that is not what it was, both values as JSON shows them: a secret shows its asterisks."""

    name: str
    old: JsonValue
    new: JsonValue
    is_live: bool


def is_live(name: str) -> bool:
    """Whether a reload changes this setting."""
    return any(isinstance(mark, Live) for mark in Settings.model_fields[name].metadata)


def compare(old: Settings, new: Settings) -> tuple[Change, ...]:
    """What differs, in the order of the fields."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    return tuple(
        Change(name, before[name], after[name], is_live(name))
        for name in Settings.model_fields
        if getattr(old, name) != getattr(new, name)
    )


def with_live(old: Settings, new: Settings) -> Settings:
    """The settings in force after a reload: the live ones are new."""
    return old.model_copy(
        update={name: getattr(new, name) for name in Settings.model_fields if is_live(name)}
    )


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
