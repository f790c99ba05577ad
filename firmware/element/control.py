"""The control step: sense, decide, act, account. Default is zero; each tick earns the next.

Inputs are frozen at the start of a tick. Nothing here waits, and nothing acts outside a tick:
messages only change the lease and the latch, which the next tick reads.
"""

from . import limits
from .estimator import Estimator
from .proof import Proof
from .protocol import codes
from .protocol.units import clamp
from .usage import Usage

PERIOD_MS = 100
# A setpoint that begins or a trip brings the next tick forward, to this time after the last one.
EARLY_MS_MIN = 20

# A sensor that says more than the contract can carry is broken: bounded, it still trips.
SENSE_MA_MAX = 1_000_000
POWER_MW_MAX = 100_000_000
_RESTED_MS_MAX = 3_600_000

# An implausible reading is not taken at all: the last good one ages and is stale soon enough.
_HARD = (codes.INHIBIT_NOT_ENROLLED | codes.INHIBIT_STALE | codes.INHIBIT_BMS
         | codes.INHIBIT_CLOCK | codes.INHIBIT_STORAGE | codes.INHIBIT_MONITOR
         | codes.INHIBIT_MAINTENANCE)


class Control:
    """One element's control loop. Everything it needs is handed in; `step` is one tick.

    profile is None until the element is enrolled (`use`); without it nothing ever conducts, and
    usage and estimator are None too. held: inhibit bits that others set, for what the control
    step cannot see itself (flash that does not take). passed: the last step ran to its end, the
    BMS's age was good or power provably off, and the latch is sound: only then may the watchdog
    be fed.
    """

    def __init__(self, hal, driver, stage, interlock, lease, clock):
        self._hal = hal
        self._diff = hal.ticks_diff  # bound once: a tick allocates nothing
        self._driver = driver
        self.reading = driver.reading
        self.stage = stage
        self._interlock = interlock
        self._lease = lease
        self._clock = clock
        self.profile = None
        self.usage = None
        self.estimator = None
        self.proof = Proof(driver, stage, interlock)
        self.held = 0
        self.passed = False
        self.state = codes.STATE_UNKNOWN
        self.inhibits = 0
        self.instructed_mw = 0
        self.enabled_mw = 0
        self.realized_mw = 0
        self.sense_ma = 0
        self.is_fresh = False
        self.conducting = False
        self._rested_ms = 0
        self._trips_seen = 0

    def use(self, profile) -> None:
        """Work to the limits of a credential from now on, its envelopes unused."""
        self.usage = Usage(profile)
        self.estimator = Estimator(profile.capacity_mah, profile.chemistry)
        self.profile = profile

    def step(self, now_ms: int, dt_ms: int) -> None:
        """Run one tick: now_ms is its start, dt_ms the time since the last one."""
        self.passed = False
        reading = self.reading
        profile = self.profile
        interlock = self._interlock
        self.sense_ma = clamp(self._hal.sense_ma(), -SENSE_MA_MAX, SENSE_MA_MAX)
        if not self.conducting:
            self._rested_ms = min(self._rested_ms + dt_ms, _RESTED_MS_MAX)
        if profile is None:
            self.inhibits = codes.INHIBIT_NOT_ENROLLED
            self._rest(codes.STATE_UNENROLLED)
            self.passed = self._may_feed()
            return
        self._sense(profile, reading, now_ms)
        self._account(reading, now_ms, dt_ms)
        if not self.conducting:
            self.stage.idle(reading.pack_mv if self.is_fresh else 0, self._hal.dc_link_mv(), dt_ms)
        self._watch(profile, reading)
        live = self._lease.update(now_ms)
        # a trip that came and was released between two ticks costs the lease all the same
        tripped = interlock.tripped or interlock.trip_count != self._trips_seen
        self._trips_seen = interlock.trip_count
        if tripped or self.inhibits & _HARD:
            self._rest(codes.STATE_TRIPPED if tripped else codes.STATE_INHIBITED)
        else:
            self._drive(profile, reading, live, dt_ms)
        if not profile.monitor_only:  # whoever moves this pack, it is not us
            self.proof.step(
                profile, reading, self.is_fresh, self.sense_ma, self.enabled_mw, dt_ms)
        if interlock.tripped and self.state != codes.STATE_TRIPPED:
            self._rest(codes.STATE_TRIPPED)  # the proof just failed: not one tick more
        self.realized_mw = self._realized_mw(reading)
        self.passed = self._may_feed()

    def _may_feed(self) -> bool:
        """Return True when this period earned the watchdog's food."""
        if not self._interlock.intact:
            return False
        if not self.is_fresh or self._interlock.tripped:
            # the safe state is an answer to an old reading; power is none
            return self.enabled_mw == 0 and not self._hal.enable_is()
        return True

    def _account(self, reading, now_ms: int, dt_ms: int) -> None:
        """Count the time since the last tick in the envelopes and in the SoC."""
        usage = self.usage
        estimator = self.estimator
        current_reading = reading if self.is_fresh else None
        estimator.step(dt_ms, self.sense_ma, current_reading)
        usage.soc_bp = estimator.soc_bp
        usage.soc_bp_low = estimator.low_bp
        usage.soc_bp_high = estimator.high_bp
        power_mw = self.realized_mw
        if abs(self.enabled_mw) > abs(power_mw):
            power_mw = self.enabled_mw  # the larger of what was told and what was measured
        if current_reading is None:
            usage.advance(dt_ms, power_mw)
        else:
            usage.account(dt_ms, power_mw, reading)
        usage.expire(now_ms, self._diff)

    def _sense(self, profile, reading, now_ms: int) -> None:
        """Find what forbids power without being a trip."""
        hal = self._hal
        age_ms = reading.age_ms(hal, now_ms)
        self.is_fresh = limits.fresh(profile, age_ms, reading.cells_age_ms(hal, now_ms))
        inhibits = self.held
        if not self.is_fresh or hal.sense_age_ms() > profile.reading_age_ms_max:
            inhibits |= codes.INHIBIT_STALE
        if reading.protecting:
            inhibits |= codes.INHIBIT_BMS
        if not self._clock.is_set:
            inhibits |= codes.INHIBIT_CLOCK
        if profile.monitor_only:
            inhibits |= codes.INHIBIT_MONITOR
        self.inhibits = inhibits

    def _watch(self, profile, reading) -> None:
        """Latch what must not be: the input, the current by either measurement, the cells."""
        interlock = self._interlock
        if not interlock.intact:
            interlock.trip(codes.TRIP_SELF_TEST)
        if not self._hal.interlock_ok():
            interlock.trip(codes.TRIP_INPUT)
        self._watch_current(profile, self.sense_ma)
        if self.stage.fault:
            interlock.trip(codes.TRIP_STAGE, self.stage.fault)
        if not self.is_fresh:
            return
        # the BMS measures for itself: a sensor stuck at a harmless value hides nothing
        self._watch_current(profile, reading.current_ma)
        cause = limits.hazard(profile, reading)
        if cause != codes.TRIP_NONE:
            value, limit, index = limits.hazard_facts(profile, reading, cause)
            interlock.trip(cause, value, limit, index)

    def _watch_current(self, profile, measured_ma: int) -> None:
        if limits.over_current(profile, measured_ma):
            sign = 1 if measured_ma > 0 else -1
            self._interlock.trip(codes.TRIP_OVER_CURRENT, measured_ma,
                                 limits.over_current_ma(profile, sign))

    def hazard_persists(self) -> bool:
        """Return True while the cause of a trip is still there, as far as it can be seen."""
        profile = self.profile
        if profile is None or not self._hal.interlock_ok() or not self.is_fresh:
            return True
        # a hold, an unknown current, or a proof that is failing at this moment
        if self.held or self.inhibits & codes.INHIBIT_STALE:
            return True
        if self.proof.failing or self.stage.fault:
            return True
        reading = self.reading
        if (limits.over_current(profile, self.sense_ma)
                or limits.over_current(profile, reading.current_ma)):
            return True
        return limits.hazard(profile, reading) != codes.TRIP_NONE

    def _drive(self, profile, reading, live: bool, dt_ms: int) -> None:
        """Follow the lease at the permitted ramp, or go to zero at the lease's own.

        Zero at the lease's ramp is also the answer to a limit: neither the profile's ramp nor an
        on/off stage's minimum time may prolong what the cells no longer allow.
        """
        lease_mw = self._lease.power_mw if live else 0
        loss_mw = self.stage.pack_mw_of(lease_mw) - lease_mw
        target_mw = limits.permitted_mw(
            profile, reading, self.usage, lease_mw, loss_mw, self._lease.service)
        limited = target_mw != lease_mw
        leaving = not live or (limited and target_mw == 0)
        if self._forbidden(reading, self.instructed_mw):
            limited = leaving = True
        # at zero the stage still lives off the pack: an empty one gets rest instead
        empty = not profile.step_mw and self._forbidden(reading, 1)
        if leaving:
            self.instructed_mw = self._towards_zero(profile, dt_ms)
        elif profile.step_mw:
            # an on/off stage has no ramp of its own: the levels are what it can do
            self.instructed_mw = target_mw
        else:
            self.instructed_mw = limits.ramped(profile, self.instructed_mw, target_mw, dt_ms)
        if not live:
            self.inhibits |= codes.INHIBIT_LEASE
        if self.instructed_mw == 0 and target_mw == 0 and (leaving or empty):
            if limited or (live and empty):
                self.inhibits |= codes.INHIBIT_LIMIT
            self._rest(codes.STATE_IDLE)
            return
        if limited:
            self.inhibits |= codes.INHIBIT_LIMIT
        self.state = codes.STATE_ACTIVE
        if not self.conducting:
            self.conducting = True
            self.stage.start(self._rested_ms)
        self._actuate(profile, reading, dt_ms)

    def _forbidden(self, reading, power_mw: int) -> bool:
        """Return True when the cells allow no power in the direction of power_mw now."""
        return limits.direction(self.profile, reading, self.usage, power_mw,
                                self._lease.service) != codes.REASON_NONE

    def _outlasts(self, reading, out) -> bool:
        """Return True when an on/off stage would run on where no envelope has room for it."""
        if not self.profile.step_mw or out.commanded_mw == 0:
            return False
        loss_mw = self.stage.pack_mw_of(out.commanded_mw) - out.commanded_mw
        return limits.permitted_mw(self.profile, reading, self.usage, out.commanded_mw, loss_mw,
                                   self._lease.service) == 0

    def _towards_zero(self, profile, dt_ms: int) -> int:
        """Return the instructed power one tick further on the ramp after a lease."""
        if profile.step_mw:
            return 0
        full_mw = max(profile.power_mw_discharge_max, profile.power_mw_charge_max)
        step_mw = (full_mw // self._lease.zero_ramp_ms + 1) * dt_ms
        if self.instructed_mw > 0:
            return max(0, self.instructed_mw - step_mw)
        return min(0, self.instructed_mw + step_mw)

    def _actuate(self, profile, reading, dt_ms: int) -> None:
        """Drive the stage; it is enabled only when the FETs were read back as it wants them.

        The read-back counts only when it was asked for after the last wish had been sent.
        """
        driver = self._driver
        stage = self.stage
        out = stage.step(self.instructed_mw, reading.pack_mv, self.sense_ma, dt_ms,
                         self._hal.dc_link_mv())
        if stage.fault:
            self._interlock.trip(codes.TRIP_STAGE, stage.fault)
            out = stage.zero()
        elif self._forbidden(reading, out.commanded_mw) or self._outlasts(reading, out):
            # the stage is in a minimum time that outlasts the permission
            self.inhibits |= codes.INHIBIT_LIMIT
            out = stage.zero()
        driver.want_fets(out.fets)
        # a BMS that switches by itself says what it permits, which may be more than is wanted
        closed = reading.fets if driver.can_switch else reading.fets & out.fets
        if out.enable and driver.fets_proven and closed == out.fets:
            self._hal.precharge_set(out.precharge)
            self._hal.duty_set(out.duty_permille)
            self._hal.enable_set(True)
            self.enabled_mw = out.commanded_mw
        else:
            self._off(out.precharge)
            if out.enable:
                stage.withheld()

    def _off(self, precharge: bool = False) -> None:
        """Be at zero; the DC link may be charging meanwhile."""
        self._hal.enable_set(False)
        self._hal.precharge_set(precharge)
        self._hal.duty_set(0)
        self.enabled_mw = 0

    def _rest(self, state: int) -> None:
        """Be at zero: enable line off, FETs asked open, the lease forgotten."""
        self._off()
        out = self.stage.zero()
        self._driver.want_fets(out.fets)
        self.state = state
        self.instructed_mw = 0
        if self.conducting:
            self.conducting = False
            self._rested_ms = 0
        if state != codes.STATE_IDLE:
            self._lease.drop()

    def _realized_mw(self, reading) -> int:
        """Return the power at the PCC in mW that the sensed current means; 0 at rest."""
        if self.enabled_mw == 0 and abs(self.sense_ma) < 200:
            return 0  # the sensor's offset is not energy
        realized_mw = self.stage.realized_mw(reading.pack_mv, self.sense_ma)
        return clamp(realized_mw, -POWER_MW_MAX, POWER_MW_MAX)
