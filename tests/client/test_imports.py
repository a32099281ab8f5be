"""What the client pulls in, seen from a fresh interpreter."""

import os
import subprocess
import sys
from typing import Final

import pytest

#: What `from superd_client import Client` may load beside its own modules and what pydantic loads for a model; older releases of
#: pydantic load less.
ADDED: Final = frozenset(
    {
        "_blake2",
        "_hashlib",
        "_json",
        "array",
        "fcntl",
        "hashlib",
        "hmac",
        "json",
        "json.decoder",
        "json.encoder",
        "json.scanner",
        "pydantic.type_adapter",
        "secrets",
        "select",
        "selectors",
        "socket",
        "termios",
    }
)
#: Modules of its own. There are 51; each costs 0.1 to 0.5 ms.
OWN_MODULES_MAX: Final = 60


def modules_after(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("name", ["sync", "aio"])
def test_the_client_needs_pydantic_alone(name: str) -> None:
    loaded = modules_after(f"import superd_client.{name}")
    assert not loaded & {"structlog", "systemd", "uvloop", "superd"}
    assert "pydantic" in loaded


def test_the_blocking_client_needs_no_asyncio() -> None:
    assert "asyncio" not in modules_after("from superd_client import Client") - modules_after(
        "import pydantic"
    )


def test_the_blocking_client_loads_little_that_pydantic_does_not() -> None:
    """What it costs to import is what is loaded. `python -m tests.bench.imports` measures that; here it is counted."""
    whole_pydantic = modules_after("from pydantic import BaseModel\nclass Model(BaseModel): x: int")
    added = modules_after("from superd_client import Client") - whole_pydantic
    assert {name for name in added if not name.startswith("superd_client")} <= ADDED
    assert len(added - ADDED) <= OWN_MODULES_MAX


@pytest.mark.parametrize("name", ["Client", "AsyncClient"])
def test_what_a_client_needs_late_or_never_is_not_loaded(name: str) -> None:
    loaded = modules_after(f"from superd_client import {name}")
    assert not loaded & {"ctypes", "multiprocessing", "orjson", "superd_client.peer"}
    assert "ssl" not in loaded - modules_after("import asyncio")


def test_the_package_itself_loads_nothing() -> None:
    assert not modules_after("import superd_client") & {"pydantic", "asyncio", "socket"}
