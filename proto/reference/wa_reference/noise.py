"""Noise_NNpsk0_25519_ChaChaPoly_SHA256 (Noise revision 34), nothing else of Noise.

    -> psk, e
    <- e, ee
"""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .errors import Refused

NAME = b"Noise_NNpsk0_25519_ChaChaPoly_SHA256"


def _hkdf(chaining_key, ikm, outputs):
    prk = hmac.digest(chaining_key, ikm, "sha256")
    block, out = b"", []
    for n in range(1, outputs + 1):
        block = hmac.digest(prk, block + bytes([n]), "sha256")
        out.append(block)
    return out


class Symmetric:
    """The SymmetricState of Noise section 5.2 with its CipherState."""

    def __init__(self, prologue):
        self.h = hashlib.sha256(NAME).digest() if len(NAME) > 32 else NAME.ljust(32, b"\0")
        self.ck = self.h
        self.k = None
        self.n = 0
        self.mix_hash(prologue)

    def mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def mix_key(self, ikm):
        self.ck, self.k = _hkdf(self.ck, ikm, 2)
        self.n = 0

    def mix_key_and_hash(self, ikm):
        self.ck, temp_h, self.k = _hkdf(self.ck, ikm, 3)
        self.mix_hash(temp_h)
        self.n = 0

    def _nonce(self):
        nonce = bytes(4) + self.n.to_bytes(8, "little")
        self.n += 1
        return nonce

    def encrypt_and_hash(self, plaintext):
        ciphertext = ChaCha20Poly1305(self.k).encrypt(self._nonce(), plaintext, self.h)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext):
        try:
            plaintext = ChaCha20Poly1305(self.k).decrypt(self._nonce(), ciphertext, self.h)
        except InvalidTag:
            raise Refused("unauthenticated", "the payload does not open") from None
        self.mix_hash(ciphertext)
        return plaintext

    def split(self):
        return tuple(_hkdf(self.ck, b"", 2))


def public_of(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def _dh(private, public):
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


class Handshake:
    """One exchange. `e` is the private ephemeral key of this side; after message 2 `h` and `split()` stand."""

    def __init__(self, psk, prologue, e):
        self.state = Symmetric(prologue)
        self.psk = psk
        self.e = e

    @property
    def h(self):
        return self.state.h

    def split(self):
        """(k_i, k_r)"""
        return self.state.split()

    def _mix_e(self, public):
        self.state.mix_hash(public)
        self.state.mix_key(public)

    def write_1(self, payload):
        self.state.mix_key_and_hash(self.psk)
        public = public_of(self.e)
        self._mix_e(public)
        return public + self.state.encrypt_and_hash(payload)

    def read_1(self, message):
        if len(message) < 48:
            raise Refused("unauthenticated", "too short for a Noise message")
        self.state.mix_key_and_hash(self.psk)
        self.remote = message[:32]
        self._mix_e(self.remote)
        return self.state.decrypt_and_hash(message[32:])

    def write_2(self, payload):
        public = public_of(self.e)
        self._mix_e(public)
        self._mix_ee()
        return public + self.state.encrypt_and_hash(payload)

    def read_2(self, message):
        if len(message) < 48:
            raise Refused("unauthenticated", "too short for a Noise message")
        self.remote = message[:32]
        self._mix_e(self.remote)
        self._mix_ee()
        return self.state.decrypt_and_hash(message[32:])

    def _mix_ee(self):
        try:
            self.state.mix_key(_dh(self.e, self.remote))
        except ValueError:
            raise Refused("unauthenticated", "the ephemeral key is of low order") from None
