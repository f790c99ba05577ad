"""The controller shares setpoints at least cost, diffuses errors within bounds, respects locks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.trustder.control import Controller, Diffusion, Seen, random_remainders, split

ANY_SEED = st.integers(0, 2**32 - 1)


def boxes(seed, count):
    """Return wish, weight, low, high of count devices."""
    rng = np.random.default_rng(seed)
    low = -rng.uniform(0, 3000, count)
    high = rng.uniform(0, 3000, count) * rng.integers(0, 2, count)
    return rng.uniform(-1, 1, count) * 3000, rng.uniform(1, 3000, count), low, high


@given(ANY_SEED, st.integers(1, 60), st.floats(-0.2, 1.2))
def test_the_split_is_the_least_cost(seed, count, where):
    wish, weight, low, high = boxes(seed, count)
    total = low.sum() + where * (high.sum() - low.sum())
    x = split(total, wish, weight, low, high)
    assert (x >= low).all() and (x <= high).all()
    reached = min(max(total, low.sum()), high.sum())
    assert x.sum() == pytest.approx(reached, abs=1e-5 * max(1.0, abs(low.sum())))
    # optimal: whoever could give more costs no less at the margin than whoever could take back
    price = (x - wish) / weight
    up, down = price[x < high - 1e-6], price[x > low + 1e-6]
    if 0 < where < 1 and up.size and down.size:
        assert up.min() >= down.max() - 1e-4


def test_a_split_that_means_nothing_is_refused():
    one = np.ones(1)
    for wish, weight, low, high in ((one, 0 * one, -one, one), (one, one, one, -one),
                                    (one[:0], one[:0], one[:0], one[:0])):
        with pytest.raises(ValueError, match="split"):
            split(0.0, wish, weight, low, high)


@settings(max_examples=30, deadline=None)
@given(ANY_SEED, st.floats(0, 4), st.booleans())
def test_no_remainder_leaves_its_bounds(seed, patience, locks):
    """|remainder| <= (0.5 + patience) power, locks or not, as long as shares lie in the hull."""
    rng = np.random.default_rng(seed)
    power = rng.uniform(100, 3000, 20)
    diffusion = Diffusion(power, random_remainders(power, rng, patience), patience)
    first = diffusion.remainder_w.copy()
    on = rng.random(20) < 0.5
    shared = np.zeros(20)
    done = np.zeros(20)
    for _ in range(100):
        locked = rng.random(20) < (0.5 if locks else 0.0)
        may_on, may_off = on | ~locked, ~on | ~locked
        share = -power * np.where(locked, on, rng.random(20))
        on = diffusion.choose(share, on, may_on, may_off)
        assert (may_on[on]).all() and may_off[~on].all()
        diffusion.take(share, on)
        shared += share
        done -= np.where(on, power, 0.0)
        assert (np.abs(diffusion.remainder_w) <= (0.5 + patience) * power * (1 + 1e-9)).all()
        # what is owed is what was shared and not done: nothing is forgotten
        assert diffusion.remainder_w - first == pytest.approx(shared - done, abs=1e-6)


def test_without_patience_a_load_does_what_is_nearest():
    diffusion = Diffusion(np.full(3, 1000.0), np.zeros(3))
    anything = np.ones(3, dtype=bool)
    for was_on in (anything, ~anything):
        on = diffusion.choose(np.array([-400.0, -600.0, -900.0]), was_on, anything, anything)
        assert on.tolist() == [False, True, True]


def test_a_load_that_may_do_nothing_is_a_mistake():
    none = np.zeros(1, dtype=bool)
    with pytest.raises(ValueError, match="neither"):
        Diffusion(np.ones(1), np.zeros(1)).choose(np.zeros(1), none, none, none)
    with pytest.raises(ValueError, match="owe"):
        Diffusion(np.ones(1), np.ones(1))


def switched_together(remainders):
    """Return the largest share of 1000 loads that switch in one step at half of their power."""
    rng = np.random.default_rng(1)
    power = rng.uniform(100, 3000, 1000)
    diffusion = Diffusion(power, random_remainders(power, rng) if remainders else 0 * power)
    anything = np.ones(1000, dtype=bool)
    on, most = ~anything, 0
    for index in range(40):
        now = diffusion.choose(-0.3 * power, on, anything, anything)
        diffusion.take(-0.3 * power, now)
        most = max(most, int((now != on).sum())) if index > 3 else most
        on = now
    return most / 1000


def test_random_remainders_keep_loads_from_switching_together():
    assert switched_together(remainders=False) == 1.0
    assert switched_together(remainders=True) < 0.7  # 2 * 0.3 switch in each step on the average


def seen(count, on, free, limits=(-1500.0, 1500.0), plan=0.6):
    """Return what a controller sees of count loads of 1 kW and one battery."""
    return Seen(on, on | free, ~on | free, np.full(count, -500.0), np.zeros(1),
                np.array([limits[0]]), np.array([limits[1]]), plan)


@settings(max_examples=30, deadline=None)
@given(ANY_SEED, st.booleans())
def test_batteries_take_what_loads_leave_and_no_more_than_they_can(seed, locks):
    rng = np.random.default_rng(seed)
    power = np.full(4, 1000.0)
    controller = Controller(power, power, np.array([750.0]), random_remainders(power, rng, 3.0),
                            patience=3.0)
    on = rng.random(4) < 0.5
    for _ in range(100):
        free = rng.random(4) < 0.5 if locks else np.ones(4, dtype=bool)
        low, high = -rng.uniform(500, 1500), rng.uniform(500, 1500)
        wanted = rng.uniform(low - 4000, high)
        decision = controller.step(wanted, seen(4, on, free, (low, high)))
        on_w = power[decision.on].sum()
        assert low <= decision.battery_w[0] <= high
        assert decision.battery_w[0] - on_w + decision.left_w == pytest.approx(wanted, abs=1e-3)
        assert ((decision.on == on) | free).all(), "a locked load was moved"
        if not locks:
            assert decision.left_w == pytest.approx(0.0, abs=1e-3), "loads could have helped"
        on = decision.on


def test_without_residual_batteries_keep_to_their_shares():
    power = np.full(4, 1000.0)
    controller = Controller(power, power, np.array([750.0]), np.zeros(4), residual=False)
    off = np.zeros(4, dtype=bool)
    decision = controller.step(-1700.0, seen(4, off, ~off))
    assert decision.battery_w[0] == decision.battery_share_w[0]
    assert abs(decision.left_w) > 100
