"""A serial line in virtual time that can be disturbed, recorded and spoken on by strangers.

One `put` is one frame, as the host's end and the element's send whole frames.
"""

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from hil.bench.rig import LINK_BAUD, Wire

REORDER_MS = (20, 400)
KEPT_MAX = 64
QUEUE_MAX = 4096


class DisturbedWire(Wire):
    """One direction of a line. Shares are of frames; `delay_ms` comes on top of the latency.

    tag: what the next frame is, for whoever watches: `on_arrival(tag, now_ms)` is called when it
    is handed over whole. kept: the newest frames, as an eavesdropper would have them. holding:
    frames wait until it is False again, and come then, all together.
    """

    def __init__(self, rng: Random, latency_ms: int) -> None:
        super().__init__()
        self.latency_ms = latency_ms
        self.delay_ms = 0
        self.duplicates = self.reorders = self.corrupts = 0.0
        self.tag: Any = None
        self.on_arrival: Callable[[Any, int], None] | None = None
        self.kept: deque[bytes] = deque(maxlen=KEPT_MAX)
        self.disturbed_count = 0
        self._rng = rng
        self._order = count()
        self._frames: list[tuple[int, int, bytes, Any]] = []
        self._held: list[tuple[int, bytes, Any]] | None = None  # (when put, frame, tag)
        self._put: deque[tuple[int, int]] = deque(maxlen=16)  # (when, order)

    def put(self, data: bytes, now_ms: int) -> None:
        """Send a frame at now_ms."""
        tag, self.tag = self.tag, None
        if self.cut:
            return
        self.kept.append(data)
        if self._held is not None:
            self._held.append((now_ms, data, tag))
            return
        begin_ms = max(self._free_ms, float(now_ms))
        self._free_ms = begin_ms + len(data) * 10_000.0 / LINK_BAUD
        at_ms = int(self._free_ms) + 1 + self.latency_ms + self.delay_ms
        rng = self._rng
        copies = 1
        if self.duplicates and rng.random() < self.duplicates:
            copies = 2
        if self.reorders and rng.random() < self.reorders:
            at_ms += rng.randint(*REORDER_MS)
        if self.corrupts and rng.random() < self.corrupts:
            data, tag = self._flipped(data), None
        for number in range(copies):
            later_ms = number * rng.randint(0, 50) if number else 0
            self._put.append((now_ms, self._push(at_ms + later_ms, data, tag)))

    def retract(self, now_ms: int) -> None:
        """Take back what was put at this very moment: its sender was dead before it was sent."""
        put = {order for at_ms, order in self._put if at_ms == now_ms}
        self._frames = [one for one in self._frames if one[1] not in put]
        heapq.heapify(self._frames)
        if self._held is not None:
            self._held = [one for one in self._held if one[0] != now_ms]

    def inject(self, data: bytes, at_ms: int) -> None:
        """Let a stranger's bytes arrive at at_ms, wherever they come from; the cut is before."""
        self._push(at_ms, data, None)

    def hold(self, holding: bool, now_ms: int) -> None:
        """Keep what comes from now on, or let what was kept arrive now."""
        if holding:
            self._held = self._held or []
            return
        waiting, self._held = self._held or [], None
        for _, data, tag in waiting:
            self._push(now_ms + 1 + self.latency_ms, data, tag)

    @property
    def holding(self) -> bool:
        """True while frames wait."""
        return self._held is not None

    def due_ms(self) -> int | None:
        return self._frames[0][0] if self._frames else None

    def take(self, now_ms: int) -> bytes:
        data = b""
        while self._frames and self._frames[0][0] <= now_ms:
            _, _, frame, tag = heapq.heappop(self._frames)
            data += frame
            if tag is not None and self.on_arrival is not None:
                self.on_arrival(tag, now_ms)
        return data

    def set_cut(self, cut: bool) -> None:
        self.cut = cut
        if cut:
            self._frames.clear()
            if self._held is not None:
                self._held.clear()

    def _push(self, at_ms: int, data: bytes, tag: Any) -> int:
        """Queue a frame; returns its number."""
        number = next(self._order)
        if len(self._frames) < QUEUE_MAX:
            heapq.heappush(self._frames, (at_ms, number, data, tag))
        return number

    def _flipped(self, data: bytes) -> bytes:
        """Return data with one to three bits flipped."""
        self.disturbed_count += 1
        out = bytearray(data)
        for _ in range(self._rng.randint(1, 3)):
            out[self._rng.randrange(len(out))] ^= 1 << self._rng.randrange(8)
        return bytes(out)
