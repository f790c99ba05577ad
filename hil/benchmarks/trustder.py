"""Benchmarks of TrustDER's bench: simulation of thousands, a home with real firmware."""

import time
from collections.abc import Iterator

from hil.benchmarks.registry import Context, Measure, benchmark
from hil.signals.csv_source import csv_columns, load_csv
from hil.signals.signal import Signal
from hil.trustder.fleet import draw_fleet
from hil.trustder.reference import ramp_steps, regulation_steps
from hil.trustder.study import DEVICES_COUNT, Plan, figures, run_study, simulate

SIMULATED_SEEDS = (1, 2, 3, 4, 5, 6, 7)
DAYS_COUNT = 8
# Half an hour each: of the generated signals 2 is restless throughout, 3 trims, 7 goes from end to
# end. Of a CSV's days so many are run besides.
BENCH_SEEDS = (1, 2, 3, 7)
BENCH_DAYS_COUNT = 3
BENCH_HOURS = 0.5
REACH_PCT = {"ramp": {"simulation": "<= 0.5", "bench": "<= 3"},
             "regulation": {"simulation": "<= 0.8", "bench": "<= 4"}}


def _days(context: Context, seeds: tuple[int, ...],
          count: int) -> list[tuple[int, Signal | None]]:
    """Return (seed, signal): generated ones, and count days of a CSV when one is given."""
    days: list[tuple[int, Signal | None]] = [(seed, None) for seed in seeds]
    if context.agc_csv is not None:
        columns = csv_columns(context.agc_csv)
        for column in columns[::max(1, len(columns) // count)][:count]:
            days.append((1, load_csv(context.agc_csv, column)))
    return days


@benchmark("trustder_simulation")
def simulation(context: Context) -> Iterator[Measure]:
    """Simulate an hour with 13,000 devices on several seeds; the worst of them counts."""
    longest_s = 0.0
    for name, days in (("ramp", [(seed, None) for seed in SIMULATED_SEEDS]),
                       ("regulation", _days(context, SIMULATED_SEEDS, DAYS_COUNT))):
        worst: dict[str, float] = {}
        for seed, signal in days:
            reference = ramp_steps(1.0) if name == "ramp" else regulation_steps(1.0, seed, signal)
            began_s = time.monotonic()
            course = simulate(draw_fleet(DEVICES_COUNT, seed), seed, reference)
            longest_s = max(longest_s, time.monotonic() - began_s)
            for key, value in figures(*course.means(1)).items():
                worst[key] = max(worst.get(key, 0.0), value)
        yield Measure(f"trustder.simulation.{name}.e1_pct", worst["e1_pct"], "%",
                      REACH_PCT[name]["simulation"])
        yield Measure(f"trustder.simulation.{name}.e2_pct", worst["e2_pct"], "%", "")
    yield Measure("trustder.simulation.hour_s", longest_s, "s", "<= 20")


@benchmark("trustder_bench")
def bench(context: Context) -> Iterator[Measure]:
    """Run the home with real firmware on several seeds; the worst counts, for both readings."""
    worst: dict[str, float] = {}
    for seed, signal in _days(context, BENCH_SEEDS, BENCH_DAYS_COUNT):
        plan = Plan(context.folder / "trustder" / str(seed), DEVICES_COUNT, BENCH_HOURS, seed,
                    signal)
        for one in run_study(plan)[0]["signals"]:
            for key in ("home", "extrapolated"):
                for error, value in one["bench"][key].items():
                    name = f"{one['name']}.{key}.{error}"
                    worst[name] = max(worst.get(name, 0.0), value)
            worst["compute_ms"] = max(worst.get("compute_ms", 0.0),
                                      one["bench"]["compute_ms_median"])
            worst["refused"] = worst.get("refused", 0.0) + one["bench"]["refused_count"]
    for name, reach in REACH_PCT.items():
        for key in ("home", "extrapolated"):
            yield Measure(f"trustder.bench.{name}.{key}.e1_pct",
                          worst[f"{name}.{key}.e1_pct"], "%", reach["bench"])
            yield Measure(f"trustder.bench.{name}.{key}.e2_pct",
                          worst[f"{name}.{key}.e2_pct"], "%", "")
    yield Measure("trustder.bench.compute_ms_median", worst["compute_ms"], "ms", "<= 30")
    yield Measure("trustder.bench.refused_count", worst["refused"], "", "== 0")
