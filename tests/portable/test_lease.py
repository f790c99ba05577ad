"""Check the lease: start, end, replacement, a late start, and the wrap of the counter."""

from fakes import WRAP, FakeHAL

from element.lease import PENDING_MAX, Lease

HAL = FakeHAL()
STARTS = (0, 1000, WRAP // 2 - 500, WRAP - 1, WRAP - 500)
SERVICE = 1


def at(base, offset):
    return (base + offset) % WRAP


def test_a_lease_begins_and_ends_on_its_millisecond():
    for base in STARTS:
        lease = Lease(HAL.ticks_diff)
        assert lease.offer(7, 5000, at(base, 100), at(base, 1100), SERVICE)
        for offset, live in ((0, False), (99, False), (100, True), (600, True), (1099, True),
                             (1100, False), (1101, False), (5000, False)):
            assert lease.update(at(base, offset)) is live, (base, offset)
            assert lease.power_mw == (5000 if live else 0)
        assert lease.dispatch_id == 7 and lease.expired_count == 1


def test_a_late_start_has_what_is_left():
    lease = Lease(HAL.ticks_diff)
    lease.offer(1, 5000, at(0, -900), at(0, 100), SERVICE)
    assert lease.update(0) and lease.update(99)
    assert not lease.update(100)


def test_a_setpoint_that_is_over_never_lives():
    lease = Lease(HAL.ticks_diff)
    lease.offer(1, 5000, at(0, -900), at(0, -1), SERVICE)
    assert not lease.update(0) and lease.power_mw == 0


def test_the_newer_setpoint_replaces_from_its_start():
    lease = Lease(HAL.ticks_diff)
    lease.offer(1, 5000, 0, 2000, SERVICE)
    assert lease.update(10) and lease.power_mw == 5000
    lease.offer(2, -3000, 500, 1000, SERVICE)
    assert lease.update(499) and lease.power_mw == 5000 and lease.dispatch_id == 1
    assert lease.update(500) and lease.power_mw == -3000 and lease.dispatch_id == 2
    # the one before it is gone, also when it would have lasted longer
    assert not lease.update(1000) and lease.power_mw == 0


def test_an_earlier_start_removes_what_would_begin_later():
    lease = Lease(HAL.ticks_diff)
    lease.offer(1, 5000, 1000, 2000, SERVICE)
    lease.offer(2, 0, 100, 300, SERVICE)  # stop
    lease.update(150)
    assert lease.live and lease.power_mw == 0
    for now in range(300, 3000, 50):
        assert not lease.update(now)


def test_setpoints_sent_ahead_do_not_postpone_themselves():
    # every 100 ms one that begins 250 ms later: overwriting the pending one would starve all
    lease = Lease(HAL.ticks_diff)
    lived = 0
    for step in range(50):
        now = at(WRAP - 2000, 100 * step)
        assert lease.offer(step + 1, 1000 + step, at(now, 250), at(now, 1250), SERVICE)
        lived += lease.update(now)
    assert lived >= 45
    assert lease.power_mw == 1000 + 49 - 3


def test_pending_is_bounded_and_says_so():
    lease = Lease(HAL.ticks_diff)
    for index in range(PENDING_MAX):
        assert lease.offer(index + 1, 1000, 100 * (index + 1), 5000, SERVICE)
    assert not lease.offer(99, 1000, 5000, 6000, SERVICE)
    # a stop that comes first is never crowded out
    assert lease.offer(100, 0, 50, 60, SERVICE)
    lease.update(55)
    assert lease.power_mw == 0 and lease.dispatch_id == 100
    assert not lease.update(700)


def test_drop_forgets_all():
    lease = Lease(HAL.ticks_diff)
    lease.offer(1, 5000, 0, 2000, SERVICE)
    lease.offer(2, 6000, 100, 2000, SERVICE)
    lease.update(0)
    lease.drop()
    assert not lease.live and lease.power_mw == 0
    assert not lease.update(150)


def test_only_an_end_with_power_counts_as_expired():
    lease = Lease(HAL.ticks_diff)
    lease.offer(1, 0, 0, 100, SERVICE)
    lease.update(0)
    lease.update(100)
    assert lease.expired_count == 0
    lease.offer(2, 5, 200, 300, SERVICE)
    lease.update(200)
    lease.update(300)
    lease.update(400)
    assert lease.expired_count == 1
    lease.offer(3, 5, 500, 600, SERVICE)
    lease.update(500)
    lease.drop()
    lease.update(600)
    assert lease.expired_count == 1
