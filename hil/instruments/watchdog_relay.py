"""The contract of a watchdog relay: the contact through which all energy of a rig flows.

It is closed while it is fed and opens by itself `hold_s` after the last feed, whatever became of
the process or machine that fed it. `feed` takes half of `hold_s` at most; a feed that fails is
tried again by the caller until the time is over. Gone: BusError; the relay opens by itself then.
"""

from .base import Identity, Output, Setup
from .switch import Switch

HOLD_S_MIN = 1.0


class WatchdogRelay(Output):
    """Keep a contact closed for as long as somebody feeds it.

    survives: what the relay needs nobody for: 'process' when it opens though the process was
    killed, 'machine' when it does so though the whole host is gone.
    """

    kind = "watchdog relay"
    survives = "machine"

    def __init__(self, setup: Setup, hold_s: float) -> None:
        super().__init__(setup)
        self.hold_s = hold_s

    def feed(self) -> None:
        """Close the contact, or keep it closed, for `hold_s` from now. Raises BusError."""
        raise NotImplementedError


class SwitchWatchdog(WatchdogRelay):
    """A switch that opens by itself: each feed is `on` with a time after which it is off.

    The timer runs in the switch, so this one outlives the host's machine.
    """

    def __init__(self, switch: Switch, hold_s: float) -> None:
        super().__init__(switch.setup, hold_s)
        self._switch = switch
        switch.kind = self.kind

    def identify(self) -> Identity:
        self._switch.tap = self.tap
        return self._switch.identify()

    def feed(self) -> None:
        self._switch.set(True, self.hold_s)

    def make_safe(self) -> None:
        self._switch.make_safe()

    def is_closed(self) -> bool:
        """Return what the switch says of its contact. Raises BusError."""
        return self._switch.state().on

    def close(self) -> None:
        self._switch.close()
