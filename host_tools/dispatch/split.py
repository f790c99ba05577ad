"""Split an admitted power over elements exactly: integers whose sum is the total. Pure.

On/off elements are chosen first, whole steps near their fair share; the regulated ones carry
the rest in proportion to what each can do in that direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from element.protocol.units import split_evenly


@dataclass(frozen=True)
class Capability:
    """What one element can do now, in mW, both directions as non-negative numbers.

    step_mw: 0 for a regulated element, else the one power an on/off element has.
    """

    element_id: bytes
    discharge_mw: int
    charge_mw: int
    step_mw: int = 0
    soc_bp: int = 5000

    def limit_mw(self, sign: int) -> int:
        """Return what it can do in the direction of sign."""
        return self.discharge_mw if sign > 0 else self.charge_mw


def split_capped(total_mw: int, caps_mw: Sequence[int], weights: Sequence[int]) -> list[int]:
    """Split total_mw over non-negative weights so that no part exceeds its cap.

    The parts have total_mw's sign and sum to it exactly. Raises ValueError when the caps
    together are smaller than the total.
    """
    left_mw = abs(total_mw)
    if left_mw > sum(caps_mw):
        raise ValueError("the caps are smaller than the total")
    parts = [0] * len(caps_mw)
    open_indexes = [index for index, cap_mw in enumerate(caps_mw) if cap_mw > 0]
    while left_mw:
        chosen = [weights[index] for index in open_indexes]
        if not any(chosen):
            chosen = [caps_mw[index] - parts[index] for index in open_indexes]
        for index, share_mw in zip(open_indexes, split_evenly(left_mw, chosen), strict=True):
            taken_mw = min(share_mw, caps_mw[index] - parts[index])
            parts[index] += taken_mw
            left_mw -= taken_mw
        open_indexes = [index for index in open_indexes if parts[index] < caps_mw[index]]
    return parts if total_mw >= 0 else [-part for part in parts]


def _weight(capability: Capability, sign: int) -> int:
    """Return how much of the total an element should carry: its power, leaning to level SoC."""
    room_bp = capability.soc_bp if sign > 0 else 10000 - capability.soc_bp
    return capability.limit_mw(sign) * (5000 + room_bp) // 10000


class StepChooser:
    """Decide which on/off elements run: few switches, fair turns, whole steps only.

    A direction's share is held until it is `HYSTERESIS` of a step away; an element that has
    switched keeps its state for hold_ms, so that its own minimum times never refuse it.
    """

    HYSTERESIS_PCT = 75

    def __init__(self, hold_ms: int = 4000) -> None:
        self._hold_ms = hold_ms
        self._level: dict[bytes, int] = {}
        self._since_ms: dict[bytes, int] = {}

    def choose(
        self, target_mw: int, steps: Sequence[Capability], regulated_mw: tuple[int, int],
        now_ms: int,
    ) -> dict[bytes, int]:
        """Return the power of each on/off element for target_mw.

        regulated_mw: what the regulated elements can do (discharge, charge): when they cannot
        carry the rest, steps are added beyond the fair share.
        """
        for element in steps:
            level = self._level.get(element.element_id, 0)
            if level and element.limit_mw(level) < element.step_mw:
                self._set(element.element_id, 0, now_ms)
        while True:
            change = self._next_change(target_mw, steps, regulated_mw, now_ms)
            if change is None:
                break
            self._set(change[0], change[1], now_ms)
        return {
            element.element_id: self._level.get(element.element_id, 0) * element.step_mw
            for element in steps
        }

    def _set(self, element_id: bytes, level: int, now_ms: int) -> None:
        self._level[element_id] = level
        self._since_ms[element_id] = now_ms

    def _free(self, element_id: bytes, now_ms: int) -> bool:
        since_ms = self._since_ms.get(element_id)
        return since_ms is None or now_ms - since_ms >= self._hold_ms

    def _next_change(
        self, target_mw: int, steps: Sequence[Capability], regulated_mw: tuple[int, int],
        now_ms: int,
    ) -> tuple[bytes, int] | None:
        """Return the one switch that brings the steps nearer to their share, or None."""
        sign = 1 if target_mw >= 0 else -1
        running_mw = sum(
            self._level.get(element.element_id, 0) * element.step_mw for element in steps)
        able_mw = sum(element.step_mw for element in steps
                      if element.limit_mw(sign) >= element.step_mw)
        regulated = regulated_mw[0] if sign > 0 else regulated_mw[1]
        whole_mw = regulated + able_mw
        share_mw = target_mw * able_mw // whole_mw if whole_mw else 0
        # what the regulated elements cannot carry has to come from steps, whatever is fair
        beyond_mw = abs(target_mw) - regulated
        if beyond_mw > abs(share_mw):
            share_mw = sign * beyond_mw
        free = [element for element in steps if self._free(element.element_id, now_ms)]
        for element in sorted(free, key=lambda one: (one.soc_bp, one.element_id)):
            level = self._level.get(element.element_id, 0)
            gap_mw = share_mw - running_mw
            wanted = abs(gap_mw) * 100 > element.step_mw * self.HYSTERESIS_PCT
            if wanted and level * gap_mw < 0:
                return element.element_id, 0
        return self._start(share_mw - running_mw, free)

    def _start(self, gap_mw: int, free: Sequence[Capability]) -> tuple[bytes, int] | None:
        """Return the resting element to start for a gap: the fullest to discharge, and so on."""
        direction = 1 if gap_mw > 0 else -1
        ready = [element for element in free
                 if not self._level.get(element.element_id, 0)
                 and element.limit_mw(direction) >= element.step_mw]
        ready.sort(key=lambda one: (-direction * one.soc_bp, one.element_id))
        for element in ready:
            if abs(gap_mw) * 100 > element.step_mw * self.HYSTERESIS_PCT:
                return element.element_id, direction
        return None


@dataclass(frozen=True)
class Split:
    """One dispatch: what was asked, what was admitted, and each element's part."""

    asked_mw: int
    admitted_mw: int
    parts_mw: dict[bytes, int]

    @property
    def shortfall_mw(self) -> int:
        """What was asked and could not be admitted, non-negative."""
        return abs(self.asked_mw - self.admitted_mw)


def split(asked_mw: int, elements: Sequence[Capability], chooser: StepChooser,
          now_ms: int) -> Split:
    """Return the parts of asked_mw. They sum to the admitted total exactly.

    The admitted total is the asked one, cut to what the elements can do in its direction given
    the steps that run.
    """
    regulated = [element for element in elements if not element.step_mw]
    steps = [element for element in elements if element.step_mw]
    able = (sum(element.discharge_mw for element in regulated),
            sum(element.charge_mw for element in regulated))
    parts = chooser.choose(asked_mw, steps, able, now_ms)
    rest_mw = asked_mw - sum(parts.values())
    rest_mw = max(-able[1], min(able[0], rest_mw))
    sign = 1 if rest_mw >= 0 else -1
    caps = [element.limit_mw(sign) for element in regulated]
    weights = [_weight(element, sign) for element in regulated]
    for element, part_mw in zip(regulated, split_capped(rest_mw, caps, weights), strict=True):
        parts[element.element_id] = part_mw
    return Split(asked_mw, sum(parts.values()), parts)
