"""What both sides of a call agree on: a name, the models of params and result, the declared errors.

A contract is plain data and needs only superd-client, so that the daemon that serves a method and the daemons that
call it can import one module.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, Literal, NotRequired, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict, override

from superd_client.descriptors import Outgoing, Received, close_all, holds_descriptors, outgoing_of
from superd_client.fd import Fd
from superd_client.proving import Proof, proof_of
from superd_client.schemas import adapter_of
from superd_client.sensitive import Discreet, holds_secrets
from superd_client.strictjson import StrictReader, reader_of
from superd_client.wire.envelope import (
    STRICT,
    Failure,
    IdField,
    MessageRefused,
    Mismatch,
    Notification,
    Reply,
    ReplyMeta,
    Result,
    hide_sentences,
    list_faults,
    new_result,
    parse_json,
    parse_reply,
    request_head,
)
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.limits import METHOD_NAME_MAX
from superd_client.writing import TOO_DEEP, Writer, check_nesting, writer_of

P = TypeVar("P", bound=BaseModel)
R = TypeVar("R")

_PART: Final = r"[a-z][a-z0-9_]*"
_METHOD_NAME: Final = re.compile(rf"{_PART}(\.{_PART})+")

#: How many objects stand around params and results in their messages (§4), and around the detail of an error.
_AROUND_PAYLOAD: Final = 1
_AROUND_DETAIL: Final = 3


class Message(Discreet):
    """The base of models that travel: strict, frozen, no unknown members, no NaN, no input or secret in any text."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )


class Method(Generic[P, R]):
    """One method: `Method("inventory.lookup", Lookup, Item)`.

    `params` is a model that forbids unknown members (`Message` does); `result` is a model or any other type that
    pydantic can read and write. `idempotent` says that carrying a call out twice is the same as once. `errors` are
    the models of the failures that the method declares; they travel under their class names. `keyed` has clients send
    an idempotency key with each call, so that a repeat is not carried out twice but gets the first one's answer
    (protocol §20); neither params nor result may hold descriptors then, which cannot be given a second time.

    Raises ValueError for a name against protocol §6 and for a method that is both `idempotent` and `keyed`, TypeError
    for models that do not fit.
    """

    __slots__ = (
        "_error_writers",
        "_params_reader",
        "_params_writer",
        "_reply_reader",
        "_result_adapter",
        "_result_proof",
        "_result_reader",
        "_result_writer",
        "errors",
        "head",
        "holds_secrets",
        "idempotent",
        "keyed",
        "name",
        "params",
        "result",
        "summary",
    )

    def __init__(
        self,
        name: str,
        params: type[P],
        result: type[R],
        *,
        idempotent: bool = False,
        keyed: bool = False,
        errors: Sequence[type[BaseModel]] = (),
        summary: str = "",
    ) -> None:
        """Check the name and the models; build their validators."""
        check_method_name(name)
        for model in (params, *errors):
            _check_model(name, model)
        self.name: Final = name
        #: What its requests have between their id and their params.
        self.head: Final = request_head(name)
        self.params: Final = params
        self.result: Final = result
        self.idempotent: Final = idempotent
        self.keyed: Final = keyed
        self.errors: Final[Mapping[str, type[BaseModel]]] = {model.__name__: model for model in errors}
        self.summary: Final = summary
        #: Whether a secret may be in params, the result, or a declared error.
        self.holds_secrets = any(map(holds_secrets, (params, result, *errors)))
        self._params_writer: Writer[P] = writer_of(params, _AROUND_PAYLOAD)
        self._result_writer: Writer[R] = writer_of(result, _AROUND_PAYLOAD)
        self._error_writers: dict[type[BaseModel], Writer[Any]] = {
            model: writer_of(model, _AROUND_DETAIL) for model in errors
        }
        self._params_reader: StrictReader[P] = reader_of(params)
        #: Built at the first reply: who serves a method reads none.
        self._reply_reader: StrictReader[Any] | None = None
        self._result_reader: StrictReader[R] = reader_of(result)
        self._result_adapter: TypeAdapter[R] = adapter_of(result)
        self._result_proof: Proof[R] = proof_of(result)
        for model in errors:
            if holds_descriptors(adapter_of(model).core_schema):
                message = f"{name}: the declared error {model.__name__} cannot take descriptors along"
                raise TypeError(message)
        if keyed:
            self._check_keyed()

    def _check_keyed(self) -> None:
        if self.idempotent:
            message = f"{self.name}: an idempotent method may be carried out twice, and needs no keys"
            raise ValueError(message)
        if not self.is_repeatable:
            message = f"{self.name}: params and result of a keyed method cannot hold descriptors or blobs"
            raise TypeError(message)

    @property
    def is_repeatable(self) -> bool:
        """Whether an answer can be given a second time: neither params nor result hold descriptors."""
        return not (self._params_reader.holds_descriptors or self._result_reader.holds_descriptors)

    @property
    def result_holds_descriptors(self) -> bool:
        """Whether results may take descriptors along."""
        return self._result_reader.holds_descriptors

    @property
    def read_result(self) -> Callable[[bytes], R] | None:
        """Reads the JSON of a result by itself, where that says all; what it raises `decode_reply` puts into words."""
        return self._result_reader.read_inner

    @override
    def __repr__(self) -> str:
        """Show what a reader needs to recognise it."""
        return (
            f"Method({self.name!r}, {self.params.__name__}, {getattr(self.result, '__name__', self.result)})"
        )

    def write_params(self, params: P) -> tuple[bytes, Outgoing | None]:
        """Write params as JSON, with the descriptors that they take along; raises as `encode_params` does."""
        if self._params_reader.holds_descriptors:
            return write_with(lambda outgoing: self.encode_params(params, outgoing))
        if type(params) is not self.params:
            return self.encode_params(params), None
        return self._params_writer.write(params), None

    def encode_params(self, params: P, outgoing: Outgoing | None = None) -> bytes:
        """Write params as JSON; raises TypeError for another model's, ValueError for what no message can hold.

        The descriptors of params go into `outgoing`.
        """
        if not isinstance(params, self.params):
            message = f"{self.name}: params must be a {self.params.__name__}, not {type(params).__name__}"
            raise TypeError(message)
        return self._params_writer.write(params, outgoing)

    def read_params(self, value: bytes, received: Received | None = None) -> P:
        """Read params from JSON, with the descriptors that came along; raises pydantic's ValidationError."""
        return self._params_reader.read(value, received)

    def write_result(self, value: R) -> tuple[bytes, Outgoing | None]:
        """Write a result as JSON, with the descriptors that it takes along; raises as `encode_result` does."""
        if not self._result_reader.holds_descriptors:
            return self.encode_result(value), None
        return write_with(lambda outgoing: self.encode_result(value, outgoing))

    def encode_result(self, value: R, outgoing: Outgoing | None = None) -> bytes:
        """Write a result as JSON; raises ValueError if it is not what the method promises.

        What was written is checked once more, as the caller will read it: a model's own type says little, since
        `model_copy` and `model_construct` take any values.
        """
        if type(value) is not self.result:
            value = self._result_adapter.validate_python(value, strict=True)
        elif outgoing is None and self._result_proof.holds(value):
            return self._result_writer.write_proved(value)
        body = self._result_writer.write(value, outgoing)
        self._result_proof.check(value, body, outgoing.looked_at() if outgoing is not None else None)
        return body

    def decode_reply(self, body: bytes, fds: Sequence[int] = ()) -> Reply:
        """Read a reply to this method, with the descriptors that came along, which belong to its value.

        Raises MessageRefused if it is not a legal reply at all; the descriptors are the caller's then.
        """
        if fds:
            return self._decode_with(body, fds)
        try:
            fields = (self._reply_reader or self._replies).read(body)
        except ValidationError as error:
            return self._mismatch(body, error)
        if len(fields) > _RESULT_MEMBERS and fields["meta"].get("fds"):
            return Mismatch(fields["id"], fd_count_faults(fields["meta"]["fds"], 0))
        return new_result((fields["id"], fields["result"]))

    @property
    def _replies(self) -> StrictReader[Any]:
        if self._reply_reader is None:
            self._reply_reader = StrictReader(_reply_fields(self.result))
        return self._reply_reader

    def _decode_with(self, body: bytes, fds: Sequence[int]) -> Reply:
        reply = _only_reply(parse_reply(body))
        received = Received(fds)
        declared = _declared_fds(body)
        try:
            if isinstance(reply, Failure):
                received.close()
                return reply
            if declared != len(fds):
                received.close()
                return Mismatch(reply.id, fd_count_faults(declared, len(fds)))
            return Result(reply.id, self._replies.read(body, received)["result"])
        except ValidationError as error:
            received.close()
            return self._mismatch(body, error)
        except BaseException:  # what a model's own validator raised is the caller's to hear
            received.close()
            raise

    def _mismatch(self, body: bytes, error: ValidationError) -> Reply:
        reply = parse_reply(body)
        if isinstance(reply, Result):
            faults = list_faults(error, skip=1)["errors"]
            return Mismatch(reply.id, hide_sentences(faults) if self.holds_secrets else faults)
        return _only_reply(reply)

    def encode_error(self, detail: BaseModel, message: str) -> ErrorObject:
        """Write a declared error; raises ValueError for one that this method does not declare or no message holds."""
        name = type(detail).__name__
        if self.errors.get(name) is not type(detail):
            message = f"{self.name} does not declare the error {name}"
            raise ValueError(message)
        body = self._error_writers[type(detail)].write(detail)
        return ErrorObject(ErrorCode.APPLICATION_ERROR, message, {"type": name, "detail": from_json(body)})

    def decode_error(self, error: ErrorObject) -> BaseModel | None:
        """Read the model of a declared error; None if it is none of ours or does not fit."""
        model = self.errors.get(str(error.data.get("type")))
        if error.code != ErrorCode.APPLICATION_ERROR or model is None:
            return None
        try:
            return model.model_validate_json(to_json(error.data.get("detail")), strict=True)
        except ValidationError:
            return None


#: What becomes of a value of which nothing is known, and of the descriptors that came along: it owns them.
Keep: TypeAlias = Callable[[Any, Sequence[int]], Any]


def keep_value(value: Any, fds: Sequence[int]) -> Any:
    """The value alone. Closes the descriptors: nothing says what they are."""
    close_all(fds)
    return value


class UntypedMethod:
    """A method of which only the name is known: params and result are JSON data.

    `keep` makes what the caller gets of a result, or of an item of a stream, and of the descriptors that came along,
    which it owns; by default they are closed.
    """

    __slots__ = ("head", "keep", "name")

    #: An untyped method declares nothing, and nothing is known of its secrets.
    errors: Final[Mapping[str, type[BaseModel]]] = {}
    idempotent: Final = False
    keyed: Final = False
    holds_secrets: Final = False
    read_result: Final = None

    def __init__(self, name: str, keep: Keep = keep_value) -> None:
        """Take any name that is Unicode, else raise ValueError: whether it exists is for the server to say."""
        name.encode()
        self.name: Final = name
        self.head: Final = request_head(name)
        self.keep: Final = keep

    def write_params(self, params: object) -> tuple[bytes, Outgoing | None]:
        """Write params as JSON; an Fd in them travels along. Raises as `encode_params` does."""
        body, outgoing = write_with(lambda outgoing: self.encode_params(params, outgoing))
        return body, outgoing if outgoing is not None and outgoing.fds else None

    def encode_params(self, params: object, outgoing: Outgoing | None = None) -> bytes:
        """Write params as JSON; raises TypeError or ValueError for what JSON cannot say (NaN among it)."""
        if params is not None and not isinstance(params, Mapping):
            message = f"{self.name}: params are passed by name, as a mapping, not as {type(params).__name__}"
            raise TypeError(message)
        return write_json(
            dict(params or {}), _AROUND_PAYLOAD, lambda value: _write_descriptor(value, outgoing)
        )

    def decode_reply(self, body: bytes, fds: Sequence[int] = ()) -> Reply:
        """Read a reply; raises MessageRefused if it is not a legal one, and the descriptors are the caller's then."""
        reply = _only_reply(parse_reply(body))
        declared = _declared_fds(body) if fds or b'"fds"' in body else 0
        if isinstance(reply, Result) and declared == len(fds):
            return Result(reply.id, self.keep(reply.value, fds))
        close_all(fds)
        return Mismatch(reply.id, fd_count_faults(declared, len(fds))) if isinstance(reply, Result) else reply

    def decode_error(self, error: ErrorObject) -> BaseModel | None:  # noqa: ARG002 - the same shape as Method's
        """Know no model of any error."""
        return None


def as_method(method: "Method[P, R] | UntypedMethod | str") -> "Method[P, R] | UntypedMethod":
    """What a client was given as a method, of which it may know the name alone; raises ValueError as UntypedMethod does."""
    return UntypedMethod(method) if isinstance(method, str) else method


def write_with(encode: Callable[[Outgoing], bytes]) -> tuple[bytes, Outgoing | None]:
    """What `encode` writes, and what it takes along; nothing stays open if it raises."""
    outgoing = Outgoing()
    try:
        return encode(outgoing), outgoing
    except BaseException:
        outgoing.close()
        raise


def _write_descriptor(value: object, outgoing: Outgoing | None) -> int:
    if not isinstance(value, Fd):
        message = f"JSON cannot say a {type(value).__name__}"
        raise TypeError(message)
    return outgoing_of(outgoing).add(value)


#: How many members a result has, apart from `meta`.
_RESULT_MEMBERS: Final = 3


def fd_count_faults(declared: int, came: int) -> list[dict[str, Any]]:
    """The fault of a message that declares another number of descriptors than came with it."""
    message = f"the message declares {declared} descriptors, and {came} came with it"
    return [{"loc": [], "type": "fd_count", "msg": message}]


def check_method_name(name: str) -> None:
    """Raise ValueError for a name against protocol §6."""
    if not _METHOD_NAME.fullmatch(name) or len(name) > METHOD_NAME_MAX:
        message = (
            f"{name!r} is not a method name: it needs two or more parts joined by dots, each of lower-case letters, "
            f"digits and underscores, and at most {METHOD_NAME_MAX} characters"
        )
        raise ValueError(message)


def write_json(value: object, around: int, default: Callable[[Any], Any] | None = None) -> bytes:
    """Write data of no model, around which so many objects stand, and for what is no data what `default` makes of it.

    Raises TypeError or ValueError for what is no JSON.
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=default)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    body = text.encode()
    check_nesting(body, around)
    return body


def _check_model(method: str, model: object) -> None:
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        message = f"{method}: {model!r} is not a pydantic model"
        raise TypeError(message)
    if model.model_config.get("extra") != "forbid":
        message = (
            f"{method}: {model.__name__} must forbid unknown members: derive it from superd_client.Message"
        )
        raise TypeError(message)


def _reply_fields(result: object) -> Any:
    fields = {
        "jsonrpc": Literal["2.0"],
        "id": IdField,
        "result": result,
        "meta": NotRequired[ReplyMeta],
    }
    return with_config(STRICT)(TypedDict("ResultFields", fields))  # type: ignore[operator]  # mypy: a TypedDict made at run time


def _declared_fds(reply: bytes) -> int:
    """How many descriptors a legal reply says that come with it."""
    declared: int = parse_json(reply).get("meta", {}).get("fds", 0)
    return declared


def _only_reply(message: Result | Failure | Notification) -> Result | Failure:
    if isinstance(message, Notification):
        error = ErrorObject(ErrorCode.INVALID_REQUEST, "a notification in the place of a reply", {})
        raise MessageRefused(error)
    return message
