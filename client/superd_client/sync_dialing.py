"""How the thread whose turn it is comes to a connection: it connects, and has the server's unit proved."""

import threading
from abc import ABC, abstractmethod
from typing import Final

from superd_client.arguments import CallIds
from superd_client.calls import ATTEMPTS
from superd_client.dialing import Destination, Dial, Question
from superd_client.errors import CallTimeout, SuperdError
from superd_client.sockets import connect
from superd_client.sync_link import ThreadCall, ThreadLink
from superd_client.wire.envelope import Reply
from superd_client.witness import PROOF_ROUNDS, QUESTION, UnitProof, Unproved


class ThreadDialer(ABC):
    """The connections that the threads of a client share, and how they are made. The mutex guards all of it."""

    #: The links that are not lost, the one for new calls among them; others wait for the last replies, or their proof.
    links: tuple[ThreadLink, ...] = ()

    def __init__(self, destination: Destination) -> None:
        """Connect to nothing yet."""
        self._destination: Final = destination
        self.closed = False
        self._settle()

    def _settle(self) -> None:
        """Make what each process has for itself: first on creation, then in every forked child."""
        self.mutex = threading.Lock()
        self.ids = CallIds()
        self.link: ThreadLink | None = None
        links, self.links = self.links, ()
        for link in links:
            link.disown()

    @abstractmethod
    def wait(self, call: ThreadCall) -> None:
        """Wait until something has happened to `call`."""

    @abstractmethod
    def forget(self, call: ThreadCall) -> None:
        """Give up all that `call` holds."""

    def await_link(self, call: ThreadCall) -> ThreadLink:
        """Connect, unless that is done; try again while the server has no room, or is not there. Needs the turn."""
        dial = Dial(call, self._destination)
        attempts = ATTEMPTS
        while True:
            proof = self._destination.proof()
            with self.mutex:
                link = self._open_link(call, proof)
                if isinstance(link, ThreadLink) and link is self.link:
                    return link
                call.set_alarm()
            if isinstance(link, OSError):
                call.sleep(dial.pause(link))
            elif proof is not None and not self._prove(link, proof, call):
                attempts -= 1
                if not attempts:
                    raise call.unconnected("the server hangs up before its unit is proved")

    def _open_link(self, call: ThreadCall, proof: UnitProof | None) -> ThreadLink | OSError:
        """The link; or a new one, which needs its proof if there is one; or why there is none."""
        if self.closed:
            raise call.closed()
        if self.link is not None and self.link.check():
            return self.link
        try:
            link = _connect(self._destination, proof)
        except OSError as error:
            return error
        self.links = (*(each for each in self.links if not each.lost), link)
        if proof is None:
            self.link = link
        return link

    def _prove(self, link: ThreadLink, proof: UnitProof, call: ThreadCall) -> bool:
        """Make `link` the one for new calls once its server is proved; False where the server hung up meanwhile.

        Else raises WrongServer, or what else ends `call`. No other call gets there before.
        """
        question = Question(call)
        try:
            for _ in range(PROOF_ROUNDS):
                end = self._ask(link, question)
                if self.closed:
                    raise call.closed()
                if not question.check(end, hung_up=link.hung_up):
                    return False
                if proof.holds():
                    with self.mutex:
                        self.link = link
                    return True
        except Unproved as error:
            raise call.wrong_server(str(error)) from error
        finally:
            proof.close()
            if self.link is not link:
                with self.mutex:
                    link.lose("its server is not proved")
        raise call.wrong_server(proof.reason)

    def _ask(self, link: ThreadLink, question: Question) -> Reply | SuperdError | None:
        asked = ThreadCall(QUESTION, self.ids.make(), question.seconds())
        try:
            with self.mutex:
                asked.link = link
                link.begin(asked, question.PARAMS)
                link.flush()
            self.wait(asked)
        except CallTimeout as error:
            return error
        finally:
            self.forget(asked)
        return asked.end


def _connect(destination: Destination, proof: UnitProof | None) -> ThreadLink:
    """A link with a connection of its own; raises OSError."""
    channel = connect(destination.address, proof)
    try:
        return ThreadLink(channel, destination.frame_limit, destination.latency)
    except BaseException:
        channel.close()
        raise
