"""What the daemon tells systemd about itself: sd_notify(3)."""

import os
import socket
from collections.abc import MutableMapping
from typing import Final, Self

_VARIABLE: Final = "NOTIFY_SOCKET"


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
        """Startup is finished."""
        self._status = status
        return self._send({"READY": "1", "STATUS": status})

    def status(self, text: str) -> bool:
        """One line for `systemctl status`. The same text again is not sent."""
        if text == self._status and not self._unsent:
            return True
        self._status = text
        return self._send({"STATUS": text})

    def stopping(self, status: str = "stopping") -> bool:
        """The shutdown begins."""
        self._status = status
        return self._send({"STOPPING": "1", "STATUS": status})

    def watchdog(self) -> bool:
        """The daemon is alive."""
        return self._send({"WATCHDOG": "1"})

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
