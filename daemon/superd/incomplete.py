"""What to say where superd's own modules, or the libraries that they need, cannot be imported.

An upgrade that ended half-way, or a file that is gone, would else be a traceback. The standard library alone is needed here.
Where superd itself is not there, the program that imports it says the same (packaging/program.in).
"""

import os
from typing import Final

#: What half an installation raises when it is imported: modules or names that are not there, files that are cut off, and what
#: pydantic says where its two halves are of different versions.
BROKEN: Final = (ImportError, SyntaxError, SystemError)

#: The status to exit with: EX_CONFIG of sysexits.h.
INCOMPLETE_STATUS: Final = 78

#: Where dpkg notes the files of its packages.
DPKG_INFO: Final = "/var/lib/dpkg/info"

#: The packages that have what superd imports. All but the first are of Debian 13: for Debian 12 superd brings the modules itself.
PACKAGES: Final = (
    "superd",
    "python3-pydantic",
    "python3-pydantic-core",
    "python3-structlog",
    "python3-uvloop",
    "python3-orjson",
    "python3-systemd",
)


def explain(error: Exception, dpkg_info: str = DPKG_INFO) -> str:
    """What is wrong with the installation, and the command that completes it, in one line."""
    return f"{describe(error)}. As root: {how_to_mend(dpkg_info)}"


def describe(error: Exception) -> str:
    """What is wrong with the installation, in one line."""
    fault = " ".join(f"{type(error).__name__}: {error}".split())
    return f"the installation is not complete ({fault})"


def how_to_mend(dpkg_info: str = DPKG_INFO) -> str:
    """The command that completes the installation."""
    known = _known_packages(dpkg_info)
    packages = [name for name in PACKAGES if name in known]
    if "superd" not in packages:
        return "make install"
    return f"dpkg --configure -a && apt-get install --reinstall {' '.join(packages)}"


def _known_packages(dpkg_info: str) -> set[str]:
    """The packages that dpkg knows: of each there is NAME.list or, of one architecture, NAME:ARCHITECTURE.list."""
    try:
        files = os.listdir(dpkg_info)  # noqa: PTH208 - a start without pathlib
    except FileNotFoundError:
        return set()
    return {file.removesuffix(".list").partition(":")[0] for file in files if file.endswith(".list")}
