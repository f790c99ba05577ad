"""Reckon what regulation does to a battery's life and to savings, and how long a blackout lasts.

The arithmetic of TrustDER's final report, Subtask 5.2, as functions; the tests have its numbers.
Pure. Shares are fractions (0.1285 is 12.85 %). Every function raises ValueError for values that
mean nothing.
"""

from collections.abc import Sequence
from math import ceil, isfinite

# An LFP or NMC cell that is cycled within 80 % of its capacity has lost 20 % of it after these.
CYCLES_COUNT_TO_80_PCT = 7000.0
DAYS_PER_YEAR = 365.0


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _positive(**values: float) -> None:
    for name, value in values.items():
        _need(isfinite(value) and value > 0.0, f"{name} {value}: give a number above 0")


def _share(**values: float) -> None:
    for name, value in values.items():
        _need(0.0 <= value <= 1.0, f"{name} {value}: give a fraction, 0 to 1")


def cycles_per_day(power_w: Sequence[float], step_s: float, energy_wh: float) -> float:
    """Return full cycles a day of a power profile, positive = discharge, of one value a step.

    A cycle is energy_wh out and energy_wh in again: the energy moved both ways over twice that.
    """
    _positive(step_s=step_s, energy_wh=energy_wh)
    _need(len(power_w) > 0 and all(isfinite(one) for one in power_w),
          "power_w: give one finite value a step")
    moved_wh = sum(abs(one) for one in power_w) * step_s / 3600.0
    days = len(power_w) * step_s / 86400.0
    return moved_wh / (2.0 * energy_wh) / days


def lifetime_years(day_cycles: float, cycles_count: float = CYCLES_COUNT_TO_80_PCT) -> float:
    """Return how long a battery lasts that goes through day_cycles cycles a day."""
    _positive(day_cycles=day_cycles, cycles_count=cycles_count)
    return cycles_count / (day_cycles * DAYS_PER_YEAR)


def day_cycles_for_gain(day_cycles: float, gain_share: float) -> float:
    """Return how many cycles a day let a battery last longer by gain_share."""
    _positive(day_cycles=day_cycles)
    _need(isfinite(gain_share) and gain_share >= 0.0, f"gain_share {gain_share}: 0 or more")
    return day_cycles / (1.0 + gain_share)


def day_cycles_after_skipping(day_cycles: float, base_day_cycles: float,
                              skipped_share: float) -> float:
    """Return cycles a day when a share of the signals is skipped.

    day_cycles: with all signals; base_day_cycles: with none. Signals cost cycles evenly.
    """
    _positive(day_cycles=day_cycles, base_day_cycles=base_day_cycles)
    _need(base_day_cycles <= day_cycles, "base_day_cycles are more than day_cycles")
    _share(skipped_share=skipped_share)
    return day_cycles - skipped_share * (day_cycles - base_day_cycles)


def skipped_share_for_gain(day_cycles: float, base_day_cycles: float, gain_share: float) -> float:
    """Return the smallest share of signals whose skipping lets a battery last longer by a gain.

    Raises ValueError when not even skipping all of them does.
    """
    _positive(base_day_cycles=base_day_cycles)
    wanted = day_cycles_for_gain(day_cycles, gain_share)
    _need(base_day_cycles < day_cycles, "base_day_cycles are no fewer than day_cycles")
    _need(wanted >= base_day_cycles,
          f"a gain of {gain_share:g} needs fewer cycles than the battery has without signals")
    return (day_cycles - wanted) / (day_cycles - base_day_cycles)


def skip_lowest_paid(values: Sequence[float], skipped_share: float) -> tuple[float, float]:
    """Return the threshold, and the share of all profit that is lost below it.

    values: what each event pays, in any one unit (USD/MW), 0 or more. The events that pay least
    are skipped, as many as make up skipped_share, rounded up; the threshold is what the worst of
    the others pays, infinite when none is left.
    """
    _share(skipped_share=skipped_share)
    _need(len(values) > 0 and all(isfinite(one) and one >= 0.0 for one in values),
          "values: give what each event pays, 0 or more")
    ordered = sorted(values)
    total = sum(ordered)
    _need(total > 0.0, "values: none of the events pays anything")
    # what is 12.000000001 by rounding of floats alone is 12
    count = ceil(skipped_share * len(ordered) - 1e-9)
    threshold = ordered[count] if count < len(ordered) else float("inf")
    return threshold, sum(ordered[:count]) / total


def savings_after_skipping(savings_share: float, lost_profit_share: float) -> float:
    """Return the savings from regulation when a share of its profit is given up."""
    _share(savings_share=savings_share, lost_profit_share=lost_profit_share)
    return savings_share * (1.0 - lost_profit_share)


def total_savings(savings_share: float, missed_arbitrage_share: float) -> float:
    """Return a consumer's savings: from services, less what bounds cost in missed arbitrage."""
    _share(savings_share=savings_share, missed_arbitrage_share=missed_arbitrage_share)
    return savings_share - missed_arbitrage_share


def uptime_hours(storage_hours: float, vehicle_hours: float, pv_share: float = 0.0,
                 vehicle_plugged_share: float = 1.0, vehicle_plugged_share_then: float = 1.0,
                 load_share: float = 1.0) -> float:
    """Return how long a blackout is bridged.

    storage_hours: of the average load by stationary storage; vehicle_hours: by the vehicles that
    are plugged in on average (vehicle_plugged_share of all); vehicle_plugged_share_then: of all,
    at the time in question; pv_share: of the energy that PV takes off them; load_share: the load
    of that time over the average.
    """
    _need(isfinite(storage_hours) and storage_hours >= 0.0, "storage_hours: 0 or more")
    _need(isfinite(vehicle_hours) and vehicle_hours >= 0.0, "vehicle_hours: 0 or more")
    _positive(vehicle_plugged_share=vehicle_plugged_share, load_share=load_share)
    _share(pv_share=pv_share, vehicle_plugged_share=vehicle_plugged_share,
           vehicle_plugged_share_then=vehicle_plugged_share_then)
    _need(pv_share < 1.0, "pv_share 1: PV alone carries the load and there is no end")
    hours = storage_hours + vehicle_hours * vehicle_plugged_share_then / vehicle_plugged_share
    return hours / ((1.0 - pv_share) * load_share)
