"""Every cell of the table of states, and the tables of the page against those of the code."""

import pytest

from superd_client.wire.errors import LocalProtocolError
from superd_client.wire.states import RECEIVING, REPLYING, REQUESTING, TRANSITIONS, Input, State, advance
from tests.wire.golden import PAGE

DASH = "–"

#: Written out a second time on purpose: the code, this and the page must agree.
CELLS = [
    ("OPEN", "EOF_RECEIVED", "HALF_CLOSED"),
    ("OPEN", "FRAMING_LOST", "BROKEN"),
    ("OPEN", "DRAIN", "DRAINING"),
    ("OPEN", "CLOSE", "CLOSED"),
    ("HALF_CLOSED", "EOF_RECEIVED", None),
    ("HALF_CLOSED", "FRAMING_LOST", None),
    ("HALF_CLOSED", "DRAIN", "HALF_CLOSED"),
    ("HALF_CLOSED", "CLOSE", "CLOSED"),
    ("DRAINING", "EOF_RECEIVED", "HALF_CLOSED"),
    ("DRAINING", "FRAMING_LOST", "BROKEN"),
    ("DRAINING", "DRAIN", "DRAINING"),
    ("DRAINING", "CLOSE", "CLOSED"),
    ("BROKEN", "EOF_RECEIVED", None),
    ("BROKEN", "FRAMING_LOST", None),
    ("BROKEN", "DRAIN", "BROKEN"),
    ("BROKEN", "CLOSE", "CLOSED"),
    ("CLOSED", "EOF_RECEIVED", None),
    ("CLOSED", "FRAMING_LOST", None),
    ("CLOSED", "DRAIN", "CLOSED"),
    ("CLOSED", "CLOSE", "CLOSED"),
]


def tables_of(section: str) -> list[list[list[str]]]:
    """The Markdown tables of a section of the page: their rows, the heading first."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n### {section} ")[1].split("\n### ")[0]
    tables: list[list[list[str]]] = []
    previous = ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not previous.startswith("|"):
                tables.append([])
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        previous = line
    return [[table[0], *table[2:]] for table in tables]


@pytest.mark.parametrize(("state", "event", "following"), CELLS, ids=[f"{s}-{e}" for s, e, _ in CELLS])
def test_a_cell(state: str, event: str, following: str | None) -> None:
    if following is None:
        with pytest.raises(LocalProtocolError, match=f"{event}.*{state}"):
            advance(State[state], Input[event])
    else:
        assert advance(State[state], Input[event]) is State[following]


def test_the_cells_are_all_there_are() -> None:
    assert {(state, event) for state, event, _ in CELLS} == {(s.value, e.value) for s in State for e in Input}
    assert set(TRANSITIONS) == set(State)


def test_the_table_of_the_page_is_the_table_of_the_code() -> None:
    heading, *rows = tables_of("7.5")[0]
    assert heading == ["state", *(event.value for event in Input)]
    assert [row[0] for row in rows] == [state.value for state in State]
    for row in rows:
        for event, following in zip(heading[1:], row[1:], strict=True):
            expected = None if following == DASH else State[following]
            assert TRANSITIONS[State[row[0]]].get(Input[event]) is expected


def test_what_each_state_allows_is_what_the_page_says() -> None:
    heading, *rows = tables_of("7.5")[1]
    assert heading == [
        "state",
        "server: new request",
        "server: send a reply",
        "client: send a request",
        "client: reply received",
    ]
    assert [row[0] for row in rows] == [state.value for state in State]
    for name, new_request, send_reply, send_request, reply_received in rows:
        state = State[name]
        assert (state in RECEIVING) == (new_request != DASH) == (reply_received != DASH)
        assert (state in REPLYING) == (send_reply == "yes")
        assert (state in REQUESTING) == (send_request == "yes")


def test_nothing_leads_out_of_closed() -> None:
    assert set(TRANSITIONS[State.CLOSED].values()) == {State.CLOSED}


def test_close_is_possible_in_every_state() -> None:
    assert {advance(state, Input.CLOSE) for state in State} == {State.CLOSED}
