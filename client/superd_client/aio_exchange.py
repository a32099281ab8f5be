"""How the tasks of a loop exchange messages with a server: over one connection, with no task of their own."""

import asyncio
import contextlib
import os
from typing import Final
from weakref import WeakSet

from superd_client.aio_link import TaskCall, TaskLink
from superd_client.arguments import CallIds
from superd_client.calls import ATTEMPTS
from superd_client.dialing import Destination, Dial, Question
from superd_client.errors import CallTimeout, ConnectFailed, SuperdError
from superd_client.sockets import WAIT_MAX, connect
from superd_client.wire.envelope import Reply, Result
from superd_client.witness import PROOF_ROUNDS, QUESTION, UnitProof, Unproved


class TaskExchange:
    """The connection that the tasks of a client share. Its methods take a call through, or a part of one."""

    #: The links that are not lost, the one for new calls among them; others wait for the last replies.
    links: tuple[TaskLink, ...] = ()

    def __init__(self, destination: Destination) -> None:
        """Connect to nothing yet, and belong to no loop yet."""
        self._destination: Final = destination
        self.closed = False
        self._settle()
        _exchanges.add(self)

    def _settle(self) -> None:
        """Make what each process has for itself: first on creation, then in every forked child."""
        self.ids = CallIds()
        self.link: TaskLink | None = None
        links, self.links = self.links, ()
        for link in links:
            link.disown()
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Of the tasks that wait for a connection which was not there at once one connects for all.
        self._connecting: asyncio.Lock | None = None
        #: Why the task that connects for all has to try again; None while it proves the server's unit.
        self._refusal: OSError | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; raises RuntimeError where there is none, or this client belongs to another one."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._move_to(loop)
        return loop

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None and not self._loop.is_closed():
            message = (
                "this client is used in another event loop, which is not closed: make a client for each loop"
            )
            raise RuntimeError(message)
        for link in self.links:
            link.lose("the event loop that the connection was made in is closed")
        self.link, self.links, self._connecting = None, (), None
        self._loop = loop

    def close(self) -> None:
        """Close the connection, for good."""
        if self._loop is not None and not self._loop.is_closed():
            self.loop()
        self.closed = True
        for link in self.links:
            link.lose("the client was closed")
        self.link, self.links = None, ()

    # --- whole calls ---------------------------------------------------------------------------------------------

    async def carry_out(self, call: TaskCall, params: bytes) -> Reply:
        """Write the request of `call`, on a link that is there or a new one, and wait for its reply; go on where it has ended."""
        try:
            return await self._carry_out(call, params)
        except BaseException:
            call.discard()
            raise

    async def _carry_out(self, call: TaskCall, params: bytes) -> Reply:
        attempts = ATTEMPTS
        while True:
            attempts -= 1
            link = call.link or await self._send_and_wait(call, params)
            if call.oneway:
                link.withdraw(call)
            end = call.end
            if type(end) is Result:
                return end
            if await self.begins_again(call):
                attempts = ATTEMPTS
            elif isinstance(end, SuperdError):
                self._check_again(call, link, end, attempts)
            elif end is not None:
                return end

    async def _send_and_wait(self, call: TaskCall, params: bytes) -> TaskLink:
        """Write the request of `call`, and wait until it has ended; returns its link."""
        link = self._ready_link(call) or await self._await_link(call)
        try:
            await link.send(call, params)
        except BaseException:
            link.give_up(call)
            raise
        return link

    def _check_again(self, call: TaskCall, link: TaskLink, error: SuperdError, attempts: int) -> None:
        """Prepare `call` to be written once more where the link went before it was; else raise what ended it."""
        if isinstance(error, ConnectFailed):
            if self.closed:
                raise call.closed() from error
            if link.hung_up and attempts:
                call.renew()
                return
        raise error

    async def begins_again(self, call: TaskCall) -> bool:
        """Whether `call` has ended and is to be sent once more; pauses before that."""
        pause = None if self.closed else call.retry_pause()
        if pause is None:
            return False
        await asyncio.sleep(pause)
        call.renew()
        return True

    def forget(self, call: TaskCall) -> None:
        """Give up all that `call` holds, and tell the server. May be repeated."""
        if call.link is not None:
            call.link.give_up(call)

    def forget_later(self, call: TaskCall) -> None:
        """The same for a finalizer, which may run in any thread and in the middle of anything."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed; the link ends with the client
                self._loop.call_soon_threadsafe(self.forget, call)

    # --- the parts of a call -------------------------------------------------------------------------------------

    async def send(self, call: TaskCall, params: bytes) -> TaskLink:
        """Write the request of a stream or an upload; returns its link once it is written, or the call has ended."""
        attempts = ATTEMPTS
        while True:
            attempts -= 1
            link = self._ready_link(call) or await self._await_link(call)
            link.send(call, params)
            try:
                while not call.sent and call.end is None:
                    await call.wait("not written")
            except CallTimeout:
                if link.withdraw(call, cancel=True):
                    raise
                # A frame that is written in part is written to its end, and may be carried out.
                raise call.timed_out(sent=True) from None
            if call.sent or not isinstance(call.end, SuperdError):
                return link
            self._check_again(call, link, call.end, attempts)

    def _ready_link(self, call: TaskCall) -> TaskLink | None:
        """The link, if there is one that calls can begin on."""
        if self.closed:
            raise call.closed()
        self.loop()
        return self.link if self.link is not None and self.link.check() else None

    async def _await_link(self, call: TaskCall) -> TaskLink:
        """Connect; try again while the server has no room, or is not there. One task tries for all."""
        dial = Dial(call, self._destination)
        seconds = dial.seconds()
        if self._connecting is None:
            if self._destination.expect_unit is None and isinstance(
                opened := self._open_link(None), TaskLink
            ):
                return opened
            self._connecting = asyncio.Lock()
        try:
            async with asyncio.timeout(min(seconds, WAIT_MAX)), self._connecting:
                attempts = ATTEMPTS
                while (link := self._ready_link(call)) is None:
                    proof = self._destination.proof()
                    opened = self._open_link(proof)
                    self._refusal = opened if isinstance(opened, OSError) else None
                    if isinstance(opened, OSError):
                        await asyncio.sleep(dial.pause(opened))
                    elif proof is not None and not await self._prove(opened, proof, call):
                        attempts -= 1
                        if not attempts:
                            raise call.unconnected("the server hangs up before its unit is proved")
                return link
        except TimeoutError as error:
            if isinstance(error, CallTimeout):
                raise
            raise dial.given_up(self._refusal) from error

    def _open_link(self, proof: UnitProof | None) -> TaskLink | OSError:
        """A new link, which needs its proof if there is one; or why there is none."""
        try:
            channel = connect(self._destination.address, proof)
        except OSError as error:
            return error
        link = TaskLink(channel, self._destination.frame_limit, self.loop(), self._destination.latency)
        self.links = (*(each for each in self.links if not each.lost), link)
        if proof is None:
            self.link = link
        return link

    async def _prove(self, link: TaskLink, proof: UnitProof, call: TaskCall) -> bool:
        """Make `link` the one for new calls once its server is proved; False where the server hung up meanwhile.

        Else raises WrongServer, or what else ends `call`. No other call gets there before.
        """
        question = Question(call)
        try:
            for _ in range(PROOF_ROUNDS):
                end = await self._ask(link, question)
                if self.closed:
                    raise call.closed()
                if not question.check(end, hung_up=link.hung_up):
                    return False
                if proof.holds():
                    self.link = link
                    return True
        except Unproved as error:
            raise call.wrong_server(str(error)) from error
        finally:
            proof.close()
            if self.link is not link:
                link.lose("its server is not proved")
        raise call.wrong_server(proof.reason)

    async def _ask(self, link: TaskLink, question: Question) -> Reply | SuperdError | None:
        asked = TaskCall(QUESTION, self.ids.make(), question.seconds())
        try:
            await link.send(asked, question.PARAMS)
        finally:
            link.give_up(asked)
        return asked.end


_exchanges: Final[WeakSet[TaskExchange]] = WeakSet()


def _settle_in_child() -> None:
    for exchange in tuple(_exchanges):
        exchange._settle()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_settle_in_child)
