"""Hold the generated regulation signal against published figures of real dispatch."""

import numpy as np
import pytest

from hil.signals.regulation import regulation_signal
from hil.signals.statistics import signal_statistics

HOURS_4_MS = 4 * 3_600_000
DAYS_COUNT = 40

# Figures of 40 evenings of CAISO dispatch, SynAS, LBNL 2020 (docs/signal-model.md), and how
# far a set of 40 generated ones may be away. The tolerance is about three times the scatter
# of the recorded figure under resampling of its days, or of ours between sets if larger.
PUBLISHED = {
    "share of zero steps": (0.815, 0.03),
    "share of moves up to 2 %": (0.294, 0.09),
    "move, median": (16.5, 9.0),
    "move, 75 %": (33.0, 4.0),
    "move, 90 %": (37.75, 4.0),
    "move, 99 %": (54.5, 6.0),
    "travels above 20 % an hour": (34.35, 7.0),
    "share of time in holds of 40 s or more": (0.745, 0.05),
    "mean magnitude of the level": (65.06, 9.0),
    "standard deviation": (74.5, 7.0),
    "level, 5 %": (-100.0, 1.0),
    "level, 75 %": (60.0, 5.0),
    "level, 95 %": (100.0, 1.0),
    "share at 99 % or more": (0.432, 0.10),
    "share on a 1 % grid": (0.914, 0.04),
    "hourly mean, standard deviation": (53.7, 8.0),
    "hourly mean, mean of magnitude": (42.8, 9.0),
    "autocorrelation at 4 s": (0.989, 0.006),
    "autocorrelation at 40 s": (0.835, 0.05),
    "autocorrelation at 300 s": (0.677, 0.09),
    "autocorrelation at 1800 s": (0.120, 0.12),
}


def day_pct(seed: int) -> np.ndarray:
    """Return four hours in percent."""
    return np.round(np.array(regulation_signal(seed, HOURS_4_MS).values) * 100.0, 6)


@pytest.mark.parametrize("first_seed", [0, 7000, 90_000])
def test_generated_sets_resemble_the_published_figures(first_seed: int) -> None:
    """Every figure of 40 generated evenings is near the recorded one."""
    found = signal_statistics([day_pct(first_seed + day) for day in range(DAYS_COUNT)])
    far = {
        name: (found[name], wanted, tolerance)
        for name, (wanted, tolerance) in PUBLISHED.items()
        if abs(found[name] - wanted) > tolerance
    }
    assert not far


def test_the_figures_can_tell_signals_apart() -> None:
    """A plain random walk fails the same comparison in many rows: the test has teeth."""
    rng = np.random.default_rng(1)
    walks = [np.clip(np.cumsum(rng.normal(0, 4.0, 3600)), -100, 100) for _ in range(10)]
    found = signal_statistics(walks)
    far = [
        name
        for name, (wanted, tolerance) in PUBLISHED.items()
        if abs(found[name] - wanted) > tolerance
    ]
    assert len(far) > len(PUBLISHED) / 2


def test_levels_are_on_the_grid_and_ramps_are_limited() -> None:
    """Quarter percents within +-100, no step beyond 62 %."""
    for seed in range(30):
        level_pct = day_pct(seed)
        assert (level_pct * 4 == np.round(level_pct * 4)).all()
        assert np.abs(level_pct).max() <= 100.0
        assert np.abs(np.diff(level_pct)).max() <= 62.25


def test_signal_depends_on_the_seed_only() -> None:
    """Repeatable, different between seeds, and a longer one starts like the shorter one."""
    short = regulation_signal(3, 600_000)
    assert short.values == regulation_signal(3, 600_000).values
    assert short.values == regulation_signal(3, 1_200_000).values[:150]
    assert short.values != regulation_signal(4, 600_000).values
    assert (short.step_ms, short.duration_ms) == (4000, 600_000)


@pytest.mark.parametrize("step_ms", [1000, 2000, 3000, 4000, 8000, 10_000])
def test_other_steps_sample_and_hold(step_ms: int) -> None:
    """Each value is that of the 4 s signal at the same time."""
    base = regulation_signal(5, 3_600_000)
    other = regulation_signal(5, 3_600_000, step_ms)
    assert len(other.values) == 3_600_000 // step_ms
    for index, value in enumerate(other.values):
        assert value == base.at(index * step_ms)


@pytest.mark.parametrize(
    ("duration_ms", "step_ms"), [(3999, 4000), (4000, 0), (0, 1), (10**12, 1)]
)
def test_impossible_lengths_are_refused(duration_ms: int, step_ms: int) -> None:
    """Less than a step, no step, more than a year."""
    with pytest.raises(ValueError, match="duration_ms"):
        regulation_signal(1, duration_ms, step_ms)


def test_statistics_by_hand() -> None:
    """900 steps: 450 at 10, one ramp of 3 equal moves to 40, the rest there."""
    level_pct = np.concatenate((np.full(450, 10.0), [20.0, 30.0], np.full(448, 40.0)))
    found = signal_statistics([level_pct])
    assert found["share of zero steps"] == pytest.approx(896 / 899)
    assert found["move, median"] == 10.0
    assert found["travels above 20 % an hour"] == 1.0
    assert found["share of time in holds of 40 s or more"] == pytest.approx(898 / 900)
    mean = (4500 + 50 + 448 * 40) / 900
    assert found["hourly mean, mean of magnitude"] == pytest.approx(mean)
    assert found["share on a 1 % grid"] == 1.0
    with pytest.raises(ValueError, match="hour"):
        signal_statistics([level_pct[:899]])
    with pytest.raises(ValueError, match="one length"):
        signal_statistics([level_pct, level_pct[:-1]])
    assert signal_statistics([np.zeros(900)])["autocorrelation at 4 s"] == 0.0
