"""Check what the stages' plants add: DC link, contactor, inverter, and their faults."""

from dataclasses import dataclass
from math import exp
from random import Random

import pytest

from hil.plant.cell import LFP
from hil.plant.converter import ConverterPlant
from hil.plant.dc_link import BLEEDER_OHM, CAPACITY_F, PRECHARGE_OHM
from hil.plant.element import ElementPlant
from hil.plant.fixed_power import FixedPowerPlant
from hil.plant.inverter import InverterPlant
from hil.plant.pack import Pack
from hil.plant.relay import BOUNCE_MS_MAX, OPERATE_MS, RELEASE_MS, RelayPlant

SHORT_A = 300.0  # the BMS's short-circuit protection (hil/devices/protection.py)


@dataclass
class Switches:
    """Stand in for the BMS."""

    fet_charge: bool = False
    fet_discharge: bool = False

    def set(self, closed: bool) -> None:
        """Move both."""
        self.fet_charge = self.fet_discharge = closed


def make(kind: type[ElementPlant], seed: int = 1) -> tuple[ElementPlant, Switches]:
    """Return a plant on a 16-cell pack, FETs open, and its switches."""
    rng = Random(seed)
    switches = Switches()
    return kind(Pack(LFP, 16, 100.0, rng), switches, rng), switches


def converter() -> tuple[ConverterPlant, Switches]:
    """Return a converter on open FETs."""
    plant, switches = make(ConverterPlant)
    assert isinstance(plant, ConverterPlant)
    return plant, switches


# ---- DC link ----


def test_the_link_charges_through_its_resistor() -> None:
    plant, _ = converter()
    assert plant.dc_link_mv() == 0
    plant.set_outputs(False, 0, True)
    plant.advance(1)
    pack_v = plant.pack.emf_v
    assert plant.pack.current_a == pytest.approx(pack_v / PRECHARGE_OHM, rel=0.03)
    tau_ms = CAPACITY_F * PRECHARGE_OHM * 1000.0
    plant.advance(round(tau_ms))
    assert plant.link.voltage_v == pytest.approx(pack_v * (1 - exp(-1)), rel=0.01)
    plant.advance(round(3 * tau_ms))
    assert plant.dc_link_mv() >= pack_v * 940
    plant.advance(2000)
    # what stays is the bleeder's current through the resistor
    assert plant.pack.current_a == pytest.approx(pack_v / (BLEEDER_OHM + PRECHARGE_OHM), rel=0.01)
    charge_as = plant.pack.charge_out_as
    assert charge_as == pytest.approx(CAPACITY_F * pack_v, rel=0.5) and charge_as > 0.2
    assert plant.pcc_w == 0.0 and plant.energy_pcc_j == 0.0


def test_steps_of_any_length_charge_the_same() -> None:
    ends = []
    for step_ms in (1, 7, 100):
        plant, _ = converter()
        plant.set_outputs(False, 0, True)
        for now_ms in range(step_ms, 701, step_ms):
            plant.advance(now_ms)
        plant.advance(701)
        ends.append((plant.link.voltage_v, plant.pack.charge_out_as))
    for voltage_v, charge_as in ends:
        assert voltage_v == pytest.approx(ends[0][0], rel=1e-4)
        assert charge_as == pytest.approx(ends[0][1], rel=1e-3)


@pytest.mark.parametrize("precharge", [False, True])
def test_closing_onto_an_empty_link_is_a_short_circuit(precharge: bool) -> None:
    plant, switches = converter()
    plant.set_outputs(False, 0, precharge)
    plant.advance(300)
    switches.set(True)
    plant.advance(310)
    assert (plant.link.inrush_a_max < SHORT_A) is precharge
    if not precharge:
        assert plant.link.inrush_a_max > 2000.0
        assert plant.pack.charge_out_as == pytest.approx(CAPACITY_F * plant.pack.emf_v, rel=0.01)
    assert plant.dc_link_mv() == pytest.approx(plant.pack.voltage_v * 1000, abs=60)


def test_the_bleeder_empties_the_link() -> None:
    plant, switches = converter()
    switches.set(True)
    plant.advance(10)
    switches.set(False)
    plant.advance(10 + round(CAPACITY_F * BLEEDER_OHM * 1000.0))
    assert plant.link.voltage_v == pytest.approx(plant.pack.emf_v * exp(-1), rel=0.01)
    plant.advance(200_000)
    assert plant.link.voltage_v == 0.0


def test_a_converter_that_runs_on_its_link_empties_it_at_once() -> None:
    plant, switches = converter()
    switches.set(True)
    plant.set_outputs(True, 500)
    plant.advance(500)
    switches.set(False)
    plant.advance(520)
    assert plant.dc_link_mv() < 1000 and plant.pack.current_a == 0.0


def test_a_charge_through_one_fet_keeps_the_link() -> None:
    plant, switches = converter()
    switches.fet_charge = True
    plant.set_outputs(True, -500)
    plant.advance(500)
    assert plant.pack.current_a < -20.0 and plant.dc_link_mv() > 50_000


def test_a_broken_resistor_and_a_welded_fet() -> None:
    plant, switches = converter()
    plant.link.precharge_open = True
    plant.set_outputs(False, 0, True)
    plant.advance(1000)
    assert plant.dc_link_mv() == 0 and plant.pack.current_a == 0.0
    switches.set(True)
    plant.advance(1100)
    plant.fet_welded = True
    switches.set(False)
    plant.set_outputs(False, 0, False)
    plant.advance(60_000)
    assert plant.dc_link_mv() > 50_000


def test_a_link_behind_closed_fets_is_charged_from_the_beginning() -> None:
    rng = Random(1)
    pack = Pack(LFP, 16, 100.0, rng)
    plant = ConverterPlant(pack, Switches(True, True), rng)
    plant.advance(100)
    assert plant.link.inrush_a_max == 0.0 and plant.dc_link_mv() > 50_000


# ---- faults that every stage has ----


@pytest.mark.parametrize("kind", [ConverterPlant, FixedPowerPlant, RelayPlant])
def test_a_dead_stage_and_one_that_ignores_its_enable(kind: type[ElementPlant]) -> None:
    plant, switches = make(kind)
    # the fixed-power stage takes its direction from the FETs
    switches.fet_discharge, switches.fet_charge = True, kind is not FixedPowerPlant
    plant.set_outputs(True, 700)
    plant.advance(1000)
    assert plant.pcc_w > 400.0
    plant.ignores_enable = True
    plant.set_outputs(False, 0)
    plant.advance(2000)
    assert plant.pcc_w > 400.0, "it was switched off all the same"
    switches.set(False)
    plant.advance(2100)
    assert plant.pcc_w < 1.0 and plant.pack.current_a == 0.0, "the second way to zero"
    plant.ignores_enable = False
    plant.set_outputs(True, 700)
    switches.fet_discharge, switches.fet_charge = True, kind is not FixedPowerPlant
    plant.dead = True
    plant.advance(3000)
    assert plant.pcc_w <= 0.0


# ---- contactor ----


def relay() -> tuple[RelayPlant, Switches]:
    """Return a relay on closed FETs."""
    plant, switches = make(RelayPlant)
    assert isinstance(plant, RelayPlant)
    switches.set(True)
    return plant, switches


def test_the_contactor_takes_its_time_and_its_direction() -> None:
    for duty, power in ((1000, "inverter_w"), (-1000, "charger_w")):
        plant, switches = relay()
        plant.set_outputs(True, duty)
        plant.advance(OPERATE_MS - 1)
        assert plant.pcc_w == 0.0
        plant.advance(OPERATE_MS + BOUNCE_MS_MAX + 310)
        expected = getattr(plant, power) * (1 if duty > 0 else -1)
        assert plant.pcc_w == pytest.approx(expected) and plant.operations_count == 1
        now_ms = plant._now_ms
        plant.set_outputs(False, 0)
        plant.advance(now_ms + RELEASE_MS)
        assert plant.pcc_w == pytest.approx(expected)
        plant.advance(now_ms + 200)
        assert plant.pcc_w == 0.0 and plant.operations_count == 1
        switches.set(False)
        plant.set_outputs(True, duty)
        plant.advance(now_ms + 1000)
        assert plant.pcc_w == 0.0


def test_a_contactor_inside_a_long_step_moves_at_its_moment() -> None:
    energies = []
    for step_ms in (1, 50, 200):
        plant, _ = relay()
        plant.set_outputs(True, 1000)
        for now_ms in range(step_ms, 1001, step_ms):
            plant.advance(now_ms)
        energies.append(plant.energy_pcc_j)
    assert max(energies) - min(energies) < 1.0


def test_welded_and_stuck_contacts() -> None:
    plant, switches = relay()
    plant.set_outputs(True, -1000)
    plant.advance(500)
    plant.welded = True
    plant.set_outputs(False, 0)
    plant.advance(2000)
    assert plant.pcc_w == pytest.approx(-plant.charger_w)
    switches.set(False)
    plant.advance(2100)
    assert plant.pcc_w == 0.0
    plant, _ = relay()
    plant.stuck_open = True
    plant.set_outputs(True, 1000)
    plant.advance(2000)
    assert plant.pcc_w == 0.0 and plant.operations_count == 0
    # welded while open means nothing: there is no current to weld with
    plant.stuck_open, plant.welded = False, True
    plant.set_outputs(False, 0)
    plant.advance(3000)
    assert plant.pcc_w == 0.0


# ---- inverter ----


class Wants:
    """A controller that wants one power."""

    def __init__(self, power_w: float) -> None:
        self.power_w = power_w
        self.seen: list[tuple[int, bool, bool]] = []

    def target_w(self, now_ms: int, grid: bool, battery: bool) -> float:
        """Return it."""
        self.seen.append((now_ms, grid, battery))
        return self.power_w


def inverter(power_w: float) -> tuple[InverterPlant, Switches, Wants]:
    """Return an inverter on closed FETs, its contactor open."""
    plant, switches = make(InverterPlant)
    assert isinstance(plant, InverterPlant)
    switches.set(True)
    plant.controller = wants = Wants(power_w)
    return plant, switches, wants


@pytest.mark.parametrize("power_w", [2000.0, -2000.0])
def test_the_inverter_flows_between_contactor_and_fets(power_w: float) -> None:
    plant, switches, wants = inverter(power_w)
    plant.advance(100)
    assert plant.pcc_w == 0.0 and plant.pack.current_a == 0.0
    plant.set_outputs(True, 0)
    plant.advance(600)
    assert plant.pcc_w == pytest.approx(power_w) and plant.measured_w != plant.pcc_w
    dc_w = plant.pack.voltage_v * plant.pack.current_a
    assert dc_w - power_w == pytest.approx(0.04 * abs(power_w) + 15.0, rel=0.01)
    assert max(now for now, _, _ in wants.seen) == 600
    plant.set_outputs(False, 0)
    plant.advance(601)
    assert plant.pcc_w == 0.0 and not plant.grid
    plant.set_outputs(True, 0)
    plant.advance(1500)
    switches.set(False)
    plant.advance(1501)
    assert plant.pcc_w == 0.0 and plant.pack.current_a == 0.0


def test_one_fet_passes_its_own_direction_and_faults_show() -> None:
    plant, switches, wants = inverter(2000.0)
    plant.set_outputs(True, 0)
    switches.fet_discharge = False
    plant.advance(500)
    assert plant.pcc_w == 0.0
    wants.power_w = -2000.0
    plant.advance(1000)
    assert plant.pcc_w == pytest.approx(-2000.0)
    switches.set(True)
    plant.gain = 0.5
    plant.advance(1500)
    assert plant.pcc_w == pytest.approx(-1000.0)
    plant.dead = True
    plant.advance(1600)
    assert plant.pcc_w == 0.0
    switches.fet_charge = False
    plant.dead = False
    plant.advance(2000)
    assert plant.pcc_w == 0.0


def test_an_inverter_needs_a_rating() -> None:
    rng = Random(1)
    with pytest.raises(ValueError, match="rating_w"):
        InverterPlant(Pack(LFP, 16, 100.0, rng), Switches(), rng, rating_w=0.0)
