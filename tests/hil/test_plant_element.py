"""Check both power stages: energy, dynamics, FET diodes, sensor errors."""

import itertools
from dataclasses import dataclass
from math import exp
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.plant.cell import LFP
from hil.plant.converter import ConverterPlant
from hil.plant.element import CurrentSensor, ElementPlant
from hil.plant.fixed_power import FixedPowerPlant
from hil.plant.pack import Pack


@dataclass
class Switches:
    """Stand in for the BMS."""

    fet_charge: bool = True
    fet_discharge: bool = True


def make_converter(seed: int = 1, soc: float = 0.5) -> tuple[ConverterPlant, Switches]:
    """Return a converter on a 16-cell pack and its switches."""
    rng = Random(seed)
    switches = Switches()
    return ConverterPlant(Pack(LFP, 16, 100.0, rng, soc=soc), switches, rng), switches


def make_fixed(seed: int = 1, soc: float = 0.5) -> tuple[FixedPowerPlant, Switches]:
    """Return a fixed-power stage, enabled, with both FETs off."""
    rng = Random(seed)
    switches = Switches(False, False)
    plant = FixedPowerPlant(Pack(LFP, 16, 100.0, rng, soc=soc), switches, rng)
    plant.set_outputs(True, 0)
    return plant, switches


def test_converter_lag_is_first_order() -> None:
    """After one time constant (15 ms) 63.2 % of the target is there; off is 5 ms."""
    plant, _ = make_converter()
    plant.set_outputs(True, 1000)
    plant.advance(15)
    target_a = 60.0 * plant.gain
    assert plant.pack.current_a == pytest.approx(target_a * (1 - exp(-1)))
    plant.advance(1000)
    assert plant.pack.current_a == pytest.approx(target_a)
    plant.set_outputs(False, 1000)
    plant.advance(1005)
    assert plant.pack.current_a == pytest.approx(target_a * exp(-1))
    plant.advance(1200)
    assert plant.pcc_w == pytest.approx(0.0, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(-1000, 1000)), max_size=12))
def test_converter_energy_is_exact_for_any_step(moves: list[tuple[int, int]]) -> None:
    """Long steps and 1 ms steps integrate the same energy, across zero as well."""
    long, _ = make_converter()
    fine, _ = make_converter()
    now_ms = 0
    for hold_ms, duty in moves:
        long.set_outputs(duty % 7 != 0, duty)
        fine.set_outputs(duty % 7 != 0, duty)
        for _step in range(hold_ms):
            now_ms += 1
            fine.advance(now_ms)
        long.advance(now_ms)
        assert long.pcc_w == pytest.approx(fine.pcc_w, rel=1e-3, abs=0.5)
    # The EMF is held over at most 200 ms; that is the whole difference.
    scale_j = 3000.0 * now_ms / 1000.0
    assert long.energy_pcc_j == pytest.approx(fine.energy_pcc_j, abs=2e-4 * scale_j + 1e-9)


def test_converter_energy_matches_a_trapezoid_of_its_power() -> None:
    """The integral is that of pcc_w, within what a 1 ms trapezoid can resolve."""
    plant, _ = make_converter()
    total_j, last_w = 0.0, 0.0
    for now_ms in range(1, 2001):
        if now_ms % 250 == 1:
            plant.set_outputs(True, 800 if (now_ms // 250) % 2 else -700)
            # A new output changes the standing loss at once.
            last_w = last_w if now_ms > 1 else -plant.standing_w
        plant.advance(now_ms)
        total_j += 0.5 * (last_w + plant.pcc_w) * 0.001
        last_w = plant.pcc_w
    assert plant.energy_pcc_j == pytest.approx(total_j, abs=0.5)


def test_converter_efficiency_at_rated_power() -> None:
    """About 96 % at full power either way; standing loss from the grid when idle."""
    plant, _ = make_converter()
    for sign in (1, -1):
        plant.set_outputs(True, sign * 814)
        plant.advance(plant.pack._now_ms + 2000)
        dc_w = plant.pack.voltage_v * plant.pack.current_a
        efficiency = plant.pcc_w / dc_w if sign > 0 else dc_w / plant.pcc_w
        assert 0.953 < efficiency < 0.967
        assert dc_w - plant.pcc_w == pytest.approx(plant.loss_w(plant.pack.current_a))
    plant.set_outputs(True, 0)
    plant.advance(20_000)
    assert plant.pcc_w == pytest.approx(-plant.standing_w, abs=1e-6)


def test_converter_dead_zone_and_gain() -> None:
    """Up to 6 permille nothing moves; full duty is 60 A times the unit's gain, within 3 %."""
    gains = set()
    for seed in range(20):
        plant, _ = make_converter(seed)
        plant.set_outputs(True, 6)
        plant.advance(500)
        assert plant.pack.current_a == 0.0
        plant.set_outputs(True, -1000)
        plant.advance(1000)
        assert plant.pack.current_a == pytest.approx(-60.0 * plant.gain)
        assert abs(plant.gain - 1.0) <= 0.03
        gains.add(plant.gain)
    assert len(gains) == 20


@pytest.mark.parametrize("charge_on", [False, True])
def test_converter_respects_the_body_diodes(charge_on: bool) -> None:
    """One FET alone passes its own direction only; none passes nothing, at once."""
    plant, switches = make_converter()
    allowed, blocked = (-900, 900) if charge_on else (900, -900)
    plant.set_outputs(True, allowed)
    plant.advance(500)
    switches.fet_charge, switches.fet_discharge = charge_on, not charge_on
    plant.advance(600)
    assert abs(plant.pack.current_a) > 50.0
    plant.set_outputs(True, blocked)
    plant.advance(700)
    assert plant.pack.current_a == pytest.approx(0.0, abs=0.2)
    plant.advance(900)
    assert plant.pack.current_a == pytest.approx(0.0, abs=1e-3)
    plant.set_outputs(True, allowed)
    plant.advance(1200)
    switches.fet_charge = switches.fet_discharge = False
    plant.advance(1201)
    assert plant.pack.current_a == 0.0


def test_fixed_power_modes() -> None:
    """Discharge FET alone inverts, charge FET alone charges, both or none idle."""
    plant, switches = make_fixed()
    expected = {
        (False, False): 0.0,
        (False, True): plant.inverter_w,
        (True, False): -plant.charger_w,
        (True, True): 0.0,
    }
    now_ms = 0
    for state, power_w in expected.items():
        switches.fet_charge, switches.fet_discharge = state
        now_ms += 1000
        plant.advance(now_ms)
        assert plant.pcc_w == pytest.approx(power_w)
        sign = (power_w > 0) - (power_w < 0)
        assert (plant.pack.current_a > 0) - (plant.pack.current_a < 0) == sign
    assert abs(plant.inverter_w - 500.0) <= 10.0
    assert plant.inverter_w != plant.charger_w


def test_fixed_power_soft_start_and_decay() -> None:
    """Linear over 150 ms up, tau 10 ms down, in one stride or in small ones."""
    coarse, switches_coarse = make_fixed()
    fine, switches_fine = make_fixed()
    switches_coarse.fet_discharge = switches_fine.fet_discharge = True
    fine.advance(75)
    assert fine.pcc_w == pytest.approx(fine.inverter_w / 2)
    for now_ms in range(76, 401):
        fine.advance(now_ms)
    coarse.advance(200)
    coarse.advance(400)
    ideal_j = fine.inverter_w * (0.400 - 0.075)
    assert fine.energy_pcc_j == pytest.approx(ideal_j)
    assert coarse.energy_pcc_j == pytest.approx(ideal_j)
    fine.set_outputs(False, 0)
    fine.advance(410)
    assert fine.pcc_w == pytest.approx(fine.inverter_w * exp(-1))
    fine.advance(600)
    assert fine.pcc_w == 0.0
    assert fine.energy_pcc_j - ideal_j == pytest.approx(fine.inverter_w * 0.010, rel=1e-6)


def test_fixed_power_reversal_passes_through_zero() -> None:
    """A swap of FETs from discharge to charge decays first and then soft-starts."""
    plant, switches = make_fixed()
    switches.fet_discharge = True
    plant.advance(500)
    switches.fet_charge, switches.fet_discharge = True, False
    seen = []
    for now_ms in range(505, 900, 5):
        plant.advance(now_ms)
        seen.append(plant.pcc_w)
        assert plant.pack.current_a <= 0.0
    # First the 10 ms decay, then the 150 ms soft start: never the ramp straight through.
    assert seen[2] == pytest.approx(plant.inverter_w * exp(-1.5))
    first_negative = next(index for index, power_w in enumerate(seen) if power_w < 0.0)
    last_partial = max(i for i, power_w in enumerate(seen) if power_w > -0.999 * plant.charger_w)
    assert 28 <= last_partial - first_negative <= 30
    assert all(later <= earlier for earlier, later in itertools.pairwise(seen))
    assert seen[-1] == pytest.approx(-plant.charger_w)


def test_fixed_power_pack_supplies_the_losses() -> None:
    """The pack's terminal power is the PCC power over (or times) the efficiency."""
    plant, switches = make_fixed()
    switches.fet_discharge = True
    plant.advance(1000)
    assert plant.pack.voltage_v * plant.pack.current_a == pytest.approx(
        plant.inverter_w / 0.93, rel=1e-3
    )
    switches.fet_charge, switches.fet_discharge = True, False
    plant.advance(3000)
    assert plant.pack.voltage_v * plant.pack.current_a == pytest.approx(
        -plant.charger_w * 0.92, rel=1e-3
    )


def test_fixed_power_inverter_cuts_out_when_the_pack_is_dead() -> None:
    """An empty pack stops the inverter by itself, and it stays off until the voltage is back."""
    plant, switches = make_fixed(soc=0.0)
    switches.fet_discharge = True
    plant.pack.advance(0, 0.0)
    plant.advance(1_200_000)
    assert plant.pcc_w == 0.0
    stopped_soc = plant.pack.soc
    plant.advance(1_260_000)
    assert plant.pack.soc == stopped_soc
    plant.pack.set_soc(0.5)
    plant.advance(1_262_000)
    assert plant.pcc_w == pytest.approx(plant.inverter_w)


def test_sense_stays_within_its_errors_and_freezes() -> None:
    """Gain 0.3 %, offset 30 mA, half a step of 50 mA and five sigma of noise bound it."""
    for seed in range(10):
        plant, _ = make_converter(seed)
        plant.set_outputs(True, 700)
        plant.advance(1000)
        true_ma = plant.pack.current_a * 1000.0
        bound_ma = 0.003 * true_ma + 30 + 25 + 5 * 25.0
        readings = [plant.sense_ma() for _ in range(50)]
        assert all(abs(reading - true_ma) <= bound_ma for reading in readings)
        assert all(reading % 50 == 0 for reading in readings)
        assert len(set(readings)) > 1
        plant.sense_frozen = True
        plant.set_outputs(True, -700)
        plant.advance(2000)
        assert plant.sense_ma() == readings[-1] > 0
        plant.sense_frozen = False
        assert plant.sense_ma() < 0


def test_sensor_gain_and_offset_are_its_own() -> None:
    """Averaged over the noise, the reading is true * gain + offset."""
    for seed in range(5):
        sensor = CurrentSensor(Random(seed))
        for true_a in (-90.0, 0.0, 90.0):
            mean_ma = sum(sensor.read_ma(true_a) for _ in range(4000)) / 4000
            expected_ma = true_a * 1000.0 * sensor.gain + sensor.offset_ma
            assert mean_ma == pytest.approx(expected_ma, abs=3.0)
        assert abs(sensor.gain - 1.0) > 1e-5


def test_sense_saturates_at_full_scale() -> None:
    """Beyond 102.4 A the ADC shows its end value."""
    rng = Random(1)
    pack = Pack(LFP, 16, 100.0, rng)
    plant = ConverterPlant(pack, Switches(), rng, rating_w=8000.0, full_duty_a=150.0)
    plant.set_outputs(True, 1000)
    plant.advance(500)
    assert plant.sense_ma() == 102_400


@pytest.mark.parametrize("make", [make_converter, make_fixed])
def test_bad_calls_are_refused(make: object) -> None:
    """Duty has a range and time one direction; the same time again is harmless."""
    assert callable(make)
    plant: ElementPlant = make()[0]
    plant.advance(50)
    before_j = plant.energy_pcc_j
    plant.advance(50)
    assert plant.energy_pcc_j == before_j
    assert plant.energy_pcc_mj == round(before_j * 1000)
    with pytest.raises(ValueError, match="backwards"):
        plant.advance(49)
    for duty in (-1001, 1001):
        with pytest.raises(ValueError, match="duty_permille"):
            plant.set_outputs(True, duty)
