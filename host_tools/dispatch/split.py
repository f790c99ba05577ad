"""Split a power over elements exactly: integers whose sum is the total. Pure; array operations.

Nothing here is rounded by floating point into a wrong total: what a division leaves over is given
out one mW at a time, in the order of the rows.
"""

import numpy as np
import numpy.typing as npt

from host_tools.envelope.population import Ints

# total (2**41) times weight stays within 63 bits.
WEIGHT_MAX = 1 << 20
TOTAL_MW_MAX = 1 << 42
# Rounds in which the rows that are full are found; then they are found by sorting.
_ROUNDS_MAX = 12


def scaled(weights: Ints) -> Ints:
    """Return weights in 0..WEIGHT_MAX, in proportion; a positive one stays positive."""
    largest = int(weights.max(initial=0))
    if largest <= WEIGHT_MAX:
        return np.maximum(weights, 0)
    shift = largest // WEIGHT_MAX + 1
    return np.where(weights > 0, np.maximum(1, weights // shift), 0)


def by_weight(total_mw: int, caps: Ints, weights: Ints) -> Ints:
    """Split a non-negative total in proportion to weights, none above its cap.

    Whoever would get more than its cap has its cap, and the rest is split over the others. Rows
    without weight get something only when the weighted ones are full. Raises ValueError when the
    caps together are smaller than the total, or the total is beyond TOTAL_MW_MAX.
    """
    if not 0 <= total_mw <= min(int(caps.sum()), TOTAL_MW_MAX):
        raise ValueError(f"{total_mw} mW do not fit into the caps")
    weights = np.where(caps > 0, scaled(weights), 0)
    weighted_mw = int(caps[weights > 0].sum())
    if total_mw > weighted_mw:
        parts = np.where(weights > 0, caps, 0)
        return parts + by_weight(total_mw - weighted_mw, caps - parts, caps - parts)
    full = np.zeros(len(caps), dtype=bool)
    for attempt in range(_ROUNDS_MAX + 1):
        left_mw = total_mw - int(caps[full].sum())
        parts = left_mw * weights // max(1, int(weights[~full].sum()))
        more = (parts > caps) & ~full
        if not more.any():
            break
        # a share above its cap stays above it when the others' shares grow
        full = full | more if attempt < _ROUNDS_MAX - 1 else _full(total_mw, caps, weights)
    parts = np.where(full, caps, np.minimum(parts, caps))
    return parts + crumbs(total_mw - int(parts.sum()), caps - parts, ~full & (weights > 0))


def _full(total_mw: int, caps: Ints, weights: Ints) -> npt.NDArray[np.bool_]:
    """Return who reaches its cap when a level rises, with level * weight for each, to the total.

    Rows are taken in the order in which they fill up, so this is one sort and no search.
    """
    ratio = np.full(len(caps), np.inf)
    positive = weights > 0
    ratio[positive] = caps[positive] / weights[positive]
    order = np.argsort(ratio, kind="stable")
    filled_before = np.concatenate(([0], np.cumsum(caps[order])[:-1]))
    open_from = np.cumsum(weights[order][::-1])[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        level = (total_mw - filled_before) / open_from
    # who is full when the level that would carry all the rest is above its own ratio
    full_in_order = (level >= ratio[order]) & (open_from > 0)
    count = int(np.argmin(full_in_order)) if not full_in_order.all() else len(order)
    full = np.zeros(len(caps), dtype=bool)
    full[order[:count]] = True
    return full


def crumbs(left_mw: int, room: Ints, first: npt.NDArray[np.bool_]) -> Ints:
    """Give out what a division has left: a mW to each row in turn, to those of `first` first.

    Bounded: rounds of one mW become rounds of as much as every row with room can take.
    """
    parts = np.zeros_like(room)
    for rows in (np.flatnonzero(first), np.arange(len(room))):
        while left_mw > 0:
            there = rows[room[rows] > parts[rows]]
            if not len(there):
                break
            each = max(1, min(left_mw // len(there), int((room[there] - parts[there]).min())))
            there = there[:left_mw // each]
            parts[there] += each
            left_mw -= each * len(there)
    if left_mw:
        raise ValueError(f"{left_mw} mW have no room")
    return parts


def in_order(total_mw: int, caps: Ints, order: npt.NDArray[np.intp]) -> Ints:
    """Fill rows to their caps one after the other until the total is reached.

    Raises ValueError when the caps together are smaller than the total.
    """
    if not 0 <= total_mw <= int(caps.sum()):
        raise ValueError(f"{total_mw} mW do not fit into the caps")
    ordered = caps[order]
    before = np.cumsum(ordered) - ordered
    parts = np.zeros_like(caps)
    parts[order] = np.clip(total_mw - before, 0, ordered)
    return parts


def by_marginal_cost(total_mw: int, caps: Ints, cost: Ints, nameplate: Ints, rise_bp: int) -> Ints:
    """Split a total so that the last mW costs the same everywhere it can.

    cost: of energy at small power. It rises linearly to cost * (1 + rise) at the nameplate
    (rise_bp in basis points); with 0 the cheapest are filled first. Raises ValueError when the
    caps together are smaller than the total.
    """
    if rise_bp <= 0:
        return in_order(total_mw, caps, np.argsort(cost, kind="stable"))
    if not 0 <= total_mw <= int(caps.sum()):
        raise ValueError(f"{total_mw} mW do not fit into the caps")
    base = np.maximum(cost, 1).astype(np.float64)
    # an element carries slope * (price - base) between its first mW and its cap
    slope = np.maximum(nameplate, 1) / (base * (rise_bp / 10000))
    price = _price(total_mw, base, base + caps / slope, slope, caps)
    parts = np.clip(np.floor(slope * (price - base)), 0, caps).astype(np.int64)
    parts = _trimmed(parts, total_mw)
    return parts + crumbs(total_mw - int(parts.sum()), caps - parts, parts > 0)


def _price(total_mw: int, begin: npt.NDArray[np.float64], end: npt.NDArray[np.float64],
           slope: npt.NDArray[np.float64], caps: Ints) -> float:
    """Return the price at which all together carry the total: a sum of ramps, inverted."""
    at = np.concatenate((begin, end))
    change = np.concatenate((slope, -slope))
    order = np.argsort(at, kind="stable")
    at, change = at[order], change[order]
    steepness = np.cumsum(change)
    carried = np.concatenate(([0.0], np.cumsum(np.diff(at) * steepness[:-1])))
    found = int(np.searchsorted(carried, total_mw, side="right")) - 1
    found = min(max(found, 0), len(at) - 1)
    rest = total_mw - carried[found]
    return float(at[found] + (rest / steepness[found] if steepness[found] > 0 else 0.0))


def _trimmed(parts: Ints, total_mw: int) -> Ints:
    """Take back the few mW by which floating point may have gone beyond the total."""
    over_mw = int(parts.sum()) - total_mw
    return parts if over_mw <= 0 else parts - crumbs(over_mw, parts, parts > 0)
