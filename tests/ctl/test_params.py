"""Params as typed: pairs, files, and what is neither."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from superd.ctl.exits import UsageError
from superd.ctl.params import build_params
from superd_client.wire.limits import NESTING_MAX


@pytest.mark.parametrize(
    ("pairs", "params"),
    [
        ([], {}),
        (["a=1"], {"a": "1"}),
        (["a:=1"], {"a": 1}),
        (["a="], {"a": ""}),
        (["a==b"], {"a": "=b"}),
        (["a=b:=c"], {"a": "b:=c"}),
        (["a=:=c"], {"a": ":=c"}),
        (["a:b=c"], {"a:b": "c"}),
        (["a.b=c"], {"a.b": "c"}),
        (["a= x\ny "], {"a": " x\ny "}),
        (['a:={"b": [1, null, true, 0.5, "\u00e9"]}'], {"a": {"b": [1, None, True, 0.5, "\u00e9"]}}),
        (["a= b", "c:=-1"], {"a": " b", "c": -1}),
        ([f"a:={2**80}"], {"a": 2**80}),
    ],
)
def test_pairs(pairs: list[str], params: dict[str, Any]) -> None:
    assert build_params(pairs) == params


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["a"], "'a' is no param: write key=text"),
        (["=a"], "is no param"),
        ([""], "is no param"),
        (["a=1", "a=2"], "a is given twice"),
        (["a=1", "a:=2"], "a is given twice"),
        (["a:="], "a:=: not JSON"),
        (["a:=b"], "; to send a text, write a=b"),
        (["a:=[b]"], "; quote it for the shell"),
        (["a:={b:c}"], "; quote it for the shell"),
        (["a:=NaN"], "NaN is not JSON"),
        ([f"a:={'[' * NESTING_MAX}0{']' * NESTING_MAX}"], "a: arrays and objects of a message nest at most"),
        (["a:=-Infinity"], "-Infinity is not JSON"),
        (["a:=1e999"], "a: "),
        (["a:=" + "9" * 5000], "a:=9"),
        (["a:=" + "[" * 100_000], "a:="),
        (['a:="\\ud800"'], "not text that UTF-8 can say"),
        (["a=\udcff"], "not text that UTF-8 can say"),
        (["\udcff=a"], "not text that UTF-8 can say"),
    ],
)
def test_what_is_no_param(pairs: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_params(pairs)
    assert message in str(caught.value)


def test_pairs_go_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    file.write_text('{"a": 1, "b": {"c": 2}}', "utf-8")
    assert build_params(["b=x", "d:=[]"], str(file)) == {"a": 1, "b": "x", "d": []}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "params are a JSON object"),
        (b"1", "params are a JSON object"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8 at byte 0"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b'{"a": "\\ud800"}', "not text that UTF-8 can say"),
    ],
)
def test_files_that_hold_no_params(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "params.json"
    file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        build_params([], str(file))
    assert message in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file or directory"):
        build_params([], str(tmp_path / "none"))
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        build_params([], str(tmp_path))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}')))
    assert build_params([], "-") == {"a": 1}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{")))
    with pytest.raises(UsageError, match="standard input: not JSON"):
        build_params([], "-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="standard input: is closed"):
        build_params([], "-")
