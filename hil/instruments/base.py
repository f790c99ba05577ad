"""What every instrument of a rig has in common: a name, a line, a deadline for each call.

Timing: a call returns or raises within its instrument's time-out and a second; none waits for
ever. Gone: an instrument that does not answer raises BusError, which names it and says what to
do; the next call opens its line anew, so that one which is plugged in again is back with that
call. Calls may come from any thread, one at a time. Nothing here needs to run for an instrument
to stay safe: see `watchdog_relay.py` for what happens when the host is gone.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from element.protocol.errors import BusError

TIMEOUT_S = 0.8
# tap(instrument, kind, data): what went over a line, for a recording; data goes into JSON
Tap = Callable[[str, str, Any], None]


@dataclass(frozen=True)
class Identity:
    """What an instrument says of itself. Empty: it does not say."""

    manufacturer: str = ""
    model: str = ""
    serial: str = ""
    version: str = ""

    def text(self) -> str:
        """Return it in one line."""
        said = " ".join(one for one in (self.manufacturer, self.model) if one) or "nameless"
        return said + "".join(f", {word} {one}" for word, one in (
            ("serial", self.serial), ("version", self.version)) if one)


@dataclass
class Setup:
    """How an instrument is reached. address: a port, a URL, HOST:PORT; see docs/rigs.md."""

    name: str
    address: str
    timeout_s: float = TIMEOUT_S
    more: dict[str, Any] = field(default_factory=dict)


class Instrument:
    """The contract of all of them. `kind` is the word that people use for it."""

    kind = "instrument"
    next_step = "check its cable and supply, then cellwall hil doctor"

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.name = setup.name
        self.lock = threading.RLock()
        self.tap: Tap = lambda name, kind, data: None

    def identify(self) -> Identity:
        """Open the line where it is closed and read who answers. Raises BusError."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the line up; twice is fine. Moves no output."""
        raise NotImplementedError

    def gone(self, why: object) -> BusError:
        """Return the error of an instrument that does not answer."""
        return BusError(f"{self.kind} {self.name} does not answer",
                        f"{self.setup.address}: {why}\n  next: {self.next_step}")

    def wrong(self, why: object) -> BusError:
        """Return the error of an instrument that answers what it should not."""
        return BusError(f"{self.kind} {self.name} is not as expected",
                        f"{self.setup.address}: {why}\n  next: look at its entry in rig.yaml "
                        "and at its own settings")


class Output(Instrument):
    """An instrument that can let energy flow. It is off until it is switched on by name."""

    def make_safe(self) -> None:
        """Switch off and read that back. Raises BusError when that cannot be confirmed."""
        raise NotImplementedError
