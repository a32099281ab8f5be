"""Sphinx: the HTML pages and the man pages, from the same sources. `make docs` runs it."""  # noqa: INP001 - Sphinx reads it as a file

import re
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

# Read as text: the documents can be built where superd cannot be imported.
_root = Path(__file__).resolve().parent.parent
_init = _root / "daemon" / "superd" / "__init__.py"

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
# A block that names no language is a picture, or what a program writes.
highlight_language = "none"
# A page that no list of contents names is a mistake, and so is a link that leads nowhere.
nitpicky = True

# Everything that it needs comes with it: no page asks another host for anything. Man pages can be built without it.
html_theme = "furo" if find_spec("furo") else "alabaster"
# The default underlines names, which look like links then.
pygments_dark_style = "github-dark"
html_title = f"superd {release}"
html_short_title = "superd"
html_copy_source = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

# Source, name, description, authors, section. Each page has a section NAME of its own, and so needs no description.
man_pages = [
    ("reference/superd", "superd", "", [], 8),
    ("reference/superctl", "superctl", "", [], 1),
    ("reference/configuration", "superd.toml", "", [], 5),
    ("reference/policy", "superd-policy", "", [], 5),
    ("reference/client", "superd_client", "", [], 3),
]

# Their date is the release's and not the build's: who builds them again gets the same bytes.
_released = re.search(
    rf"^## \[{re.escape(release)}\] - (\S+)$", (_root / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
)
today = _released[1] if _released else "unreleased"


def _set_man_up(app: Sphinx) -> None:
    """Say whose version it is at the foot of a man page, and leave the section COPYRIGHT out."""
    if app.builder.name == "man":
        app.config.version = f"superd {release}"
        app.config.copyright = ""


def _fit_for_man(app: Sphinx, document: nodes.document, _page: str) -> None:
    """Words are not broken, which may be names; links show their text alone, since there is nothing to click on."""
    if app.builder.name == "man":
        # HY: what groff's macros turn hyphenation back to after an example or a table.
        document[0].insert(1, nodes.raw("", ".nr HY 0\n.nh\n.ad l\n", format="manpage"))
        for link in list(document.findall(nodes.reference)):
            link.replace_self(link.children)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", _set_man_up)
    app.connect("doctree-resolved", _fit_for_man)
