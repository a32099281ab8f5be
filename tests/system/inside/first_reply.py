"""Connects to superd's socket, asks one thing, and prints the microseconds until the reply was there.

By hand and with the standard library alone: what is measured is the daemon, not the imports of a client.
"""

import json
import socket
import time

PATH = "/run/superd/superd.sock"
TIMEOUT = 30.0

body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "echo.echo", "params": {"text": "first"}}).encode()


def receive(connection: socket.socket, size: int) -> bytes:
    """So many bytes; fewer at the end of file."""
    received = b""
    while len(received) < size and (piece := connection.recv(size - len(received))):
        received += piece
    return received


def main() -> None:
    """Ask once."""
    begun = time.monotonic_ns()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(PATH)
        connection.sendall(len(body).to_bytes(4, "big") + body)
        reply = json.loads(receive(connection, int.from_bytes(receive(connection, 4), "big")))
    taken = time.monotonic_ns() - begun
    assert reply == {"jsonrpc": "2.0", "id": 1, "result": {"text": "first"}}, reply
    print(taken // 1000)


if __name__ == "__main__":
    main()
