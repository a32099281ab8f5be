"""Replaces the installed packages as dpkg does: python -m tests.chaos.inside.upgrade VERSION.

Each new file is written beside the old one, and when all are there each takes the old one's place by rename(2).
"""

import compileall
import re
import shutil
import sys
from pathlib import Path
from typing import Final

LIBRARY: Final = Path("/usr/lib/superd")
PACKAGES: Final = ("superd", "superd_client")
VERSION_FILE: Final = LIBRARY / "superd/__init__.py"
NEW: Final = ".dpkg-new"


def main(version: str) -> None:
    """Put superd of this version there: the same, but for what it says that it is."""
    files = [path for name in PACKAGES for path in (LIBRARY / name).rglob("*") if path.is_file()]
    for path in files:
        shutil.copy2(path, f"{path}{NEW}")
    text = re.sub(r'__version__ = "[^"]*"', f'__version__ = "{version}"', VERSION_FILE.read_text("utf-8"))
    Path(f"{VERSION_FILE}{NEW}").write_text(text, "utf-8")
    for path in files:
        Path(f"{path}{NEW}").replace(path)
    for name in PACKAGES:
        compileall.compile_dir(LIBRARY / name, quiet=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
