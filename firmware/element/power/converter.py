"""The regulated stage: PWM duty with a current loop closed on measured pack current.

The feed-forward is the board's nominal gain; the integral part learns what this converter, at
this voltage, adds to it. Losses are the board's nominal ones (`LOSS_*` in board.py), so that a
setpoint at the PCC becomes the right current at the cells.
"""

from ..bms.base import FETS_BOTH
from ..protocol.units import clamp, current_ma, power_mw
from .base import Output, PowerStage, pcc_mw

# The integral part may correct 1/8 of full scale, and learns from errors up to that size alone:
# a larger one is no gain error but a FET that has not closed or a BMS that has cut off.
TRIM_MA_SHARE = 8


# A change of duty shows fully in the sensed current after this time; an earlier look teaches
# nothing.
SETTLE_MS = 45


class Converter(PowerStage):
    """Current-controlled converter.

    duty_full_ma: nominal pack current at 1000 permille. loss_standing_mw, loss_bp: nominal
    standing loss, and loss in basis points of the power at the PCC.
    """

    def __init__(self, duty_full_ma: int, loss_standing_mw: int, loss_bp: int):
        self._full_ma = duty_full_ma
        self._standing_mw = loss_standing_mw
        self._loss_bp = loss_bp
        self._trim_max = duty_full_ma // TRIM_MA_SHARE
        self._trim_ma = 0
        self._asked_ma = 0
        self._settled = False
        self._rest = Output()
        self._out = Output()

    def start(self, rested_ms: int) -> None:
        """Begin from rest."""
        self._asked_ma = 0
        self._settled = False

    def withheld(self) -> None:
        """Learn nothing from a current that the open FETs kept at zero."""
        self._settled = False

    def pack_mw_of(self, target_mw: int) -> int:
        """Return the power drawn from (positive) or put into (negative) the pack for target_mw."""
        return target_mw + abs(target_mw) // 100 * self._loss_bp // 100 + self._standing_mw

    def step(self, target_mw: int, pack_mv: int, sense_ma: int, dt_ms: int) -> Output:
        if self._settled and dt_ms >= SETTLE_MS:
            # half the error of the last tick: stable for any settling within one tick
            error_ma = self._asked_ma - sense_ma
            if -self._trim_max <= error_ma <= self._trim_max:
                self._trim_ma = clamp(
                    self._trim_ma + (error_ma >> 1), -self._trim_max, self._trim_max
                )
        asked_ma = current_ma(self.pack_mw_of(target_mw), pack_mv)
        duty_ma = asked_ma + self._trim_ma
        duty = duty_ma * 1000 // self._full_ma
        out = self._out
        out.duty_permille = clamp(duty, -1000, 1000)
        # wind-up: while the duty is at its stop the error teaches nothing
        self._settled = out.duty_permille == duty
        self._asked_ma = asked_ma
        out.enable = True
        out.fets = FETS_BOTH
        out.commanded_mw = target_mw
        return out

    def zero(self) -> Output:
        # what was learnt at another power would be a wrong current in the next first tick
        self._trim_ma = 0
        self._settled = False
        self._asked_ma = 0
        return self._rest

    def realized_mw(self, pack_mv: int, sense_ma: int) -> int:
        return pcc_mw(power_mw(pack_mv, sense_ma) - self._standing_mw, self._loss_bp)
