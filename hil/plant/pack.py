"""Model a series string of slightly different cells as one fast scalar model.

All cells carry the same current, so the two RC states are kept once, in amperes (the current
that has "arrived" in each resistor), and scaled by every cell's own resistance. What moves
slowly (OCV, temperature, Arrhenius factor) is refreshed once a simulated second.

Not modelled: self-discharge (2 % a month of 100 Ah is 3 mA, below every sensor here), the
BMS's own supply, balancing, ageing, and a temperature difference between cells.
"""

from dataclasses import dataclass
from math import exp
from random import Random

from .cell import Chemistry

SLOW_REFRESH_MS = 1000
STEP_MS_MAX = 200  # Longer advances are cut, so that the OCV never lags far behind the charge.
THERMAL_TAU_S = 7200.0  # A pack in a wall loses its heat over hours; our assumption.


@dataclass(frozen=True)
class Imbalance:
    """Give the spread (standard deviations) of the cells: capacity, initial SoC, resistance.

    capacity and resistance are fractions of nominal, soc is an absolute fraction. Defaults
    are those of matched new cells. Each draw is cut at two standard deviations.
    """

    capacity: float = 0.01
    soc: float = 0.005
    resistance: float = 0.05

    def __post_init__(self) -> None:
        """Raise ValueError where a cell could end up with no capacity or resistance."""
        for value in (self.capacity, self.soc, self.resistance):
            if not 0.0 <= value < 0.4:
                raise ValueError(f"spread {value} outside 0..0.4")


def _spread(rng: Random, sigma: float) -> float:
    return max(-2.0 * sigma, min(2.0 * sigma, rng.gauss(0.0, sigma)))


# 7000 cycles to 80 % depth until a fifth of the capacity is gone: stationary cells of today, and
# what TrustDER's final report (Stanford, Task 5.2) counts with. Linear in throughput.
LIFE_CYCLES = 7000.0
LIFE_DEPTH = 0.8
LIFE_FADE = 0.2
WEAR_STEP_AS = 3600.0  # ageing is taken in steps of an ampere-hour


class Pack:
    """Simulate voltage, SoC and temperature of series_count cells under a given current.

    Attributes for the fast path of the power stages: `emf_v` (voltage behind the ohmic
    resistance now), `resistance_ohm` (ohmic only), `current_a` (last current, positive =
    discharge). `temperature_c` and `ambient_c` may be set from outside to inject heat or cold.
    `wear_acceleration`: 0, cells do not age; 1, they lose a fifth of their capacity in LIFE_CYCLES
    cycles to LIFE_DEPTH; more, so many times sooner. Resistance does not grow with age here.
    """

    def __init__(
        self,
        chemistry: Chemistry,
        series_count: int,
        capacity_ah: float,
        rng: Random,
        soc: float = 0.5,
        imbalance: Imbalance | None = None,
        ambient_c: float = 25.0,
        start_ms: int = 0,
    ) -> None:
        """Draw the cells from rng. soc is the mean, 0..1. Raises ValueError on nonsense."""
        if series_count < 1 or capacity_ah <= 0.0 or not 0.0 <= soc <= 1.0:
            raise ValueError(f"pack: {series_count} cells, {capacity_ah} Ah, soc {soc}")
        spread = imbalance if imbalance is not None else Imbalance()
        self.chemistry = chemistry
        self.series_count = series_count
        self.capacity_ah = capacity_ah
        self.ambient_c = ambient_c
        self.temperature_c = ambient_c
        self.current_a = 0.0
        self.charge_out_as = 0.0
        self.throughput_as = 0.0
        self._now_ms = start_ms
        self._slow_ms = start_ms
        self._heat_j = 0.0
        self._x1_a = 0.0
        self._x2_a = 0.0
        self._factors: dict[int, tuple[float, float, float]] = {}
        self.wear_acceleration = 0.0
        self._worn_as = 0.0  # throughput that has already aged the cells
        self._moved_from_as = 0.0
        cells = range(series_count)
        capacity_factors = [1.0 + _spread(rng, spread.capacity) for _ in cells]
        self.cell_capacity_ah = [capacity_ah * factor for factor in capacity_factors]
        offsets = [_spread(rng, spread.soc) for _ in cells]
        mean = sum(offsets) / series_count
        self._soc_start = [soc + offset - mean for offset in offsets]
        self.resistance_scale = [1.0 + _spread(rng, spread.resistance) for _ in cells]
        self._scale_sum = sum(self.resistance_scale)
        # The holder, busbars and cables share the heat: about 15 % of the cells' own.
        mass_kg = chemistry.mass_kg_per_ah * capacity_ah * series_count
        self.heat_capacity_j_per_k = 1.15 * mass_kg * chemistry.heat_capacity_j_per_kg_k
        self._refresh_slow(0)

    def advance(self, now_ms: int, current_a: float) -> None:
        """Let current_a (mean, positive = discharge) flow from the last advance to now_ms.

        Exact for a constant current. Raises ValueError when time runs backwards.
        """
        dt_ms = now_ms - self._now_ms
        if dt_ms < 0:
            raise ValueError(f"pack time ran backwards by {-dt_ms} ms")
        while dt_ms > STEP_MS_MAX:
            self._step(STEP_MS_MAX, current_a)
            dt_ms -= STEP_MS_MAX
        if dt_ms:
            self._step(dt_ms, current_a)
        self.current_a = current_a

    def _step(self, dt_ms: int, current_a: float) -> None:
        factors = self._factors.get(dt_ms)
        if factors is None:
            seconds = dt_ms / 1000.0
            tau1_s, tau2_s = self.chemistry.tau1_s, self.chemistry.tau2_s
            factors = (seconds, exp(-seconds / tau1_s), exp(-seconds / tau2_s))
            self._factors[dt_ms] = factors
        seconds, keep1, keep2 = factors
        x1_a = current_a + (self._x1_a - current_a) * keep1
        x2_a = current_a + (self._x2_a - current_a) * keep2
        self._x1_a = x1_a
        self._x2_a = x2_a
        drop_v = self._r1_ohm * x1_a + self._r2_ohm * x2_a
        self.emf_v = self.ocv_v - drop_v
        charge_as = current_a * seconds
        self.charge_out_as += charge_as
        self.throughput_as += charge_as if charge_as >= 0.0 else -charge_as
        self._heat_j += charge_as * (drop_v + self.resistance_ohm * current_a)
        now_ms = self._now_ms = self._now_ms + dt_ms
        if now_ms - self._slow_ms >= SLOW_REFRESH_MS:
            self._refresh_slow(now_ms - self._slow_ms)

    def _refresh_slow(self, dt_ms: int) -> None:
        """Bring temperature, resistances and open-circuit voltages up to date."""
        chemistry = self.chemistry
        seconds = dt_ms / 1000.0
        self.temperature_c += self._heat_j / self.heat_capacity_j_per_k
        cooling = 1.0 - exp(-seconds / THERMAL_TAU_S)
        self.temperature_c += (self.ambient_c - self.temperature_c) * cooling
        self._heat_j = 0.0
        factor = chemistry.arrhenius_factor(self.temperature_c) / self.capacity_ah
        self._r0_cell_ohm = chemistry.r0_ohm_ah * factor
        self._r1_cell_ohm = chemistry.r1_ohm_ah * factor
        self._r2_cell_ohm = chemistry.r2_ohm_ah * factor
        self.resistance_ohm = self._r0_cell_ohm * self._scale_sum
        self._r1_ohm = self._r1_cell_ohm * self._scale_sum
        self._r2_ohm = self._r2_cell_ohm * self._scale_sum
        self._cell_ocv_v = [chemistry.ocv_at(soc) for soc in self.cell_soc()]
        self.ocv_v = sum(self._cell_ocv_v)
        self.emf_v = self.ocv_v - self._r1_ohm * self._x1_a - self._r2_ohm * self._x2_a
        self._slow_ms += dt_ms
        if self.wear_acceleration and self.throughput_as - self._worn_as >= WEAR_STEP_AS:
            self._age()

    def _age(self) -> None:
        """Take from every cell's capacity what the charge since the last time has cost it."""
        cycled_as = self.throughput_as - self._worn_as
        self._worn_as = self.throughput_as
        full_as = 2 * 3600.0 * self.capacity_ah * LIFE_DEPTH
        cycles = cycled_as / full_as * self.wear_acceleration
        keep = max(0.0, 1.0 - LIFE_FADE * cycles / LIFE_CYCLES)
        self._soc_start = self.cell_soc()
        self._moved_from_as = self.charge_out_as
        self.cell_capacity_ah = [capacity_ah * keep for capacity_ah in self.cell_capacity_ah]

    @property
    def health(self) -> float:
        """Return the cells' mean capacity as a fraction of the nominal one."""
        return sum(self.cell_capacity_ah) / self.series_count / self.capacity_ah

    @property
    def voltage_v(self) -> float:
        """Return the terminal voltage at the present current."""
        return self.emf_v - self.resistance_ohm * self.current_a

    @property
    def soc(self) -> float:
        """Return the true mean SoC of the cells as a fraction."""
        return sum(self.cell_soc()) / self.series_count

    @property
    def throughput_ah(self) -> float:
        """Return the charge moved in either direction since the start."""
        return self.throughput_as / 3600.0

    def cell_soc(self) -> list[float]:
        """Return the true SoC of every cell as a fraction; may leave 0..1 when abused."""
        moved_ah = (self.charge_out_as - self._moved_from_as) / 3600.0
        pairs = zip(self._soc_start, self.cell_capacity_ah, strict=True)
        return [start - moved_ah / capacity_ah for start, capacity_ah in pairs]

    def cell_voltages_v(self) -> list[float]:
        """Return every cell's terminal voltage at the present current, in series order."""
        drop_v = (
            self._r0_cell_ohm * self.current_a
            + self._r1_cell_ohm * self._x1_a
            + self._r2_cell_ohm * self._x2_a
        )
        pairs = zip(self._cell_ocv_v, self.resistance_scale, strict=True)
        return [ocv_v - scale * drop_v for ocv_v, scale in pairs]

    def set_soc(self, soc: float) -> None:
        """Set the mean SoC and keep the cells' offsets; for test set-up, not physics.

        Polarisation and temperature stay. Raises ValueError outside 0..1.
        """
        if not 0.0 <= soc <= 1.0:
            raise ValueError(f"soc {soc} outside 0..1")
        shift = soc - self.soc
        self._soc_start = [start + shift for start in self._soc_start]
        self._cell_ocv_v = [self.chemistry.ocv_at(value) for value in self.cell_soc()]
        self.ocv_v = sum(self._cell_ocv_v)
        self.emf_v = self.ocv_v - self._r1_ohm * self._x1_a - self._r2_ohm * self._x2_a
