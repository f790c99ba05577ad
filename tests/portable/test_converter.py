"""Check the current loop against a simple plant with gain error, offset and open FETs."""

from control_bench import TICK, Bench, Link

from element.bms.base import FETS_BOTH
from element.power.base import (
    FAULT_LINK_AT_REST,
    FAULT_LINK_COLLAPSED,
    FAULT_NONE,
    FAULT_PRECHARGE,
)
from element.power.converter import COLLAPSE_MS_MAX, DISCHARGE_MS_MAX, Converter
from element.protocol import codes

FULL_MA = 60_000
STANDING_MW = 12_000
LOSS_BP = 300
MV = 51_200
DT = 50


def make():
    stage = Converter(FULL_MA, STANDING_MW, LOSS_BP)
    stage.start(0)
    return stage


class Plant:
    """Current in proportion to the duty within one tick, with a gain error and an offset."""

    def __init__(self, gain_pct=100, offset_ma=0):
        self.gain_pct = gain_pct
        self.offset_ma = offset_ma
        self.ma = 0

    def apply(self, out, closed=True):
        self.ma = 0
        if closed and out.enable:
            self.ma = out.duty_permille * FULL_MA // 1000 * self.gain_pct // 100 + self.offset_ma


def wanted_ma(stage, target):
    return stage.pack_mw_of(target) * 1000 // MV


def run(stage, plant, target, ticks, closed=True):
    currents = []
    for _ in range(ticks):
        plant.apply(stage.step(target, MV, plant.ma, DT, -1), closed)
        currents.append(plant.ma)
    return currents


def test_converges_with_gain_errors_and_offsets():
    for gain in (95, 97, 100, 103, 105):
        for offset in (-300, 0, 300):
            for target in (-2_000_000, -500_000, 0, 100_000, 1_000_000, 2_500_000):
                stage = make()
                currents = run(stage, Plant(gain, offset), target, 40)
                # one permille of duty is 60 mA
                for current in currents[20:]:
                    assert abs(current - wanted_ma(stage, target)) <= 130, (gain, target)


def test_no_overshoot_beyond_the_gain_error():
    for gain in (95, 105):
        stage = make()
        currents = run(stage, Plant(gain), 2_000_000, 40)
        assert max(currents) <= wanted_ma(stage, 2_000_000) * 106 // 100


def test_the_sign_and_the_losses():
    stage = make()
    # 1 kW to the PCC takes 1,030 W and the standing loss; 1 kW from it leaves 970 W less that
    assert stage.pack_mw_of(1_000_000) == 1_042_000
    assert stage.pack_mw_of(-1_000_000) == -958_000
    assert stage.pack_mw_of(0) == STANDING_MW
    assert make().step(1_000_000, MV, 0, DT, -1).duty_permille > 0
    assert make().step(-1_000_000, MV, 0, DT, -1).duty_permille < 0
    for target in (-2_000_000, -700_000, 0, 700_000, 2_000_000):
        pack_ma = wanted_ma(stage, target)
        assert abs(stage.realized_mw(MV, pack_ma) - target) <= 3000


def test_no_wind_up_while_the_fets_are_open():
    for target in (100_000, 300_000, -300_000):
        stage = make()
        plant = Plant(100)
        for _ in range(40):  # two seconds until the FETs close
            plant.apply(stage.step(target, MV, plant.ma, DT, -1), closed=False)
            stage.withheld()
        first = run(stage, plant, target, 1)[0]
        assert abs(first - wanted_ma(stage, target)) <= 120, (target, first)


def test_no_wind_up_against_the_stop():
    stage = make()
    plant = Plant(50)  # far beyond what the trim may correct
    run(stage, plant, 2_900_000, 200)
    assert abs(stage._trim_ma) <= FULL_MA // 8
    plant.gain_pct = 100
    currents = run(stage, plant, 500_000, 20)
    assert abs(currents[-1] - wanted_ma(stage, 500_000)) <= 130


def test_a_stage_that_is_dead_at_zero_comes_back_at_zero():
    # found by a campaign: the trim wound up to an eighth of full scale, and 363 W flowed
    stage = make()
    for _ in range(400):
        out = stage.step(0, MV, 0, DT, -1)  # the losses are asked for, and nothing flows
    plant = Plant()
    plant.apply(out)
    assert plant.ma <= wanted_ma(stage, 0) * 9 // 8 + FULL_MA // 150
    assert abs(run(stage, plant, 0, 40)[-1] - wanted_ma(stage, 0)) <= 130


def test_a_large_error_teaches_nothing():
    stage = make()
    plant = Plant(100)
    run(stage, plant, 2_000_000, 20)
    before = stage._trim_ma
    for _ in range(100):  # the BMS has cut off by itself
        stage.step(2_000_000, MV, 0, DT, -1)
    assert stage._trim_ma == before


def test_the_first_tick_after_rest_carries_no_stale_trim():
    stage = make()
    plant = Plant(95, -300)
    run(stage, plant, 2_500_000, 60)
    assert stage._trim_ma > 1000
    stage.zero()
    stage.start(1000)
    out = stage.step(50_000, MV, 0, DT, -1)
    assert abs(out.duty_permille - wanted_ma(stage, 50_000) * 1000 // FULL_MA) <= 1


def test_zero_is_zero_and_at_once():
    stage = make()
    run(stage, Plant(95), 2_500_000, 30)
    out = stage.zero()
    assert (out.enable, out.duty_permille, out.fets, out.commanded_mw) == (False, 0, 0, 0)


def test_the_duty_stays_in_its_range():
    stage = make()
    for target in (-100_000_000, 100_000_000):
        for mv in (500, 2000, MV, 200_000):
            for sense in (-1_000_000, 0, 1_000_000):
                out = stage.step(target, mv, sense, DT, -1)
                assert -1000 <= out.duty_permille <= 1000
                assert out.enable and out.fets == FETS_BOTH and out.commanded_mw == target


def test_without_a_voltage_nothing_is_asked():
    assert make().step(1_000_000, 0, 0, DT, -1).duty_permille == 0


def test_follows_a_ramp_within_one_tick():
    stage = make()
    plant = Plant(103)
    run(stage, plant, 0, 20)
    for step in range(40):
        target = step * 50_000
        run(stage, plant, target, 1)
        assert abs(plant.ma - wanted_ma(stage, target)) <= wanted_ma(stage, target) // 25 + 400


# ---- pre-charge ----

LINK_MS_MAX = 1000


def make_linked():
    stage = Converter(FULL_MA, STANDING_MW, LOSS_BP, LINK_MS_MAX)
    stage.start(0)
    return stage


def is_rest(out):
    return (out.enable, out.precharge, out.duty_permille, out.fets, out.commanded_mw) == (
        False, False, 0, 0, 0)


def is_waiting(out):
    return (out.enable, out.precharge, out.duty_permille, out.fets, out.commanded_mw) == (
        False, True, 0, 0, 0)


def step(stage, link_mv, target=1_000_000, mv=MV, dt=TICK):
    return stage.step(target, mv, 0, dt, link_mv)


def running(stage):
    """Bring a stage to running."""
    for _ in range(2):
        assert is_waiting(step(stage, MV))
        if stage._phase_ms >= TICK:
            break
    assert step(stage, MV).precharge and not step(stage, MV).precharge
    return stage


def test_the_fets_wait_for_the_link():
    stage = make_linked()
    for link_mv in (0, MV * 50 // 100, MV * 94 // 100):
        assert is_waiting(step(stage, link_mv))
    out = step(stage, MV * 96 // 100)
    assert out.fets == FETS_BOTH and out.enable and out.precharge
    # the FETs have not closed: the pre-charge stays on for as long
    for _ in range(5):
        stage.withheld()
        assert step(stage, MV).precharge
    out = step(stage, MV)
    assert not out.precharge and out.enable and out.commanded_mw == 1_000_000


def test_a_link_that_is_up_at_once_is_looked_at_twice():
    stage = make_linked()
    assert is_waiting(step(stage, MV)), "a sensor that is stuck high would skip the pre-charge"
    assert step(stage, MV).enable


def test_a_link_that_does_not_come_up_is_a_fault():
    for link_mv in (-1, 0, MV * 90 // 100):
        stage = make_linked()
        waited_ms = 0
        while not stage.fault:
            out = step(stage, link_mv)
            assert out.fets == 0 and not out.enable
            waited_ms += TICK
            assert waited_ms <= LINK_MS_MAX + 2 * TICK
        assert stage.fault == FAULT_PRECHARGE
        assert is_rest(out) and is_rest(step(stage, MV)), "it closed after all"
        assert is_rest(stage.zero()) and stage.fault == FAULT_NONE
    assert waited_ms > LINK_MS_MAX


def test_without_a_pack_voltage_nothing_closes():
    stage = make_linked()
    for _ in range(5):
        assert is_waiting(step(stage, 0, mv=0))


def test_a_link_that_collapses_takes_the_outputs_off_at_once():
    for link_mv in (-1, 0, MV * 49 // 100):
        stage = running(make_linked())
        assert is_rest(step(stage, link_mv))
        assert stage.fault == FAULT_NONE, "a BMS that has cut off says so a little later"
        for _ in range(COLLAPSE_MS_MAX // TICK):
            # the FETs are open by now: nothing closes them but a new start
            assert is_rest(step(stage, MV))
        assert stage.fault == FAULT_LINK_COLLAPSED
        assert is_rest(stage.zero()) and stage.fault == FAULT_NONE
        stage.start(TICK)
        assert is_waiting(step(stage, 0))


def test_a_link_that_collapses_while_the_fets_close_is_the_same():
    stage = make_linked()
    step(stage, MV)
    assert step(stage, MV).enable
    stage.withheld()
    assert is_rest(step(stage, 0))


def test_half_the_voltage_is_still_a_link():
    stage = running(make_linked())
    assert step(stage, MV // 2).enable


def test_a_link_live_at_rest_is_a_weld_after_its_discharge_time():
    stage = make_linked()
    stage.zero()
    for _ in range(DISCHARGE_MS_MAX // TICK):
        stage.idle(MV, MV * 60 // 100, TICK)
    assert stage.fault == FAULT_NONE
    stage.idle(MV, MV * 60 // 100, TICK)
    assert stage.fault == FAULT_LINK_AT_REST
    stage.zero()
    stage.idle(0, 0, TICK)  # the BMS is silent: nothing to compare with
    assert stage.fault == FAULT_LINK_AT_REST, "no release while it is still live"
    stage.idle(MV, MV * 40 // 100, TICK)
    assert stage.fault == FAULT_NONE


def test_a_link_that_discharges_between_is_none():
    stage = make_linked()
    for _ in range(5):
        for _ in range(DISCHARGE_MS_MAX // TICK - 1):
            stage.idle(MV, MV, TICK)
        stage.idle(MV, 0, TICK)
    assert stage.fault == FAULT_NONE


def test_a_start_counts_the_discharge_anew():
    stage = make_linked()
    for _ in range(3):
        for _ in range(DISCHARGE_MS_MAX // TICK - 1):
            stage.idle(MV, MV, TICK)
        stage.start(0)
        running(stage)
        stage.zero()
    assert stage.fault == FAULT_NONE


def test_without_a_sensor_the_stage_is_what_it_was():
    stage = make()
    for _ in range(1000):
        stage.idle(MV, MV, TICK)
    assert stage.fault == FAULT_NONE
    out = stage.step(1_000_000, MV, 0, DT, -1)
    assert out.enable and not out.precharge and stage.run(None) is None


# ---- pre-charge in the control loop ----


def linked_bench(mv=0):
    bench = Bench(stage=Converter(FULL_MA, STANDING_MW, LOSS_BP, LINK_MS_MAX))
    bench.link = Link(mv)
    return bench


def test_control_precharges_closes_runs_and_ends():
    bench = linked_bench()
    seen = []

    def look(_):
        seen.append((bench.hal.precharge, bench.hal.enabled))

    bench.renewing = 1_500_000
    bench.tick(30, look)
    first_on = seen.index((True, True))
    assert set(seen[:first_on]) == {(True, False)} and first_on <= 4
    assert set(seen[first_on + 1:]) == {(False, True)}
    assert bench.link.closed_mv[0] >= MV * 95 // 100
    bench.renewing = None
    bench.off_after(1800)
    assert not bench.hal.precharge


def test_control_trips_on_every_link_fault():
    bench = linked_bench()
    bench.link.works = False
    bench.renewing = 1_000_000
    bench.tick(13)
    assert bench.interlock.cause == codes.TRIP_STAGE and bench.interlock.value == FAULT_PRECHARGE
    assert not bench.hal.precharge and not bench.link.closed_mv
    assert not bench.control.hazard_persists(), "the next start looks again"

    bench = linked_bench().run_at(1_000_000)
    bench.link.gone = True
    bench.off_after(TICK)
    bench.tick(8)
    assert bench.interlock.cause == codes.TRIP_STAGE
    assert bench.interlock.value == FAULT_LINK_COLLAPSED

    bench = linked_bench()
    bench.link.welded = True
    bench.tick(DISCHARGE_MS_MAX // TICK + 2)
    assert bench.interlock.cause == codes.TRIP_STAGE
    assert bench.interlock.value == FAULT_LINK_AT_REST and bench.control.hazard_persists()
    bench.link.welded = False
    bench.tick(60)
    assert not bench.control.hazard_persists()


def test_a_bms_that_cuts_off_by_itself_is_no_fault_of_the_link():
    bench = linked_bench().run_at(1_000_000)
    bench.driver.follows = False
    bench.driver.reading.fets = 0
    bench.link.gone = True  # the converter has emptied it in milliseconds
    bench.tick(2)
    assert not bench.hal.enabled
    bench.driver.reading.protecting = True
    bench.tick(10)
    assert not bench.interlock.tripped and bench.control.state == codes.STATE_INHIBITED
    bench.driver.follows = True
    bench.driver.reading.protecting = bench.link.gone = False
    bench.tick(20)
    assert bench.hal.enabled and min(bench.link.closed_mv) >= MV * 95 // 100


def test_a_trip_during_precharge_ends_it():
    bench = linked_bench()
    bench.link.works = False
    bench.renewing = 1_000_000
    bench.tick(3)
    assert bench.hal.precharge
    bench.interlock.trip(codes.TRIP_OPERATOR)
    bench.tick()
    assert not bench.hal.precharge


def test_over_current_takes_one_tick():
    bench = linked_bench().run_at(2_000_000)
    bench.gain_pct = 400
    # the sensor of the next tick shows it, and that tick is the last with the stage on
    bench.tick()
    assert not bench.hal.enabled and bench.interlock.cause == codes.TRIP_OVER_CURRENT
