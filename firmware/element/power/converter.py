"""The regulated stage: PWM duty with a current loop closed on measured pack current.

The feed-forward is the board's nominal gain; the integral part learns what this converter, at
this voltage, adds to it. Losses are the board's nominal ones (`LOSS_*` in board.py), so that a
setpoint at the PCC becomes the right current at the cells.

Where the board measures the DC link, its capacitor is charged through a resistor before the BMS
FETs close on it: closed onto an empty capacitor they carry thousands of amperes for a moment.
"""

from ..bms.base import FETS_BOTH
from ..protocol.units import clamp, current_ma
from .base import (
    FAULT_LINK_AT_REST,
    FAULT_LINK_COLLAPSED,
    FAULT_NONE,
    FAULT_PRECHARGE,
    Output,
    RegulatedStage,
)

# The integral part may correct 1/8 of full scale, and learns from errors up to that size alone:
# a larger one is no gain error but a FET that has not closed or a BMS that has cut off.
TRIM_MA_SHARE = 8
# What it does at a given current is bounded by that current: 1/8 of it, and this share of full
# scale for a half bridge's dead time. A stage that is dead at zero would wind it up otherwise, and
# come back with an eighth of full power that nobody has asked for.
TRIM_MA_REST_SHARE = 150

# A change of duty shows fully in the sensed current after this time; an earlier look teaches
# nothing.
SETTLE_MS = 45

# The link counts as charged at this share of the pack's voltage, and not before this time: a
# sensor that shows a charged link at once has measured something else.
CHARGED_PCT = 95
PRECHARGE_MS_MIN = 100
# Below this share the link is gone, or, at rest, discharged.
LINK_PCT_MIN = 50
# A BMS that has opened its FETs by itself empties the link too, and says so within this time;
# the outputs are off for as long, and without such a reason it is a fault.
COLLAPSE_MS_MAX = 600
# The bleeder of a link must have brought it below LINK_PCT_MIN after this time at rest.
DISCHARGE_MS_MAX = 60_000

_RUNNING = 0
_PRECHARGE = 1
_CLOSING = 2
_COLLAPSED = 3


class Converter(RegulatedStage):
    """Current-controlled converter.

    duty_full_ma: nominal pack current at 1000 permille. loss_standing_mw, loss_bp: nominal
    standing loss, and loss in basis points of the power at the PCC. precharge_ms_max: the longest
    that charging the link may take; 0 for a stage without pre-charge and link sensor.
    """

    def __init__(self, duty_full_ma: int, loss_standing_mw: int, loss_bp: int,
                 precharge_ms_max: int = 0):
        super().__init__(loss_standing_mw, loss_bp)
        self._full_ma = duty_full_ma
        self._precharge_ms_max = precharge_ms_max
        self._trim_max = duty_full_ma // TRIM_MA_SHARE
        self._trim_ma = 0
        self._asked_ma = 0
        self._settled = False
        self._phase = _RUNNING
        self._phase_ms = 0
        self._closed = False
        self._idle_ms = 0
        self._rest = Output()
        self._waiting = Output()
        self._waiting.precharge = True
        self._out = Output()

    def start(self, rested_ms: int) -> None:
        """Begin from rest, where there is a link with charging it."""
        self._asked_ma = 0
        self._settled = False
        self._idle_ms = 0
        self._phase = _PRECHARGE if self._precharge_ms_max else _RUNNING
        self._phase_ms = 0

    def withheld(self) -> None:
        """Learn nothing from a current that the open FETs kept at zero."""
        self._settled = False
        self._closed = False

    def step(self, target_mw: int, pack_mv: int, sense_ma: int, dt_ms: int,
             dc_link_mv: int) -> Output:
        if self._precharge_ms_max and not self._link_ready(pack_mv, dc_link_mv, dt_ms):
            self._settled = False
            return self._waiting if self._phase == _PRECHARGE else self._rest
        if self._settled and dt_ms >= SETTLE_MS:
            # half the error of the last tick: stable for any settling within one tick
            error_ma = self._asked_ma - sense_ma
            if -self._trim_max <= error_ma <= self._trim_max:
                self._trim_ma = clamp(
                    self._trim_ma + (error_ma >> 1), -self._trim_max, self._trim_max
                )
        asked_ma = current_ma(self.pack_mw_of(target_mw), pack_mv)
        # a stage that is dead at zero must not have wound this up when it comes back
        room_ma = self._full_ma // TRIM_MA_REST_SHARE + abs(asked_ma) // TRIM_MA_SHARE
        self._trim_ma = clamp(self._trim_ma, -room_ma, room_ma)
        duty_ma = asked_ma + self._trim_ma
        duty = duty_ma * 1000 // self._full_ma
        out = self._out
        out.duty_permille = clamp(duty, -1000, 1000)
        # wind-up: while the duty is at its stop the error teaches nothing
        self._settled = out.duty_permille == duty
        self._asked_ma = asked_ma
        out.enable = True
        out.precharge = self._phase == _CLOSING
        out.fets = FETS_BOTH
        out.commanded_mw = target_mw
        return out

    def _link_ready(self, pack_mv: int, dc_link_mv: int, dt_ms: int) -> bool:
        """Return True while the FETs may be closed: go through the phases, one look a tick."""
        live = _reaches(dc_link_mv, pack_mv, LINK_PCT_MIN)
        phase = self._phase
        if phase == _PRECHARGE:
            if self._phase_ms >= PRECHARGE_MS_MIN and _reaches(dc_link_mv, pack_mv, CHARGED_PCT):
                self._phase = _CLOSING
                self._closed = False
                return self._close()
            if self._phase_ms > self._precharge_ms_max:
                self.fault = FAULT_PRECHARGE
                self._phase = _COLLAPSED
            self._phase_ms += dt_ms
            return False
        if phase != _COLLAPSED and live:
            return self._close()
        if phase != _COLLAPSED:
            self._phase = _COLLAPSED
            self._phase_ms = 0
        self._phase_ms += dt_ms
        if self._phase_ms > COLLAPSE_MS_MAX and self.fault == FAULT_NONE:
            self.fault = FAULT_LINK_COLLAPSED
        return False

    def _close(self) -> bool:
        """Leave the pre-charge on until a step has gone by whose outputs were applied."""
        if self._closed:
            self._phase = _RUNNING
        self._closed = True
        return True

    def zero(self) -> Output:
        # what was learnt at another power would be a wrong current in the next first tick
        self._trim_ma = 0
        self._settled = False
        self._asked_ma = 0
        # at rest neither cause can be seen; the next start looks again
        if self.fault == FAULT_PRECHARGE or self.fault == FAULT_LINK_COLLAPSED:
            self.fault = FAULT_NONE
        return self._rest

    def idle(self, pack_mv: int, dc_link_mv: int, dt_ms: int) -> None:
        """Watch the link discharge: one that stays up hangs on something that has welded."""
        if not self._precharge_ms_max or pack_mv == 0:
            return
        if not _reaches(dc_link_mv, pack_mv, LINK_PCT_MIN):
            self._idle_ms = 0
            if self.fault == FAULT_LINK_AT_REST:
                self.fault = FAULT_NONE
            return
        self._idle_ms = min(self._idle_ms + dt_ms, 2 * DISCHARGE_MS_MAX)
        if self._idle_ms > DISCHARGE_MS_MAX:
            self.fault = FAULT_LINK_AT_REST


def _reaches(dc_link_mv: int, pack_mv: int, share_pct: int) -> bool:
    """Return True when the link has at least a share of the pack's voltage."""
    return pack_mv > 0 and dc_link_mv * 100 >= pack_mv * share_pct
