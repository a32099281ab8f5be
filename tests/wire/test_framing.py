"""FrameDecoder and encode_frame beyond what the vectors say: every cut, memory, the work it takes."""

import tracemalloc
from bisect import bisect_left
from collections.abc import Generator
from itertools import accumulate, cycle
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superd_client.wire.errors import ErrorCode, LocalProtocolError, ProtocolError, RemoteProtocolError
from superd_client.wire.framing import FrameDecoder, FrameTooLarge, encode_frame
from superd_client.wire.limits import FRAME_SIZE_DEFAULT, FRAME_SIZE_MAX, FRAME_SIZE_MIN, HEADER_SIZE

KIB: Final = 1024
MIB: Final = 1024 * KIB

BODIES: Final = [b"{}", b"7", b'{"text":"\xc3\xa9"}', b"\x00\x00\x00\x01", b"x" * 40, b"[]"]
STREAM: Final = b"".join(encode_frame(body) for body in BODIES)


def frames_of(decoder: FrameDecoder) -> list[bytes]:
    frames = []
    while (body := decoder.next_frame()) is not None:
        frames.append(body)
    return frames


def feed(pieces: list[bytes], *, ask_each_time: bool) -> list[bytes]:
    decoder, frames = FrameDecoder(), []
    for piece in pieces:
        decoder.receive_data(piece)
        if ask_each_time:
            frames += frames_of(decoder)
    frames += frames_of(decoder)
    decoder.receive_eof()
    assert decoder.buffered == 0
    return frames


@pytest.fixture
def memory() -> Generator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("ask_each_time", [True, False])
@pytest.mark.parametrize("position", range(len(STREAM) + 1))
def test_every_split_position(position: int, ask_each_time: bool) -> None:
    assert feed([STREAM[:position], STREAM[position:]], ask_each_time=ask_each_time) == BODIES


@pytest.mark.parametrize("ask_each_time", [True, False])
def test_every_pair_of_split_positions(ask_each_time: bool) -> None:
    for first in range(len(STREAM)):
        for second in range(first, len(STREAM)):
            pieces = [STREAM[:first], STREAM[first:second], STREAM[second:]]
            assert feed(pieces, ask_each_time=ask_each_time) == BODIES


@pytest.mark.parametrize("ask_each_time", [True, False])
@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
def test_every_size_of_pieces(size: int, ask_each_time: bool) -> None:
    pieces = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert feed(pieces, ask_each_time=ask_each_time) == BODIES


@given(
    sizes=st.lists(st.sampled_from([1, 2, 5, 4095, 4096, 4097, 9000]), min_size=1, max_size=6),
    cuts=st.lists(st.tuples(st.integers(1, 9000), st.integers(0, 2), st.booleans(), st.booleans())),
)
def test_any_split_gives_the_same_bodies_and_descriptors(
    sizes: list[int], cuts: list[tuple[int, int, bool, bool]]
) -> None:
    """Whether bodies are asked for in between or not, and whether another decoder goes on (a restart) or not."""
    bodies = [bytes([number]) * size for number, size in enumerate(sizes)]
    ends = list(accumulate(HEADER_SIZE + size for size in sizes))
    stream, place = b"".join(map(encode_frame, bodies)), 0
    expected: list[list[int]] = [[] for _ in bodies]
    found, decoder = [], FrameDecoder()

    def ask() -> None:
        while (body := decoder.next_frame()) is not None:
            found.append((body, list(decoder.take_fds())))

    for size, fds, asks, moves in [*cuts, (len(stream), 1, True, False)]:
        piece = stream[place : place + size]
        if not piece:
            break
        place += len(piece)
        numbers = range(place * 10, place * 10 + fds)  # no descriptors: nobody closes them
        expected[bisect_left(ends, place)] += numbers
        decoder.receive_data(piece, numbers)
        if asks:
            ask()
        if moves:
            held, unread = decoder.buffered, decoder.take_unread()
            decoder = FrameDecoder()
            for data, came, _ in unread:
                decoder.receive_data(data, came)
            assert decoder.buffered == held
    ask()
    assert found == list(zip(bodies, expected, strict=True))
    assert not decoder.surplus


def test_bodies_are_bytes_of_their_own() -> None:
    decoder = FrameDecoder()
    for piece in (STREAM[:5], STREAM[5:]):
        decoder.receive_data(piece)
    first = decoder.next_frame()
    decoder.receive_data(b"\xff" * 64)
    assert type(first) is bytes
    assert first == BODIES[0]


def test_nothing_has_come() -> None:
    decoder = FrameDecoder()
    assert decoder.next_frame() is None
    assert decoder.buffered == 0
    decoder.receive_eof()


def test_an_empty_piece_changes_nothing() -> None:
    assert feed([b"", STREAM[:3], b"", STREAM[3:], b""], ask_each_time=True) == BODIES


def test_buffered_counts_what_was_not_handed_out() -> None:
    decoder = FrameDecoder()
    decoder.receive_data(encode_frame(b"{}") + b"\x00\x00")
    assert decoder.buffered == 8
    assert decoder.next_frame() == b"{}"
    assert decoder.buffered == 2
    decoder.receive_data(b"\x00\x02[")
    assert decoder.next_frame() is None
    assert decoder.buffered == 5


@pytest.mark.parametrize("limit", [FRAME_SIZE_MIN, 2000, FRAME_SIZE_DEFAULT])
def test_receiving_at_the_limit(limit: int) -> None:
    for length in (limit - 1, limit):
        decoder = FrameDecoder(limit)
        decoder.receive_data(length.to_bytes(4, "big"))
        assert decoder.next_frame() is None
        decoder.receive_data(bytes(length))
        assert decoder.next_frame() == bytes(length)
    decoder = FrameDecoder(limit)
    decoder.receive_data((limit + 1).to_bytes(4, "big"))
    with pytest.raises(RemoteProtocolError) as caught:
        decoder.next_frame()
    assert caught.value.error.code == ErrorCode.FRAME_TOO_LARGE
    assert caught.value.error.data == {"limit": limit, "length": limit + 1}


@pytest.mark.parametrize("limit", [FRAME_SIZE_MIN, 2000, FRAME_SIZE_DEFAULT])
def test_sending_at_the_limit(limit: int) -> None:
    for length in (limit - 1, limit):
        assert encode_frame(bytes(length), limit) == length.to_bytes(HEADER_SIZE, "big") + bytes(length)
    with pytest.raises(FrameTooLarge) as caught:
        encode_frame(bytes(limit + 1), limit)
    assert (caught.value.length, caught.value.limit) == (limit + 1, limit)
    assert isinstance(caught.value, LocalProtocolError)


def test_the_limit_is_16_mib_unless_said_otherwise() -> None:
    with pytest.raises(FrameTooLarge):
        encode_frame(bytes(FRAME_SIZE_DEFAULT + 1))
    decoder = FrameDecoder()
    decoder.receive_data((FRAME_SIZE_DEFAULT + 1).to_bytes(4, "big"))
    with pytest.raises(RemoteProtocolError):
        decoder.next_frame()


def test_lost_framing_stays_lost() -> None:
    decoder = FrameDecoder()
    decoder.receive_data(bytes(4) + encode_frame(b"{}"))
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            decoder.next_frame()


def test_errors_say_who_is_to_blame() -> None:
    assert issubclass(RemoteProtocolError, ProtocolError)
    assert issubclass(LocalProtocolError, ProtocolError)
    assert not issubclass(RemoteProtocolError, LocalProtocolError)


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("length", [FRAME_SIZE_DEFAULT, FRAME_SIZE_MAX])
def test_memory_does_not_grow_by_a_declared_length(length: int) -> None:
    decoder = FrameDecoder(FRAME_SIZE_MAX)
    decoder.receive_data(length.to_bytes(4, "big"))
    for _ in range(16):
        decoder.receive_data(b"x" * KIB)
        assert decoder.next_frame() is None
    assert decoder.buffered == HEADER_SIZE + 16 * KIB
    _, peak = tracemalloc.get_traced_memory()
    assert peak < 64 * KIB


@pytest.mark.usefixtures("memory")
def test_a_dribbled_frame_is_put_together_once() -> None:
    """Work linear in the bytes: a copy of the rest for each piece would make 2 GiB of copies here."""
    decoder, piece = FrameDecoder(), bytes(64 * KIB)
    decoder.receive_data(FRAME_SIZE_DEFAULT.to_bytes(4, "big") + piece)
    assert decoder.next_frame() is None
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    for _ in range(FRAME_SIZE_DEFAULT // len(piece) - 1):
        assert decoder.next_frame() is None
        decoder.receive_data(piece)
    _, peak = tracemalloc.get_traced_memory()
    assert peak - before < len(piece)  # the pieces are kept as they are
    assert decoder.next_frame() == bytes(FRAME_SIZE_DEFAULT)


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("sizes", [[1], [7], [1, 4096], [4095], [1, 1, 5000], [4096, 4095, 3]])
def test_what_comes_in_small_pieces_costs_what_it_is(sizes: list[int]) -> None:
    """An object for each byte would be forty times as much."""
    decoder, length = FrameDecoder(), 256 * KIB
    decoder.receive_data((2 * length).to_bytes(4, "big"))
    before, _ = tracemalloc.get_traced_memory()
    come = 0
    for size in cycle(sizes):
        if come >= length:
            break
        decoder.receive_data(bytes(size))
        assert decoder.next_frame() is None
        come += size
    held, _ = tracemalloc.get_traced_memory()
    assert decoder.buffered == HEADER_SIZE + come
    assert held - before < 1.25 * come


@pytest.mark.usefixtures("memory")
def test_the_memory_of_a_large_frame_is_given_back() -> None:
    decoder = FrameDecoder()
    whole = encode_frame(bytes(MIB))
    for start in range(0, len(whole), 64 * KIB):
        decoder.receive_data(whole[start : start + 64 * KIB])
    del whole
    assert decoder.next_frame() == bytes(MIB)
    assert decoder.next_frame() is None
    held, _ = tracemalloc.get_traced_memory()
    assert held < 64 * KIB


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_small_frame_costs_no_copy_of_what_follows_it(pieces: int) -> None:
    """10,000 frames in one read: a copy of the rest for each of them would be quadratic."""
    decoder = FrameDecoder()
    stream = encode_frame(b"{}") * (MIB // 6)
    half = len(stream) // pieces
    for start in range(0, len(stream), half):
        decoder.receive_data(stream[start : start + half])
    for _ in range(100):
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert decoder.next_frame() == b"{}"
        _, peak = tracemalloc.get_traced_memory()
        assert peak - before < 4 * KIB


def test_many_frames_with_a_rest_at_each_read() -> None:
    stream = encode_frame(b"[1,2]") * 3000
    pieces = [stream[start : start + 1000] for start in range(0, len(stream), 1000)]
    assert feed(pieces, ask_each_time=True) == [b"[1,2]"] * 3000


def test_a_frame_without_a_body_cannot_be_written() -> None:
    with pytest.raises(LocalProtocolError):
        encode_frame(b"")
