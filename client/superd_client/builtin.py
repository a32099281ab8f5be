"""The contracts of the methods that superd itself serves. `rpc.discover` shows what the fields say here."""

from typing import Annotated, Final, TypeAlias

from pydantic import ConfigDict, Field, JsonValue

from superd_client.contract import Message, Method

Count: TypeAlias = Annotated[int, Field(ge=0)]


class Nothing(Message):
    """No params."""


class Echo(Message):
    """A text that comes back as it was sent."""

    text: str = Field(description="Any text.")


class Report(Message):
    """The base of what the daemon says of itself.

    Unknown members are ignored, and a field that is added later has a default: so the status of an older and of a
    newer daemon can be read, as happens between an upgrade and the restart.
    """

    model_config = ConfigDict(extra="ignore")


class Listener(Report):
    """A socket on which the daemon accepts connections."""

    address: str = Field(description="Its address, as clients write it: unix:/path or unix:@name.")
    name: str | None = Field(
        description="FileDescriptorName= of its unit; null where systemd did not pass it."
    )
    activated: bool = Field(description="Whether systemd passed it, rather than superd having opened it.")


class RunBySystemd(Message):
    """What systemd has started, systemd stops."""

    unit: str = Field(description="The unit, for systemctl stop.")


class ServiceInfo(Report):
    """A service that the daemon hosts."""

    name: str = Field(description="The name under which it is registered.")
    version: str = Field(description="The version that the service says it has.")
    methods: Count = Field(description="How many methods it serves.")


class Usage(Report):
    """How much of one resource is held, of what all users share."""

    resource: str = Field(description="Its name, as in the data of -32002.")
    used: Count = Field(description="What all users hold together.")
    limit: Count = Field(description="What they share; administrative methods have a reserve beside.")
    users: Count = Field(description="How many users hold some of it.")
    fullest_uid: int | None = Field(
        description="The uid that holds most; null where the caller is neither root nor the daemon's user."
    )
    fullest_used: Count | None = Field(description="How much that is.")


class Status(Report):
    """What the daemon is and what it has done since it started."""

    version: str = Field(description="The version of superd.")
    uptime_usec: Count = Field(description="Microseconds since the start.")
    pid: int = Field(description="The process id, as the daemon itself sees it.")
    unit: str | None = Field(
        description="The systemd unit, by the daemon's control group; null outside systemd."
    )
    invocation_id: str | None = Field(
        description="The unit's invocation id, see systemd.exec(5); null outside systemd."
    )
    systemd_version: str | None = Field(
        description="The version of the running systemd; null where there is none."
    )
    listeners: tuple[Listener, ...] = Field(description="The sockets that accept connections.")
    services: tuple[ServiceInfo, ...] = Field(description="The services, superd's own among them.")
    connections: Count = Field(description="Connections that are open now.")
    connections_accepted: Count = Field(description="Connections accepted since the start.")
    connections_refused: Count = Field(description="Connections closed at once, because a limit was reached.")
    calls_served: Count = Field(description="Calls answered with a result.")
    calls_failed: Count = Field(description="Calls that were carried out, or begun, and have no result.")
    calls_refused: Count = Field(
        description="Calls that were not carried out: unknown method, wrong params, limits."
    )
    calls_in_flight: Count = Field(description="Calls that run now, this one among them.")
    notifications: Count = Field(description="Notifications carried out.")
    notifications_failed: Count = Field(
        default=0, description="Notifications that failed or were refused: their senders do not hear of it."
    )
    datagrams_dropped: Count = Field(
        default=0, description="Datagrams of which nobody can say whose they are."
    )
    replies_dropped: Count = Field(
        default=0, description="Replies to datagrams that could not be delivered to their senders."
    )
    usage: tuple[Usage, ...] = Field(default=(), description="The resources of which something is held now.")
    connections_shed: Count = Field(
        default=0, description="Connections closed because there were no descriptors left for others."
    )
    connections_timed_out: Count = Field(
        default=0,
        description="Connections closed because their peers did not read, or did not finish a frame.",
    )
    descriptors_max: Count | None = Field(
        default=None, description="The limit of descriptors (RLIMIT_NOFILE) of the daemon's process."
    )
    log_lines_left_out: Count = Field(
        default=0, description="Log lines not written, because one user caused too many of them."
    )
    loop_lag_usec: Count | None = Field(
        description="How late the event loop came to the last probe of its health, in microseconds; null where there was none."
    )
    loop_lag_max_usec: Count | None = Field(
        default=None, description="The largest of these since the start; null where there was no probe."
    )


class ProtocolRange(Report):
    """The versions of the protocol that the server speaks."""

    min: int = Field(description="The oldest.")
    max: int = Field(description="The newest.")


class Hello(Report):
    """What the server is and can do (protocol §19)."""

    protocol: ProtocolRange = Field(description="The versions of the protocol that it speaks.")
    features: tuple[str, ...] = Field(description="The names of what it knows beyond version 1, and within.")
    limits: dict[str, int] = Field(
        description="The limits in force, by the names of protocol §10 in lower case."
    )
    version: str = Field(description="The version of superd.")
    unit: str | None = Field(description="Its systemd unit; null where not known.")
    invocation_id: str | None = Field(description="Its unit's invocation id; null where not known.")


echo: Final = Method(
    "echo.echo",
    Echo,
    Echo,
    idempotent=True,
    summary="Answer with the same text.",
)

status: Final = Method(
    "superd.status",
    Nothing,
    Status,
    idempotent=True,
    summary="Say what the daemon is and what it has done since it started.",
)

stop: Final[Method[Nothing, None]] = Method(
    "superd.stop",
    Nothing,
    type(None),
    errors=[RunBySystemd],
    summary="End a superd that systemd did not start, in order.",
)

discover: Final = Method(
    "rpc.discover",
    Nothing,
    dict[str, JsonValue],
    idempotent=True,
    summary="Describe all methods as an OpenRPC document.",
)

hello: Final = Method(
    "rpc.hello",
    Nothing,
    Hello,
    idempotent=True,
    summary="Say which versions, features and limits of the protocol are in force here.",
)
