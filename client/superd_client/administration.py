"""The contracts of the methods by which superd is administered: reload, and what is done with its connections.

All are for root and superd's own user, unless a policy says more.
"""

from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from superd_client.builtin import Count, Nothing, Report
from superd_client.contract import Message, Method

#: Faults and warnings of one reload that its answer lists: more is nothing that a person reads, and the journal has
#: them all.
REPORTED_MAX: Final = 64

#: Connections in one answer. With PEER_SIZE_MAX it bounds an answer to 128 KiB, which every kind of socket takes.
PEERS_MAX: Final = 128

#: Bytes of one connection in an answer, at most: the unit's name has up to 255 characters, each of which JSON may
#: double, and no number has more than 20 digits.
PEER_SIZE_MAX: Final = 1024

#: Microseconds that `superd.drain` may wait: a day, as for drain_timeout.
WAIT_USEC_MAX: Final = 86_400_000_000

#: The id of a connection: four characters that differ from one run of superd to the next, and a number.
PeerId: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{4}-[1-9][0-9]{0,18}$")]

_Uid: TypeAlias = Annotated[int, Field(ge=0, le=2**32 - 2)]
_Unit: TypeAlias = Annotated[str, Field(min_length=1, max_length=255)]


# --- reload ---------------------------------------------------------------------------------------------------------


class SettingChange(Report):
    """A setting that the files give another value than it had."""

    name: str = Field(description="The key, as it stands in superd.toml.")
    old: JsonValue = Field(description="What was in force before.")
    new: JsonValue = Field(description="What the files say.")


class PolicyLoaded(Report):
    """The policy that was put in force."""

    files: tuple[str, ...] = Field(description="The files that were read, in their order.")
    rules: Count = Field(description="How many denials, allowances and defaults they have together.")
    warnings: tuple[str, ...] = Field(
        description=f"What is doubtful in them, as superd --check says it; the first {REPORTED_MAX}."
    )


class Reloaded(Report):
    """What a reload changed, and what it could not."""

    changed: tuple[SettingChange, ...] = Field(description="Settings that are in force now.")
    needs_restart: tuple[SettingChange, ...] = Field(
        description="Settings that only a restart changes; until then the old value is in force."
    )
    policy: PolicyLoaded = Field(description="The policy.")


class FileFault(Message):
    """Something that is wrong in a file, or in another source of settings."""

    source: str = Field(description='The file, or "environment", or "command line".')
    line: int | None = Field(description="The line, from 1; null where it is not known.")
    key: str = Field(description="The dotted key; empty where it is the file itself.")
    message: str = Field(description="What is wrong.")


def fault_text(fault: FileFault) -> str:
    """A fault in one line, as `superd --check` writes it."""
    source = fault.source if fault.line is None else f"{fault.source}:{fault.line}"
    return ": ".join(part for part in (source, fault.key, fault.message) if part)


class WrongFiles(Message):
    """The settings or the policy are wrong. Nothing was changed."""

    faults: tuple[FileFault, ...] = Field(description=f"Each fault; the first {REPORTED_MAX}.")
    omitted: Count = Field(default=0, description="How many more there are.")


# --- connections ----------------------------------------------------------------------------------------------------


class Selection(Message):
    """Which connections are meant: those of which all that is given is true. Never the one that asks."""

    id: PeerId | None = Field(default=None, description="The one connection with this id.")
    uid: _Uid | None = Field(default=None, description="Those of this user.")
    unit: _Unit | None = Field(default=None, description="Those of processes in this systemd unit.")


class PeersQuery(Selection):
    """Which connections to list, and from where on."""

    after: PeerId | None = Field(default=None, description="Only those made after the one with this id.")
    limit: int = Field(default=PEERS_MAX, ge=1, le=PEERS_MAX, description="How many at most.")


class PeerInfo(Report):
    """One connection."""

    id: str = Field(description="What superd.kick takes. Means nothing to another run of superd.")
    uid: int = Field(description="The user id, from the kernel.")
    pid: int = Field(description="The process that connected; may have been given to another one since.")
    unit: str | None = Field(description="Its systemd unit, by the process id; null where not known.")
    age_usec: Count = Field(description="Microseconds since it was accepted.")
    state: Literal["open", "draining"] = Field(
        description="draining: it takes no more calls, and is closed when it has answered."
    )
    calls_in_flight: Count = Field(description="Calls that run, notifications and streams among them.")
    streams: Count = Field(description="Streams and uploads among them.")
    calls_served: Count = Field(description="Calls answered with a result.")
    calls_failed: Count = Field(description="Calls answered with an error, refused ones among them.")
    bytes_received: Count = Field(description="Bytes that superd has read.")
    bytes_sent: Count = Field(description="Bytes that superd has written.")
    bytes_waiting: Count = Field(description="Bytes that wait until the peer reads.")


class Peers(Report):
    """Some of the connections, the oldest first."""

    peers: tuple[PeerInfo, ...] = Field(description="The connections.")
    next: str | None = Field(description="What to give as `after` to see the next ones; null at the end.")


class KickRequest(Selection):
    """Which connections to close. One of the members must be given."""

    @model_validator(mode="after")
    def _check_some(self) -> Self:
        if self.id is None and self.uid is None and self.unit is None:
            raise PydanticCustomError("selection", "say whom: id, uid or unit")
        return self


class Kicked(Report):
    """What was closed."""

    connections: Count = Field(description="How many connections.")
    calls: Count = Field(description="How many calls ran on them, and were cancelled.")


class DrainRequest(Selection):
    """Which connections to drain; all, where nothing is given."""

    wait_usec: int = Field(
        default=0,
        ge=0,
        le=WAIT_USEC_MAX,
        description="Microseconds to wait until they are closed; the call must have as much time.",
    )


class Drained(Report):
    """What was drained."""

    connections: Count = Field(description="How many connections were asked to go.")
    remaining: Count = Field(description="How many of them were still open when this was answered.")


reload: Final = Method(
    "superd.reload",
    Nothing,
    Reloaded,
    idempotent=True,
    errors=[WrongFiles],
    summary="Read settings and policy again, and put them in force, or change nothing.",
)

peers: Final = Method(
    "superd.peers", PeersQuery, Peers, idempotent=True, summary="List who is connected, in pages."
)

kick: Final = Method(
    "superd.kick", KickRequest, Kicked, summary="Close connections; what runs on them is cancelled."
)

drain: Final = Method(
    "superd.drain",
    DrainRequest,
    Drained,
    summary="Have connections closed once what runs on them has ended; new ones are accepted.",
)
