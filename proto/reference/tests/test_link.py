"""Two links in memory, on a clock of their own."""

import itertools
import random
import unittest

from wa_reference import handshake, payload
from wa_reference import message as m
from wa_reference.errors import Fatal, Refused
from wa_reference.link import Link

SKEW = 4000


class Pair:
    """An initiator and a responder with a handshake behind them. `pump` carries every frame at once."""

    def __init__(self, window=4096, max_streams=4, suites=b"\1", psks_r=None):
        self.now = 1_000_000
        self.number = itertools.count(1)
        psk = bytes(range(32))
        own_i = handshake.Endpoint(b"i" * 16, suites=suites, window=window, max_streams=max_streams)
        own_r = handshake.Endpoint(b"r" * 16, suites=suites, window=window, max_streams=max_streams)
        dial = handshake.Dial(psk, own_i, self.ephemeral(), self.clock(0))
        responder = handshake.Responder(own_r, lambda: [psk])
        answer = responder.answer(dial.message_1, self.ephemeral(), self.clock(SKEW), self.now)
        self.i = Link(True, dial.conclude(answer.message_2), self.now, self.now, self.now, self.ephemeral, lambda: [psk])
        psks_r = psks_r or (lambda: [psk])
        self.r = Link(False, answer.established, self.now, self.now, self.now, self.ephemeral, psks_r)
        self.events = {self.i: [], self.r: []}

    def clock(self, skew):
        return 1_700_000_000_000 + self.now + skew

    def ephemeral(self):
        return next(self.number).to_bytes(32, "big")

    def step(self, source, delay=0):
        target = self.r if source is self.i else self.i
        frame = source.transmit(self.now)
        if frame is None:
            return False
        self.now += delay
        self.events[target] += target.feed(frame, self.now)
        return True

    def pump(self):
        while self.step(self.i) | self.step(self.r):
            pass

    def taken(self, link):
        events, self.events[link] = self.events[link], []
        return [event for event in events if event[0] != "pong"]


class Links(unittest.TestCase):
    def test_frame_0_is_one_ping(self):
        pair = Pair()
        pair.i.open_stream(b"6250")
        self.assertIsNone(pair.r.transmit(pair.now))
        pair.step(pair.i)
        self.assertEqual(pair.taken(pair.r), [("confirmed",)])
        pair.pump()
        self.assertEqual(pair.taken(pair.r), [("open", 1, b"6250")])

    def test_bytes_and_ends(self):
        for suites in (b"\1", b"\2\1"):
            pair = Pair(suites=suites)
            self.assertEqual(pair.i.established.suite, suites[0])
            ident = pair.i.open_stream()
            pair.i.send(ident, b"question")
            pair.i.fin(ident)
            pair.pump()
            self.assertEqual(pair.taken(pair.r)[1:], [("open", 1, b""), ("data", 1, b"question"), ("fin", 1)])
            pair.r.send(ident, b"answer")
            pair.r.fin(ident)
            pair.pump()
            self.assertEqual(pair.taken(pair.i), [("data", 1, b"answer"), ("fin", 1)])
            self.assertFalse(pair.i.streams or pair.r.streams)

    def test_credit_is_spent_granted_and_yielded(self):
        pair = Pair()
        ident = pair.i.open_stream()
        pair.i.send(ident, bytes(4096))
        with self.assertRaises(ValueError):
            pair.i.send(ident, b"x")
        pair.pump()
        pair.r.grant(ident, 30000)
        pair.r.grant(ident, 40000)
        pair.pump()
        self.assertEqual(pair.i.streams[ident].credit, 40000 - 4096)
        self.assertTrue(pair.i.yield_credit(ident))
        pair.pump()
        self.assertIn(("yielded", ident), pair.taken(pair.r))
        self.assertEqual(pair.i.streams[ident].limit, pair.r.streams[ident].given)
        self.assertEqual(pair.i.streams[ident].credit, 4096)

    def test_a_yield_that_crosses_a_credit_is_void(self):
        pair = Pair()
        ident = pair.i.open_stream()
        pair.pump()
        pair.r.grant(ident, 10000)
        pair.pump()
        pair.i.yield_credit(ident)
        pair.r.grant(ident, 20000)
        pair.pump()
        self.assertEqual(pair.i.streams[ident].limit, 20000)
        self.assertEqual(pair.r.streams[ident].given, 20000)

    def test_reset_is_answered_once(self):
        pair = Pair()
        ident = pair.i.open_stream()
        pair.pump()
        pair.taken(pair.r)
        pair.i.reset(ident, m.APP_RESET)
        pair.pump()
        self.assertEqual(pair.taken(pair.r), [("reset", ident, m.APP_RESET)])
        self.assertEqual(pair.taken(pair.i), [])
        self.assertFalse(pair.i.streams or pair.r.streams)

    def test_resets_cross(self):
        pair = Pair()
        ident = pair.i.open_stream()
        pair.pump()
        pair.i.reset(ident, m.APP_RESET)
        pair.r.reset(ident, m.BUSY)
        pair.pump()
        self.assertFalse(pair.i.streams or pair.r.streams)

    def test_stop_after_fin(self):
        pair = Pair()
        ident = pair.i.open_stream()
        pair.i.fin(ident)
        pair.pump()
        pair.taken(pair.r)
        pair.i.broken(ident)
        pair.pump()
        self.assertEqual(pair.taken(pair.r), [("stop", ident, m.APP_RESET)])
        self.assertEqual(pair.taken(pair.i), [("reset", ident, m.ANSWER)])
        self.assertFalse(pair.i.streams or pair.r.streams)

    def test_goaway_both_ways(self):
        pair = Pair()
        ident = pair.i.open_stream()
        pair.pump()
        pair.r.goaway(m.SHUTDOWN)
        pair.pump()
        self.assertIsNone(pair.i.open_stream())
        self.assertFalse(pair.i.finished or pair.r.finished)
        pair.i.fin(ident)
        pair.r.fin(ident)
        pair.pump()
        self.assertTrue(pair.i.finished and pair.r.finished)

    def test_a_goaway_that_is_not_answered(self):
        pair = Pair()
        pair.pump()
        pair.i.goaway(m.SHUTDOWN)
        self.assertIsNotNone(pair.i.transmit(pair.now))
        pair.i.heard_at = pair.now + 30000
        pair.i.tick(pair.now + 29999)
        with self.assertRaises(Fatal):
            pair.i.tick(pair.now + 30000)

    def test_rekey_with_traffic(self):
        pair = Pair()
        ident = pair.i.open_stream()
        for turn in range(5):
            self.assertTrue(pair.i.rekey(pair.now))
            pair.i.send(ident, b"%d" % turn)
            pair.r.ping(pair.now)
            pair.pump()
            self.assertEqual(pair.i.h, pair.r.h)
            self.assertIsNone(pair.i.rekey_state)
            self.assertIsNone(pair.r.rekey_state)
        data = [event[2] for event in pair.taken(pair.r) if event[0] == "data"]
        self.assertEqual(data, [b"%d" % turn for turn in range(5)])

    def test_rekey_refused(self):
        pair = Pair(psks_r=lambda: [b"other".ljust(32)])
        pair.i.rekey(pair.now)
        pair.pump()
        self.assertEqual(pair.taken(pair.i), [("rekey_refused",)])
        self.assertFalse(pair.i.rekey(pair.now + 59999))
        self.assertTrue(pair.i.rekey(pair.now + 60000))

    def test_rekey_falls_back_to_the_previous_secret(self):
        pair = Pair(psks_r=lambda: [b"other".ljust(32), bytes(range(32))])
        pair.i.rekey(pair.now)
        pair.pump()
        self.assertEqual(pair.taken(pair.i), [("rekeyed",)])

    def test_age(self):
        for delay, word in ((10000, None), (10001, "stale")):
            pair = Pair()
            pair.pump()
            pair.r.ping(pair.now)
            if word is None:
                pair.step(pair.r, delay)
                continue
            with self.assertRaises(Fatal) as fatal:
                pair.step(pair.r, delay)
            self.assertEqual(fatal.exception.word, word)

    def test_dead_after_11_s(self):
        pair = Pair()
        pair.pump()
        pair.i.tick(pair.now + 11000)
        with self.assertRaises(Fatal):
            pair.i.tick(pair.now + 11001)

    def test_random_walk(self):
        """Whatever two honest links do, neither finds fault with the other, and every stream ends on both."""
        for seed in range(30):
            rng = random.Random(seed)
            pair = Pair(max_streams=6)
            for _ in range(400):
                link = rng.choice([pair.i, pair.r])
                ident = rng.choice(list(link.streams) or [None])
                act = rng.randrange(11)
                if act == 0 and link is pair.i:
                    link.open_stream()
                elif act == 1:
                    link.ping(pair.now)
                elif act == 2:
                    link.rekey(pair.now)
                elif act in (3, 4):
                    pair.step(link)
                elif ident is None:
                    continue
                elif act in (5, 6) and not link.streams[ident].own_end and link.streams[ident].credit:
                    link.send(ident, bytes(rng.randint(1, link.streams[ident].credit)))
                elif act == 7:
                    link.grant(ident, link.streams[ident].received + rng.randint(1, 20000))
                elif act == 8:
                    link.yield_credit(ident)
                elif act == 9 and rng.random() < 0.5:
                    link.fin(ident)
                elif act == 10 and rng.random() < 0.3:
                    link.broken(ident)
                pair.now += 1
            pair.pump()
            for link in (pair.i, pair.r):
                for ident in list(link.streams):
                    link.fin(ident)
            pair.pump()
            self.assertFalse(pair.i.streams or pair.r.streams)


class Handshakes(unittest.TestCase):
    def setUp(self):
        self.psk = bytes(32)
        self.i = handshake.Endpoint(b"i" * 16)
        self.r = handshake.Endpoint(b"r" * 16, name=b"node-b")

    def answer(self, clock=0, responder=None, now=0):
        dial = handshake.Dial(self.psk, self.i, (now + 1).to_bytes(32, "big"), 1_000_000)
        responder = responder or handshake.Responder(self.r, lambda: [self.psk])
        return dial, responder.answer(dial.message_1, bytes(31) + b"\2", 1_000_000 + clock, now)

    def test_skew(self):
        for clock, word in ((10000, "accepted"), (-10000, "accepted"), (10001, "clock_skew"), (-10001, "clock_skew")):
            dial, answer = self.answer(clock)
            self.assertEqual(answer.word, word)
            if word == "clock_skew":
                with self.assertRaises(Refused) as refused:
                    dial.conclude(answer.message_2)
                self.assertEqual((refused.exception.word, refused.exception.detail), ("refused_clock_skew", str(clock)))

    def test_names(self):
        for meant, word in ((b"node-b", "accepted"), (b"node-c", "peer_name"), (None, "accepted")):
            self.i.peer_name = meant
            self.assertEqual(self.answer()[1].word, word)

    def test_replay_refusal_limit_and_full_cache(self):
        responder = handshake.Responder(self.r, lambda: [self.psk], handshake.ReplayCache(2))
        dial, answer = self.answer(responder=responder)
        self.assertEqual(answer.word, "accepted")
        self.assertEqual(responder.answer(dial.message_1, bytes(32), 1_000_000, 20999).word, "replay")
        self.assertEqual(self.answer(responder=responder, now=1)[1].word, "accepted")
        self.assertEqual(self.answer(responder=responder, now=2)[1].word, "busy")
        words = [self.answer(99999, responder, 30000 + n)[1].word for n in range(6)]
        self.assertEqual(words, ["clock_skew"] * 5 + ["refusal_limit"])

    def test_suites(self):
        self.i.suites, self.r.suites = b"\2", b"\1"
        self.assertEqual(self.answer()[1].word, "no_common_suite")
        self.assertEqual(payload.result_name(200), "unknown")


if __name__ == "__main__":
    unittest.main()
