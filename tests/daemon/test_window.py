"""The window of idempotency keys: its promise against a ledger that forgets nothing, its limits, and its way to the next process."""

import json
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superd.window import ANSWER_SHARE, USERS_SHARE, Window, WindowLimits
from superd.window_entry import Answer, Entry, Known
from superd_client.wire.errors import ErrorCode, ErrorObject

AGE: Final = 1000
LIMITS: Final = WindowLimits(age_usec=AGE, entries_of_user=4, bytes_of_user=800)
MARK: Final = b"m" * 16
OTHER: Final = b"o" * 16
RESULT: Final = b'{"n":1}'
ERROR: Final = ErrorObject(-32000, "declared", {"type": "Lost", "detail": {"n": 1}})


def make(limits: WindowLimits = LIMITS, now: int = 0) -> Window:
    return Window(limits, now)


def enter(
    window: Window,
    key: str,
    now: int,
    *,
    uid: int = 7,
    mark: bytes = MARK,
    since: int | None = None,
) -> Entry | Known | ErrorObject:
    return window.enter(uid, key, mark, since_usec=since, call_id=f"call-{key}", now_usec=now)


def run(window: Window, key: str, now: int, answer: Answer | None = RESULT, uid: int = 7) -> None:
    """Begin a call and end it at once."""
    entry = enter(window, key, now, uid=uid)
    assert isinstance(entry, Entry)
    window.end(entry, answer, now)


def reason(found: object) -> str:
    assert isinstance(found, ErrorObject)
    assert found.code == ErrorCode.CONFLICT
    said: str = found.data["reason"]
    return said


# --- what a repeat is told ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [RESULT, b"null", b'"x"', ERROR])
def test_a_repeat_gets_the_first_answer(answer: Answer) -> None:
    window = make()
    run(window, "a", 10, answer)
    assert enter(window, "a", 11) == Known(answer, "call-a")
    assert enter(window, "a", 12, since=9) == Known(answer, "call-a")


def test_a_repeat_of_what_still_runs() -> None:
    window = make()
    assert isinstance(enter(window, "a", 10), Entry)
    assert reason(enter(window, "a", 11)) == "running"
    assert reason(enter(window, "a", 10 + 10 * AGE, since=9)) == "running"


@pytest.mark.parametrize("ended", [False, True])
def test_a_key_of_another_call(ended: bool) -> None:
    window = make()
    entry = enter(window, "a", 10)
    assert isinstance(entry, Entry)
    if ended:
        window.end(entry, RESULT, 11)
    assert reason(enter(window, "a", 12, mark=OTHER)) == "different"


def test_keys_are_of_their_user() -> None:
    window = make()
    run(window, "a", 10, uid=1)
    assert isinstance(enter(window, "a", 11, uid=2, mark=OTHER), Entry)


def test_what_did_not_run_is_forgotten() -> None:
    window = make()
    entry = enter(window, "a", 10)
    assert isinstance(entry, Entry)
    window.cancel(entry, 11)
    assert len(window) == 0
    again = enter(window, "a", 12, since=10, mark=OTHER)
    assert isinstance(again, Entry)
    window.end(again, RESULT, 13)
    window.cancel(again, 14)
    assert enter(window, "a", 15, mark=OTHER) == Known(RESULT, "call-a")


def test_the_first_end_counts() -> None:
    window = make()
    entry = enter(window, "a", 10)
    assert isinstance(entry, Entry)
    window.end(entry, RESULT, 11)
    window.end(entry, ERROR, 12)
    assert enter(window, "a", 13) == Known(RESULT, "call-a")


def test_an_end_that_is_not_known() -> None:
    window = make()
    run(window, "a", 10, None)
    assert reason(enter(window, "a", 11)) == "lost"


# --- since when a key may have been in use -------------------------------------------------------------------------------


@pytest.mark.parametrize(("since", "runs"), [(99, False), (100, False), (101, True)])
def test_before_the_window_began_nothing_is_known(since: int, runs: bool) -> None:
    found = enter(make(now=100), "a", 150, since=since)
    assert isinstance(found, Entry) == runs
    assert runs or reason(found) == "lost"


@pytest.mark.parametrize(("since", "runs"), [(1499, False), (1500, False), (1501, True)])
def test_before_its_age_nothing_is_known(since: int, runs: bool) -> None:
    found = enter(make(), "a", 1500 + AGE, since=since)
    assert isinstance(found, Entry) == runs


@pytest.mark.parametrize(("since", "runs"), [(149, True), (150, True), (151, False)])
def test_a_time_to_come_is_of_another_boot(since: int, runs: bool) -> None:
    assert isinstance(enter(make(), "a", 150, since=since), Entry) == runs


@pytest.mark.parametrize(("after", "known"), [(AGE - 1, True), (AGE, False), (AGE + 1, False)])
def test_answers_are_kept_for_the_age_after_their_calls_ended(after: int, known: bool) -> None:
    window = make()
    entry = enter(window, "a", 10)
    assert isinstance(entry, Entry)
    window.end(entry, RESULT, 500)
    found = enter(window, "a", 500 + after, since=9)
    assert isinstance(found, Known) == known
    assert known or reason(found) == "lost"
    assert len(window) == int(known)


@pytest.mark.parametrize(("after", "owed"), [(0, True), (AGE - 1, True), (AGE, False), (AGE + 1, False)])
def test_what_is_promised_to_repeats(after: int, owed: bool) -> None:
    window = make()
    assert not window.promises(0)
    entry = enter(window, "a", 10)
    assert isinstance(entry, Entry)
    assert window.promises(10 * AGE), "it runs"
    window.end(entry, RESULT, 10 * AGE)
    assert window.promises(10 * AGE + after) == owed


# --- limits ---------------------------------------------------------------------------------------------------------------


def test_the_oldest_goes_where_a_user_has_too_many() -> None:
    window = make()
    for number in range(LIMITS.entries_of_user):  # the limit
        run(window, f"k{number}", 10 + number)
    assert all(isinstance(enter(window, f"k{number}", 20), Known) for number in range(LIMITS.entries_of_user))
    run(window, "more", 21)  # one above
    assert len(window) == LIMITS.entries_of_user
    assert not window.knows(7, "k0")
    assert window.knows(7, "k1")
    # A repeat of what had to go is not carried out again; nor is any that may be as old.
    assert reason(enter(window, "k0", 22, since=9)) == "lost"
    assert reason(enter(window, "new", 22, since=10)) == "lost"
    assert isinstance(enter(window, "new", 22, since=11), Entry)
    assert isinstance(enter(window, "k0", 22, uid=8, since=9), Entry)


def test_what_runs_is_never_forgotten() -> None:
    window = make()
    running = [enter(window, f"k{number}", 10) for number in range(LIMITS.entries_of_user - 1)]
    last = enter(window, "last", 10)
    full = enter(window, "more", 10 + 2 * AGE)
    assert isinstance(full, ErrorObject)
    assert (full.code, full.data) == (
        ErrorCode.RESOURCE_EXHAUSTED,
        {"resource": "idempotency_entries", "used": 4, "limit": 4},
    )
    assert isinstance(enter(window, "more", 11, uid=8), Entry)
    assert isinstance(last, Entry)
    window.end(last, RESULT, 12)
    assert isinstance(enter(window, "more", 13), Entry)
    assert all(isinstance(entry, Entry) and window.knows(7, entry.key) for entry in running)


@pytest.mark.parametrize(("size", "kept"), [(99, True), (100, True), (101, False)])
def test_the_size_of_an_answer(size: int, kept: bool) -> None:
    window = make()
    assert LIMITS.bytes_of_user // ANSWER_SHARE == 100
    run(window, "a", 10, b"1" * size)
    found = enter(window, "a", 11)
    assert isinstance(found, Known) == kept
    assert kept or reason(found) == "lost"
    assert window.size == (size if kept else 0)


@pytest.mark.parametrize(("size", "first_is_kept"), [(9, True), (10, True), (11, False)])
def test_the_bytes_of_a_user(size: int, first_is_kept: bool) -> None:
    window = make(WindowLimits(AGE, 100, 100))
    for number in range(9):
        run(window, f"k{number}", 10 + number, b"1" * 10)
    run(window, "last", 20, b"1" * min(size, 12))
    assert window.knows(7, "k0") == first_is_kept
    assert window.size <= 100
    assert isinstance(enter(window, "last", 21), Known)


def test_what_all_users_have_is_bounded() -> None:
    window = make()
    most = USERS_SHARE * LIMITS.entries_of_user
    for number in range(most - 1):
        run(window, f"k{number}", 10 + number, uid=number // LIMITS.entries_of_user)
    run(window, "limit", 500, uid=100)
    assert len(window) == most
    assert window.knows(0, "k0")
    run(window, "above", 501, uid=101)
    assert len(window) == most
    assert not window.knows(0, "k0")
    assert reason(enter(window, "k0", 502, uid=0, since=9)) == "lost"


def test_who_has_more_than_its_share_makes_room_itself() -> None:
    window = make()
    users = 2 * USERS_SHARE
    for number in range(users):
        run(window, "a", 10, uid=number)
        run(window, "b", 11, uid=number)
    for number in range(users // 2, users):
        run(window, "c", 12, uid=number)
    # Who is above the mean gives an old one of its own for each; the others keep what they have.
    assert len(window) == USERS_SHARE * LIMITS.entries_of_user
    assert window.knows(users // 2 - 1, "a")


def test_all_bytes_are_bounded() -> None:
    window = make()
    for number in range(2 * USERS_SHARE):
        for key in range(4):
            run(window, f"k{key}", 10 + number, b"1" * 100, uid=number)
            assert window.size <= USERS_SHARE * LIMITS.bytes_of_user


def test_nothing_is_left_of_users_that_are_gone() -> None:
    window = make()
    for number in range(100):
        run(window, "a", number, uid=number)
    run(window, "last", 100 + AGE, uid=7)
    assert len(window) == 1
    assert json.dumps(window.dump()).count('"uid"') == 1


# --- the promise -----------------------------------------------------------------------------------------------------------

Step = tuple[str, int, int, int]
STEPS: Final = st.lists(
    st.tuples(
        st.sampled_from(["call", "call", "call", "end", "end", "cancel", "restart", "kill"]),
        st.integers(0, 5),  # the key
        st.integers(0, 1),  # the user
        st.integers(0, 400),  # time that passes
    ),
    max_size=120,
)


class Ledger:
    """Every call there ever was, by users who say truly since when they may have used a key."""

    def __init__(self) -> None:
        self.now = 1
        self.window = make(now=0)
        self.sent: dict[tuple[int, str], int] = {}
        self.ran: dict[tuple[int, str], int] = {}
        self.answers: dict[tuple[int, str], bytes | None] = {}
        self.running: dict[tuple[int, str], Entry] = {}

    def do(self, step: Step) -> None:
        what, number, uid, passes = step
        self.now += passes
        name = (uid, f"k{number}")
        if what == "call":
            self.call(name)
        elif what == "restart":
            self.restart()
        elif what == "kill":
            self.kill()
        elif name in self.running:
            self.finish(name, ran=what == "end")

    def kill(self) -> None:
        self.running.clear()
        self.window = make(now=self.now)

    def call(self, name: tuple[int, str]) -> None:
        uid, key = name
        found = enter(self.window, key, self.now, uid=uid, since=self.sent.get(name))
        self.sent.setdefault(name, self.now)
        if isinstance(found, Entry):
            assert name not in self.ran, "carried out twice"
            self.ran[name] = self.now
            self.running[name] = found
        elif isinstance(found, Known):
            assert found.answer == self.answers[name]
        elif found.code == ErrorCode.CONFLICT:
            assert (reason(found) == "running") == (name in self.running)
        else:
            assert sum(other == uid for other, _ in self.running) >= LIMITS.entries_of_user

    def finish(self, name: tuple[int, str], *, ran: bool) -> None:
        entry = self.running.pop(name)
        if ran:
            self.answers[name] = b'"%s"' % name[1].encode()
            self.window.end(entry, self.answers[name], self.now)
        else:
            del self.ran[name]
            self.window.cancel(entry, self.now)

    def restart(self) -> None:
        dumped = json.loads(json.dumps(self.window.dump()))
        self.running.clear()
        self.now += 1
        self.window = make(now=self.now)
        self.window.load(dumped, self.now)
        assert len(self.window) <= USERS_SHARE * LIMITS.entries_of_user


@given(STEPS)
@settings(max_examples=150)
def test_no_call_is_ever_carried_out_twice(steps: list[Step]) -> None:
    ledger = Ledger()
    for step in steps:
        ledger.do(step)
        counts = [sum(uid == user for user, _ in ledger.ran) for uid in (0, 1)]
        assert len(ledger.window) <= sum(counts)
        assert ledger.window.size <= 2 * LIMITS.bytes_of_user


# --- from one process to the next ---------------------------------------------------------------------------------------


def dumped() -> dict[str, Any]:
    window = make(now=5)
    run(window, "result", 10)
    run(window, "error", 20, ERROR)
    run(window, "large", 30, b"1" * 1000)
    assert isinstance(enter(window, "running", 40), Entry)
    data: dict[str, Any] = json.loads(json.dumps(window.dump()))
    return data


def test_a_dump_is_loaded() -> None:
    window = make(now=100)
    window.load(dumped(), 100)
    assert enter(window, "result", 101) == Known(RESULT, "call-result")
    assert enter(window, "error", 101) == Known(ERROR, "call-error")
    assert reason(enter(window, "large", 101)) == "lost"
    # What ran when the other process ended has ended with it, one cannot know how.
    assert reason(enter(window, "running", 101)) == "lost"
    assert reason(enter(window, "result", 101, mark=OTHER)) == "different"
    # It is complete since the first process began.
    assert reason(enter(window, "new", 101, since=5)) == "lost"
    assert isinstance(enter(window, "new", 101, since=6), Entry)


def test_a_dump_of_a_dump() -> None:
    window = make(now=100)
    window.load(dumped(), 100)
    again = make(now=200)
    again.load(json.loads(json.dumps(window.dump())), 200)
    assert enter(again, "result", 201) == Known(RESULT, "call-result")
    assert window.dump() == again.dump()


def test_a_dump_for_less_room() -> None:
    window = Window(WindowLimits(AGE, 2, 800), 100)
    window.load(dumped(), 100)
    assert len(window) == 2
    assert reason(enter(window, "result", 101, since=9)) == "lost"
    assert reason(enter(window, "other", 101, since=20)) == "lost"
    assert isinstance(enter(window, "other", 101, since=21), Entry)


def _without(data: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != name}


def _with_first(data: dict[str, Any], **members: object) -> dict[str, Any]:
    first, *others = data["entries"]
    return data | {"entries": [first | members, *others]}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: None,
        lambda data: [],
        lambda data: _without(data, "since_usec"),
        lambda data: data | {"more": 1},
        lambda data: data | {"since_usec": 101},
        lambda data: data | {"since_usec": -1},
        lambda data: data | {"since_usec": "5"},
        lambda data: data | {"gone_usec": {"7": 101}},
        lambda data: data | {"gone_usec": {"x": 1}},
        lambda data: data | {"entries": [*data["entries"], data["entries"][-1]]},
        lambda data: data | {"entries": data["entries"][::-1]},
        lambda data: _with_first(data, uid=-1),
        lambda data: _with_first(data, uid=1 << 32),
        lambda data: _with_first(data, key=""),
        lambda data: _with_first(data, key="a b"),
        lambda data: _with_first(data, fingerprint="00"),
        lambda data: _with_first(data, fingerprint="x" * 32),
        lambda data: _with_first(data, call_id="\n"),
        lambda data: _with_first(data, began_usec=11),
        lambda data: _with_first(data, ended_usec=101),
        lambda data: _with_first(data, answer="{"),
        lambda data: _with_first(data, answer=""),
        lambda data: _with_first(data, answer="\0[1]"),
        lambda data: _with_first(data, answer='\0["x","y",1]'),
        lambda data: _with_first(data, answer=1),
    ],
)
def test_what_is_no_dump_changes_nothing(spoil: Any) -> None:
    window = make(now=100)
    with pytest.raises(ValueError):
        window.load(spoil(dumped()), 100)
    assert len(window) == 0
    assert reason(enter(window, "new", 101, since=100)) == "lost"
