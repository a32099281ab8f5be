"""`python -m tests.site FOLDER`: ends with 1 where a link of the built pages is wrong. `make docs` runs it."""

import sys
from pathlib import Path

from tests.site.links import Site


def main(folder: str) -> int:
    site = Site(Path(folder))
    pages, links = site.size
    faults = list(site.faults())
    for fault in faults:
        print(fault, file=sys.stderr)
    if not pages:
        print(f"no pages in {folder}", file=sys.stderr)
    print(f"{pages} pages, {links} links, {len(faults)} wrong")
    return 1 if faults or not pages else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
