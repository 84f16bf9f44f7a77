"""Both ends over loopback sockets, as their users run them."""

import hashlib
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SECRET = "correct horse battery staple"


class Upstream:
    """A TCP server: `handle(connection)` in a thread each."""

    def __init__(self, handle):
        self.handle = handle
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection):
        try:
            with connection:
                self.handle(connection)
        except OSError:
            pass


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def abort(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Process:
    def __init__(self, *args, secret=SECRET):
        environment = os.environ | {"WA_SECRET": secret, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wa_reference", *args], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        self.port = int(line.rpartition(":")[2])
        self.log = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stderr:
            self.log.append(line.rstrip())

    def wait_for(self, text, seconds=10):
        end = time.monotonic() + seconds
        while not any(text in line for line in self.log):
            if time.monotonic() > end:
                raise AssertionError(f"no {text!r} in {self.log}")
            time.sleep(0.02)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


class Peers(unittest.TestCase):
    def pair(self, upstream, initiator=(), responder=(), secret=SECRET):
        r = Process("responder", "--listen", "127.0.0.1:0", "--upstream", f"127.0.0.1:{getattr(upstream, 'port', upstream)}", *responder)
        self.addCleanup(r.stop)
        i = Process("initiator", "--peer", f"127.0.0.1:{r.port}", "--listen", "127.0.0.1:0", *initiator, secret=secret)
        self.addCleanup(i.stop)
        return i, r

    def app(self, initiator):
        app = socket.create_connection(("127.0.0.1", initiator.port))
        self.addCleanup(app.close)
        return app

    def exchange(self, port, data):
        """Sends all, half-closes, reads to the end."""
        with socket.create_connection(("127.0.0.1", port)) as app:
            app.settimeout(30)
            sender = threading.Thread(target=lambda: (app.sendall(data), app.shutdown(socket.SHUT_WR)))
            sender.start()
            got = b""
            while piece := app.recv(65536):
                got += piece
            sender.join()
            return got

    def test_echo_of_many_sizes(self):
        for extra in ((), ("--suites", "2,1"), ("--window", "1024"), ("--window", "4096", "--rekey-after", "0.2")):
            i, r = self.pair(Upstream(echo), extra, extra[:2] if extra[:1] != ("--rekey-after",) else ())
            for size in (0, 1, 1000, 65536, 300_000):
                data = random.Random(size).randbytes(size)
                self.assertEqual(self.exchange(i.port, data), data)
            for process in (i, r):
                self.assertFalse([line for line in process.log if "fatal" in line])

    def test_streams_at_once(self):
        i, _ = self.pair(Upstream(echo), ("--rekey-after", "0.3"))
        failed = []

        def one(seed):
            data = random.Random(seed).randbytes(200_000)
            if self.exchange(i.port, data) != data:
                failed.append(seed)

        threads = [threading.Thread(target=one, args=(seed,)) for seed in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])
        i.wait_for("rekeyed")
        self.assertFalse([line for line in i.log if "fatal" in line])

    def test_the_answer_of_a_server_that_closes_early_is_whole(self):
        def early(connection):
            connection.sendall(b"answer" * 1000)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

        i, _ = self.pair(Upstream(early))
        self.assertEqual(self.exchange(i.port, b"q"), b"answer" * 1000)

    def test_reset_reaches_both_ends(self):
        seen = threading.Event()

        def expects_reset(connection):
            connection.sendall(b"hello")
            try:
                while connection.recv(100):
                    pass
            except ConnectionResetError:
                seen.set()

        i, _ = self.pair(Upstream(expects_reset))
        app = self.app(i)
        self.assertEqual(app.recv(5), b"hello")
        abort(app)
        self.assertTrue(seen.wait(5))

    def test_an_upstream_that_resets(self):
        i, _ = self.pair(Upstream(lambda connection: (connection.recv(1), abort(connection))))
        with self.assertRaises(ConnectionResetError):
            self.exchange(i.port, b"q" * 1000)

    def test_a_refused_dial_is_a_reset(self):
        gone = socket.socket()
        self.addCleanup(gone.close)
        gone.bind(("127.0.0.1", 0))
        i, _ = self.pair(gone.getsockname()[1])
        with self.assertRaises(ConnectionResetError):
            self.exchange(i.port, b"q")
        i.wait_for("stream_reset stream=1 code=2")

    def test_a_killed_peer_is_a_reset_never_an_end(self):
        i, r = self.pair(Upstream(lambda connection: (connection.sendall(b"half"), time.sleep(20))))
        app = self.app(i)
        self.assertEqual(app.recv(4), b"half")
        r.process.kill()
        app.settimeout(5)
        with self.assertRaises(ConnectionResetError):
            app.recv(1)

    def test_a_slow_reader_loses_nothing(self):
        data = random.Random(5).randbytes(3_000_000)
        i, _ = self.pair(Upstream(lambda connection: connection.sendall(data)), ("--window", "8192"))
        app = self.app(i)
        time.sleep(2)
        got = hashlib.sha256()
        app.settimeout(20)
        size = 0
        while piece := app.recv(65536):
            got.update(piece)
            size += len(piece)
        self.assertEqual((size, got.hexdigest()), (len(data), hashlib.sha256(data).hexdigest()))

    def test_credit_is_yielded_after_a_second(self):
        i, r = self.pair(Upstream(echo), ("--window", "2048"), ("--window", "2048"))
        app = self.app(i)
        app.settimeout(10)
        for _ in range(2):
            got = 0
            for _ in range(40):
                app.sendall(bytes(1000))
                while got < 1000:
                    got += len(app.recv(1000))
                got -= 1000
            i.log.clear()
            i.wait_for("yield stream=1")
            r.wait_for("yield stream=1")
        app.close()

    def test_drain(self):
        i, r = self.pair(Upstream(echo))
        app = self.app(i)
        app.settimeout(10)
        app.sendall(b"one")
        self.assertEqual(app.recv(3), b"one")
        r.process.send_signal(signal.SIGTERM)
        i.wait_for("goaway")
        app.sendall(b"two")
        self.assertEqual(app.recv(3), b"two")
        app.shutdown(socket.SHUT_WR)
        self.assertEqual(app.recv(1), b"")
        self.assertEqual(r.process.wait(5), 0)
        i.wait_for("link_ended")

    def test_refusals(self):
        upstream = Upstream(echo)
        for initiator, secret, word in (
            (("--clock-offset-ms", "11000"), SECRET, "refused_clock_skew"),
            (("--peer-name", "node-c"), SECRET, "refused_peer_name"),
            (("--suites", "2"), SECRET, "refused_no_common_suite"),
            ((), "another secret of enough length", "unauthenticated"),
            (("--deployment", "other"), SECRET, "unauthenticated"),
        ):
            i, _ = self.pair(upstream, initiator, ("--name", "node-b"), secret)
            i.wait_for(word)

    def test_a_link_lives_beyond_the_timers(self):
        i, r = self.pair(Upstream(echo), ("--clock-offset-ms", "9000"))
        app = self.app(i)
        for _ in range(13):
            app.sendall(b"x")
            self.assertEqual(app.recv(1), b"x")
            time.sleep(1)
        app.close()
        self.assertFalse([line for process in (i, r) for line in process.log if "fatal" in line or "lost" in line])


if __name__ == "__main__":
    unittest.main()
