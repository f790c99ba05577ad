"""Model a bidirectional DC/AC converter, averaged over its switching periods.

The duty sets the pack current; a first-order lag stands for filter and inner loop. Losses are
a standing part (control, gate drive), a part proportional to current (diode-like drops) and a
quadratic part (conduction). Switching ripple, reactive power and the grid side are left out.
A DC link stands between the FETs and the stage (`dc_link.py`).
The stage has no limits of its own but the duty range: limits are the firmware's job.
"""

from math import exp, log
from random import Random

from .dc_link import DCLink
from .element import DUTY_PERMILLE_MAX, ElementPlant, FETSwitches
from .pack import Pack

TAU_ON_MS = 15.0
TAU_OFF_MS = 5.0
GAIN_SPREAD = 0.03
DEAD_PERMILLE = 6  # Below about the dead time of the half bridge nothing is transferred.
# Shares of the rating lost at rated power; together 4 %, as of a good 48 V inverter.
STANDING_SHARE = 0.004
PROPORTIONAL_SHARE = 0.014
QUADRATIC_SHARE = 0.022


class ConverterPlant(ElementPlant):
    """Simulate pack, FETs and a converter whose signed duty sets the pack current.

    `gain` is this unit's own factor on the nominal current; the board has to measure to know.
    `link` is the DC link; closed FETs have charged it already when the simulation begins.
    `fet_welded` is a fault: the FETs conduct whatever the BMS says.
    """

    def __init__(
        self,
        pack: Pack,
        bms: FETSwitches,
        rng: Random,
        rating_w: float = 2500.0,
        full_duty_a: float = 60.0,
        start_ms: int = 0,
    ) -> None:
        """Draw the unit's gain from rng. full_duty_a is the nominal current at 1000 permille."""
        super().__init__(pack, bms, rng, start_ms)
        if rating_w <= 0.0 or full_duty_a <= 0.0:
            raise ValueError(f"rating_w {rating_w}, full_duty_a {full_duty_a}: both above 0")
        self.rating_w = rating_w
        self.gain = 1.0 + rng.uniform(-GAIN_SPREAD, GAIN_SPREAD)
        self._full_duty_a = full_duty_a
        rated_a = rating_w / (pack.chemistry.nominal_v * pack.series_count)
        self.standing_w = STANDING_SHARE * rating_w
        self._drop_v = PROPORTIONAL_SHARE * rating_w / rated_a
        self._loss_ohm = QUADRATIC_SHARE * rating_w / (rated_a * rated_a)
        self.link = DCLink(pack.voltage_v if bms.fet_discharge else 0.0)
        self.fet_welded = False
        self._target_a = 0.0
        self._current_a = 0.0
        self._tau_ms = TAU_OFF_MS
        self._factors: dict[tuple[int, bool], tuple[float, float, float]] = {}

    def _take_outputs(self, duty_permille: int, precharge: bool) -> None:
        """Set the target current for the time after now; enable False lets it decay to 0."""
        enable, duty = self._enable, duty_permille
        self.link.precharge = precharge
        self._tau_ms = TAU_ON_MS if enable else TAU_OFF_MS
        above = abs(duty) - DEAD_PERMILLE
        if not enable or above <= 0:
            self._target_a = 0.0
            return
        full = DUTY_PERMILLE_MAX - DEAD_PERMILLE
        target_a = self._full_duty_a * self.gain * above / full
        self._target_a = target_a if duty > 0 else -target_a

    def loss_w(self, current_a: float) -> float:
        """Return what the converter turns into heat at a pack current, in its present state."""
        loss_w = self._drop_v * abs(current_a) + self._loss_ohm * current_a * current_a
        return loss_w + self.standing_w if self._enable else loss_w

    def dc_link_mv(self) -> int:
        return self.link.read_mv()

    def _step(self, dt_ms: int) -> None:
        start_a = self._current_a
        target_a = 0.0 if self.dead else self._target_a
        welded = self.fet_welded
        fet_charge = welded or self.bms.fet_charge
        fet_discharge = welded or self.bms.fet_discharge
        # The FETs break in microseconds: a forbidden current is gone when the interval starts.
        if not fet_charge:
            start_a = start_a if start_a > 0.0 else 0.0
            target_a = target_a if target_a > 0.0 else 0.0
        if not fet_discharge:
            start_a = start_a if start_a < 0.0 else 0.0
            target_a = target_a if target_a < 0.0 else 0.0
        if start_a * target_a < 0.0:
            end_a, charge_ams = self._cross_zero(dt_ms, start_a, target_a)
        else:
            key = (dt_ms, self._enable)
            factors = self._factors.get(key)
            if factors is None:
                factors = _means(float(dt_ms), self._tau_ms)
                self._factors[key] = factors
            keep, mean1, mean2 = factors
            gap_a = start_a - target_a
            end_a = target_a + gap_a * keep
            mean_a = target_a + gap_a * mean1
            square = target_a * (target_a + 2.0 * gap_a * mean1) + gap_a * gap_a * mean2
            charge_ams = mean_a * dt_ms
            self._add_energy(float(dt_ms), mean_a, square)
        self._current_a = end_a
        pack = self.pack
        link_as, link_a = self._link(dt_ms, fet_discharge or end_a < 0.0)
        pack.advance(self._now_ms, (charge_ams + link_as * 1000.0) / dt_ms)
        pack.current_a = end_a + link_a
        self.pcc_w = (pack.emf_v - pack.resistance_ohm * end_a) * end_a - self.loss_w(end_a)

    def _link(self, dt_ms: int, joined: bool) -> tuple[float, float]:
        """Carry the DC link over the interval: its charge from the pack, its current at the end.

        joined: FETs, or the charge current through one of them, tie the link to the pack.
        """
        pack = self.pack
        if joined:
            return self.link.connect(pack.voltage_v, pack.resistance_ohm), 0.0
        return self.link.relax(dt_ms, pack.voltage_v, self._enable)

    def _cross_zero(self, dt_ms: int, start_a: float, target_a: float) -> tuple[float, float]:
        """Integrate an interval in two parts, because the losses have a kink at zero current.

        Returns the current at the end and the charge moved in A * ms.
        """
        zero_ms = self._tau_ms * log((start_a - target_a) / -target_a)
        first_ms = min(zero_ms, float(dt_ms))
        charge_ams = 0.0
        for part_ms, from_a in ((first_ms, start_a), (dt_ms - first_ms, 0.0)):
            if part_ms <= 0.0:
                continue
            keep, mean1, mean2 = _means(part_ms, self._tau_ms)
            gap_a = from_a - target_a
            end_a = target_a + gap_a * keep
            mean_a = target_a + gap_a * mean1
            square = target_a * (target_a + 2.0 * gap_a * mean1) + gap_a * gap_a * mean2
            self._add_energy(part_ms, mean_a, square)
            charge_ams += mean_a * part_ms
        return end_a, charge_ams

    def _add_energy(self, part_ms: float, mean_a: float, square: float) -> None:
        """Add the PCC energy of an interval whose current keeps its sign.

        mean_a and square are the means of I and of I*I; the EMF moves so slowly (15 s) that
        it counts as constant here.
        """
        pack = self.pack
        power_w = pack.emf_v * mean_a - (pack.resistance_ohm + self._loss_ohm) * square
        power_w -= self._drop_v * (mean_a if mean_a >= 0.0 else -mean_a)
        if self._enable:
            power_w -= self.standing_w
        self.energy_pcc_j += power_w * part_ms * 0.001


def _means(part_ms: float, tau_ms: float) -> tuple[float, float, float]:
    """Return e^(-t/tau) and the means over the interval of e^(-t/tau) and of its square."""
    ratio = part_ms / tau_ms
    keep = exp(-ratio)
    return keep, (1.0 - keep) / ratio, (1.0 - keep * keep) / (2.0 * ratio)
