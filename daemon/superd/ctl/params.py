"""Params as a person types them: `key=text`, `key:=json`, and a JSON object from a file."""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from superd.ctl.exits import UsageError
from superd_client.contract import write_json
from superd_client.fd import Fd

#: How many objects stand around params, and around an item, in their messages (protocol §4, §14.1).
_AROUND_PARAMS: Final = 1
_AROUND_ITEM: Final = 2

_PAIR: Final = re.compile(r"([^=]+?)(:?)=(.*)", re.DOTALL)


def build_params(pairs: Iterable[str], source: str | None = None) -> dict[str, Any]:
    """The members of the file `source` ("-" is standard input), and over them those of `pairs`.

    Raises UsageError for what is no pair, a name given twice, and whatever JSON in UTF-8 cannot say.
    """
    params = {} if source is None else read_object(source)
    params |= parse_pairs(pairs)
    for key, value in params.items():
        _check_sendable({key: value}, key, _AROUND_PARAMS)
    return params


def parse_pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """The members that pairs name; raises UsageError."""
    params: dict[str, Any] = {}
    for pair in pairs:
        key, value = _parse_pair(pair)
        if key in params:
            raise UsageError(f"{key} is given twice")
        params[key] = value
    return params


def _parse_pair(pair: str) -> tuple[str, Any]:
    match = _PAIR.fullmatch(pair)
    if match is None:
        raise UsageError(f"{pair!r} is no param: write key=text, or key:=json for any JSON value")
    key, is_json, text = match.groups()
    return key, parse_json(text, f"{key}:={text}") if is_json else text


def parse_json(text: str | bytes, place: str) -> Any:
    """One JSON value as the protocol has it; raises UsageError that names `place`."""
    try:
        return json.loads(text if isinstance(text, str) else text.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise UsageError(f"{place}: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{place}: not JSON: {error}{_hint(place)}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place}: {error}") from None


def _hint(place: str) -> str:
    """What was probably meant by a param: a text, or quotes that the shell took away."""
    key, sign, text = place.partition(":=")
    if not sign:
        return ""
    if text[:1] in {"[", "{"}:
        return "; quote it for the shell, as in 'tags:=[\"a\"]'"
    return f"; to send a text, write {key}={text}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def read_object(source: str) -> dict[str, Any]:
    """The JSON object in a file; "-" is standard input. Raises UsageError."""
    name = "standard input" if source == "-" else source
    value = parse_json(_read(source, name), name)
    if not isinstance(value, Mapping):
        raise UsageError(f'{name}: params are a JSON object, {{"key": value}}')
    return dict(value)


def open_descriptors(
    pairs: Iterable[str], params: Mapping[str, Any], stack: contextlib.ExitStack
) -> dict[str, Fd]:
    """The descriptors that `KEY=FILE` pairs name, opened for reading, which `stack` closes. Raises UsageError."""
    found: dict[str, Fd] = {}
    for pair in pairs:
        key, equals, path = pair.partition("=")
        if not (key and equals and path):
            raise UsageError(f"{pair!r} is no descriptor: write --fd key=/path")
        if key in params or key in found:
            raise UsageError(f"{key} is given twice")
        try:
            found[key] = stack.enter_context(Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC)))
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    return found


def read_items(source: str, stack: contextlib.ExitStack) -> Iterator[Any]:
    """The JSON values in the lines of a file, read as they are asked for; "-" is standard input. Raises UsageError."""
    name = "standard input" if source == "-" else source
    try:
        if source == "-" and sys.stdin is None:
            raise UsageError(f"{name}: is closed")
        lines = sys.stdin.buffer if source == "-" else stack.enter_context(Path(source).open("rb"))  # noqa: SIM115 - it is one
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}") from None
    return _parse_lines(lines, name)


def _parse_lines(lines: Iterable[bytes], name: str) -> Iterator[Any]:
    numbered = enumerate(lines, 1)
    while True:
        try:
            number, line = next(numbered)
        except StopIteration:
            return
        except OSError as error:
            raise UsageError(f"{name}: cannot be read: {error.strerror}") from None
        if line.strip():
            place = f"{name}: line {number}"
            item = parse_json(line, place)
            _check_sendable(item, place, _AROUND_ITEM)
            yield item


def _read(source: str, name: str) -> bytes:
    try:
        if source == "-":
            if sys.stdin is None:
                raise UsageError(f"{name}: is closed")
            return sys.stdin.buffer.read()
        return Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}") from None


def _check_sendable(value: object, place: str, around: int) -> None:
    """Raise UsageError that names `place` for what no message can hold inside of so many objects.

    That is: text that is not UTF-8, lone surrogates, numbers beyond a double, what nests too deep.
    """
    try:
        write_json(value, around)
    except UnicodeEncodeError:
        raise UsageError(f"{place!r}: not text that UTF-8 can say") from None
    except ValueError as error:
        raise UsageError(f"{place}: {error}") from None
