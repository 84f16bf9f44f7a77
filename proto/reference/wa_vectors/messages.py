"""messages/: the plaintext of a frame to messages (SPEC 6)."""

from wa_reference import message as m

from .case import ok, refuse, same, seed

NOISE = seed("noise message", 48)
EACH = [
    m.make("OPEN", id=1, service=b"6250"),
    m.make("DATA", id=1, data=b"\0\1\2\3"),
    m.make("CREDIT", id=1, limit=65536),
    m.make("YIELD", id=1, limit=262144),
    m.make("FIN", id=1, offset=4),
    m.make("RESET", id=1, code=m.APP_RESET),
    m.make("STOP", id=1, code=m.APP_RESET),
    m.make("PING", token=0x0102030405060708, clock=1_750_000_000_000),
    m.make("PONG", token=0x0102030405060708, clock=1_750_000_000_001),
    m.make("REKEY1", noise=NOISE),
    m.make("REKEY2", status=0, noise=NOISE),
    m.make("REKEY3"),
    m.make("GOAWAY", code=m.SHUTDOWN),
]


def cases():
    for message in EACH:
        yield _ok(message["type"].lower(), "One message alone.", [message])
    yield _ok("all_in_one_frame", "In the order of their types; what they mean to a link is not asked here.", EACH)
    yield _ok("open_of_the_default_service", "An empty service.", [m.make("OPEN", id=1, service=b"")])
    yield _ok("open_of_the_longest_service", "64 bytes.", [m.make("OPEN", id=0xFFFFFFFF, service=b"a" * 64)])
    yield _ok("open_of_every_kind_of_byte", "A-Z a-z 0-9 . _ -", [m.make("OPEN", id=2, service=b"Az09._-")])
    yield _ok("data_of_one_byte", "The least.", [m.make("DATA", id=3, data=b"\xff")])
    yield _ok("greatest_numbers", "Every bit of every field.", [m.make("CREDIT", id=0xFFFFFFFF, limit=(1 << 64) - 1), m.make("PING", token=(1 << 64) - 1, clock=(1 << 64) - 1)])
    yield _ok("rekey2_that_refuses", "Zeros in place of the Noise message.", [m.make("REKEY2", status=1, noise=bytes(48))])
    yield _ok("unknown_codes", "Parsed as they are; treated as 0 later.", [m.make("RESET", id=1, code=255), m.make("STOP", id=1, code=9), m.make("GOAWAY", code=77)])

    good = m.encode(m.make("FIN", id=1, offset=4))
    yield _no("empty_frame", "bad_length", "A frame has at least one message.", b"")
    for number in (0x00, 0x0E, 0x7F, 0x80, 0xFF):
        yield _no(f"unknown_type_{number:02x}", "unknown_type", "No feature in force defines it.", bytes([number]) + bytes(20))
    yield _no("unknown_type_behind_a_good_message", "unknown_type", "What follows is not skipped.", good + b"\x42")
    for message in EACH:
        whole = m.encode(message)
        if len(whole) > 1:
            yield _no(f"truncated_{message['type'].lower()}", "truncated", "One byte is missing.", whole[:-1])
        if len(whole) > 2:
            yield _no(f"truncated_{message['type'].lower()}_after_the_type", "truncated", "The type and the end.", whole[:1])
    yield _no("truncated_behind_a_good_message", "truncated", "A second message that the frame cuts off.", good + good[:-1])
    yield _no("padding_behind_a_message", "unknown_type", "Zero bytes are a message of type 0, not padding.", good + bytes(3))
    yield _no("data_empty", "malformed", "DATA of nothing: a flood that costs no credit.", b"\x02" + _u32(1) + _u32(0))
    yield _no("data_empty_before_a_good_message", "malformed", "DATA of nothing.", b"\x02" + _u32(1) + _u32(0) + good)
    yield _no("data_length_overruns_the_frame", "truncated", "n says one more than there is.", b"\x02" + _u32(1) + _u32(5) + b"four")
    yield _no("data_length_4_gib", "truncated", "n near 2^32 must not wrap.", b"\x02" + _u32(1) + _u32(0xFFFFFFFF) + b"four")
    yield _no("data_length_wraps_with_its_header", "truncated", "n + 9 is 0 in 32 bits.", b"\x02" + _u32(1) + _u32(0xFFFFFFF7) + b"four")
    yield _no("service_of_65_bytes", "malformed", "64 at most.", b"\x01" + _u32(1) + bytes([65]) + b"a" * 65)
    yield _no("service_length_overruns_the_frame", "truncated", "n says one more than there is.", b"\x01" + _u32(1) + bytes([5]) + b"6250")
    for label, service in (("space", b"62 50"), ("slash", b"../etc"), ("nul", b"6250\0"), ("newline", b"6250\n"), ("high_bit", b"\xc3\xa9"), ("colon", b"host:1")):
        yield _no(f"service_with_{label}", "malformed", "Not of the form of a name.", b"\x01" + _u32(1) + bytes([len(service)]) + service)
    yield _no("rekey2_that_refuses_with_something", "malformed", "Zeros if the status is not 0.", b"\x0b\x01" + NOISE)


def _u32(number):
    return number.to_bytes(4, "big")


def _ok(name, why, messages):
    plaintext = m.encode_all(messages)
    return ok(name, "6", why, plaintext=plaintext.hex(), messages=[m.printable(message) for message in messages])


def _no(name, error, why, plaintext):
    return refuse(name, "6", error, why, plaintext=plaintext.hex())


def run(case):
    plaintext = bytes.fromhex(case["plaintext"])
    messages = list(m.parse(plaintext))
    same([m.printable(message) for message in messages], case["messages"], "messages")
    same(m.encode_all([m.from_printable(message) for message in case["messages"]]), plaintext, "encoded")
