"""All services of one daemon: found by name, checked against each other, looked up by method."""

import importlib
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any, Final

from superd.policy import Access
from superd.service import Endpoint, Service
from superd_client.contract import Method

#: Services whose names the daemon keeps for itself.
RESERVED: Final = frozenset({"rpc", "superd"})

ENTRY_POINT_GROUP: Final = "superd.services"


class ServiceError(Exception):
    """A service cannot be loaded; the text names it and says why."""


class Registry:
    """Services and their endpoints. Raises ServiceError where two have one name."""

    def __init__(self, services: Iterable[Service]) -> None:
        """Check that the names differ."""
        self.services: Final = tuple(services)
        names = [service.name for service in self.services]
        for name in names:
            if names.count(name) > 1:
                message = f"two services are called {name}"
                raise ServiceError(message)
        self.endpoints: Final[Mapping[str, Endpoint]] = {
            name: endpoint for service in self.services for name, endpoint in service.endpoints.items()
        }

    @property
    def accesses(self) -> Mapping[str, Access]:
        """The default of each method: who may call it where no policy says more."""
        return {name: endpoint.access for name, endpoint in self.endpoints.items()}

    @property
    def methods(self) -> tuple[Method[Any, Any], ...]:
        """The contracts of all endpoints."""
        return tuple(endpoint.method for endpoint in self.endpoints.values())


def load_service(name: str) -> Service:
    """Find a service by "MODULE:NAME" or by the name of an entry point in the group superd.services.

    Raises ServiceError, with the original exception as its cause.
    """
    found = _import(name) if ":" in name else _from_entry_point(name)
    if not isinstance(found, Service):
        message = f"{name} is a {type(found).__name__}, not a superd.service.Service"
        raise ServiceError(message)
    if found.name in RESERVED:
        message = f"{name}: the service name {found.name!r} is reserved"
        raise ServiceError(message)
    return found


def _import(name: str) -> object:
    module_name, _, attribute = name.partition(":")
    try:
        found: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        message = f"{name} cannot be loaded: {type(error).__name__}: {error}"
        raise ServiceError(message) from error
    return found


def _from_entry_point(name: str) -> object:
    known = entry_points(group=ENTRY_POINT_GROUP)
    if name not in known.names:
        have = ", ".join(sorted(known.names)) or "none"
        message = (
            f"{name} is neither MODULE:NAME nor an entry point in {ENTRY_POINT_GROUP} (there are: {have})"
        )
        raise ServiceError(message)
    return _import(known[name].value)
