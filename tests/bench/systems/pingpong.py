"""C on both sides: what two processes on a Unix socket can do at all. pingpong.c has both, and the comparison of bytes."""

import ctypes
from typing import Final

from typing_extensions import override

from tests.bench.client import CannotError, Client
from tests.bench.payload import WrongAnswerError, frame


class PingPong(Client):
    """One connection, one call at a time."""

    def __init__(self, address: str, size: int) -> None:
        """`address` is the socket's path; the library lies beside the socket."""
        super().__init__(address, size)
        self._library: Final = ctypes.CDLL(f"{address}.so")
        self._library.pingpong_calls.argtypes = (
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_long,
        )
        self._frame: Final = frame(size)
        self._fd = -1

    @override
    def open(self, count: int) -> None:
        if count > 1:
            raise CannotError("one connection at a time")
        self._fd = self._library.pingpong_connect(self.address.encode())
        self.sequential(1)

    @override
    def sequential(self, calls: int) -> None:
        if self._library.pingpong_calls(self._fd, self._frame, len(self._frame), calls):
            raise WrongAnswerError("other bytes came back than were sent")

    @override
    def in_flight(self, calls: int, width: int) -> None:
        raise CannotError("one call at a time")

    @override
    def spread(self, calls: int, active: int) -> None:
        raise CannotError("one connection at a time")

    @override
    def close(self) -> None:
        """The process ends."""
