"""The control step: sense, decide, act, account. Default is zero; each tick earns the next.

Inputs are frozen at the start of a tick. Nothing here waits, and nothing acts outside a tick:
messages only change the lease and the latch, which the next tick reads.
"""

from . import limits
from .protocol import codes
from .protocol.units import clamp, power_mw

PERIOD_MS = 100
# A setpoint that begins or a trip brings the next tick forward, to this time after the last one.
EARLY_MS_MIN = 20

# Proof of actuation: how long outputs and measurement may disagree before it is a trip.
ZERO_PROOF_MS = 500
POWER_PROOF_MS = 2500
FETS_PROOF_MS = 2000
# A sensor that says more than the contract can carry is broken: bounded, it still trips.
SENSE_MA_MAX = 1_000_000
POWER_MW_MAX = 100_000_000
_RESTED_MS_MAX = 3_600_000

# An implausible reading is not taken at all: the last good one ages and is stale soon enough.
_HARD = (codes.INHIBIT_NOT_ENROLLED | codes.INHIBIT_STALE | codes.INHIBIT_BMS
         | codes.INHIBIT_CLOCK | codes.INHIBIT_STORAGE)


class Control:
    """One element's control loop. Everything it needs is handed in; `step` is one tick.

    profile is None until the element is enrolled; without it nothing ever conducts. held: inhibit
    bits that others set, for what the control step cannot see itself (flash that does not take).
    """

    def __init__(self, hal, driver, stage, interlock, lease, clock):
        self._hal = hal
        self._driver = driver
        self.stage = stage
        self._interlock = interlock
        self._lease = lease
        self._clock = clock
        self.profile = None
        self.held = 0
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
        self._zero_bad_ms = 0
        self._power_bad_ms = 0
        self._fets_bad_ms = 0

    def step(self, now_ms: int, dt_ms: int) -> None:
        """Run one tick: now_ms is its start, dt_ms the time since the last one."""
        reading = self._driver.reading
        profile = self.profile
        interlock = self._interlock
        self.sense_ma = clamp(self._hal.sense_ma(), -SENSE_MA_MAX, SENSE_MA_MAX)
        if not self.conducting:
            self._rested_ms = min(self._rested_ms + dt_ms, _RESTED_MS_MAX)
        if profile is None:
            self.inhibits = codes.INHIBIT_NOT_ENROLLED
            self._rest(codes.STATE_UNENROLLED)
            return
        self._sense(profile, reading, now_ms)
        self._watch(profile, reading)
        live = self._lease.update(now_ms)
        # a trip that came and was released between two ticks costs the lease all the same
        tripped = interlock.tripped or interlock.trip_count != self._trips_seen
        self._trips_seen = interlock.trip_count
        if tripped or self.inhibits & _HARD:
            self._rest(codes.STATE_TRIPPED if tripped else codes.STATE_INHIBITED)
        else:
            self._drive(profile, reading, live, dt_ms)
        self._prove(profile, reading, dt_ms)
        if interlock.tripped and self.state != codes.STATE_TRIPPED:
            self._rest(codes.STATE_TRIPPED)  # the proof just failed: not one tick more
        self.realized_mw = self._realized_mw(reading)

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
        self.inhibits = inhibits

    def _watch(self, profile, reading) -> None:
        """Latch what must not be: the input, the current by either measurement, the cells."""
        interlock = self._interlock
        if not self._hal.interlock_ok():
            interlock.trip(codes.TRIP_INPUT)
        cause, value, limit = limits.over_current(profile, self.sense_ma)
        if cause != codes.TRIP_NONE:
            interlock.trip(cause, value, limit)
        if not self.is_fresh:
            return
        # the BMS measures for itself: a sensor stuck at a harmless value hides nothing
        cause, value, limit = limits.over_current(profile, reading.current_ma)
        if cause == codes.TRIP_NONE:
            cause, value, limit = limits.hazard(profile, reading)
        if cause != codes.TRIP_NONE:
            interlock.trip(cause, value, limit)

    def hazard_persists(self) -> bool:
        """Return True while the cause of a trip is still there, as far as it can be seen."""
        if self.profile is None or not self._hal.interlock_ok() or not self.is_fresh:
            return True
        # a hold, an unknown current, or a proof that is failing at this moment
        if self.held or self.inhibits & codes.INHIBIT_STALE:
            return True
        if self._zero_bad_ms or self._fets_bad_ms:
            return True
        reading = self._driver.reading
        for current_ma in (self.sense_ma, reading.current_ma):
            if limits.over_current(self.profile, current_ma)[0] != codes.TRIP_NONE:
                return True
        return limits.hazard(self.profile, reading)[0] != codes.TRIP_NONE

    def _drive(self, profile, reading, live: bool, dt_ms: int) -> None:
        """Follow the lease at the permitted ramp, or go to zero at the lease's own.

        Zero at the lease's ramp is also the answer to a limit: neither the profile's ramp nor an
        on/off stage's minimum time may prolong what the cells no longer allow.
        """
        lease_mw = self._lease.power_mw if live else 0
        loss_mw = self.stage.pack_mw_of(lease_mw) - lease_mw
        target_mw = limits.permitted_mw(profile, reading, lease_mw, loss_mw)
        limited = target_mw != lease_mw
        leaving = not live or (limited and target_mw == 0)
        if self._forbidden(profile, reading, self.instructed_mw):
            limited = leaving = True
        # at zero the stage still lives off the pack: an empty one gets rest instead
        empty = not profile.step_mw and self._forbidden(profile, reading, 1)
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

    @staticmethod
    def _forbidden(profile, reading, power_mw: int) -> bool:
        """Return True when the cells allow no power in the direction of power_mw now."""
        return limits.direction(profile, reading, power_mw)[0] != codes.REASON_NONE

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
        out = self.stage.step(self.instructed_mw, reading.pack_mv, self.sense_ma, dt_ms)
        if self._forbidden(profile, reading, out.commanded_mw):
            # the stage is in a minimum time that outlasts the permission
            self.inhibits |= codes.INHIBIT_LIMIT
            out = self.stage.zero()
        driver.want_fets(out.fets)
        if out.enable and driver.fets_proven and reading.fets == out.fets:
            self._hal.duty_set(out.duty_permille)
            self._hal.enable_set(True)
            self.enabled_mw = out.commanded_mw
        else:
            self._off()
            if out.enable:
                self.stage.withheld()

    def _off(self) -> None:
        self._hal.enable_set(False)
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

    def _prove(self, profile, reading, dt_ms: int) -> None:
        """Trip when outputs and measurement disagree for longer than their proof time.

        Three proofs: no current at rest; FETs as wanted; the commanded power, neither much less
        nor much more nor the other way round.
        """
        full_ma = max(profile.current_ma_discharge_max, profile.current_ma_charge_max)
        at_rest = self.enabled_mw == 0
        self._zero_bad_ms = self._bad_ms(
            self._zero_bad_ms, at_rest and abs(self.sense_ma) > full_ma // 50 + 300, dt_ms
        )
        wanted = self._driver.fets_wanted
        self._fets_bad_ms = self._bad_ms(
            self._fets_bad_ms,
            self.is_fresh and reading.fets != wanted, dt_ms,
        )
        self._power_bad_ms = self._bad_ms(
            self._power_bad_ms, not at_rest and self._power_is_wrong(profile, reading), dt_ms
        )
        if self._zero_bad_ms > ZERO_PROOF_MS:
            self._interlock.trip(codes.TRIP_NOT_ACTUATED, self.sense_ma, 0)
        elif self._power_bad_ms > POWER_PROOF_MS:
            self._interlock.trip(codes.TRIP_NOT_ACTUATED, self.sense_ma, self.enabled_mw)
        elif self._fets_bad_ms > FETS_PROOF_MS:
            self._interlock.trip(codes.TRIP_NOT_ACTUATED, reading.fets, wanted)

    def _power_is_wrong(self, profile, reading) -> bool:
        """Return True while an enabled stage does something else than it was told."""
        full_mw = max(profile.power_mw_discharge_max, profile.power_mw_charge_max)
        realized_mw = self.stage.realized_mw(reading.pack_mv, self.sense_ma)
        enabled_mw = self.enabled_mw
        margin_mw = full_mw // 4 + power_mw(reading.pack_mv, 1000)
        if abs(realized_mw - enabled_mw) > margin_mw:
            return True
        if enabled_mw < 0:
            realized_mw = -realized_mw
            enabled_mw = -enabled_mw
        return enabled_mw > full_mw // 5 and realized_mw < enabled_mw // 4

    @staticmethod
    def _bad_ms(so_far_ms: int, bad: bool, dt_ms: int) -> int:
        return so_far_ms + dt_ms if bad else 0

    def _realized_mw(self, reading) -> int:
        """Return the power at the PCC in mW that the sensed current means; 0 at rest."""
        if self.enabled_mw == 0 and abs(self.sense_ma) < 200:
            return 0  # the sensor's offset is not energy
        realized_mw = self.stage.realized_mw(reading.pack_mv, self.sense_ma)
        return clamp(realized_mw, -POWER_MW_MAX, POWER_MW_MAX)
