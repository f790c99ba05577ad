"""Check the meter's class, windows and register, and the load's determinism and statistics."""

import itertools
from random import Random
from statistics import fmean, pstdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.plant.load import BuildingLoad
from hil.plant.meter import Meter


def test_meter_stays_in_class_at_rated_load() -> None:
    """Over 200 units no window leaves 0.5 % (plus half the 1 W resolution), and units differ."""
    gains = set()
    for seed in range(200):
        meter = Meter(Random(seed), rating_w=20_000.0)
        for now_ms in range(100, 2001, 100):
            meter.sample(now_ms, 20_000.0)
            if now_ms % 500 == 0:
                assert abs(meter.window_mw() - 20_000_000) <= 0.005 * 20_000_000 + 500
        gains.add(meter.gain)
    assert len(gains) == 200
    assert max(abs(gain - 1) for gain in gains) > 0.003


def test_meter_window_is_the_time_weighted_mean() -> None:
    """A ramp 0..1000 W over 1 s, then 1000 W for 3 s: mean 875 W by hand."""
    meter = Meter(Random(1), rating_w=1000.0, class_pct=0.0)
    meter.sample(0, 0.0)
    meter.sample(1000, 1000.0)
    meter.sample(4000, 1000.0)
    assert meter.window_mw() == 875_000
    meter.sample(5000, 1000.0)
    assert meter.window_mw() == 1_000_000


def test_meter_register_counts_signed_energy() -> None:
    """1000 W out for 36 s is 10 Wh; 2000 W in for 36 s takes 20 Wh back."""
    meter = Meter(Random(1), rating_w=1000.0, class_pct=0.0)
    meter.sample(36_000, 1000.0)
    assert meter.energy_mwh == 10_000
    meter.sample(36_000, -2000.0)
    meter.sample(72_000, -2000.0)
    assert meter.energy_mwh == -10_000


def test_meter_refuses_nonsense() -> None:
    """No empty window, no time travel, no impossible rating."""
    meter = Meter(Random(1), rating_w=1000.0)
    with pytest.raises(ValueError, match="empty"):
        meter.window_mw()
    meter.sample(10, 1.0)
    with pytest.raises(ValueError, match="backwards"):
        meter.sample(9, 1.0)
    with pytest.raises(ValueError, match="rating_w"):
        Meter(Random(1), rating_w=0.0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30_000), min_size=1, max_size=60))
def test_load_does_not_depend_on_when_it_is_asked(gaps_ms: list[int]) -> None:
    """Any monotone pattern of questions sees the same load as asking every second."""
    reference = BuildingLoad(Random(9))
    every = [reference.power_w(second * 1000) for second in range(sum(gaps_ms) // 1000 + 1)]
    asked = BuildingLoad(Random(9))
    now_ms = 0
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        assert asked.power_w(now_ms) == every[now_ms // 1000]


def test_load_has_the_promised_statistics() -> None:
    """Noise near 60 W at 60 s, appliances switching by 150..300 W, mean near base."""
    load = BuildingLoad(Random(4), base_w=3000.0)
    power_w = [load.power_w(second * 1000) for second in range(4 * 3600)]
    assert 2800.0 < fmean(power_w) < 3600.0
    steps_w = [b - a for a, b in itertools.pairwise(power_w)]
    calm_w = [step for step in steps_w if abs(step) < 100.0]
    # One second of an OU process: sigma * sqrt(2 * (1 - e^(-1/60))) = 10.9 W.
    assert pstdev(calm_w) == pytest.approx(10.9, rel=0.1)
    switched_w = [abs(step) for step in steps_w if abs(step) >= 100.0]
    assert 20 < len(switched_w) < 400
    assert fmean(switched_w) == pytest.approx(225.0, abs=80.0)


def test_load_seeds_differ_and_bad_times_are_refused() -> None:
    """Another seed is another building; the past is closed."""
    one, two = BuildingLoad(Random(1)), BuildingLoad(Random(2))
    assert one.power_w(60_000) != two.power_w(60_000)
    with pytest.raises(ValueError, match="load asked"):
        one.power_w(59_999)
    with pytest.raises(ValueError, match="base_w"):
        BuildingLoad(Random(1), base_w=-1.0)
