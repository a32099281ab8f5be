"""Calls are judged: over real sockets, as other users."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from superd.guard import Guard
from superd.journal import MessageId
from superd.listeners import bind_listener
from superd.peer import Caller
from superd.policy import Access, Default, Place, Policy, Rule, Rules
from superd.service import Context, Service
from superd_client.builtin import Nothing
from superd_client.contract import Message, Method
from superd_client.fd import Fd
from superd_client.parser import CallParser
from superd_client.wire.envelope import Request
from superd_client.wire.errors import ErrorCode, ErrorObject
from tests.daemon.raw import echo, request
from tests.daemon.running import Running, running_server
from tests.daemon.strangers import Stranger, needs_root

UID, GID, GROUP = 60001, 60002, 60003
WHERE = Place("50.toml", 7)


class Number(Message):
    number: int


ran: list[str] = []


def shop() -> Service:
    """A method of each access."""
    service = Service("shop")

    def offer(name: str, access: Access | None) -> None:
        async def handle(params: Number, context: Context) -> int:
            ran.append(context.method)
            return params.number

        service.method(Method(f"shop.{name}", Number, int), access=access)(handle)

    offer("look", None)
    offer("buy", "group")
    offer("close", "admin")
    return service


@contextmanager
def guarded(rules: Rules | None = None, **more: Any) -> Iterator[tuple[Running, str]]:
    """A server with these rules, and the abstract address that everybody can connect to."""
    name = f"superd-test-{secrets.token_hex(8)}"

    def listeners(path: str) -> list[Any]:
        return [bind_listener(f"unix:{path}", 0o600), bind_listener(f"unix:@{name}", 0o600)]

    ran.clear()
    with running_server(shop(), rules=rules, listeners=listeners, **more) as server:
        yield server, name


def call(name: str, request_id: object = 1, number: object = 5, **meta: object) -> bytes:
    return request(f"shop.{name}", {"number": number}, request_id, **({"meta": meta} if meta else {}))


def denied(reply: Any, call_id: str) -> bool:
    return bool(
        reply["error"] == {"code": -32001, "message": "permission denied", "data": {"call_id": call_id}}
    )


# --- over sockets ------------------------------------------------------------------------------------------------


@needs_root
def test_the_defaults_of_the_services() -> None:
    with guarded() as (_, name), Stranger(name, UID, GID) as stranger:
        assert stranger.ask(call("look"))["result"] == 5
        for method in ("buy", "close"):
            assert denied(stranger.ask(call(method, call_id="c-1")), "c-1")
    assert ran == ["shop.look"]


@needs_root
@pytest.mark.parametrize(
    ("gid", "groups"), [(os.getegid(), ()), (GID, (os.getegid(),)), (GID, (5, os.getegid(), 7))]
)
def test_members_of_the_daemons_group(gid: int, groups: tuple[int, ...]) -> None:
    with guarded() as (_, name), Stranger(name, UID, gid, *groups) as member:
        assert member.ask(call("buy"))["result"] == 5
        assert member.ask(call("close"))["error"]["code"] == -32001


@needs_root
def test_root_may_call_everything() -> None:
    with guarded(Rules((Rule(WHERE, ("**",)),))) as (server, _), server.client() as root:
        for method in ("look", "buy", "close"):
            assert root.ask(call(method))["result"] == 5


@needs_root
def test_a_denied_caller_does_not_learn_whether_its_params_fit() -> None:
    with guarded() as (server, name), Stranger(name, UID, GID) as stranger:
        for number in (5, "no number", None):
            assert denied(stranger.ask(call("close", number=number, call_id="c-1")), "c-1")
        assert denied(stranger.ask(request("shop.close", {"x": 1}, 1, meta={"call_id": "c-2"})), "c-2")
        assert stranger.ask(call("look", number="no number"))["error"]["code"] == -32602
        assert stranger.ask(echo())["result"] == {"text": "hello"}
        server.wait(lambda stats: stats.calls_refused == 5, "five refusals")
    assert ran == []


@needs_root
def test_what_the_journal_gets() -> None:
    rules = Rules((Rule(WHERE, ("shop.look",), groups=frozenset({GROUP})),))
    with guarded(rules) as (server, name), Stranger(name, UID, GID, GROUP, 5) as stranger:
        assert denied(stranger.ask(call("look", call_id="c-1")), "c-1")
        (line,) = server.logs.wait(message_id=MessageId.CALL_DENIED)
        assert (line["event"], line["level"]) == ("call denied", "warning")
        told = {"call_id": "c-1", "method": "shop.look", "rule": "50.toml:7", "code": -32001}
        assert told.items() <= line.items()
        assert (line["peer_uid"], line["peer_gid"], line["peer_groups"]) == (UID, GID, [5, GROUP])
        stranger.ask(call("close", call_id="c-2"))
        (line,) = server.logs.wait(call_id="c-2")
        assert line["rule"] == "the default, admin: root and superd's own user"
        assert server.logs.about(message_id=MessageId.CALL_REFUSED) == []


@needs_root
def test_a_denied_notification_is_dropped_and_logged() -> None:
    with guarded() as (server, name), Stranger(name, UID, GID) as stranger:
        stranger.send(call("close", None), call("look", None))
        assert stranger.ask(echo())["result"] == {"text": "hello"}
        assert len(server.logs.wait(message_id=MessageId.CALL_DENIED, method="shop.close")) == 1
    assert ran == ["shop.look"]


@needs_root
def test_names_that_look_alike_are_those_that_may_be_called() -> None:
    with guarded() as (server, name), Stranger(name, UID, GID) as stranger, server.client() as root:
        found = stranger.ask(call("closed"))["error"]
        assert "close" not in str(found)
        found = root.ask(call("closed"))["error"]
        assert found["message"] == "method not found; did you mean shop.close?"
        assert found["data"]["nearest"][0] == "shop.close"
        assert stranger.ask(call("loock"))["error"]["message"].endswith("did you mean shop.look?")


@needs_root
def test_discover_shows_what_the_caller_may_call() -> None:
    rules = Rules(defaults=(Default(WHERE, ("echo.*",), "admin"),))
    with (
        guarded(rules, discover=True) as (server, name),
        Stranger(name, UID, GID) as stranger,
        Stranger(name, UID, GID, os.getegid()) as member,
        server.client() as root,
    ):
        seen = [
            {each["name"] for each in peer.ask(request("rpc.discover"))["result"]["methods"]}
            for peer in (stranger, member, root)
        ]
    assert seen[0] == {"shop.look", "rpc.discover", "rpc.hello"}
    assert seen[1] == seen[0] | {"shop.buy"}
    assert seen[2] == seen[1] | {"shop.close", "echo.echo"}


# --- the guard alone ---------------------------------------------------------------------------------------------


def test_a_call_that_is_allowed_goes_on_as_it_is() -> None:
    method = Method("shop.look", Nothing, str)
    read = CallParser([method])(request("shop.look"))
    assert isinstance(read, Request)
    guard = Guard.of_defaults({"shop.look": "public"})
    assert guard.screen(read, Caller(UID, GID, 1)) is read


def test_the_descriptors_of_a_denied_call_are_closed() -> None:
    class Written(Message):
        file: Fd

    reading, writing = os.pipe()
    body = request("shop.write", {"file": 0}, meta={"fds": 1})
    read = CallParser([Method("shop.write", Written, str)])(body, [writing])
    guard = Guard.of_defaults({"shop.write": "admin"})
    screened = guard.screen(read, Caller(UID, GID, 1))
    assert isinstance(screened.params, ErrorObject)
    assert screened.received is None
    with open(reading, "rb") as pipe:  # noqa: PTH123 - a descriptor has no path
        assert pipe.read() == b"", "at its end: nobody holds the other one"


def test_another_policy_holds_from_the_next_call_on() -> None:
    caller = Caller(UID, GID, 1, groups=())
    guard = Guard.of_defaults({"shop.look": "public"})
    assert guard.allows("shop.look", caller)
    guard.policy = Policy(Rules((Rule(WHERE, ("**",)),)), {"shop.look": "public"}, uid=0, gid=0)
    assert not guard.allows("shop.look", caller)


def test_a_guard_without_a_policy_knows_no_method() -> None:
    with pytest.raises(KeyError):
        Guard().allows("shop.look", Caller(0, 0, 1))


def test_an_error_that_is_no_denial_is_not_explained() -> None:
    guard = Guard.of_defaults({"shop.look": "admin"})
    error = ErrorObject(ErrorCode.INVALID_PARAMS, "", {})
    assert guard.explain_denial(error, "shop.look", Caller(UID, GID, 1)) is None


def test_groups_that_are_not_known_are_not_told_as_none_at_all() -> None:
    guard = Guard.of_defaults({"shop.look": "admin"})
    error = ErrorObject(ErrorCode.PERMISSION_DENIED, "", {})
    said = guard.explain_denial(error, "shop.look", Caller(UID, GID, 1))
    assert said is not None
    assert said["peer_groups"] is None


# --- what services declare ---------------------------------------------------------------------------------------


async def nothing(params: Nothing, context: Context) -> str:
    return ""


@pytest.mark.parametrize(
    ("service", "access", "becomes"),
    [
        ("shop", None, "public"),
        ("superd", None, "admin"),
        ("superd", "public", "public"),
        ("shop", "group", "group"),
    ],
)
def test_the_access_of_a_method(service: str, access: Access | None, becomes: Access) -> None:
    made = Service(service)
    made.method(Method(f"{service}.run", Nothing, str), access=access)(nothing)
    assert made.endpoints[f"{service}.run"].access == becomes


def test_an_access_that_there_is_not() -> None:
    with pytest.raises(ValueError, match=r"shop.run: 'all' is no access; there are public, group, admin"):
        Service("shop").method(Method("shop.run", Nothing, str), access="all")  # type: ignore[call-overload]
