"""Make the references: ramps up and down, and regulation, one value a step of 5 s."""

import numpy as np

from hil.signals.ramps import ramp_signal
from hil.signals.regulation import MODEL_STEP_MS, regulation_signal
from hil.signals.signal import Signal

from .control import FloatArray
from .fleet import STEP_S

STEP_MS = STEP_S * 1000
# Four trapezoids an hour: a ramp from zero to the peak lasts 150 s, from peak to peak 300 s.
RAMP_MS = 900_000


def step_count(hours: float) -> int:
    """Return how many steps are in hours. Raises ValueError below one minute."""
    count = round(hours * 3600 / STEP_S)
    if count < 12:
        raise ValueError(f"hours {hours:g}: give a minute or more (0.017)")
    return count


def ramp_steps(hours: float) -> FloatArray:
    """Return trapezoids in -1..1, again and again; a shorter time gets one."""
    count = step_count(hours)
    duration_ms = min(RAMP_MS, count * STEP_MS)
    values = ramp_signal(duration_ms, step_ms=STEP_MS).values
    return np.resize(np.array(values), count)


def regulation_steps(hours: float, seed: int, given: Signal | None = None) -> FloatArray:
    """Return a regulation signal in -1..1: the value that is valid when each step begins.

    given: a signal instead of one generated from the seed. Raises ValueError when it is shorter
    than hours, or zero throughout.
    """
    count = step_count(hours)
    # one of its own steps more: it is made of whole ones, which may not be ours
    signal = given or regulation_signal(seed, count * STEP_MS + MODEL_STEP_MS)
    if signal.duration_ms < count * STEP_MS:
        raise ValueError(f"{signal.name} lasts {signal.duration_ms / 3_600_000:.2f} h, less than "
                         f"{hours:g} h: give --hours no more than that")
    values = np.array([signal.at(index * STEP_MS) for index in range(count)])
    if not values.any():
        raise ValueError(f"{signal.name} is zero throughout its first {hours:g} h: an error in "
                         "percent of it means nothing; give another column or more hours")
    return values
