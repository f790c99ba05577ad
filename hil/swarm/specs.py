"""Mixed elements from a seed: kinds, chemistries, ratings, zones, tenants."""

import random
from collections.abc import Callable
from typing import Any

from element.protocol import codes
from hil.plant.cell import CHEMISTRIES
from hil.swarm.element import Spec

# (chemistry, cells in series, ratings in W)
_PACKS = (("LFP", 16, (2500, 5000, 10_000)), ("NMC", 14, (2000, 4000, 8000)))
_KINDS = (codes.KIND_CONVERTER, codes.KIND_CONVERTER, codes.KIND_SUNSPEC, codes.KIND_BMS_FETS)
_CELL_MV = {"LFP": (2800, 3600), "NMC": (3000, 4150)}
# Hours at the rating: ratings and energies go together as in cabinets and walls that are sold.
_HOURS = 2
ZONE_COUNT = 12
SWITCHED = codes.SERVICE_REGULATION | codes.SERVICE_ENERGY
TENANTS = ("tenant-a", "tenant-b", "tenant-c", "")

Maker = Callable[[int, random.Random], Spec]


def profile_of(kind: int, chemistry: str, cell_count: int, power_w: int) -> dict[str, Any]:
    """Return a plausible profile."""
    on_off = kind in (codes.KIND_BMS_FETS, codes.KIND_RELAY)
    power_mw = power_w * 1000
    nominal_v = CHEMISTRIES[chemistry].nominal_v * cell_count
    low_mv, high_mv = _CELL_MV[chemistry]
    current_ma = round(power_mw / (low_mv * cell_count) * 1000) + 1000
    return {
        "kind": kind, "power_mw_discharge_max": power_mw, "power_mw_charge_max": power_mw,
        "current_ma_discharge_max": current_ma, "current_ma_charge_max": current_ma,
        "soc_bp_min": 1000, "soc_bp_max": 9000, "cell_mv_min": low_mv, "cell_mv_max": high_mv,
        "temperature_mdegc_discharge_min": 0, "temperature_mdegc_discharge_max": 50_000,
        "temperature_mdegc_charge_min": 0, "temperature_mdegc_charge_max": 45_000,
        "ramp_mw_per_s": 2 * power_mw, "lease_ms_max": 5000, "reading_age_ms_max": 2000,
        "energy_mwh_rated": power_mw * _HOURS, "step_mw": power_mw if on_off else 0,
        "on_ms_min": 3000 if on_off else 0, "off_ms_min": 2000 if on_off else 0,
        "services": SWITCHED if on_off else SWITCHED | codes.SERVICE_FREQUENCY,
        "chemistry": chemistry,
        "role": "cabinet" if on_off else "wall", "discharge_bp_at_soc": [],
        "charge_bp_at_soc": [],
        "capacity_mah": round(power_mw * _HOURS / nominal_v), "reserve_soc_bp": 1500,
        "response_ms": 1000, "thermal_window_s": 0, "thermal_mwh_max": 0,
        "thermal_rise_mdegc_max": 0, "swing_window_s": 0, "swing_bp_max": 0,
        "day_cycles_milli_max": 2000, "monitor_only": False}


def mixed(index: int, rng: random.Random) -> Spec:
    """Return the index'th element of a mixed building."""
    chemistry, cell_count, ratings_w = rng.choice(_PACKS)
    profile = profile_of(rng.choice(_KINDS), chemistry, cell_count, rng.choice(ratings_w))
    return Spec(f"sim-{index:05d}", profile, 1 + rng.randrange(ZONE_COUNT), rng.choice(TENANTS),
                cell_count, rng.randrange(3000, 7000), rng.randrange(9500, 9900),
                rng.randrange(1000))


def converters(power_w: int = 5000, **changes: Any) -> Maker:
    """Return a maker of equal converters with LFP cells, half charged, in zone 1.

    changes: fields of their profile that a test wants otherwise.
    """
    profile = profile_of(codes.KIND_CONVERTER, "LFP", 16, power_w) | changes

    def make(index: int, rng: random.Random) -> Spec:
        return Spec(f"sim-{index:05d}", profile, phase_ms=rng.randrange(1000))

    return make
