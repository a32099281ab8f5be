"""Every limit of the wire, with its reason. Protocol §10 lists them; a test compares the two."""

from typing import Final

#: Bytes of a frame's header: one big-endian unsigned 32-bit length (§2).
HEADER_SIZE: Final = 4

#: Largest body in bytes, unless configured otherwise. sd-varlink admits 16 MiB, D-Bus 128 MiB, gRPC 4 MiB:
#: this is enough for a document and too little to trouble a small appliance.
FRAME_SIZE_DEFAULT: Final = 16 * 1024 * 1024

#: The smallest frame limit that may be configured: every failure that this side writes must fit into it.
FRAME_SIZE_MIN: Final = 1024

#: The largest frame limit that may be configured. Above it a copy in memory is the wrong way to pass data.
FRAME_SIZE_MAX: Final = 256 * 1024 * 1024

#: How deep arrays and objects may nest, the message included (§3). It is the parser's own bound (pydantic-core
#: stops there to protect the C stack); deeper data has no business in a call.
NESTING_MAX: Final = 200

#: Largest magnitude of an integer id (§4.1): what every JSON implementation can hold exactly (RFC 8259 §6).
ID_INTEGER_MAX: Final = 2**53 - 1

#: Longest text id in characters (§4.1): room for a UUID with a prefix; ids are stored while calls run.
ID_TEXT_MAX: Final = 64

#: Longest call id in characters (§5): ids are stored and logged.
CALL_ID_MAX: Final = 64

#: Longest method name in characters (§6). D-Bus admits 255 for each part of a name.
METHOD_NAME_MAX: Final = 128

#: Calls of one connection that may run before the server stops reading from it (§7.3).
CALLS_IN_FLIGHT_DEFAULT: Final = 1024

#: Bytes of replies that may wait for one peer before the server stops reading from it (§7.3).
WRITE_BUFFER_DEFAULT: Final = 1024 * 1024

#: Open streams of one connection (§14): as many as calls, for each costs about as much. Streams are counted apart,
#: since a connection that is full of calls is not read from, and streams need their credit.
STREAMS_DEFAULT: Final = 1024

#: Calls, streams and bytes that one user alone may hold (§7.7), a half of what all share: enough for a busy host, and few
#: enough that the collector of cycles does not stop a server for longer than a call takes.
CALLS_PER_USER_DEFAULT: Final = 8192
STREAMS_PER_USER_DEFAULT: Final = 4096
BYTES_PER_USER_DEFAULT: Final = 128 * 1024 * 1024

#: Items of a stream that may be sent before any `rpc.credit`, where the request says nothing (§14): enough to hide
#: the way there and back, and little to hold for a consumer that is slow.
STREAM_CREDIT_DEFAULT: Final = 64

#: Largest credit of a stream (§14): what fits a signed 32-bit integer everywhere.
CREDIT_MAX: Final = 2**31 - 1

#: Largest time in microseconds that a message can hold (§5): a signed 64-bit integer, as systemd counts.
TIME_USEC_MAX: Final = 2**63 - 1

#: Descriptors that travel with one frame (§15). The kernel admits 253 (SCM_MAX_FD); no call needs so many, and a
#: peer must not use up the receiver's.
FDS_PER_FRAME_MAX: Final = 64

#: Descriptors that the calls of one connection hold at a time (§15): four full frames.
FDS_PER_CONNECTION_MAX: Final = 256

#: Descriptors that the calls of one user alone hold at a time (§15): an eighth of what superd.service may open.
FDS_PER_USER_MAX: Final = 1024

#: Longest idempotency key in characters (§20): room for a UUID with a prefix; keys are stored long after their calls.
IDEMPOTENCY_KEY_MAX: Final = 64

#: Microseconds for which the answer to a call with a key is kept (§20): long enough for a caller that systemd starts
#: again, after a pause, and that looks at what it had left undone.
IDEMPOTENCY_AGE_DEFAULT: Final = 300_000_000

#: Calls with a key of one user that are remembered (§20): at 1 ms a call the last 4 s, 14 calls a second for the
#: whole of the age. Each costs some 600 bytes beside its answer.
IDEMPOTENCY_ENTRIES_DEFAULT: Final = 4096

#: Bytes of the answers of one user that are kept (§20): 1 KiB for each call that is remembered.
IDEMPOTENCY_BYTES_DEFAULT: Final = 4 * 1024 * 1024

#: Largest blob that travels inside its message (§16). Above it, base64 in a frame costs more than a memfd does.
BLOB_INLINE_MAX: Final = 64 * 1024

#: Largest blob in bytes (§16): its receiver maps it. Also the most that one read of Linux gives.
BLOB_SIZE_MAX: Final = 2**31

#: Faults listed in one error (§8). A list of 100,000 bad items must not make a reply of 10 MB.
FAULTS_LISTED_MAX: Final = 32

#: Faults of one message that are looked at, to list some (§8). A frame may hold 1,600,000, and to put these into
#: words would take 10 s and 2 GB.
FAULTS_EXAMINED_MAX: Final = 1024

#: Bytes of a message all of whose faults are looked for (§8). A larger one is read up to the first fault of each list
#: or map in it: every fault costs up to 2 KB and 9 us, and three bytes are enough for one.
ALL_FAULTS_SIZE_MAX: Final = 4096

#: Names offered in place of an unknown one (§8).
NEAREST_LISTED_MAX: Final = 3
