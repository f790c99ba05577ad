"""Say what every emulated BMS offers the bench, whatever it speaks."""

from typing import Protocol

from .protection import Protections
from .uart_line import FaultLayer


class EmulatedBMS(Protocol):
    """Be one BMS wired to one pack: bytes and simulated time in, bytes out, no I/O.

    All times are integer milliseconds of the bench's clock and never run backwards. A device
    that is gone is `silent`: it neither hears nor answers, and guards its pack all the same.
    """

    silent: bool
    fets_stuck: bool
    fets_forced_open: bool
    soc_lie: float
    faults: FaultLayer
    protections: Protections

    @property
    def fet_charge(self) -> bool:
        """Return True while charge current can flow."""

    @property
    def fet_discharge(self) -> bool:
        """Return True while discharge current can flow."""

    @property
    def soc(self) -> float:
        """Return the SoC as this BMS believes it, 0..1; the pack knows the true one."""

    @property
    def error_bits(self) -> int:
        """Return the active protections as bits of hil.devices.protection."""

    @property
    def fault_mode(self) -> str | None:
        """Return how replies are damaged, None for not at all; setting nonsense raises."""

    @fault_mode.setter
    def fault_mode(self, mode: str | None) -> None: ...

    @property
    def fault_probability(self) -> float:
        """Return the share of replies that are damaged, 0..1; setting nonsense raises."""

    @fault_probability.setter
    def fault_probability(self, probability: float) -> None: ...

    @property
    def bad_frames_count(self) -> int:
        """Return how many bad requests or runs of noise were ignored."""

    def feed(self, data: bytes, now_ms: int) -> None:
        """Take bytes that the host hands to its UART at now_ms; never raises on bad bytes."""

    def due_ms(self) -> int | None:
        """Return when `take` should be called next, None when nothing is under way."""

    def take(self, now_ms: int) -> bytes:
        """Return the bytes that have completely left the BMS by now_ms; move the FETs."""

    def update(self, now_ms: int) -> None:
        """Measure, count charge, judge the protections and move the FETs up to now_ms.

        Call about every 100 ms. A time already seen does nothing, so order does not matter.
        """
