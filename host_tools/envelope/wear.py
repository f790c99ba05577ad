"""What a kWh through a pack costs in wear, so that cheap elements go first (economic policy).

A pack's price is spread over the energy of its life: price / (2 * cycles * depth of discharge),
both directions counted, and rises as the health goes. The figures are what a planner assumes
without a manufacturer's own; a site's configuration may say others.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chemistry:
    """price_milli_per_kwh: of a pack, in thousandths of the currency, for each kWh it is rated.

    cycle_count: to the end of its life (80 % of its capacity) at depth_bp.
    """

    price_milli_per_kwh: int
    cycle_count: int
    depth_bp: int = 8000


# Assumptions, rounded; replaced by what the site's configuration says of a chemistry.
CHEMISTRIES = {
    "LFP": Chemistry(150_000, 6000),
    "NMC": Chemistry(180_000, 2500),
    "LTO": Chemistry(400_000, 15_000),
    "NA": Chemistry(120_000, 4000),
}
OTHER = Chemistry(200_000, 2500)


def wear_of(chemistry: str, soh_bp: int, known: dict[str, Chemistry] | None = None) -> int:
    """Return the wear of a kWh through a pack, in millionths of the currency, at least 1."""
    one = (known or CHEMISTRIES).get(chemistry.upper(), OTHER)
    life_milli_kwh = 2 * one.cycle_count * one.depth_bp // 10
    return max(1, one.price_milli_per_kwh * 1_000_000 // life_milli_kwh * 10000 // max(1, soh_bp))
