"""The methods of the protocol itself: `rpc.hello`, and `rpc.discover`, which tells the caller what it can call here."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeAlias

from superd.peer import Caller
from superd.service import Context, Service
from superd_client.builtin import Hello, Nothing, discover, hello
from superd_client.contract import Method

#: Documents kept. There is one for each set of methods that somebody may call: as many as a policy makes kinds of
#: callers, which is a few. To make one takes milliseconds.
DOCUMENTS_MAX: Final = 16

Methods: TypeAlias = tuple[Method[Any, Any], ...]


def protocol_service(
    version: str, say_hello: Callable[[], Hello], methods: Callable[[Caller], Methods] | None
) -> Service:
    """The service `rpc`; `methods` gives those that a caller may call, None leaves `rpc.discover` out."""
    service = Service("rpc", version=version, summary="The protocol's own methods.")

    @service.method(hello, inline=True)
    def handle_hello(params: Nothing, context: Context) -> Hello:  # noqa: ARG001 - every handler has them
        return say_hello()

    if methods is not None:
        _add_discover(service, methods)
    return service


def _add_discover(service: Service, methods: Callable[[Caller], Methods]) -> None:
    @lru_cache(DOCUMENTS_MAX)
    def document(visible: Methods) -> dict[str, Any]:
        from superd.openrpc import openrpc_document  # noqa: PLC0415 - for the first who asks, and no start waits for it

        return openrpc_document(visible, title="superd", version=service.version)

    @service.method(discover, inline=True)
    def handle_discover(params: Nothing, context: Context) -> dict[str, Any]:  # noqa: ARG001 - as above
        return document(methods(context.caller))
