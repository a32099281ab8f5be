"""A server of the protocol as a process of its own, in a control group of the test's choice. Run as a program.

It prints "ready", then the method of each message that it reads.
"""

import argparse
import json
import os
import socket
import struct
import sys


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def receive(connection: socket.socket) -> dict[str, object] | None:
    """The next message, or None at the end. A packet brings its header and its body at once."""
    header = connection.recv(4, socket.MSG_PEEK | socket.MSG_WAITALL)
    if len(header) < 4:
        return None
    (length,) = struct.unpack(">I", header)
    message: dict[str, object] = json.loads(connection.recv(4 + length, socket.MSG_WAITALL)[4:])
    say(message["method"])
    return message


def answer(connection: socket.socket, message: dict[str, object], *, refuse: bool) -> None:
    reply: dict[str, object] = {"jsonrpc": "2.0", "id": message["id"]}
    if refuse and message["method"] == "rpc.hello":
        reply["error"] = {"code": -32001, "message": "no", "data": {}}
    elif message["method"] == "rpc.hello":
        reply["result"] = {"unit": "good.service"}
    else:
        reply["result"] = message["params"]
    body = json.dumps(reply, separators=(",", ":")).encode()
    connection.sendall(struct.pack(">I", len(body)) + body)


def serve(connection: socket.socket, arguments: argparse.Namespace) -> None:
    """Answer all, or let children answer: each one message (restless), or one of them all but the first (restart)."""
    count = 0
    while (message := receive(connection)) is not None:
        count += 1
        if arguments.how == "restless" or (arguments.how == "restart" and count == 2):
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
                if arguments.how == "restart":
                    return
                continue
            answer(connection, message, refuse=False)
            if arguments.how == "restart":
                arguments.how = "honest"
                serve(connection, arguments)
            os._exit(0)
        answer(connection, message, refuse=arguments.how == "refuse")


def relay(listener: socket.socket, arguments: argparse.Namespace) -> None:
    """Accept as the user nobody, and have a process of the unit, which is root's, answer."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        while fds := socket.recv_fds(theirs, 1, 1)[1]:
            with socket.socket(fileno=fds[0]) as connection:
                serve(connection, arguments)
        os._exit(0)
    theirs.close()
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    listener.listen()
    say("ready")
    while True:
        connection, _ = listener.accept()
        socket.send_fds(ours, [b"x"], [connection.fileno()])
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("fd", type=int)
    parser.add_argument("cgroup")
    parser.add_argument("how")
    parser.add_argument("uid", type=int)
    arguments = parser.parse_args()
    if arguments.cgroup:
        with open(f"{arguments.cgroup}/cgroup.procs", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(str(os.getpid()))
    if arguments.uid:
        os.setresuid(arguments.uid, arguments.uid, arguments.uid)
    with socket.socket(fileno=arguments.fd) as listener:
        if arguments.how == "relay":
            relay(listener, arguments)
        say("ready")
        while True:
            connection, _ = listener.accept()
            with connection:
                serve(connection, arguments)


if __name__ == "__main__":
    main()
