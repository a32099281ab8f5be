"""What the client pulls in, seen from a fresh interpreter."""

import os
import subprocess
import sys

import pytest


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


def test_the_package_itself_loads_nothing() -> None:
    assert not modules_after("import superd_client") & {"pydantic", "asyncio", "socket"}
