"""`rpc.discover`: what can be called here, as an OpenRPC document."""

from collections.abc import Callable, Iterable
from typing import Any

from superd.openrpc import openrpc_document
from superd.service import Context, Service
from superd_client.builtin import Nothing, discover
from superd_client.contract import Method


def discover_service(version: str, methods: Callable[[], Iterable[Method[Any, Any]]]) -> Service:
    """The service `rpc`; `methods` are asked for once, at the first call."""
    service = Service("rpc", version=version, summary="The protocol's own methods.")
    document: dict[str, Any] = {}

    @service.method(discover)
    async def handle_discover(params: Nothing, context: Context) -> dict[str, Any]:  # noqa: ARG001 - every handler has them
        if not document:
            document.update(openrpc_document(methods(), title="superd", version=version))
        return document

    return service
