"""What a handler may be: which functions fit which contracts, and where they run."""

import inspect
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from superd.policy import Access
from superd_client.contract import Method
from superd_client.descriptors import Outgoing
from superd_client.streams import ItemCodec, Stream, Upload
from superd_client.wire.control import ItemHead
from superd_client.wire.envelope import ItemRefused, MessageRefused
from superd_client.wire.errors import InternalFault


class Kind(Enum):
    """What passes beside params and result, as `rpc.discover` calls it."""

    CALL = "call"
    STREAM = "stream"
    UPLOAD = "upload"


class Endpoint(NamedTuple):
    """A method and the function that carries it out.

    `is_async` says that it is a task on the loop, `is_inline` that it is called on the loop and never waits; where neither
    is so, it runs on a worker thread.
    """

    method: Method[Any, Any]
    handler: Callable[..., Any]
    is_async: bool
    service: str
    kind: Kind = Kind.CALL
    access: Access = "public"
    is_inline: bool = False

    @property
    def write_item(self) -> Callable[[Any], tuple[bytes, Outgoing | None]]:
        """Writes an item as JSON; raises ValueError for what the contract does not promise."""
        return self._items.write

    @property
    def decode_item(self) -> Callable[[bytes, Sequence[int], ItemHead], Any]:
        """Reads the message of an item; raises MessageRefused."""
        return self._decode_item

    def _decode_item(self, body: bytes, fds: Sequence[int], head: ItemHead) -> Any:
        try:
            return self._items.decode(body, fds, head)
        except MessageRefused:
            raise
        except Exception as error:  # noqa: BLE001 - a model's validator may raise anything
            raise ItemRefused(InternalFault.of(error)) from None

    @property
    def _items(self) -> ItemCodec[Any]:
        method: Any = self.method
        items: ItemCodec[Any] = method.items
        return items


_WORDS: Final = {Kind.CALL: "a call", Kind.STREAM: "a stream", Kind.UPLOAD: "an upload"}

_PARAMETERS: Final = {
    Kind.CALL: ("params", "context"),
    Kind.STREAM: ("params", "context"),
    Kind.UPLOAD: ("params", "items", "context"),
}


def kind_of(method: Method[Any, Any]) -> Kind:
    """The kind of a contract."""
    if isinstance(method, Stream):
        return Kind.STREAM
    return Kind.UPLOAD if isinstance(method, Upload) else Kind.CALL


def check_inline(method: Method[Any, Any]) -> None:
    """Raise TypeError where no handler of `method` could run inline."""
    kind = kind_of(method)
    if kind is not Kind.CALL:
        message = f"{method.name} cannot be inline: it is {_WORDS[kind]}, which waits for its peer; leave inline out"
        raise TypeError(message)


def make_endpoint(
    method: Method[Any, Any],
    handler: Callable[..., Any],
    service: str,
    access: Access,
    *,
    inline: bool = False,
) -> Endpoint:
    """Check that `handler` can carry `method` out; raises TypeError that says what it would have to be."""
    kind = kind_of(method)
    if inline:
        check_inline(method)
    _check_signature(method.name, handler, _PARAMETERS[kind])
    yields_async = _is(inspect.isasyncgenfunction, handler)
    yields = yields_async or _is(inspect.isgeneratorfunction, handler)
    if kind is Kind.STREAM and not yields:
        message = (
            f"the handler of {method.name} must be a generator (def or async def, with yield): it is a stream"
        )
        raise TypeError(message)
    if kind is not Kind.STREAM and yields:
        message = (
            f"the handler of {method.name} must return and not yield: it is {_WORDS[kind]}, and no stream"
        )
        raise TypeError(message)
    is_async = yields_async or _is(inspect.iscoroutinefunction, handler)
    if inline and is_async:
        message = (
            f"the handler of {method.name} cannot be inline: an async def may wait; "
            "make it a plain def that only computes, or leave inline out"
        )
        raise TypeError(message)
    return Endpoint(method, handler, is_async, service, kind, access, inline)


def _check_signature(method: str, handler: Callable[..., Any], parameters: tuple[str, ...]) -> None:
    try:
        inspect.signature(handler).bind(*parameters)
    except TypeError as error:
        message = f"the handler of {method} cannot be called as handler({', '.join(parameters)}): {error}"
        raise TypeError(message) from None


def _is(test: Callable[[Any], bool], handler: Callable[..., Any]) -> bool:
    """Whether a handler is such a function; sees through functools.partial and objects that can be called."""
    return test(handler) or test(type(handler).__call__)
