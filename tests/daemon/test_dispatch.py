"""What handlers may be, what they may do, and what becomes of it."""

import asyncio
import contextvars
import functools
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import pytest
from pydantic import BaseModel, JsonValue

from superd.service import Context, Service
from superd_client.builtin import Nothing
from superd_client.contract import Message, Method
from superd_client.errors import ApplicationError
from superd_client.wire.limits import NESTING_MAX
from tests.daemon.raw import echo, request
from tests.daemon.running import LIMITS, LoopFactory, running_server, service_of


class Item(Message):
    sku: str
    quantity: int = 0


class OutOfStock(Message):
    sku: str


class Undeclared(Message):
    sku: str


def run_once(handler: Callable[..., Any], *, result: Any = str, states: dict[str, Any] | None = None) -> Any:
    """The reply to one call of `handler`; the connection lives on."""
    with (
        running_server(service_of(handler, result=result), states=states) as server,
        server.client() as client,
    ):
        reply = client.ask(request("probe.run", None, 1, meta={"call_id": "c-1"}))
        assert client.ask(echo())["result"] == {"text": "hello"}
        return reply


# --- kinds of handlers -----------------------------------------------------------------------------------------


async def on_the_loop(params: Nothing, context: Context) -> str:
    assert asyncio.current_task() is not None
    return "loop"


def on_a_thread(params: Nothing, context: Context) -> str:
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    return "thread"


async def with_more(more: str, params: Nothing, context: Context) -> str:
    return more + await on_the_loop(params, context)


class Handlers:
    async def on_the_loop(self, params: Nothing, context: Context) -> str:
        return await on_the_loop(params, context)

    def on_a_thread(self, params: Nothing, context: Context) -> str:
        return on_a_thread(params, context)


class AsyncCallable:
    async def __call__(self, params: Nothing, context: Context) -> str:
        return await on_the_loop(params, context)


class PlainCallable:
    def __call__(self, params: Nothing, context: Context) -> str:
        return on_a_thread(params, context)


def wrapped(
    handler: Callable[[Nothing, Context], Awaitable[str]],
) -> Callable[[Nothing, Context], Awaitable[str]]:
    """As a decorator that keeps no `async def` would leave it."""

    @functools.wraps(handler)
    async def inner(params: Nothing, context: Context) -> str:
        return await handler(params, context)

    return inner


def unmarked(params: Nothing, context: Context) -> Awaitable[str]:
    """A plain function, to all appearance."""
    return on_the_loop(params, context)


@pytest.mark.parametrize(
    ("handler", "answer"),
    [
        (on_the_loop, "loop"),
        (on_a_thread, "thread"),
        (functools.partial(with_more, "partial "), "partial loop"),
        (functools.partial(on_a_thread), "thread"),
        (Handlers().on_the_loop, "loop"),
        (Handlers().on_a_thread, "thread"),
        (AsyncCallable(), "loop"),
        (functools.partial(AsyncCallable()), "loop"),
        (PlainCallable(), "thread"),
        (wrapped(on_the_loop), "loop"),
        (lambda params, context: "thread", "thread"),
        (unmarked, "loop"),
    ],
)
def test_kinds_of_handlers(handler: Callable[..., Any], answer: str) -> None:
    assert run_once(handler)["result"] == answer


# --- what they raise -------------------------------------------------------------------------------------------


def raising(error: BaseException | type[BaseException]) -> list[Callable[[Nothing, Context], Any]]:
    async def handle_async(params: Nothing, context: Context) -> str:
        raise error

    def handle_plain(params: Nothing, context: Context) -> str:
        raise error

    return [handle_async, handle_plain, handle_plain]


class Strange(BaseException):
    pass


FAILURES: list[BaseException] = [
    ValueError("secret"),
    SystemExit("secret"),
    KeyboardInterrupt("secret"),
    asyncio.CancelledError("secret"),
    StopIteration("secret"),
    StopAsyncIteration("secret"),
    RecursionError("secret"),
    MemoryError("secret"),
    Strange("secret"),
    GeneratorExit("secret"),
    BaseExceptionGroup("secret", [Strange("secret")]),
    ApplicationError(Undeclared(sku="secret"), "secret"),
    ApplicationError(None, "secret"),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", [0, 1, 2], ids=["async", "plain", "inline"])
def test_what_a_handler_raises_is_in_the_log_alone(error: BaseException, kind: int) -> None:
    service = service_of(raising(error)[kind], inline=kind == 2)
    with running_server(service) as server, server.client() as client:
        reply = client.ask(request("probe.run", None, 1, meta={"call_id": "c-1"}))
        assert reply == {
            "jsonrpc": "2.0",
            "id": 1,
            "error": {"code": -32603, "message": "internal error", "data": {"call_id": "c-1"}},
        }
        assert client.ask(echo())["id"] == 1
        (line,) = server.logs.about(event="call failed", call_id="c-1", method="probe.run", level="error")
        chain = [line["exc_info"], line["exc_info"].__cause__]
        assert type(error) in map(type, chain)
        assert line["peer_uid"] == os.getuid()
        assert line["peer_pid"] == os.getpid()
        assert line["duration_usec"] >= 0
        assert (server.stats.calls_served, server.stats.calls_failed) == (1, 1)


def one_method(handler: Callable[[Nothing, Context], Any]) -> Service:
    service = Service("probe")
    service.method(Method("probe.run", Nothing, Item, errors=[OutOfStock, Deep]))(handler)
    return service


class Deep(Message):
    value: JsonValue


def nested(depth: int) -> JsonValue:
    """A value that nests so deep, in a model with one member."""
    value: JsonValue = 0
    for _ in range(depth - 1):
        value = [value]
    return value


def declared_error(error: ApplicationError, frame_size: int = LIMITS.frame_size) -> Any:
    async def handle(params: Nothing, context: Context) -> Item:
        raise error

    limits = LIMITS._replace(frame_size=frame_size)
    with running_server(one_method(handle), limits=limits) as server, server.client() as client:
        reply = client.ask(request("probe.run", None, 1, meta={"call_id": "c-1"}))
        assert client.ask(echo())["id"] == 1
        (line,) = server.logs.about(event="call failed", call_id="c-1")
        assert line["code"] == reply["error"]["code"]
        assert server.stats.calls_failed == 1
        return reply["error"]


def test_a_declared_error() -> None:
    assert declared_error(ApplicationError(OutOfStock(sku="A-1"), "none left,\nnot one")) == {
        "code": -32000,
        "message": "none left,\nnot one",
        "data": {"type": "OutOfStock", "detail": {"sku": "A-1"}, "call_id": "c-1"},
    }


def test_a_message_that_json_cannot_say_is_escaped() -> None:
    error = declared_error(ApplicationError(OutOfStock(sku="A-1"), "no file \udcff"))
    assert error["message"] == r"no file \udcff"


def test_a_detail_that_json_cannot_say_is_an_internal_error() -> None:
    assert declared_error(ApplicationError(OutOfStock(sku="\udcff")))["code"] == -32603


def test_a_detail_that_nests_too_deep_is_an_internal_error() -> None:
    assert declared_error(ApplicationError(Deep(value=nested(NESTING_MAX - 3))))["code"] == -32000
    assert declared_error(ApplicationError(Deep(value=nested(NESTING_MAX - 2))))["code"] == -32603


def test_a_message_that_is_no_text_is_an_internal_error() -> None:
    assert declared_error(ApplicationError(OutOfStock(sku="A-1"), 7))["code"] == -32603  # type: ignore[arg-type]


def test_a_message_that_is_no_sentence_is_cut() -> None:
    error = declared_error(ApplicationError(OutOfStock(sku="A-1"), "x" * 100_000), frame_size=4096)
    assert error["code"] == -32000
    assert error["message"] == "x" * 512


def test_a_detail_that_fits_no_frame_is_left_out() -> None:
    error = declared_error(ApplicationError(OutOfStock(sku="x" * 5000), "big"), frame_size=4096)
    assert error == {"code": -32000, "message": "big", "data": {"call_id": "c-1"}}


# --- what they return ------------------------------------------------------------------------------------------


class SubItem(Item):
    more: str = "x"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        {"sku": 1},
        OutOfStock(sku="A-1"),
        Item.model_construct(sku=1),
        Item.model_construct(sku="A-1", quantity="many"),
        Item(sku="\ud800"),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
def test_what_the_result_model_refuses(value: object, is_async: bool) -> None:
    async def handle_async(params: Nothing, context: Context) -> Any:
        return value

    def handle_plain(params: Nothing, context: Context) -> Any:
        return value

    with (
        running_server(one_method(handle_async if is_async else handle_plain)) as server,
        server.client() as client,
    ):
        reply = client.ask(request("probe.run", None, 1, meta={"call_id": "c-1"}))
        assert reply["error"] == {"code": -32603, "message": "internal error", "data": {"call_id": "c-1"}}
        (line,) = server.logs.about(event="call failed", call_id="c-1", level="error")
        assert isinstance(line["exc_info"], ValueError)
        assert server.stats.calls_served == 0


def test_what_the_result_model_takes() -> None:
    assert run_once(lambda params, context: SubItem(sku="a"), result=Item)["result"] == {
        "sku": "a",
        "quantity": 0,
    }
    assert run_once(lambda params, context: [Item(sku="a")], result=list[Item])["result"] == [
        {"sku": "a", "quantity": 0}
    ]
    assert run_once(lambda params, context: {"sku": "a"}, result=Item)["result"] == {
        "sku": "a",
        "quantity": 0,
    }
    assert run_once(lambda params, context: None, result=type(None))["result"] is None


# --- context ---------------------------------------------------------------------------------------------------


def test_the_context() -> None:
    seen: list[Context] = []

    def look(params: Nothing, context: Context) -> str:
        seen.append(context)
        context.log.info("working", step=1)
        context.log.info("done")
        return ""

    with running_server(service_of(look), states={"probe": "state"}) as server, server.client() as client:
        client.ask(request("probe.run", None, 1, meta={"call_id": "c-1"}))
        (context,) = seen
        caller = context.caller
        assert (caller.uid, caller.gid, caller.pid) == (os.getuid(), os.getgid(), os.getpid())
        assert (context.method, context.call_id, context.state) == ("probe.run", "c-1", "state")
        (line,) = server.logs.about(event="working")
        assert line["step"] == 1
        assert (line["call_id"], line["method"], line["peer_uid"]) == ("c-1", "probe.run", os.getuid())
        assert server.logs.about(event="done", call_id="c-1", peer_pid=os.getpid(), peer_unit=caller.unit)
        with pytest.raises(AttributeError):
            context.more = 1  # type: ignore[attr-defined]


def test_a_service_without_lifespan_has_no_state() -> None:
    assert run_once(lambda params, context: str(context.state))["result"] == "None"


def test_call_ids_are_made_where_none_is_given() -> None:
    async def tell(params: Nothing, context: Context) -> str:
        return context.call_id

    with running_server(service_of(tell)) as server, server.client() as client:
        first, second = (client.ask(request("probe.run"))["result"] for _ in range(2))
        assert first != second
        assert first.rpartition("-")[0] == second.rpartition("-")[0]
        refused = client.ask(request("probe.walk"))["error"]["data"]["call_id"]
        assert server.logs.about(event="call refused", call_id=refused, code=-32601)


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE")


def test_context_variables_reach_worker_threads_and_stay_apart(loop_factory: LoopFactory) -> None:
    main = threading.get_ident()

    def look(params: Nothing, context: Context) -> str:
        assert threading.get_ident() != main
        before = VARIABLE.get("unset")
        VARIABLE.set("changed")
        return before

    async def make() -> None:
        VARIABLE.set("from the loop")
        server.server.start()

    with running_server(service_of(look), loop=loop_factory) as server:
        server.run(make())
        with server.client() as client:
            assert [client.ask(request("probe.run"))["result"] for _ in range(3)] == ["from the loop"] * 3


# --- counts and logs -------------------------------------------------------------------------------------------


def test_successes_are_logged_at_debug_alone() -> None:
    for debug in (False, True):
        with running_server(debug=debug) as server, server.client() as client:
            client.ask(echo())
            lines = server.logs.about(event="call served", method="echo.echo", level="debug")
            assert len(lines) == debug
            assert all(line["duration_usec"] >= 0 for line in lines)


def test_a_cancelled_call_that_waits_for_a_thread_is_not_begun() -> None:
    leave, begun = threading.Event(), list[int]()

    def block(params: BaseModel, context: Context) -> str:
        begun.append(1)
        assert leave.wait(20)
        return ""

    with running_server(service_of(block), workers=1) as server:
        client = server.client()
        client.send(request("probe.run", None, 1), request("probe.run", None, 2))
        server.in_flight(2)
        client.vanish()
        server.wait(lambda stats: stats.connections_open == 0, "the connection is gone")
        leave.set()
        with server.client() as other:
            assert other.ask(request("probe.run"))["result"] == ""
        assert len(begun) == 2


# --- what a service author gets wrong --------------------------------------------------------------------------


def method(name: str) -> Method[Nothing, str]:
    return Method(name, Nothing, str)


@pytest.mark.parametrize("name", ["", "Probe", "1probe", "pro-be", "pro.be", "probé", "probe\n"])
def test_what_is_no_service_name(name: str) -> None:
    with pytest.raises(ValueError, match="is not a service name"):
        Service(name)


def test_a_method_of_another_service() -> None:
    with pytest.raises(ValueError, match=r"must begin with probe\."):
        Service("probe").method(method("prober.run"))


def test_a_method_that_has_a_handler() -> None:
    service = service_of(on_the_loop)
    with pytest.raises(ValueError, match="has a handler already"):
        service.method(method("probe.run"))


def too_few(params: Nothing) -> str:
    return ""


def too_many(params: Nothing, context: Context, more: str) -> str:
    return more


def by_name(*, params: Nothing, context: Context) -> str:
    return ""


def never(params: Nothing, context: Context) -> NoReturn:
    raise AssertionError


@pytest.mark.parametrize("handler", [too_few, too_many, by_name, "text", None])
def test_a_handler_that_cannot_be_called(handler: Any) -> None:
    service = Service("probe")
    with pytest.raises(TypeError):
        service.method(method("probe.run"))(handler)
    assert not service.endpoints


def test_the_decorator_gives_the_handler_back() -> None:
    service = Service("probe", version="1.2", summary="A probe.")
    assert service.method(method("probe.run"))(never) is never
    assert (service.name, service.version, service.summary, service.lifespan) == (
        "probe",
        "1.2",
        "A probe.",
        None,
    )
    assert list(service.endpoints) == ["probe.run"]
