"""Check what an element tells of itself: unknown is None, ready is honest, flags are earned."""

from control_bench import Bench

from element import limits
from element.bms.base import LINK_LOST, LINK_NEVER, LINK_UP
from element.protocol import codes
from element.telemetry import telemetry_fields

FROM_PACK = ("pack_mv", "soc_bp", "temperature_mdegc_max", "fets", "bms_errors")
FROM_CELLS = ("cell_mv_min", "cell_mv_max", "cell_index_min", "cell_index_max")
FROM_ESTIMATOR = ("soc_bp_low", "soc_bp_high", "soc_bp_doubt")


class Counts:
    """Whatever counts one thing."""

    refused_count = 30
    dropped_count = 5


class Told:
    """What `telemetry_fields` looks at, around a control loop in memory."""

    def __init__(self, **changes):
        self.bench = Bench(**changes)
        self.hal = self.bench.hal
        self.control = self.bench.control
        self.driver = self.bench.driver
        self.interlock = self.bench.interlock
        self.clock = self.bench.clock
        self.admission = self.port = Counts()
        self.refused_count = 4
        self.late_ms_max = 17
        self.driver.lost_count = 2
        self.driver.link_state = LINK_UP
        self.driver.last_error = ""

    def fields(self):
        return telemetry_fields(self, self.hal.ticks_ms())

    def ready(self):
        fields = self.fields()
        return fields["power_mw_discharge_ready"], fields["power_mw_charge_ready"]


def ticked(**changes):
    told = Told(**changes)
    told.bench.tick(2)
    return told


def test_what_the_bms_has_not_said_is_none_group_by_group():
    told = ticked()
    reading = told.driver.reading
    for names, group in ((FROM_PACK, "valid"), (FROM_CELLS, "cells_valid")):
        fields = told.fields()
        for name in names:
            value = reading.errors if name == "bms_errors" else getattr(reading, name)
            assert fields[name] == value and value is not None, name
        setattr(reading, group, False)
        fields = told.fields()
        for name in names:
            assert fields[name] is None, name
        setattr(reading, group, True)
    assert told.fields()["bms_age_ms"] == told.fields()["cells_age_ms"] == 0
    told.hal.now_ms += 700
    assert told.fields()["bms_age_ms"] == told.fields()["cells_age_ms"] == 700


def test_the_room_of_the_envelopes_is_what_the_limits_say():
    told = ticked()
    profile, usage = told.control.profile, told.control.usage
    for sign, name in ((1, "room_mwh_discharge"), (-1, "room_mwh_charge")):
        room_mwh = limits.room_mwh(profile, usage, sign, codes.SERVICE_REGULATION)
        assert told.fields()[name] == room_mwh > 0
    usage.day.add_mwh(profile.day_mwh_max or 1_000_000_000)
    profile.day_mwh_max = usage.day.total_mwh
    fields = told.fields()
    assert fields["room_mwh_discharge"] == fields["room_mwh_charge"] == 0
    stranger = Told()
    stranger.control.profile = None
    fields = stranger.fields()
    assert fields["room_mwh_discharge"] == fields["room_mwh_charge"] == 0


def test_the_estimate_is_none_until_there_is_one():
    told = Told()
    for name in FROM_ESTIMATOR:
        assert told.fields()[name] is None
    told.bench.tick()
    fields = told.fields()
    # the BMS says 50 %, give or take 10 until the cells have rested
    assert 3999 <= 5000 - fields["soc_bp_doubt"] <= 4001
    assert fields["soc_bp_low"] <= 5000 <= fields["soc_bp_high"]
    told.control.estimator.doubt_bp = 10_001
    assert told.fields()["soc_bp_doubt"] == 10_000
    stranger = Told()
    stranger.control.profile = stranger.control.usage = stranger.control.estimator = None
    for name in FROM_ESTIMATOR:
        assert stranger.fields()[name] is None
    assert stranger.ready() == (0, 0) and stranger.fields()["flags"] == 0


def test_each_flag_alone():
    told = ticked()
    assert told.fields()["flags"] == 0
    estimator = told.control.estimator
    for owner, name, flag in (
        (estimator, "in_doubt", codes.FLAG_SOC_DOUBT),
        (estimator, "rested", codes.FLAG_SOC_AT_REST),
        (told.driver.reading, "balancing", codes.FLAG_BALANCING),
        (told.control.profile, "monitor_only", codes.FLAG_MONITOR),
    ):
        before = getattr(owner, name)
        setattr(owner, name, 1 if name == "balancing" else True)
        assert told.fields()["flags"] == flag, name
        if owner is estimator:  # of an estimate that there is not
            estimator.known = False
            assert told.fields()["flags"] == 0
            estimator.known = True
        if name == "balancing":  # of a reading that there is not
            told.driver.reading.valid = False
            assert told.fields()["flags"] == 0
            told.driver.reading.valid = True
        setattr(owner, name, before)


def test_ready_is_what_would_be_admitted_and_nothing_while_anything_forbids():
    told = ticked()
    assert told.ready() == (2_500_000, 2_000_000)
    for inhibit, is_ready in (
        (codes.INHIBIT_LEASE, True), (codes.INHIBIT_LIMIT, True),
        (codes.INHIBIT_LEASE | codes.INHIBIT_LIMIT, True), (codes.INHIBIT_STALE, False),
        (codes.INHIBIT_BMS, False), (codes.INHIBIT_CLOCK, False), (codes.INHIBIT_STORAGE, False),
        (codes.INHIBIT_MONITOR, False), (codes.INHIBIT_LEASE | codes.INHIBIT_STALE, False),
    ):
        told.control.inhibits = inhibit
        assert (told.ready() == (2_500_000, 2_000_000)) is is_ready, inhibit
        assert is_ready or told.ready() == (0, 0)
        assert told.fields()["inhibits"] == inhibit
    told.control.inhibits = 0
    # the stage's losses at full power come on top of a discharge, and of that alone
    tight = ticked(current_ma_discharge_max=20_000, current_ma_charge_max=20_000)
    carried = 51_200 * 20_000 // 1000
    loss = tight.control.stage.pack_mw_of(2_500_000) - 2_500_000
    assert loss > 0 and tight.ready() == (carried - loss, carried)
    told.interlock.trip(codes.TRIP_FIRE)
    assert told.ready() == (0, 0) and told.fields()["trip_cause"] == codes.TRIP_FIRE


def test_counts_are_added_and_what_has_no_room_in_the_field_is_its_end():
    told = ticked()
    fields = told.fields()
    assert (fields["refused_count"], fields["dropped_count"], fields["bms_lost_count"]) \
        == (34, 5, 2)
    assert (fields["late_ms_max"], fields["current_age_ms"]) == (17, 0)
    told.late_ms_max = 0x10000
    told.hal.sense_at = told.hal.now_ms
    told.hal.now_ms += 0x10001
    fields = told.fields()
    assert fields["late_ms_max"] == fields["current_age_ms"] == 0xFFFF


def test_why_the_bms_is_not_heard_is_said_only_then_and_in_96_letters():
    told = ticked()
    told.driver.last_error = "x" * 97
    for state, note in ((LINK_UP, ""), (LINK_LOST, "x" * 96), (LINK_NEVER, "x" * 96)):
        told.driver.link_state = state
        assert told.fields()["bms_note"] == note
