"""Benchmarks of frequency response: a product's step test on regulated elements, either clock."""

from collections.abc import Iterator

from hil.benchmarks.registry import Context, Measure, benchmark
from hil.frequency.bench import FrequencyBench
from hil.frequency.products import PRODUCTS
from hil.frequency.traces import step_trace
from hil.scenarios.load import find_scenario, load_scenario

NEVER_MS = 10.0**9
SEEDS = (1, 2, 3)
START_MS = 250
FULL_MS = 600


def _measures(context: Context, clock: str, seeds: tuple[int, ...]) -> Iterator[Measure]:
    """Run Dynamic Containment's steps; the worst of all steps and seeds."""
    scenario = load_scenario(find_scenario("regulated"))
    product = PRODUCTS["dynamic-containment"]
    starts: list[float] = []
    fulls: list[float] = []
    over, late = 0.0, 0.0
    for seed in seeds:
        response = FrequencyBench(scenario, product, step_trace(product),
                                  context.folder / f"frequency-{clock}", seed, clock).run()
        starts += [NEVER_MS if one.start_ms is None else one.start_ms for one in response.steps]
        fulls += [NEVER_MS if one.full_ms is None else one.full_ms for one in response.steps]
        over = max(over, *(one.overshoot_pct for one in response.steps))
        late = max(late, response.clock_error_ms)
    name = f"dynamic_containment.{clock}"
    yield Measure(f"{name}.start_ms", max(starts), "ms", f"<= {START_MS}")
    yield Measure(f"{name}.full_ms", max(fulls), "ms", f"<= {FULL_MS}")
    yield Measure(f"{name}.overshoot_pct", round(over, 2), "%", "")
    yield Measure(f"{name}.clock_error_ms", late, "ms", "")
    yield Measure(f"{name}.steps", len(starts), "", "")


@benchmark("dynamic_containment")
def dynamic_containment(context: Context) -> Iterator[Measure]:
    """In virtual time; the meter's and the lines' latencies are modelled and part of it."""
    yield from _measures(context, "virtual", SEEDS)


@benchmark("dynamic_containment_real_time")
def dynamic_containment_real_time(context: Context) -> Iterator[Measure]:
    """In wall time, boards as processes on ptys."""
    yield from _measures(context, "real", (1,))


@benchmark("frequency_products")
def frequency_products(context: Context) -> Iterator[Measure]:
    """Every product's own step test against its own limits, in virtual time."""
    scenario = load_scenario(find_scenario("regulated"))
    for product in PRODUCTS.values():
        response = FrequencyBench(scenario, product, step_trace(product),
                                  context.folder / "frequency-products").run()
        for one in response.limits:
            value = NEVER_MS if one["value"] is None else one["value"]
            yield Measure(f"frequency.{product.name}.{one['name']}", value,
                          "%" if one["name"].endswith("pct") else "ms", f"<= {one['limit']:g}")
