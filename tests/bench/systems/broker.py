"""dbus-broker without systemd around it: `python -m tests.bench.systems.broker PATH PROGRAM`.

The broker is told by its controller what to listen on, and what the policy is; dbus-broker-launch, the usual one, needs
a running journal and the bus of systemd. This one sends the single message that a broker needs, and waits. It is no part
of a call: clients are connected to the broker itself.
"""

import array
import signal
import socket
import subprocess
import sys
from typing import Any, Final

from jeepney import DBusAddress, HeaderFields, new_method_call
from jeepney.auth import Authenticator

#: The signature of a policy in dbus-broker 33: rules for connecting, owning, sending, receiving, for users and groups.
_BATCH: Final = "(bta(btbs)a(btssssuutt)a(btssssuutt))"
_POLICY: Final = f"(a(u{_BATCH})a(buu{_BATCH})a(ss)bs)"

#: Everything is allowed to everybody, as on the session bus.
_ANY_MESSAGE: Final = (True, 1, "", "", "", "", 0, 0, 0, (1 << 64) - 1)
_ALLOW_ALL: Final = (True, 1, [(True, 1, True, "")], [_ANY_MESSAGE], [_ANY_MESSAGE])
_ANY_USER: Final = (1 << 32) - 1

#: As session.conf has them: high.
_LIMITS: Final = (
    "--max-bytes=1000000000",
    "--max-fds=100000",
    "--max-matches=100000",
    "--max-objects=1000000",
)


def main() -> int:
    """Start the broker, tell it its listener, say that it is ready, and end with it."""
    path, program = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(4096)
    listener.setblocking(False)
    ours, theirs = socket.socketpair()
    options = [f"--controller={theirs.fileno()}", f"--machine-id={1:032x}", *_LIMITS]
    with subprocess.Popen([program, *options], pass_fds=[theirs.fileno()]) as broker:
        signal.signal(signal.SIGTERM, lambda *_: broker.terminate())
        theirs.close()
        _authenticate(ours)
        _add_listener(ours, listener)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        return broker.wait()


def _authenticate(controller: socket.socket) -> None:
    exchange = Authenticator(enable_fds=True)
    for line in exchange:
        controller.sendall(line)
        exchange.feed(controller.recv(4096))
    controller.sendall(b"BEGIN\r\n")


def _add_listener(controller: socket.socket, listener: socket.socket) -> None:
    broker = DBusAddress("/org/bus1/DBus/Broker", "org.bus1.DBus", "org.bus1.DBus.Broker")
    policy: Any = ([(_ANY_USER, _ALLOW_ALL)], [], [], False, "session")
    body = ("/org/bus1/DBus/Listener/0", listener, (_POLICY, policy))
    message = new_method_call(broker, "AddListener", "ohv", body)
    del message.header.fields[HeaderFields.destination]  # there is no bus between the two
    descriptors = array.array("i")
    data = message.serialise(1, descriptors)
    socket.send_fds(controller, [data], list(descriptors))
    reply = controller.recv(4096)
    if reply[1] != 2:  # METHOD_RETURN
        message = f"the broker refused its listener: {reply!r}"
        raise OSError(message)


if __name__ == "__main__":
    sys.exit(main())
