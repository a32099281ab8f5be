"""What to say where superd's own modules, or the libraries that they need, cannot be imported.

An upgrade that ended half-way, or a file that is gone, would else be a traceback. The standard library alone is needed here.
"""

import traceback
from pathlib import Path
from typing import Final

#: Where dpkg notes what it has installed; a folder of this name is on each Debian host, superd's list only with its package.
DPKG_FILES: Final = Path("/var/lib/dpkg/info/superd.list")


def explain(error: Exception) -> str:
    """What is wrong with the installation, and where it shows."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"; at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"the installation is incomplete: {type(error).__name__}: {error}{place}"


def how_to_mend(package_files: Path = DPKG_FILES) -> str:
    """The command that completes it."""
    if package_files.exists():
        return "dpkg --configure -a && apt-get install --reinstall superd"
    return "make install"
