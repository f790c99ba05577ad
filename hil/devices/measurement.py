"""Measure a modelled pack as a BMS does: with small errors of its own, counting charge itself.

Every unit has its own errors, drawn once: current gain and offset, cell readings, NTCs, and
the SoC it believes at power-on. Sizes are typical of the class, not of one product. Everything
a device says on its line is encoded from one `Values`, so a reply is never half old, half new.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from hil.plant.pack import Pack

CURRENT_GAIN_ERROR_MAX = 0.005
CURRENT_OFFSET_A_MAX = 0.03
CELL_ERROR_V_MAX = 0.002
NTC_ERROR_C_MAX = 1.0
SOC_START_ERROR_MAX = 0.02
MONTH_MS = 30 * 86_400_000
# A passive balancer works near the top of charge and leaves a band of this width alone.
BALANCE_BELOW_V_MAX = 0.25
BALANCE_GAP_V = 0.010
BALANCE_DISCHARGE_A_MAX = 0.5


@dataclass(frozen=True)
class Values:
    """Hold what one BMS knows at one moment.

    current_a: positive = discharge. balancing: bit n is cell index n. errors: the bits of
    hil.devices.protection (for JBD with its lock bit). mosfet_mask: bit 0 charge, bit 1
    discharge held off by command; the two flags are what the FETs do.
    """

    cells_v: tuple[float, ...]
    current_a: float
    temperatures_c: tuple[float, ...]
    charge_as: float
    full_as: float
    cycles_count: int
    throughput_as: float = 0.0
    balancing: int = 0
    errors: int = 0
    fet_charge: bool = False
    fet_discharge: bool = False
    mosfet_mask: int = 0
    uptime_ms: int = 0

    @property
    def soc(self) -> float:
        """Return the SoC as counted, 0..1."""
        return self.charge_as / self.full_as

    @property
    def pack_v(self) -> float:
        """Return the sum of the cell readings."""
        return sum(self.cells_v)


class Measurement:
    """Hold the latest readings: `cells_v`, `current_a` (positive = discharge), charge."""

    def __init__(
        self,
        pack: Pack,
        rng: Random,
        ntc_count: int,
        capacity_ah: float,
        current_of: Callable[[], float],
        soc_drift_pct_per_month: float = 0.0,
        soc_error: float = 0.0,
    ) -> None:
        """Draw this unit's errors from rng and take the first readings.

        soc_drift_pct_per_month: how far the counted SoC wanders by itself in 30 days, positive
        = it believes in ever more charge than there is. soc_error: added to the SoC it starts
        with (fraction), on top of its own small error.
        """
        self._pack = pack
        self._current_of = current_of
        self._full_as = capacity_ah * 3600.0
        self._drift_as_per_ms = self._full_as * soc_drift_pct_per_month / 100.0 / MONTH_MS
        self._balance_v = pack.chemistry.cell_v_max - BALANCE_BELOW_V_MAX
        self._gain = 1.0 + rng.uniform(-CURRENT_GAIN_ERROR_MAX, CURRENT_GAIN_ERROR_MAX)
        self._offset_a = rng.uniform(-CURRENT_OFFSET_A_MAX, CURRENT_OFFSET_A_MAX)
        cells = range(pack.series_count)
        self._cell_error_v = [rng.uniform(-CELL_ERROR_V_MAX, CELL_ERROR_V_MAX) for _ in cells]
        ntcs = range(ntc_count)
        self._ntc_error_c = [rng.uniform(-NTC_ERROR_C_MAX, NTC_ERROR_C_MAX) for _ in ntcs]
        error = rng.uniform(-SOC_START_ERROR_MAX, SOC_START_ERROR_MAX)
        self._charge_as = min(1.0, max(0.0, pack.soc + error + soc_error)) * self._full_as
        self._throughput_as = 0.0
        self._age_ms = 0
        self.soc_lie = 0.0
        self.current_a = 0.0
        self.cells_v: list[float] = []
        self._read()

    @property
    def soc(self) -> float:
        """Return the SoC as counted, 0..1."""
        return self._charge_as / self._full_as

    @property
    def age_ms(self) -> int:
        """Return the time since power-on."""
        return self._age_ms

    @property
    def temperature_c(self) -> float:
        """Return the pack temperature the protections see; NTC errors show on the line only."""
        return self._pack.temperature_c

    def advance(self, dt_ms: int) -> None:
        """Count the charge of the last dt_ms and read everything again.

        The current counts as the straight line between the two readings; full and empty are
        the ends of the counter.
        """
        before_a = self.current_a
        self._read()
        self._age_ms += dt_ms
        moved_as = (before_a + self.current_a) * dt_ms / 2000.0
        self._throughput_as += abs(moved_as)
        counted_as = self._charge_as - moved_as + self._drift_as_per_ms * dt_ms
        self._charge_as = min(self._full_as, max(0.0, counted_as))

    def _read(self) -> None:
        self.current_a = self._current_of() * self._gain + self._offset_a
        true_v = self._pack.cell_voltages_v()
        self.cells_v = [v + e for v, e in zip(true_v, self._cell_error_v, strict=True)]

    def _balancing(self) -> int:
        """Return the cells that the balancer would bleed now; the pack is not changed by it."""
        if self.current_a > BALANCE_DISCHARGE_A_MAX:
            return 0
        above_v = max(self._balance_v, min(self.cells_v) + BALANCE_GAP_V)
        return sum(1 << index for index, volts in enumerate(self.cells_v) if volts > above_v)

    def values(self, errors: int, fets: tuple[bool, bool], mosfet_mask: int) -> Values:
        """Return the present readings with the device's own state: (charge, discharge) FETs."""
        temperature_c = self._pack.temperature_c
        return Values(
            cells_v=tuple(self.cells_v),
            current_a=self.current_a,
            temperatures_c=tuple(temperature_c + error_c for error_c in self._ntc_error_c),
            charge_as=min(self._full_as,
                          max(0.0, self._charge_as + self.soc_lie * self._full_as)),
            full_as=self._full_as,
            cycles_count=int(self._throughput_as / 2.0 / self._full_as),
            throughput_as=self._throughput_as,
            balancing=self._balancing(),
            errors=errors,
            fet_charge=fets[0],
            fet_discharge=fets[1],
            mosfet_mask=mosfet_mask,
            uptime_ms=self._age_ms,
        )
