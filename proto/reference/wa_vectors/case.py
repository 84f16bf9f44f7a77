"""The frame of every case, and values that are fixed for all of them."""

import hashlib


def ok(name, spec, why, **fields):
    return {"name": name, "spec": spec, "expect": "ok", "why": why} | fields


def refuse(name, spec, error, why, **fields):
    return {"name": name, "spec": spec, "expect": "refuse", "error": error, "why": why} | fields


def seed(label, size=32):
    """Bytes that look random and are the same in every run."""
    out, block = b"", 0
    while len(out) < size:
        out += hashlib.sha256(f"wa-sidecar vectors: {label} {block}".encode()).digest()
        block += 1
    return out[:size]


def flip(data, at, mask=1):
    out = bytearray(data)
    out[at] ^= mask
    return bytes(out)


def same(got, wanted, what):
    """A taken case must also come to what the file says."""
    if got != wanted:
        raise AssertionError(f"{what}: {got!r}, not {wanted!r}")
