"""payloads/: the 463 bytes of a handshake message's payload to fields (SPEC 3.3)."""

import struct

from wa_reference import payload as p

from .case import ok, refuse, same, seed

INSTANCE = seed("instance", 16)
ONE = {
    "clock": 1_750_000_000_000,
    "instance": INSTANCE,
    "features": 0,
    "suites": b"\x01",
    "window": 65536,
    "max_streams": 1024,
    "software": b"wa-sidecar/0.1.0",
}
TWO = ONE | {"result": (0, 0)}
REFUSAL = {name: TWO[name] for name in ("clock", "instance", "features", "software")} | {"result": (1, -12345)}


def fields_of(message):
    """(type, value) of a well formed payload, for breaking it."""
    return sorted((p.TYPES[name], p._value(name, value)) for name, value in (ONE if message == 1 else TWO).items())


def cases():
    yield _ok("message_1", 1, "The required fields.", ONE)
    yield _ok("message_1_with_names", 1, "name and peer_name are optional.", ONE | {"name": b"webapp-1", "peer_name": b"core.b_2"})
    yield _ok("message_1_least_values", 1, "The lower ends.", ONE | {"clock": 0, "window": 1024, "max_streams": 1, "software": b" ", "name": b"a", "peer_name": b"-"})
    yield _ok("message_1_greatest_values", 1, "The upper ends.", ONE | {"clock": (1 << 64) - 1, "features": (1 << 64) - 1, "window": 4194304, "max_streams": 1048576, "suites": bytes(range(1, 17)), "software": b"~" * 32, "name": b"n" * 64, "peer_name": b"p" * 64})
    yield _ok("message_2_accepts", 2, "The required fields.", TWO | {"name": b"core-1"})
    yield _ok("message_2_refuses", 2, "No suites, window and max_streams in a refusal; the figure is signed.", REFUSAL)
    yield _ok("message_2_refuses_with_link_fields", 2, "They may stand there and say nothing.", TWO | {"result": (7, 0)})
    yield _ok("message_2_unknown_result", 2, "An unknown code is a refusal, not malformed.", REFUSAL | {"result": (200, -1 << 63)})
    unknown = p.raw(fields_of(1) + [(0x0B, b"later"), (0x7F, b""), (0xFF, bytes(50))])
    yield _ok("unknown_fields_are_skipped", 1, "A later version may say more.", ONE, unknown)
    size = p.SIZE - len(p.raw(fields_of(1)).rstrip(b"\0")) - 3
    full = p.raw(fields_of(1) + [(0x0B, b"\xaa" * size)])
    yield _ok("fields_to_the_last_byte", 1, "No room for a type 0, none needed.", ONE, full)

    for message in (1, 2):
        fields = fields_of(message)
        for at, (kind, _) in enumerate(fields):
            name = next(name for name, number in p.TYPES.items() if number == kind)
            yield _no(f"message_{message}_without_{name}", message, "A required field is missing.", fields[:at] + fields[at + 1 :])
            value = fields[at][1]
            if name != "suites" and name != "software":
                short = fields[:at] + [(kind, value[:-1])] + fields[at + 1 :]
                yield _no(f"message_{message}_{name}_too_short", message, "The value has one size.", short)
                long = fields[:at] + [(kind, value + b"\0")] + fields[at + 1 :]
                yield _no(f"message_{message}_{name}_too_long", message, "The value has one size.", long)
    for name, value, why in (
        ("suites", b"", "1 to 16."),
        ("suites", bytes(17), "1 to 16."),
        ("window", struct.pack(">I", 1023), "1,024 at least."),
        ("window", struct.pack(">I", 4194305), "4,194,304 at most."),
        ("window", bytes(4), "1,024 at least."),
        ("max_streams", bytes(4), "1 at least."),
        ("max_streams", struct.pack(">I", 1048577), "1,048,576 at most."),
        ("software", b"", "1 to 32 bytes."),
        ("software", b"s" * 33, "1 to 32 bytes."),
        ("software", b"wa\x1b[31m", "Printable ASCII: it is written to logs."),
        ("software", b"wa\x7f", "Printable ASCII."),
        ("software", "é".encode(), "Printable ASCII."),
        ("name", b"", "1 to 64 bytes."),
        ("name", b"n" * 65, "1 to 64 bytes."),
        ("name", b"core 1", "The form of a name."),
        ("name", b"core\n", "The form of a name."),
        ("peer_name", b"", "1 to 64 bytes."),
        ("peer_name", b"p" * 65, "1 to 64 bytes."),
        ("peer_name", b"core/1", "The form of a name."),
    ):
        yield _no(f"message_1_{name}_{_label(value)}", 1, why, _with(1, name, value))
    yield _no("message_1_with_result", 1, "Never in message 1.", _with(1, "result", struct.pack(">Bq", 0, 0)))
    yield _no("message_2_with_peer_name", 2, "Never in message 2.", _with(2, "peer_name", b"core-1"))
    yield _no("message_2_with_two_suites", 2, "The one chosen.", _with(2, "suites", b"\x01\x02"))
    yield _no("message_2_with_no_suite", 2, "The one chosen.", _with(2, "suites", b""))
    yield _no("message_1_as_message_2", 2, "It has no result.", fields_of(1))
    yield _no("message_2_as_message_1", 1, "It has a result.", fields_of(2))

    fields = fields_of(1)
    swapped = fields[:1] + [fields[2], fields[1]] + fields[3:]
    yield _no("fields_out_of_order", 1, "Strictly ascending.", swapped)
    yield _no("field_repeated", 1, "Strictly ascending, so none twice; which one would hold?", fields[:5] + [fields[4]] + fields[5:])
    yield _no("field_repeated_at_the_end", 1, "Smuggled in behind the others.", fields + [fields[0]])
    yield _no("unknown_field_repeated", 1, "Also those that are skipped.", fields + [(0x0B, b"a"), (0x0B, b"b")])
    yield _no("unknown_field_out_of_order", 1, "Also those that are skipped.", fields[:3] + [(0x0B, b"a")] + fields[3:])
    good = p.raw(fields)
    used = len(good.rstrip(b"\0"))
    yield _raw("padding_last_byte_not_zero", 1, "Padding carries nothing.", good[:-1] + b"\x01")
    yield _raw("padding_first_byte_behind_the_end_not_zero", 1, "Behind type 0 there is nothing.", good[: used + 1] + b"\x01" + good[used + 2 :])
    yield _raw("padding_hides_a_field", 1, "A field behind the end.", _put(good, used + 10, b"\x08\x00\x01a"))
    yield _raw("field_length_past_the_end", 1, "Cut off by the end of the payload.", _put(good, used, b"\x0b\xff\xff"))
    yield _raw("field_length_one_past_the_end", 1, "Cut off by one byte.", _put(good, used, b"\x0b" + struct.pack(">H", p.SIZE - used - 2)))
    for left, label in ((1, "type"), (2, "type_and_half_its_length")):
        filler = p.SIZE - used - 3 - left
        cut = good[:used] + b"\x0b" + struct.pack(">H", filler) + bytes(filler) + b"\x0c\x00"[:left]
        yield _raw(f"field_cut_off_after_its_{label}", 1, "The payload ends within a field's head.", cut)
    yield _raw("all_zeros", 1, "Nothing required is there.", bytes(p.SIZE))
    yield _raw("one_byte_short", 1, "463 bytes, always.", good[:-1])
    yield _raw("one_byte_long", 1, "463 bytes, always.", good + b"\0")


def _label(value):
    if not value:
        return "empty"
    if len(value) == 4:
        return str(int.from_bytes(value, "big"))
    return {b"wa\x1b[31m": "with_an_escape", b"wa\x7f": "with_del", "é".encode(): "not_ascii", b"core 1": "with_a_space", b"core\n": "with_a_newline", b"core/1": "with_a_slash"}.get(value, f"of_{len(value)}")


def _with(message, name, value):
    kind = p.TYPES[name]
    return sorted([field for field in fields_of(message) if field[0] != kind] + [(kind, value)])


def _put(data, at, piece):
    return data[:at] + piece + data[at + len(piece) :]


def printable(fields):
    out = {}
    for name, value in fields.items():
        if name == "result":
            value = {"code": value[0], "figure": value[1]}
        elif name in ("software", "name", "peer_name"):
            value = value.decode()
        elif isinstance(value, bytes):
            value = value.hex()
        out[name] = value
    return out


def _ok(name, message, why, fields, raw=None):
    payload = raw or p.encode(fields)
    same(p.parse(payload, message), fields, name)
    return ok(name, "3.3", why, message=message, payload=payload.hex(), fields=printable(fields))


def _no(name, message, why, fields):
    return _raw(name, message, why, p.raw(fields))


def _raw(name, message, why, payload):
    return refuse(name, "3.3", "malformed", why, message=message, payload=payload.hex())


def run(case):
    fields = p.parse(bytes.fromhex(case["payload"]), case["message"])
    same(printable(fields), case["fields"], "fields")
