"""Emulate what a JBD BMS measures and counts, and encode it as registers 0x03 and 0x04.

Every unit has its own errors, drawn once: current gain and offset, cell readings, NTCs, and
the SoC it believes at power-on. Sizes are typical of the class, not of one product.
"""

from collections.abc import Callable
from random import Random

from hil.plant.pack import Pack

CURRENT_GAIN_ERROR_MAX = 0.005
CURRENT_OFFSET_A_MAX = 0.03
CELL_ERROR_V_MAX = 0.002
NTC_ERROR_C_MAX = 1.0
SOC_START_ERROR_MAX = 0.02
DATE_2024_01_01 = 24 << 9 | 1 << 5 | 1
SOFTWARE_VERSION = 0x20


class Measurement:
    """Hold the latest readings: `cells_v`, `current_a` (positive = discharge), charge."""

    def __init__(
        self,
        pack: Pack,
        rng: Random,
        ntc_count: int,
        capacity_ah: float,
        current_of: Callable[[], float],
    ) -> None:
        """Draw this unit's errors from rng and take the first readings."""
        self._pack = pack
        self._current_of = current_of
        self._capacity_10mah = round(capacity_ah * 100.0)
        self._full_as = capacity_ah * 3600.0
        self._gain = 1.0 + rng.uniform(-CURRENT_GAIN_ERROR_MAX, CURRENT_GAIN_ERROR_MAX)
        self._offset_a = rng.uniform(-CURRENT_OFFSET_A_MAX, CURRENT_OFFSET_A_MAX)
        cells = range(pack.series_count)
        self._cell_error_v = [rng.uniform(-CELL_ERROR_V_MAX, CELL_ERROR_V_MAX) for _ in cells]
        ntcs = range(ntc_count)
        self._ntc_error_c = [rng.uniform(-NTC_ERROR_C_MAX, NTC_ERROR_C_MAX) for _ in ntcs]
        error = rng.uniform(-SOC_START_ERROR_MAX, SOC_START_ERROR_MAX)
        self._charge_as = min(1.0, max(0.0, pack.soc + error)) * self._full_as
        self._throughput_as = 0.0
        self.current_a = 0.0
        self.cells_v: list[float] = []
        self._read()

    @property
    def soc(self) -> float:
        """Return the SoC as counted, 0..1."""
        return self._charge_as / self._full_as

    @property
    def temperature_c(self) -> float:
        """Return the pack temperature the protections see; NTC errors show in 0x03 only."""
        return self._pack.temperature_c

    def advance(self, dt_ms: int) -> None:
        """Count the charge of the last dt_ms and read everything again.

        The current counts as the straight line between the two readings; full and empty are
        the ends of the counter.
        """
        before_a = self.current_a
        self._read()
        moved_as = (before_a + self.current_a) * dt_ms / 2000.0
        self._throughput_as += abs(moved_as)
        self._charge_as = min(self._full_as, max(0.0, self._charge_as - moved_as))

    def _read(self) -> None:
        self.current_a = self._current_of() * self._gain + self._offset_a
        true_v = self._pack.cell_voltages_v()
        self.cells_v = [v + e for v, e in zip(true_v, self._cell_error_v, strict=True)]

    def basic_data(self, fet_bits: int, error_bits: int) -> bytes:
        """Return the data of register 0x03, big-endian, 23 bytes and 2 for each NTC.

        Units: 10 mV, 10 mA, 10 mAh, percent, 0.1 K. The vendor counts discharge as negative,
        we count it as positive: the sign flips here, once. Out of range values saturate.
        """
        raw_10ma = max(-0x8000, min(0x7FFF, round(-self.current_a * 100.0)))
        words = (
            round(sum(self.cells_v) * 100.0),
            raw_10ma & 0xFFFF,
            round(self._charge_as / 36.0),
            self._capacity_10mah,
            int(self._throughput_as / 2.0 / self._full_as),
            DATE_2024_01_01,
            0,
            0,
            error_bits,
        )
        cells_count, ntcs_count = len(self.cells_v), len(self._ntc_error_c)
        tail = (SOFTWARE_VERSION, round(self.soc * 100.0), fet_bits, cells_count, ntcs_count)
        ntcs = (
            round((self._pack.temperature_c + error_c) * 10.0) + 2731
            for error_c in self._ntc_error_c
        )
        return _pack_u16(*words) + bytes(tail) + _pack_u16(*ntcs)

    def cell_data(self) -> bytes:
        """Return the data of register 0x04: one U16 in mV for each cell, big-endian."""
        return _pack_u16(*(round(volts * 1000.0) for volts in self.cells_v))


def _pack_u16(*values: int) -> bytes:
    """Return the values as big-endian U16, each saturated to its range."""
    return b"".join(max(0, min(0xFFFF, value)).to_bytes(2, "big") for value in values)
