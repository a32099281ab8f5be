"""Comes to superd about when it has been idle for a second, and asks one thing: `racing.py ROUNDS PEERS SEED`.

In each round all peers come within a quarter of a second. Prints how many were answered, and how it ended for the others. By hand
and with the standard library alone: nothing is tried again.
"""

import json
import random
import socket
import sys
import threading
import time
from collections import Counter

PATH = "/run/superd/superd.sock"
TIMEOUT = 30.0

#: Seconds after the last activity in which the first peer comes, in turn: about when superd decides to go, and when it has decided
#: and its process ends. With idle_exit = "1s" it decides after 1 to 1.125 s, if nobody has come.
FIRST = ((1.0, 1.13), (1.13, 1.16))
SPREAD = 0.25

#: Seconds that some peers are connected before they ask.
HESITATION = 0.02

body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "echo.echo", "params": {"text": "raced"}}).encode()


def receive(connection: socket.socket, size: int) -> bytes:
    """So many bytes; fewer at the end of file."""
    received = b""
    while len(received) < size and (piece := connection.recv(size - len(received))):
        received += piece
    return received


def ask(hesitation: float = 0.0) -> str:
    """Connect, ask, and say what came of it."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(PATH)
            time.sleep(hesitation)
            connection.sendall(len(body).to_bytes(4, "big") + body)
            reply = json.loads(receive(connection, int.from_bytes(receive(connection, 4), "big")) or "null")
    except OSError as error:
        return repr(error)
    return "answered" if reply == {"jsonrpc": "2.0", "id": 1, "result": {"text": "raced"}} else str(reply)


def main() -> None:
    """Play all rounds."""
    rounds, peers, seed = map(int, sys.argv[1:])
    chance, outcomes = random.Random(seed), Counter[str]()

    def come(at: float, hesitation: float) -> None:
        time.sleep(max(0.0, at - time.monotonic()))
        outcomes[ask(hesitation)] += 1

    for number in range(rounds):
        outcomes[ask()] += 1
        first = time.monotonic() + chance.uniform(*FIRST[number % 2])
        threads = [
            threading.Thread(
                target=come,
                args=(first + chance.uniform(0, SPREAD), chance.choice((0.0, chance.uniform(0, HESITATION)))),
            )
            for _ in range(peers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
