"""Asks superd by datagrams, and prints what it answers: the text of an echo, and how superd.stop is refused.

By hand and with the standard library alone.
"""

import json
import socket
import sys
from typing import Any

TIMEOUT = 30.0


def ask(server: str, method: str, params: dict[str, str]) -> Any:
    """One call, with an address of the kernel's for the reply."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT)
        sock.bind("")
        sock.sendto(len(body).to_bytes(4, "big") + body, server)
        return json.loads(sock.recv(65536)[4:])


def main(server: str) -> None:
    """Ask twice."""
    print(ask(server, "echo.echo", {"text": "hello"})["result"]["text"])
    print(ask(server, "superd.stop", {})["error"]["message"])


if __name__ == "__main__":
    main(sys.argv[1])
