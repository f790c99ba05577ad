"""Frequency-response products: what each wants of the response to a step, and of a whole trace.

The curves are the panel's own (host_tools/support/droop.py). Limits beside the times of start and
full delivery are those of the products' tests where they have one, and else marked as ours.

Ref: NESO, Dynamic Containment / Moderation / Regulation service descriptions (times, 20 Hz
performance monitoring); Regulation (EU) 2017/1485, annex V (FCR: full in 30 s at 200 mHz in
Continental Europe, 10 s at 500 mHz in Great Britain).
"""

from dataclasses import dataclass

from host_tools.support.droop import CURVES, Curve, droop

# Ours: how far beyond the asked power, percent of the contracted one, and how long until it stays.
# A service that is delivered within its time and then swings is not delivered.
OVERSHOOT_PCT_MAX = 5.0
SETTLE_FACTOR = 2.0
FAST_PCT_PER_S = 1000
SLOW_PCT_PER_S = 30
# Ours: FCR has no time of its own for the start, only that nothing may be delayed on purpose.
FCR_START_MS = 2000


@dataclass(frozen=True)
class Product:
    """One product. steps_mhz: the deviations that its step test takes, both ways each.

    start_ms: the response has begun, 5 % of the step. full_ms: 95 % of it is there. settle_ms: it
    stays there from then on. ramp_pct_per_s: what the site that sells it sets for its frequency
    class (site.yaml, policy.ramp_pct_per_s); the panel's default of 30 is for who sells none.
    """

    name: str
    curve: Curve
    nominal_mhz: int
    steps_mhz: tuple[int, ...]
    start_ms: int
    full_ms: int
    ramp_pct_per_s: int = FAST_PCT_PER_S

    @property
    def settle_ms(self) -> float:
        """When it has to stay at its value."""
        return SETTLE_FACTOR * self.full_ms


def _of(name: str, nominal_mhz: int, steps_mhz: tuple[int, ...], start_ms: int = 0) -> Product:
    curve = CURVES[name]
    return Product(name, curve, nominal_mhz, steps_mhz, curve.start_ms or start_ms,
                   curve.full_ms,
                   FAST_PCT_PER_S if curve.full_ms <= 1000 else SLOW_PCT_PER_S)


PRODUCTS = {one.name: one for one in (
    _of("dynamic-containment", 50_000, (200, 500)),
    _of("dynamic-moderation", 50_000, (100, 200)),
    _of("dynamic-regulation", 50_000, (100, 200)),
    _of("fcr", 50_000, (50, 100, 200), FCR_START_MS),
    _of("fcr-gb", 50_000, (200, 500), FCR_START_MS),
    # a droop of ours for 60 Hz grids: 36 mHz dead-band, all at 600 mHz
    Product("droop", droop("droop", 36, 600), 60_000, (100, 600), 500, 1000),
)}
