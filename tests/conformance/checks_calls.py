"""Dialogues about frames, calls, ids, errors, the end of a connection, and hello."""

import errno
import json
import os
import select
import signal
import socket
import time
from typing import Any, Final

from tests.conformance.judging import (
    ALL,
    CONNECTED,
    STREAM,
    Failed,
    NotApplicable,
    Server,
    check,
    has_faults,
    holds,
    is_failure,
    is_result,
    same,
)
from tests.conformance.peer import HEADER, KINDS, Peer, frame, text_of

#: Microseconds of a call that would outlast any patience, and of one that gives others time to overtake it.
LONG: Final = 60_000_000
SHORT: Final = 150_000

FRAME_SIZE_DEFAULT: Final = 16 * 1024 * 1024


def echo(peer: Peer, value: object = "hello") -> None:
    request_id = peer.request("conformance.echo", {"value": value})
    is_result(peer.reply(request_id), request_id, value)


# --- §1, §2 ----------------------------------------------------------------------------------------------------------------


@check("1.1", "1.2", "4.3.1", "18.1", "18.2", sockets=ALL)
def a_first_request_is_answered_without_a_handshake(server: Server) -> None:
    """a first request is answered, without a handshake"""
    with Peer(server.address, server.patience) as peer:
        echo(peer)


@check("4.3.2", sockets=ALL)
def results_of_every_json_type(server: Server) -> None:
    """results of every JSON type"""
    values: tuple[Any, ...] = (
        None,
        True,
        False,
        0,
        -1.5,
        "",
        "Aé€😀",
        [],
        {},
        [1, [2], {}],
        {"": None, "id": 7},
        2**53 - 1,
    )
    with Peer(server.address, server.patience) as peer:
        for value in values:
            echo(peer, value)


@check("2.3", sockets=(STREAM,))
def a_body_of_exactly_the_frame_limit_is_legal(server: Server) -> None:
    """a body of exactly the frame limit is legal"""
    with Peer(server.address, max(server.patience, 20)) as peer:
        limit = server.limit("frame_size_default", FRAME_SIZE_DEFAULT)
        body = text_of({"jsonrpc": "2.0", "id": 1, "method": "conformance.echo", "params": {"value": 7}})
        peer.send_body(body.ljust(limit))
        is_result(peer.receive(), 1, 7)


@check("2.7", "2.9", "2.12", "8.13", sockets=(STREAM,))
def a_header_over_the_frame_limit_is_the_end_of_the_connection(server: Server) -> None:
    """a header over the frame limit is the end of the connection"""
    limit = server.limit("frame_size_default", FRAME_SIZE_DEFAULT)
    with Peer(server.address, server.patience) as peer:
        peer.send_bytes((limit + 1).to_bytes(HEADER, "big"))
        data = is_failure(peer.receive(), None, -32006)
        same((data.get("limit"), data.get("length")), (limit, limit + 1))
        holds(peer.is_closed(), "the end of the connection", "more of it")


@check("2.5", sockets=(STREAM,))
def a_request_byte_by_byte_and_many_in_one_write(server: Server) -> None:
    """a request byte by byte, and many in one write"""
    with Peer(server.address, server.patience) as peer:
        body = text_of({"jsonrpc": "2.0", "id": "é", "method": "conformance.echo", "params": {"value": "é"}})
        for byte in frame(body):
            peer.send_bytes(bytes([byte]))
        is_result(peer.receive(), "é", "é")
        peer.send_bytes(
            b"".join(
                frame(
                    text_of(
                        {
                            "jsonrpc": "2.0",
                            "id": number,
                            "method": "conformance.echo",
                            "params": {"value": number},
                        }
                    )
                )
                for number in range(100)
            )
        )
        same(sorted(peer.receive()["result"] for _ in range(100)), list(range(100)))


@check("2.10", "2.6", sockets=(STREAM,))
def calls_in_flight_are_not_answered_after_lost_framing(server: Server) -> None:
    """calls in flight are not answered after lost framing"""
    with Peer(server.address, server.patience) as peer:
        peer.request("conformance.sleep", {"usec": LONG})
        echo(peer)
        peer.send_bytes(bytes(HEADER))
        is_failure(peer.receive(), None, -32700)
        holds(peer.is_closed(), "the end of the connection", "more of it")


@check("3.8", "3.10", "4.4.1", "4.4.2", "8.2", sockets=ALL)
def the_connection_goes_on_after_a_text_that_is_no_json_and_calls_in_flight_too(server: Server) -> None:
    """the connection goes on after a text that is no JSON, and calls in flight too"""
    with Peer(server.address, server.patience) as peer:
        slow = peer.request("conformance.sleep", {"usec": SHORT})
        peer.send_body(b"{")
        is_failure(peer.reply(None), None, -32700)
        is_result(peer.reply(slow), slow, None)


@check("4.5.2", "4.5.5", "8.3", sockets=ALL)
def the_connection_goes_on_after_what_is_no_request(server: Server) -> None:
    """what is no request is answered with its id, and the connection goes on"""
    with Peer(server.address, server.patience) as peer:
        slow = peer.request("conformance.sleep", {"usec": SHORT})
        peer.send({"id": "k", "method": "conformance.echo", "extra": 1, "meta": {"call_id": "romd-1"}})
        data = is_failure(peer.reply("k"), "k", -32600)
        has_faults(data)
        holds(data["call_id"] != "romd-1", "a call id of the server's own", data)
        is_result(peer.reply(slow), slow, None)


# --- §4, §6 ------------------------------------------------------------------------------------------------------------------


@check("4.2.1", sockets=ALL)
def notifications_are_carried_out_and_never_answered_not_even_where_they_fail(server: Server) -> None:
    """notifications are carried out and never answered, not even where they fail"""
    text = f"note {time.monotonic_ns()}"
    with Peer(server.address, server.patience) as peer:
        peer.notify("conformance.note", {"text": text})
        peer.notify("conformance.crash", {})
        peer.notify("conformance.note", {"text": 1})
        peer.notify("conformance.nothing", {})
        same(peer.before_fence(), [])
        _noted(server, peer, text)


def _noted(server: Server, peer: Peer, text: str) -> None:
    """A notification may be carried out a little later."""
    end = time.monotonic() + server.patience
    while text not in (notes := peer.call("conformance.noted").get("result", [])):
        holds(time.monotonic() < end, f"{text!r} among the notes", notes)


@check("4.1.4", "8.5", sockets=ALL)
def params_that_do_not_fit_and_params_that_are_no_object(server: Server) -> None:
    """params that do not fit, and params that are no object"""
    with Peer(server.address, server.patience) as peer:
        for params in ({}, {"usec": "1"}, {"usec": 1, "more": 2}, [1], "text", None):
            request_id = 1 + len(repr(params))
            peer.send({"id": request_id, "method": "conformance.sleep", "params": params})
            has_faults(is_failure(peer.receive(), request_id, -32602))


@check("8.15", sockets=ALL)
def faults_say_where_they_are_and_do_not_repeat_the_value(server: Server) -> None:
    """faults say where they are, and do not repeat the value"""
    with Peer(server.address, server.patience) as peer:
        message = peer.call("conformance.sleep", {"usec": "the-secret-value"})
        faults = has_faults(is_failure(message, message.get("id"), -32602))
        same([fault["loc"] for fault in faults], [["usec"]])
        holds(
            "the-secret-value" not in json.dumps(message),
            "a failure without the value that was sent",
            message,
        )


@check("8.16", "8.17", sockets=CONNECTED)
def many_faults_are_cut_to_32_and_1_025_to_one(server: Server) -> None:
    """many faults are cut to 32, and 1,025 to one"""
    with Peer(server.address, server.patience) as peer:
        for unknown in (32, 33, 1024, 1025):
            params = {"usec": 1} | {f"m{number:04}": 0 for number in range(unknown)}
            message = peer.call("conformance.sleep", params)
            data = is_failure(message, message.get("id"), -32602)
            faults = has_faults(data)
            if unknown > 1024:
                same([fault["type"] for fault in faults], ["too_many_faults"])
                same(data.get("omitted"), unknown)
            else:
                same(len(faults), 32)
                same(data.get("omitted"), unknown - 32 or None)


@check("5.1", "8.1", sockets=ALL)
def errors_bear_the_call_id_of_the_request_or_one_that_the_server_makes(server: Server) -> None:
    """errors bear the call id of the request, or one that the server makes"""
    with Peer(server.address, server.patience) as peer:
        message = peer.call("conformance.nothing", call_id="romd-1")
        same(is_failure(message, message.get("id"), -32601)["call_id"], "romd-1")
        one, other = peer.call("conformance.nothing"), peer.call("conformance.nothing")
        ids = [is_failure(message, message.get("id"), -32601)["call_id"] for message in (one, other)]
        holds(ids[0] != ids[1], "a call id for each call", ids)


@check("6.1", "8.4", sockets=ALL)
def unknown_methods_with_names_that_are_like_it(server: Server) -> None:
    """unknown methods, with names that are like it"""
    with Peer(server.address, server.patience) as peer:
        for method in ("conformance.ecko", "x", "", "Not A.Method", "a." + "b" * 126, "a." + "b" * 127):
            message = peer.call(method)
            nearest = is_failure(message, message.get("id"), -32601).get("nearest")
            holds(isinstance(nearest, list) and len(nearest) <= 3, "at most 3 names in data.nearest", nearest)
        message = peer.call("conformance.ecko")
        same(is_failure(message, message.get("id"), -32601)["nearest"][:1], ["conformance.echo"])


@check("6.3", sockets=CONNECTED)
def rpc_discover_is_an_openrpc_document_or_switched_off(server: Server) -> None:
    """rpc.discover is an OpenRPC document, or switched off"""
    with Peer(server.address, server.patience) as peer:
        message = peer.call("rpc.discover")
        if "error" in message:
            is_failure(message, message.get("id"), -32601)
            raise NotApplicable("rpc.discover is switched off")
        document = message["result"]
        holds(str(document.get("openrpc", "")).startswith("1."), "an OpenRPC 1.x document", document)
        names = {method["name"] for method in document["methods"]}
        holds("conformance.echo" in names, "conformance.echo among the methods", sorted(names))


@check("6.4", sockets=ALL)
def what_is_judged_first_the_method_the_params_the_deadline(server: Server) -> None:
    """what is judged first: the method, the params, the deadline"""
    with Peer(server.address, server.patience) as peer:
        for method, params, code in (
            ("conformance.nothing", {"usec": "x"}, -32601),
            ("conformance.sleep", {"usec": "x"}, -32602),
            ("conformance.sleep", {"usec": 0}, -32003),
        ):
            message = peer.call(method, params, deadline_usec=1)
            is_failure(message, message.get("id"), code)


# --- §7 -------------------------------------------------------------------------------------------------------------------------


@check("7.1.1", "7.1.2", sockets=ALL)
def a_quick_call_overtakes_a_slow_one(server: Server) -> None:
    """a quick call overtakes a slow one"""
    with Peer(server.address, server.patience) as peer:
        slow = peer.request("conformance.sleep", {"usec": SHORT})
        quick = peer.request("conformance.echo", {"value": 1})
        first, second = peer.receive(), peer.receive()
        same((first.get("id"), second.get("id")), (quick, slow))


@check("7.2.1", "7.2.2", sockets=ALL)
def an_id_that_is_in_flight_is_refused_and_may_be_used_again_after_the_reply(server: Server) -> None:
    """an id that is in flight is refused, and may be used again after the reply"""
    with Peer(server.address, server.patience) as peer:
        peer.send({"id": "k", "method": "conformance.sleep", "params": {"usec": SHORT}})
        peer.send({"id": "k", "method": "conformance.echo", "params": {"value": 2}})
        is_failure(peer.receive(), "k", -32600)
        is_result(peer.receive(), "k", None)
        peer.send({"id": "k", "method": "conformance.echo", "params": {"value": 3}})
        is_result(peer.receive(), "k", 3)


@check("7.2.3", sockets=ALL)
def a_number_and_its_digits_as_a_text_are_two_ids(server: Server) -> None:
    """a number and its digits as a text are two ids"""
    with Peer(server.address, server.patience) as peer:
        for request_id in (7, "7"):
            peer.send({"id": request_id, "method": "conformance.sleep", "params": {"usec": SHORT}})
        for _ in range(2):
            message = peer.receive()
            is_result(message, message.get("id"), None)


@check("7.3.1", "7.3.2", sockets=CONNECTED)
def a_client_that_never_reads_blocks_itself_nobody_else_and_nothing_is_dropped(server: Server) -> None:
    """a client that never reads blocks itself, nobody else, and nothing is dropped"""
    with (
        Peer(server.address, max(server.patience, 20)) as peer,
        Peer(server.address, server.patience) as other,
    ):
        text, sent = "x" * 16_000, 0
        peer.socket.setblocking(False)
        unfinished = b""
        end = time.monotonic() + server.patience
        while time.monotonic() < end:
            data = unfinished or frame(
                text_of(
                    {"jsonrpc": "2.0", "id": sent, "method": "conformance.echo", "params": {"value": text}}
                )
            )
            try:
                written = peer.socket.send(data)
            except BlockingIOError:
                if _stays_full(peer):
                    break
                continue
            unfinished = data[written:]
            sent += not unfinished
        else:
            raise Failed("a server that stops reading", f"{sent} requests of 16 kB that were taken")
        echo(other)
        peer.socket.settimeout(peer.patience)
        same(sorted(peer.receive()["id"] for _ in range(sent)), list(range(sent)))


def _stays_full(peer: Peer) -> bool:
    """Whether the socket takes nothing for a while: a server that only was slow would have gone on."""
    return not select.select([], [peer.socket], [], 0.3)[1]


@check("7.4.1", sockets=CONNECTED)
def a_client_that_sends_no_more_gets_its_replies_then_the_end(server: Server) -> None:
    """a client that sends no more gets its replies, then the end"""
    with Peer(server.address, server.patience) as peer:
        slow = peer.request("conformance.sleep", {"usec": SHORT})
        peer.socket.shutdown(socket.SHUT_WR)
        is_result(peer.receive(), slow, None)
        holds(peer.is_closed(), "the end of the connection", "more of it")


@check("7.4.2", "13.7", sockets=CONNECTED)
def the_notifications_of_a_client_that_has_gone_away_are_carried_out(server: Server) -> None:
    """the notifications of a client that has gone away are carried out"""
    text = f"last words {time.monotonic_ns()}"
    with Peer(server.address, server.patience) as peer:
        peer.request("conformance.sleep", {"usec": LONG})
        peer.notify("conformance.note", {"text": text})
    with Peer(server.address, server.patience) as other:
        _noted(server, other, text)


@check("7.4.3", sockets=(STREAM,))
def the_end_of_the_file_inside_a_frame(server: Server) -> None:
    """the end of the file inside a frame"""
    with Peer(server.address, server.patience) as peer:
        peer.request("conformance.sleep", {"usec": LONG})
        echo(peer)
        peer.send_bytes(b"\0\0\0\x09{")
        peer.socket.shutdown(socket.SHUT_WR)
        is_failure(peer.receive(), None, -32700)
        holds(peer.is_closed(), "the end of the connection", "more of it")


@check("9.6", sockets=CONNECTED)
def a_socket_of_another_type_is_refused(server: Server) -> None:
    """a socket of another type is refused"""
    for kind, number in KINDS.values():
        if kind == server.address.kind:
            continue
        with socket.socket(socket.AF_UNIX, number) as other:
            code = other.connect_ex(server.address.path)
            holds(
                code in (errno.EPROTOTYPE, errno.ECONNREFUSED), "EPROTOTYPE", errno.errorcode.get(code, code)
            )


# --- §8 -------------------------------------------------------------------------------------------------------------------------


@check("8.6", sockets=ALL)
def a_handler_that_fails_tells_nothing_but_the_call_id(server: Server) -> None:
    """a handler that fails tells nothing but the call id"""
    with Peer(server.address, server.patience) as peer:
        message = peer.call("conformance.crash")
        same(set(is_failure(message, message.get("id"), -32603)), {"call_id"})


@check("8.7", sockets=ALL)
def a_failure_that_the_method_declares(server: Server) -> None:
    """a failure that the method declares"""
    with Peer(server.address, server.patience) as peer:
        message = peer.call("conformance.fail", {"number": 13})
        data = is_failure(message, message.get("id"), -32000)
        same((data.get("type"), data.get("detail")), ("Unlucky", {"number": 13}))


@check("8.13", "17.4", sockets=CONNECTED)
def a_result_that_does_not_fit_a_frame_or_a_packet(server: Server) -> None:
    """a result that does not fit a frame, or a packet"""
    limit = server.limit("frame_size_default", FRAME_SIZE_DEFAULT)
    with Peer(server.address, max(server.patience, 20)) as peer:
        message = peer.call("conformance.fill", {"size": limit})
        data = is_failure(message, message.get("id"), -32006)
        holds(data.get("length", 0) > data.get("limit", 0) > 0, "length over limit in data", data)
        echo(peer)


# --- §13 ------------------------------------------------------------------------------------------------------------------------


@check("13.2", sockets=ALL)
def a_call_whose_deadline_has_passed_is_not_begun(server: Server) -> None:
    """a call whose deadline has passed is not begun"""
    text = f"too late {time.monotonic_ns()}"
    with Peer(server.address, server.patience) as peer:
        for deadline in (0, 1, time.monotonic_ns() // 1000 - 1):
            message = peer.call("conformance.note", {"text": text}, deadline_usec=deadline)
            same(set(is_failure(message, message.get("id"), -32003)), {"call_id"})
        notes = peer.call("conformance.noted").get("result", [])
        holds(text not in notes, "a call that was not begun", notes)


@check("13.1", "13.3", "8.10", sockets=ALL)
def a_call_that_runs_at_its_deadline_is_cancelled_and_answered_once(server: Server) -> None:
    """a call that runs at its deadline is cancelled, and answered once"""
    with Peer(server.address, server.patience) as peer:
        begin = time.monotonic_ns() // 1000
        message = peer.call("conformance.sleep", {"usec": LONG}, deadline_usec=begin + 100_000)
        is_failure(message, message.get("id"), -32003)
        holds(time.monotonic_ns() // 1000 >= begin + 100_000, "an answer at the deadline", "one before it")
        same(peer.before_fence(), [])


@check("13.4", sockets=ALL)
def deadlines_in_the_far_future_are_legal(server: Server) -> None:
    """deadlines in the far future are legal"""
    with Peer(server.address, server.patience) as peer:
        for deadline in (2**63 - 1, 2**63 - 2, 2**53):
            message = peer.call("conformance.sleep", {"usec": 0}, deadline_usec=deadline)
            is_result(message, message.get("id"), None)


@check("13.5", "8.11", "18.7", sockets=ALL)
def a_call_that_is_cancelled_is_answered_with_32004_once(server: Server) -> None:
    """a call that is cancelled is answered with -32004, once"""
    with Peer(server.address, server.patience) as peer:
        slow = peer.request("conformance.sleep", {"usec": LONG})
        peer.cancel(slow)
        is_failure(peer.reply(slow), slow, -32004)
        peer.cancel(slow)
        same(peer.before_fence(), [])


@check("13.6", sockets=ALL)
def a_cancel_of_a_call_that_is_unknown_or_anothers_has_no_effect(server: Server) -> None:
    """a cancel of a call that is unknown, or another's, has no effect"""
    with Peer(server.address, server.patience) as peer, Peer(server.address, server.patience) as other:
        slow = peer.request("conformance.sleep", {"usec": SHORT})
        for request_id in (slow, str(slow), "unheard of", 10**9):
            other.cancel(request_id)
        peer.cancel(str(slow))
        same(other.before_fence(), [])
        is_result(peer.reply(slow), slow, None)


@check("13.8", sockets=ALL)
def the_protocols_notifications_are_no_methods(server: Server) -> None:
    """the protocol's notifications are no methods"""
    with Peer(server.address, server.patience) as peer:
        for method in ("rpc.cancel", "rpc.credit", "rpc.item", "rpc.end", "rpc.goaway"):
            message = peer.call(method, {"id": 1})
            is_failure(message, message.get("id"), -32601)


@check("13.9", sockets=CONNECTED)
def a_notification_of_the_protocol_that_does_not_fit_ends_the_call_that_it_names(server: Server) -> None:
    """a notification of the protocol that does not fit ends the call that it names"""
    with Peer(server.address, server.patience) as peer:
        for method, params in (
            ("rpc.cancel", {"why": "x"}),
            ("rpc.credit", {"n": 0}),
            ("rpc.item", {"seq": -1, "item": 1}),
            ("rpc.end", {"n": 1}),
        ):
            slow = peer.request("conformance.sleep", {"usec": LONG})
            peer.notify(method, {"id": slow, **params})
            has_faults(is_failure(peer.reply(slow), slow, -32602))
        echo(peer)


# --- §19 ------------------------------------------------------------------------------------------------------------------------


@check("19.1", "10.1", sockets=ALL)
def hello_at_any_time_and_again(server: Server) -> None:
    """hello, at any time and again"""
    with Peer(server.address, server.patience) as peer:
        first, second = peer.call("rpc.hello"), peer.call("rpc.hello")
        holds("result" in first, "a result", first)
        hello: dict[str, Any] = first["result"]
        same(second["result"], hello)
        same(hello.get("protocol"), {"min": 1, "max": 1})
        names = {"protocol", "features", "limits", "version", "unit", "invocation_id"}
        holds(names <= set(hello), f"{sorted(names)}", hello)
        holds(
            all(isinstance(name, str) for name in hello["features"]), "names of features", hello["features"]
        )
        holds(all(isinstance(limit, int) for limit in hello["limits"].values()), "limits", hello["limits"])
        holds(isinstance(hello["version"], str), "a version", hello)
        for name in ("unit", "invocation_id"):
            holds(hello[name] is None or isinstance(hello[name], str), f"a text or null for {name}", hello)
        message = peer.call("rpc.hello", {"x": 1})
        is_failure(message, message.get("id"), -32602)


@check("19.5", sockets=CONNECTED)
def a_goaway_from_a_client_has_no_effect(server: Server) -> None:
    """a goaway from a client has no effect"""
    with Peer(server.address, server.patience) as peer:
        peer.notify("rpc.goaway", {})
        same(peer.before_fence(), [])


@check("19.3", "19.4", "7.5.3", "7.5.4", "8.12", sockets=CONNECTED, stops=True)
def a_server_that_stops_says_so_ends_what_runs_refuses_streams_and_closes(server: Server) -> None:
    """a server that stops says so, ends what runs, refuses streams, and closes"""
    if server.pid is None:
        raise NotApplicable("the server is stopped only if --pid names it")
    with Peer(server.address, server.patience) as peer:
        slow = peer.request("conformance.sleep", {"usec": 2 * SHORT})
        stream = peer.request("conformance.count", {"n": 2}, credit=1)
        (item,) = peer.items(stream, 1)
        same(item.get("item"), 0)
        os.kill(server.pid, signal.SIGTERM)
        goaway = peer.receive()
        same(goaway, {"jsonrpc": "2.0", "method": "rpc.goaway", "params": {}})
        refused = peer.request("conformance.count", {"n": 2})
        is_failure(peer.reply(refused), refused, -32005)
        peer.credit(stream, 5)
        is_result(peer.reply(slow), slow, None)
        (item,) = peer.items(stream, 1)
        is_result(peer.reply(stream), stream, None)
        holds(peer.is_closed(), "the end of the connection", "more of it")
