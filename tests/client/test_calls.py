import math
import re

import pytest

from superd_client.address import Address
from superd_client.arguments import CallIds, check_address, check_call_id, check_frame_limit, check_timeout
from superd_client.wire.limits import CALL_ID_MAX, FRAME_SIZE_MAX, FRAME_SIZE_MIN


def test_call_ids_are_legal_and_differ() -> None:
    first, second = CallIds(), CallIds()
    made = [ids.make() for ids in (first, first, second, second)]
    assert len(set(made)) == 4
    assert all(re.fullmatch(r"[0-9a-f]{13,}-[12]", call_id) for call_id in made)
    assert [check_call_id(call_id) for call_id in made] == made


@pytest.mark.parametrize("call_id", ["", "a b", "ä", "a\n", "x" * (CALL_ID_MAX + 1)])
def test_call_ids_against_the_protocol(call_id: str) -> None:
    with pytest.raises(ValueError, match="a call id has 1 to 64 characters"):
        check_call_id(call_id)


@pytest.mark.parametrize("call_id", ["a", "A-Z.0_9:", "x" * (CALL_ID_MAX - 1), "x" * CALL_ID_MAX])
def test_call_ids_within_the_protocol(call_id: str) -> None:
    assert check_call_id(call_id) == call_id


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan])
def test_timeouts_are_finite_and_positive(seconds: float) -> None:
    with pytest.raises(ValueError, match="a timeout is a finite number of seconds above 0"):
        check_timeout(seconds)


def test_legal_timeouts() -> None:
    assert check_timeout(1) == 1.0
    assert check_timeout(5e-324) == 5e-324


@pytest.mark.parametrize("size", [FRAME_SIZE_MIN - 1, FRAME_SIZE_MAX + 1])
def test_frame_limits_out_of_range(size: int) -> None:
    with pytest.raises(ValueError, match="between 1024 and 268435456 bytes"):
        check_frame_limit(size)


@pytest.mark.parametrize("size", [FRAME_SIZE_MIN, FRAME_SIZE_MIN + 1, FRAME_SIZE_MAX - 1, FRAME_SIZE_MAX])
def test_frame_limits_in_range(size: int) -> None:
    assert check_frame_limit(size) == size


def test_addresses_come_as_text_or_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERD_SOCKET", "unix:/default")
    assert check_address(None) == Address(path="/default")
    assert check_address("unix:/a") == check_address(Address(path="/a")) == Address(path="/a")
    with pytest.raises(ValueError, match="is not an address"):
        check_address("/a")
