"""Check the relay stage: levels, directions, contact life, start-up time, a welded contact."""

from control_bench import Bench

from element.bms.base import FET_CHARGE, FET_DISCHARGE, FETS_BOTH
from element.power.base import FAULT_NAMES, FAULT_REFUSED, PowerStage
from element.power.relay import BOUNCE_MS, Relay
from element.protocol import codes

STEP = 500_000
DT = 100
MV = 48_000
HOUR_S = 3600


def make(directions=FETS_BOTH, per_hour=240, on_ms=3000, off_ms=2000, start_ms=300):
    stage = Relay(STEP, directions, on_ms, off_ms, 600, per_hour, start_ms, 0)
    stage.start(0)
    return stage


def run(stage, target, seconds):
    return [stage.step(target, MV, 0, DT, -1).commanded_mw for _ in range(seconds * 10)]


def closings(powers):
    return sum(1 for index in range(1, len(powers)) if powers[index] and not powers[index - 1])


def test_the_fets_stay_closed_and_the_relay_alone_switches():
    for target, level in ((STEP, 1), (0, 0), (-STEP, -1)):
        stage = make()
        out = stage.step(target, MV, 0, DT, -1)
        assert out.fets == FETS_BOTH and not out.precharge
        assert out.enable is (level != 0) and out.commanded_mw == level * STEP
        assert out.duty_permille == level * 1000
    rest = stage.zero()
    assert (rest.enable, rest.fets, rest.duty_permille, rest.commanded_mw) == (False, 0, 0, 0)


def test_a_relay_of_one_direction_never_does_the_other():
    assert set(run(make(FET_DISCHARGE), -STEP, 20)) == {0}
    assert set(run(make(FET_CHARGE), STEP, 20)) == {0}
    assert set(run(make(FET_DISCHARGE), STEP, 20)) == {STEP}
    assert set(run(make(FET_CHARGE), -STEP, 20)) == {-STEP}


def test_the_mean_is_the_target_while_the_contacts_allow_it():
    powers = run(make(), STEP // 3, 600)
    assert abs(sum(powers) // len(powers) - STEP // 3) <= 4 * STEP // 600


def test_no_hour_has_more_closings_than_the_contacts_life_allows():
    for per_hour in (2, 20, 60):
        stage = make(per_hour=per_hour, on_ms=1000, off_ms=1000)
        powers = [0] + run(stage, STEP // 2, 3 * HOUR_S)
        at = [index for index in range(1, len(powers)) if powers[index] and not powers[index - 1]]
        worst = max(sum(1 for other in at if one <= other < one + HOUR_S * 10) for one in at)
        assert 1 <= worst <= per_hour, (per_hour, worst)
        assert closings(powers) >= per_hour, "the second and third hour got nothing"


def test_opening_is_never_limited():
    stage = make(per_hour=2, on_ms=0, off_ms=0)
    run(stage, STEP, 1)
    assert stage.zero().enable is False
    stage.start(BOUNCE_MS)
    assert set(run(stage, STEP, 10)) == {0}, "the one closing of this half hour was used"
    stage.zero()
    stage.start(HOUR_S * 1000)
    assert run(stage, STEP, 1)[-1] == STEP, "rest did not count"


def test_contacts_rest_for_their_bounce_whatever_the_board_says():
    stage = make(on_ms=0, off_ms=0)
    stage.step(STEP, MV, 0, 10, -1)
    assert stage.step(0, MV, 0, 10, -1).enable, "switched while it bounced"
    assert not stage.step(1, MV, 0, BOUNCE_MS, -1).enable


def test_the_proof_waits_for_the_start_and_no_longer():
    stage = make(start_ms=2000)
    assert stage.settle_ms == 0
    stage.step(STEP, MV, 0, DT, -1)
    for _ in range(20):
        assert stage.settle_ms == 2000 + BOUNCE_MS
        stage.step(STEP, MV, 0, DT, -1)
        stage.withheld()  # the FETs have not closed: the start has not begun
    for _ in range(35):
        stage.step(STEP, MV, 0, DT, -1)
        assert stage.settle_ms == 2000 + BOUNCE_MS
    run(stage, STEP, 1)
    assert stage.settle_ms == 0, "a stage that dies later would be given the start-up time"
    run(stage, 0, 4)
    assert stage.settle_ms == 0


def test_the_contract_has_no_logic():
    stage = PowerStage()
    for call in (lambda: stage.start(0), lambda: stage.step(0, MV, 0, DT, -1), stage.withheld,
                 lambda: stage.pack_mw_of(0), stage.zero, lambda: stage.realized_mw(MV, 0)):
        try:
            call()
        except NotImplementedError:
            continue
        raise AssertionError("a stage without a body")
    stage.idle(MV, -1, DT)
    assert stage.run(None) is None and (stage.fault, stage.settle_ms) == (0, 0)
    assert len(FAULT_NAMES) == FAULT_REFUSED + 1


# ---- in the control loop ----


def relay_bench(start_ms=300, **changes):
    return Bench(codes.KIND_RELAY, stage=make(start_ms=start_ms), **changes)


def test_both_directions_run_and_end_at_zero():
    for power in (STEP, -STEP):
        bench = relay_bench().run_at(power)
        assert bench.driver.fets_wanted == FETS_BOTH
        bench.renewing = None
        bench.off_after(1800)


def test_a_welded_relay_is_noticed_at_rest_and_the_fets_open():
    bench = relay_bench().run_at(STEP)
    bench.welded = True
    bench.renewing = 0
    took = bench.off_after(6000)
    bench.tripped_by(codes.TRIP_NOT_ACTUATED)
    # the minimum on time and the old lease, then half a second of current at rest
    assert took <= 4500 and bench.hal.ma == 0


def test_a_relay_that_stays_open_is_not_actuated():
    bench = relay_bench()
    bench.gain_pct = 0
    bench.renewing = STEP
    bench.tick(25)
    bench.tripped_by(codes.TRIP_NOT_ACTUATED)


def test_a_relay_that_dies_while_it_runs_trips_in_two_seconds():
    bench = relay_bench().run_at(STEP)
    bench.gain_pct = 0
    assert bench.off_after(2000) <= 2000
    bench.tripped_by(codes.TRIP_NOT_ACTUATED)
