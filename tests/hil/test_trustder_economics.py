"""The arithmetic of battery life, savings and uptime gives the report's numbers."""

from collections.abc import Callable
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.trustder.economics import (
    cycles_per_day,
    day_cycles_after_skipping,
    day_cycles_for_gain,
    lifetime_years,
    savings_after_skipping,
    skip_lowest_paid,
    skipped_share_for_gain,
    total_savings,
    uptime_hours,
)


def test_cycles_of_a_profile() -> None:
    hour = [1000.0] * 60 + [-1000.0] * 60  # 1 kWh out, 1 kWh in, in two hours
    assert cycles_per_day(hour, 60, 1000) == pytest.approx(12)
    assert cycles_per_day(hour, 60, 2000) == pytest.approx(6)
    assert cycles_per_day([0.0], 5, 1000) == 0


def test_lifetime_with_and_without_regulation() -> None:
    assert lifetime_years(1.78) == pytest.approx(10.774, abs=0.0005)
    # the report prints 2.92; its own 6.58 gives 2.915
    assert lifetime_years(6.58) == pytest.approx(2.92, abs=0.006)


def test_ten_percent_more_life() -> None:
    assert day_cycles_for_gain(6.58, 0.10) == pytest.approx(5.98, abs=0.002)
    # the report's 12.85 % of signals reach its "less than 5.97"; exact 5.98 need 12.46 %
    assert day_cycles_after_skipping(6.58, 1.78, 0.1285) < 5.97
    assert skipped_share_for_gain(6.58, 1.78, 0.10) == pytest.approx(0.1246, abs=0.0001)
    assert skipped_share_for_gain(6.58, 1.78, 0.10) < 0.1285
    with pytest.raises(ValueError, match="fewer cycles than"):
        skipped_share_for_gain(6.58, 1.78, 3.0)


@given(st.floats(2, 20), st.floats(0.5, 1.9), st.floats(0, 0.05))
def test_skipping_that_share_gives_that_gain(cycles: float, base: float, gain: float) -> None:
    share = skipped_share_for_gain(cycles, base, gain)
    after = day_cycles_after_skipping(cycles, base, share)
    assert lifetime_years(after) == pytest.approx(lifetime_years(cycles) * (1 + gain))


def test_the_lowest_paid_are_skipped() -> None:
    values = [9.0, 2.0, 4.0, 5.0, 20.0, 10.0, 30.0, 20.0]
    assert skip_lowest_paid(values, 0.25) == (5.0, pytest.approx(0.06))
    assert skip_lowest_paid(values, 0.1285) == (5.0, pytest.approx(0.06))  # of 8, two are 12.85 %
    assert skip_lowest_paid(values, 0.0) == (2.0, 0.0)
    assert skip_lowest_paid(values, 1.0) == (inf, 1.0)
    assert skip_lowest_paid([1.0] * 100, 0.29)[1] == pytest.approx(0.29)  # 0.29 * 100 is 28.999..


def test_savings() -> None:
    assert savings_after_skipping(0.14, 0.0594) == pytest.approx(0.1317, abs=0.00005)
    assert total_savings(0.14, 0.03) == pytest.approx(0.11)
    # what is left after both is still above the report's goal of 10 %
    assert total_savings(savings_after_skipping(0.14, 0.0594), 0.03) == pytest.approx(0.1017,
                                                                                  abs=0.0001)


def test_uptime_in_a_blackout() -> None:
    assert uptime_hours(1.68, 0.0) == 1.68
    assert uptime_hours(1.68, 0.78, pv_share=0.342) == pytest.approx(3.73, abs=0.01)
    assert uptime_hours(1.68, 0.78, vehicle_plugged_share=0.154, vehicle_plugged_share_then=0.286,
                        load_share=0.648) == pytest.approx(4.83, abs=0.005)


@pytest.mark.parametrize("call", [
    lambda: cycles_per_day([], 5, 1000), lambda: cycles_per_day([nan], 5, 1000),
    lambda: cycles_per_day([1.0], 0, 1000), lambda: lifetime_years(0), lambda: lifetime_years(-1),
    lambda: lifetime_years(nan), lambda: day_cycles_for_gain(6, -0.1),
    lambda: day_cycles_after_skipping(1, 2, 0.1), lambda: day_cycles_after_skipping(2, 1, 1.1),
    lambda: skipped_share_for_gain(2, 2, 0), lambda: skip_lowest_paid([], 0.1),
    lambda: skip_lowest_paid([-1.0], 0.1), lambda: skip_lowest_paid([0.0], 0.1),
    lambda: skip_lowest_paid([1.0], 1.1), lambda: savings_after_skipping(14, 0.05),
    lambda: total_savings(0.14, -0.1), lambda: uptime_hours(-1, 0),
    lambda: uptime_hours(1, 1, pv_share=1), lambda: uptime_hours(1, 1, load_share=0),
])
def test_nonsense_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        call()
