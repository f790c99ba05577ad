"""Check admissibility: a table for each limit, at it, one below, one past; and the ramp."""

from fakes import good_reading, make_profile, make_usage, profile_fields

from element import enrolling, limits
from element.protocol import codes

FETS = codes.KIND_BMS_FETS
NONE = codes.REASON_NONE
GRID = codes.SERVICE_REGULATION


def admit(profile=None, reading=None, fresh=True, present=0, power=100_000, lease=1000,
          service=GRID, usage=None):
    """Return (reason, the number behind it) for a setpoint."""
    profile = profile or make_profile()
    reading = reading or good_reading()
    usage = usage or make_usage(profile, reading)
    reason = limits.admit_setpoint(profile, reading, usage, fresh, present, power, lease, service)
    if reason == NONE:
        return NONE, None
    return reason, limits.refusal_limit(profile, reading, usage, reason, power, service)


def direction(profile, reading, power, service=GRID):
    return limits.direction(profile, reading, make_usage(profile, reading), power, service)


def permitted(profile, reading, power, loss, usage=None, service=GRID):
    usage = usage or make_usage(profile, reading)
    return limits.permitted_mw(profile, reading, usage, power, loss, service)


def ready(profile, reading):
    usage = make_usage(profile, reading)
    return tuple([limits.ready_mw(profile, reading, usage, sign, 0) for sign in (1, -1)])


def with_reading(**changes):
    reading = good_reading()
    for name in changes:
        setattr(reading, name, changes[name])
    return reading


def test_power_at_one_below_and_one_past_the_limit():
    profile = make_profile(current_ma_discharge_max=1_000_000, current_ma_charge_max=1_000_000)
    for limit in (2_500_000, -2_000_000):
        sign = 1 if limit > 0 else -1
        for power in (limit - sign, limit):
            assert admit(profile, power=power) == (NONE, None)
        for power in (limit + sign, 40 * limit):
            assert admit(profile, power=power) == (codes.REASON_POWER, limit)


def test_power_limit_zero_leaves_zero_alone():
    profile = make_profile(power_mw_discharge_max=0, power_mw_charge_max=0)
    assert admit(profile, power=1) == (codes.REASON_POWER, 0)
    assert admit(profile, power=-1) == (codes.REASON_POWER, 0)
    assert admit(profile, power=0) == (NONE, None)


def test_current_at_one_below_and_one_past_the_limit():
    # at 50 V one milliampere is 50 mW
    reading = with_reading(pack_mv=50_000)
    profile = make_profile(current_ma_discharge_max=10_000, current_ma_charge_max=8_000)
    for limit_ma in (10_000, -8_000):
        sign = 1 if limit_ma > 0 else -1
        at = limit_ma * 50
        for power in (at - sign * 50, at):
            assert admit(profile, reading, power=power) == (NONE, None)
        assert admit(profile, reading, power=at + sign * 50) == (codes.REASON_CURRENT, limit_ma)


def test_current_depends_on_the_present_voltage():
    profile = make_profile(current_ma_discharge_max=10_000)
    assert admit(profile, with_reading(pack_mv=50_000), power=500_000)[0] == NONE
    assert admit(profile, with_reading(pack_mv=49_000), power=500_000)[0] == codes.REASON_CURRENT


def test_lease_at_one_below_and_one_past_the_limit():
    for lease, reason in ((1, NONE), (4999, NONE), (5000, NONE), (5001, codes.REASON_LEASE),
                          (0, codes.REASON_LEASE), (-1, codes.REASON_LEASE)):
        # less than the present power, or a lease of 1 ms could not reach it on its ramp
        assert admit(present=2000, power=1000, lease=lease) \
            == (reason, None if reason == NONE else 5000), lease


def test_services():
    profile = make_profile(services=5)
    for service, good in ((1, True), (4, True), (5, True), (2, False), (0, False), (3, False),
                          (7, False), (0x8001, False)):
        expected = (NONE, None) if good else (codes.REASON_SERVICE, 5)
        assert admit(profile, service=service) == expected, service


def test_a_stale_reading_admits_no_power():
    for power in (1, -1, 100_000):
        assert admit(fresh=False, power=power) == (codes.REASON_STALE, 2000)


def test_ramp_reach():
    profile = make_profile(ramp_mw_per_s=100_000)
    assert admit(profile, power=100_000, lease=1000) == (NONE, None)
    assert admit(profile, power=100_001, lease=1000) == (codes.REASON_RAMP, 100_000)
    assert admit(profile, power=100_001, lease=2000) == (NONE, None)
    assert admit(profile, present=50_000, power=150_000) == (NONE, None)
    assert admit(profile, present=-50_000, power=50_001)[0] == codes.REASON_RAMP


def test_how_far_a_ramp_reaches_in_whole_tens():
    # 10 mW a second and 10 ms are the resolution, and what is left over is not promised
    for rate, duration_ms, reach in (
        (100_000, 1000, 100_000), (100_000, 1009, 100_000), (100_009, 1000, 100_000),
        (100_010, 1000, 100_010), (19, 1000, 10), (19, 10, 0), (19, 119, 1), (9, 60_000, 0),
        (1_000_000_000, 60_000, 60_000_000_000),
    ):
        got = limits.ramp_reach_mw(make_profile(ramp_mw_per_s=rate), duration_ms)
        assert got == reach and isinstance(got, int), (rate, duration_ms, got)


def test_less_of_the_same_is_never_a_ramp_too_steep():
    profile = make_profile(ramp_mw_per_s=1000)
    for sign in (1, -1):
        for power in (1, 50_000, 99_999):
            assert admit(profile, present=sign * 100_000, power=sign * power) == (NONE, None)
            reason, _ = admit(profile, present=sign * 100_000, power=-sign * power)
            assert reason == codes.REASON_RAMP
        reason, _ = admit(profile, present=sign * 100_000, power=sign * 101_001)
        assert reason == codes.REASON_RAMP


STATE_TABLE = (
    # field, value at which it forbids, value that still permits, sign of power, reason
    ("soc_bp", 1000, 1001, 1, codes.REASON_SOC_LOW),
    ("soc_bp", 0, 1001, 1, codes.REASON_SOC_LOW),
    ("soc_bp", 9000, 8999, -1, codes.REASON_SOC_HIGH),
    ("soc_bp", 10000, 8999, -1, codes.REASON_SOC_HIGH),
    ("cell_mv_min", 2800, 2801, 1, codes.REASON_CELL_LOW),
    ("cell_mv_min", 500, 2801, 1, codes.REASON_CELL_LOW),
    ("cell_mv_max", 3600, 3599, -1, codes.REASON_CELL_HIGH),
    ("cell_mv_max", 5000, 3599, -1, codes.REASON_CELL_HIGH),
    ("temperature_mdegc_max", 50_001, 50_000, 1, codes.REASON_HOT),
    ("temperature_mdegc_max", 45_001, 45_000, -1, codes.REASON_HOT),
    ("temperature_mdegc_min", -1, 0, 1, codes.REASON_COLD),
    ("temperature_mdegc_min", -1, 0, -1, codes.REASON_COLD),
)


def test_state_of_the_cells():
    profile = make_profile()
    for field, wrong, right, sign, reason in STATE_TABLE:
        bad = with_reading(**{field: wrong})
        good = with_reading(**{field: right})
        assert direction(profile, bad, sign) == reason, field
        assert direction(profile, good, sign) == NONE, field
        assert admit(profile, bad, power=sign * 1000)[0] == reason
        assert admit(profile, good, power=sign * 1000) == (NONE, None)
        # what forbids one direction of the charge permits the other
        if reason not in (codes.REASON_HOT, codes.REASON_COLD):
            assert direction(profile, bad, -sign) == NONE
        assert permitted(profile, bad, sign * 1000, 0) == 0
        assert permitted(profile, good, sign * 1000, 0) == sign * 1000


def test_a_direction_that_a_cell_has_closed_is_closed_whatever_its_voltage_is_now():
    profile = make_profile()
    for sign, reason, limit in ((1, codes.REASON_CELL_LOW, 2800),
                                (-1, codes.REASON_CELL_HIGH, 3600)):
        usage = make_usage(profile, good_reading())
        usage.discharge_closed = sign > 0
        usage.charge_closed = sign < 0
        assert admit(profile, power=sign * 1000, usage=usage) == (reason, limit)
        assert permitted(profile, good_reading(), sign * 1000, 0, usage) == 0
        assert admit(profile, power=-sign * 1000, usage=usage) == (NONE, None)


def test_zero_is_never_refused():
    worst = with_reading(soc_bp=0, cell_mv_min=500, cell_mv_max=5000, pack_mv=2000,
                         temperature_mdegc_max=130_000, temperature_mdegc_min=-45_000)
    profile = make_profile(services=0, power_mw_discharge_max=0, power_mw_charge_max=0,
                           ramp_mw_per_s=1)
    for lease in (0, 1, 5000, 65535):
        for present in (0, 2_500_000, -2_500_000):
            for fresh in (True, False):
                for service in (0, 1, 0xFFFF):
                    assert admit(profile, worst, fresh, present, 0, lease, service) \
                        == (NONE, None)
    assert direction(profile, worst, 0) == NONE


def test_an_on_off_stage_is_judged_by_its_step_and_not_by_the_mean():
    # 500 W is what it does, whatever is asked: at 51.2 V that is 9,765 mA
    for current_ma, good in ((9_766, True), (9_765, True), (9_764, False)):
        profile = make_profile(FETS, current_ma_discharge_max=current_ma)
        for power in (1, 100_000, 500_000):
            expected = NONE if good else codes.REASON_CURRENT
            assert admit(profile, power=power)[0] == expected, (current_ma, power)
    too_small = make_profile(FETS, power_mw_discharge_max=499_999)
    assert admit(too_small, power=100_000) == (codes.REASON_POWER, 0)
    assert admit(too_small, power=-100_000) == (NONE, None)
    assert admit(make_profile(FETS, power_mw_discharge_max=900_000), power=500_001) \
        == (codes.REASON_POWER, 500_000)


def test_fresh():
    profile = make_profile(reading_age_ms_max=2000)
    for age, cells_age, expected in (
        (0, 0, True), (2000, 8000, True), (2001, 0, False), (0, 8001, False), (None, 0, False),
        (0, None, False), (None, None, False), (-1, 0, False), (0, -1, False),
        (-(1 << 29), 0, False),
    ):
        assert limits.fresh(profile, age, cells_age) is expected, (age, cells_age)


def test_permitted_is_cut_by_the_current_at_a_sagged_voltage():
    profile = make_profile(current_ma_discharge_max=10_000, current_ma_charge_max=10_000)
    reading = with_reading(pack_mv=50_000)
    assert permitted(profile, reading, 500_000, 0) == 500_000
    assert permitted(profile, reading, 500_001, 0) == 500_000
    reading.pack_mv = 40_000
    assert permitted(profile, reading, 500_000, 0) == 400_000
    assert permitted(profile, reading, -500_000, 0) == -400_000
    # losses come on top of a discharge; that a charge is spared them is not counted on
    assert permitted(profile, reading, 500_000, 20_000) == 380_000
    assert permitted(profile, reading, -500_000, 20_000) == -400_000
    assert permitted(profile, reading, 300_000, 20_000) == 300_000
    assert permitted(profile, reading, 0, 20_000) == 0
    assert permitted(profile, reading, 500_000, 900_000) == 0
    # the smallest discharge there is bears the losses as any other does
    assert permitted(profile, reading, 1, 900_000) == 0
    assert permitted(profile, reading, -1, 900_000) == -1


def test_permitted_is_all_or_nothing_for_an_on_off_stage():
    profile = make_profile(FETS, current_ma_discharge_max=10_000, current_ma_charge_max=10_000)
    for mv, good in ((50_000, True), (49_990, False)):
        reading = with_reading(pack_mv=mv)
        for power in (1, 250_000, 500_000, -1, -250_000, -500_000):
            assert permitted(profile, reading, power, 0) == (power if good else 0)


def test_permitted_never_exceeds_what_was_asked_nor_turns_it_round():
    for kind in (codes.KIND_CONVERTER, FETS):
        profile = make_profile(kind)
        for mv in (2000, 20_000, 51_200, 200_000):
            for power in (-100_000_000, -2_000_000, -500_000, -1, 0, 1, 500_000, 100_000_000):
                for loss in (0, 1000, 10_000_000):
                    got = permitted(profile, with_reading(pack_mv=mv), power, loss)
                    assert abs(got) <= abs(power) and got * power >= 0
                    assert isinstance(got, int)


def test_ready():
    assert ready(make_profile(), good_reading()) == (2_500_000, 2_000_000)
    narrow = make_profile(current_ma_discharge_max=10_000, current_ma_charge_max=20_000)
    assert ready(narrow, with_reading(pack_mv=50_000)) == (500_000, 1_000_000)
    assert ready(make_profile(), with_reading(soc_bp=1000)) == (0, 2_000_000)
    assert ready(make_profile(), with_reading(soc_bp=9000)) == (2_500_000, 0)
    assert ready(make_profile(), with_reading(temperature_mdegc_max=50_001)) == (0, 0)
    assert ready(make_profile(FETS), good_reading()) == (500_000, 500_000)
    small = make_profile(FETS, current_ma_charge_max=5_000)
    assert ready(small, good_reading()) == (500_000, 0)


def test_what_is_ready_is_admitted_and_one_more_is_not():
    for current_ma in (1_000, 9_764, 9_766, 33_333, 60_000):
        for mv in (40_000, 51_200, 57_610):
            for kind in (codes.KIND_CONVERTER, FETS):
                profile = make_profile(kind, current_ma_discharge_max=current_ma,
                                       current_ma_charge_max=current_ma)
                reading = with_reading(pack_mv=mv)
                discharge, charge = ready(profile, reading)
                for power in (discharge, -charge):
                    assert admit(profile, reading, power=power) == (NONE, None)
                if kind == codes.KIND_CONVERTER:
                    # the resolution of ready is 10 mV and 10 mA
                    assert admit(profile, reading, power=discharge + 3000)[0] != NONE


def test_hazard_at_one_below_and_one_past_each_margin():
    profile = make_profile()
    assert limits.hazard(profile, good_reading()) == codes.TRIP_NONE
    for field, at, past, cause, index_field in (
        ("cell_mv_max", 3700, 3701, codes.TRIP_CELL_HIGH, "cell_index_max"),
        ("cell_mv_min", 2700, 2699, codes.TRIP_CELL_LOW, "cell_index_min"),
        ("temperature_mdegc_max", 55_000, 55_001, codes.TRIP_TEMPERATURE, "ntc_index_max"),
    ):
        assert limits.hazard(profile, with_reading(**{field: at})) == codes.TRIP_NONE
        reading = with_reading(**{field: past, index_field: 5})
        assert limits.hazard(profile, reading) == cause
        # the alarm names the cell, the value and the limit
        assert limits.hazard_facts(profile, reading, cause) == (past, at, 5)
    cold = make_profile(temperature_mdegc_discharge_max=40_000)
    assert limits.hazard(cold, with_reading(temperature_mdegc_max=50_000)) == codes.TRIP_NONE
    assert limits.hazard(cold, with_reading(temperature_mdegc_max=50_001)) \
        == codes.TRIP_TEMPERATURE


def test_over_current_at_and_one_past_each_side():
    profile = make_profile()
    for at, past, sign in ((73_000, 73_001, 1), (-61_000, -61_001, -1)):
        assert limits.over_current(profile, at) is False
        assert limits.over_current(profile, past) is True
        assert limits.over_current_ma(profile, sign) == at
    assert limits.over_current(profile, 0) is False
    # a fifth on top, rounded down
    for rated_ma, at in ((60_001, 73_001), (60_004, 73_004), (60_005, 73_006), (0, 1000)):
        odd = make_profile(current_ma_discharge_max=rated_ma, current_ma_charge_max=rated_ma)
        for sign in (1, -1):
            assert limits.over_current_ma(odd, sign) == sign * at
            assert limits.over_current(odd, sign * at) is False
            assert limits.over_current(odd, sign * (at + 1)) is True


# ---- the full profile ----


def test_a_curve_is_linear_between_its_points_and_flat_beyond():
    assert limits.share_bp([], 5000) == 10000
    assert limits.share_bp([3000, 700], 0) == limits.share_bp([3000, 700], 10000) == 700
    curve = [1000, 0, 2000, 10000, 9000, 10000, 10000, 2000]
    for soc, share in ((0, 0), (1000, 0), (1001, 10), (1500, 5000), (1999, 9990), (2000, 10000),
                       (5000, 10000), (9000, 10000), (9001, 9992), (9500, 6000),
                       (10000, 2000)):
        assert limits.share_bp(curve, soc) == share, soc


def test_a_share_between_two_points_is_rounded_down():
    for curve, shares in (([0, 0, 3, 10], (0, 3, 6, 10)), ([0, 10, 3, 0], (10, 6, 3, 0))):
        for soc in range(4):
            share = limits.share_bp(curve, soc)
            assert share == shares[soc] and isinstance(share, int), (curve, soc)


def test_power_against_soc_each_way_by_its_own_end_of_the_doubt():
    profile = make_profile(discharge_bp_at_soc=[1000, 1000, 3000, 10000],
                           charge_bp_at_soc=[7000, 10000, 9000, 1000])
    usage = make_usage(profile, good_reading())
    usage.soc_bp_low, usage.soc_bp_high = 2000, 8000
    for sign, limit in ((1, 1_375_000), (-1, 1_100_000)):
        assert admit(profile, power=sign * limit, usage=usage) == (NONE, None)
        assert admit(profile, power=sign * (limit + 1), usage=usage) \
            == (codes.REASON_POWER, sign * limit)
        assert permitted(profile, good_reading(), sign * 3_000_000, 0, usage) == sign * limit
        assert limits.ready_mw(profile, good_reading(), usage, sign, 0) == limit
    usage.soc_bp_low, usage.soc_bp_high = 3000, 7000
    assert admit(profile, power=2_500_000, usage=usage) == (NONE, None)
    assert admit(profile, power=-2_000_000, usage=usage) == (NONE, None)


def test_derating_goes_in_steps_of_the_rating_and_none_is_all_of_it():
    # 1 / 10,000 of the rating, rounded down, times the share
    for full, share, limit in (
        (2_500_001, 10000, 2_500_001), (2_500_001, 9999, 250 * 9999), (2_500_001, 1, 250),
        (1_999_999, 5000, 199 * 5000), (9999, 9999, 0), (2_500_001, 0, 0),
    ):
        profile = make_profile(power_mw_discharge_max=full, power_mw_charge_max=full,
                               discharge_bp_at_soc=[0, share], charge_bp_at_soc=[0, share],
                               current_ma_charge_max=60_000)
        usage = make_usage(profile, good_reading())
        for sign in (1, -1):
            assert limits.able_mw(profile, good_reading(), usage, sign, 0) == limit, (full, share)
            assert admit(profile, power=sign * (limit + 1)) == (codes.REASON_POWER, sign * limit)


def test_temperature_has_limits_of_its_own_for_charge():
    profile = make_profile()
    for field, value, sign, reason, limit in (
        ("temperature_mdegc_max", 45_001, -1, codes.REASON_HOT, 45_000),
        ("temperature_mdegc_max", 50_001, 1, codes.REASON_HOT, 50_000),
        ("temperature_mdegc_min", -1, 1, codes.REASON_COLD, 0),
        ("temperature_mdegc_min", -1, -1, codes.REASON_COLD, 0),
    ):
        assert admit(profile, with_reading(**{field: value}), power=sign) == (reason, limit)
    assert admit(profile, with_reading(temperature_mdegc_max=45_001), power=1) == (NONE, None)
    frosty = make_profile(temperature_mdegc_discharge_min=-20_000)
    assert admit(frosty, with_reading(temperature_mdegc_min=-20_000), power=1) == (NONE, None)
    assert admit(frosty, with_reading(temperature_mdegc_min=-20_001), power=1) \
        == (codes.REASON_COLD, -20_000)
    assert admit(frosty, with_reading(temperature_mdegc_min=-1), power=-1) \
        == (codes.REASON_COLD, 0)


def test_what_the_current_carries_is_rounded_down_to_10_mv_and_10_ma():
    profile = make_profile()
    for pack_mv, pack_ma, limit in ((51_219, 9999, 5121 * 999 // 10), (51_210, 9990, 511_587),
                                    (51_220, 10_000, 512_200), (9, 60_000, 0), (60_000, 9, 0)):
        reading = with_reading(pack_mv=pack_mv, current_ma_discharge_bms=pack_ma,
                               current_ma_charge_bms=pack_ma)
        usage = make_usage(profile, reading)
        for sign in (1, -1):
            got = limits.able_mw(profile, reading, usage, sign, 0)
            assert got == limit and isinstance(got, int), (pack_mv, pack_ma, got)


def test_the_owners_reserve_comes_before_every_service_but_backup():
    profile = make_profile(reserve_soc_bp=4000, services=0xFFFF)
    for service in (1, 2, 4, 8, 32, 1 | codes.SERVICE_BACKUP):
        assert admit(profile, with_reading(soc_bp=4001), service=service,
                     power=1000) == (NONE, None)
        assert admit(profile, with_reading(soc_bp=4000), service=service,
                     power=1000) == (codes.REASON_RESERVE, 4000)
        # charging towards the reserve is always right
        assert admit(profile, with_reading(soc_bp=2000), service=service,
                     power=-1000) == (NONE, None)
    backup = codes.SERVICE_BACKUP
    assert admit(profile, with_reading(soc_bp=1001), service=backup, power=1000) == (NONE, None)
    assert admit(profile, with_reading(soc_bp=1000), service=backup, power=1000) \
        == (codes.REASON_SOC_LOW, 1000)
    assert permitted(profile, with_reading(soc_bp=4000), 1000, 0) == 0
    assert permitted(profile, with_reading(soc_bp=4000), 1000, 0, service=backup) == 1000
    # at the reserve there is room for backup alone, and its own end is named
    tight = make_profile(reserve_soc_bp=4000, services=0xFFFF, thermal_window_s=600,
                         thermal_mwh_max=500)
    usage = make_usage(tight, with_reading(soc_bp=4000))
    assert limits.narrowest(tight, usage, 1, backup) == codes.REASON_THERMAL
    assert limits.narrowest(tight, usage, 1, GRID) == codes.REASON_ENERGY
    assert admit(tight, power=500_000, lease=3601, service=backup, usage=usage) \
        == (codes.REASON_THERMAL, 500)
    usage.soc_bp_low = 1000
    assert limits.narrowest(tight, usage, 1, backup) == codes.REASON_ENERGY
    usage = make_usage(profile, with_reading(soc_bp=1001))
    assert admit(profile, power=500_000, lease=3601, service=backup, usage=usage) \
        == (codes.REASON_ENERGY, 1000)
    low = make_profile(reserve_soc_bp=500)
    assert limits.floor_bp(low, GRID) == 1000
    assert ready(profile, with_reading(soc_bp=4000)) == (0, 2_000_000)


def test_a_service_that_asks_for_a_faster_element_is_refused():
    profile = make_profile(services=0xFF, response_ms=1001)
    assert admit(profile, service=codes.SERVICE_FREQUENCY) == (codes.REASON_RESPONSE, 1001)
    assert admit(profile, service=codes.SERVICE_FREQUENCY | GRID)[0] == codes.REASON_RESPONSE
    assert admit(profile, service=GRID) == (NONE, None)
    quick = make_profile(services=0xFF, response_ms=1000)
    assert admit(quick, service=codes.SERVICE_FREQUENCY) == (NONE, None)
    for service, limit in codes.SERVICE_RESPONSE_MS:
        for response, good in ((limit, True), (limit + 1, False)):
            got = admit(make_profile(services=0xFF, response_ms=response), service=service)[0]
            assert got == (NONE if good else codes.REASON_RESPONSE), (service, response)


def test_monitor_only_takes_nothing_but_zero():
    profile = make_profile(monitor_only=True)
    assert admit(profile, power=1) == (codes.REASON_MONITOR, None)
    assert admit(profile, power=0) == (NONE, None)
    assert ready(profile, good_reading()) == (0, 0)


def test_what_the_bms_permits_itself_is_a_limit():
    reading = with_reading(current_ma_discharge_bms=10_000, current_ma_charge_bms=5_000,
                           pack_mv=50_000)
    assert admit(None, reading, power=500_000) == (NONE, None)
    assert admit(None, reading, power=500_050) == (codes.REASON_BMS, 10_000)
    assert admit(None, reading, power=-250_050) == (codes.REASON_BMS, -5_000)
    assert permitted(make_profile(), reading, 900_000, 0) == 500_000
    assert permitted(make_profile(), reading, -900_000, 0) == -250_000


def test_an_owners_limit_narrows_and_never_widens():
    profile = make_profile()
    usage = make_usage(profile, good_reading())
    usage.owner_mw_discharge, usage.owner_mw_charge = 300_000, 200_000
    assert admit(profile, power=300_000, usage=usage) == (NONE, None)
    assert admit(profile, power=300_001, usage=usage) == (codes.REASON_OWNER, 300_000)
    assert admit(profile, power=-200_001, usage=usage) == (codes.REASON_OWNER, -200_000)
    assert permitted(profile, good_reading(), 900_000, 0, usage) == 300_000
    assert permitted(profile, good_reading(), -900_000, 0, usage) == -200_000
    usage.owner_mw_discharge = usage.owner_mw_charge = 90_000_000
    assert admit(profile, power=2_500_001, usage=usage) == (codes.REASON_POWER, 2_500_000)
    step = make_profile(FETS)
    usage = make_usage(step, good_reading())
    usage.owner_mw_discharge = 499_999
    assert admit(step, power=1000, usage=usage) == (codes.REASON_OWNER, 499_999)


def test_energy_to_the_end_of_the_window_for_the_whole_lease():
    # 500 mWh a basis point; 3.6 s of 500 W are 500 mWh
    profile = make_profile()
    usage = make_usage(profile, good_reading())
    usage.soc_bp_low, usage.soc_bp_high = 1001, 8999
    for sign, limit in ((1, 1000), (-1, 9000)):
        assert admit(profile, power=sign * 500_000, lease=3600, usage=usage) == (NONE, None)
        assert admit(profile, power=sign * 500_000, lease=3601, usage=usage) \
            == (codes.REASON_ENERGY, limit)
        assert limits.room_mwh(profile, usage, sign, GRID) == 500
        # at power, a second of it must be left
        assert permitted(profile, good_reading(), sign * 1_799_999, 0, usage) == sign * 1_799_999
        assert permitted(profile, good_reading(), sign * 1_800_000, 0, usage) == 0
        ready_mw = limits.ready_mw(profile, good_reading(), usage, sign, 0)
        assert ready_mw == 900_000 and isinstance(ready_mw, int)


def test_the_energy_of_a_lease_is_rounded_up():
    for size_mw, duration_ms, mwh in (
        (0, 5000, 0), (1, 1, 1), (3_600_000, 1000, 1000), (3_600_001, 1000, 1001),
        (3_600_000, 1001, 1001), (3600, 1000, 1), (100_000_000, 3_600_000, 100_000_000),
    ):
        assert limits.energy_mwh(size_mw, duration_ms) == mwh, (size_mw, duration_ms)


def test_a_basis_point_of_energy_is_rounded_down():
    for rated, mwh in ((5_000_000, 500), (99_990_000, 9999), (99_999_999, 9999), (9999, 0)):
        assert make_profile(energy_mwh_rated=rated).mwh_per_bp == mwh
    for rated, milli, mwh in ((5_000_499, 100, 1_000_000), (5_000_500, 100, 1_000_100),
                              (499, 100_000, 0)):
        most = make_profile(energy_mwh_rated=rated, day_cycles_milli_max=milli).day_mwh_max
        assert most == mwh and isinstance(most, int)


def test_the_thermal_envelope():
    profile = make_profile(thermal_window_s=600, thermal_mwh_max=1000)
    usage = make_usage(profile, good_reading())
    usage.thermal.add_mwh(500)
    for sign in (1, -1):
        assert admit(profile, power=sign * 500_000, lease=3600, usage=usage) == (NONE, None)
        assert admit(profile, power=sign * 500_000, lease=3601, usage=usage) \
            == (codes.REASON_THERMAL, 1000)
    usage.thermal.add_mwh(501)
    assert limits.room_mwh(profile, usage, 1, GRID) == 0
    assert permitted(profile, good_reading(), 1000, 0, usage) == 0
    # a window of nothing is no envelope
    free = make_profile(thermal_window_s=0, thermal_mwh_max=0)
    assert admit(free, power=2_500_000, lease=5000) == (NONE, None)


def test_a_temperature_that_rises_too_fast_stops_both_directions():
    profile = make_profile(thermal_window_s=600, thermal_rise_mdegc_max=3000,
                           thermal_mwh_max=1_000_000)
    usage = make_usage(profile, good_reading())
    usage.heat.add(25_000)
    for mdegc, reason in ((28_000, NONE), (28_001, codes.REASON_THERMAL)):
        reading = with_reading(temperature_mdegc_max=mdegc)
        for sign in (1, -1):
            assert limits.direction(profile, reading, usage, sign, GRID) == reason
    for changes in ({"thermal_window_s": 0}, {"thermal_rise_mdegc_max": 0}):
        fields = {"thermal_window_s": 600, "thermal_rise_mdegc_max": 3000,
                  "thermal_mwh_max": 1_000_000}
        fields.update(changes)
        free = make_profile(**fields)
        assert limits.direction(free, with_reading(temperature_mdegc_max=44_000), usage, -1,
                                GRID) == NONE


def test_the_mechanical_envelope():
    profile = make_profile(swing_window_s=3600, swing_bp_max=500)
    usage = make_usage(profile, good_reading())
    usage.soc_bp = 5000
    usage.swing.add(5000)
    usage.swing.add(5200)
    usage.swing.add(4900)
    # down: 500 of swing less the 200 below the highest; up: less the 100 above the lowest
    assert limits.room_mwh(profile, usage, 1, GRID) == 300 * 500
    assert limits.room_mwh(profile, usage, -1, GRID) == 400 * 500
    usage.soc_bp = 4700
    assert limits.narrowest(profile, usage, 1, GRID) == codes.REASON_SWING
    assert admit(profile, power=1000, usage=usage) == (codes.REASON_SWING, 500)
    assert admit(profile, power=-1000, usage=usage) == (NONE, None)


def test_cycles_a_day():
    profile = make_profile(day_cycles_milli_max=100)  # a tenth of 5 kWh out and in
    assert profile.day_mwh_max == 1_000_000
    usage = make_usage(profile, good_reading())
    usage.day.add_mwh(999_999)
    for sign in (1, -1):
        assert admit(profile, power=sign * 3600, lease=1000, usage=usage) == (NONE, None)
        assert admit(profile, power=sign * 3601, lease=1000, usage=usage) \
            == (codes.REASON_CYCLES, 100)


def test_the_narrowest_envelope_is_the_one_that_is_named():
    profile = make_profile(thermal_window_s=600, thermal_mwh_max=900, swing_window_s=600,
                           swing_bp_max=10, day_cycles_milli_max=100)
    usage = make_usage(profile, good_reading())
    usage.swing.add(5000)
    assert limits.narrowest(profile, usage, 1, GRID) == codes.REASON_THERMAL
    usage.soc_bp = 4991
    assert limits.narrowest(profile, usage, 1, GRID) == codes.REASON_SWING
    usage.day.add_mwh(999_900)
    assert limits.narrowest(profile, usage, 1, GRID) == codes.REASON_CYCLES
    usage.soc_bp_low = 1000
    assert limits.narrowest(profile, usage, 1, GRID) == codes.REASON_ENERGY
    # of two that are as narrow the first in order is named: 1 bp of the window, 500 mWh of heat
    equal = make_profile(thermal_window_s=600, thermal_mwh_max=500)
    usage = make_usage(equal, good_reading())
    usage.soc_bp_low = 1001
    assert limits.narrowest(equal, usage, 1, GRID) == codes.REASON_ENERGY
    usage.soc_bp_low = 1002
    assert limits.narrowest(equal, usage, 1, GRID) == codes.REASON_THERMAL


def test_an_envelope_that_does_not_exist_is_never_the_narrowest():
    # the largest pack that the contract knows, full, down to empty: 1 MWh of window
    profile = make_profile(energy_mwh_rated=1_000_000_000, soc_bp_min=0, soc_bp_max=10000)
    usage = make_usage(profile, with_reading(soc_bp=10000))
    assert limits.room_mwh(profile, usage, 1, GRID) == 1_000_000_000
    assert limits.narrowest(profile, usage, 1, GRID) == codes.REASON_ENERGY
    usage = make_usage(profile, with_reading(soc_bp=0))
    assert limits.room_mwh(profile, usage, -1, GRID) == 1_000_000_000
    assert limits.narrowest(profile, usage, -1, GRID) == codes.REASON_ENERGY


def test_a_profile_that_contradicts_itself_is_named():
    assert enrolling.profile_error(profile_fields()) is None
    for name, value in (
        ("soc_bp_min", 9000), ("soc_bp_min", 9001), ("cell_mv_min", 3600),
        ("temperature_mdegc_discharge_min", 50_000), ("temperature_mdegc_charge_min", 45_000),
        ("discharge_bp_at_soc", [1]), ("discharge_bp_at_soc", [1, 2, 1, 3]),
        ("charge_bp_at_soc", [5, 2, 4, 3]), ("charge_bp_at_soc", [1, 2, 3]),
        ("charge_bp_at_soc", [1000, 0, 2000, 5, 1500, 7]),
    ):
        assert enrolling.profile_error(profile_fields(**{name: value})) == name, (name, value)
    # the SoC must rise from point to point, the share need not
    for curve in ([4, 2, 5, 3], [4, 3, 5, 2], [1000, 10000, 9000, 0], [1, 2, 3, 2, 4, 2]):
        for name in ("discharge_bp_at_soc", "charge_bp_at_soc"):
            assert enrolling.profile_error(profile_fields(**{name: curve})) is None, curve


def test_a_profile_beyond_any_element_is_named():
    # the contract carries buildings; an element's windows count in 32 bits and must not wrap
    for name, most in (
        ("power_mw_discharge_max", 100_000_000), ("power_mw_charge_max", 100_000_000),
        ("step_mw", 100_000_000), ("ramp_mw_per_s", 1_000_000_000),
        ("energy_mwh_rated", 1_000_000_000),
    ):
        assert enrolling.profile_error(profile_fields(**{name: most})) is None, name
        assert enrolling.profile_error(profile_fields(**{name: most + 1})) == name, name


def test_every_refusal_has_its_number():
    profile = make_profile(reserve_soc_bp=2000)
    reading = good_reading()
    usage = make_usage(profile, reading)
    for reason, sign, number in (
        (codes.REASON_SOC_LOW, 1, 1000), (codes.REASON_SOC_HIGH, -1, 9000),
        (codes.REASON_CELL_LOW, 1, 2800), (codes.REASON_CELL_HIGH, -1, 3600),
        (codes.REASON_STALE, 1, 2000), (codes.REASON_RAMP, 1, 10_000_000),
        (codes.REASON_LEASE, 1, 5000), (codes.REASON_SERVICE, 1, 3),
        (codes.REASON_HOT, -1, 45_000), (codes.REASON_COLD, -1, 0),
        (codes.REASON_RESERVE, 1, 2000), (codes.REASON_ENERGY, -1, 9000),
        (codes.REASON_CURRENT, -1, -50_000), (codes.REASON_MONITOR, 1, None),
        (codes.REASON_BMS, 1, 1_000_000), (codes.REASON_POWER, -1, -2_000_000),
    ):
        assert limits.refusal_limit(profile, reading, usage, reason, sign, GRID) == number


def test_ramped_reaches_the_target_and_never_overshoots():
    for rate in (1, 19, 100, 50_000, 10_000_000, 1_000_000_000):
        profile = make_profile(ramp_mw_per_s=rate)
        for start, target in ((0, 1000), (1000, 0), (-1000, 1000), (1000, -1000), (5, 5)):
            power = start
            for _ in range(3000):
                after = limits.ramped(profile, power, target, 50)
                assert min(power, target) <= after <= max(power, target)
                assert abs(after - power) <= max(rate * 50 // 1000, 1)
                power = after
            assert power == target, (rate, start, target)


def test_ramped_does_not_move_in_no_time():
    assert limits.ramped(make_profile(), 0, 1000, 0) == 0
    assert limits.ramped(make_profile(ramp_mw_per_s=1), 0, 1000, 0) == 0


def test_a_ramp_too_slow_for_a_tick_moves_by_one_in_any_tick():
    slow = make_profile(ramp_mw_per_s=1)
    for dt_ms in (1, 2, 100):
        assert limits.ramped(slow, 0, 1000, dt_ms) == 1
        assert limits.ramped(slow, 0, -1000, dt_ms) == -1


def test_ramped_goes_in_whole_tens_of_its_rate():
    for rate, dt_ms, step in ((10_005, 1000, 10_000), (10_010, 1000, 10_010), (999, 100, 99),
                              (19, 100, 1), (19, 1000, 10), (9, 1000, 1)):
        for sign in (1, -1):
            got = limits.ramped(make_profile(ramp_mw_per_s=rate), 0, sign * 1_000_000, dt_ms)
            assert got == sign * step and isinstance(got, int), (rate, dt_ms, got)


def test_ramped_takes_the_stated_time():
    profile = make_profile(ramp_mw_per_s=1_000_000)
    power = 0
    for _ in range(20):
        power = limits.ramped(profile, power, 2_000_000, 50)
    assert power == 1_000_000
