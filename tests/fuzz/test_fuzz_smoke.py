"""A short, repeatable run of the fuzzer, and that the fuzzer itself notices and keeps a crash."""

from pathlib import Path
from typing import Final

import pytest

from tests.fuzz.__main__ import main
from tests.fuzz.corpus import read_corpus
from tests.fuzz.mutations import Mutator
from tests.fuzz.runner import Crash, execute, fuzz, write_crash
from tests.fuzz.targets import STREAM_TARGETS, TARGETS, Broken

EXECUTIONS: Final = 10_000
UNLIMITED: Final = 3600.0


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_but_remote_protocol_error_comes_out(seed: int) -> None:
    summary = fuzz(seed, seconds=UNLIMITED, executions=EXECUTIONS)
    assert summary.crash is None
    assert summary.executions == EXECUTIONS


@pytest.mark.parametrize("target", TARGETS)
def test_hard_inputs(target: str) -> None:
    head = b'{"jsonrpc":"2.0","id":'
    hard = [b"[" * 900, b'{"a":' * 200, head, b"\xff" * 900]
    # Some of each: the input decides by chance how it is cut, and which frame limit it meets.
    hard += [
        head + b"9" * digits + end for digits in range(4296, 4306) for end in (b"", b"}", b',"result":1}')
    ]
    for body in hard:
        data = len(body).to_bytes(4, "big") + body if target in STREAM_TARGETS else body
        assert execute(target, data) is None


def test_one_seed_makes_the_same_inputs_again() -> None:
    corpus = read_corpus()
    first, second, other = (Mutator(corpus, seed) for seed in (7, 7, 8))
    inputs = [(first.body(), first.stream()) for _ in range(50)]
    assert inputs == [(second.body(), second.stream()) for _ in range(50)]
    assert inputs != [(other.body(), other.stream()) for _ in range(50)]


def test_a_run_is_bounded_by_time() -> None:
    assert fuzz(1, seconds=0.0, executions=EXECUTIONS).executions == 0


def break_on_zero(data: bytes) -> None:
    if b"\x00" in data:
        raise Broken("a zero")


def test_a_crash_is_told_kept_and_replayed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(TARGETS, "decoder", break_on_zero)
    assert main(["--seed", "1", "--executions", "100000", "--seconds", "60", "--crashes", str(tmp_path)]) == 1
    (kept,) = tmp_path.iterdir()
    told = capsys.readouterr().out
    assert "seed 1," in told
    assert "Broken: a zero" in told
    assert f"-m tests.fuzz --replay decoder {kept}" in told
    assert main(["--replay", "decoder", str(kept)]) == 1
    assert "Broken" in capsys.readouterr().out
    kept.write_bytes(b"1")
    assert main(["--replay", "decoder", str(kept)]) == 0
    assert "no crash" in capsys.readouterr().out


def test_a_run_without_a_crash_keeps_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--executions", "200", "--crashes", str(tmp_path)]) == 0
    assert "200 executions" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_one_crash_is_one_file(tmp_path: Path) -> None:
    crash = Crash("call", b"{}", Broken("m"))
    assert write_crash(crash, tmp_path) == write_crash(crash, tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"{}"]
