"""The element's end of the building bus: speaks when it is polled, or in a slot, and only then.

Loaded by boards with LINK = "bus". The port calls `look` once in a ms: it takes what the pair has
brought and sends the answer that is due. So a turn does not wait for the element's tasks; what
they have written by then goes with it. Every permission to speak is for one frame, of a size that
came with it: an element whose tasks write without end fills its own queue and nothing else.

A piece of the stream is kept until the master has acknowledged it, and taken once. What waits for
longer than AGE_MS_MAX is dropped and counted: a panel must not take old words for new ones.
"""

import hashlib

from ..protocol import bus
from ..protocol.errors import DecodeError
from ..protocol.framing import FrameDecoder
from .network_line import NetworkLine

QUEUE_SIZE_MAX = 4096
AGE_MS_MAX = 3000
# Who brings something is answered so much later, or a ms after the tasks have said something: a
# setpoint needs no second turn for its acknowledgement.
THINK_MS = 5
# A frame goes before those of more than twice its size: acknowledgements before telemetry, both
# before long statements, which wait on flash. One that has waited so long is overtaken no more.
# Only what is sealed overtakes: a link message (no handshake!) must not come before the first word
# of a session.
OVERTAKEN_MS_MAX = 1500
_SEALED = b"\xd0"
# Not polled for so long: the master is gone, or has given the address away.
LOST_MS = 5000


class BusLine(NetworkLine):
    """One element on the pair. uart: the raw line; tx: the piece that is on its way.

    heard_bad: frames on the pair that were damaged, collisions of others included.
    """

    def __init__(self, hal, uart, baud: int):
        super().__init__(hal)
        self._uart = uart
        self._turn_ms = bus.turn_ms(baud)
        self._frames = FrameDecoder(bus.PAYLOAD_SIZE_MAX)
        self._id = b""
        self._generation = 0
        self._address = 0  # 0: none
        self._queue = []  # (ticks, frame) as they were written
        self._begun = 0  # bytes of the first of them that are on their way already
        self._queued = 0
        self._sequence_tx = 0
        self._sequence_rx = 0
        self._due = None  # when to speak, and what: a HELLO, or None for an answer
        self._hello = None
        self._budget = 0
        self._polled_at = 0
        self._quiet_at = None
        self._quiet_ms = 0

    @property
    def address(self) -> int:
        """The address on the bus, 0 while there is none."""
        return self._address

    @property
    def busy(self) -> bool:
        """True while there is something to say at a moment that has been fixed."""
        return self._due is not None

    @property
    def heard_bad(self) -> int:
        """Damaged frames since boot."""
        frames = self._frames
        return frames.bad_crc + frames.bad_cobs + frames.oversize + frames.runt

    def begin(self, element_id: bytes) -> None:
        """Take part from now on, as element_id."""
        self._id = bytes(element_id)

    def wait_ms(self, dt_ms: int) -> int:
        """Return dt_ms (-1: without limit), or less when something is to be said before."""
        if self._due is None:
            return dt_ms
        left_ms = max(0, self._hal.ticks_diff(self._due, self._hal.ticks_ms()))
        return left_ms if dt_ms < 0 else min(dt_ms, left_ms)

    def write(self, data: bytes) -> None:
        """Queue a frame whole. Without an address, or when the queue is full, it is lost."""
        self._drop_old()
        if self._up_at is None or self._queued + len(data) > QUEUE_SIZE_MAX:
            self.lost_count += len(data)
            return
        at = len(self._queue)
        first = 1 if self._begun else 0
        while data[1:2] == _SEALED and at > first and len(self._queue[at - 1][1]) > 2 * len(data) \
                and self._since(self._queue[at - 1][0]) < OVERTAKEN_MS_MAX:
            at -= 1
        now = self._hal.ticks_ms()
        self._queue.insert(at, (now, bytes(data)))
        if self._due is not None and self._hello is None \
                and self._since(self._polled_at) >= self._turn_ms - 1 \
                and self._hal.ticks_diff(self._due, now) > 1:
            self._due = self._hal.ticks_add(now, 1)
        self._queued += len(data)

    def look(self) -> bool:
        """Take what came, say what is due; True when there is something for the tasks."""
        before = len(self.rx)
        data = self._uart.read()
        if data:
            for payload in self._frames.feed(data):
                self._take(payload)
        if self._due is not None and self._since(self._due) >= 0:
            self._speak()
        if self._quiet_at is not None and self._since(self._quiet_at) >= self._quiet_ms:
            self._quiet_at = None
        if self._address and self._since(self._polled_at) > LOST_MS:
            self._lose("bus: not polled any more")
        return len(self.rx) > before

    # ---- what the pair brings ----

    def _take(self, payload: bytes) -> None:
        # most of what passes is for others: look at it no closer
        kind = payload[0]
        if kind == bus.ANSWER or kind == bus.HELLO or not self._id:
            return
        if kind == bus.POLL and len(payload) > 2 and payload[2] != self._address:
            return
        try:
            message = bus.decode(payload)
        except DecodeError:
            self.lost_count += len(payload)
            return
        if kind == bus.QUIET:
            if message[1] == self._id:
                self._quiet_at = self._hal.ticks_ms()
                self._quiet_ms = message[2] * 1000
                self._due = None
                self._lose("bus: told to be quiet")
        elif self._quiet_at is not None:
            pass
        elif kind == bus.POLL:
            self._on_poll(message)
        elif kind == bus.DISCOVER:
            self._on_discover(message)
        elif kind == bus.ASSIGN:
            self._on_assign(message[1], message[2])
        elif message[1] == self._generation and message[2] == self._address:
            self._lose("bus: address taken back")

    def _on_discover(self, message: tuple) -> None:
        """Choose a slot, unless this master has given an address already."""
        _, generation, nonce, slot_count, slot_ms = message
        if self._address:
            if generation == self._generation:
                return
            self._lose("bus: another master")
        # a hash and no CRC: of two ids a CRC's difference is the same with every nonce
        digest = hashlib.sha256(self._id + bytes((nonce >> 8, nonce & 255))).digest()
        slot = (digest[0] << 8 | digest[1]) % slot_count
        self._hello = nonce
        self._due = self._hal.ticks_add(self._hal.ticks_ms(), self._turn_ms + slot * slot_ms)

    def _on_assign(self, generation: int, pairs: list) -> None:
        for address, element_id in pairs:
            if element_id == self._id:
                if self._address:
                    self._lose("bus: a new address")
                self._generation = generation
                self._address = address
                self._polled_at = self._hal.ticks_ms()
                self._sequence_tx = self._sequence_rx = 0
                self._due = None
                self._is_up_now()
                return
        for address, _ in pairs:
            if address == self._address and self._address:
                self._lose("bus: address given to another")
                return

    def _on_poll(self, message: tuple) -> None:
        _, generation, address, bits, budget, stream = message
        if address != self._address:
            return
        if generation != self._generation:
            self._lose("bus: another master")
            return
        self._polled_at = self._hal.ticks_ms()
        if self.tx and bool(bits & bus.ACK) == bool(self._sequence_tx):
            self.tx = bytearray()
        sequence = bits & bus.SEQUENCE
        came = len(stream) > 0 and sequence != self._sequence_rx
        if came:
            self._sequence_rx = sequence
            self._received(stream)
        if not bits & bus.PUSH:
            self._hello = None
            self._budget = min(budget, bus.STREAM_SIZE_MAX)
            self._due = self._hal.ticks_add(
                self._polled_at, self._turn_ms + (THINK_MS if came else 0))

    # ---- what it says ----

    def _speak(self) -> None:
        """Use the permission, once."""
        self._due = None
        if self._hello is not None:
            payload = bus.hello(self._hello, self._id)
            self._hello = None
        elif self._address:
            self._fill()
            piece = self.tx if len(self.tx) <= self._budget else b""
            bits = (bus.SEQUENCE if self._sequence_tx else 0) | (
                bus.ACK if self._sequence_rx else 0)
            waiting = self._queued - self._begun + len(self.tx) - len(piece)
            payload = bus.answer(self._generation, self._address, bits, waiting, piece)
        else:
            return
        self._uart.write(bus.frame(payload))

    def _fill(self) -> None:
        """Make the next piece, once the one before has been acknowledged."""
        self._drop_old()
        if self.tx or not self._queue:
            return
        piece = bytearray()
        while self._queue and len(piece) < self._budget:
            data = self._queue[0][1]
            part = data[self._begun:self._begun + self._budget - len(piece)]
            piece += part
            self._begun += len(part)
            if self._begun == len(data):
                self._queue.pop(0)
                self._queued -= len(data)
                self._begun = 0
        if piece:
            self.tx = piece
            self._sequence_tx ^= 1

    def _drop_old(self) -> None:
        """Drop what has waited too long; a frame that has begun to leave goes on."""
        at = 1 if self._begun else 0
        while len(self._queue) > at and self._since(self._queue[at][0]) > AGE_MS_MAX:
            data = self._queue.pop(at)[1]
            self._queued -= len(data)
            self.lost_count += len(data)

    def _lose(self, why: str) -> None:
        """Give the address up, and what was to be said under it."""
        self.lost_count += self._queued - self._begun
        self._queue = []
        self._queued = self._begun = 0
        self._address = 0
        if self._hello is None:
            self._due = None
        if self._up_at is not None:
            self._is_gone(why)
