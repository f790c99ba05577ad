"""Check admissibility: a table for each limit, at it, one below, one past; and the ramp."""

from fakes import good_reading, make_profile

from element import limits
from element.protocol import codes

FETS = codes.KIND_BMS_FETS
NONE = codes.REASON_NONE


def admit(profile=None, reading=None, fresh=True, present=0, power=100_000, lease=1000,
          service=codes.SERVICE_REGULATION):
    return limits.admit_setpoint(profile or make_profile(), reading or good_reading(), fresh,
                                 present, power, lease, service)


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
        if reason != NONE:
            assert admit(power=1000, lease=lease) == (codes.REASON_LEASE, 5000)
    assert admit(power=1000, lease=5000) == (NONE, None)


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
    ("temperature_mdegc_max", 50_001, 50_000, -1, codes.REASON_HOT),
    ("temperature_mdegc_min", -1, 0, 1, codes.REASON_COLD),
    ("temperature_mdegc_min", -1, 0, -1, codes.REASON_COLD),
)


def test_state_of_the_cells():
    profile = make_profile()
    for field, wrong, right, sign, reason in STATE_TABLE:
        bad = with_reading(**{field: wrong})
        good = with_reading(**{field: right})
        assert limits.direction(profile, bad, sign)[0] == reason, field
        assert limits.direction(profile, good, sign) == (NONE, None), field
        assert admit(profile, bad, power=sign * 1000)[0] == reason
        assert admit(profile, good, power=sign * 1000) == (NONE, None)
        # what forbids one direction of the charge permits the other
        if reason not in (codes.REASON_HOT, codes.REASON_COLD):
            assert limits.direction(profile, bad, -sign) == (NONE, None)
        assert limits.permitted_mw(profile, bad, sign * 1000, 0) == 0
        assert limits.permitted_mw(profile, good, sign * 1000, 0) == sign * 1000


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
    assert limits.direction(profile, worst, 0) == (NONE, None)


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
    assert limits.permitted_mw(profile, reading, 500_000, 0) == 500_000
    assert limits.permitted_mw(profile, reading, 500_001, 0) == 500_000
    reading.pack_mv = 40_000
    assert limits.permitted_mw(profile, reading, 500_000, 0) == 400_000
    assert limits.permitted_mw(profile, reading, -500_000, 0) == -400_000
    # losses come on top of a discharge and are spared in a charge
    assert limits.permitted_mw(profile, reading, 500_000, 20_000) == 380_000
    assert limits.permitted_mw(profile, reading, -500_000, 20_000) == -420_000
    assert limits.permitted_mw(profile, reading, 300_000, 20_000) == 300_000
    assert limits.permitted_mw(profile, reading, 0, 20_000) == 0
    assert limits.permitted_mw(profile, reading, 500_000, 900_000) == 0


def test_permitted_is_all_or_nothing_for_an_on_off_stage():
    profile = make_profile(FETS, current_ma_discharge_max=10_000, current_ma_charge_max=10_000)
    for mv, good in ((50_000, True), (49_990, False)):
        reading = with_reading(pack_mv=mv)
        for power in (1, 250_000, 500_000, -1, -250_000, -500_000):
            assert limits.permitted_mw(profile, reading, power, 0) == (power if good else 0)


def test_permitted_never_exceeds_what_was_asked_nor_turns_it_round():
    for kind in (codes.KIND_CONVERTER, FETS):
        profile = make_profile(kind)
        for mv in (2000, 20_000, 51_200, 200_000):
            for power in (-100_000_000, -2_000_000, -500_000, -1, 0, 1, 500_000, 100_000_000):
                for loss in (0, 1000, 10_000_000):
                    got = limits.permitted_mw(profile, with_reading(pack_mv=mv), power, loss)
                    assert abs(got) <= abs(power) and got * power >= 0


def test_ready():
    assert limits.ready_mw(make_profile(), good_reading()) == (2_500_000, 2_000_000)
    narrow = make_profile(current_ma_discharge_max=10_000, current_ma_charge_max=20_000)
    assert limits.ready_mw(narrow, with_reading(pack_mv=50_000)) == (500_000, 1_000_000)
    assert limits.ready_mw(make_profile(), with_reading(soc_bp=1000)) == (0, 2_000_000)
    assert limits.ready_mw(make_profile(), with_reading(soc_bp=9000)) == (2_500_000, 0)
    assert limits.ready_mw(make_profile(), with_reading(temperature_mdegc_max=50_001)) == (0, 0)
    assert limits.ready_mw(make_profile(FETS), good_reading()) == (500_000, 500_000)
    small = make_profile(FETS, current_ma_charge_max=5_000)
    assert limits.ready_mw(small, good_reading()) == (500_000, 0)


def test_what_is_ready_is_admitted_and_one_more_is_not():
    for current_ma in (1_000, 9_764, 9_766, 33_333, 60_000):
        for mv in (40_000, 51_200, 57_610):
            for kind in (codes.KIND_CONVERTER, FETS):
                profile = make_profile(kind, current_ma_discharge_max=current_ma,
                                       current_ma_charge_max=current_ma)
                reading = with_reading(pack_mv=mv)
                discharge, charge = limits.ready_mw(profile, reading)
                for power in (discharge, -charge):
                    assert admit(profile, reading, power=power) == (NONE, None)
                if kind == codes.KIND_CONVERTER:
                    # the resolution of ready is 10 mV and 10 mA
                    assert admit(profile, reading, power=discharge + 3000)[0] != NONE


def test_hazard_at_one_below_and_one_past_each_margin():
    profile = make_profile()
    assert limits.hazard(profile, good_reading()) == (codes.TRIP_NONE, 0, 0)
    for field, at, past, cause in (
        ("cell_mv_max", 3700, 3701, codes.TRIP_CELL_HIGH),
        ("cell_mv_min", 2700, 2699, codes.TRIP_CELL_LOW),
        ("temperature_mdegc_max", 55_000, 55_001, codes.TRIP_TEMPERATURE),
    ):
        assert limits.hazard(profile, with_reading(**{field: at})) == (codes.TRIP_NONE, 0, 0)
        assert limits.hazard(profile, with_reading(**{field: past})) == (cause, past, at)


def test_over_current_at_and_one_past_each_side():
    profile = make_profile()
    for at, past in ((73_000, 73_001), (-61_000, -61_001)):
        assert limits.over_current(profile, at) == (codes.TRIP_NONE, 0, 0)
        assert limits.over_current(profile, past) == (codes.TRIP_OVER_CURRENT, past, at)
    assert limits.over_current(profile, 0) == (codes.TRIP_NONE, 0, 0)


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


def test_ramped_takes_the_stated_time():
    profile = make_profile(ramp_mw_per_s=1_000_000)
    power = 0
    for _ in range(20):
        power = limits.ramped(profile, power, 2_000_000, 50)
    assert power == 1_000_000
