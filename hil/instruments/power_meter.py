"""The contract of a power meter.

Unit: mW of active power, positive = export, from the elements to the PCC; a driver flips its
meter's sign once. Timing: one reading a call, as fresh as the meter makes them (0.1 to 1 s).
Gone: BusError; a caller keeps no old reading in its place.
"""

from dataclasses import dataclass

from .base import Instrument


@dataclass(frozen=True)
class Reading:
    """One reading. words: the registers it was made from, for a recording."""

    power_mw: int
    words: tuple[int, ...] = ()


class PowerMeter(Instrument):
    """Measure active power."""

    kind = "meter"
    next_step = "check its supply, bus wires (A, B) or network, its address and baud rate"

    def read(self) -> Reading:
        """Return the power now. Raises BusError."""
        raise NotImplementedError

    def decode(self, words: tuple[int, ...]) -> int:
        """Return mW of recorded registers, after `identify` or `restore` told their layout."""
        raise NotImplementedError

    def layout(self) -> dict[str, int]:
        """Return what `decode` needs beyond the set-up, for a recording."""
        return {}

    def restore(self, layout: dict[str, int]) -> None:
        """Take the layout of a recording: `decode` works then without the meter."""
