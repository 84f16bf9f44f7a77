"""The secret and the pre-shared key (SPEC 2)."""

import base64
import hashlib
import re

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .errors import Refused

NAME = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")
PREFIX = b"wa1-"
DEFAULT_DEPLOYMENT = b"default"


def is_name(value):
    """The form of deployment names, of names in the handshake and of services."""
    return NAME.match(value) is not None


def of_file(content):
    """A secret kept in a file: its bytes without one trailing LF or CR LF."""
    if content.endswith(b"\r\n"):
        return content[:-2]
    return content[:-1] if content.endswith(b"\n") else content


def check_of(key):
    return hashlib.sha256(b"wa-sidecar secret 1" + key).digest()[:4]


def generated(key):
    """The secret that says `key`."""
    return PREFIX + base64.urlsafe_b64encode(key + check_of(key))


def key_of(secret, deployment=DEFAULT_DEPLOYMENT, allow_short=False):
    """The 32 bytes of `key`, out of a generated secret or a passphrase."""
    if not is_name(deployment):
        raise Refused("bad_deployment", "1 to 64 bytes of A-Z a-z 0-9 . _ -")
    if not secret:
        raise Refused("empty", "an empty secret")
    if secret.startswith(PREFIX):
        return _generated_key(secret[len(PREFIX) :])
    try:
        characters = len(secret.decode("utf-8"))
    except UnicodeDecodeError:
        characters = len(secret)
    if characters < 16 and not allow_short:
        raise Refused("too_short", f"{characters} characters")
    return Argon2id(
        salt=b"wa-sidecar/1 " + deployment, length=32, iterations=5, lanes=1, memory_cost=7168
    ).derive(secret)


def _generated_key(text):
    if len(text) != 48:
        raise Refused("bad_length", f"{len(text)} characters behind the prefix")
    if not re.match(rb"[A-Za-z0-9_-]{48}\Z", text):
        raise Refused("bad_alphabet", "not base64url")
    raw = base64.urlsafe_b64decode(text)
    if raw[32:] != check_of(raw[:32]):
        raise Refused("bad_check", "mistyped")
    return raw[:32]


def psk_of(secret, deployment=DEFAULT_DEPLOYMENT, allow_short=False):
    return psk_of_key(key_of(secret, deployment, allow_short), deployment)


def psk_of_key(key, deployment):
    info = b"psk" + bytes([len(deployment)]) + deployment
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=b"wa-sidecar/1", info=info).derive(key)
