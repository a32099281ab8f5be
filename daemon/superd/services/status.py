"""`superd.status`: how the daemon is; `superd.stop`: that it may end; and what administers it."""

from collections.abc import Awaitable, Callable

from superd.peer import Caller
from superd.service import Context, Service
from superd_client.builtin import Nothing, RunBySystemd, Status, status, stop
from superd_client.errors import ApplicationError
from superd_client.units import Units


def status_service(
    version: str,
    look: Callable[[Caller], Awaitable[Status]],
    end: Callable[[], None],
    units: Units | None,
    administer: Callable[[Service], None],
) -> Service:
    """The service `superd`; `look` looks at the daemon for a caller, `end` ends it in order, `units` is where systemd started it.

    `administer` adds the methods by which it is administered.

    What systemd has started, systemd stops: it would start it again, or think that it has failed.
    """
    service = Service("superd", version=version, summary="The daemon itself.")

    @service.method(status, access="public")
    async def handle_status(params: Nothing, context: Context) -> Status:  # noqa: ARG001 - every handler has them
        return await look(context.caller)

    @service.method(stop, access="admin")
    async def handle_stop(params: Nothing, context: Context) -> None:  # noqa: ARG001 - every handler has them
        if units is not None and units.name is not None:
            command = " ".join((*units.systemctl, "stop", units.name))
            raise ApplicationError(RunBySystemd(unit=units.name), f"systemd runs this superd: use {command}")
        context.log.info("asked to stop")
        end()

    administer(service)
    return service
