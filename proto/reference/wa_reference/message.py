"""Messages: what a frame carries (SPEC 6). A message is a dict with "type" and its fields, as the vectors print it."""

import struct

from .errors import Fatal
from .secret import is_name

NUMBERS = {
    "OPEN": 0x01,
    "DATA": 0x02,
    "CREDIT": 0x03,
    "YIELD": 0x04,
    "FIN": 0x05,
    "RESET": 0x06,
    "STOP": 0x07,
    "PING": 0x08,
    "PONG": 0x09,
    "REKEY1": 0x0A,
    "REKEY2": 0x0B,
    "REKEY3": 0x0C,
    "GOAWAY": 0x0D,
}
NAMES = {number: name for name, number in NUMBERS.items()}
BY_INITIATOR = {"OPEN", "REKEY1", "REKEY3"}
BY_RESPONDER = {"REKEY2"}
NOISE = 48

CODES = [
    "unspecified",
    "app_reset",
    "dial_refused",
    "dial_timeout",
    "dial_failed",
    "unknown_service",
    "busy",
    "draining",
    "answer",
]
UNSPECIFIED, APP_RESET, DIAL_REFUSED, DIAL_TIMEOUT, DIAL_FAILED, UNKNOWN_SERVICE, BUSY, DRAINING, ANSWER = range(9)
SHUTDOWN, IDS_USED_UP, KEYS_TOO_OLD = range(3)

# The fields of fixed size behind the type; OPEN, DATA and the REKEY messages have their own code.
_FIXED = {
    "CREDIT": (">IQ", ("id", "limit")),
    "YIELD": (">IQ", ("id", "limit")),
    "FIN": (">IQ", ("id", "offset")),
    "RESET": (">IB", ("id", "code")),
    "STOP": (">IB", ("id", "code")),
    "PING": (">QQ", ("token", "clock")),
    "PONG": (">QQ", ("token", "clock")),
    "REKEY3": (">", ()),
    "GOAWAY": (">B", ("code",)),
}


def make(kind, **fields):
    return {"type": kind, **fields}


def encode(message):
    kind = message["type"]
    first = bytes([NUMBERS[kind]])
    if kind == "OPEN":
        service = message["service"]
        return first + struct.pack(">IB", message["id"], len(service)) + service
    if kind == "DATA":
        data = message["data"]
        return first + struct.pack(">II", message["id"], len(data)) + data
    if kind == "REKEY1":
        return first + message["noise"]
    if kind == "REKEY2":
        return first + bytes([message["status"]]) + message["noise"]
    layout, names = _FIXED[kind]
    return first + struct.pack(layout, *(message[name] for name in names))


def encode_all(messages):
    return b"".join(encode(message) for message in messages)


class _Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, size):
        piece = self.data[self.at : self.at + size]
        if len(piece) != size:
            raise Fatal("truncated", "a message is cut off by the end of its frame")
        self.at += size
        return piece

    def unpack(self, layout):
        return struct.unpack(layout, self.take(struct.calcsize(layout)))


def parse(plaintext):
    """One message after the other: what stands before a broken one has been taken by then."""
    if not plaintext:
        raise Fatal("bad_length", "a frame without a message")
    reader = _Reader(plaintext)
    while reader.at < len(plaintext):
        yield _one(reader)


def _one(reader):
    (number,) = reader.take(1)
    kind = NAMES.get(number)
    if kind is None:
        raise Fatal("unknown_type", f"0x{number:02x}")
    if kind == "OPEN":
        ident, size = reader.unpack(">IB")
        if size > 64:
            raise Fatal("malformed", f"a service of {size} bytes")
        service = reader.take(size)
        if service and not is_name(service):
            raise Fatal("malformed", "the service has not the form of a name")
        return make(kind, id=ident, service=service)
    if kind == "DATA":
        ident, size = reader.unpack(">II")
        if size == 0:
            raise Fatal("malformed", "DATA without data")
        return make(kind, id=ident, data=reader.take(size))
    if kind == "REKEY1":
        return make(kind, noise=reader.take(NOISE))
    if kind == "REKEY2":
        (status,) = reader.take(1)
        noise = reader.take(NOISE)
        if status != 0 and any(noise):
            raise Fatal("malformed", "a refusing REKEY2 that is not zeros")
        return make(kind, status=status, noise=noise)
    layout, names = _FIXED[kind]
    return make(kind, **dict(zip(names, reader.unpack(layout))))


def printable(message):
    """For JSON: bytes as hex, the service as text."""
    out = {}
    for name, value in message.items():
        if isinstance(value, bytes):
            value = value.decode("ascii") if name == "service" else value.hex()
        out[name] = value
    return out


def from_printable(message):
    out = dict(message)
    if "service" in out:
        out["service"] = out["service"].encode("ascii")
    for name in ("data", "noise"):
        if name in out:
            out[name] = bytes.fromhex(out[name])
    return out
