"""What is wrong with the links of a folder of HTML pages: those that lead nowhere, and those that make a browser ask another host."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from typing_extensions import override

#: What a browser gets by itself, as soon as it shows the page. A link to click on is the reader's choice.
_LOADED: Final = {"img": "src", "script": "src", "iframe": "src", "source": "src", "link": "href"}
_IN_STYLES: Final = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")


class Link(NamedTuple):
    target: str
    #: Whether showing the page is enough to get it.
    loaded: bool


class _Page(HTMLParser):
    """The anchors of a page, and its links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: Final[set[str]] = set()
        self.links: Final[list[Link]] = []
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors.update(each for each in (found.get("id"), found.get("name")) if each)
        if tag == "a" and (target := found.get("href")):
            self.links.append(Link(target, loaded=False))
        elif tag in _LOADED and (target := found.get(_LOADED[tag])):
            self.links.append(Link(target, loaded=True))


class Site:
    """The pages of a folder, read once."""

    def __init__(self, root: Path) -> None:
        self._root: Final = root.resolve()
        self._pages: Final = {
            path: _Page(path.read_text("utf-8")) for path in sorted(self._root.rglob("*.html"))
        }

    @property
    def size(self) -> tuple[int, int]:
        """How many pages there are, and how many links on them."""
        return len(self._pages), sum(len(page.links) for page in self._pages.values())

    def faults(self) -> Iterator[str]:
        """A sentence for each link that is wrong, of pages and of style sheets."""
        for path, page in self._pages.items():
            for link in page.links:
                if fault := self._fault(path, link):
                    yield f"{path.relative_to(self._root)}: {link.target}: {fault}"
        for path in sorted(self._root.rglob("*.css")):
            for target in (first or second for first, second in _IN_STYLES.findall(path.read_text("utf-8"))):
                if fault := self._fault(path, Link(target, loaded=True)):
                    yield f"{path.relative_to(self._root)}: {target}: {fault}"

    def _fault(self, path: Path, link: Link) -> str:
        """What is wrong with a link; nothing if it is right."""
        parts = urlsplit(link.target)
        if parts.scheme == "data":
            return ""
        if parts.scheme or parts.netloc:
            return "is got from another host" if link.loaded else ""
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.is_relative_to(self._root):
            return "leads out of the site"
        if not target.is_file():
            return "there is no such file"
        page = self._pages.get(target)
        if parts.fragment and page is not None and unquote(parts.fragment) not in page.anchors:
            return "there is no such place on the page"
        return ""
