"""What the host may ask for: setpoints and owners' limits, each admitted whole or refused."""

from . import limits
from .clock import STEP_MS_MAX
from .protocol import codes, schema

# A setpoint whose start is further from now than this was delayed or is for another day.
START_OFFSET_MS_MAX = 5000


class Admission:
    """The handlers of SETPOINT and OWNER_LIMIT. They change the lease and the owners' limits.

    wake: called when the control task has a reason to look before its next tick.
    """

    def __init__(self, hal, port, control, lease, clock, interlock, enrolment, recorder, wake):
        self._hal = hal
        self._port = port
        self._control = control
        self._lease = lease
        self._clock = clock
        self._interlock = interlock
        self._enrolment = enrolment
        self._recorder = recorder
        self._wake = wake
        self._sequence = 0
        self._sequence_session = 0
        self.refused_count = 0

    def on_setpoint(self, fields: dict) -> None:
        """Take or refuse a setpoint and say which."""
        reason, limit = self._admit(fields)
        self._answer(fields["sequence"], reason, limit)

    def on_owner_limit(self, fields: dict) -> None:
        """Take an owner's power limit; it narrows what the element may do until it ends."""
        usage = self._control.usage
        reason, limit = self._sequenced(fields["sequence"])
        if usage is None:
            reason = codes.REASON_NOT_ENROLLED
        elif reason == codes.REASON_NONE:
            end = self._hal.ticks_add(self._hal.ticks_ms(), fields["lease_ms"])
            if not usage.lend(fields["owner"], fields["power_mw_discharge_max"],
                              fields["power_mw_charge_max"], end):
                reason = codes.REASON_OWNER
        self._answer(fields["sequence"], reason, limit)

    def _answer(self, sequence: int, reason: int, limit) -> None:
        if reason != codes.REASON_NONE:
            self.refused_count += 1
            self._recorder.flag(codes.QUALITY_REFUSED)
        self._port.send(schema.ACK, {
            "sequence": sequence, "accepted": reason == codes.REASON_NONE,
            "reason": reason, "limit": limit,
        })

    def _sequenced(self, sequence: int) -> tuple:
        """Return (reason, limit) for a sequence number: it must rise within a session."""
        if self._sequence_session != self._port.session_count:
            # a host that was restarted counts from the beginning; the session keeps replays out
            self._sequence_session = self._port.session_count
            self._sequence = 0
        if sequence <= self._sequence:
            return codes.REASON_SEQUENCE, self._sequence & 0x7FFFFFFF
        self._sequence = sequence
        return codes.REASON_NONE, None

    def _admit(self, fields: dict) -> tuple:
        """Check a setpoint against everything the element knows; offer it to the lease if fit."""
        control = self._control
        profile = control.profile
        if profile is None:
            return codes.REASON_NOT_ENROLLED, None
        if not self._clock.is_set:
            return codes.REASON_CLOCK, None
        reason, limit = self._sequenced(fields["sequence"])
        if reason != codes.REASON_NONE:
            return reason, limit
        power_mw = fields["power_mw"]
        lease_ms = fields["lease_ms"]
        start = self._clock.ticks_of(fields["start_unix_ms"], START_OFFSET_MS_MAX)
        if power_mw == 0:
            self._offer_zero(fields, start)
            return codes.REASON_NONE, None
        now = self._hal.ticks_ms()
        if not self._enrolment.valid_at(self._clock.unix_ms(now)):
            return codes.REASON_NOT_ENROLLED, None
        if self._interlock.tripped:
            return codes.REASON_TRIPPED, self._interlock.cause
        reading = control.reading
        if reading.protecting:
            return codes.REASON_BMS, reading.errors
        if control.held & codes.INHIBIT_NOT_ENROLLED:
            return codes.REASON_NOT_ENROLLED, None
        if control.held & codes.INHIBIT_MAINTENANCE:
            return codes.REASON_MAINTENANCE, None
        if control.held:
            return codes.REASON_STORAGE, None
        service = fields["service"]
        reason = limits.admit_setpoint(
            profile, reading, control.usage, control.is_fresh, control.instructed_mw, power_mw,
            lease_ms, service)
        if reason != codes.REASON_NONE:
            return reason, limits.refusal_limit(
                profile, reading, control.usage, reason, power_mw, service)
        if start is None:
            return codes.REASON_LEASE, START_OFFSET_MS_MAX
        end = self._hal.ticks_add(start, lease_ms)
        left_ms = self._hal.ticks_diff(end, now)
        # it came after its own end, or reaches further ahead than power may be lent: a lost link
        # is safe a lease after the last word that came through, whatever start that word named
        if not 0 < left_ms <= profile.lease_ms_max + STEP_MS_MAX:
            return codes.REASON_LEASE, profile.lease_ms_max
        if not self._lease.offer(fields["dispatch_id"], power_mw, start, end, service):
            return codes.REASON_LEASE, None
        self._wake()
        return codes.REASON_NONE, None

    def _offer_zero(self, fields: dict, start) -> None:
        """Take a setpoint of zero, which nothing refuses: at its start, or now if that is odd."""
        now = self._hal.ticks_ms()
        if start is None:
            start = now
        end = self._hal.ticks_add(start, fields["lease_ms"])
        dispatch_id = fields["dispatch_id"]
        service = fields["service"]
        if not self._lease.offer(dispatch_id, 0, start, end, service):
            self._lease.drop()
            self._lease.offer(dispatch_id, 0, now, end, service)
        self._wake()
