"""What an administrator sees of the connections, and does with them: `superd.peers`, `superd.kick`, `superd.drain`."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

from structlog.typing import FilteringBoundLogger

from superd.journal import MessageId
from superd.peer import Caller
from superd.server import Server
from superd.service import Context, Service
from superd.session import Session
from superd_client.administration import (
    PEER_SIZE_MAX,
    Drained,
    DrainRequest,
    Kicked,
    KickRequest,
    PeerInfo,
    Peers,
    PeersQuery,
    Reloaded,
    Selection,
    drain,
    kick,
    peers,
    reload,
)
from superd_client.builtin import Nothing

#: Connections looked at, or closed, before the loop gets a turn: of each the unit may have to be read from /proc.
PER_TURN: Final = 32

#: Seconds for a connection that is kicked to take the last answers: then it is cut off.
KICK_GRACE: Final = 1.0

#: Connections that the line in the journal describes; it has the number of all.
TARGETS_SHOWN: Final = 16


class Administrator:
    """Looks after the connections of one server. All that it does to them is in the journal, with who asked for it."""

    def __init__(
        self,
        server: Callable[[], Server],
        reload_files: Callable[[FilteringBoundLogger], Awaitable[Reloaded]],
    ) -> None:
        """The server is asked for late: it carries out the calls that ask us."""
        self._server: Final = server
        self._reload: Final = reload_files
        #: An id of another run of superd must not name a connection of this one.
        self._prefix: Final = secrets.token_hex(2)

    def register(self, service: Service) -> None:
        """Offer the methods in the service `superd`."""

        @service.method(reload, access="admin")
        async def handle_reload(params: Nothing, context: Context) -> Reloaded:  # noqa: ARG001 - every handler has them
            return await self._reload(context.log)

        service.method(peers, access="admin")(self.list_peers)
        service.method(kick, access="admin")(self.kick)
        service.method(drain, access="admin")(self.drain)

    async def list_peers(self, params: PeersQuery, context: Context) -> Peers:  # noqa: ARG002 - as above
        """A page of the connections, the oldest first; it fits a frame, whatever the limit of frames is."""
        limit = max(1, min(params.limit, self._server().frame_size // PEER_SIZE_MAX))
        found: list[PeerInfo] = []
        async for session in self._matching(params, after=self._number(params.after) or 0):
            if len(found) == limit:
                return Peers(peers=tuple(found), next=found[-1].id)
            found.append(self._describe(session))
        return Peers(peers=tuple(found), next=None)

    async def kick(self, params: KickRequest, context: Context) -> Kicked:
        """Cancel what runs on them, answer it so, close them; cut off who does not take the answers."""
        chosen = await self._choose(params, context.caller)
        calls = 0
        targets = self._targets(chosen)
        async for session in self._in_turns(chosen):
            calls += session.traffic().calls_in_flight
            session.kick()
        context.log.warning(
            "connections kicked",
            message_id=MessageId.PEERS_KICKED,
            target=_text(params),
            affected=len(chosen),
            cancelled=calls,
            targets=targets,
        )
        try:
            await self._server().departures.wait(chosen, KICK_GRACE)
        finally:
            for session in chosen:
                if session in self._server().sessions:
                    session.abort()
        return Kicked(connections=len(chosen), calls=calls)

    async def drain(self, params: DrainRequest, context: Context) -> Drained:
        """Take no more calls from them, and close each when it has answered."""
        chosen = await self._choose(params, context.caller)
        targets = self._targets(chosen)
        async for session in self._in_turns(chosen):
            session.drain()
        context.log.warning(
            "connections drained",
            message_id=MessageId.PEERS_DRAINED,
            target=_text(params),
            affected=len(chosen),
            targets=targets,
        )
        remaining = await self._server().departures.wait(chosen, params.wait_usec / 1e6)
        return Drained(connections=len(chosen), remaining=remaining)

    # --- which of them -------------------------------------------------------------------------------------------

    async def _choose(self, wanted: Selection, asking: Caller) -> list[Session]:
        """Those that are meant, but never the one that asks: its answer would not arrive."""
        found = [session async for session in self._matching(wanted) if session.caller is not asking]
        return [session for session in found if session in self._server().sessions]

    async def _matching(self, wanted: Selection, after: int = 0) -> AsyncIterator[Session]:
        number = None if wanted.id is None else self._number(wanted.id) or 0
        known = [each for each in self._server().sessions if each.number > after]
        async for session in self._in_turns(sorted(known, key=lambda each: each.number)):
            if (
                (number is None or session.number == number)
                and (wanted.uid is None or session.caller.uid == wanted.uid)
                and (wanted.unit is None or wanted.unit in {session.caller.unit, session.caller.system_unit})
            ):
                yield session

    async def _in_turns(self, sessions: Iterable[Session]) -> AsyncIterator[Session]:
        """One after the other, without those that are closed meanwhile; other work of the loop gets its turns."""
        for count, session in enumerate(sessions, 1):
            if session in self._server().sessions:
                yield session
            if count % PER_TURN == 0:
                await asyncio.sleep(0)

    def _number(self, peer_id: str | None) -> int | None:
        """The number in an id; None for one of another run."""
        prefix, _, number = (peer_id or "").partition("-")
        return int(number) if prefix == self._prefix else None

    # --- what is said of them ------------------------------------------------------------------------------------

    def _id(self, session: Session) -> str:
        return f"{self._prefix}-{session.number}"

    def _describe(self, session: Session) -> PeerInfo:
        return PeerInfo(
            id=self._id(session),
            uid=session.caller.uid,
            pid=session.caller.pid,
            unit=session.caller.unit,
            age_usec=time.monotonic_ns() // 1000 - session.begun_usec,
            state="draining" if session.is_draining else "open",
            **session.traffic()._asdict(),
        )

    def _targets(self, sessions: list[Session]) -> str | None:
        """The first of those that something is done to, while all is known of them."""
        shown = [
            f"{self._id(each)} uid {each.caller.uid} ({each.caller.unit or f'pid {each.caller.pid}'})"
            for each in sessions[:TARGETS_SHOWN]
        ]
        more = len(sessions) - len(shown)
        return ", ".join([*shown, f"and {more} more"] if more else shown) or None


def _text(selection: Selection) -> str:
    """What was asked for, in the words of the command line."""
    named = {"id": selection.id, "uid": selection.uid, "unit": selection.unit}
    return ", ".join(f"{name} {value}" for name, value in named.items() if value is not None) or "all"
