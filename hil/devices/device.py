"""Share what every emulated BMS is made of; a protocol adds its parser and its encoding.

A device hears requests at the speed of its line, answers each after a processing time, moves
its FETs with a delay, measures, counts charge and protects its pack. It keeps the contract of
`base.EmulatedBMS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Generic, Protocol, TypeVar

from hil.plant.pack import Pack

from .measurement import Measurement, Values
from .protection import ProtectionLimits, Protections
from .uart_line import FaultLayer, FaultParts, SendLine, wire_ms

FET_SWITCH_MS = 20
COMMANDS_COUNT_MAX = 16
MASK_CHARGE_OFF = 0x01
MASK_DISCHARGE_OFF = 0x02


class HasRaw(Protocol):
    """Be a request: whatever else it holds, its raw bytes."""

    @property
    def raw(self) -> bytes:
        """Return the request as it was on the wire."""


R = TypeVar("R", bound=HasRaw)


class Parser(Protocol[R]):
    """Find requests in a stream of bytes; bounded, and silent about bad ones but for a count."""

    bad_count: int

    def feed(self, data: bytes, start_ms: int, end_ms: int) -> list[R]:
        """Return the requests that data, on the wire from start_ms to end_ms, completes."""


@dataclass(frozen=True)
class Dialect(Generic[R]):
    """Hold what a protocol hands in: speed, time to think, parser, and how it can be damaged.

    wrong_length and other_address: see uart_line.FaultParts.
    """

    baud: int
    processing_ms: tuple[int, int]
    parser: Parser[R]
    wrong_length: Callable[[Random, bytes], bytes]
    other_address: Callable[[Random, bytes], bytes]


@dataclass(frozen=True)
class Setup:
    """Hold how one unit is wired and what is wrong with it.

    current_of returns the true pack current (positive = discharge), None: the pack's own.
    start_closed False: both FETs are held off after power-on. soc_drift_pct_per_month and
    soc_error: see Measurement.
    """

    series_count: int
    ntc_count: int
    capacity_ah: float
    current_of: Callable[[], float] | None = None
    start_closed: bool = False
    limits: ProtectionLimits | None = None
    start_ms: int = 0
    soc_drift_pct_per_month: float = 0.0
    soc_error: float = 0.0

    def check(self, pack: Pack, series_max: int, ntc_max: int, capacity_ah_max: float) -> None:
        """Raise ValueError when a count is not the pack's or does not fit its field."""
        if self.series_count != pack.series_count or not 1 <= self.series_count <= series_max:
            raise ValueError(f"series_count {self.series_count}, pack has {pack.series_count}")
        if not 0 <= self.ntc_count <= ntc_max or not 0.0 < self.capacity_ah <= capacity_ah_max:
            raise ValueError(f"ntc_count {self.ntc_count}, capacity_ah {self.capacity_ah}")
        if not -1.0 <= self.soc_error <= 1.0:
            raise ValueError(f"soc_error {self.soc_error} outside -1..1")


class BMSDevice(Generic[R]):
    """Behave like one BMS wired to one pack; a subclass speaks for it.

    `fet_charge` and `fet_discharge` are what the FETs do now. Fault attributes: `silent` (a
    dead cable: requests are neither heard nor answered), `fault_mode` and `fault_probability`
    (see FaultLayer), `fets_stuck` (they stay as they are, whatever is ordered),
    `fets_forced_open` (as if a protection had opened them that nothing tells of).
    `mosfet_mask` is what commands hold off.
    """

    def __init__(self, pack: Pack, rng: Random, protocol: Dialect[R], setup: Setup) -> None:
        """Power the BMS on."""
        self._rng = rng
        self._protocol = protocol
        self.silent = False
        self.fets_stuck = False
        self.fets_forced_open = False
        parts = FaultParts(protocol.wrong_length, protocol.other_address, self._freeze)
        self.faults = FaultLayer(rng, parts)
        limits = setup.limits or ProtectionLimits.for_chemistry(pack.chemistry)
        self.protections = Protections(limits)
        closed = setup.start_closed
        self.mosfet_mask = 0 if closed else MASK_CHARGE_OFF | MASK_DISCHARGE_OFF
        self.fet_charge = self.fet_discharge = closed
        self._wanted = (closed, closed)
        self._switch_ms: int | None = None
        self._line = SendLine(protocol.baud)
        self._heard_ms = self._busy_ms = setup.start_ms
        self._now_ms = setup.start_ms
        self._commands: list[tuple[int, int]] = []
        true_a = setup.current_of if setup.current_of is not None else lambda: pack.current_a
        self._measured = Measurement(
            pack, rng, setup.ntc_count, setup.capacity_ah, true_a,
            setup.soc_drift_pct_per_month, setup.soc_error,
        )
        self._frozen = self.values()

    # What a protocol says.

    def _perform(self, request: R, ready_ms: int) -> int:
        """Do what a request orders, taking effect at ready_ms; return its outcome.

        The number means something to `_encode` alone.
        """
        raise NotImplementedError

    def _encode(self, request: R, outcome: int, values: Values) -> bytes:
        """Return the reply to a request from values alone; empty for no reply."""
        raise NotImplementedError

    # What the bench sees.

    @property
    def fault_mode(self) -> str | None:
        """Return how replies are damaged, None for not at all."""
        return self.faults.mode

    @fault_mode.setter
    def fault_mode(self, mode: str | None) -> None:
        self.faults.mode = mode

    @property
    def fault_probability(self) -> float:
        """Return the share of replies that are damaged, 0..1."""
        return self.faults.probability

    @fault_probability.setter
    def fault_probability(self, probability: float) -> None:
        self.faults.probability = probability

    @property
    def bad_frames_count(self) -> int:
        """Return how many bad requests or runs of noise were ignored."""
        return self._protocol.parser.bad_count

    @property
    def soc(self) -> float:
        """Return the SoC as this BMS believes it, 0..1; the pack knows the true one."""
        return self._measured.soc

    @property
    def soc_lie(self) -> float:
        """Return by how much it says a wrong SoC, a fraction; its own count stays as it is."""
        return self._measured.soc_lie

    @soc_lie.setter
    def soc_lie(self, error: float) -> None:
        self._measured.soc_lie = error

    @property
    def error_bits(self) -> int:
        """Return the active protections as bits of hil.devices.protection."""
        return self.protections.error_bits

    def values(self) -> Values:
        """Return everything this BMS would say of itself now."""
        fets = (self.fet_charge, self.fet_discharge)
        return self._measured.values(self.error_bits, fets, self.mosfet_mask)

    def feed(self, data: bytes, now_ms: int) -> None:
        """Take bytes that the host hands to its UART at now_ms; never raises on bad bytes.

        Their time on the wire is added here. A reply, or the effect of a write, comes a
        processing time after the last byte of its request has arrived.
        """
        if self.silent or not data:
            return
        begin_ms = max(self._heard_ms, now_ms)
        self._heard_ms = begin_ms + wire_ms(len(data), self._protocol.baud)
        requests = self._protocol.parser.feed(data, begin_ms, self._heard_ms)
        if requests:
            self.update(now_ms)
        for request in requests:
            ready_ms = self._think()
            outcome = self._perform(request, ready_ms)
            reply = self._encode(request, outcome, self.values())
            if reply:
                self._send(ready_ms, request, outcome, reply)

    def due_ms(self) -> int | None:
        """Return when `take` should be called next, None when nothing is under way.

        That is the end of the reply in hand or the instant a FET switches, whichever comes
        first; at a FET's instant `take` may well return no bytes.
        """
        times = [self._line.due_ms(), self._switch_ms]
        times += [at_ms for at_ms, _mask in self._commands]
        known = [at_ms for at_ms in times if at_ms is not None]
        return min(known) if known else None

    def take(self, now_ms: int) -> bytes:
        """Return the bytes that have completely left the BMS by now_ms; move the FETs."""
        self._move_fets(now_ms)
        sent = self._line.take(now_ms)
        return b"" if self.silent else sent

    def update(self, now_ms: int) -> None:
        """Measure, count charge, judge the protections and move the FETs up to now_ms.

        Call about every 100 ms. A time already seen does nothing, so order does not matter.
        """
        dt_ms = now_ms - self._now_ms
        if dt_ms > 0:
            self._now_ms = now_ms
            seen = self._measured
            seen.advance(dt_ms)
            self.protections.update(now_ms, seen.cells_v, seen.current_a, seen.temperature_c)
        self._move_fets(now_ms)

    # Inside.

    def _think(self) -> int:
        """Return when the one processor will have dealt with the request heard just now."""
        self._busy_ms = max(self._busy_ms, self._heard_ms)
        self._busy_ms += self._rng.randint(*self._protocol.processing_ms)
        return self._busy_ms

    def _send(self, ready_ms: int, request: R, outcome: int, reply: bytes) -> None:
        def stuck() -> bytes:
            return self._encode(request, outcome, self._frozen)

        for pause_ms, chunk in self.faults.apply(request.raw, reply, stuck):
            ready_ms = self._line.send(ready_ms + pause_ms, chunk)

    def _freeze(self) -> None:
        self._frozen = self.values()

    def _command(self, ready_ms: int, mask: int) -> bool:
        """Have the FETs commanded by mask at ready_ms; False when too many wait already."""
        if len(self._commands) >= COMMANDS_COUNT_MAX:
            return False
        self._commands.append((ready_ms, mask))
        return True

    def _commanded_mask(self) -> int:
        """Return the mask as it will be once every accepted command has taken effect."""
        return self._commands[-1][1] if self._commands else self.mosfet_mask

    def _move_fets(self, now_ms: int) -> None:
        while self._commands and self._commands[0][0] <= now_ms:
            at_ms, mask = self._commands.pop(0)
            self._wait_for_fets(at_ms)
            self.mosfet_mask = mask
            self._aim_fets(at_ms)
        self._aim_fets(now_ms)
        self._wait_for_fets(now_ms)

    def _aim_fets(self, now_ms: int) -> None:
        """Start the switching delay whenever mask and protections want something new."""
        wanted = (
            not self.mosfet_mask & MASK_CHARGE_OFF and self.protections.charge_allowed,
            not self.mosfet_mask & MASK_DISCHARGE_OFF and self.protections.discharge_allowed,
        )
        if self.fets_forced_open:
            wanted = (False, False)
        if wanted != self._wanted:
            self._wanted = wanted
            self._switch_ms = now_ms + FET_SWITCH_MS

    def _wait_for_fets(self, now_ms: int) -> None:
        if self._switch_ms is not None and now_ms >= self._switch_ms:
            if not self.fets_stuck:
                self.fet_charge, self.fet_discharge = self._wanted
            self._switch_ms = None
