"""`rpc.discover`: what the caller can call here, as an OpenRPC document."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from superd.openrpc import openrpc_document
from superd.peer import Caller
from superd.service import Context, Service
from superd_client.builtin import Nothing, discover
from superd_client.contract import Method

#: Documents kept. There is one for each set of methods that somebody may call: as many as a policy makes kinds of
#: callers, which is a few. To make one takes milliseconds.
DOCUMENTS_MAX: Final = 16

Methods = tuple[Method[Any, Any], ...]


def discover_service(version: str, methods: Callable[[Caller], Methods]) -> Service:
    """The service `rpc`; `methods` gives those that a caller may call."""
    service = Service("rpc", version=version, summary="The protocol's own methods.")

    @lru_cache(DOCUMENTS_MAX)
    def document(visible: Methods) -> dict[str, Any]:
        return openrpc_document(visible, title="superd", version=version)

    @service.method(discover)
    async def handle_discover(params: Nothing, context: Context) -> dict[str, Any]:  # noqa: ARG001 - every handler has them
        return document(methods(context.caller))

    return service
