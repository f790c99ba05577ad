"""Check the clock: never set, set, corrected, stepped, carried over the wrap, absurd times."""

from fakes import WRAP, FakeHAL

from element.clock import STEP_MS_MAX, UNIX_MS_MAX, UNIX_MS_MIN, Clock

NOW = 1_767_225_600_000
TIME_MAX = 4_102_444_800_000  # the contract's last time


def test_a_clock_that_was_never_set():
    clock = Clock(FakeHAL())
    assert not clock.is_set
    assert clock.unix_ms(0) == 0 and clock.unix_ms(12345) == 0
    assert clock.ticks_of(NOW, 5000) is None
    clock.keep(5)
    assert not clock.is_set


def test_time_goes_on():
    hal = FakeHAL()
    clock = Clock(hal)
    assert clock.set(NOW) and clock.is_set
    assert clock.unix_ms(hal.ticks_ms()) == NOW
    hal.now_ms += 12_345
    assert clock.unix_ms(hal.ticks_ms()) == NOW + 12_345


def test_a_small_correction_is_silent_and_a_step_is_counted():
    for difference, steps in ((0, 0), (STEP_MS_MAX, 0), (-STEP_MS_MAX, 0),
                              (STEP_MS_MAX + 1, 1), (-STEP_MS_MAX - 1, 1), (86_400_000, 1)):
        hal = FakeHAL()
        clock = Clock(hal)
        clock.set(NOW)
        assert clock.step_count == 0
        hal.now_ms += 1000
        clock.set(NOW + 1000 + difference)
        assert clock.step_count == steps, difference
        assert clock.unix_ms(hal.ticks_ms()) == NOW + 1000 + difference


def test_absurd_times_are_refused():
    hal = FakeHAL()
    clock = Clock(hal)
    for wrong in (0, 1, -1, UNIX_MS_MIN - 1, UNIX_MS_MAX + 1, TIME_MAX):
        assert not clock.set(wrong) and not clock.is_set
    assert clock.set(UNIX_MS_MIN)
    assert clock.set(UNIX_MS_MAX)
    assert not clock.set(0)
    assert clock.unix_ms(hal.ticks_ms()) == UNIX_MS_MAX


def test_time_stays_in_the_contracts_range():
    hal = FakeHAL()
    clock = Clock(hal)
    clock.set(UNIX_MS_MAX)
    for _ in range(5000):
        hal.now_ms += 50_000
        clock.keep(hal.ticks_ms())
        assert 0 < clock.unix_ms(hal.ticks_ms()) <= TIME_MAX


def test_weeks_without_a_time_sync_do_not_turn_time_back():
    hal = FakeHAL(WRAP - 5000)
    clock = Clock(hal)
    clock.set(NOW)
    begin = hal.now_ms
    before = NOW
    for _ in range(30_000):  # 30,000 minutes are three weeks, nearly two turns of the counter
        hal.now_ms += 60_001
        clock.keep(hal.ticks_ms())
        now = clock.unix_ms(hal.ticks_ms())
        assert now > before
        before = now
    assert hal.now_ms - begin > WRAP
    assert before == NOW + hal.now_ms - begin and clock.step_count == 0


def test_ticks_of():
    for base in (1000, WRAP - 3000):
        hal = FakeHAL(base)
        clock = Clock(hal)
        clock.set(NOW)
        for offset in (-5000, -1, 0, 1, 4999, 5000):
            ticks = clock.ticks_of(NOW + offset, 5000)
            assert hal.ticks_diff(ticks, hal.ticks_ms()) == offset and 0 <= ticks < WRAP
        for offset in (-5001, 5001, 10**12, -(10**12)):
            assert clock.ticks_of(NOW + offset, 5000) is None
