"""The battery of a simulated element, and the firmware's own checks on what is asked of it.

Admission, limits, use of the envelopes, lease, latch and recorder are the firmware's modules. The
battery is not the bench's plant: power, energy, a loss, a cell voltage from the SoC, 25 degrees.
Power is constant or a straight ramp between the moments at which something happens, so a step is
as long as nothing happens, and at most STEP_MS_MAX while power flows.
"""

from functools import lru_cache
from typing import Any

from element import limits
from element.admission import Admission
from element.interlock import Interlock
from element.lease import Lease
from element.ledger.recorder import Recorder
from element.limits import Profile
from element.protocol import codes, rare, schema
from element.usage import Usage
from hil.plant.cell import CHEMISTRIES
from host_tools import codec
from host_tools.links.element_end import ElementEnd
from host_tools.links.element_user import Answer

STEP_MS_MAX = 1000
RAMP_STEP_MS = 100
TEMPERATURE_MDEGC = 25_000
SOC_DOUBT_BP = 50
# A cell under load differs from the table by so much at the rated power.
CELL_MV_UNDER_LOAD = 20
# A Profile: its attributes are the names of a table, which no type knows.
Limits = Any
_HARD = codes.INHIBIT_STALE | codes.INHIBIT_CLOCK | codes.INHIBIT_MONITOR


@lru_cache(maxsize=1024)
def _profile(encoded: bytes) -> Limits:
    return Profile(schema.statement_from_wire(rare.PROFILE, codec.loads(encoded)))


def shared_profile(fields: dict[str, Any]) -> Limits:
    """Return the limits of a credential; elements with equal limits share one object."""
    return _profile(codec.dumps(schema.statement_to_wire(rare.PROFILE, fields)))


class Cells:
    """What `limits` asks of a reading."""

    __slots__ = ("cell_index_max", "cell_index_min", "cell_mv_max", "cell_mv_min", "count",
                 "current_ma", "current_ma_charge_bms", "current_ma_discharge_bms", "errors",
                 "ntc_index_max", "pack_mv", "protecting", "temperature_mdegc_max",
                 "temperature_mdegc_min")

    def __init__(self, count: int) -> None:
        self.count = count
        self.cell_index_min = self.cell_index_max = self.ntc_index_max = 0
        self.current_ma_charge_bms = self.current_ma_discharge_bms = 1_000_000
        self.errors = self.current_ma = 0
        self.protecting = False
        self.temperature_mdegc_min = self.temperature_mdegc_max = TEMPERATURE_MDEGC
        self.cell_mv_min = self.cell_mv_max = self.pack_mv = 0


class _Lease(Lease):
    """A lease that says when it ends."""

    @property
    def end_ms(self) -> int | None:
        """The end of the setpoint in force, None without one."""
        return int(self._end_ms) if self.live else None

    @property
    def last_end_ms(self) -> int:
        """When the lease that is live, or the last one that was, ends or has ended."""
        return int(self._end_ms)


def _diff(later_ms: int, earlier_ms: int) -> int:
    return later_ms - earlier_ms


class Body:
    """One battery and its control. To the firmware's modules it is HAL, port and control at once.

    instructed_mw: what the lease and the ramp ask for. realized_mw: what flows. efficiency_bp:
    of one way. stale: its BMS is not heard. finished: records that wait to be signed.
    """

    __slots__ = ("_admission", "_answer", "_capacity_uj", "_end", "_level_since_ms", "_limited",
                 "_ocv", "_store_uj", "efficiency_bp", "finished", "held", "inhibits",
                 "instructed_mw", "interlock", "lease", "now_ms", "profile", "reading",
                 "realized_mw", "recorder", "soc_bp", "stale", "state", "usage")

    def __init__(self, end: ElementEnd, cell_count: int, soc_bp: int, efficiency_bp: int,
                 now_ms: int) -> None:
        self._end = end
        self.now_ms = now_ms
        self.efficiency_bp = efficiency_bp
        self.soc_bp = soc_bp
        self.reading = Cells(cell_count)
        self.interlock = Interlock()
        self.lease = _Lease(_diff)
        self.recorder = Recorder(self, end)
        self._admission = Admission(self, self, self, self.lease, end, self.interlock,
                                    end.identity, self.recorder, lambda: None)
        self.profile: Limits | None = None
        self.usage: Usage | None = None
        self.held = 0
        self.inhibits = codes.INHIBIT_NOT_ENROLLED
        self.state = codes.STATE_UNENROLLED
        self.instructed_mw = 0
        self.realized_mw = 0
        self.stale = False
        self.finished: list[dict[str, Any]] = []
        self._answer: Answer = (codes.REASON_NOT_ENROLLED, None)
        self._limited = False
        self._level_since_ms = now_ms - 3_600_000
        self._capacity_uj = 1
        self._store_uj = 0
        self._ocv: tuple[float, ...] = ()

    # what the firmware's modules ask of a HAL and of a port

    def ticks_ms(self) -> int:
        """Return the present."""
        return self.now_ms

    def ticks_add(self, ticks_ms: int, delta_ms: int) -> int:
        """Return a time later than another."""
        return ticks_ms + delta_ms

    def ticks_diff(self, later_ms: int, earlier_ms: int) -> int:
        """Return later - earlier: this counter never wraps."""
        return later_ms - earlier_ms

    @property
    def session_count(self) -> int:
        """Sessions of an aggregator since the start."""
        return self._end.session_count

    def send(self, kind: int, fields: dict[str, Any]) -> None:
        """Take the answer that the admission sends; the line's end sends it on."""
        self._answer = (fields["reason"], fields["limit"])

    @property
    def is_fresh(self) -> bool:
        """True while the BMS is heard."""
        return not self.stale

    # what is asked

    def use(self, fields: dict[str, Any]) -> None:
        """Work to the limits of a credential from now on."""
        self.profile = profile = shared_profile(fields)
        self.usage = Usage(profile)
        self._capacity_uj = profile.energy_mwh_rated * 3_600_000
        self._store_uj = self._capacity_uj // 10_000 * self.soc_bp
        chemistry = CHEMISTRIES.get(profile.chemistry, CHEMISTRIES["LFP"])
        self._ocv = chemistry.ocv_v
        self._sense()
        self.look()

    def admit(self, fields: dict[str, Any]) -> Answer:
        """Take a setpoint or refuse it, as the firmware does."""
        self._admission.on_setpoint(fields)
        return self._answer

    def owner_limit(self, fields: dict[str, Any]) -> Answer:
        """Take an owner's limit or refuse it, as the firmware does."""
        self._admission.on_owner_limit(fields)
        return self._answer

    def trip(self, cause: int, value: int, limit: int = 0, index: int | None = None) -> bool:
        """Latch and be at zero at once; True for the first cause."""
        first: bool = self.interlock.trip(cause, value, limit, index)
        self._rest()
        self.look()
        return first

    @property
    def hazard(self) -> int:
        """What the cells would trip for now."""
        return 0 if self.profile is None else int(limits.hazard(self.profile, self.reading))

    def ready(self) -> tuple[int, int, int, int]:
        """Return (discharge, charge) in mW and (out, in) in mWh, as element.telemetry does."""
        profile, usage, reading = self.profile, self.usage, self.reading
        healthy = codes.INHIBIT_LEASE | codes.INHIBIT_LIMIT
        if profile is None or self.interlock.tripped or self.inhibits & ~healthy:
            return 0, 0, 0, 0
        loss_mw = self._loss_mw(profile.power_mw_discharge_max)
        service = codes.SERVICE_REGULATION
        return (limits.ready_mw(profile, reading, usage, 1, loss_mw),
                limits.ready_mw(profile, reading, usage, -1, 0),
                limits.room_mwh(profile, usage, 1, service),
                limits.room_mwh(profile, usage, -1, service))

    # time

    @property
    def change_ms(self) -> int | None:
        """When the state may change by itself, None when nothing is under way."""
        start_ms: int | None = self.lease.next_start_ms
        if start_ms is not None and self.state != codes.STATE_ACTIVE:
            return max(start_ms, self.now_ms) + RAMP_STEP_MS
        end_ms = self.lease.end_ms
        if end_ms is not None:
            return end_ms + self.lease.zero_ramp_ms
        return self.now_ms + RAMP_STEP_MS if self.instructed_mw else None

    def advance(self, now_ms: int) -> None:
        """Let time pass."""
        while self.now_ms < now_ms:
            self._step(self._until(now_ms))

    def _until(self, now_ms: int) -> int:
        """Return the end of the step that begins now: the next moment when something happens."""
        began_ms = self.now_ms
        start_ms = self.lease.next_start_ms
        if start_ms is not None:
            if start_ms > began_ms:
                now_ms = min(now_ms, start_ms)
            else:
                now_ms = min(now_ms, began_ms + RAMP_STEP_MS)
        end_ms = self.lease.end_ms
        if end_ms is not None and end_ms > began_ms:
            now_ms = min(now_ms, end_ms)
        if self.realized_mw or self.instructed_mw or end_ms is not None:
            # a ramp, or an on/off stage in a minimum time
            ramps = not self.instructed_mw == self.realized_mw == self.lease.power_mw
            now_ms = min(now_ms, began_ms + (RAMP_STEP_MS if ramps else STEP_MS_MAX))
        if self._end.is_set:
            interval_ms = self.recorder.interval_ms
            into_ms = self._end.unix_ms(began_ms) % interval_ms
            now_ms = min(now_ms, began_ms + interval_ms - into_ms)
        return now_ms

    def _step(self, to_ms: int) -> None:
        """Do one step: what is asked at its beginning, the power over it, what came of it."""
        profile = self.profile
        dt_ms = to_ms - self.now_ms
        before_mw = self.realized_mw
        live = self.lease.update(self.now_ms)
        self.look()
        if profile is None or self.state in (codes.STATE_TRIPPED, codes.STATE_INHIBITED):
            self._rest()
            after_mw = before_mw = 0
        else:
            after_mw = self._drive(profile, live, dt_ms)
        # a ramp is straight; a step of an on/off stage is at once
        mean_mw = after_mw if profile is None or profile.step_mw else (before_mw + after_mw) // 2
        self.realized_mw = mean_mw
        self.now_ms = to_ms
        self._account(dt_ms, mean_mw)
        finished = self.recorder.tick(to_ms, dt_ms, self,
                                      self.lease.dispatch_id if live else 0,
                                      None if self.stale else self.soc_bp)
        self.realized_mw = after_mw
        if finished is not None:
            self.finished.append(finished)
        self.look()

    def look(self) -> None:
        """Find the state."""
        inhibits = 0
        if self.profile is None:
            inhibits = codes.INHIBIT_NOT_ENROLLED
        elif self.profile.monitor_only:
            inhibits = codes.INHIBIT_MONITOR
        if self.stale:
            inhibits |= codes.INHIBIT_STALE
        if not self._end.is_set:
            inhibits |= codes.INHIBIT_CLOCK
        if not self.lease.live:
            inhibits |= codes.INHIBIT_LEASE
        if self._limited:
            inhibits |= codes.INHIBIT_LIMIT
        self.inhibits = inhibits
        if self.profile is None:
            self.state = codes.STATE_UNENROLLED
        elif self.interlock.tripped:
            self.state = codes.STATE_TRIPPED
        elif inhibits & _HARD:
            self.state = codes.STATE_INHIBITED
        elif self.instructed_mw or (self.lease.live and self.lease.power_mw):
            self.state = codes.STATE_ACTIVE
        else:
            self.state = codes.STATE_IDLE

    def _rest(self) -> None:
        """Be at zero; power must be asked for anew."""
        self.lease.drop()
        self._limited = False
        if self.profile is not None and self.profile.step_mw and self.realized_mw:
            self._level_since_ms = self.now_ms
        self.instructed_mw = self.realized_mw = 0

    def _loss_mw(self, power_mw: int) -> int:
        """Return what is lost between the pack and power_mw at the PCC."""
        size_mw = abs(power_mw)
        return size_mw * 10_000 // self.efficiency_bp - size_mw

    def _drive(self, profile: Limits, live: bool, dt_ms: int) -> int:
        """Follow the lease, or its ramp to zero; returns the power at the end of the step."""
        lease, reading, usage = self.lease, self.reading, self.usage
        lease_mw = lease.power_mw if live else 0
        target_mw: int = limits.permitted_mw(
            profile, reading, usage, lease_mw, self._loss_mw(lease_mw), lease.service)
        limited = target_mw != lease_mw
        leaving = not live or (limited and target_mw == 0)
        if limits.direction(profile, reading, usage, self.instructed_mw, lease.service):
            limited = leaving = True
        self._limited = limited
        if profile.step_mw:
            return self._switch(profile, 0 if leaving else target_mw)
        if leaving:
            full_mw = max(profile.power_mw_discharge_max, profile.power_mw_charge_max)
            step_mw = (full_mw // lease.zero_ramp_ms + 1) * dt_ms
            if self.instructed_mw > 0:
                self.instructed_mw = max(0, self.instructed_mw - step_mw)
            else:
                self.instructed_mw = min(0, self.instructed_mw + step_mw)
        else:
            self.instructed_mw = limits.ramped(profile, self.instructed_mw, target_mw, dt_ms)
        return self.instructed_mw

    def _switch(self, profile: Limits, target_mw: int) -> int:
        """Take the nearest whole step of an on/off stage that its minimum times allow.

        The firmware's stages diffuse the error of what lies between; here it is the dispatcher
        that gives them whole steps.
        """
        level = 0
        if 2 * abs(target_mw) >= profile.step_mw:
            level = 1 if target_mw > 0 else -1
        present = (self.realized_mw > 0) - (self.realized_mw < 0)
        since_ms = self.now_ms - self._level_since_ms
        if level != present and level and (present or since_ms < profile.off_ms_min):
            level = 0 if present and since_ms >= profile.on_ms_min else present
        elif level != present and not level and target_mw and since_ms < profile.on_ms_min:
            level = present
        if level != present:
            self._level_since_ms = self.now_ms
        self.instructed_mw = target_mw
        return level * profile.step_mw

    def _account(self, dt_ms: int, power_mw: int) -> None:
        """Count a step's energy in SoC and envelopes."""
        if power_mw > 0:
            self._store_uj -= power_mw * dt_ms * 10_000 // self.efficiency_bp
        elif power_mw < 0:
            self._store_uj -= power_mw * dt_ms * self.efficiency_bp // 10_000
        usage = self.usage
        if usage is None:
            return
        self._sense()
        if self.stale:
            usage.advance(dt_ms, power_mw)
        else:
            usage.account(dt_ms, power_mw, self.reading)
        usage.expire(self.now_ms, _diff)

    def _sense(self) -> None:
        """Read the modelled cells, and set the SoC that may be believed."""
        profile, usage = self.profile, self.usage
        if profile is None or usage is None:
            return
        stored_uj = min(max(self._store_uj, 0), self._capacity_uj)
        self._store_uj = stored_uj
        self.soc_bp = soc_bp = stored_uj * 10_000 // self._capacity_uj
        table = self._ocv
        at, rest = divmod(soc_bp, 10_000 // (len(table) - 1))
        ocv_v = table[at] if not rest else table[at] + (table[at + 1] - table[at]) * rest / 100
        cell_mv = round(ocv_v * 1000) - CELL_MV_UNDER_LOAD * self.realized_mw // max(
            1, profile.power_mw_discharge_max, profile.power_mw_charge_max)
        reading = self.reading
        reading.cell_mv_min = reading.cell_mv_max = cell_mv
        reading.pack_mv = pack_mv = cell_mv * reading.count
        reading.current_ma = self.realized_mw * 1000 // max(1, pack_mv)
        usage.soc_bp = soc_bp
        usage.soc_bp_low = max(0, soc_bp - SOC_DOUBT_BP)
        usage.soc_bp_high = min(10_000, soc_bp + SOC_DOUBT_BP)

    # over a restart

    def snapshot(self) -> dict[str, Any]:
        """Return latch, SoC and use of the envelopes, as CBOR can carry it."""
        latch = self.interlock
        return {"latch": [latch.cause, latch.value, latch.limit, latch.index,
                          latch.order_number],
                "store_uj": self._store_uj,
                "usage": None if self.usage is None else self.usage.snapshot()}

    def resume(self, kept: dict[str, Any]) -> None:
        """Go on from a snapshot; `use` comes before, when the element is enrolled."""
        cause, value, limit, index, self.interlock.order_number = kept["latch"]
        if cause != codes.TRIP_NONE:
            self.interlock.trip(cause, value, limit, index)
        self._store_uj = kept["store_uj"]
        if self.usage is not None and kept["usage"] is not None:
            self._sense()
            self.usage.restore(kept["usage"], 0)
        self.look()
