"""Zones in alarm: the first cause is kept, inputs end nothing, releases end what is quiet."""

from element.protocol import codes
from host_tools.interlock.alarms import BUILDING, ZONES_MAX, Alarms


def test_an_alarm_keeps_its_first_cause_and_is_not_ended_by_a_quiet_input() -> None:
    alarms = Alarms()
    assert alarms.begin(3, 10, "detector 7", codes.TRIP_FIRE, True)
    assert not alarms.begin(3, 20, "api", codes.TRIP_OPERATOR)
    alarm = alarms.of(3)
    assert alarm is not None and (alarm.source, alarm.since_ms) == ("detector 7", 10)
    assert [one.zone for one in alarms.release()] == [3]  # still on: nothing ends it
    alarms.quiet(3)
    assert alarms.of(3) is not None
    assert alarms.release() == [] and alarms.of(3) is None


def test_the_building_holds_every_zone_and_one_zone_no_other() -> None:
    alarms = Alarms()
    alarms.begin(2, 0, "a")
    assert alarms.of(1) is None
    alarms.begin(BUILDING, 5, "b")
    assert alarms.of(1) is not None and alarms.of(2) is not None
    alarms.release(BUILDING)
    assert alarms.of(1) is None and alarms.of(2) is not None
    assert [one.zone for one in alarms.all()] == [2]


def test_an_input_that_comes_on_later_has_to_be_quiet_too() -> None:
    alarms = Alarms()
    alarms.begin(1, 0, "api")
    alarms.begin(1, 5, "input", input_on=True)
    assert [one.zone for one in alarms.release()] == [1]
    alarms.quiet(1)
    assert alarms.release() == []


def test_more_zones_than_there_is_room_for_are_the_building() -> None:
    alarms = Alarms()
    for zone in range(1, ZONES_MAX + 1):
        alarms.begin(zone, 0, "a")
    alarms.begin(60_000, 1, "b")
    assert alarms.of(61_000) is not None
