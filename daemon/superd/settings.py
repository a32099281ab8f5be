"""What an operator may set. `docs/reference/configuration.md` is the manual; `superd.settings_sources` reads it."""

from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PrivateAttr

from superd.quota import (
    BYTES_SHARED_DEFAULT,
    CALLS_SHARED_DEFAULT,
    CONNECTIONS_DEFAULT,
    DESCRIPTORS_SHARED_DEFAULT,
    STREAMS_SHARED_DEFAULT,
)
from superd.settings_types import (
    Count,
    CountOrNone,
    IdleTime,
    Mode,
    Seconds,
    Size,
    Text,
    Texts,
    Timeout,
    TotalSize,
    split_list,
)
from superd_client.instances import Instance
from superd_client.polling import Latency
from superd_client.wire.limits import (
    CALLS_IN_FLIGHT_DEFAULT,
    FRAME_SIZE_DEFAULT,
    IDEMPOTENCY_AGE_DEFAULT,
    IDEMPOTENCY_BYTES_DEFAULT,
    IDEMPOTENCY_ENTRIES_DEFAULT,
    STREAMS_DEFAULT,
    WRITE_BUFFER_DEFAULT,
)

DEFAULT_POLICY_DIR: Final = "/etc/superd/policy.d"

#: Threads for plain `def` handlers. They are for blocking work; more of them wait for the GIL, not the disk.
WORKER_THREADS_DEFAULT: Final = 8

#: Seconds for running calls to end after SIGTERM: a call's default time-out is 25 s (as D-Bus), and systemd
#: kills after 90 s (DefaultTimeoutStopSec=).
DRAIN_TIMEOUT_DEFAULT: Final = 30.0

#: Seconds without a byte read by a peer for which replies wait. A process that is stopped in a debugger, or waits for a
#: disk, comes back within it; TCP servers give as much (nginx: send_timeout, 60 s).
WRITE_TIMEOUT_DEFAULT: Final = 30.0

#: Seconds for a whole frame. Of 256 MiB it takes less than one where both ends have a processor.
FRAME_TIMEOUT_DEFAULT: Final = 60.0

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
    call_rate: CountOrNone = Field(
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
