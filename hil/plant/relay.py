"""Model a fixed-power charger and inverter at the DC side of closed FETs, each behind a contactor.

The enable pin drives the coil of the contactor that the sign of the duty chooses. Contacts move
a while after the coil and bounce before they carry; opening is faster and breaks at once (the
arc is not modelled). Behind them the stage starts and stops as `fixed_power.py` describes.
"""

from random import Random

from .element import FETSwitches
from .fixed_power import FixedPowerPlant
from .pack import Pack

OPERATE_MS = 15  # A DC contactor of this size: 10..25 ms to close, 5..10 ms to open.
BOUNCE_MS_MAX = 8
RELEASE_MS = 7
START_MS = 300.0


class RelayPlant(FixedPowerPlant):
    """Simulate pack, FETs, contactors and stages. `operations_count` is how often one has closed.

    Faults to set: `welded` (closed contacts stay closed), `stuck_open` (they never close).
    """

    soft_start_ms = START_MS

    def __init__(self, pack: Pack, bms: FETSwitches, rng: Random, rating_w: float = 500.0,
                 start_ms: int = 0) -> None:
        super().__init__(pack, bms, rng, rating_w, start_ms)
        self.welded = False
        self.stuck_open = False
        self.operations_count = 0
        self._rng = rng
        self._coil = 0  # 1 inverter, -1 charger, 0 released
        self._contact = 0
        self._move_ms = start_ms

    def _take_outputs(self, duty_permille: int, precharge: bool) -> None:
        """Drive the coils; contacts follow."""
        coil = 0
        if self._enable:
            coil = 1 if duty_permille >= 0 else -1
        if coil == self._coil:
            return
        self._coil = coil
        delay_ms = OPERATE_MS + self._rng.randint(0, BOUNCE_MS_MAX) if coil else RELEASE_MS
        self._move_ms = self._now_ms + delay_ms

    def _direction(self) -> int:
        """Return which stage has both contacts and its FET."""
        contact = self._contact
        if contact > 0:
            return 1 if self.bms.fet_discharge else 0
        return contact if self.bms.fet_charge else 0

    def _step(self, dt_ms: int) -> None:
        """Split the interval where a contact moves in it."""
        end_ms = self._now_ms
        move_ms = self._move_ms
        if self._contact != self._coil and end_ms - dt_ms < move_ms < end_ms:
            self._now_ms = move_ms
            super()._step(move_ms - (end_ms - dt_ms))
            self._now_ms = end_ms
            self._move()
            super()._step(end_ms - move_ms)
            return
        if self._contact != self._coil and move_ms <= end_ms - dt_ms:
            self._move()
        super()._step(dt_ms)

    def _move(self) -> None:
        """Let the contacts follow the coil, as far as a fault lets them."""
        if self.welded and self._contact:
            return
        if self._coil and self.stuck_open:
            self._contact = 0
            return
        self.operations_count += self._coil != 0
        self._contact = self._coil
