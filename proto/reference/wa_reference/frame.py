"""Frames: header, sealing and opening (SPEC 5), and the clock rule (SPEC 10)."""

import struct

from cryptography.exceptions import InvalidTag

from .errors import Fatal
from .keys import COUNTER_END, Schedule

HEADER = 20
TAG = 16
MIN_LENGTH = 17
MAX_LENGTH = 262160
MAX_PLAINTEXT = MAX_LENGTH - TAG
MAX_AGE = 10000


def header(length, counter, timestamp):
    return struct.pack(">IQQ", length, counter, timestamp)


def parse_header(data):
    """(length, counter, timestamp)"""
    return struct.unpack(">IQQ", data[:HEADER])


class Sealer:
    def __init__(self, k, h, suite, counter=0):
        self.schedule = Schedule(k, h, suite)
        self.counter = counter

    def seal(self, plaintext, timestamp):
        if not 1 <= len(plaintext) <= MAX_PLAINTEXT:
            raise ValueError("no frame of this size")
        if self.counter >= COUNTER_END:
            raise Fatal("counter_end", "the counter has reached 2^48")
        head = header(len(plaintext) + TAG, self.counter, timestamp)
        generation = self.schedule.at(self.counter)
        sealed = generation.aead.encrypt(generation.nonce(self.counter), plaintext, head)
        self.counter += 1
        return head + sealed


class Mapping:
    """The peer's stamp `s` was made after the own instant `l` (SPEC 10)."""

    def __init__(self, s, l):
        self.s = s
        self.l = l

    def age(self, stamp, now):
        return (now - self.l) - (stamp - self.s)

    def check(self, stamp, now):
        age = self.age(stamp, now)
        if abs(age) > MAX_AGE:
            raise Fatal("stale", f"age {age} ms")


class Opener:
    def __init__(self, k, h, suite, counter=0):
        self.schedule = Schedule(k, h, suite)
        self.counter = counter

    def check_length(self, head):
        length, _, _ = parse_header(head)
        if not MIN_LENGTH <= length <= MAX_LENGTH:
            raise Fatal("bad_length", f"{length}")
        return length

    def open(self, frame, mapping=None, now=None):
        """The plaintext of exactly one frame. Without a mapping the age is not checked (frame 0 of a link)."""
        if len(frame) < HEADER:
            raise Fatal("truncated", "cut off within the header")
        length = self.check_length(frame)
        if len(frame) != HEADER + length:
            raise Fatal("truncated", f"{len(frame)} bytes, {HEADER + length} announced")
        _, counter, stamp = parse_header(frame)
        if counter != self.counter or counter >= COUNTER_END:
            raise Fatal("bad_counter", f"{counter} instead of {self.counter}")
        if mapping is not None:
            mapping.check(stamp, now)
        generation = self.schedule.at(counter)
        try:
            plaintext = generation.aead.decrypt(generation.nonce(counter), frame[HEADER:], frame[:HEADER])
        except InvalidTag:
            raise Fatal("bad_tag", "the frame does not open") from None
        self.counter += 1
        return plaintext
