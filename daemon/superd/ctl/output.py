"""The file that --output names: the bytes of the blobs that come."""

import contextlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Self

from pydantic import TypeAdapter, ValidationError

from superd.ctl.arrivals import Arrival
from superd.ctl.exits import FileNotWritten, UsageError
from superd_client.blob import Blob
from superd_client.descriptors import Received
from superd_client.errors import InvalidResult
from superd_client.fd import Fd
from superd_client.wire.envelope import list_faults

_blobs: Final = TypeAdapter(Blob)

#: What a new file may be used for, before the umask takes its part.
_MODE: Final = 0o666


class Output:
    """A file for blobs, one after the other. A context manager; what is in it is lost when the first blob has come."""

    def __init__(self, path: str) -> None:
        """Open it; raises UsageError where that cannot be."""
        try:
            self._fd: Final = Fd(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _MODE))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"{path}: cannot be written: {reason}") from None
        self._path: Final = path
        self.is_empty = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._fd.close()

    def write(self, arrival: Arrival, method: str) -> None:
        """Append the bytes of each blob in it, in their order.

        Raises InvalidResult for a blob that cannot be trusted, FileNotWritten where the file takes no more.
        """
        for blob in _find_blobs(arrival.value, arrival.descriptors, method):
            with blob:
                self._append(blob.view)

    def _append(self, view: memoryview) -> None:
        fd = self._fd.fileno()
        try:
            if self.is_empty and stat.S_ISREG(os.fstat(fd).st_mode):
                os.ftruncate(fd, 0)
            self.is_empty = False
            written = 0
            while written < len(view):
                written += os.write(fd, view[written:])
        except OSError as error:
            raise FileNotWritten(f"{self._path}: {error.strerror}") from error

    def finish(self) -> None:
        """Raise FileNotWritten where no blob came."""
        if self.is_empty:
            raise FileNotWritten(f"{self._path}: nothing was written, for no blob came")


def _find_blobs(value: object, descriptors: Sequence[Fd], method: str) -> Iterator[Blob]:
    """The blobs in a value, known by their members (protocol §16.1)."""
    if isinstance(value, list):
        for part in value:
            yield from _find_blobs(part, descriptors, method)
    elif isinstance(value, dict):
        if value.keys() in ({"inline"}, {"memfd", "size"}):
            yield _read_blob(value, descriptors, method)
        else:
            yield from _find_blobs(list(value.values()), descriptors, method)


def _read_blob(value: Mapping[str, Any], descriptors: Sequence[Fd], method: str) -> Blob:
    """Take a blob's descriptor over, and check it as the client library does."""
    index = value.get("memfd")
    fds: list[int] = []
    if isinstance(index, int) and 0 <= index < len(descriptors):
        with contextlib.suppress(ValueError):  # another blob has it
            fds.append(descriptors[index].detach())
        value = {**value, "memfd": 0}
    received = Received(fds)
    try:
        return _blobs.validate_json(json.dumps(value), context=received)
    except ValidationError as error:
        received.close()
        message = "a blob of the result cannot be taken"
        raise InvalidResult(message, data=list_faults(error), method=method) from None
