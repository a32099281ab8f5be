"""A service whose calls are to be carried out once: each gives the next number."""

import itertools

from superd.service import Context, Service
from superd_client.builtin import Nothing
from superd_client.contract import Method

counted = Service("counted", version="1.0.0")
numbers = itertools.count(1)


@counted.method(Method("counted.next", Nothing, int, keyed=True))
async def handle_next(params: Nothing, context: Context) -> int:
    """Say the next number."""
    return next(numbers)
