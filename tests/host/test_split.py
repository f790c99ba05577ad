"""The split over elements: exact sums, respected caps, whole steps, few switches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element.protocol.units import split_evenly
from host_tools.dispatch.split import Capability, StepChooser, split, split_capped

POWER_MW = st.integers(0, 5_000_000)


def _elements(regulated: list[tuple[int, int, int]], steps: list[tuple[int, bool, bool]]):
    built = [Capability(bytes([index]) * 8, discharge, charge, 0, soc)
             for index, (discharge, charge, soc) in enumerate(regulated)]
    for index, (step_mw, up, down) in enumerate(steps, 100):
        built.append(Capability(bytes([index]) * 8, step_mw if up else 0,
                                step_mw if down else 0, step_mw))
    return built


ELEMENTS = st.builds(
    _elements,
    st.lists(st.tuples(POWER_MW, POWER_MW, st.integers(0, 10000)), max_size=6),
    st.lists(st.tuples(st.integers(1, 1_000_000), st.booleans(), st.booleans()), max_size=6))


@given(st.integers(-10**9, 10**9), st.lists(st.integers(0, 10**7), min_size=1, max_size=30))
def test_split_evenly_is_exact_and_fair(total: int, weights: list[int]) -> None:
    if not any(weights) and total:
        with pytest.raises(ValueError):
            split_evenly(total, weights)
        return
    parts = split_evenly(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        ideal = total * weight / max(1, sum(weights))
        assert abs(part - ideal) < 1.000001


@given(st.integers(-(10**7), 10**7),
       st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=12))
def test_split_capped_keeps_caps_and_sum(total: int, pairs: list[tuple[int, int]]) -> None:
    caps = [cap for cap, _ in pairs]
    weights = [weight for _, weight in pairs]
    if abs(total) > sum(caps):
        with pytest.raises(ValueError):
            split_capped(total, caps, weights)
        return
    parts = split_capped(total, caps, weights)
    assert sum(parts) == total
    assert all(abs(part) <= cap for part, cap in zip(parts, caps, strict=True))
    assert all(part * total >= 0 for part in parts)


@given(st.lists(st.integers(-20_000_000, 20_000_000), min_size=1, max_size=12), ELEMENTS)
def test_split_sums_to_the_admitted_total_within_every_limit(targets, elements) -> None:
    chooser = StepChooser()
    for turn, target in enumerate(targets):
        result = split(target, elements, chooser, turn * 1000)
        assert sum(result.parts_mw.values()) == result.admitted_mw
        assert set(result.parts_mw) == {one.element_id for one in elements}
        for one in elements:
            part = result.parts_mw[one.element_id]
            assert -one.charge_mw <= part <= one.discharge_mw
            if one.step_mw:
                assert part in (-one.step_mw, 0, one.step_mw)


@given(st.integers(-6_000_000, 6_000_000))
def test_what_the_regulated_elements_can_do_is_admitted_whole(target: int) -> None:
    elements = _elements([(2_000_000, 2_000_000, 5000)] * 3, [(500_000, True, True)] * 4)
    result = split(target, elements, StepChooser(), 0)
    assert result.admitted_mw == target and result.shortfall_mw == 0


def test_steps_add_to_what_the_regulated_elements_can_do() -> None:
    elements = _elements([(1_000_000, 1_000_000, 5000)], [(500_000, True, True)] * 2)
    assert split(2_000_000, elements, StepChooser(), 0).admitted_mw == 2_000_000
    assert split(-2_000_000, elements, StepChooser(), 0).admitted_mw == -2_000_000
    beyond = split(2_500_000, elements, StepChooser(), 0)
    assert beyond.admitted_mw == 2_000_000 and beyond.shortfall_mw == 500_000


def test_an_element_that_has_switched_is_held() -> None:
    elements = _elements([(5_000_000, 5_000_000, 5000)], [(500_000, True, True)])
    chooser = StepChooser(hold_ms=4000)
    step = elements[1].element_id
    assert split(5_000_000, elements, chooser, 0).parts_mw[step] == 500_000
    assert split(-5_000_000, elements, chooser, 1000).parts_mw[step] == 500_000
    assert split(-5_000_000, elements, chooser, 4000).parts_mw[step] == 0
    assert split(-5_000_000, elements, chooser, 7000).parts_mw[step] == 0
    assert split(-5_000_000, elements, chooser, 8000).parts_mw[step] == -500_000


def test_an_element_that_lost_its_ability_is_stopped_at_once() -> None:
    chooser = StepChooser()
    able = _elements([(5_000_000, 5_000_000, 5000)], [(500_000, True, True)])
    step = able[1].element_id
    assert split(5_000_000, able, chooser, 0).parts_mw[step] == 500_000
    unable = _elements([(5_000_000, 5_000_000, 5000)], [(500_000, False, True)])
    assert split(5_000_000, unable, chooser, 1000).parts_mw[step] == 0


def test_a_fuller_element_discharges_more_and_an_emptier_one_charges_more() -> None:
    elements = _elements([(2_000_000, 2_000_000, 8000), (2_000_000, 2_000_000, 2000)], [])
    full, empty = (one.element_id for one in elements)
    out = split(1_000_000, elements, StepChooser(), 0).parts_mw
    assert out[full] > out[empty] > 0
    into = split(-1_000_000, elements, StepChooser(), 0).parts_mw
    assert into[empty] < into[full] < 0
