"""What is refused costs no more than what is taken: a message of a megabyte with as many faults as it can hold."""

import subprocess
import sys
import time
from typing import Any

import pytest
from pydantic_core import to_json

from superd_client import Message, Method
from superd_client.parser import CallParser
from superd_client.wire.envelope import MessageRefused, Request, parse_call, parse_json, parse_reply
from superd_client.wire.errors import ErrorObject
from superd_client.wire.limits import ALL_FAULTS_SIZE_MAX, FAULTS_EXAMINED_MAX

SIZE = 1024 * 1024


class Part(Message):
    sku: str
    count: int = 1


class Order(Message):
    numbers: list[int] | None = None
    parts: list[Part] | None = None
    either: list[int | str | Part] | None = None
    pairs: list[tuple[int, int]] | None = None
    names: set[str] | None = None
    counts: dict[str, int] | None = None
    one: int = 0


class Anything(Message):
    value: Any


PARSE = CallParser([Method("shop.order", Order, int), Method("shop.any", Anything, int)])


def body(params: bytes, method: bytes = b"shop.order") -> bytes:
    return b'{"jsonrpc":"2.0","id":7,"method":"%b","params":%b}' % (method, params)


def filled(field: bytes, unit: bytes, size: int = SIZE) -> bytes:
    return body(b'{"%b":[%b0]}' % (field, unit * (size // len(unit))))


SHAPES = {
    "wrong items": (filled(b"numbers", b'"",'), [["numbers", 0]]),
    "empty models": (filled(b"parts", b"{},"), [["parts", 0, "sku"]]),
    "unknown members of models": (filled(b"parts", b'{"sku":"a","":0},'), [["parts", 0, ""]]),
    "unions": (
        filled(b"either", b"[],"),
        [["either", 0, "int"], ["either", 0, "str"], ["either", 0, "Part"]],
    ),
    "pairs": (filled(b"pairs", b'["",""],'), [["pairs", 0, 0]]),
    "sets": (filled(b"names", b"0,"), [["names", 0]]),
    "an array in the place of a number": (filled(b"one", b"[],"), [["one"]]),
    "deep arrays": (filled(b"numbers", b"[" * 180 + b"]" * 180 + b","), [["numbers", 0]]),
    "params that are an array": (body(b"[%b0]" % (b"0," * (SIZE // 2))), [[]]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_large_message_is_read_up_to_a_fault(name: str) -> None:
    text, places = SHAPES[name]
    call = PARSE(text)
    assert isinstance(call, Request)
    assert call.id == 7
    assert [fault["loc"] for fault in call.params.data["errors"]] == places


MANY = b",".join(b'"k%x":0' % number for number in range(FAULTS_EXAMINED_MAX + 1))


def check_too_many(error: ErrorObject) -> None:
    assert [fault["type"] for fault in error.data["errors"]] == ["too_many_faults"]
    assert error.data["omitted"] > FAULTS_EXAMINED_MAX


def test_unknown_params_are_too_many_to_look_at() -> None:
    check_too_many(PARSE(body(b"{%b}" % MANY)).params)


@pytest.mark.parametrize("members", [b'"meta":{%b}' % MANY, MANY])
def test_unknown_members_are_too_many_to_look_at(members: bytes) -> None:
    with pytest.raises(MessageRefused) as raised:
        PARSE(body(b"{}")[:-1] + b",%b}" % members)
    assert raised.value.id == 7
    check_too_many(raised.value.error)


def test_members_that_are_legal_count_although_unknown_ones_stand_first() -> None:
    members = {f"k{number}": 0 for number in range(3 * FAULTS_EXAMINED_MAX)}
    text = to_json(members | {"jsonrpc": "2.0", "id": 7, "method": "shop.order"})
    with pytest.raises(MessageRefused) as raised:
        parse_call(text)
    assert raised.value.id == 7
    assert raised.value.error.data["errors"][0]["type"] == "too_many_faults"
    with pytest.raises(MessageRefused, match="not a legal reply"):
        parse_reply(to_json(members | {"jsonrpc": "2.0", "id": 7, "result": 0}))


@pytest.mark.parametrize(
    ("size", "faults"),
    [(ALL_FAULTS_SIZE_MAX - 1, 3), (ALL_FAULTS_SIZE_MAX, 3), (ALL_FAULTS_SIZE_MAX + 1, 1)],
)
def test_the_size_up_to_which_all_faults_are_found(size: int, faults: int) -> None:
    head = body(b'{"names":["%b"],"numbers":["","",""]}')
    text = head % (b"a" * (size - len(head) + 2))
    assert len(text) == size
    assert len(PARSE(text).params.data["errors"]) == faults


def test_the_line_of_a_fault_is_found_at_once() -> None:
    text = b"{" + b"\n" * SIZE + b"x}"
    began = time.process_time()
    with pytest.raises(MessageRefused) as raised:
        parse_json(text)
    assert raised.value.error.data["offset"] == SIZE + 1
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("text", "offset"), [(b"\n\nx", 2), (b"x", 0), (b"[\n\n 1 x", 6), (b"\n[1,\n\n]", 6), (b"[1\n2]", 3)]
)
def test_the_offset_of_a_fault(text: bytes, offset: int) -> None:
    with pytest.raises(MessageRefused) as raised:
        parse_json(text)
    assert raised.value.error.data["offset"] == offset


_COST = """
import resource, sys, time
from tests.client.test_large_faults import PARSE, SHAPES, body
text = SHAPES[sys.argv[1]][0] if sys.argv[1] in SHAPES else body(b'{"value":[%b0]}' % (b"[]," * 349525), b"shop.any")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.process_time()
PARSE(text)
print(time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def cost_of(name: str) -> tuple[float, int]:
    """Seconds and KiB that reading it once takes, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _COST, name], check=True, capture_output=True, text=True, timeout=60
    )
    seconds, memory = done.stdout.split()
    return float(seconds), int(memory)


def test_a_refused_byte_costs_no_more_than_a_taken_one() -> None:
    seconds, memory = cost_of("a message that is taken")
    for name in ("unions", "empty models"):
        spent, used = cost_of(name)
        assert spent < 5 * seconds + 0.2
        assert used < 3 * memory + 8 * 1024
