"""Judge a frequency response: start, full delivery, overshoot, settling; and a whole trace."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.frequency.products import OVERSHOOT_PCT_MAX, Product
from hil.frequency.traces import Step
from hil.metrics.tracking import step_response

FloatArray = NDArray[np.float64]
FULL_SHARE = 0.95
# Settled: within 5 % of the step, and not finer than 1.5 % of the contract: 1 mHz of a meter's
# step is 1 % of it on the steepest curve.
SETTLED_SHARE = 0.05
SETTLED_CONTRACT_SHARE = 0.015
# Ours: as near to the band as a class 0.5 meter and a few percent of loss model can tell.
WITHIN_SHARE = 0.03
# The mean over this much before a step is where it starts; over the step's last second, where it
# ends: a droop that ends at 97 % of what was asked is not full at 95 % of itself.
BEFORE_MS = 500


@dataclass(frozen=True)
class StepResult:
    """One step's times in ms, None for what did not happen while it lasted."""

    step: Step
    asked_w: float
    start_ms: float | None
    full_ms: float | None
    overshoot_pct: float
    settled_ms: float | None


def judge_step(time_ms: FloatArray, power_w: FloatArray, step: Step, asked_w: float,
               contract_w: float) -> StepResult:
    """Judge the response to one step. asked_w: by the curve, positive = discharge.

    overshoot_pct is of contract_w. full: 95 % of the step, or within the band of settling.

    power_w is relative to what flowed before any service; time_ms rises, 10 ms apart or less.
    Times are from the step of the frequency to the end of the sample that shows it. Raises
    ValueError for a step that asks for nothing or was not recorded.
    """
    if asked_w == 0:
        raise ValueError("the step asks for nothing: there is no response to judge")
    before = (time_ms > step.at_ms - BEFORE_MS) & (time_ms <= step.at_ms)
    during = (time_ms > step.at_ms) & (time_ms <= step.end_ms)
    if not before.any() or not during.any():
        raise ValueError(f"the step at {step.at_ms} ms was not recorded")
    base_w = float(power_w[before].mean())
    size_w = abs(asked_w - base_w)
    band = max(SETTLED_SHARE, SETTLED_CONTRACT_SHARE * contract_w / size_w)
    found = step_response(time_ms[during], power_w[during], step.at_ms, base_w, asked_w,
                          1.0 - max(band, 1.0 - FULL_SHARE), band)
    return StepResult(step, asked_w, found.first_movement_ms, found.reached_ms,
                      found.overshoot_pct * size_w / contract_w, found.settled_ms)


def limits_of(product: Product, results: list[StepResult]) -> list[dict[str, Any]]:
    """Return the worst of each figure against the product's limit, with the margin."""
    def worst(values: list[float | None]) -> float | None:
        return None if None in values else max((v for v in values if v is not None), default=None)

    rows = (
        ("start_ms", worst([one.start_ms for one in results]), product.start_ms),
        ("full_ms", worst([one.full_ms for one in results]), product.full_ms),
        ("overshoot_pct", worst([one.overshoot_pct for one in results]), OVERSHOOT_PCT_MAX),
        ("settled_ms", worst([one.settled_ms for one in results]), product.settle_ms),
    )
    return [{"name": name, "value": None if value is None else round(value, 2), "limit": limit,
             "margin": None if value is None else round(limit - value, 2),
             "met": value is not None and value <= limit} for name, value, limit in rows]


def judge_trace(power_w: FloatArray, asked_w: FloatArray, step_ms: int, late_ms_max: int
                ) -> dict[str, float | None]:
    """Judge a whole trace: error against the curve as it stands, and within its permitted delay.

    The permitted band at a moment is what the curve asked for in the late_ms_max before it, as
    monitoring at 20 Hz does; outside_pct is the mean distance from the band, percent of the
    largest power asked for. None where the trace asks for nothing.
    """
    if power_w.shape != asked_w.shape or power_w.size == 0:
        raise ValueError(f"power {power_w.shape} and asked {asked_w.shape}: equal, not empty")
    size = float(np.abs(asked_w).max())
    if size == 0:
        return {"e1_pct": None, "outside_pct": None, "within_pct": None}
    reach = max(1, late_ms_max // step_ms + 1)
    padded = np.concatenate((np.full(reach - 1, asked_w[0]), asked_w))
    views = np.lib.stride_tricks.sliding_window_view(padded, reach)
    low, high = views.min(axis=1), views.max(axis=1)
    outside = np.maximum(0.0, np.maximum(low - power_w, power_w - high))
    return {
        "e1_pct": round(100 * float(np.abs(power_w - asked_w).mean()) / size, 4),
        "outside_pct": round(100 * float(outside.mean()) / size, 4),
        "within_pct": round(100 * float((outside <= WITHIN_SHARE * size).mean()), 3),
    }
