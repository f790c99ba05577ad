"""Model a frequency meter at the PCC: a window, noise, steps, and the time until its word is out.

A class P phasor measurement reports twice in a cycle and more, over two cycles, within 2/F of its
window's centre (IEC/IEEE 60255-118-1). This one is slower and coarser, as of a good transducer.
"""

from dataclasses import dataclass
from random import Random

from hil.frequency.traces import Trace


@dataclass(frozen=True)
class MeterModel:
    """What the meter's latency is made of. All of it is part of a response's time."""

    period_ms: int = 50  # 20 Hz
    window_ms: int = 60  # three cycles
    output_ms: int = 15  # processing, and a line to the panel
    noise_mhz: float = 0.3
    step_mhz: int = 1

    def text(self) -> str:
        """Return it in words for a report."""
        return (f"meter model: every {self.period_ms} ms, mean of {self.window_ms} ms, "
                f"{self.output_ms} ms later at the panel, noise {self.noise_mhz:g} mHz, steps of "
                f"{self.step_mhz} mHz")


class FrequencyMeter:
    """Measure a trace."""

    def __init__(self, trace: Trace, model: MeterModel, rng: Random) -> None:
        self._trace, self._model, self._rng = trace, model, rng

    def deviation_mhz(self, now_ms: int) -> int:
        """Return the mean over the window that ended at now_ms, with noise, in whole steps."""
        model, points = self._model, 6
        total = sum(self._trace.at(now_ms - model.window_ms * (index + 0.5) / points)
                    for index in range(points))
        noisy = total / points + self._rng.gauss(0.0, model.noise_mhz)
        return round(noisy / model.step_mhz) * model.step_mhz
