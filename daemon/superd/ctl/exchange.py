"""One call, stream or upload that a command line asks for, and what is written of its answer."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from superd.ctl.arrivals import Arrival, describe, keep_arrival
from superd.ctl.exits import ExitStatus, UsageError
from superd.ctl.session import Session
from superd_client.contract import UntypedMethod
from superd_client.errors import ApplicationError, CallTimeout, ConnectionLost
from superd_client.wire.errors import RemoteProtocolError

if TYPE_CHECKING:
    from superd.ctl.output import Output


class Exchange:
    """What comes goes to standard output, and the bytes of blobs to `output`."""

    def __init__(
        self,
        session: Session,
        name: str,
        options: Mapping[str, Any],
        output: "Output | None" = None,
        *,
        reveal: bool = False,
    ) -> None:
        """Prepare a call of the method `name`; `options` are the client's. Raises UsageError for what is no name.

        With `reveal`, what the server marks as secret is written as it is.
        """
        try:
            self._method: Final = UntypedMethod(name, keep_arrival)
        except UnicodeEncodeError:
            raise UsageError(f"{name!r}: not text that UTF-8 can say") from None
        self._session: Final = session
        self._options: Final = options
        self._output: Final = output
        self._reveal: Final = reveal

    def call(self, params: Mapping[str, Any]) -> ExitStatus:
        """Call it, and write the result."""
        with self._explained("call"):
            arrival = self._session.client.call(self._method, params, **self._options)
        self._write(arrival, self._session.streams.out.json)
        return self._finish()

    def stream(self, params: Mapping[str, Any]) -> ExitStatus:
        """Write each item in a line as it comes."""
        out, err = self._session.streams
        is_empty = True
        with (
            self._explained("stream"),
            self._session.client.stream(self._method, params, **self._options) as arrivals,
        ):
            for arrival in arrivals:
                is_empty = False
                self._write(arrival, out.json_line)
        if is_empty and (mistake := self._mistake("stream")):  # a call that was taken for a stream ends so
            err.line("superctl: ", mistake)
            return ExitStatus.FAILED
        return self._finish()

    def upload(self, params: Mapping[str, Any], items: Iterable[Any]) -> ExitStatus:
        """Send the items, and write the result."""
        out, err = self._session.streams
        try:
            with self._explained("upload"):
                arrival = self._session.client.upload(self._method, params, items, **self._options)
        except UsageError as error:  # a line that is no item; others may have been sent before it
            err.line("superctl: ", str(error))
            err.line("  ", "the upload was begun, and was cancelled")
            return ExitStatus.FAILED
        self._write(arrival, out.json)
        return self._finish()

    def _write(self, arrival: Arrival, write: Callable[[Any], None]) -> None:
        with arrival:
            write(self._shown(arrival.value))
            describe(arrival, self._session.streams.err)
            if self._output is not None:
                self._output.write(arrival, self._method.name)

    def _shown(self, value: Any) -> Any:
        """What is written of a value: on a terminal, without what the server marks as secret."""
        if self._reveal or not self._session.streams.out.is_terminal:
            return value
        from superd.ctl.covering import cover, find_method

        found = find_method(self._session, self._method.name)
        if found is None:
            return value
        method, interface = found
        schema = method.item if method.kind == "stream" else method.result.json_schema
        return cover(value, schema, interface)

    def _cover_detail(self, error: ApplicationError) -> None:
        """The detail of a declared error is written to the terminal, or to a log, in any case."""
        from superd.ctl.covering import cover, find_method

        found = None if self._reveal else find_method(self._session, self._method.name)
        if found is not None and "detail" in error.data:
            method, interface = found
            schema = method.errors.get(str(error.data.get("type")))
            error.data = {**error.data, "detail": cover(error.data["detail"], schema, interface)}

    def _finish(self) -> ExitStatus:
        if self._output is not None:
            self._output.finish()
        return ExitStatus.OK

    @contextlib.contextmanager
    def _explained(self, kind: str) -> Iterator[None]:
        """Note on an error that may come of it that the method was taken for one of another kind."""
        try:
            yield
        except ApplicationError as error:
            self._cover_detail(error)
            raise
        except (CallTimeout, ConnectionLost) as error:
            is_broken = isinstance(error.__cause__, RemoteProtocolError)
            if (is_broken or isinstance(error, CallTimeout)) and (mistake := self._mistake(kind)):
                error.add_note(mistake)
            raise

    def _mistake(self, kind: str) -> str | None:
        from superd.ctl.kinds import find_mistake

        return find_mistake(self._session, self._method.name, kind)
