"""A link without sockets, clocks or randomness (SPEC 5 to 12): bytes and the time come in, frames and events go out.

Order of calls: `feed` what arrived and act on its events; call the mutators (`open_stream`, `send`, `fin`, `reset`, `stop`,
`grant`, `yield_credit`, `goaway`, `rekey`) as the apps ask; `tick` now and then; write what `transmit` returns until it
returns None. Any of them may raise Fatal: then the connection is reset and every app of it too. Times are monotonic ms.

Events: ("open", id, service) ("data", id, bytes) ("fin", id) ("reset", id, code) ("stop", id, code) ("credit", id)
("yielded", id) ("goaway", code) ("pong", round_trip, clock) ("confirmed",) ("rekeyed",) ("rekey_refused",)
"""

import collections

from . import message as m
from .errors import Fatal, Refused
from .frame import HEADER, Mapping, Opener, Sealer
from .noise import Handshake
from .streams import BOUND, Stream

PING_EVERY = 1000
DEAD_AFTER = 11000
PONG_IN_TIME = 1000
FRAME_0_LENGTH = 512
REKEY_ANSWER = 30000
GOAWAY_ANSWER = 30000
REKEY_RETRY = 60000
EPOCH_MAX = 2 * 3600 * 1000
IDS_SOFT = 1 << 31
CHUNK = 16384
FRAME_PLAINTEXT = 65536


class Link:
    """`written`: at the initiator when message 1 was written, at the responder when message 2 was. `base`: the own
    instant of the clock in the own handshake message. `ephemeral()` draws a private key, `psks()` are the secrets in force."""

    def __init__(self, initiator, established, now, written, base, ephemeral, psks):
        self.initiator = initiator
        self.established = established
        self.ephemeral = ephemeral
        self.psks = psks
        self.base = base
        self.h = established.h
        self.mapping = Mapping(established.peer_clock, written) if initiator else None
        self.written = written
        self.confirmed = initiator
        self.frame_0_due = initiator
        own, peer = self._own_and_peer(established.k_i, established.k_r)
        self.sealer = Sealer(own, established.h, established.suite)
        self.opener = Opener(peer, established.h, established.suite)

        self.streams = {}
        self.last_id = 0
        self.goaway_sent = self.goaway_sealed = self.goaway_received = False
        self.goaway_at = None

        self.inbox = bytearray()
        self.outbox = collections.deque()
        self.credits = {}
        self.pong_due = None
        self.rekey_out = None
        self.ping_due = False
        self.ping_token = 0
        self.ping_sealed_at = None
        self.heard_at = self.epoch_at = now
        self.ping_at = None

        self.rekey_state = None  # initiator: "asking", "asked", "confirming"; responder: "answering", "switching"
        self.rekey_since = None
        self.rekey_not_before = now
        self._rekey_noise = self._next_keys = None
        if initiator:
            self.ping(now)

    def _own_and_peer(self, k_i, k_r):
        return (k_i, k_r) if self.initiator else (k_r, k_i)

    # What arrived

    def feed(self, data, now):
        """Events of every whole frame in what has arrived so far. `now`: when it arrived."""
        self.inbox += data
        while len(self.inbox) >= HEADER:
            length = self.opener.check_length(self.inbox)
            if not self.confirmed and length > FRAME_0_LENGTH:
                raise Fatal("confirmation", f"frame 0 of length {length}")
            if len(self.inbox) < HEADER + length:
                return
            frame = bytes(self.inbox[: HEADER + length])
            del self.inbox[: HEADER + length]
            yield from self._frame(frame, now)

    def _frame(self, frame, now):
        stamp = int.from_bytes(frame[12:20], "big")
        if not self.confirmed:
            plaintext = self.opener.open(frame)
            messages = list(m.parse(plaintext))
            if len(messages) != 1 or messages[0]["type"] != "PING":
                raise Fatal("confirmation", "frame 0 is not exactly one PING")
            self.mapping = Mapping(stamp, self.written)
            self.confirmed = True
            yield ("confirmed",)
        else:
            plaintext = self.opener.open(frame, self.mapping, now)
            messages = m.parse(plaintext)
        self.heard_at = now
        last = None
        for message in messages:
            if last is not None:
                raise Fatal("rekey", f"a message behind {last}")
            switched, events = self._message(message, stamp, now)
            if switched:
                last = message["type"]
            yield from events
        if last is not None:
            self._switch_receiver(now)
            yield ("rekeyed",)

    def _message(self, message, stamp, now):
        kind = message["type"]
        if kind in (m.BY_RESPONDER if not self.initiator else m.BY_INITIATOR):
            raise Fatal("wrong_side", kind)
        if kind in ("REKEY1", "REKEY2", "REKEY3"):
            return getattr(self, "_on_" + kind.lower())(message, now)
        if kind == "PONG":
            return False, self._on_pong(message, stamp, now)
        return False, getattr(self, "_on_" + kind.lower())(message)

    def _on_open(self, message):
        ident = message["id"]
        if ident != self.last_id + 1:
            raise Fatal("stream_id", f"OPEN of {ident} after {self.last_id}")
        if self.goaway_received:
            raise Fatal("goaway", "OPEN after GOAWAY")
        if len(self.streams) >= self.established.max_streams:
            raise Fatal("stream_limit", f"more than {self.established.max_streams}")
        self._new_stream(ident, message["service"])
        return [("open", ident, message["service"])]

    def _new_stream(self, ident, service):
        self.last_id = ident
        self.streams[ident] = Stream(ident, service, self.established.own_window, self.established.peer_window)

    def _stream(self, message, closed_is_fatal):
        ident = message["id"]
        if ident in self.streams:
            return self.streams[ident]
        if ident == 0 or ident > self.last_id:
            raise Fatal("stream_id", f"{message['type']} on stream {ident}, which was never opened")
        if closed_is_fatal:
            raise Fatal("stream_state", f"{message['type']} on stream {ident}, which is closed")
        return None

    def _on_data(self, message):
        stream = self._stream(message, True)
        if stream.on_data(len(message["data"])):
            return [("data", stream.id, message["data"])]
        return []

    def _on_fin(self, message):
        stream = self._stream(message, True)
        stream.on_fin(message["offset"])
        self._sweep(stream)
        return [("fin", stream.id)] if stream.own_end != "reset" else []

    def _on_reset(self, message):
        stream = self._stream(message, True)
        quiet = stream.own_end == "reset"
        if stream.on_reset():
            self.reset(stream.id, m.ANSWER)
        self._sweep(stream)
        return [] if quiet else [("reset", stream.id, message["code"])]

    def _on_yield(self, message):
        stream = self._stream(message, True)
        return [("yielded", stream.id)] if stream.on_yield(message["limit"]) else []

    def _on_credit(self, message):
        stream = self._stream(message, False)
        if stream is not None and stream.on_credit(message["limit"]):
            return [("credit", stream.id)]
        return []

    def _on_stop(self, message):
        stream = self._stream(message, False)
        if stream is None:
            return []
        if stream.on_stop():
            self.reset(stream.id, m.ANSWER)
            return [("stop", stream.id, message["code"])]
        return []

    def _on_ping(self, message):
        self.pong_due = message["token"]
        return []

    def _on_pong(self, message, stamp, now):
        if self.ping_sealed_at is None or message["token"] != self.ping_token:
            return []
        round_trip = now - self.ping_sealed_at
        if round_trip <= PONG_IN_TIME:
            self.mapping = Mapping(stamp, self.ping_sealed_at)
        self.ping_sealed_at = None
        return [("pong", round_trip, message["clock"])]

    def _on_goaway(self, message):
        if self.goaway_received:
            raise Fatal("goaway", "a second GOAWAY")
        self.goaway_received = True
        self.goaway(m.SHUTDOWN)
        return [("goaway", message["code"])]

    def _sweep(self, stream):
        if not stream.live:
            self.streams.pop(stream.id, None)

    # REKEY. Each handler returns (does the receiver switch behind this message?, events).

    def _rekey_prologue(self):
        return b"rekey" + self.established.prologue + self.h

    def _on_rekey1(self, message, now):
        if self.rekey_state is not None:
            raise Fatal("rekey", "REKEY1 while one is under way")
        self.rekey_state = "answering"
        for psk in self.psks():
            noise = Handshake(psk, self._rekey_prologue(), self.ephemeral())
            try:
                noise.read_1(message["noise"])
            except Refused:
                continue
            try:
                answer = noise.write_2(b"")
            except Refused:
                raise Fatal("rekey", "REKEY1 with an ephemeral key of low order") from None
            self._next_keys = (*noise.split(), noise.h)
            self.rekey_out = m.make("REKEY2", status=0, noise=answer)
            return False, []
        self.rekey_out = m.make("REKEY2", status=1, noise=bytes(m.NOISE))
        return False, []

    def _on_rekey2(self, message, now):
        if self.rekey_state != "asked":
            raise Fatal("rekey", "REKEY2 that was not asked for")
        if message["status"] != 0:
            self.rekey_state = None
            self.rekey_not_before = now + REKEY_RETRY
            return False, [("rekey_refused",)]
        try:
            self._rekey_noise.read_2(message["noise"])
        except Refused:
            raise Fatal("rekey", "REKEY2 does not authenticate") from None
        self._next_keys = (*self._rekey_noise.split(), self._rekey_noise.h)
        self.rekey_state = "confirming"
        self.rekey_out = m.make("REKEY3")
        return True, []

    def _on_rekey3(self, message, now):
        if self.rekey_state != "switching":
            raise Fatal("rekey", "REKEY3 that was not asked for")
        return True, []

    def _switch_receiver(self, now):
        k_i, k_r, h = self._next_keys
        self.opener = Opener(self._own_and_peer(k_i, k_r)[1], h, self.established.suite)
        if not self.initiator:
            self._end_rekey(now)

    def _switch_sender(self, now):
        k_i, k_r, h = self._next_keys
        self.sealer = Sealer(self._own_and_peer(k_i, k_r)[0], h, self.established.suite)
        if self.initiator:
            self._end_rekey(now)

    def _end_rekey(self, now):
        self.h = self._next_keys[2]
        self.rekey_state = self._next_keys = self._rekey_noise = None
        self.epoch_at = now

    def rekey(self, now):
        """Starts an exchange unless one is under way or was refused less than 60 s ago."""
        if not self.initiator or self.rekey_state is not None or now < self.rekey_not_before:
            return False
        self._rekey_noise = Handshake(self.psks()[0], self._rekey_prologue(), self.ephemeral())
        self.rekey_out = m.make("REKEY1", noise=self._rekey_noise.write_1(b""))
        self.rekey_state = "asking"
        self.rekey_since = now
        return True

    # What the apps and the timers ask for

    def open_stream(self, service=b""):
        """The id, or None if this link takes no more."""
        full = len(self.streams) >= self.established.max_streams
        if not self.initiator or full or self.goaway_sent or self.last_id >= IDS_SOFT:
            return None
        self._new_stream(self.last_id + 1, service)
        self.outbox.append(m.make("OPEN", id=self.last_id, service=service))
        return self.last_id

    def send(self, ident, data):
        stream = self.streams[ident]
        if stream.own_end or len(data) > stream.credit:
            raise ValueError("beyond the credit or after the end")
        stream.sent += len(data)
        for at in range(0, len(data), CHUNK):
            self.outbox.append(m.make("DATA", id=ident, data=bytes(data[at : at + CHUNK])))

    def fin(self, ident):
        stream = self.streams[ident]
        if stream.own_end is None:
            stream.own_end = "fin"
            self.outbox.append(m.make("FIN", id=ident, offset=stream.sent))

    def reset(self, ident, code):
        stream = self.streams[ident]
        if stream.own_end is None:
            stream.own_end = "reset"
            self.outbox.append(m.make("RESET", id=ident, code=code))

    def broken(self, ident, code=m.APP_RESET):
        """The app's connection broke: RESET, or STOP if FIN went before (SPEC 9.4)."""
        stream = self.streams.get(ident)
        if stream is None:
            return
        if stream.own_end is None:
            self.reset(ident, code)
        elif stream.own_end == "fin" and stream.peer_end is None and not stream.stop_sent:
            stream.stop_sent = True
            self.outbox.append(m.make("STOP", id=ident, code=code))

    def grant(self, ident, limit):
        """CREDIT up to the absolute offset `limit`; nothing if the peer needs none or has as much."""
        stream = self.streams.get(ident)
        if stream is None or stream.peer_end or stream.own_end == "reset" or not stream.given < limit < BOUND:
            return
        stream.given = limit
        if ident not in self.credits:
            self.outbox.append(m.make("CREDIT", id=ident, limit=0))  # the latest limit is filled in when it is sealed
        self.credits[ident] = limit

    def yield_credit(self, ident):
        """Hands back what lies more than a window beyond what was sent."""
        stream = self.streams.get(ident)
        if stream is None or stream.own_end or stream.credit <= stream.peer_window:
            return False
        self.outbox.append(m.make("YIELD", id=ident, limit=stream.limit))
        stream.limit = stream.sent + stream.peer_window
        return True

    def goaway(self, code):
        if not self.goaway_sent:
            self.goaway_sent = True
            self.outbox.append(m.make("GOAWAY", code=code))

    def ping(self, now):
        self.ping_due = True
        self.ping_at = now

    def tick(self, now):
        """The timers of SPEC 10, 11 and 12."""
        if now - self.heard_at > DEAD_AFTER:
            raise Fatal("dead", "no frame for 11 s")
        if self.rekey_state in ("asked", "switching") and now - self.rekey_since > REKEY_ANSWER:
            raise Fatal("rekey", "no answer in 30 s")
        if self.goaway_sealed and not self.goaway_received and now - self.goaway_at >= GOAWAY_ANSWER:
            raise Fatal("goaway", "no answer in 30 s")
        if now - self.epoch_at > EPOCH_MAX:
            self.goaway(m.KEYS_TOO_OLD)
        if self.confirmed and (self.ping_at is None or now - self.ping_at >= PING_EVERY):
            self.ping(now)

    @property
    def finished(self):
        """GOAWAY both ways, nothing live, nothing to send: the connection may end, in order."""
        idle = not self.outbox and self.rekey_out is None
        return self.goaway_sealed and self.goaway_received and not self.streams and idle

    # What goes out

    def stamp(self, now):
        return self.established.own_clock + (now - self.base)

    def transmit(self, now):
        """One sealed frame, to be written at once, or None."""
        if not self.confirmed:
            return None
        batch, size = [], 0
        room = FRAME_PLAINTEXT - 128  # for a REKEY message, which is the last of its frame

        def add(message):
            nonlocal size
            batch.append(message)
            size += len(m.encode(message))

        frame_0, self.frame_0_due = self.frame_0_due, False
        if self.ping_due:
            self.ping_due = False
            self.ping_token += 1
            self.ping_sealed_at = now
            add(m.make("PING", token=self.ping_token, clock=self.stamp(now)))
        if not frame_0:
            if self.pong_due is not None:
                add(m.make("PONG", token=self.pong_due, clock=self.stamp(now)))
                self.pong_due = None
            while self.outbox and size + len(m.encode(self.outbox[0])) <= room:
                message = self.outbox.popleft()
                if message["type"] == "CREDIT":
                    message["limit"] = self.credits.pop(message["id"], 0)
                    stream = self.streams.get(message["id"])
                    if stream is None or stream.peer_end or stream.own_end == "reset":
                        continue
                add(message)
            if self.rekey_out is not None:
                add(self.rekey_out)
        if not batch:
            return None
        frame = self.sealer.seal(m.encode_all(batch), self.stamp(now))
        for message in batch:
            self._sealed(message, now)
        return frame

    def _sealed(self, message, now):
        kind = message["type"]
        if kind in ("FIN", "RESET"):
            stream = self.streams[message["id"]]
            stream.own_end_sealed = True
            self._sweep(stream)
        elif kind == "GOAWAY":
            self.goaway_sealed = True
            self.goaway_at = now
        elif kind == "REKEY1":
            self.rekey_out = None
            self.rekey_state = "asked"
        elif kind == "REKEY2":
            self.rekey_out = None
            self.rekey_since = now
            if message["status"] == 0:
                self.rekey_state = "switching"
                self._switch_sender(now)
            else:
                self.rekey_state = None
        elif kind == "REKEY3":
            self.rekey_out = None
            self._switch_sender(now)
