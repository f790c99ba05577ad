"""What on/off stages share: a fixed power that follows a setpoint by error diffusion.

Its power is full discharge, zero or full charge. Between setpoints that no level fits it diffuses
the error over time: at each decision it takes the level nearest to the target plus the error so
far. The first error is random, because equal ones make many elements switch together.
Ref: Bernstein, Bouman, Le Boudec, "Real-time control of electrical distribution grids with
discrete resources: error diffusion", arXiv 1612.07287; minimum times shrink the choice.
"""

from ..protocol.units import clamp, power_mw
from .base import Output, PowerStage, pcc_mw

DECISION_MS = 1000
ERROR_STEPS_MAX = 60


class DiffusionStage(PowerStage):
    """Error diffusion over three levels with minimum on and off times.

    step_mw: the stage's fixed power, both directions. on_ms_min, off_ms_min: shortest times in a
    state; off lies between the directions too. loss_bp: nominal loss of the charger/inverter.
    remainder_mw: the first error, drawn evenly from -step_mw/2..step_mw/2 by the caller.
    A subclass says what the levels are on its pins.
    """

    # FET_* bits and duty of the levels 0, 1 (discharge) and -1 (charge: the last).
    FETS_OF_LEVEL = (0, 0, 0)
    DUTY_OF_LEVEL = (0, 0, 0)

    def __init__(self, step_mw: int, on_ms_min: int, off_ms_min: int, loss_bp: int,
                 remainder_mw: int):
        self._step_mw = step_mw
        self._on_ms_min = on_ms_min
        self._off_ms_min = off_ms_min
        self._loss_bp = loss_bp
        self._error_max = self._error_mw_max()
        self._error_mw = clamp(remainder_mw, -step_mw // 2, step_mw // 2)
        self._error_uj = 0
        self._level = 0
        self._applied = True
        self._in_state_ms = off_ms_min
        self._since_decision_ms = DECISION_MS
        self._target_mw = 0
        self._rest = Output()
        self._out = Output()

    def _error_mw_max(self) -> int:
        """Return the error that minimum times may force; beyond it the past is forgiven."""
        dwell_ms = max(self._on_ms_min, self._off_ms_min, DECISION_MS)
        return self._step_mw * min(dwell_ms // DECISION_MS, ERROR_STEPS_MAX)

    def dwell(self, on_ms_min: int, off_ms_min: int) -> None:
        """Take the credential's minimum times where they are longer than the hardware's."""
        self._on_ms_min = max(self._on_ms_min, on_ms_min)
        self._off_ms_min = max(self._off_ms_min, off_ms_min)
        self._error_max = self._error_mw_max()

    def start(self, rested_ms: int) -> None:
        """Begin from rest with a decision at once; the time at rest counts as off time."""
        self._since_decision_ms = DECISION_MS
        self._in_state_ms += rested_ms

    def withheld(self) -> None:
        """Count what is left undone while the FETs have not closed."""
        self._applied = False

    def pack_mw_of(self, target_mw: int) -> int:
        """Return the pack's power while the stage runs in the direction of target_mw."""
        if target_mw == 0:
            return 0
        return target_mw + self._step_mw // 100 * self._loss_bp // 100

    def _may_switch_on(self, level: int) -> bool:
        """Return True when the hardware takes this level now; a subclass may have its reasons."""
        return True

    def _decide(self, target_mw: int) -> int:
        """Return the level -1, 0 or 1 for this decision, minimum times respected.

        The error may delay or prolong the target's own direction and never chooses the other:
        the limits were checked for the sign of the target.
        """
        wanted_mw = target_mw + self._error_mw
        level = 0
        if target_mw > 0 and 2 * wanted_mw > self._step_mw:
            level = 1
        elif target_mw < 0 and 2 * wanted_mw < -self._step_mw:
            level = -1
        if level == self._level:
            return level
        if self._level == 0:
            if self._in_state_ms >= self._off_ms_min and self._may_switch_on(level):
                return level
            return 0
        if self._in_state_ms < self._on_ms_min:
            return self._level
        return 0  # a reversal passes through off

    def step(self, target_mw: int, pack_mv: int, sense_ma: int, dt_ms: int,
             dc_link_mv: int) -> Output:
        self._account(dt_ms)
        self._in_state_ms += dt_ms
        self._since_decision_ms += dt_ms
        if self._since_decision_ms >= DECISION_MS or target_mw != self._target_mw:
            self._since_decision_ms = 0
            self._target_mw = target_mw
            level = self._decide(target_mw)
            if level != self._level:
                self._level = level
                self._in_state_ms = 0
        level = self._level
        out = self._out
        out.enable = level != 0
        out.fets = self.FETS_OF_LEVEL[level]
        out.duty_permille = self.DUTY_OF_LEVEL[level]
        out.commanded_mw = level * self._step_mw
        return out

    def _account(self, dt_ms: int) -> None:
        """Add to the error what the last tick left undone; its unit is the mW of one second."""
        missed_mw = self._target_mw
        if self._applied:
            missed_mw -= self._level * self._step_mw
        self._applied = True
        self._error_uj += missed_mw * dt_ms
        self._error_mw = clamp(
            self._error_mw + self._error_uj // 1000, -self._error_max, self._error_max)
        self._error_uj %= 1000

    def zero(self) -> Output:
        if self._level:
            self._level = 0
            self._in_state_ms = 0
        self._target_mw = 0
        # the next service owes nothing to this one but a remainder as random as the first
        self._error_mw = clamp(self._error_mw, -self._step_mw // 2, self._step_mw // 2)
        return self._rest

    def realized_mw(self, pack_mv: int, sense_ma: int) -> int:
        return pcc_mw(power_mw(pack_mv, sense_ma), self._loss_bp)
