"""Score regulation in the style of PJM Manual 12: accuracy, delay, precision.

10 s samples; the hour is cut into 12 windows of 5 min. In each window the response is shifted
by 0..300 s against the signal: accuracy is the best correlation, delay falls from 1 to 0 with
the shift at which it occurs, precision is 1 - mean|error| / normaliser. The composite is the
mean of the three. This is the style of the manual as coded by the US national labs
(GMLC battery_interface), not a settlement-grade score; the normaliser changes the result by
several percent, so it is part of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
SAMPLE_S = 10
WINDOW_SAMPLES = 30
WINDOWS_COUNT_MAX = 12
LAG_SAMPLES_MAX = 30
# Below this standard deviation (fraction of full scale) a correlation means nothing.
CONSTANT_SIGNAL = 0.01
CONSTANT_RESPONSE = 1e-5
FLOOR = 0.01
NORMALISERS = ("window", "window_floor", "hour")


@dataclass(frozen=True)
class PJMScore:
    """Hold the means over windows_count windows, each 0..1, and how they were normalised."""

    composite: float
    accuracy: float
    delay: float
    precision: float
    normaliser: str
    windows_count: int


def pjm_score(
    signal: FloatArray, response: FloatArray, normaliser: str = "window"
) -> PJMScore | None:
    """Score up to an hour of 10 s samples, both in fractions of full scale.

    The full hour needs 390 samples: 60 min and 5 min of room for the largest lag. Shorter
    data are scored on their complete windows (windows_count says how many); None when there
    is none. Samples after the 390th are not looked at.

    normaliser: "window" is mean|signal| of each window (GMLC); "window_floor" leaves windows
    with mean|signal| <= 0.01 out altogether; "hour" is mean|signal| over all scored windows.
    Where the normaliser is 0, precision is 1 for no error at all and 0 otherwise. A window in
    which no lag correlates positively has accuracy 0 and delay 0.

    Raises ValueError for an unknown normaliser, unequal lengths or values not finite.
    """
    wanted = np.asarray(signal, dtype=np.float64)
    given = np.asarray(response, dtype=np.float64)
    if normaliser not in NORMALISERS:
        raise ValueError(f"normaliser {normaliser!r}: use one of {NORMALISERS}")
    if wanted.ndim != 1 or wanted.shape != given.shape:
        raise ValueError(f"signal {wanted.shape} and response {given.shape} differ")
    if not (np.isfinite(wanted).all() and np.isfinite(given).all()):
        raise ValueError("signal or response holds a value that is not finite")
    available = (wanted.size - LAG_SAMPLES_MAX) // WINDOW_SAMPLES
    starts = [index * WINDOW_SAMPLES for index in range(min(available, WINDOWS_COUNT_MAX))]
    sizes = [float(np.abs(wanted[at : at + WINDOW_SAMPLES]).mean()) for at in starts]
    hour_size = sum(sizes) / len(sizes) if sizes else 0.0
    rows = []
    for at, window_size in zip(starts, sizes, strict=True):
        if normaliser == "window_floor" and window_size <= FLOOR:
            continue
        window = wanted[at : at + WINDOW_SAMPLES]
        room = given[at : at + WINDOW_SAMPLES + LAG_SAMPLES_MAX]
        size = hour_size if normaliser == "hour" else window_size
        rows.append((*_accuracy_and_delay(window, room), _precision(window, room, size)))
    if not rows:
        return None
    accuracy, delay, precision = (float(value) for value in np.mean(rows, axis=0))
    composite = (accuracy + delay + precision) / 3.0
    return PJMScore(composite, accuracy, delay, precision, normaliser, len(rows))


def _accuracy_and_delay(window: FloatArray, room: FloatArray) -> tuple[float, float]:
    """Return the best correlation over the lags, and the delay score at that lag.

    A nearly constant signal is judged by its slope against the response's (per sample), at
    lag 0. On equal correlations the shortest lag counts.
    """
    if float(window.std()) < CONSTANT_SIGNAL:
        slope_error = abs(_slope(window) - _slope(room[:WINDOW_SAMPLES]))
        return max(0.0, 1.0 - slope_error), 1.0
    best, best_lag = 0.0, LAG_SAMPLES_MAX
    for lag in range(LAG_SAMPLES_MAX + 1):
        r = _correlation(window, room[lag : lag + WINDOW_SAMPLES])
        # A gain within rounding is no better correlation and must not cost delay.
        if r > best + 1e-12:
            best, best_lag = r, lag
    return min(1.0, best), 1.0 - best_lag / LAG_SAMPLES_MAX


def _correlation(window: FloatArray, shifted: FloatArray) -> float:
    """Return Pearson's r, 0 for a constant response."""
    spread = float(shifted.std())
    if spread < CONSTANT_RESPONSE:
        return 0.0
    products = (window - window.mean()) * (shifted - shifted.mean())
    return float(products.mean()) / (float(window.std()) * spread)


def _slope(window: FloatArray) -> float:
    """Return the least-squares slope per sample."""
    index = np.arange(window.size) - (window.size - 1) / 2.0
    return float((index * (window - window.mean())).sum() / (index * index).sum())


def _precision(window: FloatArray, room: FloatArray, size: float) -> float:
    error = float(np.abs(room[:WINDOW_SAMPLES] - window).mean())
    if size == 0.0:
        return 1.0 if error == 0.0 else 0.0
    return max(0.0, 1.0 - error / size)
