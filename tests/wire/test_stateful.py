"""Two ends and the pipes between them, driven at random: every call ends once on both sides, whatever is cut where."""

import os
from collections import Counter
from collections.abc import Callable
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.states import State
from tests.wire.conftest import FIGURE
from tests.wire.link_model import Call, Link

FAILED: Final = ErrorObject(ErrorCode.INTERNAL_ERROR, "failed", {"call_id": "c"})

#: How many runs, and how many steps in each: two seconds of work, or as much more as somebody asks for.
EXAMPLES: Final = int(os.environ.get("MODEL_EXAMPLES", "100"))
STEPS: Final = 60

#: What all runs did, by the names of rules and events.
done: Counter[str] = Counter()

KINDS: Final = ("plain", "stream", "upload", "stream", "upload")

#: Calls of a connection before it may be ended.
BUSY: Final = 6

PICK: Final = st.integers(0, 1000)
FEW: Final = st.integers(0, 2)
SIZE: Final = st.integers(1, 40) | st.just(10_000)


class TwoEnds(RuleBasedStateMachine):
    """One client with one connection after the other."""

    @initialize(packets=st.booleans())
    def connect(self, packets: bool) -> None:
        self.link = Link(packets=packets)

    def count(self, name: str) -> None:
        done["steps"] += 1
        done[name] += 1

    # --- the client ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.link.client.state is State.OPEN)
    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4), credit=st.integers(1, 3), fds=FEW)
    def begin(self, kinds: list[str], credit: int, fds: int) -> None:
        for kind in kinds:
            self.count("begin")
            self.link.begin(kind, credit, fds)

    @precondition(lambda self: self.waiting())
    @rule(pick=PICK, tell=st.booleans())
    def give_up(self, pick: int, tell: bool) -> None:
        self.count("cancel" if tell else "give up")
        call = one(self.waiting(), pick)
        if tell:
            self.link.cancel(call)
        else:
            self.link.abandon(call)

    @precondition(lambda self: self.waiting("stream"))
    @rule(pick=PICK, items=st.integers(1, 5))
    def client_gives_credit(self, pick: int, items: int) -> None:
        self.count("client gives credit")
        self.link.client_grant(one(self.waiting("stream"), pick), items)

    @precondition(lambda self: self.sending_uploads())
    @rule(pick=PICK, fds=FEW, items=st.integers(1, 3))
    def client_sends_items(self, pick: int, fds: int, items: int) -> None:
        call = one(self.sending_uploads(), pick)
        for _ in range(min(items, self.link.client.credit(call.id))):
            self.count("client sends item")
            self.link.client_item(call, fds)

    @precondition(lambda self: self.open_uploads())
    @rule(pick=PICK)
    def client_ends_upload(self, pick: int) -> None:
        self.count("client ends upload")
        self.link.client_end(one(self.open_uploads(), pick))

    # --- the server ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.sending_streams())
    @rule(pick=PICK, fds=FEW, items=st.integers(1, 3))
    def server_sends_items(self, pick: int, fds: int, items: int) -> None:
        call = one(self.sending_streams(), pick)
        for _ in range(min(items, self.link.server.credit(call.id))):
            self.count("server sends item")
            self.link.server_item(call, fds)

    @precondition(lambda self: self.running("upload"))
    @rule(pick=PICK, items=st.integers(1, 5))
    def server_gives_credit(self, pick: int, items: int) -> None:
        self.count("server gives credit")
        self.link.server_grant(one(self.running("upload"), pick), items)

    @precondition(lambda self: self.running())
    @rule(pick=PICK, fds=FEW | st.none())
    def server_answers(self, pick: int, fds: int | None) -> None:
        call = one(self.running(), pick)
        if fds is None:
            self.count("failure")
            self.link.fail(call, FAILED)
        else:
            self.count("reply")
            self.link.reply(call, fds)

    @precondition(lambda self: self.link.server.state is State.OPEN and len(self.link.calls) > BUSY)
    @rule(at_once=st.booleans())
    def server_stops(self, at_once: bool) -> None:
        self.count("goaway")
        self.link.goaway()
        if at_once:
            self.link.server.drain()

    # --- the kernel -------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.link.to_server) > 0)
    @rule(size=SIZE)
    def carry_to_server(self, size: int) -> None:
        self.count("carry to server")
        self.link.carry_to_server(size)

    @precondition(lambda self: len(self.link.to_client) > 0)
    @rule(size=SIZE)
    def carry_to_client(self, size: int) -> None:
        self.count("carry to client")
        self.link.carry_to_client(size)

    @precondition(lambda self: len(self.link.to_server) + len(self.link.to_client) > 0)
    @rule()
    def carry_all(self) -> None:
        self.count("carry all")
        while len(self.link.to_server):
            self.link.carry_to_server(10_000)
        while len(self.link.to_client):
            self.link.carry_to_client(10_000)

    @precondition(lambda self: len(self.link.calls) > BUSY or self.link.client.state is not State.OPEN)
    @rule(to_server=st.integers(0, 300), to_client=st.integers(0, 300), packets=st.booleans())
    def lose_the_link(self, to_server: int, to_client: int, packets: bool) -> None:
        self.count("loss")
        self.link.lose(to_server, to_client)
        self.finish()
        self.link = Link(packets=packets)

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_out_of_order(self) -> None:
        if hasattr(self, "link"):
            self.link.check()

    @override
    def teardown(self) -> None:
        """Let everything arrive and be answered: then nothing may be left."""
        if not hasattr(self, "link"):
            return
        while len(self.link.to_server) or len(self.link.to_client) or self.link.in_flight:
            while len(self.link.to_server):
                self.link.carry_to_server(10_000)
            for call in list(self.link.in_flight.values()):
                self.link.reply(call, 0)
            while len(self.link.to_client):
                self.link.carry_to_client(10_000)
        assert self.link.client.pending == ()
        assert self.link.client._inflows == {}
        assert self.link.client._outflows == {}
        for call in self.link.calls:
            assert call.is_abandoned or call.kind != "stream" or len(call.came) == call.sent
        self.finish()

    def finish(self) -> None:
        self.link.check()
        self.link.check_end()
        done.update(self.link.seen)
        done["calls"] += len(self.link.calls)

    # --- which calls ----------------------------------------------------------------------------------------------------

    def waiting(self, kind: str | None = None) -> list[Call]:
        """Those that the client waits for."""
        return [call for call in self.link.client.pending if kind in (None, call.kind)]

    def running(self, kind: str | None = None) -> list[Call]:
        """Those that the server has begun and not answered."""
        return [call for call in self.link.in_flight.values() if kind in (None, call.kind)]

    def sending_streams(self) -> list[Call]:
        return [call for call in self.running("stream") if self.link.server.credit(call.id)]

    def open_uploads(self) -> list[Call]:
        return [call for call in self.waiting("upload") if not call.is_ended]

    def sending_uploads(self) -> list[Call]:
        return [call for call in self.open_uploads() if self.link.client.credit(call.id)]


def one(calls: list[Call], pick: int) -> Call:
    return calls[pick % len(calls)]


def test_every_call_ends_once_on_both_sides(record_property: Callable[[str, object], None]) -> None:
    done.clear()
    run_state_machine_as_test(
        TwoEnds,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    record_property(FIGURE, done["steps"])
    # A model that does nothing proves nothing.
    assert done["steps"] > EXAMPLES * STEPS // 4
    for name in (
        "Request",
        "Item",
        "Credit",
        "End",
        "Cancel",
        "ReplyReceived",
        "ItemReceived",
        "Goaway",
        "loss",
    ):
        assert done[name] > 0, name
