"""Keeps one connection to superd until standard input ends, and asks by it without a break.

Prints "begun", then as JSON: calls answered, the longest wait for an answer in microseconds, how often superd said that
it stops, and how often the connection was lost, which ends it. By hand and with the standard library alone: nothing is tried again.
Argument: the path of another socket than the plain superd's.
"""

import contextlib
import json
import select
import socket
import sys
import time
from typing import Any

PATH = sys.argv[1] if sys.argv[1:] else "/run/superd/superd.sock"
TIMEOUT = 60.0


def frame(number: int) -> bytes:
    """One echo."""
    message = {"jsonrpc": "2.0", "id": number, "method": "echo.echo", "params": {"text": str(number)}}
    body = json.dumps(message).encode()
    return len(body).to_bytes(4, "big") + body


def receive(connection: socket.socket, size: int) -> bytes:
    """So many bytes; raises ConnectionError at the end of file."""
    received = b""
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise ConnectionError("end of file")
        received += piece
    return received


def receive_message(connection: socket.socket) -> Any:
    """The next one."""
    return json.loads(receive(connection, int.from_bytes(receive(connection, 4), "big")))


def rest(connection: socket.socket) -> int:
    """How often superd says that it stops, in what it still sends."""
    count = 0
    with contextlib.suppress(OSError):
        while True:
            count += receive_message(connection).get("method") == "rpc.goaway"
    return count


def main() -> None:
    """Ask until told to stop."""
    answered = longest = goaway = lost = 0
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(PATH)
        while not select.select([sys.stdin], [], [], 0)[0]:
            begun = time.monotonic_ns()
            try:
                connection.sendall(frame(answered))
                while "id" not in (reply := receive_message(connection)):
                    goaway += reply["method"] == "rpc.goaway"
            except OSError:
                lost += 1
                goaway += rest(connection)
                break
            assert reply["result"] == {"text": str(answered)}, reply
            longest = max(longest, (time.monotonic_ns() - begun) // 1000)
            answered += 1
            if answered == 1:
                print("begun", flush=True)
    print(json.dumps({"answered": answered, "longest_usec": longest, "goaway": goaway, "lost": lost}))


if __name__ == "__main__":
    main()
