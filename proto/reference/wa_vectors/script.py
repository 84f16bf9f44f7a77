"""What streams/ and rekey/ share: a link under test, driven step by step.

A step receives one frame or does one thing; then everything that is due is sealed, and nothing is sealed in between."""

from wa_reference import message as m
from wa_reference.frame import HEADER, Opener, Sealer
from wa_reference.handshake import Established, prologue
from wa_reference.link import Link
from wa_reference.payload import CHACHA

from .case import same, seed

CLOCK_I, CLOCK_R = 1_750_000_000_000, 1_750_000_001_000
NOT_ANSWERS = {"PING", "CREDIT", "YIELD", "DATA", "OPEN"}


def established(own_window, peer_window, max_streams, initiator, k_i, k_r, h, suite=CHACHA):
    clocks = (CLOCK_I, CLOCK_R) if initiator else (CLOCK_R, CLOCK_I)
    return Established(
        h=h,
        k_i=k_i,
        k_r=k_r,
        suite=suite,
        prologue=prologue(b"default"),
        own_window=own_window,
        peer_window=peer_window,
        max_streams=max_streams,
        own_clock=clocks[0],
        peer_clock=clocks[1],
    )


class Driven:
    """The link under test and what it has done."""

    def __init__(self, role, start, ephemeral=lambda: seed("an ephemeral of no interest"), psks=lambda: [seed("psk")]):
        self.initiator = role == "initiator"
        self.link = Link(self.initiator, start, 0, 0, 0, ephemeral, psks)
        own = start.k_i if self.initiator else start.k_r
        self.own_opener = Opener(own, start.h, start.suite)
        self.apps = {}

    def receive(self, frame, now):
        for kind, *rest in self.link.feed(frame, now):
            if not rest:
                continue
            if kind == "open":
                self.apps[rest[0]] = {"bytes": 0, "end": None}
            elif rest[0] not in self.apps:
                continue
            elif kind == "data":
                self.apps[rest[0]]["bytes"] += len(rest[1])
            elif kind in ("fin", "reset"):
                self.apps[rest[0]]["end"] = kind

    def do(self, step, now):
        link, act = self.link, step["do"]
        if act == "open":
            ident = link.open_stream(step.get("service", "").encode())
            same(ident, step["id"], "id")
            self.apps[ident] = {"bytes": 0, "end": None}
        elif act == "send":
            link.send(step["id"], bytes(step["bytes"]))
        elif act == "fin":
            link.fin(step["id"])
        elif act == "break":
            link.broken(step["id"])
            del self.apps[step["id"]]
        elif act == "credit":
            link.grant(step["id"], step["limit"])
        elif act == "goaway":
            link.goaway(step["code"])
        elif act == "rekey":
            same(link.rekey(now), True, "rekey")
        else:
            raise AssertionError(act)

    def flush(self, now):
        """What the link under test says that a case may name, opened as its peer would."""
        said = []
        while (frame := self.link.transmit(now)) is not None:
            assert len(frame) > HEADER
            messages = list(m.parse(self.own_opener.open(frame)))
            said += [message for message in messages if message["type"] not in NOT_ANSWERS]
            if messages[-1]["type"] == "REKEY3" or (messages[-1]["type"] == "REKEY2" and messages[-1]["status"] == 0):
                sealer = self.link.sealer
                self.own_opener = Opener.__new__(Opener)
                self.own_opener.schedule, self.own_opener.counter = sealer.schedule, 0
        return [_answer(message) for message in said]

    def live(self):
        return sorted(self.link.streams)


def _answer(message):
    out = m.printable(message)
    out.pop("clock", None)
    return out


def unordered(answers):
    return sorted(answers, key=repr)


def peer_sealer(role, start):
    return Sealer(start.k_r if role == "initiator" else start.k_i, start.h, start.suite)
