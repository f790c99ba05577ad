"""What the element has behind it and what others lend it: the moving part of admissibility. Pure.

`limits` asks these numbers next to the profile and the reading. They are kept over a reset by
`snapshot` and `restore`: a power cut must not make room in an envelope that was used up.
"""

from .protocol.units import clamp
from .windows import BUCKET_MWH_MAX, EnergyWindow, ExtremesWindow

DAY_S = 86400
# A cell that reached its voltage limit must recover by this much, and for this long, before its
# direction is open again: without load the voltage comes back at once and would chatter.
CELL_MV_HYSTERESIS = 50
CELL_HOLD_MS = 60_000
# Owners whose limits can be in force at once.
OWNERS_MAX = 4
NO_LIMIT_MW = 100_000_000


class Usage:
    """One element's use of its envelopes, its SoC as far as it may be believed, owners' limits.

    soc_bp is the estimate, soc_bp_low what discharging may count on, soc_bp_high what charging
    must; the estimator sets all three. discharge_closed, charge_closed: a cell is, or just was,
    at its voltage limit.
    """

    def __init__(self, profile):
        self._profile = profile
        self.soc_bp = 0
        self.soc_bp_low = 0
        self.soc_bp_high = 10000
        self.discharge_closed = False
        self.charge_closed = False
        self._discharge_hold_ms = 0
        self._charge_hold_ms = 0
        self.thermal = EnergyWindow(profile.thermal_window_s)
        self.heat = ExtremesWindow(profile.thermal_window_s)
        self.swing = ExtremesWindow(profile.swing_window_s)
        self.day = EnergyWindow(DAY_S)
        self.owner_mw_discharge = NO_LIMIT_MW
        self.owner_mw_charge = NO_LIMIT_MW
        self._owners = []

    def account(self, dt_ms: int, power_mw: int, reading) -> None:
        """Count one tick: power at the PCC over dt_ms, and the fresh reading."""
        self.advance(dt_ms, power_mw)
        self.swing.add(self.soc_bp)
        self.heat.add(reading.temperature_mdegc_max)
        self._watch_cells(dt_ms, reading)

    def advance(self, dt_ms: int, power_mw: int) -> None:
        """Let time go by; without a fresh reading this alone is known."""
        self.thermal.advance(dt_ms)
        self.day.advance(dt_ms)
        self.swing.advance(dt_ms)
        self.heat.advance(dt_ms)
        if power_mw:
            self.thermal.add(power_mw, dt_ms)
            self.day.add(power_mw, dt_ms)

    def _watch_cells(self, dt_ms: int, reading) -> None:
        profile = self._profile
        if reading.cell_mv_min <= profile.cell_mv_min:
            self.discharge_closed = True
            self._discharge_hold_ms = CELL_HOLD_MS
        elif reading.cell_mv_min >= profile.cell_mv_min + CELL_MV_HYSTERESIS:
            self._discharge_hold_ms = max(0, self._discharge_hold_ms - dt_ms)
            if not self._discharge_hold_ms:
                self.discharge_closed = False
        if reading.cell_mv_max >= profile.cell_mv_max:
            self.charge_closed = True
            self._charge_hold_ms = CELL_HOLD_MS
        elif reading.cell_mv_max <= profile.cell_mv_max - CELL_MV_HYSTERESIS:
            self._charge_hold_ms = max(0, self._charge_hold_ms - dt_ms)
            if not self._charge_hold_ms:
                self.charge_closed = False

    # owners' limits

    def lend(self, owner: str, discharge_mw: int, charge_mw: int, end_ms: int) -> bool:
        """Take an owner's power limit until end_ms, in place of his last one.

        It narrows and never widens: the smallest of all owners' and the profile's holds. False,
        and no change, when OWNERS_MAX others have limits in force.
        """
        kept = [one for one in self._owners if one[0] != owner]
        if len(kept) >= OWNERS_MAX:
            return False
        kept.append((owner, discharge_mw, charge_mw, end_ms))
        self._owners = kept
        self._narrow()
        return True

    def expire(self, now_ms: int, diff) -> None:
        """Drop the limits whose time is over. diff: the HAL's ticks_diff."""
        owners = self._owners
        for index in range(len(owners)):
            if diff(now_ms, owners[index][3]) >= 0:
                self._keep_from(now_ms, diff)
                return

    def _keep_from(self, now_ms: int, diff) -> None:
        # apart from `expire`: a comprehension's variables would be allocated at every call
        self._owners = [one for one in self._owners if diff(now_ms, one[3]) < 0]
        self._narrow()

    def owner_of(self, sign: int) -> str:
        """Return who lends the narrowest limit in a direction; empty when nobody does."""
        column = 1 if sign > 0 else 2
        narrowest = None
        for one in self._owners:
            if narrowest is None or one[column] < narrowest[column]:
                narrowest = one
        return "" if narrowest is None else narrowest[0]

    def _narrow(self) -> None:
        discharge = charge = NO_LIMIT_MW
        for _, discharge_mw, charge_mw, _ in self._owners:
            discharge = min(discharge, discharge_mw)
            charge = min(charge, charge_mw)
        self.owner_mw_discharge = discharge
        self.owner_mw_charge = charge

    # over a reset

    def snapshot(self) -> list:
        """Return what a restart must know, as integers."""
        return [self.thermal.total_mwh, self.day.total_mwh, self.swing.low, self.swing.high,
                self.heat.low, self.heat.high]

    def restore(self, kept: list, unsaved_mwh: int) -> None:
        """Go on from a snapshot as if all of it had happened just now.

        unsaved_mwh: the most that may have gone through since the snapshot was written; it
        counts as energy and widens the swing by the SoC that it stands for, both ways.
        """
        thermal_mwh, day_mwh, soc_low, soc_high, heat_low, heat_high = kept
        self.thermal.add_mwh(clamp(thermal_mwh + unsaved_mwh, 0, BUCKET_MWH_MAX))
        self.day.add_mwh(clamp(day_mwh + unsaved_mwh, 0, BUCKET_MWH_MAX))
        swing_bp = unsaved_mwh // max(1, self._profile.mwh_per_bp) + 1
        self.swing.add(max(0, soc_low - swing_bp))
        self.swing.add(min(10000, soc_high + swing_bp))
        self.heat.add(heat_low)
        self.heat.add(heat_high)

    def exhaust(self) -> None:
        """Count every envelope as used up: what was kept over the reset cannot be read."""
        profile = self._profile
        self.thermal.add_mwh(profile.thermal_mwh_max)
        self.day.add_mwh(profile.day_mwh_max)
        self.swing.add(0)
        self.swing.add(10000)
