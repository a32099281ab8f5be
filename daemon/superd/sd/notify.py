"""What the daemon tells systemd about itself: sd_notify(3)."""

import os
import select
import socket
import time
from array import array
from collections.abc import MutableMapping
from typing import Final, Self

_VARIABLE: Final = "NOTIFY_SOCKET"

#: Seconds that systemd has to take a descriptor: the daemon waits for that, since it is about to end.
_STORE_TIMEOUT: Final = 5.0


class Notifier:
    """Sends states to the service manager; does nothing where there is none. Never blocks.

    A sender of our own, since python-systemd's `notify` reads NOTIFY_SOCKET at each call, and the variable must
    not stay in the environment: a child that a handler starts could then speak for the daemon.

    A state that cannot be sent at once goes out with the next one: READY=1 must not get lost.
    """

    def __init__(self, address: str | None) -> None:
        """`address` is a path, or "@name" for an abstract one; any other kind, or None, switches this off."""
        usable = address is not None and len(address) > 1 and address[0] in "/@"
        self._address = (
            (b"\0" + os.fsencode(address[1:]) if address[0] == "@" else address)
            if usable and address
            else None
        )
        self._status: str | None = None
        self._unsent: dict[str, str] = {}

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Self:
        """The notifier for NOTIFY_SOCKET, which is removed from `environ`."""
        return cls(environ.pop(_VARIABLE, None))

    @property
    def enabled(self) -> bool:
        """Whether there is a service manager to tell."""
        return self._address is not None

    def ready(self, status: str) -> bool:
        """Startup is finished, or a reload."""
        self._status = status
        for late in (
            "RELOADING",
            "MONOTONIC_USEC",
        ):  # systemd would wait for the end of a reload that is over
            self._unsent.pop(late, None)
        return self._send({"READY": "1", "STATUS": status})

    def status(self, text: str) -> bool:
        """One line for `systemctl status`. The same text again is not sent."""
        if text == self._status and not self._unsent:
            return True
        self._status = text
        return self._send({"STATUS": text})

    def reloading(self, status: str) -> bool:
        """A reload begins; `ready` ends it. The time is what Type=notify-reload asks for (sd_notify(3))."""
        self._status = status
        if "READY" in self._unsent:  # the two in one message would say that it goes on
            return self._send({"STATUS": status})
        usec = time.monotonic_ns() // 1000
        return self._send({"RELOADING": "1", "MONOTONIC_USEC": str(usec), "STATUS": status})

    def stopping(self, status: str = "stopping") -> bool:
        """The shutdown begins."""
        self._status = status
        return self._send({"STOPPING": "1", "STATUS": status})

    def watchdog(self) -> bool:
        """The daemon is alive."""
        return self._send({"WATCHDOG": "1"})

    def store(self, fds: dict[str, int]) -> None:
        """Have the service manager keep these descriptors, by name, for the next process (FileDescriptorStoreMax=).

        Returns when it has looked at them, which does not say that it keeps them: one that has no room drops them in
        silence. Blocks for at most some seconds; raises OSError where it cannot be reached, TimeoutError among them.
        """
        for name, fd in fds.items():
            self.keep(name, fd)
        self._wait_until_read()

    def keep(self, name: str, fd: int) -> None:
        """The same for one descriptor, without waiting for an answer; raises OSError as `store` does."""
        # FDPOLL=0: a queue whose writing end is closed looks hung up, and would be dropped.
        self._send_now(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0\n", [fd])

    def forget(self, name: str) -> None:
        """Have the service manager keep the descriptors of this name no longer; raises OSError as `store` does."""
        self._send_now(f"FDSTOREREMOVE=1\nFDNAME={name}\n", [])

    def _wait_until_read(self) -> None:
        """Wait until all that was sent has been read: the other end of a pipe is closed then (sd_notify_barrier(3))."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                self._send_now("BARRIER=1\n", [writing])
            finally:
                os.close(writing)
            poll = select.poll()
            poll.register(reading, 0)
            if not poll.poll(_STORE_TIMEOUT * 1000):
                message = "the service manager did not answer in time"
                raise TimeoutError(message)
        finally:
            os.close(reading)

    def _send_now(self, message: str, fds: list[int]) -> None:
        """Send without giving up at once where the service manager is busy."""
        if self._address is None:
            fault = "there is no service manager"
            raise OSError(fault)
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(_STORE_TIMEOUT)
            channel.sendmsg([message.encode()], passed, 0, self._address)

    def _send(self, states: dict[str, str]) -> bool:
        """Send these states and those still unsent. False if systemd could not take them now."""
        if self._address is None:
            return True
        self._unsent |= states
        message = "".join(f"{name}={' '.join(value.split())}\n" for name, value in self._unsent.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
            try:
                channel.sendto(message.encode("utf-8", "replace"), self._address)
            except OSError:
                return False
        self._unsent.clear()
        return True
