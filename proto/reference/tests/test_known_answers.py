"""Answers that others published: the parts that every vector here is built from."""

import hmac
import unittest

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wa_reference import noise
from wa_reference.errors import Refused
from wa_reference.keys import expand

x = bytes.fromhex


class Noise(unittest.TestCase):
    """NNpsk0_25519_ChaChaPoly_SHA256 of the cacophony vectors, which the snow crate ships too."""

    PROLOGUE = x("4a6f686e2047616c74")
    PSK = x("54686973206973206d7920417573747269616e20706572737065637469766521")
    E_I = x("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a")
    E_R = x("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b")
    HASH = x("f4d03dc34495c95729ea6de9e1b59004b59733102488b3e24bc441e0be208eaf")
    MESSAGES = [
        (
            "4c756477696720766f6e204d69736573",
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
            "79b962b8aff8485742ac32f905ba45369e2465fb59e138a93d67a0d1266b6a54",
        ),
        (
            "4d757272617920526f746862617264",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
            "d6062704d5a9c422a8e834423f8c1feada7e8d0d910a1a2cd030fb584221e3",
        ),
        ("462e20412e20486179656b", "e632c3763d7669067383433197a3baddf146e9e70ad4b4e9e59e0f"),
        ("4361726c204d656e676572", "64c6bee32ea91c8474bb4c21d7a700109ad45af77b29764ba5eb1e"),
        (
            "4a65616e2d426170746973746520536179",
            "e2fa0bed0603b62d3ccac2ecabbf3fe33f3e86514909b323361626266cb2471cc8",
        ),
        (
            "457567656e2042f6686d20766f6e2042617765726b",
            "0c01dc9cec1fe4ddd692e8dd32188aa351088dc91183639a53b57aa4692b5ebdef8b8ca111",
        ),
    ]

    def sides(self):
        initiator = noise.Handshake(self.PSK, self.PROLOGUE, self.E_I)
        return initiator, noise.Handshake(self.PSK, self.PROLOGUE, self.E_R)

    def test_handshake_and_transport(self):
        initiator, responder = self.sides()
        (payload_1, message_1), (payload_2, message_2) = [(x(a), x(b)) for a, b in self.MESSAGES[:2]]
        self.assertEqual(initiator.write_1(payload_1), message_1)
        self.assertEqual(responder.read_1(message_1), payload_1)
        self.assertEqual(responder.write_2(payload_2), message_2)
        self.assertEqual(initiator.read_2(message_2), payload_2)
        self.assertEqual(initiator.h, self.HASH)
        self.assertEqual(responder.h, self.HASH)
        self.assertEqual(initiator.split(), responder.split())
        for n, (payload, message) in enumerate(self.MESSAGES[2:]):
            key = initiator.split()[n % 2]
            nonce = bytes(4) + (n // 2).to_bytes(8, "little")
            self.assertEqual(ChaCha20Poly1305(key).encrypt(nonce, x(payload), None), x(message))

    def test_flipped_bits_do_not_open(self):
        for at in range(0, 64, 5):
            _, responder = self.sides()
            message = bytearray(x(self.MESSAGES[0][1]))
            message[at] ^= 1
            with self.assertRaises(Refused) as refused:
                responder.read_1(bytes(message))
            self.assertEqual(refused.exception.word, "unauthenticated")


class Primitives(unittest.TestCase):
    def test_rfc_8439_section_2_8_2(self):
        key = bytes(range(0x80, 0xA0))
        sunscreen = (
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
        )
        sealed = ChaCha20Poly1305(key).encrypt(x("070000004041424344454647"), sunscreen, x("50515253c0c1c2c3c4c5c6c7"))
        self.assertEqual(sealed[:16], x("d31a8d34648e60db7b86afbc53ef7ec2"))
        self.assertEqual(sealed[-16:], x("1ae10b594f09e26a7e902ecbd0600691"))

    def test_sp_800_38d_case_16(self):
        key = x("feffe9928665731c6d6a8f9467308308" * 2)
        plaintext = x(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        )
        aad = x("feedfacedeadbeeffeedfacedeadbeefabaddad2")
        sealed = AESGCM(key).encrypt(x("cafebabefacedbaddecaf888"), plaintext, aad)
        self.assertEqual(sealed[-16:], x("76fc6ece0f4e1768cddf8853bb2d551b"))

    def test_rfc_5869_case_1(self):
        ikm, salt, info = b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA))
        prk = hmac.digest(salt, ikm, "sha256")
        self.assertEqual(prk, x("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"))
        okm = x("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
        self.assertEqual(expand(prk, info, 42), okm)
        self.assertEqual(HKDF(algorithm=hashes.SHA256(), length=42, salt=salt, info=info).derive(ikm), okm)

    def test_rfc_9106_section_5_3(self):
        derived = Argon2id(
            salt=b"\x02" * 16, length=32, iterations=3, lanes=4, memory_cost=32, ad=b"\x04" * 12, secret=b"\x03" * 8
        ).derive(b"\x01" * 32)
        self.assertEqual(derived, x("0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"))


if __name__ == "__main__":
    unittest.main()
