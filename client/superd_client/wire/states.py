"""The states of a connection, as one table (protocol §7.5). A test compares it with the page.

OPEN         both ends may send.
HALF_CLOSED  the peer has sent its last byte; what runs may still be answered.
DRAINING     this end wants to stop: what runs ends, nothing new begins.
BROKEN       framing is lost; one last error may be sent.
CLOSED       nothing more.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from superd_client.wire.errors import LocalProtocolError


class State(Enum):
    """Where a connection is."""

    # Each is one object, and Enum's own hash is a function in Python, which costs as much as a call's other questions.
    __hash__ = object.__hash__

    OPEN = "OPEN"
    HALF_CLOSED = "HALF_CLOSED"
    DRAINING = "DRAINING"
    BROKEN = "BROKEN"
    CLOSED = "CLOSED"


class Input(Enum):
    """What moves it."""

    EOF_RECEIVED = "EOF_RECEIVED"
    FRAMING_LOST = "FRAMING_LOST"
    DRAIN = "DRAIN"
    CLOSE = "CLOSE"


TRANSITIONS: Final[Mapping[State, Mapping[Input, State]]] = {
    State.OPEN: {
        Input.EOF_RECEIVED: State.HALF_CLOSED,
        Input.FRAMING_LOST: State.BROKEN,
        Input.DRAIN: State.DRAINING,
        Input.CLOSE: State.CLOSED,
    },
    State.HALF_CLOSED: {
        Input.DRAIN: State.HALF_CLOSED,
        Input.CLOSE: State.CLOSED,
    },
    State.DRAINING: {
        Input.EOF_RECEIVED: State.HALF_CLOSED,
        Input.FRAMING_LOST: State.BROKEN,
        Input.DRAIN: State.DRAINING,
        Input.CLOSE: State.CLOSED,
    },
    State.BROKEN: {
        Input.DRAIN: State.BROKEN,
        Input.CLOSE: State.CLOSED,
    },
    State.CLOSED: {
        Input.DRAIN: State.CLOSED,
        Input.CLOSE: State.CLOSED,
    },
}

#: States in which more bytes of the peer mean something.
RECEIVING: Final = frozenset({State.OPEN, State.DRAINING})

#: States in which a client may send a request.
REQUESTING: Final = frozenset({State.OPEN})

#: States in which a server may send a reply.
REPLYING: Final = frozenset({State.OPEN, State.HALF_CLOSED, State.DRAINING})


def advance(state: State, event: Input) -> State:
    """Return the next state; raises LocalProtocolError for what cannot happen."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        message = f"{event.value} cannot happen to a connection that is {state.value}"
        raise LocalProtocolError(message) from None
