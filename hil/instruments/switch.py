"""The contract of a switch in a power line.

Timing: `set` returns when the switch has read back its new state. Gone: BusError, and the contact
stays as it is; a switch that must not stay on needs `off_after_s`, which it keeps by itself.
"""

from dataclasses import dataclass

from .base import Output


@dataclass(frozen=True)
class SwitchState:
    """What a switch says. power_w is None where it does not measure."""

    on: bool
    power_w: float | None = None


class Switch(Output):
    """Close and open one contact."""

    kind = "switch"
    next_step = "check its supply and network; an address by name needs its name server"

    def set(self, on: bool, off_after_s: float | None = None) -> None:
        """Move the contact. off_after_s: it opens again by itself after so long.

        Raises BusError when it does not answer, or reads back another state.
        """
        raise NotImplementedError

    def state(self) -> SwitchState:
        """Return the state that the switch reads back. Raises BusError."""
        raise NotImplementedError

    def make_safe(self) -> None:
        self.set(False)
        if self.state().on:
            raise self.wrong("it was switched off and says that it is on")
