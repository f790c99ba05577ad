"""Model the power side of a battery inverter: pack, FETs, losses, and a contactor to the grid.

What the inverter wants to do is its own controller's business (`hil/devices/sunspec_inverter.py`),
asked every few milliseconds; here is what then flows. The enable pin drives the contactor on the
AC side. Reactive power, harmonics and the DC link inside the inverter are left out.
"""

from math import exp, sqrt
from random import Random
from typing import Protocol

from .element import ElementPlant, FETSwitches
from .pack import Pack

SUB_STEP_MS = 10
TAU_MS = 20.0
OPERATE_MS = 15
METER_ERROR_MAX = 0.005
# Shares of the rating and of the power that are lost; together 4.6 %, as of a hybrid inverter.
STANDING_SHARE = 0.006
PROPORTIONAL_SHARE = 0.040


class Controller(Protocol):
    """Decide what an inverter does."""

    def target_w(self, now_ms: int, grid: bool, battery: bool) -> float:
        """Return the power wanted at the AC side, positive = export.

        grid, battery: whether that side is connected. Called with rising times.
        """


class InverterPlant(ElementPlant):
    """Simulate pack, FETs and inverter. `controller` is set by whoever builds both.

    `gain` is what the power stage makes of its controller's target: this unit's own error, to be
    set as a fault. `meter_gain` is the error of the inverter's own measurement.
    """

    def __init__(self, pack: Pack, bms: FETSwitches, rng: Random, rating_w: float = 2500.0,
                 start_ms: int = 0) -> None:
        """Draw the meter's error from rng."""
        super().__init__(pack, bms, rng, start_ms)
        if rating_w <= 0.0:
            raise ValueError(f"rating_w {rating_w}: above 0")
        self.rating_w = rating_w
        self.gain = 1.0
        self.meter_gain = 1.0 + rng.uniform(-METER_ERROR_MAX, METER_ERROR_MAX)
        self.controller: Controller | None = None
        self._closes_ms = start_ms

    def _take_outputs(self, duty_permille: int, precharge: bool) -> None:
        """Move the contactor; it opens at once and closes a while after its coil."""
        if not self._enable:
            self._closes_ms = -1
        elif self._closes_ms < 0:
            self._closes_ms = self._now_ms + OPERATE_MS

    @property
    def grid(self) -> bool:
        """True while the contactor to the grid is closed."""
        return self._enable and self._now_ms >= self._closes_ms >= 0

    @property
    def battery(self) -> bool:
        """True while the pack's FETs conduct in any direction."""
        return self.bms.fet_charge or self.bms.fet_discharge

    @property
    def measured_w(self) -> float:
        """Return the power as the inverter itself measures it."""
        return self.pcc_w * self.meter_gain

    def _step(self, dt_ms: int) -> None:
        end_ms = self._now_ms
        now_ms = end_ms - dt_ms
        while now_ms < end_ms:
            part_ms = min(SUB_STEP_MS, end_ms - now_ms)
            now_ms += part_ms
            self._now_ms = now_ms
            self._sub_step(part_ms)

    def _sub_step(self, part_ms: int) -> None:
        target_w = 0.0
        grid, battery = self.grid, self.battery
        if self.controller is not None:
            target_w = self.controller.target_w(self._now_ms, grid, battery) * self.gain
        start_w = self.pcc_w
        if self.dead or not grid or not battery:
            target_w = start_w = 0.0
        if not self.bms.fet_discharge:
            target_w, start_w = min(target_w, 0.0), min(start_w, 0.0)
        if not self.bms.fet_charge:
            target_w, start_w = max(target_w, 0.0), max(start_w, 0.0)
        keep = exp(-part_ms / TAU_MS)
        end_w = target_w + (start_w - target_w) * keep
        if abs(end_w) < 0.0005 * self.rating_w and target_w == 0.0:
            end_w = 0.0
        mean_w = target_w + (start_w - target_w) * (1.0 - keep) * TAU_MS / part_ms
        self.pcc_w = end_w
        self.energy_pcc_j += mean_w * part_ms * 0.001
        self.pack.advance(self._now_ms, self._pack_a(mean_w, grid and battery))
        self.pack.current_a = self._pack_a(end_w, grid and battery)

    def _pack_a(self, power_w: float, on: bool) -> float:
        """Return the pack current behind a PCC power; the standing loss comes from the pack."""
        if not on:
            return 0.0
        dc_w = power_w + PROPORTIONAL_SHARE * abs(power_w) + STANDING_SHARE * self.rating_w
        if dc_w > 0.0 and not self.bms.fet_discharge:
            return 0.0
        pack = self.pack
        emf_v, resistance_ohm = pack.emf_v, pack.resistance_ohm
        root_v = sqrt(max(0.0, emf_v * emf_v - 4.0 * resistance_ohm * dc_w))
        return 2.0 * dc_w / (emf_v + root_v)
