"""Emulate the protections of a BMS: thresholds, delays, hysteresis, error bits.

The set of protections and their bits is that of JBD's register 0x03, "current errors"; devices
of other vendors translate the bits when they speak. Thresholds are per cell and per chemistry;
delays and release rules are typical factory settings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hil.plant.cell import Chemistry

ERROR_CELL_OVERVOLT = 1 << 0
ERROR_CELL_UNDERVOLT = 1 << 1
ERROR_CHARGE_OVERTEMP = 1 << 4
ERROR_CHARGE_UNDERTEMP = 1 << 5
ERROR_DISCHARGE_OVERTEMP = 1 << 6
ERROR_DISCHARGE_UNDERTEMP = 1 << 7
ERROR_CHARGE_OVERCURRENT = 1 << 8
ERROR_DISCHARGE_OVERCURRENT = 1 << 9
ERROR_SHORT_CIRCUIT = 1 << 10

BLOCKS_CHARGE = (
    ERROR_CELL_OVERVOLT | ERROR_CHARGE_OVERTEMP | ERROR_CHARGE_UNDERTEMP | ERROR_CHARGE_OVERCURRENT
)
BLOCKS_DISCHARGE = (
    ERROR_CELL_UNDERVOLT
    | ERROR_DISCHARGE_OVERTEMP
    | ERROR_DISCHARGE_UNDERTEMP
    | ERROR_DISCHARGE_OVERCURRENT
    | ERROR_SHORT_CIRCUIT
)


@dataclass(frozen=True)
class ProtectionLimits:
    """Hold thresholds, releases and delays. Currents are positive magnitudes in A."""

    cell_v_max: float
    cell_v_max_release: float
    cell_v_min: float
    cell_v_min_release: float
    voltage_delay_ms: int = 2000
    charge_a_max: float = 80.0
    discharge_a_max: float = 100.0
    overcurrent_delay_ms: int = 1000
    overcurrent_release_ms: int = 32_000
    short_a: float = 300.0
    charge_c_max: float = 60.0
    charge_c_min: float = 0.0
    discharge_c_max: float = 65.0
    discharge_c_min: float = -20.0
    temperature_hysteresis_c: float = 5.0
    temperature_delay_ms: int = 2000

    @classmethod
    def for_chemistry(cls, chemistry: Chemistry) -> "ProtectionLimits":
        """Return limits at the cell's data-sheet voltages with the usual releases."""
        return cls(
            cell_v_max=chemistry.cell_v_max,
            cell_v_max_release=chemistry.cell_v_max - 0.10,
            cell_v_min=chemistry.cell_v_min,
            cell_v_min_release=chemistry.cell_v_min + 0.40,
        )


@dataclass
class _Watch:
    """Follow one condition: it must last before it trips, and last again before it clears."""

    bit: int
    delay_ms: int
    release_ms: int
    active: bool = False
    since_ms: int | None = None

    def follow(self, now_ms: int, tripping: bool, releasing: bool) -> None:
        """Advance the watch. tripping and releasing are the two sides of the hysteresis."""
        wanted = releasing if self.active else tripping
        if not wanted:
            self.since_ms = None
            return
        if self.since_ms is None:
            self.since_ms = now_ms
        wait_ms = self.release_ms if self.active else self.delay_ms
        if now_ms - self.since_ms >= wait_ms:
            self.active = not self.active
            self.since_ms = None


class Protections:
    """Run all protections of one pack; `error_bits` is the word the BMS reports.

    Over-current and short circuit clear by time once the current is gone, as JBD's default.
    """

    def __init__(self, limits: ProtectionLimits) -> None:
        """Start with nothing tripped."""
        self.limits = limits
        self.error_bits = 0
        slow, warm = limits.voltage_delay_ms, limits.temperature_delay_ms
        current, release = limits.overcurrent_delay_ms, limits.overcurrent_release_ms
        self._cell_over = _Watch(ERROR_CELL_OVERVOLT, slow, slow)
        self._cell_under = _Watch(ERROR_CELL_UNDERVOLT, slow, slow)
        self._charge_over = _Watch(ERROR_CHARGE_OVERCURRENT, current, release)
        self._discharge_over = _Watch(ERROR_DISCHARGE_OVERCURRENT, current, release)
        self._short = _Watch(ERROR_SHORT_CIRCUIT, 0, release)
        self._charge_hot = _Watch(ERROR_CHARGE_OVERTEMP, warm, warm)
        self._charge_cold = _Watch(ERROR_CHARGE_UNDERTEMP, warm, warm)
        self._discharge_hot = _Watch(ERROR_DISCHARGE_OVERTEMP, warm, warm)
        self._discharge_cold = _Watch(ERROR_DISCHARGE_UNDERTEMP, warm, warm)
        self._watches = (
            self._cell_over,
            self._cell_under,
            self._charge_over,
            self._discharge_over,
            self._short,
            self._charge_hot,
            self._charge_cold,
            self._discharge_hot,
            self._discharge_cold,
        )

    def update(
        self, now_ms: int, cells_v: Sequence[float], current_a: float, temperature_c: float
    ) -> None:
        """Judge the values at now_ms; current_a is positive for discharge."""
        limits = self.limits
        high_v, low_v = max(cells_v), min(cells_v)
        gap_c = limits.temperature_hysteresis_c
        quiet = abs(current_a) < 0.5
        self._cell_over.follow(
            now_ms, high_v > limits.cell_v_max, high_v < limits.cell_v_max_release
        )
        self._cell_under.follow(
            now_ms, low_v < limits.cell_v_min, low_v > limits.cell_v_min_release
        )
        self._charge_over.follow(now_ms, -current_a > limits.charge_a_max, quiet)
        self._discharge_over.follow(now_ms, current_a > limits.discharge_a_max, quiet)
        self._short.follow(now_ms, current_a > limits.short_a, quiet)
        for watch, limit_c in (
            (self._charge_hot, limits.charge_c_max),
            (self._discharge_hot, limits.discharge_c_max),
        ):
            watch.follow(now_ms, temperature_c > limit_c, temperature_c < limit_c - gap_c)
        for watch, limit_c in (
            (self._charge_cold, limits.charge_c_min),
            (self._discharge_cold, limits.discharge_c_min),
        ):
            watch.follow(now_ms, temperature_c < limit_c, temperature_c > limit_c + gap_c)
        bits = 0
        for watch in self._watches:
            if watch.active:
                bits |= watch.bit
        self.error_bits = bits

    @property
    def charge_allowed(self) -> bool:
        """Return True while no active error forbids charging."""
        return not self.error_bits & BLOCKS_CHARGE

    @property
    def discharge_allowed(self) -> bool:
        """Return True while no active error forbids discharging."""
        return not self.error_bits & BLOCKS_DISCHARGE
