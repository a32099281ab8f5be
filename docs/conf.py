"""Sphinx: the HTML pages and the man pages, from the same sources. `make docs` runs it."""  # noqa: INP001 - Sphinx reads it as a file

from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

# Read as text: the documents can be built where superd cannot be imported.
_init = Path(__file__).resolve().parent.parent / "daemon" / "superd" / "__init__.py"

project = "superd"
author = "the superd authors"
copyright = "the superd authors"  # noqa: A001 - Sphinx's name for it
release = version = _init.read_text("utf-8").partition('__version__ = "')[2].partition('"')[0]
language = "en"

extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
# A page that no list of contents names is a mistake, and so is a link that leads nowhere.
nitpicky = True

# Everything that it needs comes with it: no page asks another host for anything. Man pages can be built without it.
html_theme = "furo" if find_spec("furo") else "alabaster"
html_title = f"superd {release}"
html_short_title = "superd"
html_copy_source = False
html_show_copyright = False

# Source, name, description, authors, section. A page that has a section NAME of its own needs no description.
man_pages = [
    ("reference/superd", "superd", "", [], 8),
    ("reference/superctl", "superctl", "", [], 1),
    ("reference/policy", "superd-policy", "", [], 5),
    ("reference/configuration", "superd.toml", "configuration of superd", [], 5),
]


def _unlink_references(app: Sphinx, document: nodes.document, _page: str) -> None:
    """Show the text alone of a link to another page: a man page has nothing to click on."""
    if app.builder.name == "man":
        for link in list(document.findall(nodes.reference)):
            link.replace_self(link.children)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("doctree-resolved", _unlink_references)
