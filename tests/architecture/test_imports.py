"""What importing a package costs, and what it must not need."""

import importlib
import subprocess
import sys

import pytest

NOT_OF_THE_CLIENT = {"superd", "structlog", "systemd", "uvloop"}


def modules_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after a statement."""
    program = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import superd_client",
        "from superd_client import Client, AsyncClient, Method, Message",
        "from superd_client import *",
        "import inventoryd.api",
        "import romd.__main__",
    ],
)
def test_a_client_needs_nothing_of_the_daemon(statement: str) -> None:
    assert modules_after(statement) & NOT_OF_THE_CLIENT == set()


def test_a_contract_loads_no_event_loop() -> None:
    assert modules_after("from superd_client import Method, Message") & {"asyncio"} == set()


@pytest.mark.parametrize("package", ["superd_client"])
def test_every_public_name_is_there(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__ == sorted(set(module.__all__))
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
        assert name in dir(module)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name
