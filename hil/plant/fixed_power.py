"""Model an element without a regulated stage: its BMS FETs choose charge, idle or discharge.

Behind the FETs sit a fixed-power charger and a fixed-power inverter on one DC link. Discharge
FET only: the inverter runs. Charge FET only: the charger runs. Both FETs: neither runs (0 W),
because together they would push power round in a circle; the enable pin stops both.

Simplified: the charger has no constant-voltage taper, so the top of charge is the BMS's and
the firmware's business; the few joule that the link capacitor gives while the FETs open under
load are not taken back from the pack; idle consumption is nil.
"""

from math import exp, sqrt
from random import Random

from .element import ElementPlant, FETSwitches
from .pack import Pack

SOFT_START_MS = 150.0
TAU_OFF_MS = 10.0
DEVIATION = 0.01
INVERTER_EFFICIENCY = 0.93
CHARGER_EFFICIENCY = 0.92
UNDERVOLTAGE_SHARE = 0.90  # The inverter's own cut-out, of the pack's minimum voltage.
RESTART_SHARE = 1.05


class FixedPowerPlant(ElementPlant):
    """Simulate pack, FETs and the fixed-power stage; the duty pin is not connected.

    `inverter_w` and `charger_w` are this unit's own true powers at the PCC, both positive.
    """

    soft_start_ms = SOFT_START_MS

    def __init__(
        self,
        pack: Pack,
        bms: FETSwitches,
        rng: Random,
        rating_w: float = 500.0,
        start_ms: int = 0,
    ) -> None:
        """Draw the unit's two powers within about 1 % of rating_w from rng."""
        super().__init__(pack, bms, rng, start_ms)
        if rating_w <= 0.0:
            raise ValueError(f"rating_w {rating_w}: above 0")
        self.rating_w = rating_w
        self.inverter_w = rating_w * _deviation(rng)
        self.charger_w = rating_w * _deviation(rng)
        cell_v_min = pack.chemistry.cell_v_min * pack.series_count
        self._undervoltage_v = cell_v_min * UNDERVOLTAGE_SHARE
        self._restart_v = cell_v_min * RESTART_SHARE
        self._browned_out = False
        self._factors: dict[int, tuple[float, float]] = {}

    def _take_outputs(self, duty_permille: int, precharge: bool) -> None:
        """Take the enable pin; no other leads here."""

    def _direction(self) -> int:
        """Return what is switched on: 1 the inverter, -1 the charger, 0 nothing."""
        charge, discharge = self.bms.fet_charge, self.bms.fet_discharge
        return int(discharge) - int(charge) if self._enable else 0

    def _target_w(self) -> float:
        direction = 0 if self.dead else self._direction()
        if direction < 0:
            return -self.charger_w
        if direction == 0:
            return 0.0
        self._check_undervoltage()
        return 0.0 if self._browned_out else self.inverter_w

    def _check_undervoltage(self) -> None:
        """Latch the inverter's cut-out below its limit or beyond what the pack can deliver."""
        pack = self.pack
        deliverable_w = pack.emf_v * pack.emf_v / (4.2 * pack.resistance_ohm)
        too_weak = self.inverter_w / INVERTER_EFFICIENCY > deliverable_w
        if too_weak or pack.voltage_v < self._undervoltage_v:
            self._browned_out = True
        elif pack.voltage_v > self._restart_v:
            self._browned_out = False

    def _step(self, dt_ms: int) -> None:
        target_w = self._target_w()
        start_w = self.pcc_w
        if target_w == start_w:
            mean_w = end_w = target_w
        elif target_w * start_w < 0.0 or target_w == 0.0:
            mean_w, end_w = self._decay(dt_ms, start_w)
        else:
            mean_w, end_w = self._soft_start(float(dt_ms), start_w, target_w)
        self.pcc_w = end_w
        self.energy_pcc_j += mean_w * dt_ms * 0.001
        mean_a = self._pack_current_a(mean_w)
        self.pack.advance(self._now_ms, mean_a)
        if end_w != mean_w:
            self.pack.current_a = self._pack_current_a(end_w)

    def _decay(self, dt_ms: int, start_w: float) -> tuple[float, float]:
        """Return mean and end of a power that dies away; a trace of it counts as none."""
        factors = self._factors.get(dt_ms)
        if factors is None:
            keep = exp(-dt_ms / TAU_OFF_MS)
            factors = (keep, (1.0 - keep) * TAU_OFF_MS / dt_ms)
            self._factors[dt_ms] = factors
        keep, mean = factors
        end_w = start_w * keep
        if abs(end_w) < 0.001 * self.rating_w:
            end_w = 0.0
        return start_w * mean, end_w

    def _soft_start(self, dt_ms: float, start_w: float, target_w: float) -> tuple[float, float]:
        """Return mean and end of a linear rise that takes soft_start_ms from zero to target."""
        slope_w_per_ms = target_w / self.soft_start_ms
        rise_ms = (target_w - start_w) / slope_w_per_ms
        if dt_ms < rise_ms:
            end_w = start_w + slope_w_per_ms * dt_ms
            return (start_w + end_w) / 2.0, end_w
        rise_wms = rise_ms * (start_w + target_w) / 2.0
        return (rise_wms + target_w * (dt_ms - rise_ms)) / dt_ms, target_w

    def _pack_current_a(self, power_w: float) -> float:
        """Return the pack current behind a PCC power, 0 where the FETs block its direction.

        Solves emf * I - R * I * I = P for the smaller current. _check_undervoltage keeps the
        root real for discharge; for charge it always is.
        """
        if power_w > 0.0:
            if not self.bms.fet_discharge:
                return 0.0
            dc_w = power_w / INVERTER_EFFICIENCY
        elif power_w < 0.0:
            if not self.bms.fet_charge:
                return 0.0
            dc_w = power_w * CHARGER_EFFICIENCY
        else:
            return 0.0
        pack = self.pack
        emf_v, resistance_ohm = pack.emf_v, pack.resistance_ohm
        root_v = sqrt(emf_v * emf_v - 4.0 * resistance_ohm * dc_w)
        return 2.0 * dc_w / (emf_v + root_v)


def _deviation(rng: Random) -> float:
    return 1.0 + max(-2.0 * DEVIATION, min(2.0 * DEVIATION, rng.gauss(0.0, DEVIATION)))
