"""The composition root: makes every part, ties them together, runs them from start to stop.

The only module that sees everything. Order of a start: sockets, services, lifespans, accept, READY=1. Order of a
stop: no more accepts, the calls that run, lifespans, exit.
"""

import asyncio
import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import Any, Final

from superd import __version__
from superd.administration import Administrator
from superd.deadlines import now_usec
from superd.dispatch import Dispatcher
from superd.guard import Guard
from superd.idle_exit import IdleExit, usable_idle_exit
from superd.journal import MessageId, get_logger, set_log_level, without_secrets
from superd.lifecycle import Input, Lifecycle, State
from superd.listeners import Listener
from superd.parts import (
    ExitStatus,
    StartError,
    fit_descriptors,
    make_quotas,
    make_registry,
    open_listeners,
    passed_by_systemd,
    session_limits,
    timeouts_of,
    window_limits,
)
from superd.policy_load import PolicyError, enforce_policy
from superd.polling import loop_factory
from superd.provisions import PROVISIONS
from superd.registry import Registry
from superd.reload import Reloader
from superd.report import Reporter, StatusLine, limits_in_force, unit_of_service
from superd.restart import forget_stored, hand_over, take_over
from superd.sd.activation import Passed
from superd.sd.job import job_of
from superd.sd.notify import Notifier
from superd.sd.watchdog import Watchdog
from superd.server import Server
from superd.service import Service
from superd.settings import Settings
from superd.stats import Stats
from superd.tracebacks import hide_values
from superd.window import Window
from superd.window_kept import STORED_WINDOW, open_window
from superd_client.descriptors import close_all
from superd_client.heap import reuse_large_buffers
from superd_client.parser import CallParser

#: A full collection of cycles looks at all that lives, with every connection 20 objects, while nobody is served: 0.2 s at 10,000
#: connections. What a connection holds is freed without it, so it comes after 350,000 new objects, and not after 70,000; the
#: two younger generations are collected as often as ever (see gc.set_threshold).
_COLLECTIONS_UNTIL_FULL: Final = 50

#: What a start does not wait for, and the seconds until it is loaded all the same: an upgrade replaces the files of a daemon that runs,
#: and what it read of the new ones then need not fit. In 2 ms; a second is enough for whoever has waited for the start.
_LATE_IMPORT: Final = "superd.openrpc"
LATE_IMPORT_SECONDS: Final = 1.0

#: Seconds for worker threads that have nothing to do to end, where the drain took all its time.
_THREADS_GRACE: Final = 0.2


def run(settings: Settings, read_settings: Callable[[], Settings]) -> ExitStatus:
    """Serve until SIGTERM or SIGINT. Ends the process itself where a handler does not end.

    `read_settings` reads them again for a reload; raises SettingsError.
    """
    reuse_large_buffers()
    try:
        daemon = Daemon(fit_descriptors(settings), read_settings)
    except ValueError as error:
        get_logger().error("cannot start", message_id=MessageId.START_FAILED, reason=str(error))
        return ExitStatus.FAILED
    gc.set_threshold(*gc.get_threshold()[:2], _COLLECTIONS_UNTIL_FULL)
    with asyncio.Runner(loop_factory=loop_factory(settings.latency)) as runner:
        status = runner.run(daemon.run())
        if daemon.is_stuck:
            # Neither a thread nor a coroutine that ignores its cancellation can be ended, and the interpreter or
            # the runner would wait for it for ever.
            os._exit(status)
    return status


class Daemon:
    """One run of the daemon."""

    def __init__(self, settings: Settings, read_settings: Callable[[], Settings]) -> None:
        """Make the parts that need neither a socket nor a loop; raises ValueError for a wrong WATCHDOG_USEC."""
        self._settings = settings
        self._read_settings = read_settings
        self._log = get_logger()
        self._stats = Stats()
        self._quotas = make_quotas(settings)
        self._notifier = Notifier.from_environment()
        self._lifecycle = Lifecycle(self._notifier)
        self._watchdog = Watchdog.from_environment(self._notifier.watchdog)
        self._workers = ThreadPoolExecutor(settings.worker_threads, thread_name_prefix="superd-worker")
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._starting: asyncio.Task[Any] | None = None
        self._was_idle = False
        self.is_stuck = False

    async def run(self) -> ExitStatus:
        """Start, serve, stop; whatever ends the start is logged."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop_asked)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload.set)
        failure: StartError | None = None
        try:
            async with contextlib.AsyncExitStack() as stack:
                try:
                    await self._serve(stack)
                except StartError as error:
                    # Not raised through the lifespans that were entered: it is not their failure.
                    failure = error
        except Exception:  # noqa: BLE001 - a lifespan may raise anything when it ends; the journal gets it
            self._log.exception("stopped by an error", message_id=MessageId.START_FAILED)
            self._lifecycle.advance(Input.FAILED)
            return ExitStatus.FAILED
        finally:
            self._workers.shutdown(wait=False, cancel_futures=True)
        if failure is not None:
            self._log.error(
                "cannot start", message_id=MessageId.START_FAILED, reason=str(failure), exc_info=failure.cause
            )
            self._notifier.status(without_secrets(f"cannot start: {failure}"))
            self._lifecycle.advance(Input.FAILED)
            return failure.status
        self._lifecycle.advance(Input.DRAINED)
        self._log.info("stopped", message_id=MessageId.STOPPED, **self._totals())
        return ExitStatus.OK

    async def _serve(self, stack: contextlib.AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        stack.callback(self._watchdog.stop)  # called last: until then systemd waits for signs of life
        passed = passed_by_systemd()
        listeners = open_listeners(self._settings, passed)
        for listener in listeners:
            stack.callback(listener.close)
        reporter = Reporter(
            registry=lambda: registry,
            listeners=listeners,
            stats=self._stats,
            watchdog=self._watchdog,
            limits=limits_in_force(self._settings),
            quotas=self._quotas,
        )
        guard = Guard()
        administrator = Administrator(lambda: server, lambda log: reloader.reload(log))  # noqa: PLW0108 - it is made later
        registry = make_registry(self._settings, reporter, guard, administrator, self._stop_asked)
        # superd.__main__ has switched it off. Without the freeze all that was made since would be looked at now.
        gc.freeze()
        gc.enable()
        try:
            enforce_policy(self._settings, registry.accesses, guard)
        except PolicyError as error:
            raise StartError(f"the policy is wrong: {error.errors[0]}", ExitStatus.CONFIG) from error
        states = await self._enter_all(stack, registry.services)
        if states is None:
            self._lifecycle.advance(Input.STOP)
            return
        status_line = StatusLine(self._notifier, reporter.line)
        window = self._open_window(passed)
        dispatcher = self._dispatcher(registry, guard, states, window, status_line.changed)
        server = self._server(registry, dispatcher, listeners, status_line.changed)
        idle = IdleExit(server, self._stats, is_needed=partial(self._is_needed, window), leave=self._leave)
        reloader = Reloader(
            self._settings,
            read_settings=self._read_settings,
            accesses=registry.accesses,
            guard=guard,
            lifecycle=self._lifecycle,
            reporter=reporter,
            apply=partial(self._put_in_force, server, dispatcher, reporter, idle),
        )
        self._begin(server, passed)
        self._watchdog.start(loop)
        status_line.start(loop)
        idle.start(loop, usable_idle_exit(self._settings.idle_exit, listeners))
        gc.freeze()  # what is there now stays: no collection looks at it again
        self._lifecycle.advance(Input.STARTED, status=reporter.line())
        self._log.info("started", message_id=MessageId.STARTED, **self._identity(listeners, registry))
        hearing = loop.create_task(reloader.reload_on(self._reload, "SIGHUP"))
        loop.call_later(LATE_IMPORT_SECONDS, import_module, _LATE_IMPORT)
        await self._stop.wait()
        hearing.cancel()
        idle.stop()
        self._tell_stop()
        status_line.stop()
        await self._drain(server)

    def _tell_stop(self) -> None:
        if self._was_idle:
            seconds = self._settings.idle_exit
            self._lifecycle.advance(
                Input.STOP, status=f"idle for {seconds:g} s; the next connection starts superd"
            )
            self._log.info("idle, stopping", message_id=MessageId.IDLE_EXIT, idle_exit=seconds)
            return
        self._lifecycle.advance(Input.STOP)
        running = self._stats.calls_in_flight
        # Where nothing runs, the line that says "stopped" follows at once and says enough.
        tell = self._log.info if running else self._log.debug
        tell("stopping", message_id=MessageId.STOPPING, calls_in_flight=running)

    def _is_needed(self, window: Window) -> bool:
        """Whether superd must not leave, although there is nothing to serve.

        A stop empties the store of descriptors, and with it the window of keys: whoever repeats a call would not get its answer.
        """
        return self._lifecycle.state is not State.READY or window.promises(now_usec())

    def _leave(self) -> None:
        self._was_idle = True
        self._stop.set()

    def _open_window(self, passed: Passed) -> Window:
        """The keys that are known; where there is a service manager it keeps them over the end of this process."""
        limits, kept = window_limits(self._settings), passed.stored.pop(STORED_WINDOW, [])
        if self._settings.keep_connections and self._notifier.enabled:
            return open_window(limits, kept, self._notifier, now_usec())
        close_all(kept)
        return Window(limits, now_usec())

    def _begin(self, server: Server, passed: Passed) -> None:
        """Go on where the process before this one ended, and accept."""
        saved = take_over(passed.stored)
        server.start(saved)
        if passed.stored:
            forget_stored(self._notifier)
        if saved:
            self._log.info("connections taken over", message_id=MessageId.TAKEN_OVER, connections=len(saved))

    async def _enter_all(
        self, stack: contextlib.AsyncExitStack, services: Iterable[Service]
    ) -> dict[str, Any] | None:
        """Enter the lifespans in order; what they yield, or None where a signal to stop came meanwhile."""
        self._starting = task = asyncio.current_task()
        try:
            return {service.name: await _enter(stack, service) for service in services}
        except asyncio.CancelledError:
            if task is None or not self._stop.is_set():
                raise
            task.uncancel()
            return None
        finally:
            self._starting = None

    def _stop_asked(self) -> None:
        self._stop.set()
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None

    def _put_in_force(
        self, server: Server, dispatcher: Dispatcher, reporter: Reporter, idle: IdleExit, settings: Settings
    ) -> None:
        """Go on with other settings, of which those differ that a reload may change."""
        self._settings = settings
        set_log_level(settings.log_level)
        dispatcher.log_successes = settings.log_level == "debug"
        self._quotas.share_as(make_quotas(fit_descriptors(settings)))
        server.limit(session_limits(settings), timeouts_of(settings))
        reporter.limits = limits_in_force(settings)
        idle.limit(usable_idle_exit(settings.idle_exit, server.listeners))

    def _dispatcher(
        self,
        registry: Registry,
        guard: Guard,
        states: dict[str, Any],
        window: Window,
        on_change: Callable[[], None],
    ) -> Dispatcher:
        return Dispatcher(
            registry.endpoints,
            states=states,
            workers=self._workers,
            stats=self._stats,
            on_change=on_change,
            log_successes=self._settings.log_level == "debug",
            guard=guard,
            window=window,
            quotas=self._quotas,
        )

    def _server(
        self,
        registry: Registry,
        dispatcher: Dispatcher,
        listeners: list[Listener],
        on_change: Callable[[], None],
    ) -> Server:
        return Server(
            listeners,
            dispatcher=dispatcher,
            parse=CallParser(registry.methods),
            limits=session_limits(self._settings),
            timeouts=timeouts_of(self._settings),
            stats=self._stats,
            on_change=on_change,
        )

    async def _drain(self, server: Server) -> None:
        timeout = self._settings.drain_timeout
        deadline = time.monotonic() + timeout
        calls_ended = await self._end_serving(server, timeout)
        # A handler whose caller is gone may still run on a thread, and needs what its service's lifespan holds.
        threads_ended = await self._workers_end(max(deadline - time.monotonic(), _THREADS_GRACE))
        self.is_stuck = not threads_ended or self._stats.calls_in_flight > 0
        if not (calls_ended and threads_ended):
            self._log.warning(
                "calls still ran when the drain timeout ended; they were cancelled",
                message_id=MessageId.DRAIN_TIMEOUT,
                drain_timeout=timeout,
            )

    async def _end_serving(self, server: Server, timeout: float) -> bool:  # noqa: ASYNC109 - as for drain
        """Leave the connections to the next process, or close them; whether all calls ended in time."""
        if not await self._is_restarted():
            return await server.drain(timeout)
        deadline = time.monotonic() + timeout
        ended = await server.suspend(timeout)
        if not hand_over(server, self._notifier):
            return await server.drain(max(deadline - time.monotonic(), 0.0)) and ended
        await server.close()
        return ended

    async def _is_restarted(self) -> bool:
        """Whether another process is to follow. Where systemd does not say, it is assumed."""
        if self._was_idle or not (self._settings.keep_connections and self._notifier.enabled):
            return False
        units = unit_of_service()
        return units is None or await asyncio.to_thread(job_of, units) in ("restart", None)

    async def _workers_end(self, seconds: float) -> bool:
        """Whether all worker threads ended within so many seconds; they get no more work."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def wait() -> None:
            self._workers.shutdown(cancel_futures=True)
            with contextlib.suppress(RuntimeError):  # too late: the loop is closed
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=wait, name="superd-shutdown", daemon=True).start()
        try:
            await asyncio.wait_for(ended.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _identity(self, listeners: list[Listener], registry: Registry) -> dict[str, Any]:
        return {
            "version": __version__,
            "listeners": [listener.address for listener in listeners],
            "services": [service.name for service in registry.services],
        }

    def _totals(self) -> dict[str, Any]:
        stats = self._stats
        return {
            "calls_served": stats.calls_served,
            "calls_failed": stats.calls_failed,
            "calls_refused": stats.calls_refused,
            "connections_accepted": stats.connections_accepted,
        }


async def _enter(stack: contextlib.AsyncExitStack, service: Service) -> Any:
    """Enter a service's lifespan; raises StartError that names the service."""
    try:
        return await stack.enter_async_context(service.live(PROVISIONS))
    except Exception as error:
        message = f"the service {service.name} cannot start: {type(error).__name__}: {hide_values(error)}"
        raise StartError(message, ExitStatus.FAILED, error) from error
