"""A service that misbehaves to order: it stops the event loop, or answers when the test says so."""

import threading
from pathlib import Path

from superd.service import Context, Service
from superd_client.builtin import Echo, Nothing
from superd_client.contract import Method

hang = Service("hang", version="1.0.0")
block = Method("hang.block", Nothing, Nothing)
hold = Method("hang.hold", Echo, Echo)
fail = Method("hang.fail", Echo, Echo)
say = Method("hang.say", Echo, Echo)


@hang.method(block)
async def handle_block(params: Nothing, context: Context) -> Nothing:
    """Never give the event loop back."""
    threading.Event().wait()
    return params


@hang.method(hold)
def handle_hold(params: Echo, context: Context) -> Echo:
    """Answer with what somebody writes to the FIFO at `text`: the call lasts until then."""
    return Echo(text=Path(params.text).read_text())


@hang.method(fail)
def handle_fail(params: Echo, context: Context) -> Echo:
    """Fail in a way that nobody declared."""
    raise RuntimeError(params.text)


@hang.method(say)
async def handle_say(params: Echo, context: Context) -> Echo:
    """Print, as people do."""
    print(params.text)
    return params
