"""Hold a reference signal: equal steps, each a fraction of full power."""

from dataclasses import dataclass, field
from math import isfinite


@dataclass(frozen=True)
class Signal:
    """Hold values in -1..1 (positive = discharge), each valid for step_ms, starting at 0.

    Raises ValueError for an empty list, a step below 1 ms, or a value beyond +-1 or NaN.
    """

    step_ms: int
    values: list[float] = field(repr=False)
    name: str

    def __post_init__(self) -> None:
        """Refuse what no resource could follow."""
        if self.step_ms < 1:
            raise ValueError(f"step_ms {self.step_ms} below 1")
        if not self.values:
            raise ValueError("a signal needs at least one value")
        for index, value in enumerate(self.values):
            if not isfinite(value) or abs(value) > 1.0:
                raise ValueError(f"value {value} at index {index} is not within -1..1")

    @property
    def duration_ms(self) -> int:
        """Return the time until the last value has been held for its step."""
        return self.step_ms * len(self.values)

    def at(self, ms: int) -> float:
        """Return the value valid at ms; after the end the last one stays.

        Raises ValueError before 0, where the signal does not exist.
        """
        if ms < 0:
            raise ValueError(f"signal asked for {ms} ms")
        return self.values[min(ms // self.step_ms, len(self.values) - 1)]
