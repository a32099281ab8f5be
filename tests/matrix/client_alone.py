"""`pip install superd-client` as its users have it: no compiler, no systemd, nothing of superd, and a call that is answered."""

import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.daemon.process import superd
from tests.matrix.cells import Cell, normalize
from tests.matrix.environment import Environment, write_constraints

#: All that the client may bring: pydantic, and what pydantic brings.
ALLOWED: Final = frozenset(
    {
        "superd-client",
        "pydantic",
        "pydantic-core",
        "annotated-types",
        "typing-extensions",
        "typing-inspection",
    }
)

#: Prints what is installed, and calls superd.
_PROGRAM: Final = """
import importlib.metadata
import importlib.util

foreign = ("structlog", "systemd", "uvloop", "orjson", "superd")
found = [name for name in foreign if importlib.util.find_spec(name)]
assert not found, found

from superd_client import Client

with Client() as client:
    assert client.call("echo.echo", {"text": "alone"})["text"] == "alone"
print(*(each.name for each in importlib.metadata.distributions()))
"""


def check_client_alone(cell: Cell, interpreter: Path, client: Path, daemon: Path) -> str:
    """What is wrong with the wheel `client` by itself, asked of a superd that `daemon` runs; "" if nothing is."""
    environment = Environment(cell.folder / "client", interpreter)
    # On this PATH there is Python, and nothing that could compile.
    path = str(environment.python.parent)
    environment.install(write_constraints(cell), client, "--only-binary=:all:", PATH=path)
    with tempfile.TemporaryDirectory(prefix="superd-matrix-") as folder:
        socket = Path(folder, "superd.sock")
        with superd(path=socket, program=[str(daemon), "-m", "superd"]):
            answer = subprocess.run(
                [environment.python, "-I", "-W", "error", "-c", _PROGRAM],
                env={"PATH": path, "SUPERD_SOCKET": f"unix:{socket}"},
                capture_output=True,
                text=True,
                check=False,
            )
    if answer.returncode:
        return answer.stderr
    foreign = {normalize(name) for name in answer.stdout.split()} - ALLOWED
    return f"it brings {', '.join(sorted(foreign))}" if foreign else ""
