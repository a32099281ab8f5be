import copy
import os
import pickle
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from superd_client import Fd, Message, Method, Stream
from superd_client.contract import UntypedMethod
from superd_client.descriptors import Outgoing, Received, holds_descriptors
from superd_client.parser import CallParser
from superd_client.wire.control import ItemHead
from superd_client.wire.envelope import ItemRefused, MessageRefused, Mismatch, Request, Result
from superd_client.wire.errors import ErrorObject
from superd_client.wire.limits import FDS_PER_FRAME_MAX


class Two(Message):
    first: Fd
    others: tuple[Fd, ...] = ()


class Plain(Message):
    text: str = ""


pass_two = Method("a.two", Two, Fd)
plain = Method("a.plain", Plain, int)
watch = Stream("a.watch", Plain, Two)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        if is_open(end):
            os.close(end)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def request(params: str, fds: int | None, method: str = "a.two") -> bytes:
    meta = "" if fds is None else f',"meta":{{"fds":{fds}}}'
    return f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}{meta}}}'.encode()


# --- one owner -------------------------------------------------------------------------------------------------------


def test_a_number_is_taken_over(pipe: tuple[int, int]) -> None:
    fd = Fd(pipe[0])
    assert (fd.fileno(), fd.closed, repr(fd)) == (pipe[0], False, f"<Fd {pipe[0]}>")
    fd.close()
    fd.close()
    assert (fd.closed, repr(fd), is_open(pipe[0])) == (True, "<Fd closed>", False)
    with pytest.raises(ValueError, match="closed"):
        fd.fileno()


def test_what_has_a_descriptor_is_duplicated() -> None:
    left, right = socket.socketpair()
    with left, right, Fd(left) as fd:
        assert fd.fileno() != left.fileno()
        assert os.path.sameopenfile(fd.fileno(), left.fileno())
        assert not os.get_inheritable(fd.fileno())
    assert fd.closed


def test_a_detached_one_is_the_callers(pipe: tuple[int, int]) -> None:
    fd = Fd(pipe[0])
    assert fd.detach() == pipe[0]
    assert fd.closed
    assert is_open(pipe[0])


def test_what_is_no_descriptor_is_refused() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        Fd(10**6)


def test_a_forgotten_one_is_closed_with_a_warning(pipe: tuple[int, int]) -> None:
    fd = Fd(pipe[0])
    with pytest.warns(ResourceWarning, match="unclosed <Fd"):
        del fd
    assert not is_open(pipe[0])


def test_it_has_one_owner(pipe: tuple[int, int]) -> None:
    with Fd(pipe[0]) as fd:
        for take in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="one owner"):
                take(fd)


# --- in messages -----------------------------------------------------------------------------------------------------


def test_which_types_hold_descriptors() -> None:
    holding: list[Any] = [Fd, Two, list[Fd], Fd | None, dict[str, Two]]
    assert all(holds_descriptors(TypeAdapter(source).core_schema) for source in holding)
    others: list[Any] = [Plain, int, dict[str, str]]
    assert not any(holds_descriptors(TypeAdapter(source).core_schema) for source in others)
    assert Two.model_json_schema()["properties"]["first"]["x-superd-type"] == "fd"


def test_params_there_and_a_result_back(pipe: tuple[int, int]) -> None:
    with Fd(pipe[0]) as first, Fd(pipe[1]) as second:
        body, outgoing = pass_two.write_params(Two(first=first, others=(second,)))
        assert outgoing is not None
        assert body == b'{"first":0,"others":[1]}'
        call = CallParser([pass_two])(request(body.decode(), 2), [os.dup(fd) for fd in outgoing.fds])
        outgoing.close()
        assert not first.closed
        assert os.path.sameopenfile(call.params.others[0].fileno(), second.fileno())

        answer, outgoing = pass_two.write_result(call.params.first)
        assert outgoing is not None
        reply = pass_two.decode_reply(
            b'{"jsonrpc":"2.0","id":1,"result":%b,"meta":{"fds":1}}' % answer, [os.dup(outgoing.fds[0])]
        )
        outgoing.close()
        assert isinstance(reply, Result)
        with reply.value as came:
            assert os.path.sameopenfile(came.fileno(), first.fileno())
        call.received.close()
        assert call.params.first.closed
        assert call.params.others[0].closed


def test_a_handler_that_detaches_keeps_it(pipe: tuple[int, int]) -> None:
    call = CallParser([pass_two])(request('{"first":0}', 1), [pipe[0]])
    assert call.params.first.detach() == pipe[0]
    call.received.close()
    assert is_open(pipe[0])


@pytest.mark.parametrize(
    ("params", "sent", "fault"),
    [
        ('{"first":1}', 1, "fd_missing"),
        ('{"first":0,"others":[0]}', 1, "fd_reused"),
        ('{"first":0}', 2, "fd_surplus"),
        ('{"first":-1}', 1, "greater_than_equal"),
        ('{"first":"0"}', 1, "int_type"),
        ('{"first":0,"others":[1,"x"]}', 2, "int_type"),
        ('{"first":0,"unknown":1}', 1, "extra_forbidden"),
    ],
)
def test_faults_of_params_close_everything(pipe: tuple[int, int], params: str, sent: int, fault: str) -> None:
    fds = pipe[:sent]
    call = CallParser([pass_two, plain])(request(params, sent), fds)
    assert isinstance(call.params, ErrorObject)
    assert fault in [each["type"] for each in call.params.data["errors"]]
    assert call.received is None
    assert not any(map(is_open, fds))


def test_params_without_the_descriptors_that_they_need() -> None:
    call = CallParser([pass_two])(request('{"first":0}', None))
    assert [each["type"] for each in call.params.data["errors"]] == ["fd_missing"]


@pytest.mark.parametrize(("declared", "sent"), [(1, 0), (2, 1), (1, 2), (0, 1), (None, 1)])
def test_another_number_than_declared_is_refused_and_left_to_the_caller(
    pipe: tuple[int, int], declared: int | None, sent: int
) -> None:
    parse = CallParser([pass_two, plain])
    method, params = ("a.two", '{"first":0}') if sent else ("a.plain", "{}")
    with pytest.raises(MessageRefused, match="descriptors, and") as caught:
        parse(request(params, declared, method), pipe[:sent])
    assert caught.value.id == 1
    assert all(map(is_open, pipe))


def test_an_unknown_method_and_one_without_fds_close_them(pipe: tuple[int, int]) -> None:
    parse = CallParser([plain])
    assert parse(request("{}", 1, "a.unknown"), pipe[:1]).params.code == -32601
    surplus = parse(request("{}", 1, "a.plain"), pipe[1:])
    assert [each["type"] for each in surplus.params.data["errors"]] == ["fd_surplus"]
    assert not any(map(is_open, pipe))


def test_replies_with_another_number_than_declared(pipe: tuple[int, int]) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"result":0%b}'
    for meta, fds in ((b"", pipe[:1]), (b',"meta":{"fds":2}', pipe[1:]), (b',"meta":{"fds":1}', ())):
        reply = pass_two.decode_reply(body % meta, fds)
        assert isinstance(reply, Mismatch)
    assert not any(map(is_open, pipe))
    assert isinstance(plain.decode_reply(body % b',"meta":{"fds":1}'), Mismatch)


def test_a_failure_that_brings_descriptors_closes_them(pipe: tuple[int, int]) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"m"}}'
    pass_two.decode_reply(body, pipe[:1])
    UntypedMethod("a.b").decode_reply(body, pipe[1:])
    assert not any(map(is_open, pipe))


def test_who_keeps_the_descriptors_of_an_untyped_result_owns_them(pipe: tuple[int, int]) -> None:
    method = UntypedMethod("a.b", lambda value, fds: (value, list(fds)))
    body = b'{"jsonrpc":"2.0","id":1,"result":[0,1]%b}'
    kept = method.decode_reply(body % b',"meta":{"fds":2}', pipe)
    assert kept == Result(1, ([0, 1], list(pipe)))
    assert method.decode_reply(body % b"") == Result(1, ([0, 1], []))
    assert all(map(is_open, pipe))
    for meta, fds in ((b',"meta":{"fds":1}', ()), (b"", pipe[:1]), (b',"meta":{"fds":2}', pipe[1:])):
        assert isinstance(method.decode_reply(body % meta, fds), Mismatch)
    assert not any(map(is_open, pipe))


def test_no_message_is_too_rich(pipe: tuple[int, int]) -> None:
    with Fd(pipe[0]) as fd:
        fds = [Fd(fd) for _ in range(FDS_PER_FRAME_MAX)]
        for count in (FDS_PER_FRAME_MAX - 1, FDS_PER_FRAME_MAX):
            _, outgoing = pass_two.write_params(Two(first=fds[0], others=tuple(fds[1:count])))
            assert outgoing is not None
            assert len(outgoing.fds) == count
            outgoing.close()
        with pytest.raises(ValueError, match="at most 64"):
            pass_two.write_params(Two(first=fds[0], others=(*fds[1:], fd)))
        for each in fds:
            each.close()


def test_a_closed_one_cannot_be_sent(pipe: tuple[int, int]) -> None:
    fd = Fd(pipe[0])
    fd.close()
    with pytest.raises(ValueError, match="closed"):
        pass_two.write_params(Two(first=fd))


def test_it_is_written_into_messages_alone(pipe: tuple[int, int]) -> None:
    with Fd(pipe[0]) as fd:
        with pytest.raises(ValueError, match="message that travels"):
            Two(first=fd).model_dump_json()
        with pytest.raises(ValidationError, match="No descriptors"):
            Two.model_validate_json('{"first":0}')
        assert Two.model_validate({"first": fd}).first is fd


def test_untyped_params_take_them_along(pipe: tuple[int, int]) -> None:
    with Fd(pipe[0]) as fd:
        body, outgoing = UntypedMethod("a.b").write_params({"x": fd, "y": 1})
        assert isinstance(outgoing, Outgoing)
        assert (body, len(outgoing.fds)) == (b'{"x":0,"y":1}', 1)
        outgoing.close()
    assert UntypedMethod("a.b").write_params({"y": 1}) == (b'{"y":1}', None)
    with pytest.raises(TypeError, match="object"):
        UntypedMethod("a.b").write_params({"x": object()})


def test_items(pipe: tuple[int, int]) -> None:
    with Fd(pipe[0]) as fd:
        body, outgoing = watch.items.write(Two(first=fd))
        assert outgoing is not None
        text = b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":1,"seq":0,"item":%b},"meta":{"fds":1}}'
        item = watch.items.decode(text % body, [os.dup(outgoing.fds[0])], ItemHead(1, 0))
        outgoing.close()
        with item.first as came:
            assert os.path.sameopenfile(came.fileno(), fd.fileno())


@pytest.mark.parametrize("item", ['{"first":1}', '{"first":0,"others":[0]}', '{"first":0,"x":1}'])
def test_items_that_are_none_leave_theirs_to_the_caller(pipe: tuple[int, int], item: str) -> None:
    text = f'{{"jsonrpc":"2.0","method":"rpc.item","params":{{"id":1,"seq":0,"item":{item}}},"meta":{{"fds":1}}}}'
    with pytest.raises(MessageRefused, match="declares 1"):
        watch.items.decode(text.encode(), pipe, ItemHead(1, 0))
    with pytest.raises(MessageRefused, match="twice"):
        watch.items.decode(text.encode(), pipe[:1], ItemHead(1, 7))
    assert all(map(is_open, pipe))
    with pytest.raises(ItemRefused, match="does not fit"):
        watch.items.decode(text.encode(), pipe[:1], ItemHead(1, 0))
    assert not is_open(pipe[0])


def test_declared_errors_take_none_along() -> None:
    with pytest.raises(TypeError, match="cannot take descriptors"):
        Method("a.b", Plain, int, errors=[Two])


def test_received_closes_what_was_not_made_anything_of(pipe: tuple[int, int]) -> None:
    received = Received(pipe)
    received.take(0, Fd, Fd)
    received.close()
    received.close()
    assert not any(map(is_open, pipe))


def test_a_request_says_what_it_brought(pipe: tuple[int, int]) -> None:
    call = CallParser([pass_two])(request('{"first":0}', 1), [pipe[0]])
    assert isinstance(call, Request)
    assert isinstance(call.received, Received)
    call.received.close()
