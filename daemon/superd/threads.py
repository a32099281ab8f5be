"""Plain functions and generators on worker threads, awaited on the loop."""

import asyncio
import contextlib
import contextvars
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, Final, Self

from superd.work import LATE, CallEnded, Work

#: What stands for the end of a generator: StopIteration cannot pass through a future.
_END: Final = object()


async def call_plain(workers: Executor, work: Work, *arguments: Any) -> Any:
    """Call the handler of `work` on a worker thread. Cancelled before its turn it does not begin; then it runs on."""
    run = contextvars.copy_context().run
    work.step = step = workers.submit(run, _guarded, work, work.endpoint.handler, *arguments)
    if work.keyed is not None:
        work.keyed.step = step
    if work.call.received is not None:
        step.add_done_callback(lambda _: work.release())
    value = await _done(step)
    # Not every function that returns an awaitable can be recognised beforehand.
    return await value if inspect.isawaitable(value) else value


class PlainItems:
    """The items of a plain generator, each made on a worker thread when it is asked for, one after the other."""

    def __init__(self, workers: Executor, work: Work, generator: Iterator[Any]) -> None:
        """Begin nothing yet."""
        self._workers = workers
        self._generator = generator
        self._work = work
        self._run = contextvars.copy_context().run
        self._step: Future[Any] | None = None

    def __aiter__(self) -> Self:
        """Iterate."""
        return self

    async def __anext__(self) -> Any:
        """Let the generator run to its next item."""
        self._step = self._workers.submit(self._run, _guarded, self._work, next, self._generator, _END)
        self._work.step = self._step
        value = await _done(self._step)
        if value is _END:
            raise StopAsyncIteration
        return value

    async def aclose(self) -> None:
        """Close the generator on a thread, once the step that runs there is over; wait only if none does."""
        if self._step is None:
            return
        if not self._step.done():
            self._step.add_done_callback(lambda _: self._submit_close())
        elif (closing := self._submit_close()) is not None:
            await asyncio.wrap_future(closing)

    def _submit_close(self) -> Future[None] | None:
        with contextlib.suppress(RuntimeError):  # the workers take nothing any more: superd stops
            return self._workers.submit(self._run, self._close)
        return None

    def _close(self) -> None:
        try:
            self._generator.close()  # type: ignore[attr-defined]  # an iterator made by a generator function has it
        except BaseException:
            self._work.context.log.exception("a generator failed when it was closed")


async def _done(step: Future[Any]) -> Any:
    """Wait for what a worker thread does.

    Where this is cancelled the step is not: it would stay in the queue of the workers all the same, where nobody
    counts it, for as long as they are busy. It is not begun when its turn comes (`_guarded`).
    """
    future = asyncio.wrap_future(step)
    future.add_done_callback(_look_at)
    return await asyncio.shield(future)


def _look_at(future: asyncio.Future[Any]) -> None:
    """What a thread raises after the cancellation is told by whoever keeps its outcome, and is no oversight."""
    if not future.cancelled():
        future.exception()


def _guarded(work: Work, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a plain function, unless its call was answered while it waited for a thread.

    Makes another error of those two that a future or an `await` takes for its own.
    """
    if work.answered:
        raise CallEnded(LATE)
    try:
        return function(*arguments)
    except (StopIteration, GeneratorExit) as error:
        message = f"the handler raised {type(error).__name__}"
        raise RuntimeError(message) from error
