"""The types of the settings: how an operator writes a time, a size, a mode or a list, and between which bounds."""

import json
import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer
from pydantic_core import PydanticCustomError

from superd.timespan import parse_span
from superd_client.wire.limits import FRAME_SIZE_MAX, FRAME_SIZE_MIN

#: A user may have one frame received whatever others hold; below a megabyte there would be little to share.
TOTAL_BYTES_MIN: Final = 1024 * 1024

#: Seconds without anything to do before superd may end. systemd fails a socket that starts its service 20 times in two seconds
#: (TriggerLimitBurst= of systemd.socket(5)): with this it is twice at most.
IDLE_EXIT_MIN: Final = 1.0

#: A day. Timers of the event loop are exact up to here, and a longer drain is a typing error.
DRAIN_TIMEOUT_MAX: Final = 86_400.0

#: The shortest of these times-out: below it a busy host would cut honest peers off.
TIMEOUT_MIN: Final = 0.1

_SIZE: Final = re.compile(r"([0-9]{1,15})\s*(?:([KMG])(?:iB)?|B)?")
_SHIFT: Final = {None: 0, "K": 10, "M": 20, "G": 30}
_MODE: Final = re.compile(r"0?[0-7]{3}")


def parse_seconds(value: object) -> object:
    """Seconds out of a number (as it is) or a time span of systemd.time(7), such as "1min 30s"."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not value.strip():
        raise PydanticCustomError("time_span", "write seconds, or a time span such as '1min 30s'")
    try:
        return parse_span(value)
    except ValueError:
        raise PydanticCustomError(
            "time_span", "not a time span: write one such as '30s' or '1min 30s'"
        ) from None


def parse_size(value: object) -> object:
    """Bytes out of an integer or a size such as "16MiB"; K, M and G count by 1024, as in unit files."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise PydanticCustomError("size", "write bytes, or a size such as '512KiB' or '16MiB'")
    return int(match[1]) << _SHIFT[match[2]]


def parse_mode(value: object) -> int:
    """A file mode out of its octal digits. Not of a number: 600 and 0600 are different ones."""
    if not isinstance(value, str) or _MODE.fullmatch(value) is None:
        raise PydanticCustomError("mode", "write the mode in octal digits and quotes, such as '0660'")
    return int(value, 8)


def split_list(value: object) -> object:
    """A list out of a string: JSON where it begins with a bracket, else parted by commas."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [part for part in map(str.strip, value.split(",")) if part]
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise PydanticCustomError("json", "begins like a JSON list and is none") from None


def _off_or_long_enough(seconds: float) -> float:
    if 0 < seconds < IDLE_EXIT_MIN:
        raise PydanticCustomError(
            "idle_exit", "should be 0, for never, or at least {least} s", {"least": f"{IDLE_EXIT_MIN:g}"}
        )
    return seconds


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool | float):
        raise PydanticCustomError("int_type", "write a whole number")
    return value


Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(split_list)]
Count = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1)]
CountOrNone = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=0)]
Size = Annotated[
    int,
    BeforeValidator(_refuse_bool),
    BeforeValidator(parse_size),
    Field(ge=FRAME_SIZE_MIN, le=FRAME_SIZE_MAX),
]
TotalSize = Annotated[
    int,
    BeforeValidator(_refuse_bool),
    BeforeValidator(parse_size),
    Field(ge=TOTAL_BYTES_MIN),
]
Seconds = Annotated[
    float, BeforeValidator(parse_seconds), Field(ge=0, le=DRAIN_TIMEOUT_MAX, allow_inf_nan=False)
]
Mode = Annotated[
    int, BeforeValidator(parse_mode), PlainSerializer(lambda mode: f"{mode:04o}", when_used="json")
]
Timeout = Annotated[
    float, BeforeValidator(parse_seconds), Field(ge=TIMEOUT_MIN, le=DRAIN_TIMEOUT_MAX, allow_inf_nan=False)
]
IdleTime = Annotated[Seconds, AfterValidator(_off_or_long_enough)]
