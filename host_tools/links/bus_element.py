"""What the master of a bus knows of one element: its address, its queues, how well it answers."""

from collections import Counter, deque
from dataclasses import dataclass, field

from element.protocol import bus

QUEUE_SIZE_MAX = 8192
# What has waited longer is dropped and counted: an element must not take old words for new ones.
AGE_MS_MAX = 3000
# Setpoints go before handshakes and updates; one that has waited so long is overtaken no more.
SHORT_SIZE = 192
OVERTAKEN_MS_MAX = 1500
_SEALED = b"\xd0"  # link messages keep their order
BACKOFF_MS_MIN = 100
BACKOFF_MS_MAX = 1000


@dataclass
class Quality:
    """What became of an element's turns since it was first found.

    late: answers after their time. over: answers longer than allowed. stray: frames that nobody
    had asked for. answer_ms: how often an answer was whole after so many ms.
    """

    good: int = 0
    bad: int = 0
    silent: int = 0
    late: int = 0
    over: int = 0
    stray: int = 0
    answer_ms: Counter[int] = field(default_factory=Counter)

    def percentile_ms(self, share: float) -> int | None:
        """Return the time within which this share of the answers came, None without answers."""
        wanted, count = share * self.good, 0
        for took_ms in sorted(self.answer_ms):
            count += self.answer_ms[took_ms]
            if count >= wanted:
                return took_ms
        return None


class BusElement:
    """One element on the bus. lost: bytes for it that were dropped."""

    def __init__(self, element_id: bytes, address: int, now_ms: int) -> None:
        self.element_id = element_id
        self.address = address
        self.quality = Quality()
        self.lost = 0
        self.waiting = 0  # bytes that it said it has
        self.confirmed = False
        self.assigned_ms = self.answered_ms = now_ms
        self.polled_ms: int | None = None
        self.silent_run = 0
        self.bad_run = 0
        self.unanswered = False  # its last turn brought nothing in time
        self.good_before = 0  # answers of all elements when this one was last understood
        self._queue: deque[tuple[int, bytes]] = deque()
        self._begun = 0
        self._queued = 0
        self._flying = b""
        self._sequence_tx = 0
        self._sequence_rx = 0
        self._hurried = 0  # bytes at the head of the queue that go before all else

    @property
    def hurried(self) -> bool:
        """True while something waits that must go before everything else."""
        return self._hurried > 0

    def assigned(self, address: int, now_ms: int) -> None:
        """Begin anew under an address: both streams do."""
        self.address, self.confirmed = address, False
        self.assigned_ms = self.answered_ms = now_ms
        self.polled_ms = None
        self.waiting = self.silent_run = self.bad_run = 0
        self._sequence_tx = self._sequence_rx = 0
        self.lost += self._queued - self._begun
        self._queue.clear()
        self._begun = self._queued = 0
        self._flying, self._hurried = b"", 0
        self.put(b"\x00", now_ms)  # ends what was left of a frame

    def put(self, data: bytes, now_ms: int, hurry: bool = False) -> None:
        """Queue a frame. With hurry it goes before what has not begun to leave."""
        self._drop_old(now_ms)
        if self._queued + len(data) > QUEUE_SIZE_MAX and not hurry:
            self.lost += len(data)
            return
        self._queued += len(data)
        if hurry:
            if self._begun and not self._hurried:
                # what has begun goes on first: half a frame would be lost
                self._hurried = len(self._queue[0][1]) - self._begun
            at, bytes_before = 0, -self._begun
            while bytes_before < self._hurried:
                bytes_before += len(self._queue[at][1])
                at += 1
            self._queue.insert(at, (now_ms, data))
            self._hurried += len(data)
        else:
            at = len(self._queue)
            if len(data) <= SHORT_SIZE and data[1:2] == _SEALED:
                first = 1 if self._begun else 0
                while at > first and len(self._queue[at - 1][1]) > SHORT_SIZE \
                        and now_ms - self._queue[at - 1][0] < OVERTAKEN_MS_MAX:
                    at -= 1
            self._queue.insert(at, (now_ms, data))

    def _drop_old(self, now_ms: int) -> None:
        if self._hurried:
            return  # an alarm is never old
        at = 1 if self._begun else 0
        while len(self._queue) > at and now_ms - self._queue[at][0] > AGE_MS_MAX:
            data = self._queue[at][1]
            del self._queue[at]
            self._queued -= len(data)
            self.lost += len(data)

    @property
    def has_more(self) -> bool:
        """True when a turn is of use now, for this end or the other."""
        return bool(self._queue or self._flying or self.waiting or not self.confirmed)

    @property
    def has_news(self) -> bool:
        """True when something has not been sent even once."""
        return bool(self._queue) and not self._flying

    def due_ms(self, period_ms: int) -> int:
        """Return when this element's next turn is wanted; what is past counts as now."""
        if self.polled_ms is None:
            return self.assigned_ms
        if self.silent_run:
            return self.polled_ms + min(BACKOFF_MS_MAX, BACKOFF_MS_MIN << self.silent_run - 1)
        return self.polled_ms + (0 if self.has_more else period_ms)

    def poll(self, generation: int, budget: int, push: bool, now_ms: int,
             allowed: int | None = None) -> bytes:
        """Return the payload of this element's turn.

        budget: bytes down at most. allowed: bytes up; None: what the way down leaves of budget,
        and a quarter of it in any case. push: no answer is wanted.
        """
        self._drop_old(now_ms)
        if not self._flying and self._queue:
            piece = bytearray()
            if push and self._hurried:
                budget = min(budget, self._hurried)
            while self._queue and len(piece) < budget:
                data = self._queue[0][1]
                part = data[self._begun:self._begun + budget - len(piece)]
                piece += part
                self._begun += len(part)
                if self._begun == len(data):
                    self._queue.popleft()
                    self._queued -= len(data)
                    self._begun = 0
            self._flying = bytes(piece)
            self._hurried = max(0, self._hurried - len(piece))
            self._sequence_tx ^= 1
        self.polled_ms = now_ms
        if allowed is None:
            allowed = max(budget // 4, budget - len(self._flying)) // bus.UNIT * bus.UNIT
        bits = (bus.SEQUENCE if self._sequence_tx else 0) | (
            bus.ACK if self._sequence_rx else 0) | (bus.PUSH if push else 0)
        return bytes(bus.poll(generation, self.address, bits, allowed, self._flying))

    def answered(self, bits: int, waiting: int, stream: bytes, now_ms: int) -> bytes:
        """Take an answer; return what of its bytes is new."""
        self.answered_ms, self.waiting = now_ms, waiting
        self.silent_run = self.bad_run = 0
        if self._flying and bool(bits & bus.ACK) == bool(self._sequence_tx):
            self._flying = b""
        if stream and bits & bus.SEQUENCE != self._sequence_rx:
            self._sequence_rx = bits & bus.SEQUENCE
            return stream
        return b""
