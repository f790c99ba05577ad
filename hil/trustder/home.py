"""Control one home: a decision every step, and between steps a battery that follows the loads.

Pure: times and measurements are handed in. Every METER_MS each circuit's mean power is known. The
battery is told what makes up for the loads as they will be when it has answered: a load that was
told to switch counts as switched from the mean of its delay on, sooner when its circuit shows it,
and not at all once it is overdue: then what is measured counts alone. A heater's fan, seen, says
when its element will follow. What the circuits' meters and the home's own do not agree on is
learned from the home's meter, in seconds in which nothing moves.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .control import Controller, Decision, FloatArray, Seen, random_remainders
from .delay import SWITCH
from .fleet import BATTERY_PLAN, BATTERY_WEIGHT, HOME_PATIENCE, Fleet

METER_MS = 100
# From a command to the element's inverter at its new power, most of it the inverter's own ramp.
BATTERY_AHEAD_MS = 100
# Half of the change is enough to see that a load has switched.
SEEN_SHARE = 0.5
OVERDUE_SIGMAS = 3.0
# An inrush is over before a battery could answer it: more than this of a load's power is none.
INRUSH_SHARE = 1.15
# More than this on a circuit that was at rest is the first sign of a load that has its start.
SIGN_W = 10.0
# Of what the meter says is missing, so much is added each quiet second, and no more in all than
# this share of the battery's rating: several times what meters of class 0.5 may differ by.
TRIM_GAIN = 0.5
TRIM_SHARE_MAX = 0.02
QUIET_MS = 1200  # A metered second, and its battery's answer, must have been quiet.
QUIET_W = 20.0


@dataclass
class _Pending:
    """A switching that was told and not yet seen."""

    at_ms: int
    overdue_ms: int
    before_w: float
    after_w: float
    start_ms: int
    sign_seen: bool = False


@dataclass(frozen=True)
class HomeSeen:
    """What the home's controller reads at a step.

    circuits_w: mean power of each load's circuit, consumption. may_on, may_off: of each load.
    refrigerator_store: 0 warm, 1 cold. battery_low_w, battery_high_w: what the element can do.
    """

    circuits_w: FloatArray
    may_on: tuple[bool, ...]
    may_off: tuple[bool, ...]
    refrigerator_store: float
    battery_soc: float
    battery_low_w: float
    battery_high_w: float


class HomeController:
    """Heater, lights, refrigerator and a battery under one setpoint."""

    def __init__(self, fleet: Fleet, seed: int, clock: Callable[[], float],
                 pull_s: float = 3600.0, anticipate: bool = True,
                 patience: float = HOME_PATIENCE) -> None:
        """clock: seconds, to measure the computation with. pull_s: as of the simulation's wishes.

        anticipate: whether the known mean of the switches' delay is used.
        """
        self.fleet = fleet
        self.decision: Decision | None = None
        self.step_s: list[float] = []
        power_w = fleet.power_w
        self._controller = Controller(
            power_w, power_w, BATTERY_WEIGHT * fleet.rating_w,
            random_remainders(power_w, np.random.default_rng([seed, 4]), patience),
            patience=patience)
        self._clock, self._pull_s, self._anticipate = clock, pull_s, anticipate
        self._wanted_w = -fleet.baseline_sum_w
        self._on = np.zeros(power_w.size, dtype=np.bool_)
        self._held = fleet.hold_steps.copy()
        self._pending: list[_Pending | None] = [None] * power_w.size
        self._limits_w = (0.0, 0.0)
        self._trim_w = 0.0
        self._told_w = 0.0
        self._moved_ms = 0

    def step(self, now_ms: int, wanted_w: float, seen: HomeSeen) -> list[tuple[int, bool]]:
        """Decide for a step; wanted_w is relative to the baseline.

        Returns the commands: index of a load and whether it is to be on. A load that does not do
        what it was told is told again.
        """
        began = self._clock()
        fleet = self.fleet
        self._held += 1
        free = self._held >= fleet.hold_steps
        may_on = np.array(seen.may_on) & (self._on | free)
        may_off = np.array(seen.may_off) & (~self._on | free)
        stuck = ~(may_on | may_off)  # its own lock-out and ours disagree: its own is what happens
        may_on |= stuck & np.array(seen.may_on)
        may_off |= stuck & np.array(seen.may_off)
        wish_w = -fleet.baseline_w.copy()
        wish_w[2] -= (0.5 - seen.refrigerator_store) * fleet.store_wh[2] * 3600.0 / self._pull_s
        self._limits_w = (seen.battery_low_w, seen.battery_high_w)
        battery_wish_w = (seen.battery_soc - 0.5) * float(fleet.energy_wh[0]) * 3600.0 \
            / self._pull_s
        low_w, high_w = BATTERY_PLAN * seen.battery_low_w, BATTERY_PLAN * seen.battery_high_w
        self._wanted_w = wanted_w - fleet.baseline_sum_w
        decision = self.decision = self._controller.step(self._wanted_w, Seen(
            self._on, may_on, may_off, wish_w, np.array([min(max(battery_wish_w, low_w), high_w)]),
            np.array([seen.battery_low_w]), np.array([seen.battery_high_w]), BATTERY_PLAN))
        commands = [(int(index), bool(decision.on[index]))
                    for index in np.flatnonzero(decision.on != self._on)]
        for index, on in commands:
            self._held[index] = 0
            self._expect(index, on, now_ms, float(seen.circuits_w[index]))
        self._on = decision.on
        self.step_s.append(self._clock() - began)
        return commands

    def _expect(self, index: int, on: bool, now_ms: int, before_w: float) -> None:
        """Remember what a command will do, and when."""
        start_s = float(self.fleet.start_s[index]) if on else 0.0
        mean_ms = round((SWITCH.s_mean + start_s) * 1000.0)
        late_ms = round(OVERDUE_SIGMAS * SWITCH.s_sigma * 1000.0)
        after_w = float(self.fleet.power_w[index]) if on else 0.0
        self._pending[index] = _Pending(now_ms + mean_ms, now_ms + mean_ms + late_ms,
                                        before_w, after_w, round(start_s * 1000.0))

    def battery_w(self, now_ms: int, circuits_w: FloatArray) -> float:
        """Return what the battery is to do now, W, within what it can."""
        ahead_ms = now_ms + BATTERY_AHEAD_MS
        loads_w = 0.0
        if any(one is not None for one in self._pending):
            self._moved_ms = now_ms
        for index, measured_w in enumerate(circuits_w.tolist()):
            known_w = min(measured_w, INRUSH_SHARE * float(self.fleet.power_w[index]))
            pending = self._pending[index]
            if pending is not None:
                moved_w = abs(known_w - pending.before_w)
                self._look_for_sign(pending, moved_w, now_ms)
                if moved_w > SEEN_SHARE * abs(pending.after_w - pending.before_w) \
                        or now_ms >= pending.overdue_ms:
                    self._pending[index] = None
                elif self._anticipate and ahead_ms >= pending.at_ms:
                    known_w = pending.after_w
            loads_w += known_w
        low_w, high_w = self._limits_w
        wanted_w = self._wanted_w + loads_w + self._trim_w
        told_w = min(max(wanted_w, low_w), high_w)
        if abs(told_w - self._told_w) > QUIET_W or told_w != wanted_w:
            self._moved_ms = now_ms
            self._told_w = told_w
        return told_w

    def metered(self, now_ms: int, home_w: float) -> None:
        """Learn from the home's meter: its mean of the last second, W, all consumption in it."""
        if now_ms - self._moved_ms < QUIET_MS:
            return
        most_w = TRIM_SHARE_MAX * float(self.fleet.rating_w[0])
        trim_w = self._trim_w + TRIM_GAIN * (self._wanted_w - home_w)
        self._trim_w = min(max(trim_w, -most_w), most_w)

    @staticmethod
    def _look_for_sign(pending: _Pending, moved_w: float, now_ms: int) -> None:
        """Correct when a load is expected by the first sign of it, in the middle of a window."""
        if pending.sign_seen or not pending.start_ms or moved_w < SIGN_W:
            return
        pending.sign_seen = True
        pending.at_ms = now_ms - METER_MS // 2 + pending.start_ms
        pending.overdue_ms = pending.at_ms + round(OVERDUE_SIGMAS * SWITCH.s_sigma * 1000.0)
