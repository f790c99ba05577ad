"""The master of a building bus: finds elements, gives them turns, carries their bytes. No I/O.

Bytes are handed in and out, times are handed in as ms of any one clock, randomness is handed in.
Ask `due_ms`, call `step` then: what it returns goes to the pair at once. Each element that has
been found is a line of its own: `on_found(element_id)` returns who takes its bytes, `sender`
gives the way back. What discovery and turns look like: docs/transports.md.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from element.protocol import bus
from element.protocol.errors import DecodeError
from element.protocol.framing import FrameDecoder
from host_tools.links.bus_element import BusElement
from host_tools.links.bus_watch import MUTE_S, Watch

# An element with nothing to say is asked so often; a busy one whenever it is its turn.
POLL_PERIOD_MS = 250
# However much there is to say, everybody has a turn within this; only with BUDGET_MIN bytes to a
# turn, on a slow line with many, it takes longer.
CYCLE_MS = 950
BUDGET_MIN = 64
# Up in a turn that brings news while others wait for theirs: room for an acknowledgement.
WAVE_SIZE = 64
# An answer begins this long after the poll's end, or the element is silent. A small board may be
# in a control tick; an adapter on USB adds its own.
ANSWER_MS_MAX = 30
# ... and is seen when so many bytes of it have come: a UART hands them over in pieces.
PIECE_SIZE = 32
# What comes within this of the poll's begin is its answer still, late.
LATE_MS_MAX = 200
# A slot holds a HELLO and this: what an element is late at most.
SLOT_SPARE_MS = 5
# One that does not end gets so much longer.
OVER_MS = 20
# From nothing: rounds of all slots that are needed, one after the other, for so long at most.
STARTING_MS_MAX = 3000
SLOTS_FIRST = 32
SLOTS_MAX = 64
# On a live bus: short windows between turns.
WINDOW_PERIOD_MS = 1500
WINDOW_AGAIN_MS = 150
WINDOW_PERIOD_MS_MAX = 8000
WINDOW_SLOTS_MIN = 2
WINDOW_SLOTS_MAX = 8
# Of elements that collided there are 2.39 for each slot in which they did.
# Ref: Schoute, Dynamic Frame Length ALOHA, IEEE Trans. Commun. 31(4), 1983.
_SCHOUTE = (239, 100)
# Never understood for so long: lost. The element itself gives up after 5 s without a poll.
LOST_MS = 8000
# An address is not given to another one before whoever had it has surely lost it.
REST_MS = 12_000
# Heard so often in a row and never understood, while others are: two may share an address.
BAD_RUN_MAX = 4

Receiver = Callable[[bytes], None]


class BusMaster:
    """One pair and the elements on it, each known by its id.

    on_found(element_id): an element has an address and has answered; returns who takes its
    bytes. Called again for one that was lost or has restarted. on_lost(element_id): silent for
    LOST_MS. seen_ms: when each was found first. watch.findings: who jabbers.
    """

    def __init__(self, baud: int, random_bytes: Callable[[int], bytes],
                 on_found: Callable[[bytes], Receiver],
                 on_lost: Callable[[bytes], None] = lambda element_id: None) -> None:
        self.baud = baud
        self.elements: dict[bytes, BusElement] = {}
        self.seen_ms: dict[bytes, int] = {}
        self.watch = Watch()
        self.full_count = 0  # HELLOs for which there was no address
        self.echo_count = 0  # our own frames, from an adapter that hears itself
        self.round_count = self.turn_count = 0
        self.sent_bytes = self.heard_bytes = 0
        self.generation = random_bytes(1)[0]
        self.stream_size = bus.stream_size(baud)
        self._random = random_bytes
        self._on_found, self._on_lost = on_found, on_lost
        self._receivers: dict[bytes, Receiver] = {}
        self._frames = FrameDecoder(bus.PAYLOAD_SIZE_MAX)
        self._turn_ms = bus.turn_ms(baud)
        self._answer_ms = ANSWER_MS_MAX + bus.send_ms(PIECE_SIZE, baud)
        self._slot_ms = bus.send_ms(bus.HELLO_SIZE, baud) + SLOT_SPARE_MS
        self._now_ms = 0
        self._free_ms = 0  # the pair is ours from here on
        self._began_ms: int | None = None
        self._starting = True
        self._bad_seen = 0
        self._polled: BusElement | None = None
        self._sent_ms = 0  # when the last byte of the poll has left
        self._deadline_ms = 0
        self._heard_in_turn = False
        self._heard_ms = -REST_MS
        self._nonce: int | None = None  # of the round that runs
        self._round_slots = 0
        self._round_bad = 0
        self._hellos: list[bytes] = []
        self._slots = SLOTS_FIRST
        self._window_ms = 0  # when the next window begins
        self._fruitless = 0  # windows in a row with collisions and nobody in them
        self._free_addresses: deque[tuple[int, int]] = deque(
            (-REST_MS, address) for address in range(1, bus.ADDRESS_MAX + 1))
        self._orders: deque[bytes] = deque()  # ASSIGN, FORGET, QUIET: no answer
        self._muted: dict[bytes, int] = {}
        self._hurry_until_ms: int | None = None

    # ---- what the lines of the elements use ----

    def sender(self, element_id: bytes) -> Callable[[bytes], None]:
        """Return the function by which bytes are sent to an element, known or not yet."""
        return lambda data: self.send(element_id, data)

    def send(self, element_id: bytes, data: bytes, hurry: bool = False) -> None:
        """Queue a frame for an element; without an address it is lost. hurry: before all else."""
        element = self.elements.get(element_id)
        if element is not None:
            element.put(data, self._now_ms, hurry or (
                self._hurry_until_ms is not None and self._now_ms < self._hurry_until_ms))

    def hurry(self, now_ms: int, duration_ms: int = 500) -> None:
        """Let what is sent from now on go before everything: there is an alarm."""
        self._now_ms = max(self._now_ms, now_ms)
        self._hurry_until_ms = now_ms + duration_ms

    # ---- time ----

    @property
    def due_ms(self) -> int:
        """When `step` is wanted next."""
        if self._polled is not None or self._nonce is not None:
            return self._deadline_ms
        wanted = min([one.due_ms(POLL_PERIOD_MS) for one in self.elements.values()],
                     default=self._window_ms)
        if self._orders or self._starting:
            wanted = self._free_ms
        return max(self._free_ms, min(wanted, self._window_ms))

    def step(self, now_ms: int) -> bytes:
        """Do what is due; return what is to be sent now, empty for nothing."""
        self._now_ms = now_ms
        if self._began_ms is None:
            self._began_ms = now_ms
        if self._polled is not None:
            if now_ms < self._deadline_ms:
                return b""
            self._turn_missed(self._polled)
        if self._nonce is not None:
            if now_ms < self._deadline_ms:
                return b""
            self._close_round()
        if now_ms < self._free_ms:
            return b""
        self._look_after()
        payload = self._next()
        if payload is None:
            return b""
        data = bytes(bus.frame(payload))
        self.sent_bytes += len(data)
        took_ms = bus.send_ms(len(data), self.baud)
        self._sent_ms = now_ms + took_ms
        self._free_ms = self._sent_ms + self._turn_ms
        if self._polled is not None:
            self._deadline_ms = self._sent_ms + self._answer_ms
        elif self._nonce is not None:
            self._deadline_ms = self._free_ms + self._round_slots * self._slot_ms + self._turn_ms
        return data

    def _look_after(self) -> None:
        """Give up the lost, silence the loud."""
        now_ms = self._now_ms
        for element in list(self.elements.values()):
            if now_ms - element.answered_ms > LOST_MS:
                self._remove(element)
        for element_id in [one for one, until in self._muted.items() if now_ms >= until]:
            del self._muted[element_id]
        silence = self.watch.close_window(now_ms)
        if silence is not None:
            self._mute(*silence)

    def _remove(self, element: BusElement) -> None:
        del self.elements[element.element_id]
        if self._polled is element:
            self._polled, self._free_ms = None, self._now_ms + self._turn_ms
        self._free_addresses.append((self._now_ms, element.address))
        if element.confirmed or element.element_id in self._receivers:
            self._receivers.pop(element.element_id, None)
            self._on_lost(element.element_id)

    def _mute(self, element_id: bytes, seconds: int) -> None:
        """Tell an element to be quiet; its address goes."""
        element = self.elements.get(element_id)
        if element is not None:
            self._remove(element)
        self._muted[element_id] = self._now_ms + seconds * 1000
        # said thrice: it may be speaking
        self._orders.extend([bus.quiet(element_id, seconds)] * 3)

    # ---- what comes next ----

    def _next(self) -> bytes | None:
        """Return the payload of whatever is due first: alarms, orders, discovery, turns."""
        now_ms = self._now_ms
        for one in self.elements.values():
            if one.hurried and one.confirmed and not one.silent_run:
                if one.has_news:
                    return one.poll(self.generation, self.stream_size, True, now_ms)
                # what is under way must have arrived first: ask for that alone
                return self._poll(one, 0)
        if self._orders:
            return self._orders.popleft()
        if self._starting or now_ms >= self._window_ms:
            return self._discover()
        due = [one for one in self.elements.values() if one.due_ms(POLL_PERIOD_MS) <= now_ms]
        if not due:
            return None
        element = min(due, key=lambda one: (-1 if one.polled_ms is None else one.polled_ms,
                                            one.address))
        # while others wait for news it is told and acknowledges, and has its say afterwards
        wave = element.has_news and any(one.has_news and one.confirmed for one in due
                                        if one is not element)
        return self._poll(element, WAVE_SIZE if wave and element.confirmed else None)

    @property
    def budget(self) -> int:
        """How many bytes a turn carries, both ways together: all have one within CYCLE_MS."""
        count = sum(one.confirmed and not one.silent_run for one in self.elements.values())
        byte_ms = bus.BITS_PER_BYTE * 1000 / self.baud
        idle_ms = 2 * (self._turn_ms + 1)
        size = int((CYCLE_MS / max(count, 1) - idle_ms) / byte_ms) - 2 * bus.OVERHEAD
        return max(BUDGET_MIN, min(self.stream_size, size)) // bus.UNIT * bus.UNIT

    def _poll(self, element: BusElement, allowed: int | None) -> bytes:
        self._polled, self._heard_in_turn = element, False
        self.turn_count += 1
        self.watch.polled(element.element_id)
        return element.poll(self.generation, self.budget, False, self._now_ms, allowed)

    # ---- discovery ----

    def _discover(self) -> bytes:
        self._nonce = int.from_bytes(self._random(2), "big")
        self._hellos, self._round_bad = [], 0
        alone = not any(one.confirmed for one in self.elements.values())
        most = SLOTS_MAX if alone else WINDOW_SLOTS_MAX
        self._round_slots = max(1, min(self._slots, most))
        self.round_count += 1
        return bytes(bus.discover(self.generation, self._nonce, self._round_slots, self._slot_ms))

    def _close_round(self) -> None:
        """Give addresses, and estimate from the collisions how many are left."""
        self._hear(b"\x00")  # what has begun and will not end was a collision
        self._nonce = None
        was_alone = not any(one.confirmed for one in self.elements.values())
        collided = min(self._round_bad, max(0, self._round_slots - len(self._hellos)))
        pairs = [pair for pair in map(self._admit, self._hellos) if pair is not None]
        for at in range(0, len(pairs), bus.PAIRS_MAX):
            self._orders.append(bus.assign(self.generation, pairs[at:at + bus.PAIRS_MAX]))
        left = -(-collided * _SCHOUTE[0] // _SCHOUTE[1])
        if collided and not self._hellos:
            left = max(left, 2 * self._round_slots)  # all of them collided: more than was thought
        self._slots = max(WINDOW_SLOTS_MIN, min(left, SLOTS_MAX))
        found = len(self._hellos)
        if not was_alone:
            self._starting = False
        elif not self._starting and (collided or found):
            # a whole building has come back: nobody is disturbed, all may be found at once
            self._starting, self._began_ms = True, self._now_ms
        elif self._starting:
            assert self._began_ms is not None
            over = self._now_ms - self._began_ms >= STARTING_MS_MAX
            self._starting = not over and bool(collided or found)
        # noise looks like collisions and never ends: ask less and less
        self._fruitless = self._fruitless + 1 if collided and not found else 0
        if collided and self._fruitless <= 2:
            wait_ms = WINDOW_AGAIN_MS
        else:
            wait_ms = min(WINDOW_PERIOD_MS << max(0, self._fruitless - 3), WINDOW_PERIOD_MS_MAX)
        self._window_ms = self._now_ms + wait_ms

    def _admit(self, element_id: bytes) -> tuple[int, bytes] | None:
        """Return (address, id) for one that said HELLO, None when there is no room for it."""
        element = self.elements.get(element_id)
        if element_id in self._muted:
            self._orders.append(bus.quiet(element_id, MUTE_S))
            return None
        if element is None:
            if not self._free_addresses or \
                    self._now_ms - self._free_addresses[0][0] < REST_MS:
                self.full_count += 1
                return None
            element = BusElement(element_id, self._free_addresses.popleft()[1], self._now_ms)
            self.elements[element_id] = element
        element.assigned(element.address, self._now_ms)
        return element.address, element_id

    # ---- what is heard ----

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take bytes from the pair, in pieces of any size."""
        self._now_ms = now_ms
        self.heard_bytes += len(data)
        self._heard_ms = now_ms
        if self._polled is not None and not self._heard_in_turn and now_ms > self._sent_ms \
                and data.strip(b"\x00"):
            # somebody speaks: leave it the time for all that it may say
            self._heard_in_turn = True
            self._deadline_ms = max(self._deadline_ms, now_ms + self._turn_ms + bus.send_ms(
                self.stream_size + bus.OVERHEAD + 2, self.baud))
        self._hear(data)

    def _hear(self, data: bytes) -> None:
        for payload in self._frames.feed(data):
            try:
                self._take(bus.decode(payload))
            except DecodeError:
                self._noise(1)
        frames = self._frames
        bad = frames.bad_crc + frames.bad_cobs + frames.oversize + frames.runt
        if bad > self._bad_seen:
            self._noise(bad - self._bad_seen)
            self._bad_seen = bad

    def _noise(self, count: int) -> None:
        if self._nonce is not None:
            self._round_bad += count
            return
        if self._now_ms <= self._sent_ms:
            return  # beside what we say ourselves
        self.watch.noise(count, None if self._polled is None else self._polled.element_id)
        if self._polled is not None:
            # its answer, or somebody else's noise before it: wait no longer than for silence
            self._heard_in_turn = True
            self._deadline_ms = max(self._sent_ms + self._answer_ms, self._now_ms + self._turn_ms)

    def _take(self, message: tuple[Any, ...]) -> None:
        kind = message[0]
        if kind == bus.ANSWER:
            self._on_answer(*message[1:])
        elif kind == bus.HELLO:
            if self._nonce is not None and message[1] == self._nonce:
                if message[2] not in self._hellos:
                    self._hellos.append(message[2])
            else:
                self._stray(message[2])
        else:
            self.echo_count += 1

    def _on_answer(self, generation: int, address: int, bits: int, waiting: int,
                   stream: bytes) -> None:
        element = self._polled
        if generation != self.generation:
            self._noise(1)
            return
        if element is None or element.address != address:
            for other in self.elements.values():
                if other.address == address:
                    self._unasked(other, bits, waiting, stream)
                    return
            return
        if self._is_too_long(element, stream):
            return
        self._polled = None
        self._free_ms = self._now_ms + self._turn_ms
        element.quality.answer_ms[self._now_ms - self._sent_ms] += 1
        self._good(element, bits, waiting, stream)

    def _is_too_long(self, element: BusElement, stream: bytes) -> bool:
        """Return True for an answer beyond what any turn allows, and count it."""
        if len(stream) <= self.stream_size:
            return False
        element.quality.over += 1
        self.watch.over(element.element_id)
        return True

    def _good(self, element: BusElement, bits: int, waiting: int, stream: bytes) -> None:
        """Take a good answer, hand on what is new in it."""
        element.quality.good += 1
        element.unanswered = False
        self.watch.good(element.element_id)
        element.good_before = self._good_count()
        fresh = element.answered(bits, waiting, stream, self._now_ms)
        if not element.confirmed:
            element.confirmed = True
            self.seen_ms.setdefault(element.element_id, self._now_ms)
            self._receivers[element.element_id] = self._on_found(element.element_id)
            self._receivers[element.element_id](b"\x00")  # ends what was left of a frame
        if fresh:
            self._receivers[element.element_id](fresh)

    def _good_count(self) -> int:
        return sum(one.quality.good for one in self.elements.values())

    def _unasked(self, element: BusElement, bits: int, waiting: int, stream: bytes) -> None:
        """Judge an answer of somebody whose turn it is not: late once, or nobody asked."""
        polled_ms = element.polled_ms
        if self._is_too_long(element, stream):
            return
        if element.unanswered and polled_ms is not None \
                and self._now_ms - polled_ms < LATE_MS_MAX:
            element.quality.late += 1
            self._good(element, bits, waiting, stream)
            return
        element.quality.stray += 1
        self._stray(element.element_id)

    def _stray(self, element_id: bytes) -> None:
        if element_id not in self._muted and self.watch.stray(element_id, self._now_ms):
            self._mute(element_id, MUTE_S)

    def _turn_missed(self, element: BusElement) -> None:
        """End a turn that has brought nothing."""
        self._hear(b"\x00")  # what has begun and will not end was of this turn
        if self._polled is None:
            return  # nothing but the last zero was lost
        self._polled = None
        element.unanswered = True
        self._free_ms = max(self._free_ms, self._now_ms)
        if not self._heard_in_turn:
            element.silent_run += 1
            element.quality.silent += 1
            return
        element.bad_run += 1
        element.quality.bad += 1
        if self._now_ms - self._heard_ms <= 2 * self._turn_ms:
            # still speaking when all that it may say would have been over
            element.quality.over += 1
            self.watch.over(element.element_id)
            self._free_ms = max(self._free_ms, self._now_ms + OVER_MS)
        others = self._good_count() - element.good_before
        if element.bad_run >= BAD_RUN_MAX and not self.watch.is_noisy_without(element.element_id) \
                and (others >= BAD_RUN_MAX or len(self.elements) == 1):
            # perhaps two have this address: take it back, and both will say HELLO
            self._orders.extend([bus.forget(self.generation, element.address)] * 2)
            self._remove(element)
            self._window_ms = self._now_ms
