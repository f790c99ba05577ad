"""Check a new firmware on trial in the whole element: element.trial and element.service."""

import os

from element_bench import Element
from fakes import in_folder
from test_agent import statements
from typist import Typist

import slots
from element import version
from element.protocol import codes, schema
from element.trial import HEALTHY_TICKS, TRIAL_MS_MAX, Trial


def on_trial(name, body):
    """Run body(element before the update, already enrolled) in a folder with slot b on trial."""
    def run():
        one = Element(slots=slots).ready()
        slots.write("a", "b", 1, ".")  # what the loader left when it started b
        return body(one)
    return in_folder("trial_" + name, run)


def quiet_reset(one):
    """Let a restart be counted, not raised."""
    count = []
    one.hal.reset = lambda: count.append(one.hal.now_ms)
    return count


def updates(one):
    """Return (cause, value) of every notice of an update in the chain, each once."""
    for _ in range(8):  # take what there is, so that what is behind it comes
        counters = [fields["counter"] for kind in (schema.SAFETY_EVENT, schema.EXECUTION_RECORD)
                    for fields in statements(one, kind)]
        if counters:
            one.host.send(schema.STATEMENT_ACK, {"counter": max(counters)})
        one.run(300)
    found = {event["counter"]: (event["cause"], event["value"])
             for event in statements(one, schema.SAFETY_EVENT)
             if event["cause"] in (codes.NOTICE_UPDATE, codes.NOTICE_ROLLBACK)}
    return [found[counter] for counter in sorted(found)]


def slot_of(one):
    return next(line[10:] for line in Typist(one).say("status") if line.startswith("slot "))


class Identity:
    def __init__(self, has_grant=True, enrolled=True):
        self.has_grant = has_grant
        self.enrolled = enrolled


class Clock:
    """A hal's time."""

    def __init__(self):
        self.now = 0

    def ticks_ms(self):
        return self.now

    def ticks_diff(self, later, earlier):
        return later - earlier


def test_healthy_is_so_many_good_ticks_in_a_row():
    for bad in (None, (False, True), (True, False)):
        trial = Trial(Clock(), Identity(), slots)
        for tick in range(HEALTHY_TICKS - 1):
            assert trial.tick(tick * 100, True, True) and not trial.over
        if bad is not None:  # one bad tick and the count begins anew
            assert trial.tick(5000, *bad) and not trial.over
            for tick in range(HEALTHY_TICKS - 1):
                assert trial.tick(5100 + tick * 100, True, True) and not trial.over
        assert trial.tick(10_000, True, True) and trial.over


def test_a_credential_that_is_not_accepted_is_not_healthy():
    for has_grant, enrolled, healthy in ((True, True, True), (False, False, True),
                                         (True, False, False)):
        trial = Trial(Clock(), Identity(has_grant, enrolled), slots)
        for tick in range(HEALTHY_TICKS + 5):
            assert trial.tick(tick * 100, True, True)
        assert trial.over is healthy, (has_grant, enrolled)


def test_the_time_is_up_at_its_end_and_not_before():
    trial = Trial(Clock(), Identity(), slots)
    assert trial.tick(TRIAL_MS_MAX - 1, False, True)
    assert not trial.tick(TRIAL_MS_MAX, False, True)


def test_a_healthy_firmware_is_confirmed_once_and_told_of():
    def body(one):
        two = one.restart()
        assert two.agent.service.trial is not None
        two.open()
        two.run(1500)
        assert slots.read() == ("a", "b", 1, ".") and slot_of(two) == "b, on trial"
        # power is held meanwhile
        ack = two.setpoint(100_000)
        assert not ack["accepted"] and ack["reason"] == codes.REASON_MAINTENANCE
        assert two.setpoint(0)["accepted"] and two.hal.enable_log == []
        assert two.last(schema.TELEMETRY)["inhibits"] & codes.INHIBIT_MAINTENANCE
        two.run(HEALTHY_TICKS * 100 + 1000)
        assert slots.read() == ("b", "-", 0, ".") and two.agent.service.trial is None
        assert slot_of(two) == "b"
        assert any("is healthy and stays" in line for line in two.lines)
        two.run(1500)
        assert updates(two) == [(codes.NOTICE_UPDATE, version.NUMBER)]
        two.at_power(500_000)
        # told of once: not again at the next boot
        three = two.restart().open()
        three.run(4000)
        two_three = updates(three)
        assert two_three in ([], [(codes.NOTICE_UPDATE, version.NUMBER)])
        assert len([line for line in three.lines if "healthy" in line]) == 0
        assert three.agent.service.trial is None and not three.loop.failures

    on_trial("healthy", body)


def test_the_notice_waits_for_the_clock():
    def body(one):
        two = one.restart()
        two.run(HEALTHY_TICKS * 100 + 3000)
        assert slots.read() == ("b", "-", 0, "u")
        two.open()
        two.run(2500)
        assert slots.read() == ("b", "-", 0, ".")
        assert updates(two) == [(codes.NOTICE_UPDATE, version.NUMBER)]

    on_trial("clock", body)


def test_a_firmware_that_is_not_healthy_restarts_and_is_given_up():
    def body(one):
        two = one.restart()
        resets = quiet_reset(two)
        two.bms.silent = True
        began = two.hal.now_ms
        two.open()
        two.run(TRIAL_MS_MAX + 1000)
        assert resets and abs(resets[0] - began - TRIAL_MS_MAX) < 500
        assert any("not healthy: going back" in line for line in two.lines)
        assert slots.read() == ("a", "b", 1, ".") and two.hal.enable_log == []
        # the loader counts: once more, then the one before is back
        assert slots.choose() == ("b", True) and slots.choose() == ("a", False)
        three = two.restart()
        three.bms.silent = False
        assert slot_of(three) == "a, an update was rolled back"
        three.open()
        three.run(2500)
        assert updates(three) == [(codes.NOTICE_ROLLBACK, version.NUMBER)]
        assert slots.read() == ("a", "-", 0, ".")
        assert not three.agent.interlock.tripped
        three.at_power(500_000)
        four = three.restart().open()
        four.run(2500)
        assert slot_of(four) == "a"

    on_trial("unhealthy", body)


def test_a_bms_that_comes_and_goes_proves_nothing():
    def body(one):
        two = one.restart()
        resets = quiet_reset(two)
        for _ in range(12):
            two.bms.silent = False
            two.run(3000)
            two.bms.silent = True
            two.run(3000)
        assert resets and slots.read()[1] == "b"

    on_trial("flapping", body)


def test_a_watchdog_reset_of_a_boot_on_trial_is_no_trip():
    for tries, note, tripped in ((2, ".", False), (1, ".", True)):
        def body(one, tries=tries, tripped=tripped):
            slots.write("a", "b", tries, ".")
            one.hal.__class__.cause_next = codes.RESET_WATCHDOG
            try:
                two = one.restart()
            finally:
                one.hal.__class__.cause_next = codes.RESET_POWER_ON
            # the first start of a candidate follows a boot of the old one, which may conduct
            assert two.agent.interlock.tripped is tripped, tries

        on_trial("watchdog%d" % tries, body)


def test_a_watchdog_reset_that_ended_the_last_try_is_no_trip_either():
    def body(one):
        slots.write("a", "-", 0, "r")
        one.hal.__class__.cause_next = codes.RESET_WATCHDOG
        try:
            two = one.restart()
            assert not two.agent.interlock.tripped
            two.open()
            two.run(2500)
            assert updates(two) == [(codes.NOTICE_ROLLBACK, version.NUMBER)]
            # the next one is the old firmware's own
            assert two.restart().agent.interlock.cause == codes.TRIP_WATCHDOG
        finally:
            one.hal.__class__.cause_next = codes.RESET_POWER_ON

    on_trial("watchdog_last", body)


def test_a_flash_that_does_not_take_the_confirmation_is_tried_again():
    def body(one):
        two = one.restart()
        two.open()
        os.mkdir(slots.STATE_FILE + ".new")
        two.run(HEALTHY_TICKS * 100 + 3000)
        assert slots.read() == ("a", "b", 1, ".") and two.agent.service.trial is not None
        assert not two.setpoint(100_000)["accepted"] and not two.loop.failures
        os.rmdir(slots.STATE_FILE + ".new")
        two.run(HEALTHY_TICKS * 100 + 3000)
        assert slots.read()[:2] == ("b", "-") and two.agent.service.trial is None

    on_trial("flash", body)


def test_what_cannot_be_written_off_as_told_stops_nothing():
    def body(one):
        slots.write("a", "-", 0, "u")
        two = one.restart()
        os.mkdir(slots.STATE_FILE + ".new")
        two.open()
        two.run(3000)
        os.rmdir(slots.STATE_FILE + ".new")
        assert not two.loop.failures and two.hal.reset_count == 0

    on_trial("note", body)


def test_a_trial_under_a_trip_neither_releases_nor_conducts():
    def body(one):
        one.agent.interlock.trip(codes.TRIP_FIRE)
        one.run(500)
        two = one.restart().open()
        two.run(HEALTHY_TICKS * 100 + 2000)
        # a control loop that holds a trip is a healthy one
        assert slots.read()[0] == "b"
        assert two.agent.interlock.cause == codes.TRIP_FIRE and two.hal.enable_log == []

    on_trial("tripped", body)


def test_maintenance_and_trial_hold_independently():
    def body(one):
        assert Typist(one).say("maintenance") == ["ok"]
        two = one.restart().open()
        two.run(HEALTHY_TICKS * 100 + 3000)
        assert two.agent.service.trial is None and slots.read()[0] == "b"
        ack = two.setpoint(100_000)
        assert not ack["accepted"] and ack["reason"] == codes.REASON_MAINTENANCE
        assert Typist(two).say("maintenance off") == ["ok"]
        two.run(500)
        two.at_power(500_000)

    on_trial("maintenance", body)
