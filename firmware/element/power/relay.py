"""The relay stage: fixed power at the DC side, switched by a contactor on the enable line.

The BMS FETs stay closed, both of them, while the element is in service, so that the relay alone
makes and breaks the current; at rest they are open. A relay that has welded is seen as current at
rest, and the FETs break it: two ways to zero. Where the board has a relay a direction, the sign
of the duty pin chooses between them and the enable line closes the chosen one.
"""

from ..bms.base import FET_CHARGE, FET_DISCHARGE, FETS_BOTH
from .diffusion import DiffusionStage

# Contacts bounce for up to this long after they move; nothing is switched or judged in it.
BOUNCE_MS = 50
# How long after the start-up time the proof of power may still be waiting.
_PROOF_MS = 1500
_HOUR_MS = 3_600_000


class Relay(DiffusionStage):
    """Error diffusion over the positions of one relay, or of a pair.

    directions: FET_DISCHARGE, FET_CHARGE or both: what the relays can switch on.
    switches_per_hour_max: how often the contacts may close in any hour, 2 or more; half of it is
    credit that builds up, the other half comes evenly over the hour. Opening is never limited.
    start_ms: time from closed contacts to full power. The rest as in `DiffusionStage`.
    """

    FETS_OF_LEVEL = (FETS_BOTH, FETS_BOTH, FETS_BOTH)
    DUTY_OF_LEVEL = (0, 1000, -1000)

    def __init__(self, step_mw: int, directions: int, on_ms_min: int, off_ms_min: int,
                 loss_bp: int, switches_per_hour_max: int, start_ms: int, remainder_mw: int):
        super().__init__(step_mw, max(on_ms_min, BOUNCE_MS), max(off_ms_min, BOUNCE_MS), loss_bp,
                         remainder_mw)
        self._directions = directions
        self._start_ms = start_ms + BOUNCE_MS
        burst = max(switches_per_hour_max // 2, 1)
        self._cost_ms = _HOUR_MS // burst
        self._credit_max = burst * self._cost_ms
        self._credit_ms = self._credit_max
        self._on_ms = 0

    def start(self, rested_ms: int) -> None:
        super().start(rested_ms)
        self._earn(rested_ms)
        self._on_ms = 0

    def _earn(self, duration_ms: int) -> None:
        self._credit_ms = min(self._credit_ms + duration_ms, self._credit_max)

    def _may_switch_on(self, level: int) -> bool:
        """Take the level when a relay has its direction and the contacts' life allows it."""
        if not self._directions & (FET_DISCHARGE if level > 0 else FET_CHARGE):
            return False
        if self._credit_ms < self._cost_ms:
            return False
        self._credit_ms -= self._cost_ms
        return True

    def withheld(self) -> None:
        DiffusionStage.withheld(self)
        self._on_ms = 0

    def step(self, target_mw: int, pack_mv: int, sense_ma: int, dt_ms: int, dc_link_mv: int):
        self._earn(dt_ms)
        # super() would take memory in every tick
        out = DiffusionStage.step(self, target_mw, pack_mv, sense_ma, dt_ms, dc_link_mv)
        self._on_ms = min(self._on_ms + dt_ms, _HOUR_MS) if out.enable else 0
        starting = out.enable and self._on_ms <= self._start_ms + _PROOF_MS
        self.settle_ms = self._start_ms if starting else 0
        return out
