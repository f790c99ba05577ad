"""Check tracking errors, step response and the regulation score against hand calculations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.metrics.pjm import NORMALISERS, PJMScore, pjm_score
from hil.metrics.tracking import e1_pct, e2_pct, rmse_pct, step_response


def test_tracking_errors_by_hand() -> None:
    """R = 10, -10, 5, 0 and errors 1, 1, 0, 2: mean 1; max 10, mean|R| 6.25, rms sqrt(1.5)."""
    reference = np.array([10.0, -10.0, 5.0, 0.0])
    power = np.array([9.0, -11.0, 5.0, 2.0])
    assert e1_pct(power, reference) == pytest.approx(10.0)
    assert e2_pct(power, reference) == pytest.approx(16.0)
    assert rmse_pct(power, reference) == pytest.approx(100 * np.sqrt(1.5) / 10)


@pytest.mark.parametrize("metric", [e1_pct, e2_pct, rmse_pct])
def test_tracking_refuses_what_it_cannot_judge(metric: object) -> None:
    """Zero reference, unequal, empty, NaN."""
    assert callable(metric)
    good = np.array([1.0, 2.0])
    for power, reference in (
        (good, np.zeros(2)),
        (good, np.ones(3)),
        (np.array([]), np.array([])),
        (np.array([1.0, np.nan]), good),
        (good, np.array([1.0, np.inf])),
        (np.ones((2, 2)), np.ones((2, 2))),
    ):
        with pytest.raises(ValueError, match="reference"):
            metric(power, reference)


@settings(max_examples=50)
@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30),
    st.floats(0.5, 20.0),
)
def test_tracking_is_scale_free_and_ordered(values: list[float], factor: float) -> None:
    """Units cancel; e1 <= e2; e1 <= rmse; perfect tracking is zero."""
    reference = np.array([*values, 100.0])
    power = np.roll(reference, 1)
    first, second, third = (metric(power, reference) for metric in (e1_pct, e2_pct, rmse_pct))
    assert first <= second * (1 + 1e-9)
    assert first <= third * (1 + 1e-9)
    assert e1_pct(power * factor, reference * factor) == pytest.approx(first)
    assert e2_pct(reference, reference) == 0.0


def test_step_response_by_hand() -> None:
    """Dead for 300 ms, linear 0..1100 until 1400 ms, 1100 until 1700 ms, then 1000."""
    time_ms = np.arange(0.0, 4000.0, 100.0)
    elapsed = time_ms - 1000.0
    power = np.clip((elapsed - 300.0), 0.0, 1100.0)
    power[elapsed > 1700.0] = 1000.0
    power[time_ms < 1000.0] = 777.0  # Before the command: must not count.
    result = step_response(time_ms, power, 1000.0, 0.0, 1000.0)
    assert result.first_movement_ms == 400.0
    assert result.reached_ms == 1200.0
    assert result.overshoot_pct == pytest.approx(10.0)
    assert result.settled_ms == 1800.0


def test_step_response_down_and_incomplete() -> None:
    """A step to charge works the same; what never happens is None."""
    time_ms = np.arange(0.0, 1000.0, 100.0)
    falling = np.maximum(-500.0, -time_ms)
    result = step_response(time_ms, falling, 0.0, 0.0, -500.0)
    assert (result.first_movement_ms, result.reached_ms) == (100.0, 500.0)
    assert (result.overshoot_pct, result.settled_ms) == (0.0, 500.0)
    half = step_response(time_ms, falling, 0.0, 0.0, -2000.0)
    assert (half.reached_ms, half.settled_ms) == (None, None)
    stuck = step_response(time_ms, np.zeros(10), 0.0, 0.0, 100.0)
    assert stuck.first_movement_ms is None
    there = step_response(time_ms, np.full(10, 100.0), 200.0, 0.0, 100.0)
    assert (there.first_movement_ms, there.settled_ms) == (0.0, 0.0)


def test_step_response_refuses_nonsense() -> None:
    """No step, no samples after it, time that does not rise, unequal arrays."""
    time_ms, power = np.arange(3.0), np.zeros(3)
    for args in (
        (time_ms, power, 0.0, 1.0, 1.0),
        (time_ms, power, 9.0, 0.0, 1.0),
        (time_ms[::-1], power, 0.0, 0.0, 1.0),
        (time_ms, power[:2], 0.0, 0.0, 1.0),
        (time_ms, np.array([0.0, np.nan, 0.0]), 0.0, 0.0, 1.0),
    ):
        with pytest.raises(ValueError, match=r"step|sample|time"):
            step_response(*args)


def wavy(samples: int = 390, seed: int = 0) -> np.ndarray:
    """Return a lively signal within +-1 that never repeats inside an hour."""
    rng = np.random.default_rng(seed)
    noise = np.convolve(rng.normal(size=samples + 20), np.ones(8) / 8, mode="same")[:samples]
    return np.clip(noise * 1.5, -1.0, 1.0)


def score(signal: np.ndarray, response: np.ndarray, normaliser: str = "window") -> PJMScore:
    """Return a score that must exist."""
    result = pjm_score(signal, response, normaliser)
    assert result is not None
    return result


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_perfect_response_scores_one(normaliser: str) -> None:
    """All three parts are 1 over twelve windows."""
    result = score(wavy(), wavy(), normaliser)
    assert result.windows_count == 12
    assert result.normaliser == normaliser
    parts = (result.accuracy, result.delay, result.precision, result.composite)
    assert parts == pytest.approx((1.0, 1.0, 1.0, 1.0))


@pytest.mark.parametrize("lag", [1, 3, 10, 30])
def test_pure_delay_costs_delay_and_precision_not_accuracy(lag: int) -> None:
    """A response late by k samples: accuracy 1, delay 1 - k/30, precision by its formula."""
    long = wavy(500)
    signal, response = long[60:450], long[60 - lag : 450 - lag]
    result = score(signal, response)
    assert result.accuracy == pytest.approx(1.0)
    assert result.delay == pytest.approx(1 - lag / 30)
    expected = []
    for at in range(0, 360, 30):
        x, y = signal[at : at + 30], response[at : at + 30]
        expected.append(max(0.0, 1 - np.abs(y - x).sum() / 30 / np.abs(x).mean()))
    assert result.precision == pytest.approx(np.mean(expected))
    assert result.composite == pytest.approx((2 - lag / 30 + np.mean(expected)) / 3)


def test_equal_correlations_count_at_the_shortest_lag() -> None:
    """A signal that repeats every 100 s matches at 0, 100, 200 and 300 s: no delay."""
    signal = np.tile(np.linspace(-0.7, 0.8, 10) ** 3, 39)
    result = score(signal, 0.9 * signal)
    assert result.accuracy == pytest.approx(1.0)
    assert result.delay == 1.0


def test_two_seconds_late_costs_little() -> None:
    """At a 2 s grid, 2 s late: delay stays 1, accuracy and precision drop a little."""
    fine = np.interp(np.arange(0, 4000, 2.0), np.arange(0, 4000, 10.0), wavy(400))
    result = score(fine[5::5][:390], fine[4::5][:390])
    assert result.delay == 1.0
    assert 0.97 < result.accuracy < 1.0
    assert 0.80 < result.precision < 0.99


def test_gain_error_costs_precision_only() -> None:
    """Five percent low: precision 0.95 exactly, whatever the signal."""
    result = score(wavy(), 0.95 * wavy())
    assert (result.accuracy, result.delay) == pytest.approx((1.0, 1.0))
    assert result.precision == pytest.approx(0.95)


def test_no_response_and_inverted_response() -> None:
    """Zero output: nothing at all. Inverted: no credit for precision either."""
    silent = score(wavy(), np.zeros(390))
    assert (silent.accuracy, silent.delay, silent.composite) == (0.0, 0.0, 0.0)
    ramp = np.tile(np.linspace(-1, 1, 390), 1)
    inverted = score(ramp, -ramp)
    assert (inverted.accuracy, inverted.delay, inverted.precision) == (0.0, 0.0, 0.0)


def test_constant_window_is_judged_by_slope() -> None:
    """Signal 0.5 throughout; response rises by 0.002 a sample: accuracy 0.998, delay 1.

    By hand: the mean error in the first window is 0.002 * 14.5 = 0.029, over 0.5 is 0.058.
    """
    signal = np.full(60, 0.5)
    response = 0.5 + 0.002 * np.arange(60)
    result = score(signal, response)
    assert result.windows_count == 1
    assert result.accuracy == pytest.approx(0.998)
    assert result.delay == 1.0
    assert result.precision == pytest.approx(1 - 0.058)


def test_normalisers_differ_as_defined() -> None:
    """One loud window (1.0) and one quiet (0.1), error 0.05 throughout, by hand."""
    signal = np.concatenate((np.tile([1.0, -1.0], 15), np.tile([0.1, -0.1], 15), np.zeros(30)))
    response = signal + 0.05
    window = score(signal, response, "window")
    assert window.windows_count == 2
    assert window.precision == pytest.approx((0.95 + 0.5) / 2)
    hour = score(signal, response, "hour")
    assert hour.precision == pytest.approx(1 - 0.05 / 0.55)


def test_window_floor_leaves_quiet_windows_out() -> None:
    """A zero window ruins "window", and is skipped by "window_floor"; all quiet is None."""
    signal = np.concatenate((np.tile([0.5, -0.5], 15), np.zeros(60)))
    response = signal + 0.001
    assert score(signal, response, "window").precision == pytest.approx(0.998 / 2)
    floored = score(signal, response, "window_floor")
    assert floored.windows_count == 1
    assert floored.precision == pytest.approx(0.998)
    assert pjm_score(np.zeros(390), np.zeros(390), "window_floor") is None
    assert score(np.zeros(390), np.zeros(390), "hour").composite == 1.0
    assert score(np.zeros(390), np.full(390, 0.1), "hour").precision == 0.0


@pytest.mark.parametrize(
    ("samples", "windows"), [(389, 11), (390, 12), (1000, 12), (60, 1), (89, 1), (90, 2)]
)
def test_short_data_use_complete_windows(samples: int, windows: int) -> None:
    """A window needs its own 30 samples and 30 of lag room."""
    signal = wavy(1000)[:samples]
    assert score(signal, signal).windows_count == windows


@pytest.mark.parametrize("samples", [0, 1, 29, 59])
def test_too_short_is_none(samples: int) -> None:
    """Not even one window."""
    assert pjm_score(np.ones(samples), np.ones(samples)) is None


def test_score_refuses_nonsense() -> None:
    """Unknown normaliser, unequal lengths, NaN."""
    good = wavy()
    with pytest.raises(ValueError, match="normaliser"):
        pjm_score(good, good, "best")
    with pytest.raises(ValueError, match="differ"):
        pjm_score(good, good[:-1])
    with pytest.raises(ValueError, match="finite"):
        pjm_score(good, np.where(good == good[5], np.nan, good))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(-1.0, 1.0), st.floats(-2.0, 2.0))
def test_all_parts_stay_within_zero_and_one(seed: int, offset: float, gain: float) -> None:
    """Whatever the response, with every normaliser."""
    response = gain * wavy(seed=seed + 1) + offset
    for normaliser in NORMALISERS:
        result = score(wavy(seed=seed), response, normaliser)
        for part in (result.accuracy, result.delay, result.precision, result.composite):
            assert 0.0 <= part <= 1.0
        mean = (result.accuracy + result.delay + result.precision) / 3
        assert result.composite == pytest.approx(mean)
