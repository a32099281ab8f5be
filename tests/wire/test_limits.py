"""The table of limits of the page against the code."""

import re
from types import ModuleType

from superd_client.wire import limits
from superd_client.wire.errors import ErrorCode
from tests.wire.golden import PAGE

UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}

#: `NAME` | 16 MiB; `OTHER` 1 KiB: a name, the figure that follows it, and a unit that multiplies it.
ENTRY = re.compile(r"`([A-Z_]+)`[ |]*(2\^\d+ - 1|[\d,]+)(?: (KiB|MiB|GiB))?")


def section(number: str) -> str:
    return PAGE.read_text(encoding="utf-8").split(f"\n## {number}. ")[1].split("\n## ")[0]


def limits_of_the_page() -> dict[str, int]:
    found = {}
    for name, figure, unit in ENTRY.findall(section("10")):
        found[name] = number(figure) * UNITS.get(unit, 1)
    return found


def number(figure: str) -> int:
    if "^" not in figure:
        return int(figure.replace(",", ""))
    return (1 << int(figure.removeprefix("2^").removesuffix(" - 1"))) - 1


def constants(module: ModuleType) -> dict[str, int]:
    return {name: value for name, value in vars(module).items() if name.isupper()}


def test_the_limits_of_the_page_are_those_of_the_code() -> None:
    assert limits_of_the_page() == constants(limits)


def test_the_codes_of_the_page_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (-32\d{3}) \| ([a-z ]+) \|", section("8"), flags=re.MULTILINE)
    assert {name.strip().upper().replace(" ", "_"): int(code) for code, name in rows} == {
        code.name: int(code) for code in ErrorCode
    }


def test_the_default_frame_limit_may_be_configured() -> None:
    assert limits.FRAME_SIZE_MIN <= limits.FRAME_SIZE_DEFAULT <= limits.FRAME_SIZE_MAX


def test_every_frame_limit_fits_the_header() -> None:
    assert limits.FRAME_SIZE_MAX < 2 ** (8 * limits.HEADER_SIZE)


def test_every_integer_id_is_exact_as_a_double() -> None:
    assert int(float(limits.ID_INTEGER_MAX)) == limits.ID_INTEGER_MAX
    assert float(limits.ID_INTEGER_MAX + 1) == float(limits.ID_INTEGER_MAX + 2)
