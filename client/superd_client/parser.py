"""Reading requests for a known set of methods: envelope and params in one pass over the bytes.

Validating in one pass is faster than reading the envelope first, and it is also the only way that is right: in
strict mode pydantic takes a date, an enumeration or a set out of JSON, but not out of the Python data that a first
pass would leave.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NotRequired, TypeAlias, Union

from pydantic import Discriminator, ValidationError, with_config
from pydantic_core import to_json
from typing_extensions import TypedDict

from superd_client.contract import Method
from superd_client.descriptors import Received
from superd_client.head import read_head
from superd_client.strictjson import StrictReader
from superd_client.wire.envelope import (
    NO_META,
    STRICT,
    IdField,
    MessageRefused,
    MetaFields,
    Notification,
    Request,
    check_fds,
    fingerprint,
    hide_sentences,
    list_faults,
    parse_call,
    parse_json,
)
from superd_client.wire.errors import ErrorCode, ErrorObject, InternalFault
from superd_client.wire.limits import METHOD_NAME_MAX, NEAREST_LISTED_MAX

#: Why a call cannot be carried out: the faults of its params, as `list_faults` gives them, or of a validator.
_Reason: TypeAlias = dict[str, Any] | InternalFault


class CallParser:
    """Turns bodies into calls whose params are models.

    Where the method is unknown, its params do not fit, or a validator of the model raises what it should not, `params`
    is the ErrorObject to answer with: whether this caller may hear it is judged later.
    """

    def __init__(self, methods: Iterable[Method[Any, Any]]) -> None:
        """Build one validator for all `methods`; their names must differ."""
        self._methods: Final[Mapping[str, Method[Any, Any]]] = {method.name: method for method in methods}
        self._reader: Final = (
            StrictReader[Any](_call_fields(self._methods.values())) if self._methods else None
        )
        #: Reads the members of a call of one of these methods, whose params fit if there are any; raises anything otherwise,
        #: and does not look whether descriptors came.
        self.read_members: Final[Callable[[bytes], dict[str, Any]]] = (
            _read_nothing if self._reader is None else self._reader.read
        )
        #: How many parts of a fault's place stand before the params: of several methods the first is the name.
        self._place_of_params: Final = 1 if len(self._methods) == 1 else 2

    def __call__(self, body: bytes, fds: Sequence[int] = ()) -> Request | Notification:
        """Read one call; raises MessageRefused for what is not a legal one."""
        if fds:
            return self._read_with(body, fds)
        if self._reader is None:
            return self._explain(body, None)
        fields: Any = None
        reason: _Reason | None = None
        try:
            fields = self._reader.read(body)
        except ValidationError as error:
            # Not the error itself: it holds the input as Python objects.
            reason = list_faults(error, skip=self._place_of_params)
        except MessageRefused:
            raise
        except Exception as error:  # noqa: BLE001 - a model's validator may raise anything
            reason = InternalFault.of(error)
        if fields is None or "params" not in fields:
            return self._explain(body, reason)
        meta = fields.get("meta", NO_META)
        if meta.get("fds"):
            check_fds(meta["fds"], (), fields.get("id"))
        mark = None
        if "idempotency_key" in meta:
            # The params as they were sent: what a model writes of itself may leave things out, such as secrets.
            mark = fingerprint(fields["method"], parse_json(body)["params"])
        if "id" in fields:
            return Request(fields["id"], fields["method"], fields["params"], meta, None, mark)
        return Notification(fields["method"], fields["params"], meta, None, mark)

    def _read_with(self, body: bytes, fds: Sequence[int]) -> Request | Notification:
        """Read a call with descriptors. The envelope comes first: until it is known to be legal they are not ours."""
        call = parse_call(body, fds)
        received = Received(fds)
        method = self._methods.get(call.method)
        if method is None:
            received.close()
            return call._replace(params=self._not_found(call.method), received=None)
        try:
            params = method.read_params(to_json(call.params, inf_nan_mode="strings"), received)
        except ValidationError as error:
            received.close()
            return call._replace(params=_invalid_params(list_faults(error), method), received=None)
        except Exception as error:  # noqa: BLE001 - a model's validator may raise anything
            received.close()
            return call._replace(params=InternalFault.of(error), received=None)
        except BaseException:
            received.close()
            raise
        return call._replace(params=params, received=received)

    def _explain(self, body: bytes, reason: _Reason | None) -> Request | Notification:
        """Say what is wrong, for a `reason` that reading gave; None for a call without params, or an unknown method."""
        call = read_head(body)
        method = self._methods.get(call.method)
        if method is None:
            return call._replace(params=self._not_found(call.method))
        if isinstance(reason, InternalFault):
            return call._replace(params=reason)
        if reason is not None:  # in a legal envelope all faults are of the params
            return call._replace(params=_invalid_params(reason, method))
        if "idempotency_key" in call.meta:
            call = call._replace(fingerprint=fingerprint(call.method, {}))
        try:
            return call._replace(params=method.read_params(b"{}"))
        except ValidationError as fault:
            return call._replace(params=_invalid_params(list_faults(fault), method))
        except Exception as fault:  # noqa: BLE001 - a model's validator may raise anything
            return call._replace(params=InternalFault.of(fault))

    def _not_found(self, name: str) -> ErrorObject:
        return method_not_found(_nearest(name[:METHOD_NAME_MAX], self._methods))


def _read_nothing(_body: bytes) -> dict[str, Any]:
    raise KeyError("there are no methods")


def method_not_found(nearest: list[str]) -> ErrorObject:
    """The error for a method that is not there; `nearest` are the names that look like it, the best first."""
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return ErrorObject(ErrorCode.METHOD_NOT_FOUND, f"method not found{hint}", {"nearest": nearest})


#: Names compared with an unknown one. Each costs some 35 us, which a peer could make us spend on every call, while all
#: other peers wait.
_COMPARED_MAX: Final = 8


def _nearest(name: str, known: Iterable[str]) -> list[str]:
    """The known names that look most like `name`: first those that share a part with it."""
    import difflib  # noqa: PLC0415 - only for a wrong name, and no start waits for it

    parts = set(name.split("."))
    by_length = sorted(known, key=lambda other: abs(len(other) - len(name)))
    related = [other for other in by_length if not parts.isdisjoint(other.split("."))]
    return difflib.get_close_matches(
        name, (related or by_length)[:_COMPARED_MAX], n=NEAREST_LISTED_MAX, cutoff=0.5
    )


def _invalid_params(data: dict[str, Any], method: Method[Any, Any]) -> ErrorObject:
    if method.holds_secrets:
        data["errors"] = hide_sentences(data["errors"])
    first = data["errors"][0]
    place = ".".join(str(part) for part in first["loc"]) or "params"
    return ErrorObject(ErrorCode.INVALID_PARAMS, f"invalid params: {place}: {first['msg']}", data)


def _call_fields(methods: Iterable[Method[Any, Any]]) -> Any:
    shapes = tuple(_one_call(method) for method in methods)
    if len(shapes) == 1:
        return shapes[0]
    return Annotated[Union[shapes], Discriminator("method")]  # noqa: UP007 - a tuple has no | form


def _one_call(method: Method[Any, Any]) -> Any:
    fields = {
        "jsonrpc": Literal["2.0"],
        "id": NotRequired[IdField],
        "method": Literal[method.name],
        "params": NotRequired[method.params],
        "meta": NotRequired[MetaFields],
    }
    return with_config(STRICT)(TypedDict("CallFields", fields))  # type: ignore[operator]  # mypy: a TypedDict made at run time
