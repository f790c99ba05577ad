"""An emulated RS-485 pair in virtual time: one at a time is heard, two at once are garbage.

Bytes take their time at the baud rate. What overlaps is damaged at every ear: a driver that pulls
low wins over one that pulls high, and levels in between are read by chance. Who sends hears
nothing meanwhile, or, with echo, itself. Times are ms of the run. Bytes are handed out when the
line falls idle, as an interrupt of a board does, or in pieces, as a tty does.
"""

import math
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

BITS_PER_BYTE = 10
HEARD_SIZE_MAX = 8192
# A UART's buffer is emptied this often.
PIECE_SIZE = 32
# Noise comes in bursts of so many bytes.
NOISE_SIZE = (1, 12)


@dataclass(frozen=True)
class _Burst:
    """What one node sends in one go."""

    begin_ms: float
    end_ms: float
    node: str
    data: bytes


@dataclass
class _Node:
    """One transceiver. cut: its stub is broken. stuck: its driver is on and says nothing."""

    heard: bytearray
    in_pieces: bool
    heard_ms: float = 0.0  # when the last of it was
    free_ms: float = 0.0
    cut: bool = False
    stuck: bool = False
    next_babble_ms: float = math.inf
    babble_ms: float = 0.0
    babble: Callable[[], bytes] = bytes


class RS485Bus:
    """One pair. sent_bytes, collided_bytes: of all nodes since the beginning.

    flip, drop: chance that a byte loses a bit, or is lost. noise_per_s: bursts on the line.
    """

    def __init__(self, baud: int, rng: Random, echo: bool = False) -> None:
        """echo: nodes hear what they send, as with an adapter whose receiver stays on."""
        self.flip = 0.0
        self.drop = 0.0
        self.sent_bytes = 0
        self.collided_bytes = 0
        self._noise_per_s = 0.0
        self._next_noise_ms = math.inf
        self._byte_ms = BITS_PER_BYTE * 1000 / baud
        self._rng = rng
        self._echo = echo
        self._nodes: dict[str, _Node] = {}
        self._under_way: list[_Burst] = []  # in the order of their begin

    # ---- nodes ----

    def attach(self, name: str, in_pieces: bool = False) -> None:
        """Connect a node. in_pieces: it takes bytes while others still send."""
        self._nodes[name] = _Node(bytearray(), in_pieces)

    def send(self, name: str, data: bytes, now_ms: float) -> None:
        """Let a node send, from now on or behind what it sends already."""
        node = self._nodes[name]
        node.free_ms = max(node.free_ms, now_ms)
        self.sent_bytes += len(data)
        for at in range(0, len(data), PIECE_SIZE):
            piece = bytes(data[at:at + PIECE_SIZE])
            begin_ms = node.free_ms
            node.free_ms = begin_ms + len(piece) * self._byte_ms
            if not node.cut:
                self._begin(_Burst(begin_ms, node.free_ms, name, piece))

    def _begin(self, burst: _Burst) -> None:
        insort(self._under_way, burst, key=lambda one: one.begin_ms)

    def _is_ready(self, node: _Node) -> bool:
        """Return True when a node has heard something, and to its end if it waits for that."""
        return bool(node.heard) and (
            node.in_pieces or not self._under_way or self._under_way[0].begin_ms > node.heard_ms)

    def take(self, name: str, now_ms: float) -> bytes:
        """Return what a node has heard by now."""
        self.advance(now_ms)
        node = self._nodes[name]
        if not self._is_ready(node):
            return b""
        data = bytes(node.heard)
        node.heard.clear()
        return data

    def has_news(self, name: str) -> bool:
        """Return True when a node would take something now; cheap, and only after `advance`."""
        return self._is_ready(self._nodes[name])

    def due_ms(self, name: str) -> int | None:
        """Return the ms at which a node has something to take, None while all is silent."""
        node = self._nodes[name]
        if self._is_ready(node):
            return math.ceil(node.heard_ms)
        at_ms = min([self._next_noise_ms, *(one.next_babble_ms for one in self._nodes.values())])
        group = self._group(whole=not node.in_pieces)
        if group:
            at_ms = min(at_ms, max(burst.end_ms for burst in group))
        return None if math.isinf(at_ms) else math.ceil(at_ms)

    # ---- faults ----

    def cut(self, name: str, cut: bool) -> None:
        """Break or mend a node's stub: it neither hears nor is heard."""
        self._nodes[name].cut = cut
        if cut:
            self._nodes[name].heard.clear()

    def stick(self, name: str, stuck: bool) -> None:
        """Leave a node's driver on: nothing on the pair is read rightly any more."""
        self._nodes[name].stuck = stuck

    def babble(self, name: str, make: Callable[[], bytes] | None, period_ms: float,
               now_ms: float) -> None:
        """Let a node send make() every period_ms, asked or not; None ends it."""
        node = self._nodes[name]
        node.next_babble_ms = math.inf if make is None else now_ms + period_ms
        node.babble, node.babble_ms = make or bytes, period_ms

    def noise(self, per_s: float, now_ms: float) -> None:
        """Put bursts of random bytes on the line, so many a second on average; 0 ends it."""
        self._noise_per_s = per_s
        self._next_noise_ms = math.inf if not per_s else now_ms + self._noise_gap_ms()

    def _noise_gap_ms(self) -> float:
        return self._rng.expovariate(self._noise_per_s / 1000)

    # ---- what happens on the wire ----

    def advance(self, now_ms: float) -> None:
        """Hand every burst that is over by now to those who heard it."""
        while True:
            spoken = self._speak_up(now_ms)
            cluster = self._group()
            if cluster and max(burst.end_ms for burst in cluster) <= now_ms:
                del self._under_way[:len(cluster)]
                self._deliver(cluster)
            elif not spoken:
                return

    def _speak_up(self, now_ms: float) -> bool:
        """Begin what faults send by now; True when there was something."""
        spoken = False
        if self._next_noise_ms <= now_ms:
            data = self._rng.randbytes(self._rng.randint(*NOISE_SIZE))
            begin_ms = self._next_noise_ms
            self._begin(_Burst(begin_ms, begin_ms + len(data) * self._byte_ms, "", data))
            self._next_noise_ms += self._noise_gap_ms()
            spoken = True
        for name, node in self._nodes.items():
            if node.next_babble_ms <= now_ms:
                self.send(name, node.babble(), node.next_babble_ms)
                node.next_babble_ms += node.babble_ms
                spoken = True
        return spoken

    def _group(self, whole: bool = False) -> list[_Burst]:
        """Return the first bursts that overlap, one alone mostly; whole: that touch as well."""
        out: list[_Burst] = []
        end_ms = 0.0
        for burst in self._under_way:
            if out and (burst.begin_ms > end_ms or (burst.begin_ms == end_ms and not whole)):
                break
            out.append(burst)
            end_ms = max(end_ms, burst.end_ms)
        return out

    def _deliver(self, cluster: list[_Burst]) -> None:
        wire = self._bytes_of(cluster)
        senders = {burst.node for burst in cluster}
        for name, node in self._nodes.items():
            if node.cut:
                continue
            if name in senders and not self._echo:
                own = [burst for burst in cluster if burst.node == name]
                heard = bytes(value for end_ms, value in wire if not any(
                    burst.begin_ms < end_ms and end_ms - self._byte_ms < burst.end_ms
                    for burst in own))
            else:
                heard = bytes(value for _, value in wire)
            room = HEARD_SIZE_MAX - len(node.heard)
            node.heard += heard[:room]
            node.heard_ms = max(burst.end_ms for burst in cluster)

    def _bytes_of(self, cluster: list[_Burst]) -> list[tuple[float, int]]:
        """Return (end in ms, value) of every byte that a receiver makes of these bursts."""
        stuck = any(node.stuck for node in self._nodes.values())
        out: list[tuple[float, int]] = []
        for place, burst in enumerate(cluster):
            for index, value in enumerate(burst.data):
                begin_ms = burst.begin_ms + index * self._byte_ms
                end_ms = begin_ms + self._byte_ms
                others = [other for other in cluster if other is not burst
                          and other.begin_ms < end_ms and begin_ms < other.end_ms]
                if others or stuck:
                    self.collided_bytes += 1
                    if any(other in cluster[:place] for other in others):
                        continue  # the receiver is within another's byte
                    out.append((end_ms, self._garbled(value, others, begin_ms)))
                else:
                    out.append((end_ms, value))
        return self._faulty(sorted(out))

    def _garbled(self, value: int, others: list[_Burst], at_ms: float) -> int:
        """Return what is read while several drive: low wins, what lies between is chance."""
        for other in others:
            index = int((at_ms - other.begin_ms) / self._byte_ms)
            if 0 <= index < len(other.data):
                value &= other.data[index]
        return value if self._rng.random() < 0.5 else value ^ self._rng.randrange(256)

    def _faulty(self, wire: list[tuple[float, int]]) -> list[tuple[float, int]]:
        if not self.flip and not self.drop:
            return wire
        out = []
        for end_ms, value in wire:
            chance = self._rng.random()
            if chance < self.drop:
                continue
            hit = chance < self.drop + self.flip
            out.append((end_ms, value ^ (1 << self._rng.randrange(8) if hit else 0)))
        return out
