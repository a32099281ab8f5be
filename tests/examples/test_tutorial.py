"""The tutorial, done as it is written."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from typing_extensions import override

from tests.examples.pages import TUTORIALS, Reader, blocks

PAGE = (TUTORIALS / "first-service.md").read_text("utf-8")


class AtTerminal(Reader):
    """A reader whose commands write to a terminal, where superctl makes its lines shorter."""

    @override
    def words_of(self, command: str) -> list[str]:
        return ["script", "--quiet", "--return", "--command", command, "/dev/null"]


@pytest.mark.skipif(
    shutil.which("script") is None, reason="script(1), which makes a terminal, is not installed"
)
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    with ExitStack() as stack:
        reader = AtTerminal(tmp_path, stack)
        for block in blocks(PAGE, tmp_path, "/tmp/first-service.sock"):
            reader.follow(block)
        assert reader.superd is not None
        assert reader.superd.process.returncode == 0
    assert reader.checked >= 8
    assert not (tmp_path / "first-service.sock").exists()
