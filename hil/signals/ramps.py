"""Make the ramp signal: up, hold, down through zero, hold, and back to zero."""

import itertools

from .signal import Signal

# Time (in sixths of the duration) and level (in peaks) of the corners.
CORNERS = ((0, 0.0), (1, 1.0), (2, 1.0), (4, -1.0), (5, -1.0), (6, 0.0))


def ramp_signal(duration_ms: int, peak: float = 1.0, step_ms: int = 4000) -> Signal:
    """Return a symmetric trapezoid 0, +peak, 0, -peak, 0; its mean is zero.

    duration_ms is cut to whole steps. The first and last value are 0. Raises ValueError when
    there are fewer than 12 steps (corners would be lost) or peak is outside 0..1.
    """
    if not 0.0 < peak <= 1.0:
        raise ValueError(f"peak {peak} outside 0..1")
    if step_ms < 1 or duration_ms // step_ms < 12:
        raise ValueError(f"{duration_ms} ms in steps of {step_ms} ms: fewer than 12 steps")
    steps_count = duration_ms // step_ms
    values = [peak * _level(6.0 * index / (steps_count - 1)) for index in range(steps_count)]
    return Signal(step_ms, values, f"ramp {peak:.0%}")


def _level(position: float) -> float:
    """Return the level in peaks at position (0..6), linear between the corners."""
    for (start, low), (end, high) in itertools.pairwise(CORNERS):
        if position <= end:
            return low + (high - low) * (position - start) / (end - start)
    return CORNERS[-1][1]
