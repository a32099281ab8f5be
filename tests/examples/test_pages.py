"""No block of code rots unseen: each is run by a test, or says why it is not, and is right as far as can be seen."""

import ast
import configparser
import importlib
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import FIGURES
from tests.examples.pages import DOCS, HOWTO, ROOT, TUTORIALS, Block, blocks

#: Pages all of whose blocks without a reason against it are run, and by which test.
FOLLOWED: Final = {
    "README.md": "tests/architecture/test_readme.py",
    "docs/tutorial/first-service.md": "tests/examples/test_tutorial.py",
    "docs/tutorial/from-plain-sockets.md": "tests/examples/test_from_plain_sockets.py",
    "docs/howto/write-a-service.md": "tests/examples/test_howto.py",
    "docs/howto/call-from-a-daemon.md": "tests/examples/test_call_from_a_daemon.py",
    "docs/howto/call-from-another-language.md": "tests/examples/test_howto.py",
    "docs/howto/call-from-the-shell.md": "tests/examples/test_howto.py",
    "docs/howto/install-and-run.md": "tests/examples/test_howto.py",
    "docs/howto/datagrams.md": "tests/examples/test_howto.py",
    "docs/howto/pass-descriptors-and-blobs.md": "tests/examples/test_howto.py",
    "docs/howto/debug-with-journalctl.md": "tests/system/test_howto.py",
    "docs/howto/restrict-who-may-call.md": "tests/system/test_howto.py",
    "docs/howto/run-and-administer.md": "tests/system/test_howto.py",
    "docs/howto/run-instances.md": "tests/system/test_instances.py",
    "docs/howto/upgrade.md": "tests/system/test_howto.py",
}
CODE: Final = {"console", "js", "perl", "python", "sh"}
DATA: Final = {"ini", "text", "toml"}

PAGES: Final = [ROOT / "README.md", *sorted(TUTORIALS.glob("*.md")), *sorted(HOWTO.glob("*.md"))]
#: Those of the reference and the explanations are parts of programs, or tell how something looks.
OTHERS: Final = sorted({*DOCS.glob("*/*.md")} - {*PAGES})


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> list[Block]:
    return list(blocks(page.read_text("utf-8"), page.parent))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_block_is_run_or_says_why_not(page: Path, request: pytest.FixtureRequest) -> None:
    found = blocks_of(page)
    assert len(found) == sum(line.strip() == "```" for line in page.read_text("utf-8").splitlines())
    for block in found:
        assert block.kind in CODE | DATA, f"{name(page)}:{block.line}"
        assert block.kind in DATA or block.not_run or name(page) in FOLLOWED, f"{name(page)}:{block.line}"
    left = [f"{name(page)}:{block.line}: {block.not_run}" for block in found if block.not_run]
    request.node.user_properties.append((FIGURES, [f"not run: {each}" for each in left]))


@pytest.mark.parametrize("page", FOLLOWED)
def test_who_follows_a_page_exists(page: str) -> None:
    assert Path(page).name in (ROOT / FOLLOWED[page]).read_text("utf-8")
    assert (ROOT / page).exists()


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=name)
def test_python_that_is_not_run_is_python_and_imports_what_there_is(page: Path) -> None:
    for block in blocks_of(page):
        if block.kind == "python" and (block.not_run or page in OTHERS):
            # A part of a program: it may wait, and name what is elsewhere.
            compile(block.text, f"{page}:{block.line}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            for node in ast.walk(ast.parse(block.text)):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("superd"):
                    module = importlib.import_module(str(node.module))
                    assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=name)
def test_files_of_configuration_can_be_read(page: Path) -> None:
    for block in blocks_of(page):
        if block.kind == "toml":
            assert tomllib.loads(block.text)
        elif block.kind == "ini":
            unit = configparser.RawConfigParser(strict=False, interpolation=None)
            unit.read_string(block.text)
            assert unit.sections()
