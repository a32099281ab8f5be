"""What every client promises its caller, whatever server it talks to."""

import sys
from typing import Any

import pytest

from superd_client import (
    ApplicationError,
    CallTimeout,
    ClientClosed,
    ConnectFailed,
    InternalError,
    InvalidParams,
    InvalidResult,
    MessageTooLarge,
    Method,
    MethodNotFound,
    Outcome,
    ResultTooLarge,
    SuperdError,
)
from superd_client.wire.limits import FRAME_SIZE_DEFAULT, NESTING_MAX
from tests.contract import service
from tests.contract.drivers import Driver
from tests.contract.service import Nothing, OutOfStock, Pair, Size, Text


def test_a_typed_call_gives_a_model(client: Driver) -> None:
    assert client.call(service.echo, Text(text="héllo \0 \U0001f40d")) == Text(text="héllo \0 \U0001f40d")


def test_a_typed_call_gives_a_plain_value(client: Driver) -> None:
    assert client.call(service.add, Pair(a=2, b=40)) == 42


def test_an_untyped_call_gives_data(client: Driver) -> None:
    assert client.call("contract.echo", {"text": "hi"}) == {"text": "hi"}


def test_many_calls_get_their_own_results(client: Driver) -> None:
    pairs = [Pair(a=number, b=1) for number in range(300)]
    assert client.call_all(service.add, pairs) == list(range(1, 301))


def test_a_mebibyte_in_both_directions(client: Driver, packets: bool) -> None:
    """Or what a packet holds."""
    text = "\N{SNAKE}x" * (40_000 if packets else 210_000)
    assert client.call(service.echo, Text(text=text)) == Text(text=text)


def test_what_is_too_large_for_a_packet_alone(client: Driver, packets: bool) -> None:
    text = Text(text="x" * 300_000)
    if not packets:
        assert client.call(service.echo, text) == text
        assert client.call(service.blow_up, Size(size=300_000)) == text.text
        return
    with pytest.raises(MessageTooLarge, match="a packet holds no more: use a Blob, or a stream") as caught:
        client.call(service.echo, text, call_id="romd-11")
    _assert_error(caught.value, Outcome.NOT_SENT, "contract.echo", "romd-11")
    with pytest.raises(ResultTooLarge) as failed:
        client.call(service.blow_up, Size(size=300_000), call_id="romd-12")
    _assert_error(failed.value, Outcome.FAILED, "contract.blow_up", "romd-12")
    assert failed.value.data["limit"] < 300_000 < failed.value.data["length"]
    assert client.call(service.add, Pair(a=1, b=1)) == 2


def test_no_such_method(client: Driver) -> None:
    with pytest.raises(MethodNotFound) as caught:
        client.call("contract.ecko", call_id="romd-1")
    assert caught.value.data["nearest"][0] == "contract.echo"
    _assert_error(caught.value, Outcome.REFUSED, "contract.ecko", "romd-1")


def test_params_that_do_not_fit(client: Driver) -> None:
    with pytest.raises(InvalidParams, match="text") as caught:
        client.call("contract.echo", {"text": 5}, call_id="romd-2")
    assert [fault["loc"] for fault in caught.value.data["errors"]] == [["text"]]
    _assert_error(caught.value, Outcome.REFUSED, "contract.echo", "romd-2")


def test_missing_params(client: Driver) -> None:
    with pytest.raises(InvalidParams):
        client.call("contract.echo")


def test_a_declared_error(client: Driver) -> None:
    with pytest.raises(ApplicationError, match="only 3, not 5") as caught:
        client.call(service.take, Size(size=5), call_id="romd-3")
    assert caught.value.detail == OutOfStock(available=3)
    _assert_error(caught.value, Outcome.FAILED, "contract.take", "romd-3")


def test_a_declared_error_without_its_model(client: Driver) -> None:
    with pytest.raises(ApplicationError) as caught:
        client.call("contract.take", {"size": 5})
    assert caught.value.detail is None
    assert caught.value.data["type"] == "OutOfStock"
    assert caught.value.data["detail"] == {"available": 3}


def test_a_handler_that_crashes_tells_nothing(client: Driver) -> None:
    with pytest.raises(InternalError) as caught:
        client.call(service.crash, Nothing(), call_id="romd-4")
    assert "secret" not in str(caught.value)
    assert "secret" not in str(caught.value.data)
    _assert_error(caught.value, Outcome.FAILED, "contract.crash", "romd-4")


def test_a_result_that_this_side_does_not_expect(client: Driver) -> None:
    other = Method("contract.echo", Text, int)
    with pytest.raises(InvalidResult) as caught:
        client.call(other, Text(text="x"), call_id="romd-5")
    assert caught.value.data["errors"]
    _assert_error(caught.value, Outcome.FAILED, "contract.echo", "romd-5")


def test_a_result_too_large_for_a_frame(client: Driver) -> None:
    with pytest.raises(ResultTooLarge) as caught:
        client.call(service.blow_up, Size(size=FRAME_SIZE_DEFAULT), call_id="romd-6")
    _assert_error(caught.value, Outcome.FAILED, "contract.blow_up", "romd-6")


def test_params_too_large_for_a_frame(client: Driver) -> None:
    with pytest.raises(MessageTooLarge) as caught:
        client.call(service.echo, Text(text="x" * FRAME_SIZE_DEFAULT), call_id="romd-7")
    _assert_error(caught.value, Outcome.NOT_SENT, "contract.echo", "romd-7")
    assert client.call(service.add, Pair(a=1, b=1)) == 2


def test_no_reply_in_time(client: Driver) -> None:
    with pytest.raises(CallTimeout, match=r"no reply within 0.3 s") as caught:
        client.call(service.hold, Nothing(), timeout=0.3, call_id="romd-8")
    _assert_error(caught.value, Outcome.UNKNOWN, "contract.hold", "romd-8")
    assert client.call(service.add, Pair(a=1, b=1)) == 2


def test_the_default_timeout_is_the_clients(kind: type[Driver], address: str) -> None:
    with kind(address, timeout=0.05) as client, pytest.raises(CallTimeout, match=r"within 0.05 s"):
        client.call(service.hold, Nothing())


@pytest.mark.parametrize("timeout", [0, -1.0, float("inf"), float("nan")])
def test_timeouts_that_are_none(client: Driver, kind: type[Driver], timeout: float, address: str) -> None:
    with pytest.raises(ValueError, match="timeout"):
        client.call(service.hold, Nothing(), timeout=timeout)
    with pytest.raises(ValueError, match="timeout"):
        kind(address, timeout=timeout)


def test_a_timeout_of_centuries(client: Driver) -> None:
    assert client.call(service.add, Pair(a=1, b=1), timeout=1e300) == 2


@pytest.mark.parametrize(
    ("params", "error"),
    [(["x"], TypeError), ({"text": float("nan")}, ValueError), ({"x": object()}, TypeError)],
)
def test_params_that_json_cannot_say(client: Driver, params: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        client.call("contract.echo", params)


def nested(depth: int) -> Any:
    """Params with one member, that nest so deep in a request."""
    value: Any = 0
    for _ in range(depth - 2):
        value = [value]
    return {"value": value}


def test_what_the_server_would_refuse_without_an_id_is_not_sent(
    client: Driver, kind: type[Driver], address: str
) -> None:
    """It would cost the connection, and with it the calls of others."""
    with kind(address) as other:
        for params in (nested(NESTING_MAX + 1), nested(2 * sys.getrecursionlimit())):
            with pytest.raises(ValueError, match="nest"):
                other.call("contract.echo", params)
        with pytest.raises(InvalidParams):
            other.call("contract.echo", nested(NESTING_MAX))


def test_a_method_name_that_is_not_unicode(client: Driver) -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        client.call("contract.\ud800")


def test_params_of_another_method(client: Driver) -> None:
    with pytest.raises(TypeError, match=r"params must be a Text, not a? ?Pair"):
        client.call(service.echo, Pair(a=1, b=2))


def test_a_call_id_against_the_protocol(client: Driver) -> None:
    with pytest.raises(ValueError, match="a call id has"):
        client.call(service.add, Pair(a=1, b=2), call_id="no spaces")


def test_each_call_has_an_id_of_its_own(client: Driver) -> None:
    ids = set()
    for _ in range(3):
        with pytest.raises(MethodNotFound) as caught:
            client.call("contract.none")
        assert caught.value.call_id == caught.value.data["call_id"]
        ids.add(caught.value.call_id)
    assert len(ids) == 3


def test_a_closed_client_calls_nobody(client: Driver) -> None:
    assert client.call(service.add, Pair(a=1, b=1)) == 2
    client.close()
    client.close()
    with pytest.raises(ClientClosed) as caught:
        client.call(service.add, Pair(a=1, b=1), call_id="romd-9")
    _assert_error(caught.value, Outcome.NOT_SENT, "contract.add", "romd-9")


def test_nobody_listens(kind: type[Driver], tmp_path: object) -> None:
    with kind(f"unix:{tmp_path}/none") as client, pytest.raises(ConnectFailed) as caught:
        client.call(service.add, Pair(a=1, b=1), call_id="romd-10")
    assert caught.value.message == f"nothing listens at unix:{tmp_path}/none: is superd.socket running?"
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    _assert_error(caught.value, Outcome.NOT_SENT, "contract.add", "romd-10")


def test_an_address_that_is_none(kind: type[Driver]) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        kind("/run/superd/superd.sock")


def _assert_error(error: SuperdError, outcome: Outcome, method: str, call_id: str) -> None:
    assert (error.outcome, error.method, error.call_id) == (outcome, method, call_id)
    assert str(error).endswith(f"(outcome: {outcome.value}) [call {call_id}]")
    assert str(error).startswith(f"{method}: ")
