"""The man pages as a reader sees them, at 80 columns. They need what `make man` installs."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from superd import __version__
from tests.architecture.reference import ROOT

SPHINX: Final = ROOT / "build/docs/venv/bin/sphinx-build"
PAGES: Final = ("superctl.1", "superd_client.3", "superd.toml.5", "superd-policy.5", "superd.8")

pytestmark = [
    pytest.mark.skipif(not SPHINX.exists(), reason="there is no Sphinx: make man was not run"),
    pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed"),
]


@pytest.fixture(scope="module", name="folder")
def fixture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    subprocess.run([SPHINX, "-q", "-W", "--keep-going", "-b", "man", ROOT / "docs", folder], check=True)
    return folder


def test_all_pages_are_there(folder: Path) -> None:
    assert sorted(PAGES) == sorted(path.name for path in folder.glob("*.[1-8]"))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_read(page: str, folder: Path) -> None:
    shown = subprocess.run(
        ["man", "--warnings", "--local-file", folder / page],
        env={"LC_ALL": "C.UTF-8", "MANWIDTH": "80", "PATH": "/usr/bin:/bin", "MAN_KEEP_FORMATTING": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stderr == ""
    lines = shown.stdout.splitlines()
    # It fills text to 80 columns, and warns of wider tables. What it does not fill is examples.
    assert [line for line in lines if len(line) > 100] == []
    # Words that are broken, and what of the sources should not be seen.
    assert [line for line in lines if re.search(r"\u2010$|``|\*\*\w|\]\(", line)] == []
    assert lines[-1].startswith(f"superd {__version__}")


@pytest.mark.parametrize("page", PAGES)
def test_the_date_is_the_releases(page: str, folder: Path) -> None:
    title = re.search(r'^\.TH "\S+" "\d" "([^"]+)"', (folder / page).read_text("utf-8"), re.MULTILINE)
    released = re.search(
        rf"^## \[{re.escape(__version__)}\] - (\S+)$",
        (ROOT / "CHANGELOG.md").read_text("utf-8"),
        re.MULTILINE,
    )
    assert title is not None
    assert title[1] == (released[1] if released else "unreleased")
