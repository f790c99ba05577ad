"""Model how long a command takes: at least so long, and a tail behind it.

A shifted Erlang distribution of four stages: a few queues in a row, each memoryless, behind what
no message is faster than. Ref: any text on queues, e.g. Kleinrock, Queueing Systems I, 4.2.
"""

from dataclasses import dataclass
from math import exp

import numpy as np

from .control import FloatArray

STAGES = 4


@dataclass(frozen=True)
class Delay:
    """Hold a delay by its least and its mean value, s. Raises ValueError for nonsense."""

    s_min: float
    s_mean: float

    def __post_init__(self) -> None:
        """Refuse what is no delay."""
        if not 0.0 <= self.s_min < self.s_mean:
            raise ValueError(f"delay: 0 <= {self.s_min} < {self.s_mean} does not hold")

    @property
    def s_sigma(self) -> float:
        """The standard deviation, s."""
        return float((self.s_mean - self.s_min) / np.sqrt(STAGES))

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Return count delays, s."""
        scale_s = (self.s_mean - self.s_min) / STAGES
        return self.s_min + rng.gamma(STAGES, scale_s, count)

    def arrived(self, elapsed_s: float) -> float:
        """Return the share of commands that have arrived after elapsed_s."""
        ratio = (elapsed_s - self.s_min) * STAGES / (self.s_mean - self.s_min)
        if ratio <= 0.0:
            return 0.0
        term, total = 1.0, 1.0
        for stage in range(1, STAGES):
            term *= ratio / stage
            total += term
        return 1.0 - exp(-ratio) * total


# The reference says that its smart switch took about 0.5 s, and no more. The spread is ours:
# standard deviation 0.1 s, 95 % within 0.7 s.
SWITCH = Delay(0.3, 0.5)
# A battery inverter at home, from the controller's message to its new power. The elements of this
# project on their bench take 0.06 to 0.2 s; the reference gives no figure.
BATTERY = Delay(0.1, 0.2)
