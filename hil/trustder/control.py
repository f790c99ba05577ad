"""Share a setpoint over loads and batteries; turn shares into on and off. Pure, no clock.

Powers are W at the PCC, positive = to the PCC: a load that is on counts as minus its power.
Every device advertises a box that holds the convex hull of what it can do in this step. The
controller shares the setpoint over the boxes at the least cost; a load carries what its share
and its on or off differ by into its next step; batteries take the rest at once.

Ref: Bernstein, Bouman, Le Boudec, "Real-time control of an ensemble of heterogeneous resources",
CDC 2017; the same authors' arXiv:1511.08628 (bounded accumulated error) and 1612.07287.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ROUNDS_MAX = 60
# A sum counts as reached within this share of the widest sum that the boxes allow.
CLOSE = 1e-9


@dataclass(frozen=True)
class Seen:
    """What is known at the start of a step.

    on: what each load does. may_on, may_off: its implementable set after lock-out and
    thermostat; at least one of them is True. load_wish_w: what each load would do were there no
    setpoint, W, zero or negative. battery_low_w, battery_high_w: what each battery can do;
    battery_plan: the share of it that is offered to the setpoint, the rest being kept for what
    loads leave.
    """

    on: BoolArray
    may_on: BoolArray
    may_off: BoolArray
    load_wish_w: FloatArray
    battery_wish_w: FloatArray
    battery_low_w: FloatArray
    battery_high_w: FloatArray
    battery_plan: float


@dataclass(frozen=True)
class Decision:
    """What is done in a step: loads on, and what batteries do once loads have followed.

    share_w, battery_share_w: the shares of the setpoint. left_w: what not even the batteries
    could take, 0 as a rule.
    """

    on: BoolArray
    share_w: FloatArray
    battery_share_w: FloatArray
    battery_w: FloatArray
    left_w: float


def split(
    total_w: float, wish_w: FloatArray, weight_w: FloatArray, low_w: FloatArray,
    high_w: FloatArray,
) -> FloatArray:
    """Return x that minimises sum (x - wish)^2 / (2 weight), sum x = total, low <= x <= high.

    The minimum is x = wish + price * weight, cut to the boxes, at the one price where the sum
    is right: found by Newton's method on a piecewise linear function, kept in by bisection. A
    total beyond the boxes gives their ends. Raises ValueError for a weight that is not above 0,
    an empty box or no device.
    """
    if wish_w.size == 0 or not (weight_w > 0.0).all() or not (low_w <= high_w).all():
        raise ValueError("split: give devices with weights above 0 and low <= high")
    bottom_w, top_w = float(low_w.sum()), float(high_w.sum())
    if total_w <= bottom_w:
        return low_w.copy()
    if total_w >= top_w:
        return high_w.copy()
    close_w = CLOSE * max(abs(bottom_w), abs(top_w), 1.0)
    price_low = float(((low_w - wish_w) / weight_w).min())
    price_high = float(((high_w - wish_w) / weight_w).max())
    price = min(max(0.0, price_low), price_high)
    for _ in range(ROUNDS_MAX):
        free_w = wish_w + price * weight_w
        x_w: FloatArray = np.minimum(np.maximum(free_w, low_w), high_w)
        gap_w = total_w - float(x_w.sum())
        if abs(gap_w) <= close_w:
            break
        if gap_w > 0.0:
            price_low = price
        else:
            price_high = price
        slope_w = float(weight_w[x_w == free_w].sum())
        price = price + gap_w / slope_w if slope_w > 0.0 else price_high
        if not price_low < price < price_high:
            price = 0.5 * (price_low + price_high)
    return x_w


class Diffusion:
    """Remember what each load still owes. `remainder_w` is the sum of share less on or off.

    patience: how much more than half of its power a load may owe before it switches, in its
    power. With 0 it does what is nearest to share + remainder, as in the reference. While the
    shares lie within what the loads can do, no remainder leaves +-(0.5 + patience) * power.
    """

    def __init__(self, power_w: FloatArray, remainder_w: FloatArray,
                 patience: float = 0.0) -> None:
        """remainder_w: the first remainders; equal ones let all loads switch together."""
        if power_w.shape != remainder_w.shape or not (power_w > 0.0).all():
            raise ValueError("diffusion: give one remainder for each power above 0")
        if patience < 0.0 or (np.abs(remainder_w) > (0.5 + patience) * power_w).any():
            raise ValueError("diffusion: a remainder is within what its load may owe")
        self.power_w = power_w
        self.remainder_w = remainder_w.copy()
        self.patience = patience

    def choose(self, share_w: FloatArray, was_on: BoolArray, may_on: BoolArray,
               may_off: BoolArray) -> BoolArray:
        """Return which loads are to be on; `take` makes it so."""
        if not (may_on | may_off).all():
            raise ValueError("diffusion: a load may be neither on nor off")
        owed_w = share_w + self.remainder_w
        left_w = owed_w + np.where(was_on, self.power_w, 0.0)
        band_w = (0.5 + self.patience) * self.power_w
        wanted = np.where(np.abs(left_w) <= band_w, was_on, owed_w < -0.5 * self.power_w)
        return np.where(may_on & may_off, wanted, may_on)

    def relieve(self, on: BoolArray, share_w: FloatArray, free: BoolArray,
                excess_w: float) -> BoolArray:
        """Return `on` with loads switched until consumption is less by excess_w (negative: more).

        Those first that owe it most, for their power. What they owe may then leave its bounds.
        """
        movable = np.flatnonzero(free & (on if excess_w > 0.0 else ~on))
        if movable.size == 0:
            return on
        owed = (share_w + self.remainder_w)[movable] / self.power_w[movable]
        order = movable[np.argsort(-owed if excess_w > 0.0 else owed, kind="stable")]
        count = int(np.searchsorted(np.cumsum(self.power_w[order]), abs(excess_w))) + 1
        changed = on.copy()
        changed[order[:count]] = excess_w <= 0.0
        return changed

    def take(self, share_w: FloatArray, on: BoolArray) -> None:
        """Account for a step in which the loads had these shares and were on or off."""
        self.remainder_w = self.remainder_w + share_w + np.where(on, self.power_w, 0.0)


def random_remainders(power_w: FloatArray, rng: np.random.Generator,
                      patience: float = 0.0) -> FloatArray:
    """Return remainders drawn evenly from all that a load may owe."""
    return power_w * (0.5 + patience) * rng.uniform(-1.0, 1.0, power_w.size)


class Controller:
    """Decide each step for loads of known power, and batteries of known rating.

    load_weight_w, battery_weight_w: how cheaply each is moved off its wish. residual: whether
    batteries take what loads leave; without it they keep to their own shares. patience: of the
    loads. Batteries that would be asked for more than they can are relieved by loads.
    """

    def __init__(
        self, power_w: FloatArray, load_weight_w: FloatArray, battery_weight_w: FloatArray,
        remainder_w: FloatArray, residual: bool = True, patience: float = 0.0,
    ) -> None:
        self.diffusion = Diffusion(power_w, remainder_w, patience)
        self._weight_w = np.concatenate([load_weight_w, battery_weight_w])
        self._battery_weight_w = battery_weight_w
        self._residual = residual

    def step(self, setpoint_w: float, seen: Seen) -> Decision:
        """Share setpoint_w, the power wanted at the PCC with all consumption in it."""
        power_w = self.diffusion.power_w
        # The hull of a load that is locked is the one point where it is; it owes nothing then.
        hull_low_w = np.where(seen.may_on, -power_w, 0.0)
        hull_high_w = np.where(seen.may_off, 0.0, -power_w)
        plan = seen.battery_plan
        shares_w = split(
            setpoint_w,
            np.concatenate([np.clip(seen.load_wish_w, hull_low_w, hull_high_w),
                            seen.battery_wish_w]),
            self._weight_w,
            np.concatenate([hull_low_w, plan * seen.battery_low_w]),
            np.concatenate([hull_high_w, plan * seen.battery_high_w]))
        load_w, battery_w = shares_w[:power_w.size], shares_w[power_w.size:]
        on = self.diffusion.choose(load_w, seen.on, seen.may_on, seen.may_off)
        rest_w = setpoint_w + float(power_w[on].sum())
        if battery_w.size and self._residual:
            low_w, high_w = float(seen.battery_low_w.sum()), float(seen.battery_high_w.sum())
            excess_w = rest_w - min(max(rest_w, low_w), high_w)
            if excess_w:
                other = self.diffusion.relieve(on, load_w, seen.may_on & seen.may_off, excess_w)
                other_w = setpoint_w + float(power_w[other].sum())
                # a load may be too large a step: then its batteries are better off without it
                if abs(other_w - min(max(other_w, low_w), high_w)) < abs(excess_w):
                    on, rest_w = other, other_w
        self.diffusion.take(load_w, on)
        after_w = battery_w
        if battery_w.size and self._residual:
            after_w = split(rest_w, battery_w, self._battery_weight_w, seen.battery_low_w,
                            seen.battery_high_w)
        return Decision(on, load_w, battery_w, after_w, rest_w - float(after_w.sum()))
