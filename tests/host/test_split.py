"""The exact splits: sums, caps, fairness, whatever the numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from element.protocol.units import split_evenly
from host_tools.dispatch import split

CAPS = st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**9)), min_size=1, max_size=40)


def _arrays(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return (np.array([cap for cap, _ in rows], dtype=np.int64),
            np.array([weight for _, weight in rows], dtype=np.int64))


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


@given(CAPS, st.floats(0, 1))
def test_by_weight_is_exact_capped_and_level(rows: list[tuple[int, int]], share: float) -> None:
    caps, weights = _arrays(rows)
    total = int(int(caps.sum()) * share)
    parts = split.by_weight(total, caps, weights)
    assert int(parts.sum()) == total
    assert (parts >= 0).all() and (parts <= caps).all()
    scaled = np.where(caps > 0, split.scaled(weights), 0)
    # nobody who has room is left below the level that somebody else, not full, has reached;
    # crumbs are less than one mW a row and weight
    open_rows = (parts < caps) & (scaled > 0)
    if open_rows.any():
        level = parts[open_rows] / scaled[open_rows]
        slack = (len(rows) + 1) / int(scaled[open_rows].min())
        assert level.max() - level.min() <= slack
        if total > int(parts[scaled > 0].sum()):
            raise AssertionError("weightless rows were used while weighted ones had room")


@given(CAPS, st.floats(0, 1))
def test_in_order_fills_one_after_the_other(rows: list[tuple[int, int]], share: float) -> None:
    caps, keys = _arrays(rows)
    order = np.argsort(keys, kind="stable")
    total = int(int(caps.sum()) * share)
    parts = split.in_order(total, caps, order)
    assert int(parts.sum()) == total
    partly = [row for row in order if 0 < parts[row] < caps[row]]
    assert len(partly) <= 1
    seen_open = False
    for row in order:
        assert not (seen_open and parts[row])
        seen_open = seen_open or parts[row] < caps[row]


@given(CAPS, st.floats(0, 1), st.integers(0, 40000))
def test_by_marginal_cost_is_exact_and_no_swap_is_cheaper(
    rows: list[tuple[int, int]], share: float, rise_bp: int,
) -> None:
    caps, cost = _arrays(rows)
    cost = cost % 100_000 + 1
    nameplate = caps + 1000
    total = int(int(caps.sum()) * share)
    parts = split.by_marginal_cost(total, caps, cost, nameplate, rise_bp)
    assert int(parts.sum()) == total
    assert (parts >= 0).all() and (parts <= caps).all()
    marginal = cost * (1 + rise_bp / 10000 * parts / nameplate)
    # 2 mW: what rounding and crumbs may add
    step = cost * rise_bp / 10000 * (len(rows) + 2) / nameplate + 1e-6 * cost
    used, spare = parts > len(rows), parts < caps
    if used.any() and spare.any():
        assert (marginal - step)[used].max() <= (marginal + step)[spare].min() * (1 + 1e-9)


def test_what_does_not_fit_is_an_error() -> None:
    caps = np.array([5, 6], dtype=np.int64)
    for total in (-1, 12):
        with pytest.raises(ValueError):
            split.by_weight(total, caps, caps)
        with pytest.raises(ValueError):
            split.in_order(total, caps, np.arange(2))
        with pytest.raises(ValueError):
            split.by_marginal_cost(total, caps, caps, caps, 10000)


def test_a_row_without_weight_serves_when_the_others_are_full() -> None:
    caps = np.array([10, 10, 10], dtype=np.int64)
    weights = np.array([1, 0, 1], dtype=np.int64)
    assert split.by_weight(20, caps, weights).tolist() == [10, 0, 10]
    assert split.by_weight(25, caps, weights).tolist() == [10, 5, 10]
    assert split.by_weight(7, caps, np.zeros(3, dtype=np.int64)).tolist() == [3, 2, 2]
