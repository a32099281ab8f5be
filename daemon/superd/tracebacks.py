"""Exceptions as text for the log, without the values that pydantic repeats in its own."""

import traceback
from collections.abc import Iterator
from typing import Final

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

#: Where pydantic shows a value in the line of a fault, and what follows it.
_VALUE: Final = "input_value="
_AFTER: Final = ", input_type="


def format_traceback(error: BaseException) -> str:
    """The traceback of `error` and of those before it. No values of variables: only what the exceptions say."""
    text = "".join(traceback.format_exception(error))
    for each in _chain(error, set()):
        if isinstance(each, ValidationError | PydanticSerializationError):
            for said, shown in zip(str(each).splitlines(), _without_values(str(each)), strict=True):
                if said != shown:
                    text = text.replace(said, shown)
    return text


def hide_values(error: BaseException) -> str:
    """What `error` says, without the values that pydantic repeats."""
    if isinstance(error, ValidationError | PydanticSerializationError):
        return "\n".join(filter(None, _without_values(str(error))))
    return str(error)


def _without_values(text: str) -> Iterator[str]:
    """The lines of what pydantic says. A value may have lines of its own, which become empty."""
    inside = False
    for line in text.splitlines():
        head, mark, rest = ("", "x", line) if inside else line.partition(_VALUE)
        if not mark:
            yield line
            continue
        end = rest.rfind(_AFTER)
        inside = end < 0
        yield head + ("" if inside else rest[end + len(", ") :])


def _chain(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    """An exception, its causes and contexts, and the members of groups, each once."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for each in (error.__cause__, error.__context__, *members):
        yield from _chain(each, seen)
