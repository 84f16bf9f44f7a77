"""The key schedule of one direction (SPEC 4)."""

import hmac

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from .payload import AES, CHACHA

CIPHERS = {CHACHA: ChaCha20Poly1305, AES: AESGCM}
GENERATION_BITS = 20
COUNTER_END = 1 << 48


def expand(secret, info, length):
    return HKDFExpand(algorithm=hashes.SHA256(), length=length, info=info).derive(secret)


class Generation:
    """S(g), key(g) and iv(g)."""

    def __init__(self, number, secret, suite):
        self.number = number
        self.secret = secret
        self.suite = suite
        self.key = expand(secret, b"wa-sidecar/1 key" + bytes([suite]), 32)
        self.iv = expand(secret, b"wa-sidecar/1 iv", 12)
        self.aead = CIPHERS[suite](self.key)

    @classmethod
    def first(cls, k, h, suite):
        return cls(0, hmac.digest(h, k, "sha256"), suite)

    def next(self):
        return Generation(self.number + 1, expand(self.secret, b"wa-sidecar/1 ratchet", 32), self.suite)

    def nonce(self, counter):
        return bytes(a ^ b for a, b in zip(self.iv, bytes(4) + counter.to_bytes(8, "big")))


class Schedule:
    """The generation that a counter belongs to; it only goes forward, as the counters do."""

    def __init__(self, k, h, suite):
        self.generation = Generation.first(k, h, suite)

    def at(self, counter):
        number = counter >> GENERATION_BITS
        if number < self.generation.number:
            raise ValueError("that generation is erased")
        while self.generation.number < number:
            self.generation = self.generation.next()
        return self.generation
