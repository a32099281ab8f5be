"""Who may connect: each user's share of the connections, and who has to go where descriptors run out."""

import errno
from typing import Final, Generic, Protocol, TypeVar

from superd.quota import Exceeded, Quotas


class Connection(Protocol):
    """What takes a descriptor."""

    @property
    def is_open(self) -> bool:
        """Whether it still does."""


C = TypeVar("C", bound=Connection)

#: What accept(2) fails with where the process, the system, or the kernel's memory is full.
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


class Admission(Generic[C]):
    """The connections by their users. Root and the daemon's own user may use the reserve, and are never shed."""

    def __init__(self, quotas: Quotas) -> None:
        """Charge `quotas.connections`."""
        self._quotas = quotas
        #: In the order in which they came; dicts, because any may leave.
        self._of_user: dict[int, dict[C, None]] = {}

    def admit(self, uid: int) -> Exceeded | None:
        """Charge a connection of `uid`, or say why it is refused."""
        return self._quotas.connections.take(uid, reserve=uid in self._quotas.privileged)

    def withdraw(self, uid: int) -> None:
        """Give back what `admit` charged, for a connection that was not opened after all."""
        self._quotas.connections.give(uid)

    def charge(self, uid: int) -> None:
        """Charge a connection that was admitted before, by the process before this one."""
        self._quotas.connections.charge(uid, 1)

    def entered(self, uid: int, connection: C) -> None:
        """Know it from now on."""
        self._of_user.setdefault(uid, {})[connection] = None

    def left(self, uid: int, connection: C) -> None:
        """It is closed: give back what was charged."""
        connections = self._of_user[uid]
        del connections[connection]
        if not connections:
            del self._of_user[uid]
        self._quotas.connections.give(uid)

    def to_shed(self, newcomer: int) -> C | None:
        """The connection that has to go: the newest of the user who holds most; None where the newcomer has to.

        A newcomer goes himself if nobody holds more than he would. One who is privileged never does, while there is
        somebody who is not.
        """
        fattest = max(
            (uid for uid in self._of_user if uid not in self._quotas.privileged),
            key=self._weight,
            default=None,
        )
        if fattest is None:
            return None
        if newcomer not in self._quotas.privileged and self._weight(fattest) <= self._weight(newcomer) + 1:
            return None
        newest_first = reversed(self._of_user[fattest])
        return next((connection for connection in newest_first if connection.is_open), None)

    def exhausted(self, uid: int) -> Exceeded:
        """What one is told who has to go because there are no descriptors."""
        used = self._weight(uid)
        return Exceeded("descriptors", used, used, self._quotas.connections.retry_after_usec)

    def _weight(self, uid: int) -> int:
        """The descriptors of this process that a user holds."""
        return len(self._of_user.get(uid, ())) + self._quotas.descriptors.used(uid)
