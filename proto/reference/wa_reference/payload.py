"""The payload of a handshake message (SPEC 3.3): 463 bytes of typed fields and zeros."""

import struct

from .errors import Refused
from .secret import is_name

SIZE = 463
CHACHA, AES = 1, 2
RESULTS = ["accepted", "clock_skew", "peer_name", "self_dial", "busy", "no_common_suite", "malformed", "draining"]
ACCEPTED, CLOCK_SKEW, PEER_NAME, SELF_DIAL, BUSY, NO_COMMON_SUITE, MALFORMED, DRAINING = range(8)

TYPES = {
    "clock": 1,
    "instance": 2,
    "features": 3,
    "suites": 4,
    "window": 5,
    "max_streams": 6,
    "software": 7,
    "name": 8,
    "peer_name": 9,
    "result": 10,
}
_ALWAYS = {"clock", "instance", "features", "software"}
_LINK = {"suites", "window", "max_streams"}


def result_name(code):
    return RESULTS[code] if code < len(RESULTS) else "unknown"


def raw(fields):
    """Fields as (type, value) in the order given, padded: also what is not allowed."""
    body = b"".join(struct.pack(">BH", kind, len(value)) + value for kind, value in fields)
    if len(body) > SIZE:
        raise ValueError("too many fields")
    return body.ljust(SIZE, b"\0")


def encode(fields):
    """`fields`: a dict as `parse` returns it."""
    return raw(sorted((TYPES[name], _value(name, value)) for name, value in fields.items()))


def _value(name, value):
    if name in ("clock", "features"):
        return struct.pack(">Q", value)
    if name in ("window", "max_streams"):
        return struct.pack(">I", value)
    if name == "result":
        return struct.pack(">Bq", *value)
    return bytes(value)


def parse(payload, message):
    """The known fields of message 1 or 2, or Refused("malformed")."""
    if len(payload) != SIZE:
        raise Refused("malformed", f"{len(payload)} bytes")
    names = {number: name for name, number in TYPES.items()}
    fields, at, last = {}, 0, 0
    while at < SIZE:
        kind = payload[at]
        if kind == 0:
            if any(payload[at:]):
                raise Refused("malformed", "the padding is not zero")
            break
        if kind <= last:
            raise Refused("malformed", f"field {kind} behind field {last}")
        if at + 3 > SIZE:
            raise Refused("malformed", "cut off within a field's head")
        (length,) = struct.unpack_from(">H", payload, at + 1)
        value = payload[at + 3 : at + 3 + length]
        if len(value) != length:
            raise Refused("malformed", f"field {kind} is cut off")
        if kind in names:
            fields[names[kind]] = _known(names[kind], value, message)
        last = kind
        at += 3 + length
    _presence(fields, message)
    return fields


def _known(name, value, message):
    def need(holds):
        if not holds:
            raise Refused("malformed", f"{name}: {value.hex()}")

    if name in ("clock", "features"):
        need(len(value) == 8)
        return int.from_bytes(value, "big")
    if name == "instance":
        need(len(value) == 16)
    elif name == "suites":
        need(1 <= len(value) <= 16 if message == 1 else len(value) == 1)
    elif name in ("window", "max_streams"):
        need(len(value) == 4)
        number = int.from_bytes(value, "big")
        need(1024 <= number <= 4194304 if name == "window" else 1 <= number <= 1048576)
        return number
    elif name == "software":
        need(1 <= len(value) <= 32 and all(0x20 <= byte <= 0x7E for byte in value))
    elif name == "name":
        need(is_name(value))
    elif name == "peer_name":
        need(message == 1 and is_name(value))
    elif name == "result":
        need(message == 2 and len(value) == 9)
        return struct.unpack(">Bq", value)
    return value


def _presence(fields, message):
    required = set(_ALWAYS)
    if message == 1:
        required |= _LINK
    else:
        required.add("result")
        if fields.get("result", (None,))[0] == ACCEPTED:
            required |= _LINK
    missing = required - fields.keys()
    if missing:
        raise Refused("malformed", "missing: " + ", ".join(sorted(missing)))
