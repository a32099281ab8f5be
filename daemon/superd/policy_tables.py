"""What may be written in a file of policy.d: the tables and their keys. docs/reference/policy.md is the manual."""

import contextlib
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from superd.policy import Access, is_pattern, is_unit
from superd.policy_names import ID_MAX


def _check_pattern(text: str) -> str:
    if not is_pattern(text):
        raise PydanticCustomError(
            "pattern", "can match no method: write one such as 'inventory.lookup', 'inventory.*' or '**'"
        )
    return text


def _check_unit(text: str) -> str:
    if not is_unit(text):
        raise PydanticCustomError("unit", "is no unit that runs programs: write one such as 'romd.service'")
    return text


def _check_account(value: object) -> str | int:
    if isinstance(value, str) and value:
        return value
    if type(value) is int and 0 <= value <= ID_MAX:
        return value
    raise PydanticCustomError("account", "write a name, or an id as a number")


def _has_some(values: list[Any]) -> list[Any]:
    if not values:
        raise PydanticCustomError("empty", "is empty: leave the key out, or name somebody")
    return values


Patterns = Annotated[list[Annotated[str, AfterValidator(_check_pattern)]], AfterValidator(_has_some)]
Accounts = Annotated[list[Annotated[str | int, PlainValidator(_check_account)]], AfterValidator(_has_some)]
UnitNames = Annotated[list[Annotated[str, AfterValidator(_check_unit)]], AfterValidator(_has_some)]


class _Table(BaseModel):
    # defer_build: a File has the schemas of its tables in its own, and needs no others.
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True
    )

    methods: Patterns


class Denial(_Table):
    """`[[deny]]`: for whom; a kind that is absent is for everybody."""

    users: Accounts | None = None
    groups: Accounts | None = None
    units: UnitNames | None = None


class Allowance(Denial):
    """`[[allow]]`: the same, and never for everybody."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if self.users is None and self.groups is None:
            hint = "" if self.units is None else ": a unit is never enough alone, it can only narrow"
            raise PydanticCustomError("nobody", "names neither users nor groups{hint}", {"hint": hint})
        return self


class Defaults(_Table):
    """`[[default]]`: another default than that which the service declares."""

    access: Access


class File(BaseModel):
    """A whole file."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True
    )

    deny: list[Denial] = Field(default=[])
    allow: list[Allowance] = Field(default=[])
    default: list[Defaults] = Field(default=[])


_KEYS: Final = {
    "": tuple(File.model_fields),
    "deny": tuple(Denial.model_fields),
    "allow": tuple(Allowance.model_fields),
    "default": tuple(Defaults.model_fields),
}


def explain_unknown_key(path: tuple[int | str, ...]) -> str:
    """What to say of a key that is none, at the top or in a table."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for a wrong file, and no start waits for it

    known = _KEYS[str(path[0]) if len(path) > 1 else ""]
    with contextlib.suppress(IndexError):
        near = get_close_matches(str(path[-1]).lower(), known, n=1)
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; there are {', '.join(known)}"
