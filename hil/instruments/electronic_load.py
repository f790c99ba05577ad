"""The contract of an electronic load.

Units: W, A, V. Timing: a call returns when the load has answered that it took it. The input is
off until `input_on`, and protections are loaded before that. Gone: BusError, and the load goes on
with what it does, inside its protections; only the watchdog relay ends that.
"""

from dataclasses import dataclass

from .base import Output


@dataclass(frozen=True)
class LoadLimits:
    """Protections of a load: it switches its input off by itself beyond one of them."""

    current_a: float
    voltage_v: float
    power_w: float


class ElectronicLoad(Output):
    """Draw a set power."""

    kind = "load"
    next_step = "check its supply and line, and that its remote interface is on"

    def protect(self, limits: LoadLimits) -> None:
        """Load the protections and read them back, the input being off. Raises BusError."""
        raise NotImplementedError

    def set_power(self, power_w: float) -> None:
        """Set the power to be drawn; 0 draws none. Raises BusError."""
        raise NotImplementedError

    def input_on(self, on: bool) -> None:
        """Switch the input and read it back. Raises BusError."""
        raise NotImplementedError

    def measure_w(self) -> float:
        """Return the power that is drawn now. Raises BusError."""
        raise NotImplementedError
