"""The tutorial, done as it is written."""

from contextlib import ExitStack
from pathlib import Path

from tests.examples.pages import TUTORIALS, Reader, blocks

PAGE = (TUTORIALS / "first-service.md").read_text("utf-8")


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    with ExitStack() as stack:
        reader = Reader(tmp_path, stack)
        for block in blocks(PAGE, tmp_path, "/tmp/first-service.sock"):
            reader.follow(block)
        assert reader.superd is not None
        assert reader.superd.process.returncode == 0
    assert reader.checked >= 8
    assert not (tmp_path / "first-service.sock").exists()
