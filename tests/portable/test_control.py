"""Check the control step: every single cause ends in zero within its time, with the first cause.

The bench is a board in memory with a converter or an on/off stage whose current follows the
outputs. Each test lets an element run at power and then breaks one thing.
"""

from control_bench import FETS, TICK, Bench
from fakes import WRAP

from element import proof as proof_module
from element.bms.base import FETS_BOTH
from element.lease import ZERO_RAMP_MS
from element.protocol import codes
from element.usage import CELL_HOLD_MS


def benches():
    """Yield an element of each kind, running in each direction."""
    for power in (1_500_000, -1_800_000):
        yield Bench().run_at(power)
    for power in (500_000, -500_000):
        yield Bench(FETS).run_at(power)


# ---- one cause at a time ----


def test_stale_pack():
    for bench in benches():
        bench.bms_answers = False
        bench.off_after(bench.control.profile.reading_age_ms_max + TICK)
        assert bench.control.state == codes.STATE_INHIBITED
        assert bench.control.inhibits & codes.INHIBIT_STALE and not bench.interlock.tripped


def test_stale_cells():
    for bench in benches():
        bench.cells_answer = False
        bench.off_after(4 * bench.control.profile.reading_age_ms_max + TICK)
        assert bench.control.inhibits & codes.INHIBIT_STALE


def test_stale_current_sensor():
    for bench in benches():
        bench.hal.sense_at = bench.hal.now_ms
        bench.off_after(bench.control.profile.reading_age_ms_max + TICK)
        assert bench.control.inhibits & codes.INHIBIT_STALE


def test_interlock_input():
    for bench in benches():
        bench.hal.input_ok = False
        bench.off_after(TICK)
        bench.tripped_by(codes.TRIP_INPUT)


def test_trip_message():
    for bench in benches():
        bench.interlock.trip(codes.TRIP_FIRE, 2)
        bench.off_after(TICK)
        bench.tripped_by(codes.TRIP_FIRE)


def test_over_current_by_the_sensor():
    for sign in (1, -1):
        bench = Bench().run_at(sign * 1_500_000)
        bench.gain_pct = 300
        bench.off_after(TICK)
        assert abs(bench.interlock.value) > 60_000
        bench.tripped_by(codes.TRIP_OVER_CURRENT)


def test_over_current_by_the_bms_while_the_sensor_is_stuck():
    for sign in (1, -1):
        bench = Bench().run_at(sign * 1_500_000)
        bench.bms_follows = False
        bench.driver.reading.current_ma = sign * 80_000
        bench.off_after(TICK)
        bench.tripped_by(codes.TRIP_OVER_CURRENT)


def test_a_sensor_beyond_all_bounds_trips_and_stays_in_the_contracts_ranges():
    for value in (2_147_483_647, -2_147_483_648):
        bench = Bench().run_at(1_500_000)
        bench.plant_ma = lambda value=value: value
        bench.off_after(TICK)
        assert abs(bench.control.sense_ma) <= 1_000_000
        assert abs(bench.control.realized_mw) <= 100_000_000
        bench.tripped_by(codes.TRIP_OVER_CURRENT)


def test_cells_beyond_their_margins():
    for field, value, cause in (
        ("temperature_mdegc_max", 55_001, codes.TRIP_TEMPERATURE),
        ("cell_mv_max", 3701, codes.TRIP_CELL_HIGH),
        ("cell_mv_min", 2699, codes.TRIP_CELL_LOW),
    ):
        for bench in benches():
            setattr(bench.driver.reading, field, value)
            bench.off_after(TICK)
            assert bench.interlock.value == value
            bench.tripped_by(cause)


def test_bms_protection():
    for bench in benches():
        bench.driver.reading.protecting = True
        bench.off_after(TICK)
        assert bench.control.state == codes.STATE_INHIBITED
        assert bench.control.inhibits & codes.INHIBIT_BMS and not bench.interlock.tripped


def test_clock_not_set():
    for kind in (codes.KIND_CONVERTER, FETS):
        bench = Bench(kind)
        bench.clock._base_unix_ms = None
        bench.renewing = 400_000
        bench.tick(100)
        assert bench.hal.enable_log == [] and bench.driver.wishes == []
        assert bench.control.inhibits & codes.INHIBIT_CLOCK


def test_not_enrolled():
    for kind in (codes.KIND_CONVERTER, FETS):
        bench = Bench(kind)
        bench.control.profile = None
        bench.renewing = 400_000
        bench.tick(100)
        assert bench.hal.enable_log == [] and bench.driver.wishes == []
        assert bench.control.state == codes.STATE_UNENROLLED
        assert bench.control.inhibits == codes.INHIBIT_NOT_ENROLLED


def test_enrolment_lost_while_running():
    for bench in benches():
        bench.control.profile = None
        bench.off_after(TICK)


def test_a_hold_of_the_agent():
    for bench in benches():
        bench.control.held = codes.INHIBIT_STORAGE
        bench.off_after(TICK)
        assert bench.control.state == codes.STATE_INHIBITED


def test_lease_expired():
    for bench in benches():
        bench.renewing = None
        bench.lease.drop()
        bench.offer(bench.control.instructed_mw, 300)
        powers = []
        bench.tick(3 + ZERO_RAMP_MS // TICK + 2, lambda _: powers.append(bench.control.enabled_mw))
        assert not bench.hal.enabled and bench.driver.fets_wanted == 0
        assert bench.control.state == codes.STATE_IDLE and bench.lease.expired_count == 1
        assert bench.control.inhibits == codes.INHIBIT_LEASE
        if bench.kind != FETS:  # a ramp and not a step
            assert any(0 < abs(power) < abs(powers[0]) for power in powers)


def test_the_whole_time_from_a_lost_link_to_zero_is_the_lease_and_the_ramp():
    for bench in benches():
        bench.tick(1)
        bench.renewing = None
        bench.off_after(1500 + ZERO_RAMP_MS + 2 * TICK)


def test_current_when_off():
    for kind in (codes.KIND_CONVERTER, FETS):
        bench = Bench(kind)
        bench.tick(20)
        bench.stray_ma = 5_000
        bench.tick(proof_module.ZERO_PROOF_MS // TICK)
        assert not bench.interlock.tripped
        bench.tick(2)
        bench.tripped_by(codes.TRIP_NOT_ACTUATED)
        # it cannot be released while the current flows
        assert bench.control.hazard_persists()
        bench.stray_ma = 0
        bench.tick(2)
        assert not bench.control.hazard_persists()


def test_fets_that_open_by_themselves():
    for bench in benches():
        bench.driver.follows = False
        bench.driver.reading.fets = 0
        bench.tick()
        assert not bench.hal.enabled, "enabled against a read-back that differs"
        bench.tick(proof_module.FETS_PROOF_MS // TICK + 1)
        bench.tripped_by(codes.TRIP_NOT_ACTUATED)


def test_fets_that_do_not_close():
    for kind in (codes.KIND_CONVERTER, FETS):
        bench = Bench(kind)
        bench.driver.follows = False
        bench.renewing = 500_000
        bench.tick(proof_module.FETS_PROOF_MS // TICK + 2)
        assert bench.hal.enable_log == []
        bench.tripped_by(codes.TRIP_NOT_ACTUATED)


def test_fets_that_do_not_open():
    for bench in benches():
        bench.driver.follows = False
        bench.renewing = None
        bench.lease.drop()
        bench.tick(proof_module.FETS_PROOF_MS // TICK + 8)
        assert not bench.hal.enabled
        bench.tripped_by(codes.TRIP_NOT_ACTUATED)
        assert bench.control.hazard_persists(), "released with FETs that do not open"


def test_power_that_does_not_follow():
    for bench in benches():
        bench.gain_pct = 0
        bench.tick(proof_module.POWER_PROOF_MS // TICK)
        assert not bench.interlock.tripped
        bench.off_after(2 * TICK)
        bench.tripped_by(codes.TRIP_NOT_ACTUATED)


def test_power_in_the_wrong_direction():
    for power in (1_500_000, -1_200_000, 200_000, -200_000):
        bench = Bench().run_at(power)
        bench.plant_ma = lambda power=power: -20_000 if power > 0 else 20_000
        bench.tick(proof_module.POWER_PROOF_MS // TICK)
        bench.off_after(2 * TICK)
        bench.tripped_by(codes.TRIP_NOT_ACTUATED)


def test_a_runaway_within_the_current_limit():
    # commanded little, delivers nearly all it can: no current limit sees that
    bench = Bench().run_at(200_000)
    bench.plant_ma = lambda: 45_000 if bench.hal.enabled else 0
    bench.tick(proof_module.POWER_PROOF_MS // TICK)
    bench.off_after(2 * TICK)
    bench.tripped_by(codes.TRIP_NOT_ACTUATED)


def test_the_tick_in_which_a_proof_fails_is_the_last_one_on():
    bench = Bench().run_at(1_500_000)
    bench.gain_pct = 0
    for _ in range(100):
        bench.tick()
        assert bench.hal.enabled is not bench.interlock.tripped
        if bench.interlock.tripped:
            return
    raise AssertionError("no trip")


# ---- what must not happen ----


def test_nothing_conducts_before_the_first_valid_frame_of_both_groups():
    for kind in (codes.KIND_CONVERTER, FETS):
        for valid, cells in ((False, False), (True, False), (False, True)):
            bench = Bench(kind)
            reading = bench.driver.reading
            reading.valid, reading.cells_valid = valid, cells
            bench.bms_answers = False
            reading.at_ms = reading.cells_at_ms = bench.hal.ticks_ms()
            bench.renewing = 400_000
            bench.tick(15)
            assert bench.hal.enable_log == [] and bench.driver.wishes == []


def test_the_enable_line_waits_for_a_read_back_of_after_the_wish():
    bench = Bench()
    bench.driver.fets_proven = False
    bench.renewing = 1_000_000
    bench.tick(10)
    assert bench.hal.enable_log == [], "an old read-back was believed"
    bench.driver.fets_proven = True
    bench.tick()
    assert bench.hal.enabled


def test_waiting_for_the_fets_winds_nothing_up():
    bench = Bench()
    bench.driver.fets_proven = False
    bench.renewing = 200_000
    bench.tick(15)
    bench.driver.fets_proven = True
    currents = []
    bench.tick(10, lambda _: currents.append(bench.hal.ma))
    assert bench.hal.enabled and max(currents) <= 4_400, max(currents)


def test_a_forbidden_setpoint_from_rest_closes_no_fet():
    for kind in (codes.KIND_CONVERTER, FETS):
        bench = Bench(kind)
        bench.driver.reading.cell_mv_max = 3600
        bench.renewing = -500_000
        bench.tick(30)
        assert bench.hal.enable_log == [] and bench.driver.wishes == []
        assert bench.control.state == codes.STATE_IDLE
        assert bench.control.inhibits == codes.INHIBIT_LIMIT


def test_a_silent_bms_recovers_by_itself_with_a_fresh_reading_and_a_new_setpoint():
    for bench in benches():
        power = bench.renewing
        bench.renewing = None
        bench.lease.drop()
        bench.offer(power, 60_000)  # a lease that would outlast the silence
        bench.tick(5)
        assert bench.hal.enabled
        bench.bms_answers = False
        bench.tick(100)
        assert not bench.hal.enabled and not bench.interlock.tripped
        bench.bms_answers = True
        bench.tick(50)
        assert not bench.hal.enabled, "the old lease came back to life"
        assert bench.control.state == codes.STATE_IDLE
        bench.run_at(power)


def test_an_hour_at_rest_and_at_level_zero_trips_nothing():
    for kind in (codes.KIND_CONVERTER, FETS):
        bench = Bench(kind)
        bench.stray_ma = 80  # the sensor's offset and noise
        bench.tick(3000)
        bench.renewing = 0
        bench.tick(3000)
        assert not bench.interlock.tripped and bench.interlock.trip_count == 0
        bench.run_at(400_000 if kind != FETS else 500_000)


def test_on_off_stage_follows_fractions_without_a_trip():
    for share in (5, 30, 50, 70, 95):
        for sign in (1, -1):
            bench = Bench(FETS)
            bench.renewing = sign * 5000 * share
            energy = []
            bench.tick(3000, lambda _: energy.append(bench.control.realized_mw))
            assert not bench.interlock.tripped
            mean = sum(energy) // len(energy)
            assert abs(mean - bench.renewing) <= 500_000 * 4 // 100, (share, mean)


def test_a_setpoint_of_zero_keeps_a_converter_at_zero_and_an_empty_one_at_rest():
    bench = Bench().run_at(1_000_000)
    bench.renewing = 0
    bench.tick(30)
    assert bench.hal.enabled and abs(bench.control.realized_mw) <= 20_000
    # its standing loss comes from the cells: an empty pack may not feed it
    bench.driver.reading.cell_mv_min = 2800
    bench.tick()
    assert not bench.hal.enabled and bench.control.state == codes.STATE_IDLE
    assert bench.control.inhibits & codes.INHIBIT_LIMIT
    bench.driver.reading.cell_mv_min = 3200
    bench.tick(CELL_HOLD_MS // TICK - 1)
    assert not bench.hal.enabled
    bench.tick(3)
    assert bench.hal.enabled


def test_a_setpoint_of_zero_switches_an_on_off_stage_off():
    bench = Bench(FETS).run_at(500_000)
    bench.renewing = 0
    bench.tick(40)
    assert not bench.hal.enabled and bench.driver.fets_wanted == 0


def test_a_limit_ends_power_at_the_lease_ramp_however_slow_the_profile():
    for rate in (10, 1000, 10_000_000):
        bench = Bench(ramp_mw_per_s=10_000_000).run_at(1_500_000)
        bench.control.profile.ramp_mw_per_s = rate
        bench.driver.reading.cell_mv_min = 2800
        bench.off_after(ZERO_RAMP_MS + 2 * TICK)
        assert bench.control.inhibits & codes.INHIBIT_LIMIT
        assert not bench.interlock.tripped


def test_a_limit_ends_an_on_off_stage_within_its_minimum_time():
    bench = Bench(FETS)
    bench.renewing = 500_000
    bench.tick(3)
    assert bench.hal.enabled
    bench.driver.reading.cell_mv_min = 2800
    bench.off_after(TICK)
    assert not bench.interlock.tripped


def test_a_limit_ends_a_level_that_outlives_its_setpoint():
    # the host turns to charging; the minimum time would go on discharging an empty pack
    bench = Bench(FETS)
    bench.renewing = 500_000
    bench.tick(3)
    assert bench.hal.enabled
    bench.driver.reading.cell_mv_min = 2800
    bench.renewing = -500_000
    bench.tick()
    assert not bench.hal.enabled and bench.driver.fets_wanted == 0


def test_the_error_of_the_past_never_drives_a_forbidden_direction():
    # after much discharge too much, a small discharge would be balanced by charging a full pack
    bench = Bench(FETS)
    for power, ticks in ((500_000, 12), (10_000, 300), (0, 100), (100_000, 300)):
        bench.renewing = power
        bench.driver.reading.cell_mv_max = 3600
        bench.tick(ticks, lambda _: charging(bench))
    assert not bench.interlock.tripped


def charging(bench):
    assert bench.control.enabled_mw >= 0 and bench.driver.fets_wanted != 1


def test_a_reversal_through_a_forbidden_direction_goes_down_at_once():
    bench = Bench(ramp_mw_per_s=1_000_000).run_at(1_500_000)
    bench.driver.reading.soc_bp = 1000  # no more discharge; charging is welcome
    bench.renewing = -1_000_000
    bench.offer(-1_000_000)
    bench.tick(ZERO_RAMP_MS // TICK + 2)
    assert bench.control.instructed_mw <= 0
    bench.tick(30)
    assert bench.control.realized_mw < -900_000


def test_the_current_limit_holds_at_a_sagging_voltage():
    bench = Bench(current_ma_discharge_max=30_000).run_at(1_450_000)
    bench.driver.reading.pack_mv = 44_000
    bench.tick(20)
    assert bench.hal.ma <= 30_000 + 100 and bench.control.inhibits & codes.INHIBIT_LIMIT
    assert bench.hal.enabled and not bench.interlock.tripped
    bench.driver.reading.pack_mv = 51_200
    bench.tick(20)
    assert not bench.control.inhibits & codes.INHIBIT_LIMIT


def test_a_trip_released_between_two_ticks_still_costs_the_lease():
    for bench in benches():
        bench.renewing = None
        bench.interlock.trip(codes.TRIP_FIRE)
        assert bench.interlock.release(1, codes.TRIP_FIRE, False)
        bench.tick()
        assert not bench.hal.enabled and not bench.lease.live
        bench.tick(20)
        assert not bench.hal.enabled


def test_a_trip_while_unenrolled_is_honoured_after_enrolment():
    bench = Bench()
    profile = bench.control.profile
    bench.control.profile = None
    bench.interlock.trip(codes.TRIP_FIRE)
    bench.tick(5)
    bench.control.profile = profile
    bench.renewing = 1_000_000
    bench.tick(20)
    assert bench.control.state == codes.STATE_TRIPPED and bench.hal.enable_log == []


def test_hazard_persists_says_yes_to_everything_unknown():
    bench = Bench()
    bench.tick(3)
    assert not bench.control.hazard_persists()
    for field, value in (("cell_mv_max", 3701), ("cell_mv_min", 2699), ("current_ma", 90_000),
                         ("temperature_mdegc_max", 55_001)):
        bench = Bench()
        bench.tick(3)
        setattr(bench.driver.reading, field, value)
        assert bench.control.hazard_persists(), field
    bench = Bench()
    bench.tick(3)
    bench.hal.input_ok = False
    assert bench.control.hazard_persists()
    bench = Bench()
    bench.tick(3)
    bench.bms_answers = False
    bench.tick(25)
    assert bench.control.hazard_persists()
    bench = Bench()
    bench.control.held = codes.INHIBIT_STORAGE
    bench.tick(3)
    assert bench.control.hazard_persists()
    bench = Bench()
    bench.control.profile = None
    assert bench.control.hazard_persists()


def test_random_operation_keeps_every_promise():
    seed = 77

    def draw(size):
        nonlocal seed
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        return (seed >> 8) % size

    for kind in (codes.KIND_CONVERTER, FETS):
        bench = Bench(kind, now_ms=WRAP - 60_000)
        limit = 500_000 if kind == FETS else 2_000_000
        conducted = last = 0
        for _ in range(20000):
            choice = draw(60)
            reading = bench.driver.reading
            if choice < 8:
                bench.offer(draw(2 * limit + 1) - limit, 100 + draw(3000))
            elif choice == 8:
                bench.bms_answers = draw(4) != 0
            elif choice == 9:
                reading.protecting = draw(4) == 0
            elif choice == 10:
                reading.cell_mv_min = 2798 + draw(400)
            elif choice == 11:
                reading.soc_bp = 900 + draw(8200)
            elif choice == 12:
                reading.cell_mv_max = 3202 + draw(400)
            elif choice == 13 and draw(10) == 0:
                bench.interlock.trip(1 + draw(10))
            elif choice == 14 and bench.interlock.tripped:
                bench.interlock.release(bench.interlock.order_number + 1, bench.interlock.cause,
                                        bench.control.hazard_persists())
            elif choice == 15:
                bench.driver.fets_proven = draw(4) != 0
            bench.tick()
            if bench.hal.enabled:
                conducted += 1
                power = bench.control.enabled_mw
                allowed = not ((power > 0 and (reading.soc_bp <= 1000
                                               or reading.cell_mv_min <= 2800))
                               or (power < 0 and (reading.soc_bp >= 9000
                                                  or reading.cell_mv_max >= 3600)))
                # a converter leaves a forbidden direction or a lost lease by its ramp to zero
                assert (allowed and bench.lease.live) or (abs(power) < abs(last) and kind != FETS)
                assert reading.valid and not reading.protecting
            last = bench.control.enabled_mw
        assert conducted > 2000, conducted


def test_fets_wanted_are_both_for_a_converter():
    bench = Bench().run_at(1_000_000)
    assert bench.driver.fets_wanted == FETS_BOTH
