"""What a kWh costs in wear: by price, cycles and health; the site's own words first."""

from host_tools.envelope.wear import CHEMISTRIES, OTHER, Chemistry, wear_of
from host_tools.panel.config import PolicyModel


def test_wear_is_price_over_the_energy_of_a_life() -> None:
    # 150 per kWh, 6,000 cycles at 80 %, both ways: 150 / 9,600 kWh
    assert wear_of("LFP", 10000) == 15_625
    assert wear_of("lfp", 5000) == 2 * wear_of("LFP", 10000)
    assert wear_of("unheard of", 10000) == wear_of("x", 10000, {"X": OTHER})
    assert wear_of("LFP", 0) == wear_of("LFP", 1) > wear_of("LFP", 2) > 0
    assert wear_of("FREE", 10000, {"FREE": Chemistry(0, 1)}) == 1


def test_a_site_says_what_its_own_packs_cost() -> None:
    model = PolicyModel.model_validate(
        {"wear": {"lfp": {"price_per_kwh": 96, "cycle_count": 6000}}})
    known = model.chemistries()
    assert wear_of("LFP", 10000, known) == 10_000
    assert known["NMC"] == CHEMISTRIES["NMC"]
