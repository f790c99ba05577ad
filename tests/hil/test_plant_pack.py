"""Check cells and packs against closed forms, conservation and the limits of their inputs."""

import itertools
from math import exp
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.plant.cell import CHEMISTRIES, LFP, NMC, Chemistry
from hil.plant.pack import Imbalance, Pack

EVEN = Imbalance(capacity=0.0, soc=0.0, resistance=0.0)


def make_pack(seed: int = 1, soc: float = 0.5, imbalance: Imbalance | None = None) -> Pack:
    """Return the 16-cell 100 Ah LFP pack that most tests use."""
    return Pack(LFP, 16, 100.0, Random(seed), soc=soc, imbalance=imbalance)


@pytest.mark.parametrize("chemistry", list(CHEMISTRIES.values()), ids=lambda c: c.name)
def test_ocv_rises_and_runs_on_beyond_the_ends(chemistry: Chemistry) -> None:
    """A higher SoC always means a higher voltage, also outside 0..1."""
    volts = [chemistry.ocv_at(index / 500) for index in range(-50, 551)]
    assert all(low < high for low, high in itertools.pairwise(volts))


def test_ocv_matches_known_points() -> None:
    """Chen et al. define 2.5 V and 4.2 V as the ends; LFP sits on its plateau at half."""
    assert NMC.ocv_at(0.0) == pytest.approx(2.5, abs=0.01)
    assert NMC.ocv_at(1.0) == pytest.approx(4.2, abs=0.01)
    assert LFP.ocv_at(0.5) == pytest.approx(3.28, abs=0.02)
    assert LFP.ocv_at(0.005) == pytest.approx((LFP.ocv_v[0] + LFP.ocv_v[1]) / 2)


def test_arrhenius_factor_is_one_at_25_c_and_grows_with_cold() -> None:
    """By hand: exp(20000/8.314462618*(1/273.15-1/298.15)) = 2.0931."""
    assert LFP.arrhenius_factor(25.0) == pytest.approx(1.0)
    assert LFP.arrhenius_factor(0.0) == pytest.approx(2.0931, abs=2e-3)
    assert LFP.arrhenius_factor(50.0) < 1.0
    with pytest.raises(ValueError, match="temperature_c"):
        LFP.arrhenius_factor(200.0)


def test_pulse_follows_the_closed_form_of_two_rc_pairs() -> None:
    """After 30 s of 50 A the drop is R0 + R1(1-e^-t/T1) + R2(1-e^-t/T2), per cell."""
    pack = make_pack(imbalance=EVEN)
    for step in range(1, 301):
        pack.advance(step * 100, 50.0)
    r1 = LFP.r1_ohm_ah * (1 - exp(-30 / LFP.tau1_s))
    r2 = LFP.r2_ohm_ah * (1 - exp(-30 / LFP.tau2_s))
    drop_v = 16 * 50.0 * (LFP.r0_ohm_ah + r1 + r2) / 100.0
    ocv_v = 16 * LFP.ocv_at(0.5 - 50.0 * 30 / 3600 / 100)
    # 30 s of heat (about 0.02 K) changes the resistance a little.
    assert pack.voltage_v == pytest.approx(ocv_v - drop_v, abs=0.005)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=40))
def test_steps_of_any_size_give_the_same_pack(steps_ms: list[int]) -> None:
    """A constant current in one stride or in many ends in the same state."""
    total_ms = sum(steps_ms)
    one, many = make_pack(), make_pack()
    one.advance(total_ms, 30.0)
    now_ms = 0
    for step_ms in steps_ms:
        now_ms += step_ms
        many.advance(now_ms, 30.0)
    assert many.charge_out_as == pytest.approx(30.0 * total_ms / 1000)
    assert many.soc == pytest.approx(one.soc, abs=1e-12)
    assert many.voltage_v == pytest.approx(one.voltage_v, abs=0.003)
    assert many.temperature_c == pytest.approx(one.temperature_c, abs=0.01)


def test_charge_is_conserved_and_throughput_counts_both_ways() -> None:
    """An hour out and an hour in leave the SoC where it was."""
    pack = make_pack(imbalance=EVEN)
    pack.advance(3_600_000, 10.0)
    assert pack.soc == pytest.approx(0.4)
    pack.advance(7_200_000, -10.0)
    assert pack.soc == pytest.approx(0.5)
    assert pack.throughput_ah == pytest.approx(20.0)


def test_pack_voltage_is_the_sum_of_unequal_cells() -> None:
    """The fast aggregate and the list of cells agree, and the cells do differ."""
    pack = make_pack(seed=7)
    for step in range(1, 200):
        pack.advance(step * 100, 40.0 if step % 40 < 20 else -25.0)
        cells_v = pack.cell_voltages_v()
        assert sum(cells_v) == pytest.approx(pack.voltage_v, abs=1e-9)
    assert max(cells_v) - min(cells_v) > 0.0005
    assert len(set(pack.cell_capacity_ah)) == 16
    assert sum(pack.cell_soc()) / 16 == pytest.approx(pack.soc)


def test_each_cell_drains_by_its_own_capacity() -> None:
    """20 Ah out of a cell of 98 Ah is more of it than out of one of 102 Ah."""
    pack = make_pack(seed=4, soc=0.9)
    before = pack.cell_soc()
    pack.advance(3_600_000, 20.0)
    drained = [old - new for old, new in zip(before, pack.cell_soc(), strict=True)]
    assert drained == pytest.approx([20.0 / ah for ah in pack.cell_capacity_ah])
    assert max(drained) - min(drained) > 0.001


def test_heat_equals_the_electric_loss() -> None:
    """One hour at 80 A: the warming times the heat capacity is I * (OCV - V), less the cooling."""
    pack = make_pack(imbalance=EVEN)
    lost_j = 0.0
    for step in range(1, 36_001):
        pack.advance(step * 100, 80.0)
        lost_j += 80.0 * (pack.ocv_v - pack.voltage_v) * 0.1
    adiabatic_k = lost_j / pack.heat_capacity_j_per_k
    warming_k = pack.temperature_c - 25.0
    assert adiabatic_k > 3.0
    # Half an hour of mean age against a tau of two hours: roughly a fifth is gone again.
    assert 0.72 * adiabatic_k < warming_k < 0.85 * adiabatic_k


def test_cold_pack_sags_more() -> None:
    """The same load pulls a pack at -10 C further down than one at 25 C."""
    warm, cold = make_pack(), Pack(LFP, 16, 100.0, Random(1), ambient_c=-10.0)
    warm.advance(1000, 50.0)
    cold.advance(1000, 50.0)
    assert cold.voltage_v < warm.voltage_v - 0.5


def test_overcharge_reaches_the_protection_voltage() -> None:
    """Charging past full lifts every cell beyond 3.65 V instead of sticking at the table end."""
    pack = make_pack(soc=0.99, imbalance=EVEN)
    pack.advance(600_000, -30.0)
    assert pack.soc > 1.0
    assert min(pack.cell_voltages_v()) > 3.65


def test_set_soc_keeps_the_offsets() -> None:
    """Only the mean moves."""
    pack = make_pack(seed=3)
    before = pack.cell_soc()
    pack.set_soc(0.8)
    moved = [new - old for new, old in zip(pack.cell_soc(), before, strict=True)]
    assert pack.soc == pytest.approx(0.8)
    assert moved == pytest.approx([0.3] * 16)
    assert pack.ocv_v == pytest.approx(sum(LFP.ocv_at(soc) for soc in pack.cell_soc()))


def test_same_seed_same_pack_other_seed_other_pack() -> None:
    """The draw depends on the seed alone."""
    assert make_pack(5).cell_voltages_v() == make_pack(5).cell_voltages_v()
    assert make_pack(5).cell_voltages_v() != make_pack(6).cell_voltages_v()


def test_nonsense_is_refused() -> None:
    """Time never runs backwards, and impossible packs are not built."""
    pack = make_pack()
    pack.advance(100, 0.0)
    with pytest.raises(ValueError, match="backwards"):
        pack.advance(99, 0.0)
    with pytest.raises(ValueError, match="pack"):
        Pack(LFP, 0, 100.0, Random(1))
    with pytest.raises(ValueError, match="pack"):
        Pack(LFP, 16, 100.0, Random(1), soc=1.01)
    with pytest.raises(ValueError, match="spread"):
        Imbalance(capacity=0.5)
    with pytest.raises(ValueError, match="soc"):
        pack.set_soc(-0.1)
