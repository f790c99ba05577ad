"""Emulate a JBD BMS on its UART, without I/O: bytes and simulated time in, bytes out.

The device measures with its own small errors, counts charge itself, protects its pack and
switches its FETs. Vendor sign: on the wire a NEGATIVE current is discharge; inside, as
everywhere here, positive is discharge; the sign flips once, in jbd_measure.
"""

from collections.abc import Callable
from random import Random

from hil.plant.pack import Pack

from .jbd_frames import STATUS_ERROR, STATUS_GOOD, Request, RequestParser, build_reply
from .jbd_measure import Measurement
from .jbd_protection import ProtectionLimits, Protections
from .uart_line import FaultLayer, SendLine, wire_ms

BAUD = 9600
PROCESSING_MS = (5, 20)
FET_SWITCH_MS = 20
COMMANDS_COUNT_MAX = 16

REGISTER_FACTORY_ENTER = 0x00
REGISTER_FACTORY_EXIT = 0x01
REGISTER_BASIC = 0x03
REGISTER_CELLS = 0x04
REGISTER_NAME = 0x05
REGISTER_MOSFET = 0xE1
FACTORY_ENTER = b"\x56\x78"
FACTORY_EXITS = (b"\x00\x00", b"\x28\x28")

MASK_CHARGE_OFF = 0x01
MASK_DISCHARGE_OFF = 0x02
ERROR_SOFTWARE_LOCK = 1 << 12  # Register map: "FET locked by config (register 0xE1)".


class JBDEmulator:
    """Behave like one BMS wired to one pack.

    Switches `fet_charge` and `fet_discharge` are what the FETs do now. Fault attributes:
    `silent` (a dead cable: requests are neither heard nor answered), `fault_mode` and
    `fault_probability` (see FaultLayer).
    """

    def __init__(
        self,
        pack: Pack,
        rng: Random,
        series_count: int,
        ntc_count: int = 2,
        capacity_ah: float = 100.0,
        current_of: Callable[[], float] | None = None,
        start_closed: bool = False,
        limits: ProtectionLimits | None = None,
        name: str = "CELLWALL-JBD-16S",
        start_ms: int = 0,
    ) -> None:
        """Power the BMS on. current_of returns the true pack current, positive = discharge.

        start_closed False means both FETs off after power-on, as if 0xE1 held 3. Raises
        ValueError when series_count is not the pack's, or a count does not fit its field.
        """
        if series_count != pack.series_count or not 1 <= series_count <= 32:
            raise ValueError(f"series_count {series_count}, pack has {pack.series_count}")
        if not 0 <= ntc_count <= 8 or not 0.0 < capacity_ah <= 655.35:
            raise ValueError(f"ntc_count {ntc_count}, capacity_ah {capacity_ah}")
        self._rng = rng
        self._name = name.encode("ascii")
        self.silent = False
        self.faults = FaultLayer(rng)
        self.protections = Protections(limits or ProtectionLimits.for_chemistry(pack.chemistry))
        self.factory_mode = False
        self.mosfet_mask = 0 if start_closed else MASK_CHARGE_OFF | MASK_DISCHARGE_OFF
        self.fet_charge = self.fet_discharge = start_closed
        self._wanted = (start_closed, start_closed)
        self._switch_ms: int | None = None
        self._parser = RequestParser()
        self._line = SendLine(BAUD)
        self._heard_ms = self._busy_ms = start_ms
        self._now_ms = start_ms
        self._commands: list[tuple[int, int]] = []
        true_a = current_of if current_of is not None else lambda: pack.current_a
        self._measured = Measurement(pack, rng, ntc_count, capacity_ah, true_a)

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
        return self._parser.bad_count

    @property
    def soc(self) -> float:
        """Return the SoC as this BMS believes it, 0..1; the pack knows the true one."""
        return self._measured.soc

    @property
    def error_bits(self) -> int:
        """Return the error word of register 0x03, software lock included."""
        lock = ERROR_SOFTWARE_LOCK if self.mosfet_mask else 0
        return self.protections.error_bits | lock

    def feed(self, data: bytes, now_ms: int) -> None:
        """Take bytes that the host hands to its UART at now_ms; never raises on bad bytes.

        Their time on the wire is added here. A reply, or the effect of a write, comes
        5..20 ms after the last byte of its request has arrived.
        """
        if self.silent or not data:
            return
        begin_ms = max(self._heard_ms, now_ms)
        self._heard_ms = begin_ms + wire_ms(len(data), BAUD)
        requests = self._parser.feed(data, begin_ms, self._heard_ms)
        if requests:
            self.update(now_ms)
        for request in requests:
            self._busy_ms = max(self._busy_ms, self._heard_ms)
            self._busy_ms += self._rng.randint(*PROCESSING_MS)
            ready_ms = self._busy_ms
            reply = self._answer(request, ready_ms)
            for pause_ms, chunk in self.faults.apply(request.raw, reply):
                ready_ms = self._line.send(ready_ms + pause_ms, chunk)

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
        if wanted != self._wanted:
            self._wanted = wanted
            self._switch_ms = now_ms + FET_SWITCH_MS

    def _wait_for_fets(self, now_ms: int) -> None:
        if self._switch_ms is not None and now_ms >= self._switch_ms:
            self.fet_charge, self.fet_discharge = self._wanted
            self._switch_ms = None

    def _answer(self, request: Request, ready_ms: int) -> bytes:
        """Return the reply; a good MOSFET write takes effect at ready_ms."""
        if request.is_write:
            good = self._write(request.register, request.data, ready_ms)
            return build_reply(request.register, STATUS_GOOD if good else STATUS_ERROR)
        if request.register == REGISTER_BASIC:
            fets = self.fet_charge | self.fet_discharge << 1
            data = self._measured.basic_data(fets, self.error_bits)
            return build_reply(REGISTER_BASIC, STATUS_GOOD, data)
        if request.register == REGISTER_CELLS:
            return build_reply(REGISTER_CELLS, STATUS_GOOD, self._measured.cell_data())
        if request.register == REGISTER_NAME:
            return build_reply(REGISTER_NAME, STATUS_GOOD, self._name)
        return build_reply(request.register, STATUS_ERROR)

    def _write(self, register: int, data: bytes, ready_ms: int) -> bool:
        if register == REGISTER_MOSFET:
            good = len(data) == 2 and data[0] == 0 and data[1] <= 3
            if good and len(self._commands) < COMMANDS_COUNT_MAX:
                self._commands.append((ready_ms, data[1]))
                return True
            return False
        if register == REGISTER_FACTORY_ENTER and data == FACTORY_ENTER:
            self.factory_mode = True
            return True
        if register == REGISTER_FACTORY_EXIT and data in FACTORY_EXITS:
            self.factory_mode = False
            return True
        return False
