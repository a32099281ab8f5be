"""`rpc.item` written plainly, as protocol §14.1 has it."""

import json

from superd_client.wire.envelope import RequestId


def dump_item(request_id: RequestId, seq: int, item: bytes, fds: int) -> bytes:
    """A message around `item`, which is JSON already."""
    meta = b',"meta":{"fds":%d}' % fds if fds else b""
    return b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":%b,"seq":%d,"item":%b}%b}' % (
        json.dumps(request_id, ensure_ascii=False).encode(),
        seq,
        item,
        meta,
    )
