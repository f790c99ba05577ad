"""The inverter stage: a SunSpec battery inverter on RS-485, told its power over Modbus RTU.

The control step only says what it wants; the task talks. Setpoint and measurement are models 704
and 701 (`sunspec_map.py`). The inverter reverts to 0 W by itself REVERSION_S after the last word
of a living element; the element's enable line, a contactor on the AC side, is the second way to
zero. The pack current stays the control's own proof; what the inverter says of itself is one more.
"""

from ..bms.base import FETS_BOTH
from ..protocol.units import clamp
from . import sunspec_map as at
from .base import (
    FAULT_DEVIATION,
    FAULT_NO_ANSWER,
    FAULT_NONE,
    FAULT_REFUSED,
    FAULT_REVERSION,
    FAULT_STALE,
    FAULT_START,
    FAULT_STATUS,
    Output,
    RegulatedStage,
)
from .modbus import DONE, NO_ANSWER, REFUSED, Line, exception_name
from .sunspec_scan import QUIET_MS, Inverter, scan

# The reversion timer counts whole seconds: one is the shortest, and leaves the inverter time to
# ramp down before a dead element has been dead for two. Four words fit in it.
REVERSION_S = 1
REFRESH_MS = 250
# How often the inverter is asked for its power, and how old an answer may get.
MEASURE_MS = 150
MEASURE_IDLE_MS = 500
MEASURE_LATE_MS = 300
STALE_MS = 1000
ANSWER_MS_MAX = 2000
INFO_MS = 10_000
SCAN_RETRY_MS = 1000
# So many exchanges in a row without an answer: look for the inverter anew.
MISSED_MAX = 8
# The inverter's own measurement may differ from what it was told by this share of its rating, and
# 50 W, for this long. The control's proof by current is wider and sooner.
DEVIATION_SHARE = 20
DEVIATION_MW_MIN = 50_000
DEVIATION_MS_MAX = 1900

_AGE_MS_MAX = 3_600_000


class SunSpec(RegulatedStage):
    """A SunSpec inverter.

    loss_standing_mw, loss_bp: nominal losses between pack and PCC. address, baud: of its line.
    start_ms: the longest from a closed contactor to a running inverter.
    """

    def __init__(self, loss_standing_mw: int, loss_bp: int, address: int, baud: int,
                 start_ms: int):
        super().__init__(loss_standing_mw, loss_bp)
        self._address = address
        self._baud = baud
        self._start_ms = start_ms
        self._line = None
        self._waiter = None
        self._hal = None
        # what control wants
        self._active = False
        self._applied = False
        self._wish_mw = 0
        self._stop = False
        # what the inverter was told and has acknowledged
        self._armed = False
        self._sent_mw = 0
        self._told_mw = 0
        self._refreshed_at = 0
        # what it says
        self.inverter = None
        self.measured_mw = 0
        self.soc_bp = None
        self._age_ms = _AGE_MS_MAX
        self._running = False
        self._alarms = 0
        self._failed = False
        self._measured_at = 0
        self._info_at = 0
        self._missed = 0
        # clocks of one activation
        self._heard = False
        self._unready_ms = 0
        self._starting_ms = 0
        self._deviating_ms = 0
        self.last_error = "never answered"
        self._rest = Output()
        self._out = Output()
        self._out.fets = FETS_BOTH

    # ---- the control's side: allocates nothing, never waits ----

    def start(self, rested_ms: int) -> None:
        """Begin from rest: the task arms the inverter at 0 W meanwhile."""
        self._active = True
        self._applied = False
        self._wish_mw = 0
        self._told_mw = 0
        self._heard = False
        self._running = False  # until it says so in this activation
        self._unready_ms = 0
        self._starting_ms = 0
        self._deviating_ms = 0
        self._kick()

    def withheld(self) -> None:
        """Ask for nothing while the contactor is open."""
        self._applied = False

    def step(self, target_mw: int, pack_mv: int, sense_ma: int, dt_ms: int,
             dc_link_mv: int) -> Output:
        self._grow_older(dt_ms)
        ready = self.inverter is not None and self._age_ms <= STALE_MS
        self._judge(ready, dt_ms)
        # one step's delay: the contactor has closed and nobody withheld it
        wish_mw = target_mw if self._applied and ready else 0
        self._applied = ready
        if wish_mw != self._wish_mw:
            self._wish_mw = wish_mw
            self._kick()
        out = self._out
        out.enable = ready
        out.commanded_mw = self._told_mw if ready and self._running else 0
        return out

    def _grow_older(self, dt_ms: int) -> None:
        self._age_ms = min(self._age_ms + dt_ms, _AGE_MS_MAX)

    def _judge(self, ready: bool, dt_ms: int) -> None:
        """Find what has been wrong for too long in this activation."""
        if ready:
            self._heard = True
            self._unready_ms = 0
        else:
            self._unready_ms += dt_ms
        # while it does not run, the alarms of an open contactor are none
        alarms = self._alarms if self._running else self._alarms & ~at.ALARMS_OPEN
        if self._applied and not self._running:
            self._starting_ms += dt_ms
        else:
            self._starting_ms = 0
        if self.fault != FAULT_NONE:
            return
        if self._heard and self._age_ms > STALE_MS:
            self.fault = FAULT_STALE
        elif self._unready_ms > ANSWER_MS_MAX:
            self.fault = FAULT_NO_ANSWER
        elif ready and (self._failed or alarms):
            self.fault = FAULT_STATUS
        elif self._starting_ms > self._start_ms:
            self.fault = FAULT_START

    def idle(self, pack_mv: int, dc_link_mv: int, dt_ms: int) -> None:
        """Let a fault go when the inverter answers, and sees nothing wrong with itself."""
        self._grow_older(dt_ms)
        if (self._age_ms <= STALE_MS and not self._failed
                and not self._alarms & ~at.ALARMS_OPEN):
            self.fault = FAULT_NONE

    def zero(self) -> Output:
        if self._active:
            self._active = False
            self._applied = False
            self._wish_mw = 0
            self._told_mw = 0
            self._stop = True
            self._kick()
        return self._rest

    def _kick(self) -> None:
        if self._waiter is not None:
            self._waiter.kick()

    # ---- the task's side ----

    def run(self, hal):
        return self._run(hal)

    async def _run(self, hal) -> None:
        """Find the inverter and talk with it for ever; one that is silent is no error here."""
        self._hal = hal
        self._waiter = hal.waiter()
        self._line = Line(hal, hal.stage_uart, self._address, self._baud)
        while True:
            if self.inverter is None:
                await self._find()
            else:
                await self._turn()
            await hal.sleep_ms(0)

    async def _find(self) -> None:
        """Look for the inverter; whatever it did before, it is told to stop first."""
        if self._missed:
            await self._hal.sleep_ms(QUIET_MS)
        found = Inverter()
        error = await scan(self._line, found)
        if error:
            self.last_error = error
            await self._hal.sleep_ms(SCAN_RETRY_MS)
            return
        self._missed = 0
        self._armed = False
        self._stop = True
        self._measured_at = self._info_at = self._hal.ticks_ms()
        self.inverter = found

    async def _turn(self) -> None:
        """Do the most urgent thing on the line, or wait until there is one."""
        hal = self._hal
        now = hal.ticks_ms()
        measure_ms = MEASURE_MS if self._active else MEASURE_IDLE_MS
        since_ms = hal.ticks_diff(now, self._measured_at)
        if self._stop and since_ms <= STALE_MS:
            await self._send_stop()
            return
        wait_ms = measure_ms - since_ms
        if self._active and since_ms <= MEASURE_LATE_MS:
            if not self._armed:
                await self._arm()
                return
            refresh_ms = REFRESH_MS - hal.ticks_diff(now, self._refreshed_at)
            if self._wish_mw != self._sent_mw or refresh_ms <= 0:
                await self._send_wish()
                return
            wait_ms = min(wait_ms, refresh_ms)
        if since_ms >= measure_ms:
            self._measured_at = now
            await self._measure(now, since_ms)
        elif hal.ticks_diff(now, self._info_at) >= INFO_MS:
            self._info_at = now
            await self._read_soc()
        else:
            await self._waiter.wait(wait_ms)

    def _urgent(self) -> bool:
        return self._stop

    async def _ask(self) -> int:
        """Transact what was prepared; count silence, and forget an inverter that has gone."""
        line = self._line
        ended = await line.transact(give_up=None if self._stop else self._urgent)
        if ended == NO_ANSWER:
            self._missed += 1
            self.last_error = "no answer: check power, A/B crossed, baud, address"
            if self._missed >= MISSED_MAX:
                self.inverter = None
        else:
            self._missed = 0
        if ended == REFUSED:
            self.last_error = "refused: " + exception_name(line.exchange.exception)
        return ended

    async def _read(self, model: int, offset: int, count: int):
        """Return registers of a model, or None."""
        self._line.exchange.read(self.inverter.models[model] + offset, count)
        return self._line.exchange.values if await self._ask() == DONE else None

    async def _write(self, model: int, offset: int, values) -> int:
        self._line.exchange.write(self.inverter.models[model] + offset, values)
        return await self._ask()

    async def _permit(self, on: bool) -> int:
        """Permit or forbid the connection, where the inverter has the model for it."""
        if at.ENTER_SERVICE not in self.inverter.models:
            return DONE
        self._line.exchange.write_one(
            self.inverter.models[at.ENTER_SERVICE] + at.ES, 1 if on else 0)
        return await self._ask()

    async def _set(self, on: bool, raw: int) -> int:
        """Write setpoint and enable; in watts they are one frame, and zero is one frame away."""
        if self.inverter.in_watts:
            high, low = at.words_of(raw)
            if on:
                values = (1, at.MODE_WATTS, high, low)
            else:
                # longer than a setpoint: a late reply to one must not confirm the other
                values = (0, at.MODE_WATTS, 0, 0, 0, 0)
            return await self._write(at.CONTROLS, at.WSET_ENA, values)
        if not on:
            ended = await self._write(at.CONTROLS, at.WSET_ENA, (0, at.MODE_PCT))
            if ended != DONE:
                return ended
        ended = await self._write(at.CONTROLS, at.WSET_PCT, (raw & 0xFFFF,))
        if on and ended == DONE:
            ended = await self._write(at.CONTROLS, at.WSET_ENA, (1, at.MODE_PCT))
        return ended

    async def _send_stop(self) -> None:
        """Ask for 0 W and disable, until it is acknowledged; then forbid the connection."""
        self._armed = False
        if await self._set(False, 0) == DONE and await self._permit(False) != NO_ANSWER:
            self._stop = False

    async def _arm(self) -> None:
        """Set the reversion to 0 W, enable at 0 W, and read back that it was taken."""
        inverter = self.inverter
        offset, zeros = (at.WSET_RVRT, (0, 0)) if inverter.in_watts else (at.WSET_PCT_RVRT, (0,))
        steps = (
            (at.CONTROLS, offset, zeros),
            (at.CONTROLS, at.WSET_ENA_RVRT, (1, 0, REVERSION_S)),
        )
        for model, where, values in steps:
            if not self._taken(await self._write(model, where, values)):
                return
        if not self._taken(await self._permit(True)) or not self._taken(await self._set(True, 0)):
            return
        self._refreshed_at = self._hal.ticks_ms()
        values = await self._read(at.CONTROLS, at.WSET_ENA, at.WSET_COUNT)
        if values is None or self._stop:
            return
        if not inverter.reverts(values, REVERSION_S):
            self._fail(FAULT_REVERSION)
            return
        self._sent_mw = 0
        self._armed = True

    def _taken(self, ended: int) -> bool:
        """Return True when a write was acknowledged and nothing more urgent has come."""
        if ended == REFUSED:
            self._fail(FAULT_REFUSED)
        return ended == DONE and not self._stop

    def _fail(self, fault: int) -> None:
        if self._active and self.fault == FAULT_NONE:
            self.fault = fault

    async def _send_wish(self) -> None:
        """Tell the inverter the wish of this moment; it is told when it has acknowledged."""
        wish_mw = self._wish_mw
        raw, told_mw = self.inverter.setpoint(wish_mw)
        sent_at = self._hal.ticks_ms()
        if self._taken(await self._set(True, raw)):
            self._sent_mw = wish_mw
            self._told_mw = told_mw
            self._refreshed_at = sent_at

    async def _measure(self, now: int, since_ms: int) -> None:
        """Read state and power in one piece."""
        values = await self._read(at.MEASURE_AC, at.ST, at.MEASURE_COUNT)
        if values is None:
            return
        measured_mw = at.milli(at.int16(values[at.W - at.ST]), self.inverter.w_factor)
        if measured_mw is None:
            self.last_error = "model 701 has no power"
            return
        self.measured_mw = measured_mw
        # as old as the request, and a little older for the way
        self._age_ms = max(self._hal.ticks_diff(self._hal.ticks_ms(), now), 0)
        self._take_status(values)
        margin_mw = max(self.inverter.rated_mw // DEVIATION_SHARE, DEVIATION_MW_MIN)
        if self._armed and self._running and abs(measured_mw - self._told_mw) > margin_mw:
            self._deviating_ms += clamp(since_ms, 0, STALE_MS)
            if self._deviating_ms > DEVIATION_MS_MAX:
                self._fail(FAULT_DEVIATION)
        else:
            self._deviating_ms = 0

    def _take_status(self, values) -> None:
        """Take state, connection and alarms; what is not implemented says nothing."""
        state = at.uint16(values[at.INV_ST - at.ST])
        on = at.uint16(values[0])
        connected = at.uint16(values[at.CONN_ST - at.ST])
        if state is not None:
            running = state == at.INV_RUNNING or state == at.INV_THROTTLED
        else:
            running = on != 0
        self._running = running and connected != 0
        self._failed = state == at.INV_FAULT
        high, low = values[at.ALRM - at.ST], values[at.ALRM + 1 - at.ST]
        self._alarms = 0 if high == low == at.UINT16_NONE else high << 16 | low

    async def _read_soc(self) -> None:
        """Take the inverter's own idea of the SoC, for people."""
        inverter = self.inverter
        if at.STORAGE in inverter.models:
            model, where = at.STORAGE, at.SOC
        elif at.BATTERY in inverter.models:
            model, where = at.BATTERY, at.BATTERY_SOC
        else:
            return
        values = await self._read(model, where, 1)
        if values is not None:
            # thousandths of a percent, ten to a basis point
            share = at.milli(at.uint16(values[0]), inverter.soc_factor)
            self.soc_bp = None if share is None else share // 10
