"""Say which devices there are: one home's, or thousands drawn from a mix with sources.

A load with a store keeps food, water or a room within a band: `store_wh` is the electrical energy
that takes it from one end to the other, and its baseline is what holds it where it is: the
virtual battery of Hao, Sanandaji, Poolla, Vincent, "Aggregate flexibility of thermostatically
controlled loads", IEEE Trans. Power Systems 30 (2015). 0: no store, anything goes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .control import FloatArray

IntArray = NDArray[np.int64]
Range = tuple[float, float]

STEP_S = 5
# What may be planned lasts for this long in one direction from stores that are half full.
HOLD_S = 3600
# A battery offers this share of its rating to the setpoint, the rest is for what loads leave.
BATTERY_PLAN = 0.6
# Moving a battery costs twice what moving a load of its power costs: it wears, a load only waits.
BATTERY_WEIGHT = 0.5
# The signal's peak is this share of what loads and plans can hold for HOLD_S.
CAPACITY_SHARE = 0.8
# How much more than half of its power a load of the home may owe before it switches, in its power:
# a home's own battery can carry that, and a heater that is switched every few seconds cannot last.
HOME_PATIENCE = 3.0
SOC_MIN, SOC_MAX = 0.1, 0.9

# The home on the bench.
HEATER_W, HEATER_FAN_W, LIGHTS_W, REFRIGERATOR_W = 1500.0, 35.0, 600.0, 130.0
BATTERY_W, BATTERY_WH = 1500.0, 5120.0


@dataclass(frozen=True)
class Kind:
    """Hold one kind of load: ranges that each unit is drawn from, evenly.

    share: of all devices. duty: baseline over power. hold_s: shortest time on, and off. start_s:
    from the switch's contact to the load's power.
    """

    name: str
    share: float
    power_w: Range
    duty: Range
    store_wh: Range
    hold_s: int
    start_s: float


# The reference names heater, lights, refrigerator and inverter, and says that 13,000 others are
# there; the mix and its numbers are ours. Powers are nameplates of common products. Stores: a
# refrigerator's 4 K over some 80 kJ/K of electrical energy; 190 l of water over 10 K; a room's
# air and furniture over 2 K. Lock-outs: a compressor 3 min, a charge point's contactor and its
# car 1 min; relays and people want 15 s of heating and 10 s of light at least. A heater's fan
# runs up before its element (0.8 s); a car takes 2 s from the pilot signal to its power, of the
# 3 s that SAE J1772 lets it have.
KINDS = (
    Kind("heater", 0.20, (750.0, 1500.0), (0.3, 0.6), (800.0, 1600.0), 15, 0.8),
    Kind("lights", 0.15, (100.0, 600.0), (0.4, 0.6), (0.0, 0.0), 10, 0.0),
    Kind("refrigerator", 0.25, (100.0, 200.0), (0.3, 0.5), (60.0, 120.0), 180, 0.0),
    Kind("water heater", 0.15, (3000.0, 4500.0), (0.08, 0.15), (1600.0, 2800.0), 15, 0.0),
    Kind("car charger", 0.10, (3300.0, 7200.0), (0.4, 0.6), (0.0, 0.0), 60, 2.0),
)
BATTERY_SHARE = 0.15
BATTERY_RATING_W = (3300.0, 7000.0)
BATTERY_HOURS = (2.0, 3.0)
# What a unit takes differs from its nameplate: tolerance of elements and of the mains.
POWER_SPREAD = 0.05


@dataclass(frozen=True)
class Fleet:
    """Hold devices as columns: on/off loads, and batteries.

    power_w: as the controller knows it; true_w: what the load takes. kind: index into `kinds`.
    """

    kinds: tuple[str, ...]
    kind: IntArray
    power_w: FloatArray
    true_w: FloatArray
    baseline_w: FloatArray
    store_wh: FloatArray
    hold_steps: IntArray
    start_s: FloatArray
    rating_w: FloatArray
    energy_wh: FloatArray

    @property
    def count(self) -> int:
        """How many devices."""
        return self.power_w.size + self.rating_w.size

    @property
    def baseline_sum_w(self) -> float:
        """What the loads take when nothing is asked of them."""
        return float(self.baseline_w.sum())

    @property
    def capacity_w(self) -> float:
        """The largest peak, up and down, of a signal that this fleet is given."""
        held_w = np.where(self.store_wh > 0.0, 0.5 * self.store_wh * 3600.0 / HOLD_S, np.inf)
        battery_w = BATTERY_PLAN * float(self.rating_w.sum())
        up_w = float(np.minimum(self.baseline_w, held_w).sum())
        down_w = float(np.minimum(self.power_w - self.baseline_w, held_w).sum())
        return CAPACITY_SHARE * (min(up_w, down_w) + battery_w)


def draw_fleet(count: int, seed: int) -> Fleet:
    """Return count devices of the mix; the seed decides. Raises ValueError below 20."""
    if count < 20:
        raise ValueError(f"{count} devices: give 20 or more, that all kinds are among them")
    rng = np.random.default_rng([seed, 1])
    battery_count = round(BATTERY_SHARE * count)
    counts = [round(one.share * count) for one in KINDS]
    counts[0] += count - battery_count - sum(counts)
    kind = np.repeat(np.arange(len(KINDS)), counts)

    def drawn(ranges: list[Range]) -> FloatArray:
        low = np.array([one[0] for one in ranges])[kind]
        high = np.array([one[1] for one in ranges])[kind]
        return low + (high - low) * rng.random(kind.size)

    power_w = drawn([one.power_w for one in KINDS])
    rating_w = rng.uniform(*BATTERY_RATING_W, battery_count)
    return Fleet(
        tuple(one.name for one in KINDS), kind, power_w,
        power_w * rng.uniform(1.0 - POWER_SPREAD, 1.0 + POWER_SPREAD, kind.size),
        power_w * drawn([one.duty for one in KINDS]),
        drawn([one.store_wh for one in KINDS]),
        np.array([one.hold_s // STEP_S for one in KINDS])[kind],
        np.array([one.start_s for one in KINDS])[kind],
        rating_w, rating_w * rng.uniform(*BATTERY_HOURS, battery_count))


def plain_fleet(count: int, seed: int) -> Fleet:
    """Return count loads of 0.1 to 3 kW that may do anything in any step, and no battery.

    The textbook case in which equal remainders make all of them switch together.
    """
    rng = np.random.default_rng([seed, 3])
    power_w = rng.uniform(100.0, 3000.0, count)
    zeros = np.zeros(count)
    return Fleet(("load",), zeros.astype(np.int64), power_w, power_w, 0.5 * power_w, zeros,
                 zeros.astype(np.int64), zeros, np.zeros(0), np.zeros(0))


def home_fleet(refrigerator_baseline_w: float, refrigerator_store_wh: float) -> Fleet:
    """Return one home as its controller knows it: heater, lights, refrigerator, a battery.

    The powers are those of the bench's loads, the battery is that of its inverter.
    """
    power_w = np.array([HEATER_W + HEATER_FAN_W, LIGHTS_W, REFRIGERATOR_W])
    return Fleet(
        ("heater", "lights", "refrigerator"), np.arange(3), power_w, power_w,
        np.array([0.5 * power_w[0], 0.5 * power_w[1], refrigerator_baseline_w]),
        np.array([0.0, 0.0, refrigerator_store_wh]), np.array([3, 2, 36]),
        np.array([0.8, 0.0, 0.0]), np.array([BATTERY_W]), np.array([BATTERY_WH]))
