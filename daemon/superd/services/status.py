"""`superd.status`: how the daemon is."""

from collections.abc import Awaitable, Callable

from superd.service import Context, Service
from superd_client.builtin import Nothing, Status, status


def status_service(version: str, look: Callable[[], Awaitable[Status]]) -> Service:
    """The service `superd`; `look` looks at the daemon."""
    service = Service("superd", version=version, summary="The daemon itself.")

    @service.method(status, access="public")
    async def handle_status(params: Nothing, context: Context) -> Status:  # noqa: ARG001 - every handler has them
        return await look()

    return service
