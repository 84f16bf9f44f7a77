"""key_schedule/ and frames/: keys to frames and back (SPEC 4, 5 and 10)."""

import hashlib

from wa_reference import frame as f
from wa_reference import message as m
from wa_reference.keys import Generation
from wa_reference.payload import AES, CHACHA

from .case import flip, ok, refuse, same, seed

K = seed("k")
OTHER_K = seed("k of the other direction")
H = seed("h")
STAMP = 1_750_000_000_000
BORDER = 1 << 20
PLAINTEXT = m.encode(m.make("PING", token=7, clock=STAMP))


def sealed(counter, suite=CHACHA, k=K, h=H, plaintext=PLAINTEXT, stamp=STAMP):
    return f.Sealer(k, h, suite, counter).seal(plaintext, stamp)


def sealed_under(generation, counter, suite=CHACHA, iv_of=None, plaintext=PLAINTEXT, stamp=STAMP):
    """A frame that a wrong implementation might make: under another generation than its counter's."""
    head = f.header(len(plaintext) + f.TAG, counter, stamp)
    return head + generation.aead.encrypt((iv_of or generation).nonce(counter), plaintext, head)


class KeySchedule:
    @staticmethod
    def cases():
        for suite, label in ((CHACHA, "chacha20_poly1305"), (AES, "aes_256_gcm")):
            generations = [Generation.first(K, H, suite)]
            for _ in range(2):
                generations.append(generations[-1].next())
            yield ok(
                f"{label}",
                "4",
                "The first three generations and frames on both sides of each border.",
                **_keys(suite),
                generations=[{"generation": g.number, "s": g.secret.hex(), "key": g.key.hex(), "iv": g.iv.hex()} for g in generations],
                frames=[_frame(counter, suite) for counter in (0, 1, BORDER - 1, BORDER, BORDER + 1, 2 * BORDER - 1, 2 * BORDER)],
            )
        yield ok(
            "the_same_k_for_another_h",
            "4",
            "h is the salt: two links never share a key.",
            **(_keys(CHACHA) | {"h": seed("another h").hex()}),
            generations=[_generation(Generation.first(K, seed("another h"), CHACHA))],
            frames=[],
        )
        for suite, label in ((CHACHA, "chacha20_poly1305"), (AES, "aes_256_gcm")):
            first = Generation.first(K, H, suite)
            second = first.next()
            third = second.next()
            for name, why, counter, frame in (
                ("previous_generation_after_the_border", "The generation changes with the counter, not later.", BORDER, sealed_under(first, BORDER, suite)),
                ("next_generation_before_the_border", "Nor earlier.", BORDER - 1, sealed_under(second, BORDER - 1, suite)),
                ("a_generation_skipped", "One after the other.", BORDER, sealed_under(third, BORDER, suite)),
                ("key_of_one_generation_iv_of_another", "Both change.", BORDER, sealed_under(second, BORDER, suite, iv_of=first)),
                ("key_of_the_other_direction", "Directions have different keys.", 0, sealed(0, suite, k=OTHER_K)),
                ("h_of_another_handshake", "h is the salt.", 0, sealed(0, suite, h=seed("another h"))),
                ("nonce_is_the_bare_counter", "The iv is not left out.", 1, _bare_nonce(first, 1)),
                ("nonce_little_endian", "The counter is big-endian in the nonce.", 1, _little_nonce(first, 1)),
                ("key_of_the_other_suite", "The suite byte is in the key's label.", 0, _key_of_other_suite(suite)),
            ):
                yield refuse(f"{label}_{name}", "4", "bad_tag", why, **_keys(suite), counter=counter, frame=frame.hex())

    @staticmethod
    def run(case):
        k, h, suite = bytes.fromhex(case["k"]), bytes.fromhex(case["h"]), case["suite"]
        if case["expect"] == "refuse":
            f.Opener(k, h, suite, case["counter"]).open(bytes.fromhex(case["frame"]))
            return
        generation = Generation.first(k, h, suite)
        for wanted in case["generations"]:
            same(_generation(generation), wanted, "generation")
            generation = generation.next()
        for wanted in case["frames"]:
            frame, counter = bytes.fromhex(wanted["frame"]), wanted["counter"]
            same(f.Opener(k, h, suite, counter).open(frame).hex(), wanted["plaintext"], "plaintext")
            same(sealed(counter, suite, k, h, bytes.fromhex(wanted["plaintext"]), wanted["timestamp"]), frame, "frame")


def _keys(suite):
    return {"k": K.hex(), "h": H.hex(), "suite": suite}


def _generation(g):
    return {"generation": g.number, "s": g.secret.hex(), "key": g.key.hex(), "iv": g.iv.hex()}


def _frame(counter, suite):
    sealer = f.Sealer(K, H, suite, counter)
    frame = sealer.seal(PLAINTEXT, STAMP + counter)
    nonce = sealer.schedule.generation.nonce(counter)
    return {"counter": counter, "nonce": nonce.hex(), "timestamp": STAMP + counter, "plaintext": PLAINTEXT.hex(), "frame": frame.hex()}


def _bare_nonce(generation, counter):
    head = f.header(len(PLAINTEXT) + f.TAG, counter, STAMP)
    return head + generation.aead.encrypt(bytes(4) + counter.to_bytes(8, "big"), PLAINTEXT, head)


def _little_nonce(generation, counter):
    head = f.header(len(PLAINTEXT) + f.TAG, counter, STAMP)
    nonce = bytes(a ^ b for a, b in zip(generation.iv, bytes(4) + counter.to_bytes(8, "little")))
    return head + generation.aead.encrypt(nonce, PLAINTEXT, head)


def _key_of_other_suite(suite):
    generation = Generation.first(K, H, suite)
    other = Generation.first(K, H, CHACHA + AES - suite)
    head = f.header(len(PLAINTEXT) + f.TAG, 0, STAMP)
    return head + type(generation.aead)(other.key).encrypt(generation.nonce(0), PLAINTEXT, head)


class Frames:
    @staticmethod
    def cases():
        data = m.encode(m.make("DATA", id=1, data=seed("data", 300)))
        yield _ok("first_frame", "A PING, counter 0.", sealed(0), PLAINTEXT)
        yield _ok("aes_256_gcm", "The other suite.", sealed(5, AES), PLAINTEXT, counter=5, suite=AES)
        yield _ok("one_byte_of_plaintext", "17 is the least length; what the byte means is not the frame's affair.", sealed(3, plaintext=b"\x0c"), b"\x0c", counter=3)
        yield _ok("several_messages", "A frame carries one or more.", sealed(9, plaintext=PLAINTEXT + data), PLAINTEXT + data, counter=9)
        yield _ok("high_counter", "Generation 3: the keys have been ratcheted three times.", sealed(3 << 20), PLAINTEXT, counter=3 << 20)
        big = m.encode(m.make("DATA", id=1, data=bytes(f.MAX_PLAINTEXT - 9)))
        frame = sealed(0, plaintext=big)
        yield ok(
            "largest_frame",
            "5",
            "262,160 is the greatest length: DATA of 262,135 zero bytes on stream 1. The frame is given by its hash: seal it, compare, open it.",
            **_state(),
            timestamp=STAMP,
            plaintext_sha256=hashlib.sha256(big).hexdigest(),
            data_zeros=f.MAX_PLAINTEXT - 9,
            frame_sha256=hashlib.sha256(frame).hexdigest(),
        )
        for age in (0, 10000, -10000):
            yield _ok(f"age_{_signed(age)}", "Within the window, ends included.", _aged(4, age), PLAINTEXT, counter=4, **_age(age), spec="10")
        yield _ok(
            "age_is_signed_and_wide",
            "Stamp and instant near the ends of their range: the difference counts.",
            sealed(0, stamp=(1 << 64) - 1),
            PLAINTEXT,
            mapping={"s": (1 << 64) - 9000, "l": 5},
            now=5,
            spec="10",
        )

        good = sealed(7)
        for length in (0, 1, 16, 262161, 0x7FFFFFFF, 0xFFFFFFFF):
            head = f.header(length, 7, STAMP)
            yield _no(f"length_{length}", "bad_length", "Refused on sight of the header, before anything is read or allocated for it.", head + bytes(min(length, 40)))
        yield _no("length_out_of_range_before_a_wrong_counter", "bad_length", "The order of checks: length, counter, age, tag.", f.header(16, 9, STAMP) + bytes(16))
        yield _no("counter_repeated", "bad_counter", "The frame before, once more.", sealed(6))
        yield _no("counter_skipped", "bad_counter", "The frame after, its predecessor dropped.", sealed(8))
        yield _no("counter_back_to_0", "bad_counter", "The first frame, once more.", sealed(0))
        yield _no("counter_2_63", "bad_counter", "Far away.", f.header(len(PLAINTEXT) + 16, 1 << 63, STAMP) + good[20:])
        yield _no("counter_wrong_before_a_stale_stamp", "bad_counter", "The order of checks: length, counter, age, tag.", sealed(8), **_age(20000))
        yield _no("tag_flipped", "bad_tag", "One bit of the tag.", flip(good, len(good) - 1))
        yield _no("tag_zeros", "bad_tag", "No tag at all.", good[:-16] + bytes(16))
        yield _no("ciphertext_flipped", "bad_tag", "One bit of the ciphertext.", flip(good, 20))
        yield _no("header_timestamp_flipped", "bad_tag", "The stamp is authenticated; made 1 ms younger.", flip(good, 19))
        yield _no("header_length_one_less", "bad_tag", "The length is authenticated: the frame cut by a byte.", f.header(len(good) - 21, 7, STAMP) + good[20:-1])
        yield _no("header_length_one_more", "bad_tag", "The length is authenticated: a byte of the next frame taken in.", f.header(len(good) - 19, 7, STAMP) + good[20:] + b"\0")
        yield _no("header_counter_rewritten", "bad_tag", "An old frame whose counter was written over with the one expected.", f.header(len(PLAINTEXT) + 16, 7, STAMP) + sealed(6)[20:])
        yield _no("header_not_authenticated", "bad_tag", "Sealed without associated data.", _no_aad(7))
        yield _no("reflected", "bad_tag", "A frame of the own direction sent back.", sealed(7, k=OTHER_K))
        yield _no("of_another_link", "bad_tag", "The same secret, another handshake.", sealed(7, h=seed("another h")))
        yield _no("wrong_suite", "bad_tag", "AES-256-GCM on a link of ChaCha20-Poly1305.", sealed(7, AES))
        yield _no("wrong_suite_the_other_way", "bad_tag", "ChaCha20-Poly1305 on a link of AES-256-GCM.", good, suite=AES)
        yield _no("plaintext_in_the_clear", "bad_tag", "Not sealed at all.", good[:20] + PLAINTEXT + bytes(16))
        yield _no("truncated_in_the_header", "truncated", "The connection ended within a frame: not in order.", good[:19])
        yield _no("truncated_in_the_ciphertext", "truncated", "The connection ended within a frame.", good[:-17])
        yield _no("truncated_in_the_tag", "truncated", "The connection ended one byte early.", good[:-1])
        for age in (10001, -10001, 600000):
            yield _no(f"age_{_signed(age)}", "stale", "Out of the window.", _aged(7, age), **_age(age), spec="10")
        yield _no("held_back_for_11_s", "stale", "Made 11 s after the mapping, arrived 22 s after it.", sealed(7, stamp=STAMP + 11000), mapping={"s": STAMP, "l": 100}, now=22100, spec="10")
        yield _no("stamp_of_2_64", "stale", "A difference that wraps in 64 bits must not come out small.", sealed(7, stamp=(1 << 64) - 1), mapping={"s": 0, "l": 100}, now=100, spec="10")
        yield _no("stale_before_a_flipped_tag", "stale", "The order of checks: length, counter, age, tag.", flip(good, 30), **_age(10001), spec="10")

    @staticmethod
    def run(case):
        k, h, suite, counter = bytes.fromhex(case["k"]), bytes.fromhex(case["h"]), case["suite"], case["counter"]
        if "frame_sha256" in case:
            big = m.encode(m.make("DATA", id=1, data=bytes(case["data_zeros"])))
            frame = sealed(counter, suite, k, h, big, case["timestamp"])
            same(hashlib.sha256(frame).hexdigest(), case["frame_sha256"], "frame")
            same(f.Opener(k, h, suite, counter).open(frame), big, "plaintext")
            return
        mapping = f.Mapping(**case["mapping"])
        plaintext = f.Opener(k, h, suite, counter).open(bytes.fromhex(case["frame"]), mapping, case["now"])
        same(plaintext.hex(), case["plaintext"], "plaintext")


def _state(counter=0, suite=CHACHA, mapping=None, now=100):
    return _keys(suite) | {"counter": counter, "mapping": mapping or {"s": STAMP, "l": 100}, "now": now}


def _age(age):
    return {"now": 50000 + max(age, 0), "mapping": {"s": STAMP, "l": 50000}}


def _aged(counter, age):
    """A frame of which `_age` is the state: late, or stamped ahead of its time."""
    return sealed(counter, stamp=STAMP + max(-age, 0))


def _signed(age):
    return f"minus_{-age}" if age < 0 else str(age)


def _no_aad(counter):
    generation = Generation.first(K, H, CHACHA)
    return f.header(len(PLAINTEXT) + f.TAG, counter, STAMP) + generation.aead.encrypt(generation.nonce(counter), PLAINTEXT, None)


def _ok(name, why, frame, plaintext, spec="5", **state):
    return ok(name, spec, why, **_state(**state), frame=frame.hex(), plaintext=plaintext.hex())


def _no(name, error, why, frame, spec="5", **state):
    return refuse(name, spec, error, why, **_state(**({"counter": 7} | state)), frame=frame.hex())
