"""Calls superd from several threads until standard input ends. Prints "begun", then what became of the calls, as JSON.

Every other thread makes a connection for each call; the rest keep one and let the client make the next when it is lost.
"""

import json
import sys
import threading
from collections import Counter

sys.path.insert(0, "/usr/lib/superd")

from superd_client import Client, SuperdError
from superd_client.builtin import Echo, echo

THREADS = 4
TIMEOUT = 20.0

stopped = threading.Event()
begun = threading.Event()


def call(client: Client, counts: Counter[str]) -> None:
    """One call, counted by its outcome."""
    try:
        client.call(echo, Echo(text="load"), timeout=TIMEOUT)
    except SuperdError as error:
        counts[type(error).__name__] += 1
        print(f"{error} {error.__cause__!r}", file=sys.stderr)
    else:
        counts["answered"] += 1
        begun.set()


def call_anew(counts: Counter[str]) -> None:
    """A connection for each call."""
    while not stopped.is_set():
        with Client() as client:
            call(client, counts)


def call_on(counts: Counter[str]) -> None:
    """One client for all calls."""
    with Client() as client:
        while not stopped.is_set():
            call(client, counts)


def main() -> None:
    """Run until standard input ends."""
    counts = [Counter[str]() for _ in range(THREADS)]
    threads = [
        threading.Thread(target=call_anew if index % 2 else call_on, args=(each,))
        for index, each in enumerate(counts)
    ]
    for thread in threads:
        thread.start()
    begun.wait(TIMEOUT)
    print("begun", flush=True)
    sys.stdin.read()
    stopped.set()
    for thread in threads:
        thread.join()
    print(json.dumps(sum(counts, Counter[str]())))


if __name__ == "__main__":
    main()
