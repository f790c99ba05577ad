"""The control step allocates nothing: proven under a locked heap, with every envelope in use."""

from control_bench import FETS, FULL_MA, TICK, Bench, Link
from fakes import Loop
from inverter_script import Script

from element.power.base import FAULT_LINK_COLLAPSED
from element.power.converter import Converter
from element.power.relay import Relay
from element.power.sunspec import SunSpec
from element.protocol import codes

try:
    from micropython import heap_lock, heap_unlock
except ImportError:  # CPython has no such lock: there the test only runs the same ticks
    def heap_lock():
        """Do nothing."""

    heap_unlock = heap_lock

ENVELOPES = {
    "thermal_window_s": 24, "thermal_mwh_max": 1_000_000, "thermal_rise_mdegc_max": 20_000,
    "swing_window_s": 24, "swing_bp_max": 5000, "day_cycles_milli_max": 3000,
    "discharge_bp_at_soc": [1000, 5000, 4000, 10000], "charge_bp_at_soc": [5000, 10000],
}


def locked_ticks(bench, count):
    """Run ticks with the heap locked; raises MemoryError where one allocates."""
    hal = bench.hal
    control = bench.control
    reading = bench.driver.reading
    plant = bench.plant_ma
    for _ in range(count):
        hal.now_ms += TICK
        now = hal.ticks_ms()
        reading.at_ms = reading.cells_at_ms = now
        if bench.link is not None:
            hal.link_mv = bench.link.after(TICK, hal, reading)
        hal.ma = reading.current_ma = plant()
        heap_lock()
        try:
            control.step(now, TICK)
        finally:
            heap_unlock()


def quiet(bench):
    """Stop the fakes' own logs, which take memory when something changes."""
    hal = bench.hal
    driver = bench.driver

    def enable_set(on):
        hal.enabled = on

    def want_fets(fets):
        driver.fets_wanted = driver.reading.fets = fets

    hal.enable_set = enable_set
    driver.want_fets = want_fets
    return bench


def test_running_idle_and_tripped():
    for kind, power in ((codes.KIND_CONVERTER, 1_500_000), (codes.KIND_CONVERTER, -1_500_000),
                        (FETS, 500_000)):
        bench = Bench(kind, **ENVELOPES).run_at(power)
        bench.renewing = None
        bench.offer(power, 4000)
        bench.tick()
        locked_ticks(bench, 35)  # buckets of one second turn in it
        assert bench.hal.enabled
        bench.tick(20)
        locked_ticks(bench, 20)
        assert not bench.hal.enabled
        bench.interlock.trip(codes.TRIP_FIRE)
        bench.tick()
        locked_ticks(bench, 20)
        assert bench.control.state == codes.STATE_TRIPPED


def test_at_a_limit():
    bench = Bench(**ENVELOPES).run_at(1_500_000)
    bench.driver.reading.cell_mv_min = 2800
    bench.tick(5)
    locked_ticks(bench, 20)
    assert not bench.hal.enabled


def test_stale():
    bench = Bench(**ENVELOPES).run_at(1_500_000)
    bench.bms_answers = False
    bench.tick(30)
    hal = bench.hal
    for _ in range(20):
        hal.now_ms += TICK
        heap_lock()
        try:
            bench.control.step(hal.now_ms, TICK)
        finally:
            heap_unlock()
    assert bench.control.inhibits & codes.INHIBIT_STALE


def test_every_other_stage():
    relay = Relay(500_000, 3, 3000, 2000, 600, 240, 300, 0)
    bench = quiet(Bench(codes.KIND_RELAY, stage=relay, **ENVELOPES))
    locked_ticks(bench, 5)
    bench.offer(200_000, 5000)
    locked_ticks(bench, 30)  # it switches on, off and on
    assert bench.control.state == codes.STATE_ACTIVE
    bench.interlock.trip(codes.TRIP_FIRE)
    bench.tick()
    locked_ticks(bench, 5)


def test_every_phase_of_a_precharge():
    bench = quiet(Bench(stage=Converter(FULL_MA, 12_000, 300, 1000), **ENVELOPES))
    bench.link = Link()
    locked_ticks(bench, 5)
    bench.offer(1_000_000, 5000)
    locked_ticks(bench, 20)
    assert bench.hal.enabled and not bench.hal.precharge
    bench.link.gone = True
    # the trip itself may allocate what it keeps: the ticks before it and after it may not
    locked_ticks(bench, 6)
    bench.tick(3)
    assert bench.interlock.value == FAULT_LINK_COLLAPSED
    locked_ticks(bench, 5)


def test_a_stage_that_talks():
    stage = SunSpec(15_000, 400, 1, 19200, 3000)
    bench = quiet(Bench(codes.KIND_SUNSPEC, stage=stage, **ENVELOPES))
    script = Script(bench.hal)
    loop = Loop(bench.hal)
    loop.add(stage.run(bench.hal))
    bench.plant_ma = lambda: bench.hal.enabled * script.setpoint_w * 21

    def ticks(count):
        for _ in range(count):
            now = bench.hal.now_ms
            loop.run_until(now + TICK)
            bench.hal.now_ms = now
            locked_ticks(bench, 1)

    ticks(10)
    bench.offer(1_000_000, 3000)
    ticks(20)
    assert bench.hal.enabled and script.setpoint_w == 1000
    script.silent = True  # it ages
    ticks(9)
    script.silent = False
    ticks(30)
    assert not bench.hal.enabled and script.setpoint_w == 0
