"""What a service author imports: `Service` to offer methods, `Context` to know who called.

inventory = Service("inventory", version="1.0.0")

@inventory.method(lookup)
async def handle_lookup(params: Lookup, context: Context) -> Item: ...

@inventory.method(watch)
async def handle_watch(params: Watch, context: Context) -> AsyncIterator[Change]: ...

@inventory.method(load)
async def handle_load(params: Load, items: AsyncIterator[Item], context: Context) -> Summary: ...
"""

import inspect
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, Generic, Literal, TypeVar, overload

from pydantic import BaseModel

from superd.context import Context
from superd.handlers import Endpoint, check_inline, make_endpoint
from superd.policy import ACCESSES, Access
from superd.provisions import NotProvided, Provisions
from superd_client.contract import Method
from superd_client.streams import Stream, Upload

__all__ = [
    "Context",
    "Endpoint",
    "InlineRegistrar",
    "Lifespan",
    "NotProvided",
    "Provisions",
    "Registrar",
    "Service",
    "StreamRegistrar",
    "UploadRegistrar",
]

P = TypeVar("P", bound=BaseModel)
I = TypeVar("I")  # noqa: E741 - an item, as P are params and R is a result
R = TypeVar("R")

Lifespan = (
    Callable[[], AbstractAsyncContextManager[Any]] | Callable[[Provisions], AbstractAsyncContextManager[Any]]
)

_SERVICE_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


class Service:
    """A named group of methods, with a version and a lifespan.

    `lifespan` is called once at start and gives an asynchronous context manager: it is entered before the first
    call and left after the last; what it yields is every call's `context.state`. One that takes an argument gets what the
    unit provides.
    """

    def __init__(
        self, name: str, *, version: str = "0", lifespan: Lifespan | None = None, summary: str = ""
    ) -> None:
        """Raises ValueError for a name that is not one part of a method name (protocol §6), TypeError for a lifespan that takes more."""
        if not _SERVICE_NAME.fullmatch(name):
            message = (
                f"{name!r} is not a service name: lower-case letters, digits and underscores, a letter first"
            )
            raise ValueError(message)
        self.name: Final = name
        self.version: Final = version
        self.lifespan: Final = lifespan
        self._takes_provisions: Final = lifespan is not None and _takes_one(lifespan)
        self.summary: Final = summary
        self._endpoints: dict[str, Endpoint] = {}

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """The methods by name, in the order of registration."""
        return self._endpoints

    def live(self, provisions: Provisions) -> AbstractAsyncContextManager[Any]:
        """Its life from start to stop, to be entered; that of a service without a lifespan yields None."""
        if self.lifespan is None:
            return nullcontext()
        lifespan: Callable[..., AbstractAsyncContextManager[Any]] = self.lifespan
        return lifespan(provisions) if self._takes_provisions else lifespan()

    @overload
    def method(self, method: Stream[P, I], *, access: Access | None = None) -> "StreamRegistrar[P, I]": ...

    @overload
    def method(  # type: ignore[overload-overlap]  # an Upload that is passed as a Method gets the wrong decorator
        self, method: Upload[P, I, R], *, access: Access | None = None
    ) -> "UploadRegistrar[P, I, R]": ...

    @overload
    def method(
        self, method: Method[P, R], *, access: Access | None = None, inline: Literal[True]
    ) -> "InlineRegistrar[P, R]": ...

    @overload
    def method(
        self, method: Method[P, R], *, access: Access | None = None, inline: Literal[False] = False
    ) -> "Registrar[P, R]": ...

    def method(self, method: Method[Any, Any], *, access: Access | None = None, inline: bool = False) -> Any:
        """Offer `method`; decorates its handler.

        `access` is who may call it where no policy says more: everybody who can connect ("public"), members of the
        daemon's group ("group"), or root and the daemon's own user ("admin"). The default is "public", for the methods
        of superd itself "admin".

        An `async def` handler runs on the event loop and must not block; a plain one runs on a worker thread. The
        handler of a Stream is a generator; that of an Upload is called with the items between params and context.
        A plain handler with `inline` is called on the event loop itself, at once: the fastest way, for what only computes,
        for some microseconds. Whoever waits there makes all peers wait.
        Raises ValueError if the name is not this service's or is taken, TypeError if the handler cannot be called
        so, or is of another kind than its contract, or cannot be inline.
        """
        if not method.name.startswith(f"{self.name}."):
            message = f"{method.name} does not belong to the service {self.name}: its name must begin with {self.name}."
            raise ValueError(message)
        if method.name in self._endpoints:
            message = f"{method.name} has a handler already"
            raise ValueError(message)
        access = _check_access(method.name, access)
        if inline:
            check_inline(method)
            return InlineRegistrar[Any, Any](self, method, access)
        if isinstance(method, Stream):
            return StreamRegistrar[Any, Any](self, method, access)
        if isinstance(method, Upload):
            return UploadRegistrar[Any, Any, Any](self, method, access)
        return Registrar[Any, Any](self, method, access)

    def register(
        self, method: Method[Any, Any], handler: Callable[..., Any], access: Access, *, inline: bool = False
    ) -> None:
        """Take a handler; what the decorators do in the end."""
        self._endpoints[method.name] = make_endpoint(method, handler, self.name, access, inline=inline)


class Registrar(Generic[P, R]):
    """The decorator that `Service.method` returns for a Method; it gives the handler back unchanged."""

    def __init__(self, service: Service, method: Method[P, R], access: Access) -> None:
        """Remember what to register and where."""
        self._service = service
        self._method = method
        self._access = access

    @overload
    def __call__(
        self, handler: Callable[[P, Context], Coroutine[Any, Any, R]]
    ) -> Callable[[P, Context], Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(self, handler: Callable[[P, Context], R]) -> Callable[[P, Context], R]: ...

    def __call__(self, handler: Callable[[P, Context], Any]) -> Callable[[P, Context], Any]:
        """Register `handler`."""
        self._service.register(self._method, handler, self._access)
        return handler


class InlineRegistrar(Generic[P, R]):
    """The decorator for a Method with `inline`: its handler is a plain function that only computes."""

    def __init__(self, service: Service, method: Method[P, R], access: Access) -> None:
        """Remember what to register and where."""
        self._service = service
        self._method = method
        self._access = access

    def __call__(self, handler: Callable[[P, Context], R]) -> Callable[[P, Context], R]:
        """Register `handler`."""
        self._service.register(self._method, handler, self._access, inline=True)
        return handler


class StreamRegistrar(Generic[P, I]):
    """The decorator for a Stream: its handler is a generator function, `async def` or plain."""

    def __init__(self, service: Service, method: Stream[P, I], access: Access) -> None:
        """Remember what to register and where."""
        self._service = service
        self._method = method
        self._access = access

    @overload
    def __call__(
        self, handler: Callable[[P, Context], AsyncIterator[I]]
    ) -> Callable[[P, Context], AsyncIterator[I]]: ...

    @overload
    def __call__(
        self, handler: Callable[[P, Context], Iterator[I]]
    ) -> Callable[[P, Context], Iterator[I]]: ...

    def __call__(self, handler: Callable[[P, Context], Any]) -> Callable[[P, Context], Any]:
        """Register `handler`."""
        self._service.register(self._method, handler, self._access)
        return handler


class UploadRegistrar(Generic[P, I, R]):
    """The decorator for an Upload: `async def` with an asynchronous iterator of items, or plain with a plain one."""

    def __init__(self, service: Service, method: Upload[P, I, R], access: Access) -> None:
        """Remember what to register and where."""
        self._service = service
        self._method = method
        self._access = access

    @overload
    def __call__(
        self, handler: Callable[[P, AsyncIterator[I], Context], Coroutine[Any, Any, R]]
    ) -> Callable[[P, AsyncIterator[I], Context], Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(
        self, handler: Callable[[P, Iterator[I], Context], R]
    ) -> Callable[[P, Iterator[I], Context], R]: ...

    def __call__(self, handler: Callable[[P, Any, Context], Any]) -> Callable[[P, Any, Context], Any]:
        """Register `handler`."""
        self._service.register(self._method, handler, self._access)
        return handler


def _takes_one(lifespan: Callable[..., Any]) -> bool:
    """Whether it must be called with something; raises TypeError where one argument would not do."""
    signature = inspect.signature(lifespan)
    for arguments in ((), (None,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return bool(arguments)
    raise TypeError(f"the lifespan {lifespan!r} takes more than what its unit provides")


def _check_access(method: str, access: Access | None) -> Access:
    """The default of a method; the daemon's own are closed unless they are opened. Raises ValueError."""
    if access is None:
        return "admin" if method.startswith("superd.") else "public"
    if access not in ACCESSES:
        raise ValueError(f"{method}: {access!r} is no access; there are {', '.join(ACCESSES)}")
    return access
