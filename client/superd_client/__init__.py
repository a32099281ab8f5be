"""The client library of superd: typed calls to a daemon on the same host.

Names are loaded when they are first used, so that a module with contracts does not pay for a client.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from superd_client.aio import AsyncClient as AsyncClient
    from superd_client.aio_streams import AsyncItemSink as AsyncItemSink
    from superd_client.aio_streams import AsyncItemStream as AsyncItemStream
    from superd_client.blob import Blob as Blob
    from superd_client.contract import Message as Message
    from superd_client.contract import Method as Method
    from superd_client.errors import ApplicationError as ApplicationError
    from superd_client.errors import CallFailed as CallFailed
    from superd_client.errors import CallRefused as CallRefused
    from superd_client.errors import CallTimeout as CallTimeout
    from superd_client.errors import Cancelled as Cancelled
    from superd_client.errors import ClientClosed as ClientClosed
    from superd_client.errors import Conflict as Conflict
    from superd_client.errors import ConnectFailed as ConnectFailed
    from superd_client.errors import ConnectionLost as ConnectionLost
    from superd_client.errors import InternalError as InternalError
    from superd_client.errors import Interrupted as Interrupted
    from superd_client.errors import InvalidParams as InvalidParams
    from superd_client.errors import InvalidRequest as InvalidRequest
    from superd_client.errors import InvalidResult as InvalidResult
    from superd_client.errors import MessageTooLarge as MessageTooLarge
    from superd_client.errors import MethodNotFound as MethodNotFound
    from superd_client.errors import NotSent as NotSent
    from superd_client.errors import Outcome as Outcome
    from superd_client.errors import OutcomeUnknown as OutcomeUnknown
    from superd_client.errors import PermissionDenied as PermissionDenied
    from superd_client.errors import RemoteError as RemoteError
    from superd_client.errors import ResourceExhausted as ResourceExhausted
    from superd_client.errors import ResultTooLarge as ResultTooLarge
    from superd_client.errors import SuperdError as SuperdError
    from superd_client.errors import Unavailable as Unavailable
    from superd_client.errors import WrongServer as WrongServer
    from superd_client.fd import Fd as Fd
    from superd_client.keys import IdempotencyKey as IdempotencyKey
    from superd_client.peer import DatagramPeer as DatagramPeer
    from superd_client.peer_host import Origin as Origin
    from superd_client.sensitive import Sensitive as Sensitive
    from superd_client.streams import Stream as Stream
    from superd_client.streams import Upload as Upload
    from superd_client.sync import Client as Client
    from superd_client.sync_streams import ItemSink as ItemSink
    from superd_client.sync_streams import ItemStream as ItemStream

_HOME = {
    "AsyncClient": "aio",
    "AsyncItemSink": "aio_streams",
    "AsyncItemStream": "aio_streams",
    "Blob": "blob",
    "Client": "sync",
    "DatagramPeer": "peer",
    "Origin": "peer_host",
    "Fd": "fd",
    "IdempotencyKey": "keys",
    "ItemSink": "sync_streams",
    "ItemStream": "sync_streams",
    "Message": "contract",
    "Method": "contract",
    "Sensitive": "sensitive",
    "Stream": "streams",
    "Upload": "streams",
} | dict.fromkeys(
    (
        "ApplicationError",
        "CallFailed",
        "CallRefused",
        "CallTimeout",
        "Cancelled",
        "ClientClosed",
        "Conflict",
        "ConnectFailed",
        "ConnectionLost",
        "InternalError",
        "Interrupted",
        "InvalidParams",
        "InvalidRequest",
        "InvalidResult",
        "MessageTooLarge",
        "MethodNotFound",
        "NotSent",
        "Outcome",
        "OutcomeUnknown",
        "PermissionDenied",
        "RemoteError",
        "ResourceExhausted",
        "ResultTooLarge",
        "SuperdError",
        "Unavailable",
        "WrongServer",
    ),
    "errors",
)

__all__ = sorted(_HOME)  # noqa: PLE0605 - one list of names, not two


def __getattr__(name: str) -> object:
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module  # noqa: PLC0415 - only when a name is asked for

    value: object = getattr(import_module(f"superd_client.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
