"""A plugin of pytest: what is tested is what is installed, in this process and in those that it starts."""

import importlib
import importlib.metadata
import sysconfig
from pathlib import Path
from typing import Final

import pytest

PACKAGES: Final = ("superd_client", "superd", "inventoryd", "romd")
#: Whose versions make a cell.
_SHOWN: Final = ("superd", "pydantic", "pydantic_core", "structlog", "uvloop", "orjson")


def pytest_configure() -> None:
    """Refuse to test sources: a test that passes there says nothing of a wheel."""
    site = Path(sysconfig.get_path("purelib")).resolve()
    for name in PACKAGES:
        place = Path(str(importlib.import_module(name).__file__)).resolve()
        if site not in place.parents:
            raise pytest.UsageError(f"{name} is not the installed one: {place} is not in {site}")


def pytest_report_header() -> list[str]:
    """What is tested, and where it is."""
    client = importlib.import_module("superd_client")
    versions = " ".join(f"{name}={importlib.metadata.version(name)}" for name in _SHOWN)
    return [f"installed: {versions}", f"superd_client.__file__: {client.__file__}"]
