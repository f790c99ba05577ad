"""Measure how far a power stays from its reference, and how a step is answered.

Powers may be in any one unit; the results are percent of the reference or milliseconds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
MOVED_SHARE = 0.05
SETTLED_SHARE = 0.05
REACHED_SHARE = 0.90


def e1_pct(power: FloatArray, reference: FloatArray) -> float:
    """Return 100 * mean|P - R| / max|R|.

    Raises ValueError for unequal, empty or non-finite arrays and for a reference of zeros.
    """
    error, size = _checked(power, reference)
    return float(100.0 * error.mean() / size.max())


def e2_pct(power: FloatArray, reference: FloatArray) -> float:
    """Return 100 * mean|P - R| / mean|R|; stricter than e1. Raises as e1_pct."""
    error, size = _checked(power, reference)
    return float(100.0 * error.mean() / size.mean())


def rmse_pct(power: FloatArray, reference: FloatArray) -> float:
    """Return 100 * sqrt(mean (P - R)^2) / max|R|. Raises as e1_pct."""
    error, size = _checked(power, reference)
    return float(100.0 * np.sqrt((error**2).mean()) / size.max())


def _checked(power: FloatArray, reference: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return |P - R| and |R| of arrays that can be compared."""
    measured = np.asarray(power, dtype=np.float64)
    wanted = np.asarray(reference, dtype=np.float64)
    if measured.ndim != 1 or measured.shape != wanted.shape or measured.size == 0:
        raise ValueError(f"power {measured.shape} and reference {wanted.shape}: equal, not empty")
    if not (np.isfinite(measured).all() and np.isfinite(wanted).all()):
        raise ValueError("power or reference holds a value that is not finite")
    size = np.abs(wanted)
    if not size.any():
        raise ValueError("the reference is zero throughout: an error in percent means nothing")
    return np.abs(measured - wanted), size


@dataclass(frozen=True)
class StepResponse:
    """Hold the times from the command, None for what did not happen in the record.

    first_movement_ms: the power has left its start by 5 % of the step, towards the target.
    reached_ms: the share of the step that was asked for is covered. overshoot_pct: the most the
    power went beyond the target, percent of the step, 0 for none. settled_ms: the first sample
    after which it stays within the share of the step that was asked for around the target.
    """

    first_movement_ms: float | None
    reached_ms: float | None
    overshoot_pct: float
    settled_ms: float | None


def step_response(
    time_ms: FloatArray, power: FloatArray, command_ms: float, start: float, target: float,
    reached_share: float = REACHED_SHARE, settled_share: float = SETTLED_SHARE,
) -> StepResponse:
    """Judge the answer to a setpoint that went from start to target at command_ms.

    reached_share, settled_share: of the step. Samples before command_ms are ignored; times are
    those of samples, so their resolution is the sampling interval. Raises ValueError for unusable
    arrays, no step, or no sample after the command.
    """
    times = np.asarray(time_ms, dtype=np.float64)
    measured = np.asarray(power, dtype=np.float64)
    if times.ndim != 1 or times.shape != measured.shape:
        raise ValueError(f"time {times.shape} and power {measured.shape} differ")
    if not np.isfinite(measured).all() or not (np.diff(times) > 0.0).all():
        raise ValueError("power must be finite and time must rise")
    if start == target:
        raise ValueError(f"no step: start and target are both {start}")
    after = times >= command_ms
    if not after.any():
        raise ValueError(f"no sample at or after {command_ms} ms")
    elapsed = times[after] - command_ms
    progress = (measured[after] - start) / (target - start)
    outside = np.flatnonzero(np.abs(progress - 1.0) > settled_share)
    settled: float | None = float(elapsed[0])
    if outside.size:
        last = int(outside[-1])
        settled = float(elapsed[last + 1]) if last + 1 < elapsed.size else None
    return StepResponse(
        first_movement_ms=_first(elapsed, progress >= MOVED_SHARE),
        reached_ms=_first(elapsed, progress >= reached_share),
        overshoot_pct=max(0.0, float(progress.max() - 1.0) * 100.0),
        settled_ms=settled,
    )


def _first(elapsed: FloatArray, mask: NDArray[np.bool_]) -> float | None:
    """Return the time of the first true sample, None when there is none."""
    hits = np.flatnonzero(mask)
    return float(elapsed[hits[0]]) if hits.size else None
