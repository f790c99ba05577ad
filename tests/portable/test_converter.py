"""Check the current loop against a simple plant with gain error, offset and open FETs."""

from element.bms.base import FETS_BOTH
from element.power.converter import Converter

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
        plant.apply(stage.step(target, MV, plant.ma, DT), closed)
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
    assert make().step(1_000_000, MV, 0, DT).duty_permille > 0
    assert make().step(-1_000_000, MV, 0, DT).duty_permille < 0
    for target in (-2_000_000, -700_000, 0, 700_000, 2_000_000):
        pack_ma = wanted_ma(stage, target)
        assert abs(stage.realized_mw(MV, pack_ma) - target) <= 3000


def test_no_wind_up_while_the_fets_are_open():
    for target in (100_000, 300_000, -300_000):
        stage = make()
        plant = Plant(100)
        for _ in range(40):  # two seconds until the FETs close
            plant.apply(stage.step(target, MV, plant.ma, DT), closed=False)
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


def test_a_large_error_teaches_nothing():
    stage = make()
    plant = Plant(100)
    run(stage, plant, 2_000_000, 20)
    before = stage._trim_ma
    for _ in range(100):  # the BMS has cut off by itself
        stage.step(2_000_000, MV, 0, DT)
    assert stage._trim_ma == before


def test_the_first_tick_after_rest_carries_no_stale_trim():
    stage = make()
    plant = Plant(95, -300)
    run(stage, plant, 2_500_000, 60)
    assert stage._trim_ma > 1000
    stage.zero()
    stage.start(1000)
    out = stage.step(50_000, MV, 0, DT)
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
                out = stage.step(target, mv, sense, DT)
                assert -1000 <= out.duty_permille <= 1000
                assert out.enable and out.fets == FETS_BOTH and out.commanded_mw == target


def test_without_a_voltage_nothing_is_asked():
    assert make().step(1_000_000, 0, 0, DT).duty_permille == 0


def test_follows_a_ramp_within_one_tick():
    stage = make()
    plant = Plant(103)
    run(stage, plant, 0, 20)
    for step in range(40):
        target = step * 50_000
        run(stage, plant, target, 1)
        assert abs(plant.ma - wanted_ma(stage, target)) <= wanted_ma(stage, target) // 25 + 400
