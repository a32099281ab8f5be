"""What to say where superd's own modules, or the libraries that they need, cannot be imported.

An upgrade that ended half-way, or a file that is gone, would else be a traceback. The standard library alone is needed here.
"""

import os
from typing import Final

#: Where dpkg notes the files of superd's package; not there where superd was installed otherwise.
DPKG_FILES: Final = "/var/lib/dpkg/info/superd.list"


#: What half an installation raises when it is imported: modules or names that are not there, files that are cut off, and what
#: pydantic says where its two halves are of different versions.
BROKEN: Final = (ImportError, SyntaxError, SystemError)


def explain(error: Exception) -> str:
    """What is wrong with the installation, and where it shows."""
    import traceback  # noqa: PLC0415 - a start does without

    frames = traceback.extract_tb(error.__traceback__)
    place = f"; at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"the installation is incomplete: {type(error).__name__}: {error}{place}"


def how_to_mend(package_files: str | os.PathLike[str] = DPKG_FILES) -> str:
    """The command that completes it."""
    if os.path.exists(package_files):  # noqa: PTH110 - a start without pathlib
        return "dpkg --configure -a && apt-get install --reinstall superd"
    return "make install"
