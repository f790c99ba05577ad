"""Model one direction of a slow serial line, and the damage a reply can take on it.

Time is integer milliseconds at the interface and microseconds inside: at 9600 baud a byte of
10 bits takes 1041.7 us.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

BITS_PER_BYTE = 10
SPLIT_GAP_MS = (20, 100)
LATE_MS = (300, 1500)
NOISE_GAP_MS = (0, 20)
NOISE_SIZE_MAX = 16
FAULT_MODES = (
    "drop", "flip", "split", "wrong_length", "echo", "merge",
    "late", "stuck", "other_address", "noise",
)
QUEUE_CHUNKS_MAX = 64


def wire_ms(size_bytes: int, baud: int) -> int:
    """Return how long size_bytes take on the wire, rounded up to a whole millisecond."""
    return -(-size_bytes * BITS_PER_BYTE * 1000 // baud)


class SendLine:
    """Deliver queued chunks byte by byte at the speed of the line.

    Chunks beyond QUEUE_CHUNKS_MAX are dropped and counted in `dropped_count`: a device with
    a full transmit buffer does the same.
    """

    def __init__(self, baud: int) -> None:
        """Start idle."""
        self.dropped_count = 0
        self._baud = baud
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._sent_bytes = 0
        self._free_ms = 0

    def send(self, ready_ms: int, data: bytes) -> int:
        """Queue data to start at ready_ms or when the line is free; return its last ms."""
        if not data:
            raise ValueError("nothing to send")
        start_ms = max(ready_ms, self._free_ms)
        if len(self._chunks) >= QUEUE_CHUNKS_MAX:
            self.dropped_count += 1
            return start_ms
        self._chunks.append((start_ms, data))
        self._free_ms = start_ms + wire_ms(len(data), self._baud)
        return self._free_ms

    def due_ms(self) -> int | None:
        """Return when the chunk in hand will be complete, None when idle."""
        if not self._chunks:
            return None
        start_ms, data = self._chunks[0]
        return start_ms + wire_ms(len(data), self._baud)

    def take(self, now_ms: int) -> bytes:
        """Return every byte whose last bit is over by now_ms and was not taken before."""
        out = bytearray()
        while self._chunks:
            start_ms, data = self._chunks[0]
            done = (now_ms - start_ms) * self._baud // (1000 * BITS_PER_BYTE)
            done = max(self._sent_bytes, min(len(data), done))
            out += data[self._sent_bytes : done]
            self._sent_bytes = done
            if done < len(data):
                break
            self._chunks.popleft()
            self._sent_bytes = 0
        return bytes(out)


@dataclass(frozen=True)
class FaultParts:
    """Hold what only a protocol or a device can do to a reply.

    wrong_length: a length that lies, with a checksum made to fit. other_address: the same
    reply as if another device had sent it, checksum made to fit. freeze: remember the values
    of now for stuck replies.
    """

    wrong_length: Callable[[Random, bytes], bytes]
    other_address: Callable[[Random, bytes], bytes]
    freeze: Callable[[], None]


class FaultLayer:
    """Damage replies with a given probability, in one chosen way.

    `mode` is None or one of FAULT_MODES: drop (one byte is lost), flip (one bit), split (two
    parts with a pause), wrong_length (length off, checksum made to fit), echo (the request
    comes back first), merge (held back and sent glued to the next reply), late (comes after
    LATE_MS), stuck (all values are those of the moment the mode was set, frame and checksum
    are good), other_address (as from another device), noise (1..NOISE_SIZE_MAX random bytes
    before it). `hit_count` counts the replies damaged. All choices come from rng.
    """

    def __init__(self, rng: Random, parts: FaultParts) -> None:
        """Start without faults."""
        self.hit_count = 0
        self._mode: str | None = None
        self._probability = 0.0
        self._rng = rng
        self._parts = parts
        self._held = b""

    @property
    def mode(self) -> str | None:
        """Return the present mode; setting anything unknown raises ValueError."""
        return self._mode

    @mode.setter
    def mode(self, mode: str | None) -> None:
        if mode is not None and mode not in FAULT_MODES:
            raise ValueError(f"fault mode {mode!r}: use None or one of {FAULT_MODES}")
        if mode == "stuck" and self._mode != "stuck":
            self._parts.freeze()
        self._mode = mode

    @property
    def probability(self) -> float:
        """Return the share of replies to damage; setting it outside 0..1 raises ValueError."""
        return self._probability

    @probability.setter
    def probability(self, probability: float) -> None:
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"fault probability {probability} outside 0..1")
        self._probability = probability

    def apply(
        self, request: bytes, reply: bytes, stuck: Callable[[], bytes]
    ) -> list[tuple[int, bytes]]:
        """Return what is sent instead of reply: (pause in ms before it, bytes), in order.

        stuck makes the reply anew from the frozen values. An empty list means that nothing
        is sent now.
        """
        held, self._held = self._held, b""
        if self._mode is None or self._rng.random() >= self._probability:
            return [(0, held + reply)]
        self.hit_count += 1
        if self._mode == "stuck":
            return [(0, held + stuck())]
        return self._damage(held, request, reply)

    def _damage(self, held: bytes, request: bytes, reply: bytes) -> list[tuple[int, bytes]]:
        rng = self._rng
        index = rng.randrange(len(reply))
        if self._mode == "drop":
            return [(0, held + reply[:index] + reply[index + 1 :])]
        if self._mode == "flip":
            broken = bytearray(reply)
            broken[index] ^= 1 << rng.randrange(8)
            return [(0, held + bytes(broken))]
        if self._mode == "split":
            cut = rng.randrange(1, len(reply))
            return [(0, held + reply[:cut]), (rng.randint(*SPLIT_GAP_MS), reply[cut:])]
        if self._mode == "wrong_length":
            return [(0, held + self._parts.wrong_length(rng, reply))]
        if self._mode == "echo":
            return [(0, held + request + reply)]
        if self._mode == "late":
            return [(rng.randint(*LATE_MS), held + reply)]
        if self._mode == "other_address":
            return [(0, held + self._parts.other_address(rng, reply))]
        if self._mode == "noise":
            noise = rng.randbytes(rng.randint(1, NOISE_SIZE_MAX))
            return [(0, held + noise), (rng.randint(*NOISE_GAP_MS), reply)]
        # merge: one reply is held; a second one in a row goes out together with it.
        if held:
            return [(0, held + reply)]
        self._held = reply
        return []
