"""The head of a call whose params are not to be read: what it is, which call it is, and to whom the answer goes.

Params that do not fit their model may be 16 MiB of anything. Here they are parsed and never become Python objects.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import GetPydanticSchema, ValidationError, with_config
from pydantic_core import core_schema
from typing_extensions import TypedDict

from superd_client.strictjson import LAST_NAME_WINS, may_say_nan, reader_of
from superd_client.wire.envelope import (
    NO_META,
    STRICT,
    IdField,
    MetaFields,
    Notification,
    Request,
    parse_call,
)

#: Any value, which is not looked at.
_Ignored: Any = Annotated[
    None,
    GetPydanticSchema(
        lambda _source, _handler: core_schema.with_default_schema(
            core_schema.none_schema(), default=None, on_error="default"
        )
    ),
]


@with_config(STRICT)
class _Head(TypedDict):
    jsonrpc: Literal["2.0"]
    id: NotRequired[IdField]
    method: str
    params: NotRequired[_Ignored]
    meta: NotRequired[MetaFields]


def read_head(body: bytes) -> Request | Notification:
    """A call without its params; raises MessageRefused for what is not a legal one, as `parse_call` does."""
    if not LAST_NAME_WINS or may_say_nan(body):
        return parse_call(body)._replace(params=None)  # the words may stand in a string
    try:
        fields = reader_of(_Head).read(body)
    except ValidationError:
        return parse_call(body)._replace(params=None)
    meta = fields.get("meta", NO_META)
    if meta.get("fds"):
        return parse_call(body)._replace(params=None)
    if "id" in fields:
        return Request(fields["id"], fields["method"], None, meta)
    return Notification(fields["method"], None, meta)
