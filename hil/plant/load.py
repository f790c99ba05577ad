"""Model the rest of the building as seen at the PCC: a base, slow drift, noise, appliances.

Time runs on a fixed 1 s grid inside, so the result depends on the seed and the time only, not
on how often or at which instants it is asked.
"""

from math import exp, pi, sin, sqrt
from random import Random

STEP_MS = 1000
NOISE_SIGMA_W = 60.0
NOISE_TAU_S = 60.0
DRIFT_SHARE = 0.08
DRIFT_PERIOD_S = 5400.0
APPLIANCES_COUNT = 3
APPLIANCE_W = (150.0, 300.0)
ON_S = (120.0, 420.0)
OFF_S = (180.0, 900.0)


class _Appliance:
    """Switch a compressor-like load on and off for random times."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.power_w = rng.uniform(*APPLIANCE_W)
        self.running = rng.random() < 0.3
        self._left_s = rng.uniform(0.0, OFF_S[1])

    def step(self) -> None:
        self._left_s -= STEP_MS / 1000.0
        if self._left_s <= 0.0:
            self.running = not self.running
            self._left_s = self._rng.uniform(*(ON_S if self.running else OFF_S))


class BuildingLoad:
    """Give the building's own consumption, W, always as a positive number.

    The noise is an Ornstein-Uhlenbeck process stepped exactly on the 1 s grid.
    """

    def __init__(self, rng: Random, base_w: float = 3000.0, start_ms: int = 0) -> None:
        """Draw phases and appliances from rng. Raises ValueError for a negative base."""
        if base_w < 0.0:
            raise ValueError(f"base_w {base_w} below 0")
        self.base_w = base_w
        self._rng = rng
        self._grid_ms = start_ms
        self._start_ms = start_ms
        self._phase = rng.uniform(0.0, 2.0 * pi)
        self._noise_w = rng.gauss(0.0, NOISE_SIGMA_W)
        self._keep = exp(-STEP_MS / 1000.0 / NOISE_TAU_S)
        self._kick_w = NOISE_SIGMA_W * sqrt(1.0 - self._keep * self._keep)
        self._appliances = [_Appliance(rng) for _ in range(APPLIANCES_COUNT)]
        self._power_w = self._sum_w()

    def power_w(self, now_ms: int) -> float:
        """Return the load at now_ms, held over each grid second.

        now_ms may repeat but never fall below an earlier grid second: ValueError.
        """
        if now_ms < self._grid_ms:
            raise ValueError(f"load asked for {now_ms} ms after {self._grid_ms} ms")
        while self._grid_ms + STEP_MS <= now_ms:
            self._grid_ms += STEP_MS
            self._noise_w = self._noise_w * self._keep + self._rng.gauss(0.0, self._kick_w)
            for appliance in self._appliances:
                appliance.step()
            self._power_w = self._sum_w()
        return self._power_w

    def _sum_w(self) -> float:
        elapsed_s = (self._grid_ms - self._start_ms) / 1000.0
        wave = sin(2.0 * pi * elapsed_s / DRIFT_PERIOD_S + self._phase)
        power_w = self.base_w * (1.0 + DRIFT_SHARE * wave) + self._noise_w
        power_w += sum(unit.power_w for unit in self._appliances if unit.running)
        return max(0.0, power_w)
