"""Model the revenue-type meter at the PCC.

IEC 62053-22 class 0.5 S allows 0.5 % of reading from 5 % of rated current up at unity power
factor. The unit's own gain error is drawn inside that; the rest is left for its noise.
"""

from random import Random

GAIN_SHARE = 0.8  # Of the class, so that gain and noise together stay inside at rated load.
NOISE_SHARE = 0.0002  # Of the rating, standard deviation of one window's mean.
RESOLUTION_MW = 1000
MS_PER_MWH_FACTOR = 3600.0  # 1 W for 1 ms is 1/3600 mWh.


class Meter:
    """Measure the mean power of windows and count energy, positive = exported by the element.

    `gain` is the modelled error, kept for the report; nothing may correct readings with it.
    """

    def __init__(
        self, rng: Random, rating_w: float, class_pct: float = 0.5, start_ms: int = 0
    ) -> None:
        """Draw the unit's gain from rng. rating_w > 0, class_pct 0..5. Raises ValueError."""
        if rating_w <= 0.0 or not 0.0 <= class_pct <= 5.0:
            raise ValueError(f"meter: rating_w {rating_w}, class_pct {class_pct}")
        error_max = GAIN_SHARE * class_pct / 100.0
        self.gain = 1.0 + rng.uniform(-error_max, error_max)
        noise_max_w = (1.0 - GAIN_SHARE) * class_pct / 100.0 * rating_w
        self._noise_w = min(NOISE_SHARE * rating_w, noise_max_w / 3.0)
        self._noise_max_w = noise_max_w
        self._rng = rng
        self._now_ms = start_ms
        self._last_w: float | None = None
        self._window_wms = 0.0
        self._window_ms = 0
        self._energy_wms = 0.0

    def sample(self, now_ms: int, true_w: float) -> None:
        """Add the true power at now_ms; between samples it counts as a straight line.

        Raises ValueError when time runs backwards. The first sample holds backwards to the
        start.
        """
        dt_ms = now_ms - self._now_ms
        if dt_ms < 0:
            raise ValueError(f"meter time ran backwards by {-dt_ms} ms")
        before_w = true_w if self._last_w is None else self._last_w
        measured_wms = 0.5 * (before_w + true_w) * self.gain * dt_ms
        self._window_wms += measured_wms
        self._energy_wms += measured_wms
        self._window_ms += dt_ms
        self._now_ms = now_ms
        self._last_w = true_w

    def window_mw(self) -> int:
        """Return the mean since the last call in mW, in steps of 1 W, and start a new window.

        Raises ValueError when no time has passed since the last call.
        """
        if self._window_ms == 0:
            raise ValueError("meter window is empty: sample() first")
        mean_w = self._window_wms / self._window_ms
        noise_w = self._rng.gauss(0.0, self._noise_w)
        mean_w += max(-self._noise_max_w, min(self._noise_max_w, noise_w))
        self._window_wms = 0.0
        self._window_ms = 0
        return round(mean_w * 1000.0 / RESOLUTION_MW) * RESOLUTION_MW

    @property
    def energy_mwh(self) -> int:
        """Return the signed energy register in mWh since the start, rounded towards zero."""
        return int(self._energy_wms / MS_PER_MWH_FACTOR)
