"""The checker of links: what it finds, and what it leaves alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.site.__main__ import main
from tests.site.links import Site

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_page(name: str, text: str) -> None:
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    return write_page


def faults(tmp_path: Path) -> list[str]:
    return list(Site(tmp_path / "site").faults())


@pytest.mark.parametrize(
    "link",
    [
        "other.html",
        "other.html#place",
        "./folder/../other.html?v=1#place",
        "#here",
        "#",
        "https://example.org/",
        "mailto:a@example.org",
        "plain.txt#anything",
        "with%20space.html#a%20b",
    ],
)
def test_a_good_link_is_no_fault(link: str, tmp_path: Path, write: Write) -> None:
    write("index.html", f'<a href="{link}"><p id="here">')
    write("other.html", '<a name="place">')
    write("with space.html", '<p id="a b">')
    write("plain.txt", "")
    assert faults(tmp_path) == []


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("none.html", "there is no such file"),
        ("folder", "there is no such file"),
        ("/other.html", "leads out of the site"),
        ("../outside.html", "leads out of the site"),
        ("#nowhere", "there is no such place on the page"),
        ("folder/other.html#here", "there is no such place on the page"),
    ],
)
def test_a_link_that_leads_nowhere_is_one(link: str, why: str, tmp_path: Path, write: Write) -> None:
    write("index.html", f'<p id="here"><a href="{link}">')
    write("folder/other.html", "")
    (tmp_path / "outside.html").touch()
    assert faults(tmp_path) == [f"index.html: {link}: {why}"]


@pytest.mark.parametrize(
    "tag",
    [
        '<img src="{}">',
        '<script src="{}"></script>',
        '<link rel="stylesheet" href="{}">',
        '<iframe src="{}"></iframe>',
    ],
)
@pytest.mark.parametrize("address", ["https://example.org/x", "http://example.org/x", "//example.org/x"])
def test_what_a_page_gets_from_another_host_is_one(
    tag: str, address: str, tmp_path: Path, write: Write
) -> None:
    write("index.html", tag.format(address))
    assert faults(tmp_path) == [f"index.html: {address}: is got from another host"]


def test_style_sheets_are_looked_at_too(tmp_path: Path, write: Write) -> None:
    write("index.html", '<link rel="stylesheet" href="style.css"><img src="data:image/png;base64,AA==">')
    write("style.css", "a { b: url(data:x) } c { d: url('good.png') } e { f: url(//example.org/x.woff) }")
    write("good.png", "")
    assert faults(tmp_path) == ["style.css: //example.org/x.woff: is got from another host"]


def test_the_command_counts_and_its_status_says_whether_all_is_well(
    tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("index.html", '<a href="#x"><p id="x">')
    assert main(str(tmp_path / "site")) == 0
    write("other.html", '<a href="#x">')
    assert main(str(tmp_path / "site")) == 1
    said = capsys.readouterr()
    assert said.out == "1 pages, 1 links, 0 wrong\n2 pages, 2 links, 1 wrong\n"
    assert said.err == "other.html: #x: there is no such place on the page\n"


def test_a_folder_without_pages_is_a_fault(tmp_path: Path) -> None:
    assert main(str(tmp_path)) == 1
