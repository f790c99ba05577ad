"""A setpoint or a trip brings the next control tick forward; a flood of them stops nothing."""

from element_bench import Element
from fakes import in_folder

from element.control import EARLY_MS_MIN, PERIOD_MS
from element.protocol import codes, schema


def ticks_of(one):
    """Return a list to which every tick of this element adds its time."""
    times = []
    feed = one.hal.watchdog_feed

    def noted():
        times.append(one.hal.now_ms)
        feed()

    one.hal.watchdog_feed = noted
    return times


def just_after_a_tick(one, times):
    """Let time pass until EARLY_MS_MIN after a tick of the grid."""
    count = len(times)
    while len(times) == count:
        one.run(1)
    one.run(EARLY_MS_MIN)


def test_a_setpoint_acts_at_once_and_the_grid_stays():
    def body():
        one = Element().ready().at_power()
        times = ticks_of(one)
        one.run(3 * PERIOD_MS)
        just_after_a_tick(one, times)
        grid = times[-1]
        asked = one.hal.now_ms
        assert one.setpoint(1_200_000)["accepted"]
        early = [time for time in times if time > grid]
        assert early and early[0] - asked <= 5
        assert one.agent.control.instructed_mw > 1_000_000
        one.run(5 * PERIOD_MS)
        for number in range(1, 5):
            assert grid + number * PERIOD_MS in times
        assert one.agent.late_ms_max <= 1

    in_folder("early_setpoint", body)


def test_a_setpoint_that_begins_later_acts_when_it_begins():
    def body():
        one = Element().ready().at_power()
        times = ticks_of(one)
        one.run(3 * PERIOD_MS)
        just_after_a_tick(one, times)
        begins = one.hal.now_ms + 47
        one.setpoint(1_200_000, start_ms=47)
        assert one.agent.control.instructed_mw == 1_000_000
        one.run(60)
        assert any(begins <= time <= begins + 2 for time in times)
        assert one.agent.control.instructed_mw > 1_000_000

    in_folder("early_start", body)


def test_a_trip_acts_at_once():
    def body():
        one = Element().ready().at_power()
        times = ticks_of(one)
        one.run(2 * PERIOD_MS)
        just_after_a_tick(one, times)
        asked = one.hal.now_ms
        one.host.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 2})
        one.run(10)
        assert not one.hal.enabled
        assert one.hal.enable_log[-1][0] - asked <= 5

    in_folder("early_trip", body)


def test_a_flood_of_messages_brings_no_more_than_one_tick_in_the_shortest_time():
    def body():
        one = Element().ready().at_power()
        times = ticks_of(one)
        polls = one.agent.driver.exchange_count
        for number in range(300):
            one.sequence += 1
            one.host.send(schema.SETPOINT, {
                "dispatch_id": 7, "sequence": one.sequence, "power_mw": 1_000_000 + number,
                "service": 1, "start_unix_ms": one.unix_ms, "lease_ms": 1500})
            one.host.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 9})
            one.run(2)
        gaps = [times[index] - times[index - 1] for index in range(1, len(times))]
        assert min(gaps) >= EARLY_MS_MIN
        assert len(times) <= 600 // EARLY_MS_MIN + 2
        # the BMS is still asked while all that comes in
        assert one.agent.driver.exchange_count > polls
        assert one.agent.control.state == codes.STATE_ACTIVE

    in_folder("early_flood", body)
