"""Simulate thousands of loads and batteries under one controller, 5 s a step, 0.1 s inside it.

A SIMULATION: no firmware, no device of its own. What it models: the controller's decisions each
step, the delay of every command, the start of every load, stores with thermostats, lock-outs,
powers that differ from their nameplates, batteries with rating, SoC and delay. A step costs a few
dozen operations on columns, because a load switches at most once in it.

Batteries are told a course for the step, not one power: what the loads are expected to do is
known, that is the distribution of their delays. Nobody knows the next setpoint, so every step
begins with the batteries where they were until their own delay is over.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .control import (
    BoolArray,
    Controller,
    Decision,
    FloatArray,
    Seen,
    random_remainders,
)
from .delay import BATTERY, SWITCH, Delay
from .fleet import BATTERY_PLAN, BATTERY_WEIGHT, SOC_MAX, SOC_MIN, STEP_S, Fleet, IntArray

SUB_COUNT = 50
SUB_S = STEP_S / SUB_COUNT
# Wishes bring a store or an SoC back to its middle in about this time when nothing else is asked.
PULL_S = 3600.0
ONE_WAY = 0.96  # Each direction of a battery; together 92 %.
# Steps at zero before the first that counts, so that remainders and loads have found their ways.
SETTLE_COUNT = 24


@dataclass(frozen=True)
class Variant:
    """How the controller works. remainders False: all begin at zero and switch together.

    residual False: batteries keep to their shares of the setpoint. patience: of the loads.
    """

    remainders: bool = True
    residual: bool = True
    patience: float = 0.0


@dataclass(frozen=True)
class Course:
    """What came of a run: power and reference every SUB_S, W relative to the baseline.

    left_w: what batteries could not take, largest of all steps. switched_count: by how many
    switchings the loads followed. step_s_max: the controller's longest computation, wall time.
    """

    power_w: FloatArray
    reference_w: FloatArray
    left_w: float
    switched_count: int
    step_s_max: float

    def means(self, seconds: int) -> tuple[FloatArray, FloatArray]:
        """Return power and reference as means over whole numbers of seconds that divide a step."""
        size = round(seconds / SUB_S)
        return (self.power_w.reshape(-1, size).mean(axis=1),
                self.reference_w.reshape(-1, size).mean(axis=1))


class Ensemble:
    """Devices of a fleet under one controller. The seed decides everything but the fleet."""

    def __init__(self, fleet: Fleet, seed: int, variant: Variant | None = None,
                 switch: Delay = SWITCH, battery: Delay = BATTERY) -> None:
        self.fleet = fleet
        variant = variant or Variant()
        self._rng = np.random.default_rng([seed, 2])
        self._switch, self._battery = switch, battery
        rng, power_w = self._rng, fleet.power_w
        remainder_w = random_remainders(power_w, rng, variant.patience) if variant.remainders \
            else np.zeros(power_w.size)
        self.controller = Controller(power_w, power_w, BATTERY_WEIGHT * fleet.rating_w,
                                     remainder_w, variant.residual, variant.patience)
        self._residual = variant.residual
        self.on: BoolArray = rng.random(power_w.size) < fleet.baseline_w / power_w
        self.held: IntArray = rng.integers(0, 2 * fleet.hold_steps + 1)
        self.store: FloatArray = np.where(fleet.store_wh > 0.0,
                                          rng.uniform(0.3, 0.7, power_w.size), 0.5)
        self.soc: FloatArray = rng.uniform(0.4, 0.6, fleet.rating_w.size)
        self.battery_w: FloatArray = np.zeros(fleet.rating_w.size)
        self.switched_count = 0
        self._store_j = np.where(fleet.store_wh > 0.0, fleet.store_wh * 3600.0, np.inf)
        self._starts = [(start_s, fleet.start_s == start_s) for start_s in
                        np.unique(fleet.start_s).tolist()]
        self._shares = {start_s: np.array([
            switch.arrived((index + 0.5) * SUB_S - start_s) for index in range(SUB_COUNT)])
            for start_s in {0.0, *(one for one, _ in self._starts)}}

    def run(self, reference_w: FloatArray, clock: Callable[[], float],
            progress: Callable[[int], None] | None = None) -> Course:
        """Follow a reference, one value a step, W relative to the baseline.

        clock: seconds, to measure the controller with. progress: called with the steps done.
        """
        powers = np.zeros((reference_w.size, SUB_COUNT))
        left_w = step_s_max = 0.0
        for index in range(-SETTLE_COUNT, reference_w.size):
            wanted_w = float(reference_w[index]) if index >= 0 else 0.0
            began = clock()
            decision = self.controller.step(wanted_w - self.fleet.baseline_sum_w, self.seen())
            took_s = clock() - began
            course_w = self._follow(wanted_w, decision)
            if index < 0:
                continue
            step_s_max = max(step_s_max, took_s)
            left_w = max(left_w, abs(decision.left_w)) if self._residual else 0.0
            powers[index] = course_w
            if progress is not None:
                progress(index + 1)
        return Course(powers.reshape(-1), np.repeat(reference_w, SUB_COUNT), left_w,
                      self.switched_count, step_s_max)

    def seen(self) -> Seen:
        """Return what the controller may know: states, lock-outs, thermostats, SoC."""
        fleet = self.fleet
        free = self.held >= fleet.hold_steps
        full, empty = self.store >= 1.0, self.store <= 0.0
        may_on, may_off = self.on | (free & ~full), ~self.on | (free & ~empty)
        # food, water and people come first: a store at its end is not asked, once it is free
        may_on &= ~(full & free)
        may_off &= ~(empty & free)
        pull_w = np.where(np.isfinite(self._store_j), self._store_j, 0.0) / PULL_S
        wish_w = -fleet.baseline_w - (0.5 - self.store) * pull_w
        energy_j = fleet.energy_wh * 3600.0
        high_w = np.clip((self.soc - SOC_MIN) * energy_j * ONE_WAY / STEP_S, 0.0, fleet.rating_w)
        low_w = -np.clip((SOC_MAX - self.soc) * energy_j / ONE_WAY / STEP_S, 0.0, fleet.rating_w)
        battery_wish_w = np.clip((self.soc - 0.5) * energy_j / PULL_S,
                                 BATTERY_PLAN * low_w, BATTERY_PLAN * high_w)
        return Seen(self.on, may_on, may_off, wish_w, battery_wish_w, low_w, high_w, BATTERY_PLAN)

    def _follow(self, wanted_w: float, decision: Decision) -> FloatArray:
        """Let a step pass; return the power of all, W relative to the baseline, every SUB_S."""
        fleet = self.fleet
        before_w = float(fleet.true_w[self.on].sum())
        changed = np.flatnonzero(decision.on != self.on)
        to_on = decision.on[changed]
        at_s = self._switch.draw(self._rng, changed.size)
        at_s = np.minimum(at_s + np.where(to_on, fleet.start_s[changed], 0.0), STEP_S)
        sign = np.where(to_on, 1.0, -1.0)
        loads_w = before_w + _steps(sign * fleet.true_w[changed], at_s)
        expected_w = before_w + self._expected(changed, to_on)
        self._keep_stores(decision.on, changed, to_on, at_s)
        self.on = decision.on
        self.held += 1
        self.held[changed] = 0
        self.switched_count += changed.size
        battery_w = self._batteries(wanted_w - fleet.baseline_sum_w, decision, expected_w)
        return battery_w - loads_w + fleet.baseline_sum_w

    def _expected(self, changed: IntArray, to_on: BoolArray) -> FloatArray:
        """Return what the loads that switch are expected to add, by the known delays."""
        power_w = self.fleet.power_w
        total_w = -float(power_w[changed[~to_on]].sum()) * self._shares[0.0]
        for start_s, has in self._starts:
            begun = changed[to_on & has[changed]]
            total_w = total_w + float(power_w[begun].sum()) * self._shares[start_s]
        return total_w

    def _keep_stores(self, on: BoolArray, changed: IntArray, to_on: BoolArray,
                     at_s: FloatArray) -> None:
        """Move the stores by what loads took above their baseline."""
        fleet = self.fleet
        taken_j = np.where(on, fleet.true_w, 0.0) * STEP_S
        taken_j[changed] = fleet.true_w[changed] * np.where(to_on, STEP_S - at_s, at_s)
        self.store += (taken_j - fleet.baseline_w * STEP_S) / self._store_j

    def _batteries(self, total_w: float, decision: Decision, expected_w: FloatArray) -> FloatArray:
        """Return what all batteries do in the step; each stays within what it can do."""
        final_w, before_w = decision.battery_w, self.battery_w
        if final_w.size == 0:
            return np.zeros(SUB_COUNT)
        at_s = np.minimum(self._battery.draw(self._rng, final_w.size), STEP_S)
        course_w = float(before_w.sum()) + _steps(final_w - before_w, at_s)
        if self._residual:
            seen = self.seen_limits(final_w)
            more_w = total_w + expected_w - float(final_w.sum())
            for room_w, part_w in ((seen[1], np.maximum(more_w, 0.0)),
                                   (seen[0], np.minimum(more_w, 0.0))):
                whole_w = float(room_w.sum())
                if whole_w != 0.0:
                    reached = _steps(room_w / whole_w, at_s)
                    course_w = course_w + reached * np.sign(part_w) * np.minimum(
                        np.abs(part_w), abs(whole_w))
        loss = np.where(final_w > 0.0, 1.0 / ONE_WAY, ONE_WAY)
        self.soc -= final_w * loss * STEP_S / (self.fleet.energy_wh * 3600.0)
        self.battery_w = final_w
        return course_w

    def seen_limits(self, power_w: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the room of each battery below (negative) and above power_w."""
        rating_w = self.fleet.rating_w
        return np.minimum(-rating_w - power_w, 0.0), np.maximum(rating_w - power_w, 0.0)


def _steps(change_w: FloatArray, at_s: FloatArray) -> FloatArray:
    """Return the means over each SUB_S of the sum of steps change_w at at_s (0..STEP_S)."""
    position = at_s / SUB_S
    index = np.minimum(position.astype(np.int64), SUB_COUNT - 1)
    late = position - index
    first = np.bincount(index, change_w * (1.0 - late), SUB_COUNT + 1)
    second = np.bincount(index + 1, change_w * late, SUB_COUNT + 1)
    return np.cumsum(first + second)[:SUB_COUNT]
