"""A restart that clients do not notice: the connections of this process pass through systemd's store to the next.

Order: nothing runs any more; every connection is saved; systemd has taken a queue of their descriptors, then their
state; this process ends without a word to anyone. The next takes them up before READY=1, and has systemd forget them:
else a connection that it closes would stay open there.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

from superd import __version__
from superd.handover import Saved, StateError, read_state, write_state
from superd.journal import MessageId, get_logger
from superd.sd.fdqueue import empty, fill
from superd.sd.notify import Notifier
from superd.server import Server
from superd_client.descriptors import close_all

_CONNECTIONS: Final = "superd-connections"
_STATE: Final = "superd-state"

#: The names that descriptors have in systemd's store.
STORED: Final = frozenset({_CONNECTIONS, _STATE})


def hand_over(server: Server, notifier: Notifier) -> bool:
    """Leave the connections of a server that was suspended to the next process; whether systemd has taken them.

    If not, they are as they were before the server was suspended.
    """
    saved = server.save()
    try:
        _store(tuple(saved.values()), notifier)
    except OSError as error:
        get_logger().warning(
            "connections cannot be kept over the restart; they are closed",
            message_id=MessageId.HANDOVER_FAILED,
            reason=str(error),
        )
        forget_stored(notifier)
        for session, each in saved.items():
            session.resume(each)
        return False
    for session, each in saved.items():
        session.release()
        each.close_carried()
    get_logger().info(
        "connections left to the next process", message_id=MessageId.HANDED_OVER, connections=len(saved)
    )
    return True


def _store(connections: Sequence[Saved], notifier: Notifier) -> None:
    """Raises OSError; what systemd has by then must be forgotten."""
    if not connections:
        return
    queue = fill(list(chain.from_iterable(each.fds() for each in connections)))
    try:
        state = write_state(connections, __version__)
        try:
            notifier.store({_CONNECTIONS: queue, _STATE: state})
        finally:
            os.close(state)
    finally:
        os.close(queue)


def take_over(stored: Mapping[str, Sequence[int]]) -> list[Saved]:
    """The connections of the process before this one. If anything is wrong with them they are closed, and the log says why."""
    if not stored:
        return []
    fds: list[int] = []
    try:
        memfd, queue = _only(stored, _STATE), _only(stored, _CONNECTIONS)
        fds = empty(os.dup(queue))
        saved = read_state(memfd, fds)
    except (StateError, OSError) as error:
        close_all(fds)
        get_logger().error(
            "connections of the process before could not be taken over; they are closed",
            message_id=MessageId.HANDOVER_REFUSED,
            connections=len(fds),
            reason=str(error),
        )
        return []
    finally:
        close_all(chain.from_iterable(stored.values()))
    return saved


def _only(stored: Mapping[str, Sequence[int]], name: str) -> int:
    found = stored.get(name, ())
    if len(found) != 1:
        message = f"systemd has {len(found)} descriptors of the name {name}, and there should be one"
        raise StateError(message)
    return found[0]


def forget_stored(notifier: Notifier) -> None:
    """Have systemd keep nothing of ours any more."""
    for name in STORED:
        with contextlib.suppress(OSError):  # not there, or not listening: then the next start finds it wrong
            notifier.forget(name)
