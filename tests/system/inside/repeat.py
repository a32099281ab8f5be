"""Calls `counted.next` twice with one key, each time on a connection of its own, and prints both answers as JSON.

By hand and with the standard library alone.
"""

import json
import socket

PATH = "/run/superd/superd.sock"
TIMEOUT = 30.0

request = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "counted.next",
    "params": {},
    "meta": {"idempotency_key": "k"},
}
body = json.dumps(request).encode()


def ask() -> object:
    """The result; the reply is short, and comes in one piece."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(PATH)
        connection.sendall(len(body).to_bytes(4, "big") + body)
        return json.loads(connection.recv(65536)[4:])["result"]


if __name__ == "__main__":
    print(json.dumps([ask(), ask()]))
