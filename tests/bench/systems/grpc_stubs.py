"""What protoc makes of inventory.proto; `make bench` runs it. Its types are the validation that grpc ships."""

import sys
from typing import Any, Final

from tests.bench.payload import Exchange
from tests.bench.starting import BUILT

#: The folder of the generated modules, which import each other by their bare names.
GENERATED: Final = BUILT / "generated"

sys.path.append(str(GENERATED))

import inventory_pb2 as messages  # noqa: E402
import inventory_pb2_grpc as services  # noqa: E402

#: A channel would otherwise share its connection with others of the same address.
OWN: Final = [("grpc.use_local_subchannel_pool", 1)]

__all__ = ["OWN", "messages", "pool", "services"]


def pool(exchanges: list[Exchange]) -> list[tuple[Any, Any]]:
    """The requests and their answers, as messages."""
    return [(messages.LookupRequest(**params), messages.Item(**item)) for params, item in exchanges]
