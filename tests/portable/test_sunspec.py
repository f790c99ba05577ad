"""Check the inverter stage: scan, scales, arming, setpoint, refresh, zero, and every fault."""

from control_bench import Bench
from element_bench import Board
from fakes import FakeHAL, Loop, make_profile
from inverter_script import Script

from element.bms.base import FETS_BOTH
from element.power import base as faults
from element.power import sunspec as module
from element.power import sunspec_map as at
from element.power.choose import make_stage
from element.power.modbus import Line
from element.power.sunspec import REFRESH_MS, REVERSION_S, STALE_MS, SunSpec
from element.power.sunspec_scan import Inverter, scan
from element.protocol import codes

TICK = 100
MV = 51_200
START_MS = 3000


# ---- what registers mean ----


def test_values_that_are_not_there():
    assert at.int16(0x8000) is None and at.uint16(0xFFFF) is None
    assert not at.is_int32([0x8000, 0], 0) and at.is_int32([0x8000, 1], 0)
    assert at.is_int32([9, 0, 0], 1)
    for raw in (0x8000, 11, 0xFFF5, 0x7FFF):
        assert at.scale_of(raw) is None
    assert [at.scale_of(raw) for raw in (0, 10, 0xFFFF, 0xFFF6)] == [0, 10, -1, -10]
    assert at.int16(0xFFFF) == -1 and at.int16(0x7FFF) == 32767 and at.uint16(0x8000) == 32768


def test_scales_in_both_directions():
    assert at.milli(1500, 0) == 1_500_000 and at.milli(-15, 2) == -1_500_000
    assert at.milli(12345, -1) == 1_234_500 and at.milli(12345, -3) == 12345
    assert at.milli(12345, -5) == 123 and at.milli(-12399, -5) == -123
    assert at.milli(1, -10) == 0 and at.milli(None, 0) is None and at.milli(1, None) is None
    assert at.milli(32767, 10) is None, "more than any power there is"
    for value in (0, 1, -1, 999, -999, 1_500_499, -1_500_999, 2_500_000):
        for factor in (-3, -2, -1, 0, 1, 2, 3):
            raw = at.raw_of(value, factor)
            back = at.milli(raw, factor)
            assert abs(back) <= abs(value) and back * value >= 0, "more than was asked"
            assert abs(value - back) < max(10 ** (factor + 3), 1)
    assert at.raw_of(1500, -5) == 150_000
    assert at.words_of(1500) == (0, 1500) and at.words_of(-1500) == (0xFFFF, 0x10000 - 1500)
    assert at.text_of((0x4142, 0x0043)) == "AB" and at.text_of((0x4142,)) == "AB"
    assert at.text_of((0x07FF, 0x4100)) == "??A"
    assert at.is_marker([0x5375, 0x6E53])
    for other in ([0x5375], [0x5375, 0], [0, 0x6E53]):
        assert not at.is_marker(other)


# ---- the scan ----


def scanned(script):
    """Return (error, inverter) of a scan."""
    hal = script.hal
    found = Inverter()
    out = []
    loop = Loop(hal)

    async def task():
        out.append(await scan(Line(hal, hal.stage_uart, 1, 19200), found))

    loop.add(task())
    loop.run_until(hal.now_ms + 60_000)
    assert not loop.failures, loop.failures
    return out[0], found


def test_the_map_is_found_at_each_base():
    for base in (40000, 50000, 0):
        script = Script(FakeHAL(), base)
        error, found = scanned(script)
        assert error == "" and found.models == script.at
        assert found.name == "MN MD 1 ??1" and found.in_watts and found.rated_mw == 2_500_000
        assert (found.w_factor, found.wset_factor, found.soc_factor) == (0, 0, -1)


def test_what_is_no_inverter_says_why():
    script = Script(FakeHAL())
    script.silent = True
    assert scanned(script)[0].startswith("no answer")
    script = Script(FakeHAL(), 30000)
    assert scanned(script)[0] == "the device answers and has no SunSpec map"
    script = Script(FakeHAL())
    script.registers[40001] = 0x6E54
    assert scanned(script)[0] == "the device answers and has no SunSpec map"
    for missing in (701, 704):
        models = tuple(one for one in Script.MODELS if one[0] != missing)
        assert scanned(Script(FakeHAL(), models=models))[0].startswith(
            "the inverter has no model %d" % missing)
    short = tuple((number, 54 if number == 704 else size) for number, size in Script.MODELS)
    assert scanned(Script(FakeHAL(), models=short))[0].endswith("or a shorter one")


def test_chains_that_never_end_are_left():
    script = Script(FakeHAL(), models=tuple((100 + index, 2) for index in range(70)))
    assert scanned(script)[0] == "more than 64 models"
    script = Script(FakeHAL())
    script.put(1, 1, (0xFFFF,))
    assert scanned(script)[0] == "the chain of models leaves the map"
    script = Script(FakeHAL())
    script.put(1, 1, (1000,))
    assert scanned(script)[0].startswith("the chain of models breaks off at")


def test_of_two_equal_models_the_first_counts():
    script = Script(FakeHAL(), models=Script.MODELS + ((701, 153),))
    first = script.base + 2 + 68
    assert scanned(script)[1].models[701] == first


def test_scales_that_are_missing():
    script = Script(FakeHAL())
    script.put(701, at.W_SF_701, (0x8000,))
    assert scanned(script)[0] == "model 701 has no scale of power"
    script = Script(FakeHAL())
    script.refused[(3, script.at[701] + at.W_SF_701)] = 2
    assert scanned(script)[0] == "model 701 has no scale of power"
    script = Script(FakeHAL())
    script.refused[(3, script.at[704] + at.WSET_ENA)] = 4
    assert scanned(script)[0] == "model 704 cannot be read"


def test_ratings_come_from_the_setting_or_the_nameplate_or_not_at_all():
    script = Script(FakeHAL())
    script.put(702, at.W_MAX, (0xFFFF,))
    assert scanned(script)[1].rated_mw == 2_600_000
    script.put(702, at.W_MAX_RTG, (0xFFFF,))
    assert scanned(script)[1].rated_mw == 0
    script.refused = {(3, script.at[702] + at.W_MAX): 2, (3, script.at[702] + at.W_MAX_RTG): 2}
    assert scanned(script)[1].rated_mw == 0
    models = tuple(one for one in Script.MODELS if one[0] not in (1, 702, 713, 802))
    error, found = scanned(Script(FakeHAL(), models=models))
    assert error == "" and found.rated_mw == 0 and found.name == "" and found.soc_factor is None


def test_names_that_cannot_be_read_are_left_out():
    script = Script(FakeHAL())
    script.refused[(3, script.at[1] + at.MANUFACTURER)] = 2
    assert scanned(script)[1].name == "MD 1 ??1"


def percent_script(**how):
    script = Script(FakeHAL(), **how)
    script.put(704, at.WSET, (0x8000, 0))
    return script


def test_a_setpoint_in_percent_is_the_second_choice():
    error, found = scanned(percent_script())
    assert error == "" and not found.in_watts and found.wset_factor == -1
    assert found.setpoint(1_250_000) == (500, 1_250_000)
    assert found.setpoint(-1_251_000) == (-500, -1_250_000)
    assert found.setpoint(9_000_000) == (1000, 2_500_000)
    script = Script(FakeHAL())
    script.put(704, at.WSET_SF, (0x8000,))
    assert not scanned(script)[1].in_watts
    for spoil in ((704, at.WSET_PCT, 0x8000), (704, at.WSET_PCT_SF, 0x8000)):
        script = percent_script()
        script.put(spoil[0], spoil[1], (spoil[2],))
        assert scanned(script)[0] == "model 704 has no setpoint of active power"
    models = tuple(one for one in Script.MODELS if one[0] != 702)
    assert scanned(percent_script(models=models))[0].startswith("model 704 has no setpoint")


def test_a_setpoint_is_never_more_than_was_asked():
    found = Inverter()
    found.wset_factor = 2
    assert found.setpoint(1_599_000) == (15, 1_500_000)
    assert found.setpoint(-1_599_000) == (-15, -1_500_000)
    assert found.setpoint(10**12)[1] == 100_000_000 and found.setpoint(-10**12)[1] == -100_000_000
    found.wset_factor = -3
    found.rated_mw = 10_000
    assert found.setpoint(20_000) == (10_000, 10_000)


# ---- the stage and its task ----


class Inverter48:
    """The stage with its task, its line and an inverter; `tick` is one step of control."""

    def __init__(self, script=None, start_ms=START_MS):
        self.hal = FakeHAL(1000) if script is None else script.hal
        self.script = Script(self.hal) if script is None else script
        self.stage = SunSpec(15_000, 400, 1, 19200, start_ms)
        self.loop = Loop(self.hal)
        self.loop.add(self.stage.run(self.hal))
        self.active = False
        self.out = None

    def tick(self, target=None, count=1, withheld=False):
        """Step with a target, or rest with None."""
        for _ in range(count):
            self.loop.run_until(self.hal.now_ms + TICK)
            assert not self.loop.failures, self.loop.failures
            if target is None:
                self.out = self.stage.zero()
                self.stage.idle(MV, -1, TICK)
                self.active = False
                continue
            if not self.active:
                self.stage.start(1000)
                self.active = True
            self.out = self.stage.step(target, MV, 0, TICK, -1)
            if withheld:
                self.stage.withheld()
        return self.out

    def found(self):
        self.tick(count=10)
        assert self.stage.inverter is not None
        return self

    def at_power(self, target=1_500_000):
        self.found().tick(target, 8)
        assert self.out.commanded_mw == target and self.stage.fault == faults.FAULT_NONE
        return self

    def ticks_to_fault(self, target=1_500_000, most=60):
        """Tick until there is a fault; returns (fault, ms)."""
        for count in range(1, most + 1):
            self.tick(target)
            if self.stage.fault:
                return self.stage.fault, count * TICK
        raise AssertionError("no fault")


def test_it_is_found_stopped_armed_and_follows():
    bench = Inverter48().found()
    script = bench.script
    # before anything else it is told to stop: nobody knows what it did before
    assert script.writes[0][2] == [0, at.MODE_WATTS, 0, 0, 0, 0]
    assert script.writes[1][2] == [0]
    assert script.writes[1][1] == script.at[703] + at.ES and len(script.writes) == 2
    rest = bench.out
    assert (rest.enable, rest.fets, rest.commanded_mw, rest.precharge) == (False, 0, 0, False)
    for target in (1_500_000, -2_000_000, 0, 123_456, -1):
        bench.tick(target, 6)
        told = bench.script.setpoint_w * 1000
        assert abs(told) <= abs(target) and abs(target - told) < 1000 and told * target >= 0
        assert bench.out.enable and bench.out.fets == FETS_BOTH
        assert bench.out.commanded_mw == told and bench.stage.measured_mw == told
    assert script.get(704, at.WSET_ENA_RVRT) == 1 and script.get(704, at.WSET_RVRT_TMS) == 0
    assert script.get(704, at.WSET_RVRT_TMS + 1) == REVERSION_S
    assert script.signed(704, at.WSET_RVRT, 2) == 0


def test_the_reversion_is_set_before_anything_is_asked_for():
    bench = Inverter48().found()
    bench.script.writes.clear()
    bench.tick(1_000_000, 5)
    order = [register - bench.script.at[704] for _, register, _ in bench.script.writes]
    first_power = next(index for index, (_, register, values) in enumerate(bench.script.writes)
                       if register == bench.script.at[704] + at.WSET_ENA and values[3])
    assert order.index(at.WSET_RVRT) < first_power
    assert order.index(at.WSET_ENA_RVRT) < first_power


def test_the_setpoint_is_refreshed_well_within_its_reversion():
    bench = Inverter48().at_power()
    bench.script.writes.clear()
    began = bench.hal.now_ms
    bench.tick(1_500_000, 50)
    times = [when for when, _ in bench.script.written(704, at.WSET_ENA)]
    gaps = [after - before for before, after in zip([began] + times, times)]
    assert times and max(gaps) <= REFRESH_MS + 100 < REVERSION_S * 1000 // 2


def test_zero_goes_out_with_the_next_frame():
    for target in (1_500_000, -1_500_000):
        bench = Inverter48().at_power(target)
        bench.script.writes.clear()
        asked = len(bench.script.requests)
        out = bench.stage.zero()
        bench.active = False
        assert not out.enable and out.commanded_mw == 0 and out.fets == 0
        bench.loop.run_until(bench.hal.now_ms + 40)
        assert bench.script.requests[asked][1] == 16 and bench.script.writes[0][2] == [
            0, at.MODE_WATTS, 0, 0, 0, 0]
        assert bench.script.get(703, at.ES) == 0 and bench.script.setpoint_w == 0
        bench.tick(count=5)
        assert len(bench.script.written(704, at.WSET_ENA)) == 1, "told twice"


def test_zero_is_said_until_it_is_heard():
    bench = Inverter48().at_power()
    bench.script.lost = 5
    bench.tick(count=15)
    assert bench.script.setpoint_w == 0 and bench.script.get(704, at.WSET_ENA) == 0
    bench.tick(800_000, 8)
    assert bench.out.commanded_mw == 800_000


def test_zero_while_a_setpoint_is_on_the_line_wins():
    bench = Inverter48().at_power()
    script = bench.script
    answered = script.answer

    def late(frame):
        reply = answered(frame)
        if frame[1] == 16 and script.signed(704, at.WSET, 2) == 2000:
            bench.stage.zero()  # the control's tick falls between request and reply
            bench.active = False
        return reply

    script.answer = late
    bench.tick(2_000_000)
    bench.loop.run_until(bench.hal.now_ms + TICK)
    script.answer = answered
    assert not bench.active and bench.stage._told_mw == 0
    bench.tick(count=3)
    assert script.setpoint_w == 0 and bench.stage._told_mw == 0


def test_an_inverter_without_enter_service_needs_none():
    models = tuple(one for one in Script.MODELS if one[0] != 703)
    Inverter48(Script(FakeHAL(1000), models=models)).at_power()


def test_percent_is_told_in_percent():
    bench = Inverter48(percent_script()).at_power(1_250_000)
    script = bench.script
    assert script.get(704, at.WSET_PCT) == 500 and script.get(704, at.WSET_MOD) == at.MODE_PCT
    assert script.signed(704, at.WSET_PCT_RVRT) == 0
    bench.tick(-625_000, 4)
    assert script.signed(704, at.WSET_PCT) == -250 and bench.out.commanded_mw == -625_000
    # stopping: first the enable, then the value
    script.writes.clear()
    bench.tick(count=2)
    assert [values for _, _, values in script.writes] == [[0, at.MODE_PCT], [0], [0]]
    bench.tick(500_000, 8)
    script.refused[(16, script.at[704] + at.WSET_ENA)] = 3
    bench.tick(count=3)
    assert bench.stage._stop, "an inverter that refuses to stop is asked on"


def test_nothing_is_asked_for_while_the_contactor_is_open():
    bench = Inverter48().found()
    bench.tick(1_500_000, 20, withheld=True)
    assert bench.script.setpoint_w == 0 and bench.out.commanded_mw == 0 and bench.out.enable
    assert bench.stage.fault == faults.FAULT_NONE
    bench.tick(1_500_000, 4)
    assert bench.script.setpoint_w == 1500


def test_a_starting_inverter_counts_as_zero_until_it_runs():
    bench = Inverter48().found()
    bench.script.runs = False
    for _ in range(START_MS // TICK):
        bench.tick(1_500_000)
        assert bench.out.commanded_mw == 0 and bench.stage.fault == faults.FAULT_NONE
    bench.script.runs = True
    bench.tick(1_500_000, 3)
    assert bench.out.commanded_mw == 1_500_000


def test_one_that_does_not_start_is_a_fault():
    bench = Inverter48().found()
    bench.script.runs = False
    fault, took_ms = bench.ticks_to_fault()
    assert fault == faults.FAULT_START and START_MS < took_ms <= START_MS + 3 * TICK
    bench.tick(count=2)
    assert bench.stage.fault == faults.FAULT_NONE, "it answers: the next start looks again"


def test_an_unknown_state_is_told_by_on_and_connection():
    bench = Inverter48().found()
    script = bench.script
    script.measure = lambda: script.put(701, at.ST, (1, 0xFFFF, 0xFFFF))
    script.put(701, at.W, (0,))
    bench.tick(0, 5)
    assert bench.stage._running
    for said in ((0, 0xFFFF, 0xFFFF), (1, 0xFFFF, 0), (1, at.INV_RUNNING, 0)):
        script.measure = lambda said=said: script.put(701, at.ST, said)
        bench.tick(0, 4)
        assert not bench.stage._running
    script.measure = lambda: script.put(701, at.ST, (0xFFFF, at.INV_THROTTLED, 1))
    bench.tick(0, 4)
    assert bench.stage._running


def test_a_silent_inverter_is_a_fault_in_a_second_and_heals_at_rest():
    bench = Inverter48().at_power()
    bench.script.silent = True
    fault, took_ms = bench.ticks_to_fault()
    assert fault == faults.FAULT_STALE and took_ms <= STALE_MS + 3 * TICK
    out = bench.tick(1_500_000)
    assert not out.enable and out.commanded_mw == 0
    bench.tick(count=50)
    assert bench.stage.fault == faults.FAULT_STALE and bench.stage.inverter is None
    bench.script.silent = False
    bench.tick(count=80)
    assert bench.stage.fault == faults.FAULT_NONE and bench.stage.inverter is not None
    bench.tick(1_500_000, 8)
    assert bench.out.commanded_mw == 1_500_000


def test_one_that_never_answers_is_a_fault_only_when_it_is_needed():
    bench = Inverter48()
    bench.script.silent = True
    bench.tick(count=100)
    assert bench.stage.fault == faults.FAULT_NONE and "no answer" in bench.stage.last_error
    fault, took_ms = bench.ticks_to_fault()
    assert fault == faults.FAULT_NO_ANSWER and took_ms <= 2100 and not bench.out.enable


def test_zero_before_the_task_runs_is_rest():
    stage = SunSpec(15_000, 400, 1, 19200, START_MS)
    stage.start(0)
    assert not stage.step(1_000_000, MV, 0, TICK, -1).enable
    assert not stage.zero().enable and not stage.zero().enable


def test_status_faults():
    for spoil in (lambda script: script.put(701, at.INV_ST, (at.INV_FAULT,)),
                  lambda script: script.put(701, at.ALRM, (0, 1 << 7)),
                  lambda script: script.put(701, at.ALRM, (1, 0)),
                  lambda script: script.put(701, at.ALRM, (0, 1 << 4))):
        bench = Inverter48().at_power()
        spoil(bench.script)
        fault, took_ms = bench.ticks_to_fault()
        assert fault == faults.FAULT_STATUS and took_ms <= 400
    bench.script.put(701, at.ALRM, (0, 1 << 7))
    bench.tick(count=20)
    assert bench.stage.fault == faults.FAULT_STATUS, "it lasts while the alarm does"
    bench.script.put(701, at.ALRM, (0, 1 << 2 | 1 << 3 | 1 << 4))
    bench.tick(count=20)
    assert bench.stage.fault == faults.FAULT_NONE, "an open contactor is no alarm at rest"


def test_alarms_that_are_not_implemented_are_none():
    bench = Inverter48().found()
    bench.script.put(701, at.ALRM, (0xFFFF, 0xFFFF))
    bench.tick(1_000_000, 10)
    assert bench.stage.fault == faults.FAULT_NONE and bench.out.commanded_mw == 1_000_000


def test_a_power_that_is_not_what_was_told():
    for share, expected in ((0, True), (80, True), (110, True), (98, False)):
        bench = Inverter48().at_power(2_000_000)
        bench.script.power_share_pct = share
        if expected:
            fault, took_ms = bench.ticks_to_fault(2_000_000)
            assert fault == faults.FAULT_DEVIATION and 1600 < took_ms <= 2600
        else:
            bench.tick(2_000_000, 50)
            assert bench.stage.fault == faults.FAULT_NONE


def test_a_power_without_a_value_is_stale():
    bench = Inverter48().at_power()
    real = bench.script.measure

    def blank():
        real()
        bench.script.put(701, at.W, (0x8000,))

    bench.script.measure = blank
    assert bench.ticks_to_fault()[0] == faults.FAULT_STALE
    assert bench.stage.last_error == "model 701 has no power"


def test_an_inverter_that_does_not_take_the_reversion_is_not_used():
    for offset, value in ((at.WSET_ENA_RVRT, 0), (at.WSET_RVRT_TMS + 1, 0),
                          (at.WSET_RVRT_TMS + 1, 60), (at.WSET_RVRT_TMS, 1),
                          (at.WSET_RVRT + 1, 500), (at.WSET_MOD, 0), (at.WSET_ENA, 0)):
        bench = Inverter48().found()
        script = bench.script
        real = script.answer

        def stubborn(frame, offset=offset, value=value, script=script, real=real):
            reply = real(frame)
            if frame[1] == 16:
                script.put(704, offset, (value,))
            return reply

        script.answer = stubborn
        assert bench.ticks_to_fault()[0] == faults.FAULT_REVERSION, (offset, value)
        assert bench.out.commanded_mw == 0 and script.setpoint_w == 0


def test_percent_is_checked_the_same_way():
    found = scanned(percent_script())[1]
    good = [1, 0, 0x8000, 0, 0, 0, 500, 0, 1, 0, 1, 0, 1]
    assert found.reverts(good, 1)
    for index, value in ((0, 0), (1, 1), (7, 5), (8, 0), (9, 1), (10, 0), (10, 2)):
        bad = list(good)
        bad[index] = value
        assert not found.reverts(bad, 1), index


def test_a_refused_setpoint_is_a_fault_with_its_reason():
    bench = Inverter48().at_power()
    bench.script.refused[16] = 3
    fault, took_ms = bench.ticks_to_fault(700_000)
    assert fault == faults.FAULT_REFUSED and took_ms <= 300
    assert bench.stage.last_error == "refused: illegal data value"
    # while arming too, at each of its steps
    for where in (at.WSET_RVRT, at.WSET_ENA_RVRT, at.WSET_ENA):
        bench = Inverter48().found()
        bench.script.refused[(16, bench.script.at[704] + where)] = 2
        assert bench.ticks_to_fault()[0] == faults.FAULT_REFUSED
    bench = Inverter48().found()
    bench.script.refused[6] = 1
    assert bench.ticks_to_fault()[0] == faults.FAULT_REFUSED
    # with a refused stop the measurement goes on all the same
    bench = Inverter48().at_power()
    bench.script.refused[16] = 3
    bench.tick(count=60)
    assert bench.stage._age_ms <= 2 * STALE_MS and bench.stage._stop


def test_lost_replies_while_arming_are_made_up_for():
    bench = Inverter48().found()
    real = bench.script.answer
    lost = []

    def forgetful(frame):
        reply = real(frame)
        if frame[1] == 3 and frame[5] == at.WSET_COUNT and len(lost) < 3:
            lost.append(frame)
            return None
        return reply

    bench.script.answer = forgetful
    bench.tick(1_500_000, 20)
    assert len(lost) == 3 and bench.out.commanded_mw == 1_500_000
    assert bench.stage.fault == faults.FAULT_NONE


def test_zero_while_it_is_armed_stops_the_arming():
    for share in range(1, 6):
        bench = Inverter48().found()
        real = bench.script.answer
        count = []

        def counted(frame, bench=bench, real=real, count=count, share=share):
            if bench.active:
                count.append(frame)
                if len(count) == share:
                    bench.stage.zero()
                    bench.active = False
            return real(frame)

        bench.tick(1_000_000)
        bench.script.answer = counted
        bench.loop.run_until(bench.hal.now_ms + 500)
        assert bench.script.get(704, at.WSET_ENA) == 0 and not bench.stage._armed


def test_the_inverters_soc_is_read_for_people():
    models = tuple(one for one in Script.MODELS if one[0] != 713)
    for script, soc_bp in ((Script(FakeHAL(1000)), 6150),
                           (Script(FakeHAL(1000), models=models), 4200),
                           (Script(FakeHAL(1000), models=models[:-1]), None)):
        script.put(802, at.BATTERY_SOC, (420,))
        script.put(802, at.BATTERY_SOC_SF, (0xFFFF,))
        bench = Inverter48(script).found()
        bench.tick(count=module.INFO_MS // TICK + 5)
        assert bench.stage.soc_bp == soc_bp
    script = Script(FakeHAL(1000))
    script.put(713, at.SOC, (0xFFFF,))
    bench = Inverter48(script).found()
    bench.tick(count=110)
    assert bench.stage.soc_bp is None
    script.refused[(3, script.at[713] + at.SOC)] = 2
    bench.tick(count=110)
    assert bench.stage.soc_bp is None and bench.stage.fault == faults.FAULT_NONE


# ---- in the control loop ----


class Looped(Bench):
    """A control loop whose stage's task talks with a script."""

    def __init__(self):
        super().__init__(codes.KIND_SUNSPEC, stage=SunSpec(15_000, 400, 1, 19200, START_MS))
        self.script = Script(self.hal)
        self.loop = Loop(self.hal)
        self.loop.add(self.stage.run(self.hal))
        self.dead = False

    def plant_ma(self):
        if not self.hal.enabled or self.dead:
            return self.stray_ma
        return self.stage.pack_mw_of(self.script.setpoint_w * 1000) * 1000 // MV

    def tick(self, count=1, each=None):
        for _ in range(count):
            now_ms = self.hal.now_ms
            self.loop.run_until(now_ms + TICK)
            assert not self.loop.failures, self.loop.failures
            self.hal.now_ms = now_ms
            super().tick(1, each)


def test_control_runs_it_and_ends_it():
    for power in (1_500_000, -1_500_000):
        bench = Looped()
        bench.tick(10)
        for _ in range(4):
            bench.offer(power)
            bench.tick(10)
        assert bench.hal.enabled and abs(bench.control.realized_mw - power) < 20_000
        assert bench.control.enabled_mw == power
        bench.off_after(2000)
        bench.tick(2)
        assert bench.script.get(704, at.WSET_ENA) == 0


def test_control_trips_on_its_faults_and_on_its_own_proof():
    bench = Looped()
    bench.tick(10)
    for _ in range(3):
        bench.offer(1_500_000, 4000)
        bench.tick(10)
    bench.script.silent = True
    bench.off_after(1500)
    assert bench.interlock.cause == codes.TRIP_STAGE
    assert bench.interlock.value == faults.FAULT_STALE and bench.control.hazard_persists()

    bench = Looped()
    bench.tick(10)
    for _ in range(3):
        bench.offer(1_500_000, 4000)
        bench.tick(10)
    bench.dead = True  # it says that it runs, and the pack sees nothing of it
    bench.off_after(2000)
    assert bench.interlock.cause == codes.TRIP_NOT_ACTUATED


def test_a_profile_of_its_kind():
    assert make_profile(codes.KIND_SUNSPEC).step_mw == 0


class AnyBoard(Board):
    """A board that could have any stage."""

    STEP_MW = 500_000
    DC_LINK = True


def test_a_board_gets_the_stage_it_has_and_its_task():
    from element.power.bms_fets import BMSFets
    from element.power.converter import Converter
    from element.power.relay import Relay

    hal = FakeHAL()
    for name, kind, talks in (("converter", Converter, False), ("bms_fets", BMSFets, False),
                              ("relay", Relay, False), ("sunspec", SunSpec, True)):
        board = AnyBoard()
        board.STAGE = name
        stage = make_stage(board, hal)
        assert type(stage) is kind
        task = stage.run(hal)
        assert (task is not None) is talks
        if talks:
            task.close()
    board.STAGE = "converter"
    stage = make_stage(board, hal)
    stage.start(0)
    assert stage.step(0, MV, 0, TICK, 0).precharge
    board.DC_LINK = False
    stage = make_stage(board, hal)
    stage.start(0)
    assert stage.step(0, MV, 0, TICK, -1).enable
