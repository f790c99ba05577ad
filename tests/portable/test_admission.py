"""Check the handlers of setpoints and owners' limits: what each refusal says and leaves."""

from control_bench import NOW, Bench

from element.admission import START_OFFSET_MS_MAX, Admission
from element.clock import STEP_MS_MAX
from element.lease import PENDING_MAX
from element.protocol import codes, schema
from element.usage import OWNERS_MAX


class Port:
    """The element's end of the line: keeps what was sent."""

    def __init__(self):
        self.session_count = 1
        self.sent = []

    def send(self, kind, fields):
        self.sent.append((kind, fields))


class Enrolment:
    """A credential that is valid until it is not."""

    valid = True

    def valid_at(self, unix_ms):
        assert unix_ms > 0
        return self.valid


class Recorder:
    """Keeps the flags of the interval."""

    flags = 0

    def flag(self, quality):
        self.flags |= quality


class Desk:
    """An admission on a control loop in memory."""

    def __init__(self, **changes):
        self.bench = Bench(**changes)
        self.bench.tick(2)
        self.port = Port()
        self.enrolment = Enrolment()
        self.recorder = Recorder()
        self.woken = 0
        self.sequence = 0
        self.admission = Admission(
            self.bench.hal, self.port, self.bench.control, self.bench.lease, self.bench.clock,
            self.bench.interlock, self.enrolment, self.recorder, self.wake)

    def wake(self):
        self.woken += 1

    def setpoint(self, power_mw, lease_ms=1000, start_ms=0, sequence=None, dispatch_id=7):
        """Ask for power and return (reason, limit) of the one answer."""
        self.sequence += 1
        number = self.sequence if sequence is None else sequence
        now = self.bench.clock.unix_ms(self.bench.hal.ticks_ms())
        return self.answer(self.admission.on_setpoint, {
            "dispatch_id": dispatch_id, "sequence": number, "power_mw": power_mw, "service": 1,
            "start_unix_ms": (now or NOW) + start_ms, "lease_ms": lease_ms}, number)

    def lend(self, owner, discharge_mw, charge_mw, sequence=None):
        self.sequence += 1
        number = self.sequence if sequence is None else sequence
        return self.answer(self.admission.on_owner_limit, {
            "sequence": number, "owner": owner, "power_mw_discharge_max": discharge_mw,
            "power_mw_charge_max": charge_mw, "lease_ms": 1000}, number)

    def answer(self, handler, fields, number):
        refused_count = self.admission.refused_count
        woken = self.woken
        self.recorder.flags = 0
        self.port.sent = []
        handler(fields)
        (kind, ack), = self.port.sent
        refused = ack["reason"] != codes.REASON_NONE
        # an answer, the count, the flag in the record and the wake-up agree with each other
        assert kind == schema.ACK and ack["sequence"] == number
        assert ack["accepted"] is not refused
        assert self.admission.refused_count == refused_count + refused
        assert self.recorder.flags == (codes.QUALITY_REFUSED if refused else 0)
        if handler == self.admission.on_setpoint:
            assert self.woken == woken + (not refused)
        return ack["reason"], ack["limit"]

    def in_force(self):
        lease = self.bench.lease
        live = lease.update(self.bench.hal.ticks_ms())
        return live, lease.power_mw, lease.dispatch_id


ADMITTED = (codes.REASON_NONE, None)


def test_a_setpoint_is_in_force_from_its_start():
    desk = Desk()
    assert desk.setpoint(1_000_000) == ADMITTED
    assert desk.in_force() == (True, 1_000_000, 7)
    assert desk.setpoint(500_000, start_ms=200, dispatch_id=8) == ADMITTED
    assert desk.in_force() == (True, 1_000_000, 7)
    desk.bench.hal.now_ms += 200
    assert desk.in_force() == (True, 500_000, 8)


def test_without_a_profile_nothing_is_taken_and_no_sequence_is_spent():
    desk = Desk()
    profile, usage = desk.bench.control.profile, desk.bench.control.usage
    desk.bench.control.profile = desk.bench.control.usage = None
    for power in (1000, -1000, 0):
        assert desk.setpoint(power, sequence=5) == (codes.REASON_NOT_ENROLLED, None)
    assert desk.lend("owner", 1, 1, sequence=1) == (codes.REASON_NOT_ENROLLED, None)
    assert desk.in_force() == (False, 0, 0)
    desk.bench.control.profile, desk.bench.control.usage = profile, usage
    assert desk.setpoint(1000, sequence=5) == ADMITTED


def test_a_sequence_rises_within_a_session_whatever_became_of_its_setpoints():
    desk = Desk()
    assert desk.setpoint(1000, sequence=5) == ADMITTED
    for sequence in (5, 4, 0):
        assert desk.setpoint(2000, sequence=sequence) == (codes.REASON_SEQUENCE, 5)
        assert desk.setpoint(0, sequence=sequence) == (codes.REASON_SEQUENCE, 5)
        assert desk.lend("owner", 1, 1, sequence=sequence) == (codes.REASON_SEQUENCE, 5)
    assert desk.bench.control.usage.owner_of(1) == ""
    assert desk.setpoint(9_000_000, sequence=6)[0] == codes.REASON_POWER
    assert desk.setpoint(2000, sequence=6) == (codes.REASON_SEQUENCE, 6)
    assert desk.in_force()[1] == 1000
    desk.port.session_count += 1
    assert desk.setpoint(2000, sequence=1) == ADMITTED
    # the limit is a signed number of 32 bits at most
    assert desk.setpoint(2000, sequence=0xFFFFFFFF) == ADMITTED
    assert desk.setpoint(2000, sequence=3) == (codes.REASON_SEQUENCE, 0x7FFFFFFF)


def test_each_reason_in_its_order_and_zero_past_all_of_them():
    desk = Desk()
    bench = desk.bench
    reading = bench.driver.reading
    reasons = []

    def now_refuses(reason, limit):
        assert desk.setpoint(1000) == (reason, limit), reason
        assert desk.setpoint(0) == ADMITTED
        reasons.append(reason)

    # each stands in front of those before it
    bench.control.is_fresh = False
    now_refuses(codes.REASON_STALE, 2000)
    bench.control.held = codes.INHIBIT_STORAGE
    now_refuses(codes.REASON_STORAGE, None)
    reading.protecting, reading.errors = True, 0x42
    now_refuses(codes.REASON_BMS, 0x42)
    bench.interlock.trip(codes.TRIP_FIRE)
    now_refuses(codes.REASON_TRIPPED, codes.TRIP_FIRE)
    desk.enrolment.valid = False
    now_refuses(codes.REASON_NOT_ENROLLED, None)
    assert len(reasons) == 5
    unset = Desk()
    unset.bench.clock._base_unix_ms = None
    assert unset.setpoint(1000, sequence=1) == (codes.REASON_CLOCK, None)
    assert unset.setpoint(0, sequence=1) == (codes.REASON_CLOCK, None)


def test_a_start_too_far_off_and_a_lease_that_is_over_or_reaches_too_far():
    lease_ms_max = 5000
    refused = (codes.REASON_LEASE, lease_ms_max)
    for lease_ms, start_ms, expected in (
        (1000, -START_OFFSET_MS_MAX - 1, (codes.REASON_LEASE, START_OFFSET_MS_MAX)),
        (1000, START_OFFSET_MS_MAX + 1, (codes.REASON_LEASE, START_OFFSET_MS_MAX)),
        (1000, -1000, refused), (1000, -999, ADMITTED), (5000, -4999, ADMITTED),
        (5000, STEP_MS_MAX, ADMITTED), (5000, STEP_MS_MAX + 1, refused),
        (500, 5000, ADMITTED), (501, 5000, refused),
    ):
        desk = Desk()
        assert desk.setpoint(1000, lease_ms, start_ms) == expected, (lease_ms, start_ms)


def test_when_too_many_wait_power_is_refused_and_zero_clears_them():
    desk = Desk()
    for index in range(PENDING_MAX):
        assert desk.setpoint(1000 + index, 1000, start_ms=100 * (index + 1)) == ADMITTED
    assert desk.setpoint(2000, 1000, start_ms=1000) == (codes.REASON_LEASE, None)
    # one that begins earlier takes the place of those behind it
    assert desk.setpoint(900_000, 4000) == ADMITTED
    assert desk.in_force() == (True, 900_000, 7)
    for index in range(PENDING_MAX):
        assert desk.setpoint(1000 + index, 1000, start_ms=100 * (index + 1)) == ADMITTED
    # zero at the end of a full queue is not the one that waits: it is in force now, and alone
    assert desk.setpoint(0, 1000, start_ms=1000, dispatch_id=9) == ADMITTED
    assert desk.in_force() == (True, 0, 9)
    desk.bench.hal.now_ms += 450
    assert desk.in_force() == (True, 0, 9)
    assert desk.bench.lease.next_start_ms is None
    # and until the end that it named
    desk.bench.hal.now_ms += 1549
    assert desk.in_force() == (True, 0, 9)
    desk.bench.hal.now_ms += 1
    assert desk.in_force() == (False, 0, 9)


def test_zero_begins_at_its_start_or_now_where_that_is_out_of_reach():
    for start_ms in (-START_OFFSET_MS_MAX - 1, START_OFFSET_MS_MAX + 1, 86_400_000):
        desk = Desk()
        assert desk.setpoint(1_000_000, 5000) == ADMITTED
        assert desk.in_force()[1] == 1_000_000
        assert desk.setpoint(0, 1000, start_ms, dispatch_id=8) == ADMITTED
        assert desk.in_force() == (True, 0, 8)
    desk = Desk()
    assert desk.setpoint(1_000_000, 5000) == ADMITTED
    assert desk.in_force()[1] == 1_000_000
    assert desk.setpoint(0, 1000, 300, dispatch_id=8) == ADMITTED
    assert desk.in_force() == (True, 1_000_000, 7)
    desk.bench.hal.now_ms += 300
    assert desk.in_force() == (True, 0, 8)


def test_an_owners_limit_is_taken_until_its_end_and_one_owner_too_many_is_refused():
    desk = Desk()
    usage = desk.bench.control.usage
    assert desk.lend("first", 300_000, 200_000) == ADMITTED
    assert (usage.owner_mw_discharge, usage.owner_mw_charge) == (300_000, 200_000)
    assert desk.setpoint(300_001) == (codes.REASON_OWNER, 300_000)
    assert desk.setpoint(-200_001) == (codes.REASON_OWNER, -200_000)
    for index in range(OWNERS_MAX - 1):
        assert desk.lend("other %d" % index, 400_000, 400_000) == ADMITTED
    assert desk.lend("one more", 1, 1) == (codes.REASON_OWNER, None)
    assert (usage.owner_mw_discharge, usage.owner_mw_charge) == (300_000, 200_000)
    desk.bench.tick(11)
    assert desk.setpoint(300_001) == ADMITTED
