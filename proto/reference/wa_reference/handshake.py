"""The two handshake messages and what each side concludes from the other's (SPEC 3)."""

from dataclasses import dataclass, field

from . import payload
from .errors import Refused
from .noise import Handshake
from .secret import DEFAULT_DEPLOYMENT

VERSION = 1
SIZE = 512
MAX_SKEW = 10000
REPLAY_MS = 21000
SOFTWARE = b"wa-reference/1"


def prologue(deployment, version=VERSION, initiator=1, responder=2):
    return b"wa-sidecar" + bytes([version, initiator, responder, len(deployment)]) + deployment


@dataclass
class Endpoint:
    """What one process says of itself in every handshake."""

    instance: bytes
    deployment: bytes = DEFAULT_DEPLOYMENT
    name: bytes | None = None
    peer_name: bytes | None = None
    suites: bytes = bytes([payload.CHACHA])
    window: int = 65536
    max_streams: int = 1024
    software: bytes = SOFTWARE
    features: int = 0

    def common_fields(self, clock):
        fields = {
            "clock": clock,
            "instance": self.instance,
            "features": self.features,
            "software": self.software,
        }
        if self.name is not None:
            fields["name"] = self.name
        return fields

    def link_fields(self, suites):
        return {"suites": suites, "window": self.window, "max_streams": self.max_streams}


@dataclass
class Established:
    """Everything that a link starts from."""

    h: bytes
    k_i: bytes
    k_r: bytes
    suite: int
    prologue: bytes
    own_window: int
    peer_window: int
    max_streams: int
    own_clock: int
    peer_clock: int
    peer: dict = field(default_factory=dict)


class Dial:
    """The initiator: `message_1` goes out, `conclude` takes what came back."""

    def __init__(self, psk, own, e, clock):
        self.own = own
        self.clock = clock
        self.prologue = prologue(own.deployment)
        self.noise = Handshake(psk, self.prologue, e)
        fields = own.common_fields(clock) | own.link_fields(own.suites)
        if own.peer_name is not None:
            fields["peer_name"] = own.peer_name
        self.message_1 = bytes([VERSION]) + self.noise.write_1(payload.encode(fields))

    def conclude(self, message_2):
        if len(message_2) != SIZE:
            raise Refused("unauthenticated", f"{len(message_2)} bytes, then the end")
        if message_2[0] != VERSION:
            raise Refused("version", f"{message_2[0]}")
        fields = payload.parse(self.noise.read_2(message_2[1:]), 2)
        code, figure = fields["result"]
        if code != payload.ACCEPTED:
            raise Refused("refused_" + payload.result_name(code), f"{figure}")
        if fields["suites"][0] not in self.own.suites or fields["suites"][0] not in (payload.CHACHA, payload.AES):
            raise Refused("suite_not_offered", fields["suites"].hex())
        if self.own.peer_name is not None and fields.get("name") != self.own.peer_name:
            raise Refused("name_mismatch", f"{fields.get('name')}")
        return _established(self.noise, self.prologue, self.own, self.clock, fields)


def _established(noise, prologue_, own, clock, peer, suite=None):
    k_i, k_r = noise.split()
    return Established(
        h=noise.h,
        k_i=k_i,
        k_r=k_r,
        suite=peer["suites"][0] if suite is None else suite,
        prologue=prologue_,
        own_window=own.window,
        peer_window=peer["window"],
        max_streams=min(own.max_streams, peer["max_streams"]),
        own_clock=clock,
        peer_clock=peer["clock"],
        peer=peer,
    )


class ReplayCache:
    """Ephemeral keys seen in the last 21 s of monotonic time, exact and bounded."""

    def __init__(self, capacity=65536):
        self.capacity = capacity
        self.seen = {}

    def _expire(self, now):
        for e, since in list(self.seen.items()):
            if now - since < REPLAY_MS:
                break
            del self.seen[e]

    def __contains__(self, item):
        e, now = item
        self._expire(now)
        return e in self.seen

    def enter(self, e, now):
        """False: full."""
        self._expire(now)
        if len(self.seen) >= self.capacity:
            return False
        self.seen[e] = now
        return True


@dataclass
class Answer:
    """What the responder does on message 1: close (no message), refuse or accept."""

    word: str
    message_2: bytes | None = None
    established: Established | None = None


class Responder:
    """The responder's order of steps (SPEC 3.4) and the state that it keeps across links."""

    def __init__(self, own, psks, cache=None):
        self.own = own
        self.psks = psks
        self.cache = cache or ReplayCache()
        self.draining = False
        self.room = lambda: True
        self.links = lambda: 0
        self._refused_at = []

    def answer(self, message_1, e, clock, now):
        """`e`: a fresh private ephemeral key; `clock`: wall clock; `now`: monotonic; both in ms."""
        if len(message_1) != SIZE:
            return Answer("bad_length")
        if message_1[0] != VERSION:
            return Answer("version")
        noise, plaintext = self._authenticate(message_1[1:], e)
        if noise is None:
            return Answer("unauthenticated")
        if (noise.remote, now) in self.cache:
            return Answer("replay")
        try:
            fields = payload.parse(plaintext, 1)
        except Refused:
            return self._uncached(noise, payload.MALFORMED, 0, clock, now)
        skew = clock - fields["clock"]
        if abs(skew) > MAX_SKEW:
            return self._uncached(noise, payload.CLOCK_SKEW, max(-(1 << 63), min(skew, (1 << 63) - 1)), clock, now)
        if not self.cache.enter(noise.remote, now):
            return self._refuse(noise, payload.BUSY, self.links(), clock)
        if "peer_name" in fields and fields["peer_name"] != self.own.name:
            return self._refuse(noise, payload.PEER_NAME, 0, clock)
        if fields["instance"] == self.own.instance:
            return self._refuse(noise, payload.SELF_DIAL, 0, clock)
        if self.draining:
            return self._refuse(noise, payload.DRAINING, 0, clock)
        suite = self._suite(fields["suites"])
        if suite is None:
            return self._refuse(noise, payload.NO_COMMON_SUITE, 0, clock)
        if not self.room():
            return self._refuse(noise, payload.BUSY, self.links(), clock)
        accepted = self.own.common_fields(clock) | self.own.link_fields(bytes([suite]))
        accepted["result"] = (payload.ACCEPTED, 0)
        answer = self._write(noise, "accepted", accepted)
        if answer.message_2 is not None:
            answer.established = _established(noise, prologue(self.own.deployment), self.own, clock, fields, suite)
        return answer

    def _authenticate(self, message, e):
        for psk in self.psks():
            noise = Handshake(psk, prologue(self.own.deployment), e)
            try:
                return noise, noise.read_1(message)
            except Refused:
                pass
        return None, None

    def _suite(self, offered):
        for suite in (payload.AES, payload.CHACHA):
            if suite in offered and suite in self.own.suites:
                return suite
        return None

    def _uncached(self, noise, code, figure, clock, now):
        self._refused_at = [since for since in self._refused_at if now - since < 1000]
        if len(self._refused_at) >= 5:
            return Answer("refusal_limit")
        self._refused_at.append(now)
        return self._refuse(noise, code, figure, clock)

    def _refuse(self, noise, code, figure, clock):
        fields = self.own.common_fields(clock) | {"result": (code, figure)}
        return self._write(noise, payload.result_name(code), fields)

    def _write(self, noise, word, fields):
        """Here is the first X25519: an ephemeral key of low order closes, whatever the answer would have been."""
        try:
            return Answer(word, bytes([VERSION]) + noise.write_2(payload.encode(fields)))
        except Refused:
            return Answer("unauthenticated")
