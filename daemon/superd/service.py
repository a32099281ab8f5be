"""What a service author imports: `Service` to offer methods, `Context` to know who called.

inventory = Service("inventory", version="1.0.0")

@inventory.method(lookup)
async def handle_lookup(params: Lookup, context: Context) -> Item: ...
"""

import inspect
import re
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Generic, NamedTuple, TypeVar, overload

from pydantic import BaseModel
from structlog.typing import FilteringBoundLogger

from superd.journal import get_logger
from superd.peer import Caller
from superd.policy import ACCESSES, Access
from superd_client.contract import Method

P = TypeVar("P", bound=BaseModel)
R = TypeVar("R")

Lifespan = Callable[[], AbstractAsyncContextManager[Any]]

_SERVICE_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


class Context:
    """What a handler may know of the call that it carries out. One is made for each call."""

    __slots__ = ("_log", "call_id", "caller", "method", "state")

    def __init__(self, *, method: str, call_id: str, caller: Caller, state: Any) -> None:
        """`state` is what the service's lifespan yielded, or None."""
        self.method: Final = method
        self.call_id: Final = call_id
        self.caller: Final = caller
        self.state: Final = state
        self._log: FilteringBoundLogger | None = None

    @property
    def log(self) -> FilteringBoundLogger:
        """A logger that names this call and its caller in each line."""
        if self._log is None:
            self._log = get_logger().bind(
                call_id=self.call_id,
                method=self.method,
                peer_uid=self.caller.uid,
                peer_pid=self.caller.pid,
                peer_unit=self.caller.unit,
            )
        return self._log


class Endpoint(NamedTuple):
    """A method and the function that carries it out; `is_async` says where it runs."""

    method: Method[Any, Any]
    handler: Callable[[Any, Context], Any]
    is_async: bool
    service: str
    access: Access = "public"


class Service:
    """A named group of methods, with a version and a lifespan.

    `lifespan` is called once at start and gives an asynchronous context manager: it is entered before the first
    call and left after the last; what it yields is every call's `context.state`.
    """

    def __init__(
        self, name: str, *, version: str = "0", lifespan: Lifespan | None = None, summary: str = ""
    ) -> None:
        """Raises ValueError for a name that is not one part of a method name (protocol §6)."""
        if not _SERVICE_NAME.fullmatch(name):
            message = (
                f"{name!r} is not a service name: lower-case letters, digits and underscores, a letter first"
            )
            raise ValueError(message)
        self.name: Final = name
        self.version: Final = version
        self.lifespan: Final = lifespan
        self.summary: Final = summary
        self._endpoints: dict[str, Endpoint] = {}

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """The methods by name, in the order of registration."""
        return self._endpoints

    def method(self, method: Method[P, R], *, access: Access | None = None) -> "Registrar[P, R]":
        """Offer `method`; decorates its handler.

        `access` is who may call it where no policy says more: everybody who can connect ("public"), members of the
        daemon's group ("group"), or root and the daemon's own user ("admin"). The default is "public", for the methods
        of superd itself "admin".

        An `async def` handler runs on the event loop and must not block; a plain one runs on a worker thread.
        Raises ValueError if the name is not this service's or is taken, TypeError if the handler cannot be called
        with params and context.
        """
        if not method.name.startswith(f"{self.name}."):
            message = f"{method.name} does not belong to the service {self.name}: its name must begin with {self.name}."
            raise ValueError(message)
        if method.name in self._endpoints:
            message = f"{method.name} has a handler already"
            raise ValueError(message)
        return Registrar(self, method, _check_access(method.name, access))

    def register(self, endpoint: Endpoint) -> None:
        """Take an endpoint; what the decorator does in the end."""
        self._endpoints[endpoint.method.name] = endpoint


class Registrar(Generic[P, R]):
    """The decorator that `Service.method` returns; it gives the handler back unchanged."""

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
        _check_signature(self._method.name, handler)
        endpoint = Endpoint(self._method, handler, _is_async(handler), self._service.name, self._access)
        self._service.register(endpoint)
        return handler


def _check_access(method: str, access: Access | None) -> Access:
    """The default of a method; the daemon's own are closed unless they are opened. Raises ValueError."""
    if access is None:
        return "admin" if method.startswith("superd.") else "public"
    if access not in ACCESSES:
        raise ValueError(f"{method}: {access!r} is no access; there are {', '.join(ACCESSES)}")
    return access


def _check_signature(method: str, handler: Callable[..., Any]) -> None:
    try:
        inspect.signature(handler).bind(object(), object())
    except TypeError as error:
        message = f"the handler of {method} cannot be called as handler(params, context): {error}"
        raise TypeError(message) from None


def _is_async(handler: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine; sees through functools.partial and objects that can be called."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)
