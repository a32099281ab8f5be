"""`echo.echo`: gives back what it gets. The first thing to call on a new installation."""

from superd.service import Context, Service
from superd_client.builtin import Echo, echo


def echo_service(version: str) -> Service:
    """The service `echo`."""
    service = Service("echo", version=version, summary="Gives back what it gets.")

    @service.method(echo, inline=True)
    def handle_echo(params: Echo, context: Context) -> Echo:  # noqa: ARG001 - every handler has it
        return params

    return service
