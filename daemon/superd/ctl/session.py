"""The connection of one superctl, made when it is first needed."""

from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel

from superd.ctl.console import Streams
from superd.ctl.exits import UsageError
from superd_client.address import Address, default_address, parse_address
from superd_client.instances import Instance
from superd_client.sync import Client

if TYPE_CHECKING:
    from superd_client.contract import Method

P = TypeVar("P", bound=BaseModel)
R = TypeVar("R")


class Session:
    """Who to ask, how long to wait for an answer, and where to write it."""

    def __init__(
        self, streams: Streams, *, address: str | None = None, instance: Instance | None = None
    ) -> None:
        """`instance` has its own address; `address` None is the client library's default.

        Raises UsageError for what is no address, and where a user's superd cannot be found.
        """
        self.streams: Final = streams
        self.address: Final = _read_address(address if instance is None else str(instance))
        #: Whose units and files are meant: of an address that is nobody's, those of the plain superd.
        self.instance: Final = instance or self.address.instance or Instance()
        self._client: Client | None = None
        self._document: dict[str, Any] | None = None

    @property
    def client(self) -> Client:
        """The client, for calls by the name of a method."""
        if self._client is None:
            self._client = Client(self.address, wait_for_server=0)  # a person can try again
        return self._client

    def ask(self, method: "Method[P, R]", params: P, *, timeout: float | None = None) -> R:
        """Call a method by its contract."""
        return self.client.call(method, params, timeout=timeout)

    def discover(self, *, timeout: float | None = None) -> dict[str, Any]:
        """Ask for the server's OpenRPC document: a restart may have changed it since."""
        from superd_client.builtin import Nothing, discover

        self._document = self.ask(discover, Nothing(), timeout=timeout)
        return self._document

    def document(self, *, timeout: float | None = None) -> dict[str, Any]:
        """The document as it was last seen; asked for only where it never was."""
        return self.discover(timeout=timeout) if self._document is None else self._document

    def close(self) -> None:
        """End the connection, and forget what was learnt over it; the next call makes another."""
        client, self._client, self._document = self._client, None, None
        if client is not None:
            client.close()


def _read_address(text: str | None) -> Address:
    """A path alone is an address too: it is what the completion of the shell gives."""
    try:
        if text is None:
            return default_address()
        return parse_address(f"unix:{text}" if text.startswith("/") else text)
    except ValueError as error:
        raise UsageError(str(error)) from None
