"""Decompose an instruction over the elements: deterministic, exact, inside every envelope. Pure.

First the ceilings say what may be admitted. The total is then shared over the electrical groups
(three-phase, each phase) in proportion to their ceilings, which keeps the phases balanced, and
within a group by the policy's rule: on/off elements in whole steps near their fair share, the
regulated ones for the rest. What neither can carry exactly goes to one on/off element as a mean,
which it reaches by switching (error diffusion, element/power/diffusion.py).
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from host_tools.dispatch import split
from host_tools.envelope import policy as rules
from host_tools.envelope.ceilings import BY_RAMP, Ceilings, ceilings, eligible
from host_tools.envelope.policy import Instruction, Policy
from host_tools.envelope.population import HOLD_MARGIN_MS, Ints, Population

# Steps follow their share when it is this part of a step away.
HYSTERESIS_PCT = 75
# Larger than any key within a priority: wear, soc_bp, soh_bp.
_KEY_SPAN = 1 << 40


@dataclass(frozen=True)
class Plan:
    """One decomposition. parts_mw: of each row of the population; their sum is admitted_mw.

    refused: nothing was admitted, since the policy allows no part of it. limited_by: the ceilings
    that are below what was asked. levels: of on/off elements, for Population.take. cursor: where
    the next round-robin turn begins.
    """

    asked_mw: int
    admitted_mw: int
    parts_mw: Ints
    levels: Ints
    limited_by: tuple[str, ...] = ()
    refused: bool = False
    cursor: bytes = b""

    @property
    def shortfall_mw(self) -> int:
        """What was asked and is not admitted, non-negative."""
        return abs(self.asked_mw - self.admitted_mw)


def dispatch(population: Population, policy: Policy, instruction: Instruction) -> Plan:
    """Return the plan for an instruction. The same arguments give the same plan, always."""
    asked_mw = instruction.power_mw
    if instruction.rule:
        policy = replace(policy, rule=instruction.rule)
    wanted_mw, reasons = _paced(population, policy, instruction)
    sign = 1 if wanted_mw >= 0 else -1
    bound = ceilings(population, policy, sign, instruction)
    why = bound.reason(abs(wanted_mw))
    if why:
        partial = policy.partial if instruction.partial is None else instruction.partial
        reasons = (*reasons, why)
        if not partial:
            return _nothing(population, instruction, reasons)
        wanted_mw = sign * bound.total_mw
    parts, cursor = _decomposed(population, policy, instruction, bound, abs(wanted_mw))
    levels = np.where(population.column("step_mw") > 0, np.sign(parts), 0)
    return Plan(asked_mw, int(parts.sum()), parts, levels, reasons, False, cursor)


def _paced(population: Population, policy: Policy, instruction: Instruction
           ) -> tuple[int, tuple[str, ...]]:
    """Return the total to aim at now, after dead-band and ramp, and what has limited it."""
    asked_mw, before_mw = instruction.power_mw, instruction.previous_mw
    if asked_mw and before_mw and abs(asked_mw - before_mw) <= policy.deadband_mw:
        return before_mw, ()
    if not any(instruction.service & known for known, _ in policy.ramp_bp_per_s):
        return asked_mw, ()
    nameplate = population.column("nameplate_discharge_mw" if asked_mw >= before_mw
                                  else "nameplate_charge_mw")
    takes_part = eligible(population, instruction.service, instruction.among)
    nameplate_mw = int(nameplate[takes_part].sum())
    step_mw = policy.ramp_mw(instruction.service, nameplate_mw, instruction.dt_ms)
    if step_mw is None or abs(asked_mw - before_mw) <= step_mw:
        return asked_mw, ()
    return before_mw + (step_mw if asked_mw > before_mw else -step_mw), (BY_RAMP,)


def _nothing(population: Population, instruction: Instruction, reasons: tuple[str, ...]) -> Plan:
    zeros = np.zeros(len(population), dtype=np.int64)
    return Plan(instruction.power_mw, 0, zeros, zeros, reasons, True, instruction.cursor)


def _decomposed(population: Population, policy: Policy, instruction: Instruction,
                bound: Ceilings, size_mw: int) -> tuple[Ints, bytes]:
    """Return the parts of an admitted size, with its sign, and the next cursor."""
    place = _places(population, policy, bound.sign, instruction.cursor)
    other: list[Ints] = []

    def back() -> Ints:
        """Return the caps of the other direction: on/off elements may be too much."""
        if not other:
            other.append(ceilings(population, policy, -bound.sign, instruction).caps_mw)
        return other[0]

    parts = np.zeros(len(population), dtype=np.int64)
    totals = group_totals(size_mw, bound.groups_mw)
    for rows, part_mw in zip(population.rows_of_group, totals, strict=True):
        if len(rows) and part_mw:
            work = _Group(population, policy, bound, back, rows, place, instruction.now_ms)
            parts[rows] = work.split(part_mw)
    cursor = instruction.cursor
    if policy.rule == rules.ROUND_ROBIN and parts.any():
        # the turn goes on behind the last element of this one
        last = int(np.argmax(np.where(parts != 0, place, -1)))
        cursor = population.ids[(last + 1) % len(population)]
    return parts * bound.sign, cursor


def group_totals(size_mw: int, groups_mw: tuple[int, ...]) -> list[int]:
    """Return each group's part of a total, in proportion to its ceiling. Exact in sum.

    What the division leaves over, a few mW, goes to the groups with the smallest parts, so that
    it never adds to a spread.
    """
    whole_mw = sum(groups_mw)
    totals = [size_mw * one // whole_mw if whole_mw else 0 for one in groups_mw]
    left_mw = size_mw - sum(totals)
    for at in sorted(range(len(totals)), key=lambda index: (totals[index], index)):
        given_mw = min(1, left_mw, groups_mw[at] - totals[at])
        totals[at] += given_mw
        left_mw -= given_mw
    return totals


def _places(population: Population, policy: Policy, sign: int, cursor: bytes) -> Ints:
    """Return by what rows are ordered when elements are filled or started, the lowest first.

    Of equal ones the first row goes first.
    """
    column, count = population.column, len(population)
    if policy.rule == rules.ROUND_ROBIN:
        first = bisect_left(population.ids, cursor)
        return (np.arange(count) - first) % max(1, count)
    if policy.rule == rules.ECONOMIC:
        key = column("wear")
    elif policy.rule == rules.SOH_WEIGHTED:
        key = -column("soh_bp")
    else:  # the fullest discharge first, the emptiest charge first
        key = -sign * column("soc_bp")
    return column("priority") * _KEY_SPAN + key


class _Group:
    """The split within one electrical group. Sizes are non-negative, in the plan's direction."""

    def __init__(self, population: Population, policy: Policy, bound: Ceilings,
                 back: Callable[[], Ints], rows: npt.NDArray[np.intp], place: Ints,
                 now_ms: int) -> None:
        """back: gives the caps of the other direction."""
        self._population = population
        self._policy = policy
        self._rows = rows
        self._caps = bound.caps_mw[rows]
        self._back = back
        self._way = "discharge" if bound.sign > 0 else "charge"
        self._sign = bound.sign
        self._place = place[rows]
        self._now_ms = now_ms

    def _column(self, name: str) -> Ints:
        return self._population.column(name)[self._rows]

    def split(self, size_mw: int) -> Ints:
        """Return the parts of a size over the group's rows."""
        stepped = np.zeros(0, dtype=np.intp)
        if self._population.has_steps:
            stepped = np.flatnonzero(self._column("step_mw"))
        if not len(stepped):
            return self._regulated(size_mw, self._caps)
        regulated = self._caps.copy()
        regulated[stepped] = 0
        able_mw = int(regulated.sum())
        caps = self._caps[stepped]
        order = np.argsort(self._place[stepped], kind="stable")
        steps = self._steps(size_mw, stepped, order, able_mw)
        rest_mw = size_mw - int(steps.sum())
        if rest_mw > able_mw:  # more by the mean of those that rest
            steps = steps + split.in_order(rest_mw - able_mw, caps - steps, order)
        elif rest_mw < 0:
            return self._taken_back(-rest_mw, steps, stepped, order)
        parts = self._regulated(size_mw - int(steps.sum()), regulated)
        parts[stepped] = steps
        return parts

    def _taken_back(self, over_mw: int, steps: Ints, stepped: npt.NDArray[np.intp],
                    order: npt.NDArray[np.intp]) -> Ints:
        """Return the parts when the steps that run are too much by over_mw.

        The regulated elements run the other way, and what they cannot take is left out of the
        steps: the last ones run for a part of the time.
        """
        back = self._back()[self._rows]
        back[stepped] = 0
        taken_mw = min(over_mw, int(back.sum()))
        parts = -split.by_weight(taken_mw, back, back)
        parts[stepped] = steps - split.in_order(over_mw - taken_mw, steps, order[::-1])
        return parts

    def _regulated(self, size_mw: int, caps: Ints) -> Ints:
        """Return the parts of the regulated elements by the policy's rule."""
        rule = self._policy.rule
        if rule == rules.ROUND_ROBIN:
            return split.in_order(size_mw, caps, np.argsort(self._place, kind="stable"))
        if rule == rules.ECONOMIC:
            return split.by_marginal_cost(
                size_mw, caps, self._column("wear"), self._column(f"nameplate_{self._way}_mw"),
                self._policy.wear_rise_bp)
        if rule == rules.SOH_WEIGHTED:
            weights = split.scaled(caps) * self._column("soh_bp")
        elif rule == rules.SOC_BALANCING:
            # by what is left: all are empty, or full, at the same time
            weights = self._column(f"{self._way}_mwh")
        else:
            weights = caps
        return split.by_weight(size_mw, caps, weights)

    def _steps(self, size_mw: int, rows: npt.NDArray[np.intp], order: npt.NDArray[np.intp],
               regulated_mw: int) -> Ints:
        """Return which on/off elements run for a size, whole steps each.

        rows: theirs in the group. order: in which they are started.
        """
        caps = self._caps[rows]
        able_mw = int(caps.sum())
        if not able_mw:
            return caps
        # their fair share, and what the regulated ones cannot carry in any case
        share_mw = max(size_mw * able_mw // (able_mw + regulated_mw), size_mw - regulated_mw)
        parts = np.where(self._column("level")[rows] == self._sign, caps, 0)
        gap_mw = share_mw - int(parts.sum())
        if gap_mw > 0:
            return parts + _next(gap_mw, caps - parts, order)
        held = self._now_ms - self._column("since_ms")[rows] \
            < self._column("on_ms_min")[rows] + HOLD_MARGIN_MS
        return parts - _next(-gap_mw, np.where(held, 0, parts), order[::-1])


def _next(gap_mw: int, steps: Ints, order: npt.NDArray[np.intp]) -> Ints:
    """Return those of steps to switch for a gap, in order, while it is far enough away."""
    ordered = steps[order]
    before = np.cumsum(ordered) - ordered
    wanted = (ordered > 0) & ((gap_mw - before) * 100 > ordered * HYSTERESIS_PCT)
    chosen = np.zeros_like(steps)
    chosen[order[wanted]] = ordered[wanted]
    return chosen
