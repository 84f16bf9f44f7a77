"""One stream of a link: both directions, their credit and their ends (SPEC 7 to 9)."""

from .errors import Fatal

BOUND = 1 << 62


class Stream:
    """What one side knows of a stream.

    `own_end`, `peer_end`: None, "fin" or "reset". An own end that is decided but not sealed keeps the stream live.
    """

    def __init__(self, ident, service, own_window, peer_window):
        self.id = ident
        self.service = service
        self.own_window = own_window
        self.peer_window = peer_window
        # The peer's direction: what it sends, under limits that this side gives.
        self.received = 0
        self.given = own_window
        self.peer_end = None
        # The own direction.
        self.sent = 0
        self.limit = peer_window
        self.own_end = None
        self.own_end_sealed = False
        self.stop_sent = False
        self.stop_taken = False

    @property
    def live(self):
        return not (self.own_end_sealed and self.peer_end)

    @property
    def credit(self):
        return self.limit - self.sent

    # What the peer sent. Each raises Fatal or returns what it means.

    def _peer_open(self, kind):
        if self.peer_end:
            raise Fatal("stream_state", f"{kind} on stream {self.id} after its {self.peer_end}")

    def on_data(self, size):
        self._peer_open("DATA")
        if self.received + size > self.given:
            raise Fatal("credit_overrun", f"stream {self.id}: {self.received + size} beyond {self.given}")
        self.received += size
        return self.own_end != "reset"  # is it delivered?

    def on_fin(self, offset):
        self._peer_open("FIN")
        if offset != self.received:
            raise Fatal("fin_offset", f"stream {self.id}: {offset}, received {self.received}")
        self.peer_end = "fin"

    def on_reset(self):
        """True: it is to be answered."""
        self._peer_open("RESET")
        self.peer_end = "reset"
        return self.own_end is None

    def on_yield(self, limit):
        self._peer_open("YIELD")
        floor = self.received + self.own_window
        if limit > self.given:
            raise Fatal("bad_yield", f"stream {self.id}: {limit} above the {self.given} given")
        if limit <= floor:
            raise Fatal("bad_yield", f"stream {self.id}: {limit} is nothing to hand back, {floor} is its due")
        if limit == self.given:
            self.given = floor
            return True
        return False  # void: a greater limit is under way

    def on_credit(self, limit):
        if self.peer_end == "reset":
            raise Fatal("stream_state", f"CREDIT on stream {self.id} after its reset")
        if self.own_end:
            return False
        if limit >= BOUND:
            raise Fatal("bad_credit", f"stream {self.id}: a limit of {limit}")
        if limit <= self.limit:
            raise Fatal("bad_credit", f"stream {self.id}: {limit} does not raise {self.limit}")
        self.limit = limit
        return True

    def on_stop(self):
        """True: it is to be answered by RESET."""
        if self.peer_end is None:
            raise Fatal("stop_before_fin", f"stream {self.id}")
        if self.peer_end == "reset":
            raise Fatal("stream_state", f"STOP on stream {self.id} after its reset")
        if self.stop_taken:
            raise Fatal("second_stop", f"stream {self.id}")
        self.stop_taken = True
        return self.own_end is None
