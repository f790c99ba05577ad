"""Measure what characterises a regulation signal, the same way for real and generated ones.

All numbers are pooled over the given series (the real file holds one series a day). Levels
and steps are in percent of full power.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

STEP_S = 4
MOVE_LARGE_PCT = 20.0
STEP_SMALL_PCT = 2.0
HOLD_LONG_STEPS = 10
LAGS_S = (4, 40, 300, 1800)


def signal_statistics(series_pct: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    """Return the figures by name for 4 s series of one length, at least an hour each.

    Raises ValueError for no series, unequal lengths or less than an hour.
    """
    if not series_pct or len({len(series) for series in series_pct}) != 1:
        raise ValueError("give series of one length")
    levels = np.stack(series_pct, axis=1)
    hour = 3600 // STEP_S
    if levels.shape[0] < hour:
        raise ValueError(f"{levels.shape[0]} steps: need an hour ({hour})")
    steps = np.diff(levels, axis=0)
    moves = np.abs(steps[steps != 0.0])
    hours = levels.shape[0] // hour
    hour_mean = levels[: hours * hour].reshape(hours, hour, -1).mean(axis=1)
    values: dict[str, float] = {
        "share of zero steps": float((steps == 0.0).mean()),
        "share of moves up to 2 %": _share(moves <= STEP_SMALL_PCT),
        "move, median": _quantile(moves, 0.50),
        "move, 75 %": _quantile(moves, 0.75),
        "move, 90 %": _quantile(moves, 0.90),
        "move, 99 %": _quantile(moves, 0.99),
        "travels above 20 % an hour": _travels(steps) / levels.size * hour,
        "share of time in holds of 40 s or more": _held_share(steps),
        "mean magnitude of the level": float(np.abs(levels).mean()),
        "standard deviation": float(levels.std()),
        "level, 5 %": _quantile(levels, 0.05),
        "level, 25 %": _quantile(levels, 0.25),
        "level, 50 %": _quantile(levels, 0.50),
        "level, 75 %": _quantile(levels, 0.75),
        "level, 95 %": _quantile(levels, 0.95),
        "share at 99 % or more": float((np.abs(levels) >= 99.0).mean()),
        "share on a 1 % grid": float((levels == np.round(levels)).mean()),
        "share on a 0.25 % grid": float((levels * 4 == np.round(levels * 4)).mean()),
        "hourly mean, standard deviation": float(hour_mean.std()),
        "hourly mean, mean of magnitude": float(np.abs(hour_mean).mean()),
    }
    for lag_s in LAGS_S:
        values[f"autocorrelation at {lag_s} s"] = _autocorrelation(levels, lag_s // STEP_S)
    return values


def _share(mask: NDArray[np.bool_]) -> float:
    return float(mask.mean()) if mask.size else 0.0


def _quantile(data: NDArray[np.float64], share: float) -> float:
    return float(np.quantile(data, share)) if data.size else 0.0


def _autocorrelation(levels: NDArray[np.float64], lag: int) -> float:
    """Return the mean over the series; each about its own mean, constant ones left out."""
    centred = levels - levels.mean(axis=0)
    variance = (centred**2).mean(axis=0)
    moving = variance > 0.0
    if not moving.any():
        return 0.0
    products = (centred[:-lag] * centred[lag:]).mean(axis=0)
    return float((products[moving] / variance[moving]).mean())


def _travels(steps: NDArray[np.float64]) -> int:
    """Return how many monotone runs of steps carry the level by more than MOVE_LARGE_PCT."""
    count = 0
    for column in steps.T:
        travel_pct = 0.0
        for step in column.tolist():
            if step * travel_pct > 0.0:
                travel_pct += step
                continue
            count += abs(travel_pct) > MOVE_LARGE_PCT
            travel_pct = step
        count += abs(travel_pct) > MOVE_LARGE_PCT
    return count


def _held_share(steps: NDArray[np.float64]) -> float:
    """Return the share of levels that belong to runs of HOLD_LONG_STEPS equal ones or more."""
    held = 0
    for column in steps.T:
        edges = np.flatnonzero(np.concatenate(([True], column != 0.0, [True])))
        runs = np.diff(edges)
        held += int(runs[runs >= HOLD_LONG_STEPS].sum())
    return held / float(steps.size + steps.shape[1])
