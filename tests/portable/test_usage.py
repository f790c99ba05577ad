"""Check what lies between two setpoints: owners, cells at their limit, memory over a reset."""

from fakes import FakeHAL, good_reading, make_profile

from element import limits
from element.control import POWER_MW_MAX
from element.protocol import codes
from element.usage import (
    CELL_HOLD_MS,
    CELL_MV_HYSTERESIS,
    NO_LIMIT_MW,
    OWNERS_MAX,
    Usage,
)
from element.windows import BUCKET_MWH_MAX

DIFF = FakeHAL(0).ticks_diff


def test_before_the_first_estimate_neither_direction_is_open():
    profile = make_profile()
    usage = Usage(profile)
    # the whole doubt: empty for a discharge, full for a charge
    assert (usage.soc_bp, usage.soc_bp_low, usage.soc_bp_high) == (0, 0, 10000)
    for sign, reason in ((1, codes.REASON_SOC_LOW), (-1, codes.REASON_SOC_HIGH)):
        assert limits.direction(profile, good_reading(), usage, sign, codes.SERVICE_BACKUP) \
            == reason
    assert usage.discharge_closed is False and usage.charge_closed is False


def test_no_limit_is_the_widest_power_that_the_contract_carries():
    assert NO_LIMIT_MW == POWER_MW_MAX


def test_owners_lend_and_the_smallest_holds():
    usage = Usage(make_profile())
    assert (usage.owner_mw_discharge, usage.owner_mw_charge) == (NO_LIMIT_MW, NO_LIMIT_MW)
    assert usage.owner_of(1) == ""
    assert usage.lend("tariff", 500_000, 900_000, 1000)
    assert usage.lend("feeder", 700_000, 200_000, 2000)
    assert (usage.owner_mw_discharge, usage.owner_mw_charge) == (500_000, 200_000)
    assert usage.owner_of(1) == "tariff" and usage.owner_of(-1) == "feeder"
    # an owner's next word replaces his last, wider too: it is his own limit
    assert usage.lend("tariff", 600_000, 900_000, 3000)
    assert usage.owner_mw_discharge == 600_000
    # of two equals the one who came first
    assert usage.lend("late", 600_000, 200_000, 3000)
    assert usage.owner_of(1) == "tariff" and usage.owner_of(-1) == "feeder"


def test_an_owners_limit_ends_by_itself():
    usage = Usage(make_profile())
    usage.lend("one", 1, 1, 1000)
    usage.lend("two", 2, 2, 2000)
    usage.expire(999, DIFF)
    assert usage.owner_mw_discharge == 1
    usage.expire(1000, DIFF)
    assert usage.owner_mw_discharge == 2
    usage.expire(2500, DIFF)
    assert usage.owner_mw_discharge == NO_LIMIT_MW and usage.owner_of(-1) == ""
    usage.expire(2600, DIFF)


def test_each_owners_limit_ends_at_its_own_time_whatever_its_power():
    usage = Usage(make_profile())
    usage.lend("one", 700_000, 700_000, 1000)
    usage.lend("two", 900_000, 900_000, 1001)
    usage.expire(999, DIFF)
    assert usage.owner_mw_discharge == usage.owner_mw_charge == 700_000
    usage.expire(1000, DIFF)
    assert usage.owner_mw_discharge == usage.owner_mw_charge == 900_000
    usage.expire(1001, DIFF)
    assert usage.owner_mw_discharge == usage.owner_mw_charge == NO_LIMIT_MW


def test_owners_are_few():
    usage = Usage(make_profile())
    assert OWNERS_MAX == 4
    for number in range(OWNERS_MAX):
        assert usage.lend("owner %d" % number, 100, 100, 1000)
    assert not usage.lend("one more", 1, 1, 1000)
    assert usage.owner_mw_discharge == 100
    assert usage.lend("owner 0", 50, 50, 1000)
    assert usage.owner_mw_discharge == 50


def test_a_cell_at_its_limit_closes_its_direction_until_it_has_recovered_for_long():
    profile = make_profile()
    for low in (True, False):
        usage = Usage(profile)
        reading = good_reading()

        def closed(usage=usage, low=low):
            return usage.discharge_closed if low else usage.charge_closed

        def set_mv(mv, low=low, reading=reading):
            if low:
                reading.cell_mv_min = mv
            else:
                reading.cell_mv_max = mv

        limit = profile.cell_mv_min if low else profile.cell_mv_max
        step = 1 if low else -1
        set_mv(limit + step)
        usage.account(100, 0, reading)
        assert not closed()
        set_mv(limit)
        usage.account(100, 0, reading)
        assert closed()
        # not far enough: the hold does not even begin
        set_mv(limit + step * (CELL_MV_HYSTERESIS - 1))
        for _ in range(1000):
            usage.account(100, 0, reading)
        assert closed()
        set_mv(limit + step * CELL_MV_HYSTERESIS)
        for _ in range(CELL_HOLD_MS // 100 - 1):
            usage.account(100, 0, reading)
        assert closed()
        usage.account(100, 0, reading)
        assert not closed()
        assert not (usage.charge_closed if low else usage.discharge_closed)


def test_recovery_is_50_mv_for_a_minute_in_ticks_of_any_length():
    for dt_ms in (70, 100, 59_999, 60_000, 200_000):
        usage = Usage(make_profile())
        reading = good_reading()
        reading.cell_mv_min, reading.cell_mv_max = 2800, 3600
        usage.account(dt_ms, 0, reading)
        assert usage.discharge_closed is True and usage.charge_closed is True
        reading.cell_mv_min, reading.cell_mv_max = 2849, 3551
        for _ in range(60_000 // dt_ms + 2):
            usage.account(dt_ms, 0, reading)
        assert usage.discharge_closed is True and usage.charge_closed is True
        reading.cell_mv_min, reading.cell_mv_max = 2850, 3550
        for _ in range((60_000 + dt_ms - 1) // dt_ms - 1):
            usage.account(dt_ms, 0, reading)
            assert usage.discharge_closed is True and usage.charge_closed is True
        usage.account(dt_ms, 0, reading)
        assert usage.discharge_closed is False and usage.charge_closed is False


def test_time_without_a_reading_still_ages_the_windows():
    usage = Usage(make_profile(thermal_window_s=10))
    usage.advance(100, 36_000_000)
    assert usage.thermal.total_mwh == 1000 == usage.day.total_mwh
    usage.advance(20_000, 0)
    assert usage.thermal.total_mwh == 0 and usage.day.total_mwh == 1000


def test_extremes_of_soc_and_of_heat_age_with_time_too():
    usage = Usage(make_profile(thermal_window_s=10, swing_window_s=10))
    reading = good_reading()
    usage.soc_bp = 5000
    usage.account(100, 0, reading)
    usage.advance(20_000, 0)
    usage.soc_bp = 6000
    reading.temperature_mdegc_max = 30_000
    usage.account(100, 0, reading)
    usage.advance(1000, 0)
    assert (usage.swing.low, usage.swing.high) == (6000, 6000)
    assert (usage.heat.low, usage.heat.high) == (30_000, 30_000)


def test_a_day_is_remembered_for_a_day_and_an_hour_at_most():
    # in hours: the day is cut into 24 parts and one more is kept
    usage = Usage(make_profile())
    usage.day.add_mwh(1000)
    usage.advance(24 * 3_600_000, 0)
    assert usage.day.total_mwh == 1000
    usage.advance(3_600_000 - 1, 0)
    assert usage.day.total_mwh == 1000
    usage.advance(1, 0)
    assert usage.day.total_mwh == 0


def test_a_restart_goes_on_and_adds_what_was_not_written():
    profile = make_profile(thermal_window_s=600, swing_window_s=600)
    usage = Usage(profile)
    usage.soc_bp = 5000
    usage.account(100, 36_000_000, good_reading())
    usage.soc_bp = 5200
    usage.account(100, -36_000_000, good_reading())
    again = Usage(profile)
    again.restore(usage.snapshot(), 50_000)
    assert again.thermal.total_mwh == 2000 + 50_000 == again.day.total_mwh
    # 50 Wh are 100 basis points of 5 kWh, both ways, and one for the rounding
    assert (again.swing.low, again.swing.high) == (5000 - 101, 5200 + 101)
    assert (again.heat.low, again.heat.high) == (25_000, 25_000)
    extreme = Usage(profile)
    extreme.restore([0, 0, 3, 9999, 21_000, 34_000], 50_000)
    assert (extreme.swing.low, extreme.swing.high) == (0, 10000)
    assert (extreme.heat.low, extreme.heat.high) == (21_000, 34_000)
    assert extreme.snapshot() == [50_000, 50_000, 0, 10000, 21_000, 34_000]


def test_a_pack_so_small_that_a_basis_point_is_no_energy_restarts_too():
    for rated, swing_bp in ((9_999, 31), (10_000, 31), (20_000, 16)):
        usage = Usage(make_profile(energy_mwh_rated=rated, swing_window_s=600))
        usage.restore([0, 0, 5000, 5000, 0, 0], 30)
        assert (usage.swing.low, usage.swing.high) == (5000 - swing_bp, 5000 + swing_bp)


def test_an_envelope_of_any_size_is_used_up_and_free_again_after_its_window():
    # 4e9 mWh do not fit the 31 bits of a signed number: what wrapped would stay for ever
    for rated, milli, most in ((20_000_000, 100_000, 4_000_000_000),
                               (1_000_000_000, 100_000, 4_000_000_000),
                               (20_000_000, 99_999, 3_999_960_000)):
        profile = make_profile(energy_mwh_rated=rated, day_cycles_milli_max=milli)
        assert profile.day_mwh_max == most
        usage = Usage(profile)
        usage.exhaust()
        assert usage.day.total_mwh == most
        again = Usage(profile)
        again.restore(usage.snapshot(), 10_000_000)
        assert again.day.total_mwh == min(most + 10_000_000, BUCKET_MWH_MAX)
        for one in (usage, again):
            # and what a full bucket's own hour brings at 100 kW on top of it
            one.day.add_mwh(100_000_000)
            one.advance(25 * 3_600_000, 0)
            assert one.day.total_mwh == 0


def test_a_snapshot_makes_no_room_and_breaks_nothing_whatever_it_says():
    for thermal_mwh, day_mwh, thermal, day in (
        (-5_000_000, -1, 0, 0), (-30, -29, 0, 1), (1 << 40, 1 << 33, BUCKET_MWH_MAX,
                                                   BUCKET_MWH_MAX),
        (BUCKET_MWH_MAX - 31, BUCKET_MWH_MAX - 30, BUCKET_MWH_MAX - 1, BUCKET_MWH_MAX),
    ):
        usage = Usage(make_profile(thermal_window_s=600, thermal_mwh_max=100_000))
        usage.restore([thermal_mwh, day_mwh, 5000, 5000, 0, 0],
                      0 if thermal_mwh == -5_000_000 else 30)
        assert (usage.thermal.total_mwh, usage.day.total_mwh) == (thermal, day)
        usage.advance(25 * 3_600_000, 0)
        assert (usage.thermal.total_mwh, usage.day.total_mwh) == (0, 0)


def test_what_cannot_be_read_counts_as_used_up():
    profile = make_profile(thermal_window_s=600, thermal_mwh_max=700, swing_window_s=60,
                           swing_bp_max=300, day_cycles_milli_max=500)
    usage = Usage(profile)
    usage.exhaust()
    assert usage.thermal.total_mwh == 700 and usage.day.total_mwh == profile.day_mwh_max
    assert usage.swing.high - usage.swing.low == 10000
