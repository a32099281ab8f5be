"""The contracts of streams: `Stream`, whose server sends items, and `Upload`, whose client does (protocol §14)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from typing_extensions import override

from superd_client.contract import (
    Keep,
    Method,
    P,
    R,
    fd_count_faults,
    keep_value,
    write_json,
    write_with,
)
from superd_client.descriptors import Outgoing, Received
from superd_client.proving import Proof, proof_of
from superd_client.schemas import adapter_of
from superd_client.sensitive import holds_secrets
from superd_client.strictjson import StrictReader, reader_of
from superd_client.wire.control import ItemHead, item_fields, read_item
from superd_client.wire.envelope import ItemRefused, MessageRefused, hide_sentences, list_faults
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.writing import Writer, writer_of

I = TypeVar("I")  # noqa: E741 - an item, as P are params and R is a result

#: How many objects stand around an item in its message (protocol §14.1).
_AROUND_ITEM: Final = 2

#: Where the item stands in its message, before the place of a fault in it.
_PLACE_OF_ITEM: Final = 2


class ItemCodec(Generic[I]):
    """Writes and reads the items of one stream."""

    __slots__ = (
        "_adapter",
        "_holds_secrets",
        "_item",
        "_message_reader",
        "_name",
        "_proof",
        "_reader",
        "_writer",
    )

    def __init__(self, name: str, item: type[I]) -> None:
        """Build the validators for items of the type `item`, of the method `name`."""
        self._name: Final = name
        self._item: Final = item
        self._holds_secrets: Final = holds_secrets(item)
        self._adapter: TypeAdapter[I] = adapter_of(item)
        self._writer: Writer[I] = writer_of(item, _AROUND_ITEM)
        self._reader: StrictReader[I] = reader_of(item)
        self._proof: Proof[I] = proof_of(item)
        #: Built at the first item: who sends them reads none.
        self._message_reader: StrictReader[Any] | None = None

    @property
    def read_item(self) -> Callable[[bytes], I] | None:
        """Reads the JSON of an item by itself, where that says all; what it raises `decode` puts into words."""
        return self._reader.read_inner

    def write(self, value: I) -> tuple[bytes, Outgoing | None]:
        """Write an item as JSON, with the descriptors that it takes along; raises as `encode` does."""
        if not self._reader.holds_descriptors:
            return self.encode(value), None
        return write_with(lambda outgoing: self.encode(value, outgoing))

    def encode(self, value: I, outgoing: Outgoing | None = None) -> bytes:
        """Write an item as JSON; raises ValueError if it is not what the contract promises."""
        if type(value) is not self._item:
            value = self._adapter.validate_python(value, strict=True)
        if outgoing is None and self._proof.holds(value):
            return self._writer.write_proved(value)
        body = self._writer.write(value, outgoing)
        self._proof.check(value, body, outgoing.looked_at() if outgoing is not None else None)
        return body

    def decode(self, body: bytes, fds: Sequence[int], head: ItemHead) -> I:
        """Read the whole message that `head` announces, with the descriptors that came along, which belong to the item.

        Raises MessageRefused, with faults where the item has some; the descriptors are the caller's then. They are
        closed where it raises ItemRefused, for a legal message whose item does not fit, or what a validator raises.
        """
        if fds:
            check_item(read_item(body), len(fds), head)
            item = self._read_with(body, Received(fds))
        else:
            fields = self._read(body, None)
            check_item(fields, 0, head)
            item = fields["params"]["item"]
        return item

    def _read_with(self, body: bytes, received: Received) -> I:
        """Read an item with descriptors. Its validators may close some: no number goes back to anybody from here."""
        try:
            item: I = self._read(body, received)["params"]["item"]
        except MessageRefused as refused:
            received.close()
            raise ItemRefused(refused.error) from None
        except BaseException:
            received.close()
            raise
        return item

    def _read(self, body: bytes, received: Received | None) -> Any:
        reader = self._message_reader
        if reader is None:
            reader = self._message_reader = StrictReader(item_fields(self._item))
        try:
            return reader.read(body, received)
        except ValidationError as error:
            faults = list_faults(error, skip=_PLACE_OF_ITEM)
            if self._holds_secrets:
                faults["errors"] = hide_sentences(faults["errors"])
            message = f"{self._name}: an item does not fit its model"
            raise MessageRefused(ErrorObject(ErrorCode.INVALID_PARAMS, message, faults)) from None


def check_item(fields: Mapping[str, Any], came: int, head: ItemHead) -> None:
    """Raise MessageRefused for an item with other descriptors than it declares, or another id or number than its head.

    The head was found at the first `params`; a second one is what counts, and may be anything.
    """
    meta = fields.get("meta")
    declared = meta.get("fds", 0) if isinstance(meta, Mapping) else 0
    if declared != came:
        faults = {"errors": fd_count_faults(declared, came)}
        raise MessageRefused(ErrorObject(ErrorCode.INVALID_REQUEST, faults["errors"][0]["msg"], faults))
    params = fields.get("params")
    if (
        not isinstance(params, Mapping)
        or (params.get("id"), params.get("seq")) != head
        or "item" not in params
    ):
        message = "an item whose id or number stands there twice"
        raise MessageRefused(ErrorObject(ErrorCode.INVALID_REQUEST, message, {}))


class Stream(Method[P, None], Generic[P, I]):
    """A method whose server sends items: `Stream("inventory.watch", Watch, Change)`.

    `item` is a model or any other type that pydantic can read and write; all else is as for a Method.
    """

    __slots__ = ("item", "items")

    def __init__(
        self,
        name: str,
        params: type[P],
        item: type[I],
        *,
        idempotent: bool = False,
        errors: Sequence[type[BaseModel]] = (),
        summary: str = "",
    ) -> None:
        """Check the name and the models; build their validators."""
        super().__init__(name, params, type(None), idempotent=idempotent, errors=errors, summary=summary)
        self.item: Final = item
        self.items: Final = ItemCodec(name, item)
        self.holds_secrets = self.holds_secrets or holds_secrets(item)

    @override
    def __repr__(self) -> str:
        """Show what a reader needs to recognise it."""
        return f"Stream({self.name!r}, {self.params.__name__}, {getattr(self.item, '__name__', self.item)})"


class Upload(Method[P, R], Generic[P, I, R]):
    """A method whose client sends items: `Upload("inventory.load", Load, Item, Summary)`.

    The handler may end, with its result, before the last item came.
    """

    __slots__ = ("item", "items")

    def __init__(
        self,
        name: str,
        params: type[P],
        item: type[I],
        result: type[R],
        *,
        errors: Sequence[type[BaseModel]] = (),
        summary: str = "",
    ) -> None:
        """Check the name and the models; build their validators."""
        super().__init__(name, params, result, errors=errors, summary=summary)
        self.item: Final = item
        self.items: Final = ItemCodec(name, item)
        self.holds_secrets = self.holds_secrets or holds_secrets(item)

    @override
    def __repr__(self) -> str:
        """Show what a reader needs to recognise it."""
        models = ", ".join(
            getattr(each, "__name__", str(each)) for each in (self.params, self.item, self.result)
        )
        return f"Upload({self.name!r}, {models})"


class UntypedItems:
    """The items of a stream of which only the name is known: JSON data. `keep` is as for an UntypedMethod."""

    __slots__ = ("_keep",)

    read_item: Final = None

    def __init__(self, keep: Keep = keep_value) -> None:
        """Read items so that `keep` says what they are."""
        self._keep: Final = keep

    def write(self, value: object) -> tuple[bytes, Outgoing | None]:
        """Write an item as JSON; it takes nothing along. Raises as `encode` does."""
        return self.encode(value), None

    def encode(self, value: object) -> bytes:
        """Write an item as JSON; raises ValueError or TypeError for what JSON cannot say."""
        return write_json(value, _AROUND_ITEM)

    def decode(self, body: bytes, fds: Sequence[int], head: ItemHead) -> Any:
        """Read the whole message that `head` announces; raises MessageRefused, and the descriptors are the caller's then."""
        fields = read_item(body)
        check_item(fields, len(fds), head)
        return self._keep(fields["params"]["item"], fds)
