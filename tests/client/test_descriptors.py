"""What holds for descriptors however a model holds them: each is used once, and closed once, whatever fails."""

import dataclasses
import fcntl
import os
from collections.abc import Iterator
from typing import Annotated, Any, Self

import pytest
from pydantic import AfterValidator, Field, ValidationError, model_validator

from superd_client import Blob, Fd, Message, Method, Upload
from superd_client.descriptors import Outgoing, Received
from superd_client.parser import CallParser
from superd_client.streams import UntypedItems
from superd_client.wire.client import ClientConnection
from superd_client.wire.control import ItemHead
from superd_client.wire.envelope import ItemRefused, MessageRefused, Mismatch, Reply, Request, Result
from superd_client.wire.errors import ErrorObject, InternalFault, RemoteProtocolError
from superd_client.wire.framing import encode_frame
from superd_client.wire.limits import BLOB_INLINE_MAX
from superd_client.wire.server import ServerConnection, StreamBroken

LARGE = BLOB_INLINE_MAX + 1


class File(Message):
    fd: Fd
    name: str


class Sized(Message):
    fd: Fd
    size: int


class Image(Message):
    fd: Blob
    width: int


@dataclasses.dataclass
class Pair:
    one: Fd
    two: Fd


class Nested(Message):
    either: File | Sized | Image | None = None
    many: tuple[File | Sized, ...] = ()
    pair: Pair | None = None
    named: dict[str, Fd] | None = None
    renamed: Fd | None = Field(default=None, alias="other-name")
    mixed: str | Fd | None = None


class Empty(Message):
    pass


nested = Method("a.nested", Nested, Nested)


@pytest.fixture
def null() -> Iterator[Fd]:
    with Fd(os.open(os.devnull, os.O_RDONLY)) as fd:
        yield fd


def copies(fd: Fd, count: int) -> list[int]:
    return [os.dup(fd.fileno()) for _ in range(count)]


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def read(text: str, fds: list[int], method: Method[Any, Any] = nested) -> Any:
    """The params, or the places and types of their faults. Nothing stays open."""
    received = Received(fds)
    try:
        return method.read_params(text.encode(), received)
    except ValidationError as error:
        return [(fault["loc"], fault["type"]) for fault in error.errors()]
    finally:
        received.close()
        assert not any(map(is_open, fds))


# --- where they stand ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('{"either":{"fd":0,"name":"a"}}', 1),
        ('{"either":{"fd":0,"size":1}}', 1),
        ('{"many":[{"fd":1,"size":1},{"fd":0,"name":"a"},{"fd":2,"size":1}]}', 3),
        ('{"pair":{"one":1,"two":0}}', 2),
        ('{"named":{"a":0,"b":1},"other-name":2,"mixed":3}', 4),
    ],
)
def test_every_place_takes_one(null: Fd, text: str, count: int) -> None:
    """The branches of a union that do not fit have looked at the descriptor too."""
    assert isinstance(read(text, copies(null, count)), Nested)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"many":[{"fd":0,"size":1},{"fd":0,"name":"a"}]}', ("many", 1, "fd")),
        ('{"either":{"fd":0,"size":1},"other-name":0}', ("other-name",)),
        ('{"pair":{"one":0,"two":0}}', ("pair", "two")),
        ('{"named":{"a":0,"b":0}}', ("named", "b")),
    ],
)
def test_a_second_use_is_a_fault_at_its_place(null: Fd, text: str, place: tuple[str | int, ...]) -> None:
    assert read(text, copies(null, 1)) == [(place, "fd_reused")]
    assert read(text, copies(null, 2)) == [(place, "fd_reused"), ((), "fd_surplus")]


def test_one_is_not_a_file_here_and_a_blob_there(null: Fd) -> None:
    class FileFirst(Message):
        file: Fd
        blob: Blob

    class BlobFirst(Message):
        blob: Blob
        file: Fd

    text = '{"file":0,"blob":{"memfd":0,"size":1}}'
    assert read(text, copies(null, 1), Method("a.b", FileFirst, int)) == [(("blob",), "fd_reused")]
    assert read(text, copies(null, 1), Method("a.b", BlobFirst, int))[-1] == (("file",), "fd_reused")


def test_a_validator_may_make_something_else_of_one(null: Fd) -> None:
    class Length(Message):
        length: Annotated[Fd, AfterValidator(length_of)]

    assert read('{"length":0}', copies(null, 1), Method("a.length", Length, int)).length == 0


def length_of(fd: Fd) -> Any:
    with fd:
        return os.fstat(fd.fileno()).st_size


def test_what_is_written_is_what_is_read(null: Fd) -> None:
    value = Nested.model_validate(
        {
            "either": Sized(fd=null, size=1),
            "many": (Sized(fd=null, size=2), File(fd=null, name="a")),
            "pair": Pair(null, null),
            "mixed": "text",
        }
    )
    body, outgoing = nested.write_result(value)
    assert outgoing is not None
    assert len(outgoing.fds) == 5
    came = read(body.decode(), copies(null, 5))
    outgoing.close()
    assert isinstance(came, Nested)
    assert came.many[1] == File.model_construct(fd=came.many[1].fd, name="a")


# --- what is closed when -----------------------------------------------------------------------------------------


class Picky(Message):
    """A model that closes what it refuses."""

    fd: Fd
    word: str

    @model_validator(mode="after")
    def refuse(self) -> Self:
        if self.word != "fine":
            self.fd.close()
            if self.word == "odd":
                raise RuntimeError
            message = "not fine"
            raise ValueError(message)
        return self


load = Upload("a.load", Empty, Picky, int)


def item(word: str, fds: int = 1) -> bytes:
    text = f'{{"fd":0,"word":"{word}"}}'
    return (
        f'{{"jsonrpc":"2.0","method":"rpc.item","params":{{"id":1,"seq":0,"item":{text}}},"meta":{{"fds":{fds}}}}}'
    ).encode()


@pytest.mark.parametrize(("word", "error"), [("bad", ItemRefused), ("odd", RuntimeError)])
def test_a_number_that_a_validator_closed_is_nobodys(null: Fd, word: str, error: type[Exception]) -> None:
    (number,) = copies(null, 1)
    with pytest.raises(error):
        load.items.decode(item(word), (number,), ItemHead(1, 0))
    assert not is_open(number)


@pytest.mark.parametrize(("word", "declared", "left"), [("bad", 1, 0), ("fine", 2, 1)])
def test_the_server_closes_no_number_of_an_item_that_was_refused(
    null: Fd, word: str, declared: int, left: int
) -> None:
    """It may be another descriptor's by now. An item that lies about its descriptors was not read."""
    server = ServerConnection()
    server.receive_data(encode_frame(b'{"jsonrpc":"2.0","id":1,"method":"a.load"}', 1 << 20))
    assert isinstance(server.next_event(), Request)
    server.open_inflow(1, 1, load.items.decode)
    server.receive_data(encode_frame(item(word, declared), 1 << 20), copies(null, 1))
    assert isinstance(server.next_event(), StreamBroken)
    surplus = server.take_surplus()
    assert len(surplus) == left
    for number in surplus:
        os.close(number)


class Watching:
    """A call that hands refusals on."""

    read_result = None
    read_item = None

    def decode(self, body: bytes, fds: Any, /) -> Reply:
        raise NotImplementedError

    def decode_item(self, body: bytes, fds: Any, head: ItemHead, /) -> Any:
        return load.items.decode(body, fds, head)


@pytest.mark.parametrize(("word", "declared", "left"), [("bad", 1, 0), ("fine", 2, 1)])
def test_the_client_closes_no_number_of_an_item_that_was_refused(
    null: Fd, word: str, declared: int, left: int
) -> None:
    client: ClientConnection[Watching] = ClientConnection()
    client.send_request("a.watch", b"{}", Watching())
    client.open_inflow(1, 1)
    client.receive_data(encode_frame(item(word, declared), 1 << 20), copies(null, 1))
    with pytest.raises(RemoteProtocolError):
        client.next_event()
    surplus = client.take_surplus()
    assert len(surplus) == left
    for number in surplus:
        os.close(number)


@pytest.mark.parametrize("second", ["5", "[]", "{}", '{"id":1,"seq":0}', '{"id":2,"seq":0,"item":1}'])
def test_an_item_whose_params_stand_there_twice(null: Fd, second: str) -> None:
    """The head is that of the first, and the last one counts."""
    body = item("fine").replace(b',"meta"', b',"params":%b,"meta"' % second.encode())
    for items in (load.items, UntypedItems()):
        numbers = copies(null, 1)
        with pytest.raises(MessageRefused):
            items.decode(body, numbers, ItemHead(1, 0))
        assert is_open(numbers[0])
        os.close(numbers[0])


@pytest.mark.parametrize("word", ["bad", "odd"])
def test_params_and_replies_close_all_that_their_validators_left(null: Fd, word: str) -> None:
    class Three(Message):
        fds: list[Fd]
        picky: Picky

    method = Method("a.three", Three, Three)
    value = f'{{"fds":[1,2],"picky":{{"fd":0,"word":"{word}"}}}}'
    numbers = copies(null, 3)
    request = f'{{"jsonrpc":"2.0","id":1,"method":"a.three","params":{value},"meta":{{"fds":3}}}}'.encode()
    answer = f'{{"jsonrpc":"2.0","id":1,"result":{value},"meta":{{"fds":3}}}}'.encode()
    refusal = CallParser([method])(request, numbers).params
    assert isinstance(refusal, ErrorObject if word == "bad" else InternalFault)
    assert not any(map(is_open, numbers))
    numbers = copies(null, 3)
    if word == "bad":
        assert isinstance(method.decode_reply(answer, numbers), Mismatch)
    else:
        with pytest.raises(RuntimeError):
            method.decode_reply(answer, numbers)
    assert not any(map(is_open, numbers))


def test_one_that_cannot_be_closed_does_not_keep_the_others_open(null: Fd) -> None:
    numbers = copies(null, 2)
    received = Received(numbers)
    owners = [received.take(index, Fd, Fd) for index in range(2)]
    os.close(numbers[0])  # behind its owner's back
    received.close()
    assert not any(map(is_open, numbers))

    outgoing = Outgoing()
    owners = [Fd(number) for number in copies(null, 2)]
    for owner in owners:
        outgoing.add(owner)
    outgoing.close()
    os.close(owners[0].fileno())
    outgoing.close_sources()
    assert all(owner.closed for owner in owners)


# --- blobs -------------------------------------------------------------------------------------------------------


class Album(Message):
    pictures: list[Blob]


album = Method("a.album", Album, Blob)


def test_what_a_peer_sends_inline_costs_no_descriptor() -> None:
    text = (b"A" * 4 * (LARGE // 3)).decode()
    came = read(f'{{"pictures":[{{"inline":"{text}"}},{{"inline":"{text}"}}]}}', [], album)
    assert [len(picture) for picture in came.pictures] == [LARGE // 3 * 3] * 2
    for picture in came.pictures:
        with pytest.raises(ValueError, match="no descriptor"):
            picture.fileno()


def test_a_large_one_that_came_inline_goes_on_in_a_memfd() -> None:
    text = (b"A" * 4 * (LARGE // 3 + 1)).decode()
    came = album.decode_reply(f'{{"jsonrpc":"2.0","id":1,"result":{{"inline":"{text}"}}}}'.encode())
    assert isinstance(came, Result)
    with came.value as blob:
        before = bytes(blob)
        body, outgoing = album.write_result(blob)
        assert outgoing is not None
        assert body == b'{"memfd":0,"size":%d}' % len(before)
        outgoing.close()
        assert bytes(blob) == before


@pytest.mark.parametrize("size", [0, 3, LARGE])
def test_a_share_is_closed_by_itself(size: int) -> None:
    blob = Blob(bytes(size))
    other = blob.share()
    blob.close()
    assert len(other) == size
    assert bytes(other) == bytes(size)
    other.close()


def test_a_closed_one_is_not_shared() -> None:
    blob = Blob(bytes(LARGE))
    blob.close()
    with pytest.raises(ValueError, match="closed"):
        blob.share()


@pytest.mark.parametrize("place", [0, 256 * 1024 - 1, 256 * 1024, 300_000 - 1])
def test_blobs_are_equal_by_all_their_bytes(place: int) -> None:
    data = bytearray(300_000)
    with Blob(data) as one, Blob(data) as same, Blob(data[:-1]) as shorter:
        data[place] = 1
        with Blob(data) as other:
            assert one == same
            assert one != other
            assert one != shorter


@pytest.mark.parametrize("value", ["{}", '{"memfd":0}', '{"size":3}', '{"inline":"","memfd":0,"size":1}'])
def test_a_blob_of_another_shape_is_one_fault(value: str) -> None:
    assert read(f'{{"pictures":[{value}]}}', [], album) == [(("pictures", 0), "blob_shape")]


def test_nobody_runs_a_blob() -> None:
    seals = {"executable": 0x0020}
    with Blob(bytes(LARGE)) as blob:
        found = fcntl.fcntl(blob.fileno(), fcntl.F_GET_SEALS)
        executable = os.fstat(blob.fileno()).st_mode & 0o111
    assert bool(found & seals["executable"]) != bool(executable)
