"""The server's real parts in this process: a loop in a thread of its own, a socket, and blocking clients around it."""

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import uvloop

from superd.dispatch import Dispatcher
from superd.guard import Guard
from superd.listeners import Listener, bind_listener
from superd.peer import Caller
from superd.policy import Policy, Rules
from superd.quota import Quotas, Totals
from superd.registry import Registry
from superd.server import Server
from superd.service import Context, Service
from superd.services.echo import echo_service
from superd.services.protocol import protocol_service
from superd.session import SessionLimits
from superd.stalls import Timeouts
from superd.stats import Stats
from superd.window import Window
from superd_client.builtin import Hello, Nothing, ProtocolRange
from superd_client.contract import Method
from superd_client.parser import CallParser
from tests.daemon.logs import Changes, Logs, captured_logs
from tests.daemon.raw import PATIENCE, RawClient, echo

T = TypeVar("T")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
LOOPS: Final[dict[str, LoopFactory]] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
LIMITS: Final = SessionLimits(frame_size=1 << 20, calls_in_flight=64, write_buffer=1 << 16)


#: Nobody waits so long.
TIMEOUTS: Final = Timeouts(write=600.0, frame=600.0)


def service_of(
    handler: Callable[[Nothing, Context], Any], *, result: Any = str, name: str = "run", inline: bool = False
) -> Service:
    """A service `probe` of one method, `probe.run`, without params."""
    service = Service("probe")
    service.register(Method(f"probe.{name}", Nothing, result), handler, "public", inline=inline)
    return service


def hello() -> Hello:
    """What a server of the tests says of itself."""
    return Hello(
        protocol=ProtocolRange(min=1, max=1),
        features=(),
        limits={},
        version="1",
        unit=None,
        invocation_id=None,
    )


class Gate:
    """A handler that waits until the test opens it, and counts who is inside."""

    def __init__(self) -> None:
        self.running = 0
        self.cancelled = 0
        self._event = asyncio.Event()

    async def __call__(self, params: Nothing, context: Context) -> str:
        self.running += 1
        try:
            await self._event.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return "through"

    async def open(self) -> None:
        self._event.set()


class Running:
    """A server that runs, and what a test may know of it."""

    def __init__(self, path: str, logs: Logs, changes: Changes) -> None:
        self.path: Final = path
        self.logs: Final = logs
        self.changes: Final = changes
        self.stats: Final = Stats()
        self.quotas: Quotas
        self.dispatcher: Dispatcher
        self.loop: asyncio.AbstractEventLoop
        self.server: Server
        self.drained: bool | None = None
        #: What reached the loop's exception handler: nothing ever should.
        self.faults: list[dict[str, Any]] = []

    def client(self) -> RawClient:
        return RawClient(self.path)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin `coroutine` on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def in_flight(self, count: int) -> None:
        """Wait until so many calls run."""
        self.run(self._turn_until(lambda: self.stats.calls_in_flight == count))

    def until(self, predicate: Callable[[], bool]) -> None:
        """Wait until something is so that no count and no log line tells."""
        self.run(self._turn_until(predicate))

    async def _turn_until(self, predicate: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not predicate():  # noqa: ASYNC110 - a turn of the loop is what is waited for
                await asyncio.sleep(0)

    def turn(self, times: int = 50) -> None:
        """Have another peer served `times` times: all that was ready in the loop has been done since."""
        with self.client() as bystander:
            for number in range(times):
                assert bystander.ask(echo(str(number)))["result"] == {"text": str(number)}

    async def drain(self, timeout: float = PATIENCE) -> bool:  # noqa: ASYNC109 - Server.drain has it
        """Drain the server, once; whether all ended in time."""
        if self.drained is None:
            self.drained = await self.server.drain(timeout)
        return self.drained

    def wait(self, predicate: Callable[[Stats], bool], what: str) -> None:
        """Wait until the server's counts are so."""
        self.changes.wait_for(lambda: predicate(self.stats), f"{what}: {self.stats}")


@contextmanager
def running_server(
    *services: Service,
    loop: LoopFactory = asyncio.new_event_loop,
    limits: SessionLimits = LIMITS,
    connections: int = 64,
    timeouts: Timeouts = TIMEOUTS,
    workers: int = 2,
    states: Mapping[str, Any] | None = None,
    debug: bool = False,
    rules: Rules | None = None,
    discover: bool = False,
    window: Window | None = None,
    quotas: Quotas | None = None,
    listeners: Callable[[str], list[Listener]] = lambda path: [bind_listener(f"unix:{path}", 0o600)],
) -> Iterator[Running]:
    """Serve echo.echo and `services` until the end of the block; then drain, and fail for whatever is left behind."""
    changes = Changes()
    with tempfile.TemporaryDirectory(prefix="superd-") as folder, captured_logs(changes) as logs:
        running = Running(os.path.join(folder, "s"), logs, changes)  # noqa: PTH118
        running.quotas = quotas or Quotas(Totals(connections=connections), privileged=(0, os.geteuid()))
        pool = ThreadPoolExecutor(workers)
        ready, stop, leftovers = threading.Event(), asyncio.Event(), set[asyncio.Task[Any]]()

        async def serve() -> None:
            running.loop = asyncio.get_running_loop()
            running.loop.set_exception_handler(lambda _, context: running.faults.append(context))
            guard = Guard()

            def visible(caller: Caller) -> tuple[Method[Any, Any], ...]:
                return guard.visible(registry.methods, caller)

            built_in = [echo_service("1"), protocol_service("1", hello, visible if discover else None)]
            registry = Registry([*services, *built_in])
            guard.policy = Policy(rules or Rules(), registry.accesses, uid=os.geteuid(), gid=os.getegid())
            running.dispatcher = Dispatcher(
                registry.endpoints,
                states=states or {},
                workers=pool,
                stats=running.stats,
                on_change=changes.notify,
                log_successes=debug,
                guard=guard,
                window=window,
                quotas=running.quotas,
            )
            running.server = Server(
                listeners(running.path),
                dispatcher=running.dispatcher,
                parse=CallParser(registry.methods),
                limits=limits,
                timeouts=timeouts,
                stats=running.stats,
                on_change=changes.notify,
            )
            running.server.start()
            ready.set()
            await stop.wait()
            await running.drain()
            # What threads do goes on, and is charged to the end.
            await asyncio.to_thread(pool.shutdown)
            await asyncio.sleep(0)
            leftovers.update(asyncio.all_tasks() - {asyncio.current_task()})

        def main() -> None:
            with asyncio.Runner(loop_factory=loop) as runner:
                runner.run(serve())

        thread = threading.Thread(target=main)
        thread.start()
        try:
            assert ready.wait(PATIENCE)
            yield running
        finally:
            running.loop.call_soon_threadsafe(stop.set)
            thread.join(PATIENCE)
        assert not thread.is_alive()
        assert not leftovers
        assert not running.faults, running.faults
        assert not {quota.name: dict(quota.users()) for quota in running.quotas.all() if quota.users()}
        assert running.stats.connections_open == running.stats.calls_in_flight == 0
        assert not os.path.exists(running.path)  # noqa: PTH110
