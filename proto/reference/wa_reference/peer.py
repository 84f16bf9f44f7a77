"""Either end of a link over real sockets (asyncio): `python -m wa_reference responder|initiator`, see __main__.py.

Correct rather than fast. A link is read whatever the apps do; what an app does not take waits in its queue, bounded by the
credit that was given. App sockets have zero linger from birth, so that whatever goes wrong reaches the app as a reset; only a
stream that ended by FIN both ways closes in order.
"""

import asyncio
import collections
import os
import select
import socket
import struct
import sys
import time

from . import message as m
from .errors import Fatal, Refused
from .handshake import SIZE, Dial, Responder
from .link import Link

READ = 65536
APP_READ = 16384
OUTBOX = 64  # messages waiting to be sealed, beyond which apps are not read
LINGER = 30  # seconds
ABORT = struct.pack("ii", 1, 0)
ORDERLY = struct.pack("ii", 0, 0)
TCP_NOTSENT_LOWAT = 25
UNSENT = 65536  # bytes, beyond which nothing more is sealed for a link


def now():
    return time.monotonic_ns() // 1_000_000


def log(event, **fields):
    print(event, *(f"{name}={value}" for name, value in fields.items()), file=sys.stderr, flush=True)


def prepare(sock):
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


async def connect(address, timeout):
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(*address, type=socket.SOCK_STREAM)
    error = OSError("no address")
    for family, kind, proto, _, where in infos:
        sock = prepare(socket.socket(family, kind, proto))
        try:
            await asyncio.wait_for(loop.sock_connect(sock, where), timeout)
            return sock
        except (OSError, asyncio.TimeoutError) as failed:
            sock.close()
            error = failed
        except asyncio.CancelledError:
            sock.close()
            raise
    raise error


def listen(address):
    infos = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, proto, _, where = infos[0]
    sock = socket.socket(family, kind, proto)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(where)
    sock.listen(1024)
    sock.setblocking(False)
    return sock


async def read_exactly(sock, size):
    """Fewer bytes: the connection ended."""
    data = b""
    while len(data) < size:
        piece = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        if not piece:
            break
        data += piece
    return data


async def writable(sock):
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(sock, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_writer(sock)


class App:
    """One app connection and its stream. `dial`: how the responder gets its socket; the initiator's has one."""

    def __init__(self, carrier, ident, sock=None, dial=None):
        self.carrier = carrier
        self.id = ident
        self.sock = sock
        self.queue = collections.deque()
        self.fin_queued = self.out_ended = self.killed = self.closed = False
        self.wake_in = asyncio.Event()
        self.wake_out = asyncio.Event()
        self.consumed = self.grown_from = 0
        self.sent_at = now()
        self.discard_until = None
        self.task = asyncio.ensure_future(self._run(dial))
        self.task.add_done_callback(lambda _: self._close(ABORT))

    @property
    def link(self):
        return self.carrier.link

    async def _run(self, dial):
        try:
            if self.sock is None:
                self.sock = await self._dial(dial)
                if self.sock is None:
                    return
            # Out: from the app to the link. In: from the link to the app. Either may break the other.
            ways = [asyncio.ensure_future(self._out()), asyncio.ensure_future(self._in())]
            try:
                await asyncio.gather(*ways)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
            self._close(ORDERLY)
        except OSError:
            self._broken(m.APP_RESET)

    async def _dial(self, dial):
        try:
            return await dial
        except ConnectionRefusedError:
            self._broken(m.DIAL_REFUSED)
        except asyncio.TimeoutError:
            self._broken(m.DIAL_TIMEOUT)
        except OSError:
            self._broken(m.DIAL_FAILED)

    async def _out(self):
        loop = asyncio.get_running_loop()
        while True:
            stream = self.link.streams.get(self.id)
            if self.carrier.over or stream is None or stream.own_end:
                # Nobody takes it (STOP, or the link is gone): what the app still says is read and thrown away for a while, so
                # that closing does not cost it what it was sent. TimeoutError is an OSError: it is reset then.
                self.discard_until = self.discard_until or loop.time() + LINGER
                if not await asyncio.wait_for(loop.sock_recv(self.sock, APP_READ), self.discard_until - loop.time()):
                    break
                continue
            room = min(stream.credit, APP_READ, stream.peer_window)
            if room <= 0 or len(self.link.outbox) > OUTBOX:
                self.wake_out.clear()
                await self.wake_out.wait()
                continue
            data = await loop.sock_recv(self.sock, room)
            stream = self.link.streams.get(self.id)
            if self.carrier.over or stream is None or stream.own_end:
                if not data:
                    break
                continue
            if not data:
                self.link.fin(self.id)
                self.carrier.wake.set()
                break
            self.link.send(self.id, data)
            self.sent_at = now()
            self.carrier.wake.set()
        self.out_ended = True

    async def _in(self):
        loop = asyncio.get_running_loop()
        while True:
            if self.queue:
                data = self.queue.popleft()
                await loop.sock_sendall(self.sock, data)
                self.consumed += len(data)
                self._grant()
            elif self.fin_queued:
                self.sock.shutdown(socket.SHUT_WR)
                return
            else:
                self.wake_in.clear()
                await self.wake_in.wait()

    def _grant(self):
        """A window at first; four once a stream has taken a whole one."""
        stream = self.link.streams.get(self.id)
        if stream is None:
            return
        window = self.link.established.own_window
        size = window if self.consumed - self.grown_from < window else min(4 * window, 4 << 20)
        if self.consumed + size - stream.given >= size // 2:
            self.link.grant(self.id, self.consumed + size)
            self.carrier.wake.set()

    def _broken(self, code):
        if not self.killed:
            self.link.broken(self.id, code)
            self.carrier.wake.set()

    def _close(self, linger):
        if self.closed:
            return
        self.closed = True
        self.carrier.apps.pop(self.id, None)
        if self.sock is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.sock.close()

    # What the link says

    def on_data(self, data):
        if not self.killed:
            self.queue.append(data)
            self.wake_in.set()

    def on_fin(self):
        self.fin_queued = True
        self.wake_in.set()

    def on_stop(self):
        self.wake_out.set()

    def on_yielded(self):
        self.grown_from = self.consumed

    def kill(self):
        """The app's connection is reset; the stream has ended or its link is gone."""
        self.killed = True
        self.task.cancel()  # and behind it the socket is closed

    def watch(self):
        """An app that is not being read may break too."""
        if self.killed or self.sock is None:
            return
        poll = select.poll()
        poll.register(self.sock, 0)
        if any(events & select.POLLERR for _, events in poll.poll(0)):
            self._broken(m.APP_RESET)
            self.kill()


class Carrier:
    """One link on its TCP connection."""

    def __init__(self, sock, link, accept_app=None, rekey_after=3600_000, confirm_by=None):
        self.sock = sock
        self.link = link
        self.accept_app = accept_app
        self.rekey_after = rekey_after
        self.confirm_by = confirm_by
        self.apps = {}
        self.wake = asyncio.Event()
        self.over = False

    async def run(self):
        """True: it ended in order."""
        self.sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT)
        tasks = [asyncio.ensure_future(way()) for way in (self._read, self._write, self._tick)]
        in_order = False
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            in_order = self.link.finished
            if not in_order:
                log("link_lost", reason="closed")
        except Fatal as fatal:
            log("link_fatal", reason=fatal.word, detail=repr(fatal.detail))
        except OSError as error:
            log("link_lost", reason=repr(str(error)))
        finally:
            self.over = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for app in list(self.apps.values()):
                # What a FIN covers is whole and is delivered; every other app is reset.
                if app.fin_queued:
                    app.wake_out.set()
                else:
                    app.kill()
            if in_order:
                await self._linger()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ORDERLY if in_order else ABORT)
            self.sock.close()
        if in_order:
            log("link_ended")
        return in_order

    async def _linger(self):
        """Closing with unread bytes would turn the end into a reset, which may overtake our last frame."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
            while await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, READ), 1):
                pass
        except (OSError, asyncio.TimeoutError):
            pass

    async def _read(self):
        loop = asyncio.get_running_loop()
        while True:
            data = await loop.sock_recv(self.sock, READ)
            if not data:
                return
            for event in self.link.feed(data, now()):
                self._on(*event)
            self.wake.set()

    async def _write(self):
        loop = asyncio.get_running_loop()
        while True:
            self.wake.clear()
            if self.link.finished:
                return
            await writable(self.sock)
            frame = self.link.transmit(now())
            if frame is None:
                if not self.link.finished:
                    await self.wake.wait()
                continue
            await loop.sock_sendall(self.sock, frame)
            if len(self.link.outbox) <= OUTBOX:
                for app in self.apps.values():
                    app.wake_out.set()

    async def _tick(self):
        while True:
            await asyncio.sleep(0.1)
            at = now()
            if not self.link.confirmed and self.confirm_by is not None and at > self.confirm_by:
                raise Fatal("confirmation", "no frame 0 in time")
            self.link.tick(at)
            if at - self.link.epoch_at >= self.rekey_after and self.link.rekey(at):
                log("rekey_asked")
            for app in list(self.apps.values()):
                if at - app.sent_at >= 1000 and self.link.yield_credit(app.id):
                    log("yield", stream=app.id)
                app.watch()
            self.wake.set()

    def _on(self, kind, *rest):
        if kind == "open":
            self.accept_app(self, *rest)
            return
        if kind in ("confirmed", "rekeyed", "rekey_refused", "goaway"):
            log(kind, **({"code": rest[0]} if rest else {}))
            return
        app = self.apps.get(rest[0])
        if app is None:
            return
        if kind == "data":
            app.on_data(rest[1])
        elif kind == "fin":
            app.on_fin()
        elif kind == "reset":
            log("stream_reset", stream=rest[0], code=rest[1])
            app.kill()
        elif kind == "stop":
            app.on_stop()
        elif kind == "credit":
            app.wake_out.set()
        elif kind == "yielded":
            app.on_yielded()

    async def drain(self, seconds):
        self.link.goaway(m.SHUTDOWN)
        self.wake.set()
        end = now() + seconds * 1000
        while not (self.over and not self.apps) and now() < end:
            await asyncio.sleep(0.02)


class Side:
    """What both roles share: who this is, the secrets, the clock."""

    def __init__(self, own, psks, clock_offset=0):
        self.own = own
        self.psks = psks
        self.clock_offset = clock_offset
        self.carriers = set()

    def clock(self):
        return time.time_ns() // 1_000_000 + self.clock_offset

    def ephemeral(self):
        return os.urandom(32)

    async def carry(self, carrier):
        self.carriers.add(carrier)
        try:
            return await carrier.run()
        finally:
            self.carriers.discard(carrier)

    async def drain(self, seconds=25):
        await asyncio.gather(*(carrier.drain(seconds) for carrier in list(self.carriers)))


class ResponderSide(Side):
    """Accepts links and dials apps. `upstreams`: service -> (host, port); b"" is the default."""

    def __init__(self, own, psks, upstreams, clock_offset=0):
        super().__init__(own, psks, clock_offset)
        self.upstreams = upstreams
        self.responder = Responder(own, lambda: self.psks)
        self.responder.links = lambda: len(self.carriers)

    async def serve(self, listener):
        loop = asyncio.get_running_loop()
        links = set()
        while True:
            sock, _ = await loop.sock_accept(listener)
            task = asyncio.ensure_future(self._link(prepare(sock)))
            links.add(task)
            task.add_done_callback(links.discard)

    async def _link(self, sock):
        accepted = now()
        try:
            message_1 = await asyncio.wait_for(read_exactly(sock, SIZE), 1)
            at = now()
            answer = self.responder.answer(message_1, self.ephemeral(), self.clock(), at)
            if answer.message_2 is not None:
                written = now()
                await asyncio.get_running_loop().sock_sendall(sock, answer.message_2)
        except (OSError, asyncio.TimeoutError) as error:
            log("handshake_failed", reason=repr(str(error)))
            sock.close()
            return
        if answer.established is None:
            log("handshake_failed", reason=answer.word)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ORDERLY)
            sock.close()
            return
        link = Link(False, answer.established, now(), written, at, self.ephemeral, lambda: self.psks)
        log("link_up", role="responder", suite=answer.established.suite)
        await self.carry(Carrier(sock, link, self._open, confirm_by=accepted + 3000))

    def _open(self, carrier, ident, service):
        where = self.upstreams.get(service)
        if where is None:
            carrier.link.reset(ident, m.UNKNOWN_SERVICE)
            return
        carrier.apps[ident] = App(carrier, ident, dial=connect(where, 5))

    async def drain(self, seconds=25):
        self.responder.draining = True
        await super().drain(seconds)


class InitiatorSide(Side):
    """Accepts apps and dials links."""

    def __init__(self, own, psks, peer, service=b"", rekey_after=3600_000, clock_offset=0):
        super().__init__(own, psks, clock_offset)
        self.peer = peer
        self.service = service
        self.rekey_after = rekey_after
        self.current = None

    async def dial_forever(self):
        pause = 0.1
        while True:
            if self.current is not None and not self.current.over and not self.current.link.goaway_sent:
                await asyncio.sleep(0.02)
                continue
            self.current = None
            try:
                self.current = await self._dial()
                pause = 0.1
            except (OSError, asyncio.TimeoutError, Refused) as error:
                log("handshake_failed", reason=getattr(error, "word", type(error).__name__), detail=repr(str(error)))
                await asyncio.sleep(pause)
                pause = min(2 * pause, 1)

    async def _dial(self):
        sock = await connect(self.peer, 1.5)
        try:
            base = now()
            dial = Dial(self.psks[0], self.own, self.ephemeral(), self.clock())
            written = now()
            await asyncio.get_running_loop().sock_sendall(sock, dial.message_1)
            established = dial.conclude(await asyncio.wait_for(read_exactly(sock, SIZE), 3))
        except BaseException:
            sock.close()
            raise
        link = Link(True, established, now(), written, base, self.ephemeral, lambda: self.psks)
        log("link_up", role="initiator", suite=established.suite)
        carrier = Carrier(sock, link, rekey_after=self.rekey_after)
        self._running = asyncio.ensure_future(self.carry(carrier))
        return carrier

    async def serve(self, listener):
        loop = asyncio.get_running_loop()
        waiting = set()
        dialler = asyncio.ensure_future(self.dial_forever())
        try:
            while True:
                sock, _ = await loop.sock_accept(listener)
                task = asyncio.ensure_future(self._app(prepare(sock)))
                waiting.add(task)
                task.add_done_callback(waiting.discard)
        finally:
            dialler.cancel()

    async def _app(self, sock):
        end = now() + 3000
        while now() < end:
            carrier = self.current
            if carrier is not None and not carrier.over:
                ident = carrier.link.open_stream(self.service)
                if ident is not None:
                    carrier.apps[ident] = App(carrier, ident, sock)
                    carrier.wake.set()
                    return
            await asyncio.sleep(0.01)
        log("app_refused", reason="no link")
        sock.close()
