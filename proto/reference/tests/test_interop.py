"""The program at one end and the reference at the other, over loopback. WA_SIDECAR names the program; without it these are skipped."""

import hashlib
import os
import random
import signal
import socket
import subprocess
import threading
import time
import unittest

from tests import test_peer
from tests.test_peer import SECRET, Process, Upstream, abort, echo

PROGRAM = os.environ.get("WA_SIDECAR")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def read_to_end(connection):
    got = b""
    while data := connection.recv(65536):
        got += data
    return got


class Program(Process):
    """`wa-sidecar webapp|coreapp` on a port of our choosing."""

    def __init__(self, role, *args, secret=SECRET, environment=()):
        self.port = free_port()
        environment = os.environ | {"WA_SECRET": secret, "WA_ADMIN": "off"} | dict(environment)
        self.process = subprocess.Popen(
            [PROGRAM, role, "--listen", f"127.0.0.1:{self.port}", *args],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = []
        threading.Thread(target=self._read, daemon=True).start()
        end = time.monotonic() + 5
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if time.monotonic() > end:
                    raise AssertionError(f"{role} does not listen: {self.log}") from None
                time.sleep(0.02)


class Interop(unittest.TestCase):
    exchange = test_peer.Peers.exchange
    app = test_peer.Peers.app

    def pair(self, upstream, initiator=(), responder=()):
        raise NotImplementedError

    def test_bytes_both_ways(self):
        i, r = self.pair(Upstream(echo))
        for size in (0, 1, 1000, 65536, 2_000_000):
            data = random.Random(size).randbytes(size)
            self.assertEqual(self.exchange(i.port, data), data)
        self.no_fatal(i, r)

    def test_many_at_once(self):
        i, r = self.pair(Upstream(echo))
        wrong = []

        def one(seed):
            data = random.Random(seed).randbytes(300_000)
            if self.exchange(i.port, data) != data:
                wrong.append(seed)

        threads = [threading.Thread(target=one, args=(seed,)) for seed in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.no_fatal(i, r)

    def test_reset_by_the_upstream(self):
        i, r = self.pair(Upstream(lambda connection: (connection.recv(1), abort(connection))))
        with self.assertRaises(ConnectionResetError):
            self.exchange(i.port, b"q" * 1000)
        self.no_fatal(i, r)

    def test_reset_by_the_app(self):
        seen = threading.Event()

        def expects_reset(connection):
            connection.sendall(b"hello")
            try:
                while connection.recv(100):
                    pass
            except ConnectionResetError:
                seen.set()

        i, r = self.pair(Upstream(expects_reset))
        app = self.app(i)
        self.assertEqual(app.recv(5), b"hello")
        abort(app)
        self.assertTrue(seen.wait(5))
        self.no_fatal(i, r)

    def test_an_app_that_breaks_after_its_fin(self):
        """STOP: the server has the whole question, nobody wants the answer, the link lives."""
        whole = threading.Event()

        def endless(connection):
            if read_to_end(connection) == b"question":
                whole.set()
            while True:
                connection.sendall(bytes(65536))

        i, r = self.pair(Upstream(endless))
        for _ in range(3):
            whole.clear()
            app = self.app(i)
            app.settimeout(5)
            app.sendall(b"question")
            app.shutdown(socket.SHUT_WR)
            self.assertTrue(app.recv(1000))
            self.assertTrue(whole.is_set())
            abort(app)
            time.sleep(0.3)
        self.no_fatal(i, r)

    def test_a_refused_dial(self):
        gone = socket.socket()
        self.addCleanup(gone.close)
        gone.bind(("127.0.0.1", 0))
        i, r = self.pair(gone.getsockname()[1])
        with self.assertRaises(ConnectionResetError):
            self.exchange(i.port, b"q")
        self.no_fatal(i, r)

    def test_a_slow_reader(self):
        data = random.Random(5).randbytes(5_000_000)
        i, r = self.pair(Upstream(lambda connection: connection.sendall(data)))
        app = self.app(i)
        time.sleep(2)
        got, size = hashlib.sha256(), 0
        app.settimeout(20)
        while piece := app.recv(65536):
            got.update(piece)
            size += len(piece)
        self.assertEqual((size, got.digest()), (len(data), hashlib.sha256(data).digest()))
        self.no_fatal(i, r)

    def test_idle_credit_is_yielded(self):
        """Bulk grows the credit, idleness hands it back, and bulk grows it again."""
        i, r = self.pair(Upstream(echo))
        app = self.app(i)
        app.settimeout(10)
        for _ in range(3):
            data = random.Random(1).randbytes(1_000_000)
            sender = threading.Thread(target=app.sendall, args=(data,))
            sender.start()
            got = b""
            while len(got) < len(data):
                got += app.recv(65536)
            sender.join()
            self.assertEqual(got, data)
            time.sleep(2.5)
        self.no_fatal(i, r)

    def test_a_link_outlives_its_timers(self):
        i, r = self.pair(Upstream(echo))
        app = self.app(i)
        for _ in range(13):
            app.sendall(b"x")
            self.assertEqual(app.recv(1), b"x")
            time.sleep(1)
        self.no_fatal(i, r)

    def drained(self, who):
        i, r = self.pair(Upstream(echo))
        app = self.app(i)
        app.settimeout(10)
        app.sendall(b"one")
        self.assertEqual(app.recv(3), b"one")
        (i, r)[who].process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        app.sendall(b"two")
        self.assertEqual(app.recv(3), b"two")
        app.shutdown(socket.SHUT_WR)
        self.assertEqual(app.recv(1), b"")
        self.assertEqual((i, r)[who].process.wait(10), 0)
        self.no_fatal(i, r)

    def test_drain_of_the_initiator(self):
        self.drained(0)

    def test_drain_of_the_responder(self):
        self.drained(1)

    def no_fatal(self, *processes):
        for process in processes:
            bad = [line for line in process.log if "fatal" in line or "protocol" in line or "panic" in line]
            self.assertFalse(bad)


@unittest.skipUnless(PROGRAM, "WA_SIDECAR is not set")
class ProgramDials(Interop):
    def pair(self, upstream, initiator=(), responder=()):
        target = f"127.0.0.1:{getattr(upstream, 'port', upstream)}"
        r = Process("responder", "--listen", "127.0.0.1:0", "--upstream", target, *responder)
        self.addCleanup(r.stop)
        i = Program("webapp", "--peer", f"127.0.0.1:{r.port}", *initiator)
        self.addCleanup(i.stop)
        return i, r

    def test_aes_256_gcm(self):
        i, r = self.pair(Upstream(echo), ("--cipher", "auto"), ("--suites", "2,1"))
        self.assertEqual(self.exchange(i.port, b"abc" * 100_000), b"abc" * 100_000)
        r.wait_for("suite=")
        self.no_fatal(i, r)


@unittest.skipUnless(PROGRAM, "WA_SIDECAR is not set")
class ReferenceDials(Interop):
    def pair(self, upstream, initiator=(), responder=()):
        target = f"127.0.0.1:{getattr(upstream, 'port', upstream)}"
        r = Program("coreapp", "--upstream", target, *responder)
        self.addCleanup(r.stop)
        i = Process("initiator", "--peer", f"127.0.0.1:{r.port}", "--listen", "127.0.0.1:0", *initiator)
        self.addCleanup(i.stop)
        return i, r

    def test_rekey_under_traffic(self):
        i, r = self.pair(Upstream(echo), ("--rekey-after", "0.1"))
        data = random.Random(9).randbytes(3_000_000)
        self.assertEqual(self.exchange(i.port, data), data)
        i.wait_for("rekeyed")
        self.no_fatal(i, r)

    def test_small_windows(self):
        i, r = self.pair(Upstream(echo), ("--window", "1024", "--max-streams", "2"))
        data = random.Random(3).randbytes(100_000)
        self.assertEqual(self.exchange(i.port, data), data)
        self.no_fatal(i, r)

    def test_refusals(self):
        for initiator, word in (
            (("--clock-offset-ms", "11000"), "refused_clock_skew"),
            (("--clock-offset-ms", "-11000"), "refused_clock_skew"),
            (("--peer-name", "node-c"), "refused_peer_name"),
            (("--suites", "2"), "refused_no_common_suite"),
            (("--deployment", "other"), "unauthenticated"),
        ):
            i, _ = self.pair(Upstream(echo), initiator, ("--name", "node-b"))
            i.wait_for(word)


del Interop  # the two above run it

if __name__ == "__main__":
    unittest.main()
