"""`superd.status`: how the daemon is; `superd.stop`: that it may end; and what administers it."""

from collections.abc import Awaitable, Callable

from superd.peer import Caller
from superd.service import Context, Service
from superd_client.builtin import Nothing, RunBySystemd, Status, status, stop
from superd_client.errors import ApplicationError


def status_service(
    version: str,
    look: Callable[[Caller], Awaitable[Status]],
    end: Callable[[], None],
    unit: str | None,
    administer: Callable[[Service], None],
) -> Service:
    """The service `superd`; `look` looks at the daemon for a caller, `end` ends it in order, `unit` is systemd's name of it.

    `administer` adds the methods by which it is administered.

    What systemd has started, systemd stops: it would start it again, or think that it has failed.
    """
    service = Service("superd", version=version, summary="The daemon itself.")

    @service.method(status, access="public")
    async def handle_status(params: Nothing, context: Context) -> Status:  # noqa: ARG001 - every handler has them
        return await look(context.caller)

    @service.method(stop, access="admin")
    async def handle_stop(params: Nothing, context: Context) -> None:  # noqa: ARG001 - every handler has them
        if unit is not None:
            raise ApplicationError(
                RunBySystemd(unit=unit), f"systemd runs this superd: use systemctl stop {unit}"
            )
        context.log.info("asked to stop")
        end()

    administer(service)
    return service
