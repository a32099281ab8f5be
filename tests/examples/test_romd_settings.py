"""What romd may be told, and what it says of a wrong value."""

import pytest

from romd import __version__
from romd.settings import INTERVAL_DEFAULT, SECONDS_MAX, TIMEOUT_DEFAULT, Settings, read_settings


def test_one_sku_is_enough() -> None:
    assert read_settings(["--sku", "A-1"], {}) == Settings(("A-1",), INTERVAL_DEFAULT, TIMEOUT_DEFAULT, None)


def test_arguments() -> None:
    arguments = ["--interval", "1.5", "--timeout=2", "--sku", "B-2", "--sku", "A-1", "--count", "3"]
    assert read_settings(arguments, {}) == Settings(("B-2", "A-1"), 1.5, 2.0, 3)


def test_the_environment() -> None:
    environment = {"ROMD_SKUS": " A-1  B-2\n", "ROMD_INTERVAL": "5", "ROMD_TIMEOUT": "0.5"}
    assert read_settings([], environment) == Settings(("A-1", "B-2"), 5.0, 0.5, None)


def test_arguments_win() -> None:
    environment = {"ROMD_SKUS": "A-1", "ROMD_INTERVAL": "5", "ROMD_TIMEOUT": "5"}
    arguments = ["--sku=C-3", "--interval=1", "--timeout=1"]
    assert read_settings(arguments, environment) == Settings(("C-3",), 1.0, 1.0, None)


def test_an_empty_variable_is_not_set() -> None:
    assert read_settings(["--sku=A-1"], {"ROMD_SKUS": "", "ROMD_INTERVAL": ""}) == Settings(("A-1",))


def test_a_sku_is_asked_for_once() -> None:
    assert read_settings(["--sku=A-1", "--sku=B-2", "--sku=A-1"], {}).skus == ("A-1", "B-2")


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ([], {}, "nothing to ask for: give --sku, or set ROMD_SKUS"),
        ([], {"ROMD_SKUS": "   "}, "nothing to ask for"),
        (["--sku="], {}, "argument --sku: '' is not a sku"),
        (["--sku=A 1"], {}, "argument --sku: 'A 1' is not a sku"),
        ([], {"ROMD_SKUS": "A-1 /"}, "ROMD_SKUS: '/' is not a sku"),
        (["--sku=A-1", "--interval=0"], {}, "argument --interval: '0' is not a number of seconds"),
        (["--sku=A-1", "--interval=-1"], {}, "argument --interval: '-1' is not"),
        (["--sku=A-1", "--interval=nan"], {}, "argument --interval: 'nan' is not"),
        (["--sku=A-1", "--interval=inf"], {}, "argument --interval: 'inf' is not"),
        (["--sku=A-1", "--timeout=soon"], {}, "argument --timeout: 'soon' is not"),
        (["--sku=A-1"], {"ROMD_INTERVAL": "often"}, "ROMD_INTERVAL: 'often' is not"),
        (["--sku=A-1"], {"ROMD_TIMEOUT": "0"}, "ROMD_TIMEOUT: '0' is not"),
        (["--sku=A-1", "--count=0"], {}, "argument --count: '0' is not a whole number above 0"),
        (["--sku=A-1", "--count=1.5"], {}, "argument --count: '1.5' is not"),
        (["--sku=A-1", "--count=²"], {}, "argument --count: '²' is not"),
        (["--sku=A-1", "--int=3"], {}, "unrecognized arguments: --int=3"),
        (["A-1"], {}, "unrecognized arguments: A-1"),
    ],
)
def test_what_is_wrong_is_named(
    arguments: list[str], environment: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(arguments, environment)
    assert caught.value.code == 2
    assert f"romd: error: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "good"), [(SECONDS_MAX - 1, True), (SECONDS_MAX, True), (SECONDS_MAX + 1, False)]
)
def test_the_longest_interval(seconds: float, good: bool) -> None:
    arguments = ["--sku=A-1", f"--interval={seconds}"]
    if good:
        assert read_settings(arguments, {}).interval == seconds
    else:
        with pytest.raises(SystemExit):
            read_settings(arguments, {})


def test_help_names_the_variables(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(["--help"], {})
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for name in (
        "--sku",
        "--interval",
        "--timeout",
        "--count",
        "ROMD_SKUS",
        "ROMD_INTERVAL",
        "SUPERD_SOCKET",
    ):
        assert name in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--version"], {})
    assert capsys.readouterr().out == f"romd {__version__}\n"
