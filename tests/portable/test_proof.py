"""Check the proofs of actuation: the fourth above all, two measurements of one current."""

from control_bench import FETS, TICK, Bench

from element.proof import SENSE_MISSES_MAX, SENSE_SPAN_MS
from element.protocol import codes


def with_polls(bench, period_ms=500):
    """Make the BMS's reading a new one every period only, and its current that of the plant."""
    state = {"at": None, "ma": 0}
    step = bench.control.step

    def stepped(now, dt):
        reading = bench.driver.reading
        if state["at"] is None or bench.hal.ticks_diff(now, state["at"]) >= period_ms:
            state["at"] = now
            state["ma"] = bench.bms_ma()
        reading.at_ms = state["at"]
        reading.current_ma = state["ma"]
        step(now, dt)

    bench.bms_follows = False
    bench.bms_ma = bench.plant_ma
    bench.control.step = stepped
    return bench


def test_two_measurements_of_a_moving_current_agree():
    for kind in (codes.KIND_CONVERTER, FETS):
        bench = with_polls(Bench(kind))
        limit = 500_000 if kind == FETS else 2_000_000
        seed = 3
        for _ in range(200):
            seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
            bench.offer((seed >> 8) % (2 * limit) - limit, 3000)
            bench.tick(1 + (seed >> 5) % 25)
        assert not bench.interlock.tripped, bench.interlock.cause


def test_a_sensor_that_is_stuck_is_found_in_two_seconds():
    for power in (1_500_000, -1_500_000):
        bench = with_polls(Bench().run_at(power))
        stuck = bench.plant_ma()
        truth = bench.plant_ma
        bench.tick(13)
        bench.plant_ma = lambda stuck=stuck: stuck  # the sensor; the BMS still tells the truth
        bench.bms_ma = truth
        bench.renewing = power // 3
        began = bench.hal.now_ms
        while not bench.interlock.tripped and bench.hal.now_ms - began < 5000:
            bench.tick()
        # with a stuck sensor the loop drives the duty away: whichever proof is first
        assert bench.interlock.cause in (codes.TRIP_SENSE, codes.TRIP_NOT_ACTUATED)
        assert bench.hal.now_ms - began <= 2000, bench.hal.now_ms - began
        assert not bench.hal.enabled


def test_a_frozen_bms_is_found_when_the_current_moves():
    bench = with_polls(Bench().run_at(1_800_000))
    bench.tick(13)
    frozen = bench.plant_ma()
    bench.bms_ma = lambda: frozen
    bench.renewing = 300_000
    bench.offer(300_000)
    began = bench.hal.now_ms
    while not bench.interlock.tripped and bench.hal.now_ms - began < 5000:
        bench.tick()
    assert bench.interlock.cause == codes.TRIP_SENSE
    assert bench.hal.now_ms - began <= 2000 + TICK
    assert bench.interlock.value < 10_000 and bench.interlock.limit == frozen
    # and while they disagree nothing releases it
    assert bench.control.hazard_persists()


def test_one_odd_reading_is_no_trip():
    bench = with_polls(Bench().run_at(1_000_000))
    assert SENSE_MISSES_MAX == 2 and SENSE_SPAN_MS == 400
    truth = bench.bms_ma
    for _ in range(5):
        bench.bms_ma = lambda: -40_000
        bench.tick(5)
        assert bench.control.proof.failing
        bench.bms_ma = truth
        bench.tick(10)
        assert not bench.control.proof.failing
    assert not bench.interlock.tripped


def test_a_stale_bms_proves_nothing_and_accuses_nobody():
    bench = with_polls(Bench().run_at(1_000_000))
    bench.bms_ma = lambda: -40_000
    bench.tick(4)
    bench.control.step.__name__
    bench.driver.reading.valid = False
    bench.bms_answers = False
    bench.control.proof._compare(bench.driver.reading, False, 0, 1000, TICK)
    assert not bench.interlock.tripped and bench.control.proof._misses == 0


def test_a_stage_that_starts_slowly_gets_its_time():
    for settle_ms, cause in ((2000, codes.TRIP_NONE), (0, codes.TRIP_NOT_ACTUATED)):
        bench = Bench().run_at(1_500_000)
        bench.stage.settle_ms = settle_ms
        bench.gain_pct = 0
        bench.bms_follows = True
        bench.tick(25)
        assert bench.interlock.cause == cause


def test_a_stage_that_reports_a_fault_is_a_trip_and_keeps_the_latch_shut():
    bench = Bench().run_at(1_500_000)
    bench.stage.fault = 7
    bench.off_after(TICK)
    bench.tripped_by(codes.TRIP_STAGE)
    assert bench.interlock.value == 7 and bench.control.hazard_persists()
    bench.stage.fault = 0
    bench.tick(20)
    assert not bench.control.hazard_persists()


def test_a_bms_that_switches_by_itself_is_not_asked_for_its_fets():
    bench = Bench()
    bench.driver.can_switch = False
    bench.driver.follows = False
    bench.driver.reading.fets = 3
    bench.run_at(1_000_000)
    bench.renewing = None
    bench.tick(60)
    # its FETs stay closed at rest, which proves nothing and trips nothing
    assert not bench.interlock.tripped and not bench.hal.enabled
    bench.run_at(1_000_000)
    bench.driver.reading.fets = 1  # it forbids the discharge
    bench.tick(2)
    assert not bench.hal.enabled
