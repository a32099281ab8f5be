"""The lines of what stands in a TOML file, which tomllib does not tell."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superd.policy_lines import Lines

TEXT = '''\
# [[deny]] in a comment, and users = ["x"]
title = "[[deny]]"   # a string that looks like a header
[[deny]]
methods = ["a.*"]
users = [            # a comment with ] in it
    "one", 'two]',

    """
three = 3
[[deny]]
""", "four",
]

[[ allow ]] # with spaces
"methods" = [ "b.*" ]
groups=["x", [1, 2,
  3]]
units = \'\'\'
[[deny]]
\'\'\'
[[deny]]
methods = ["c.**"]
a.b."c d" = { x = 1, y = [ "]",
 "}" ] }
[default.sub]
key = 1979-05-27 07:32:00
[[deny.inner]]
n = 1
[[deny.inner]]
n = "\\"] # no comment"
last = 2
'''

PLACES = [
    (("title",), 2),
    (("deny",), 3),
    (("deny", 0), 3),
    (("deny", 0, "methods"), 4),
    (("deny", 0, "methods", 0), 4),
    (("deny", 0, "users"), 5),
    (("deny", 0, "users", 0), 6),
    (("deny", 0, "users", 1), 6),
    (("deny", 0, "users", 2), 8),
    (("deny", 0, "users", 3), 11),
    (("allow", 0), 14),
    (("allow", 0, "methods", 0), 15),
    (("allow", 0, "groups", 1), 16),
    (("allow", 0, "groups", 1, 2), 17),
    (("allow", 0, "units"), 18),
    (("deny", 1), 21),
    (("deny", 1, "methods"), 22),
    (("deny", 1, "a"), 23),
    (("deny", 1, "a", "b", "c d", "x"), 23),
    (("deny", 1, "a", "b", "c d", "y", 1), 24),
    (("default", "sub"), 25),
    (("default", "sub", "key"), 26),
    (("deny", 1, "inner", 0), 27),
    (("deny", 1, "inner", 1), 29),
    (("deny", 1, "inner", 1, "n"), 30),
    (("deny", 1, "inner", 1, "last"), 31),
]


@pytest.mark.parametrize(("path", "line"), PLACES)
def test_where_it_stands(path: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(TEXT)
    assert Lines(TEXT).find(path) == line


@pytest.mark.parametrize(
    ("path", "line"),
    [(("deny", 0, "groups"), 3), (("deny", 0, "users", 9), 5), (("deny", 7), 3), (("nothing",), 1), ((), 1)],
)
def test_what_is_not_there_is_found_by_what_is_around_it(path: tuple[str | int, ...], line: int) -> None:
    assert Lines(TEXT).find(path) == line


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "a = 1", "[a]", "a = []", "[[a]]\n#"])
def test_small_files(text: str) -> None:
    tomllib.loads(text)
    assert Lines(text).find(("a",)) == 1


@pytest.mark.parametrize(
    "value",
    [
        '""""two"""""',
        '"""\\""""',
        "''''''",
        "''' '' '''",
        '""',
        "{}",
        "[[], [[]], {}]",
        "1_000.5e-3",
        '"\\\\"',
    ],
)
def test_values_end_where_they_end(value: str) -> None:
    text = f"a = {value}\nb = [{value}, {value}]\nc = {{ d = {value}, e = {value} }}\n\nlast = 1"
    tomllib.loads(text)
    lines = Lines(text)
    assert [lines.find((key,)) for key in ("a", "b", "c", "last")] == [1, 2, 3, 5]
    assert lines.find(("b", 1)) == 2
    assert lines.find(("c", "e")) == 3


_TEXTS = st.text(st.sampled_from("[]{}=,#\"' \n\\ab"), max_size=12)
_VALUES = st.recursive(
    st.integers() | st.booleans() | _TEXTS, lambda inner: st.lists(inner, max_size=3), max_leaves=6
)


def _write(value: object) -> str:
    """TOML with something that misleads at every seam."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"""{escaped}"""'
    if isinstance(value, list):
        return "[ # ] [\n" + "".join(f"{_write(each)} # ,]\n,\n" for each in value) + "]"
    return str(value)


@given(st.lists(st.dictionaries(st.sampled_from("xyz"), _VALUES, max_size=3), max_size=4))
def test_any_tables(tables: list[dict[str, object]]) -> None:
    text, expected = "", dict[tuple[str | int, ...], int]()
    for number, table in enumerate(tables):
        expected["t", number] = text.count("\n") + 1
        text += "[[t]] # [[t]]\n"
        for key, value in table.items():
            expected["t", number, key] = text.count("\n") + 1
            text += f"{key} = {_write(value)}\n"
    assert len(tomllib.loads(text).get("t", [])) == len(tables)
    lines = Lines(text)
    assert {path: lines.find(path) for path in expected} == expected
