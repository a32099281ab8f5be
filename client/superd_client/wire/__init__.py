"""The protocol without I/O: bytes in, events out, bytes out.

Nothing here knows a socket, a loop, a thread, a clock or a log. Three verbs do all of it: `receive_data` takes
what was read, `next_event` says what it means, `send_*` returns what to write. docs/reference/protocol.md is the
specification; comments here name its sections.
"""
