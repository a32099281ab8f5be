import copy
import fcntl
import mmap
import os
import socket
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from superd_client import Blob, Message, Method
from superd_client.descriptors import Received
from superd_client.wire.envelope import Mismatch, Result
from superd_client.wire.limits import BLOB_INLINE_MAX, BLOB_SIZE_MAX

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Picture(Message):
    pixels: Blob


show = Method("a.show", Picture, Blob)


def memfd(data: bytes, seals: int = SEALS) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def read(fd: int, size: int) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(Blob)
    received = Received([fd])
    try:
        return adapter.validate_json(f'{{"memfd":0,"size":{size}}}', strict=True, context=received)
    except ValidationError as error:
        received.close()
        return error.errors()[0]["type"]


@pytest.mark.parametrize("size", [0, 1, BLOB_INLINE_MAX - 1, BLOB_INLINE_MAX, BLOB_INLINE_MAX + 1])
def test_there_and_back(size: int) -> None:
    data = os.urandom(size)
    with Blob(data) as blob:
        body, outgoing = show.write_result(blob)
        assert outgoing is not None
        fds = [os.dup(fd) for fd in outgoing.fds]
        outgoing.close()
        assert len(fds) == (size > BLOB_INLINE_MAX)
        meta = b',"meta":{"fds":1}' if fds else b""
        reply = show.decode_reply(b'{"jsonrpc":"2.0","id":1,"result":%b%b}' % (body, meta), fds)
        assert isinstance(reply, Result)
        with reply.value as came:
            assert (len(came), bytes(came), came == blob) == (size, data, True)
            assert came.view.readonly


def test_a_received_one_goes_on_without_a_copy() -> None:
    with Blob(b"x" * 100_000) as blob, read(os.dup(blob.fileno()), 100_000) as came:
        _, outgoing = show.write_params(Picture(pixels=came))
        assert outgoing is not None
        assert os.path.sameopenfile(outgoing.fds[0], blob.fileno())
        outgoing.close()


def test_filled_in_place() -> None:
    with Blob.allocate(3) as room:
        room.view[:] = b"abc"
        blob = room.seal()
    with blob:
        assert bytes(blob) == b"abc"
        with pytest.raises(PermissionError):
            os.write(blob.fileno(), b"x")


def test_room_that_is_not_sealed_is_given_up() -> None:
    with Blob.allocate(10) as room:
        room.view[0] = 1
    with pytest.raises(ValueError, match="negative"):
        room.seal()


def test_room_with_a_view_that_is_kept_is_not_sealed() -> None:
    with Blob.allocate(10) as room:
        kept = room.view[2:]
        with pytest.raises(BufferError):
            room.seal()
        kept.release()


@pytest.mark.parametrize("size", [-1, 0, BLOB_SIZE_MAX + 1])
def test_room_has_limits(size: int) -> None:
    with pytest.raises(ValueError, match="filled in place"):
        Blob.allocate(size)


@pytest.mark.parametrize(
    "missing", [fcntl.F_SEAL_SEAL, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_WRITE]
)
def test_each_seal_is_needed(missing: int) -> None:
    assert read(memfd(b"abc", SEALS & ~missing), 3) == "blob_not_sealed"


def test_a_seal_against_future_writes_is_not_enough() -> None:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, b"abc")
    with mmap.mmap(fd, 3) as still_writable:
        future = 0x0010  # F_SEAL_FUTURE_WRITE
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS & ~fcntl.F_SEAL_WRITE | future)
        assert read(fd, 3) == "blob_not_sealed"
        still_writable[0] = 1


@pytest.mark.parametrize(
    ("size", "fault"), [(2, "blob_size"), (4, "blob_size"), (0, "blob_size"), (-1, "blob_size")]
)
def test_the_size_is_what_is_said(size: int, fault: str) -> None:
    assert read(memfd(b"abc"), size) == fault


def test_the_largest_size() -> None:
    assert read(memfd(b"abc"), BLOB_SIZE_MAX + 1) == "blob_size"
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, BLOB_SIZE_MAX)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    assert read(fd, BLOB_SIZE_MAX) == "blob_sparse"


def test_a_sparse_one_is_refused() -> None:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, b"abc")
    os.ftruncate(fd, 1 << 20)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    assert read(fd, 1 << 20) == "blob_sparse"


def test_other_files_are_refused() -> None:
    reader, writer = os.pipe()
    left, right = socket.socketpair()
    with right:
        for fd in (reader, left.detach(), os.open("/etc/passwd", os.O_RDONLY)):
            assert read(fd, 3) == "blob_not_memfd"
    os.close(writer)


@pytest.mark.parametrize("text", ["QQ", "QQ==\\n", "Q Q=", "QQ=-", "é", "====", "QQ==QQ=="])
def test_other_base64_is_refused(text: str) -> None:
    reply = show.decode_reply(f'{{"jsonrpc":"2.0","id":1,"result":{{"inline":"{text}"}}}}'.encode())
    assert isinstance(reply, Mismatch)


@pytest.mark.parametrize(
    "value", ['"abc"', "{}", '{"inline":"","size":0}', '{"memfd":0}', '{"size":3}', '{"inline":1}', "null"]
)
def test_other_shapes_are_refused(value: str) -> None:
    assert isinstance(show.decode_reply(f'{{"jsonrpc":"2.0","id":1,"result":{value}}}'.encode()), Mismatch)


def test_an_index_that_another_field_took_is_refused() -> None:
    class Both(Message):
        one: Blob
        two: Blob

    method = Method("a.both", Both, int)
    fd = memfd(b"abc")
    received = Received([fd])
    text = b'{"one":{"memfd":0,"size":3},"two":{"memfd":0,"size":3}}'
    for _ in range(2):
        with pytest.raises(ValidationError, match="used once"):
            method.read_params(text, received)
    received.close()


def test_a_fault_stays_a_fault_when_it_is_read_again() -> None:
    received = Received([memfd(b"abc", fcntl.F_SEAL_GROW)])
    for _ in range(2):
        with pytest.raises(ValidationError, match="sealed"):
            show.read_params(b'{"pixels":{"memfd":0,"size":3}}', received)
    received.close()


def test_closing() -> None:
    blob = Blob(b"x" * 100_000)
    kept = blob.view[:3]
    fd = blob.fileno()
    blob.close()
    blob.close()
    assert bytes(kept) == b"xxx"
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    with pytest.raises(ValueError, match="closed"):
        _ = blob.view


def test_a_small_one_has_no_descriptor() -> None:
    with Blob(b"abc") as blob, pytest.raises(ValueError, match="no descriptor"):
        blob.fileno()


def test_it_is_not_copied_or_hashed() -> None:
    blob = Blob(b"abc")
    for take in (copy.copy, copy.deepcopy, hash):
        with pytest.raises(TypeError):
            take(blob)
    assert blob != b"abc"
    assert repr(blob) == "<Blob of 3 bytes>"
    assert Picture.model_json_schema()["properties"]["pixels"]["x-superd-type"] == "blob"


def test_memory_of_any_kind_is_taken() -> None:
    assert [bytes(Blob(data)) for data in (b"ab", bytearray(b"ab"), memoryview(b"xabx")[1:3])] == [b"ab"] * 3
