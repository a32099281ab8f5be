"""Asks superd by a client that expects a unit, from where it runs; again for each line of standard input.

Arguments: the unit. Prints for each: "connection N", by how many connections there were, or the exception's name and text; and
first who made the listening socket, by SO_PEERCRED.
"""

import socket
import struct
import sys

sys.path.insert(0, "/usr/lib/superd")

from superd_client import Client, SuperdError

PATH = "/run/superd/superd.sock"


def listening_pid() -> int:
    """The process that SO_PEERCRED shows."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(PATH)
        pid, _, _ = struct.unpack("=iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)


def main() -> None:
    """Ask."""
    print("listens", listening_pid(), flush=True)
    links: list[object] = []
    with Client(expect_unit=sys.argv[1]) as client:
        while True:
            try:
                client.call("echo.echo", {"text": "a"})
                if client._exchange.link not in links:
                    links.append(client._exchange.link)
                print("connection", len(links), flush=True)
            except SuperdError as error:
                print(type(error).__name__, error, flush=True)
            if not sys.stdin.readline():
                break


if __name__ == "__main__":
    main()
