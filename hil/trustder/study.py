"""Run simulation and bench on the same references, and put their figures side by side.

Which figure is which, docs/trustder.md says at length. In short: `simulation` has no firmware in
it; `bench.home` is what the home's meter saw with real firmware; `bench.network` is the simulated
network with that home in it; `bench.extrapolated` is the reference's own way: what the bench adds
to the error of the same home in simulation is added to the network's.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hil.bench.provenance import commit_of, firmware_sha256
from hil.bench.session import fast_micropython
from hil.bench.site import Paths
from hil.metrics.tracking import e1_pct, e2_pct
from hil.signals.signal import Signal

from .bench import HomeBench, HomeCourse
from .control import FloatArray
from .ensemble import Course, Ensemble, Variant
from .fleet import HOME_PATIENCE, STEP_S, Fleet, draw_fleet, plain_fleet
from .reference import ramp_steps, regulation_steps, step_count

SCHEMA_VERSION = 1
DEVICES_COUNT = 13_000
HOURS_MAX = 24.0
# TrustDER's final report, tables III.5.4 and III.5.5: errors in percent, its metric not defined.
REFERENCE_PCT = {"ramp": {"simulation": 2.644, "bench": 8.99},
                 "regulation": {"simulation": 6.132, "bench": 9.27}}
REFERENCE_COMPUTE_MS = 30.0
SIGNALS = tuple(REFERENCE_PCT)

Progress = Callable[[str, int, int], None]


class StudyStopped(Exception):
    """Somebody asked for a stop; the battery has gone to zero and its board has ended."""


@dataclass(frozen=True)
class Plan:
    """What a user may choose. folder: for the bench's boards and the results."""

    folder: Path
    devices: int = DEVICES_COUNT
    hours: float = 1.0
    seed: int = 1
    signal: Signal | None = None

    def references(self) -> dict[str, FloatArray]:
        """Return the references in -1..1 by name. Raises ValueError for what cannot be run."""
        if self.hours > HOURS_MAX:
            raise ValueError(f"hours {self.hours:g}: give {HOURS_MAX:g} or less")
        return {"ramp": ramp_steps(self.hours),
                "regulation": regulation_steps(self.hours, self.seed, self.signal)}


@dataclass(frozen=True)
class Tracked:
    """One signal's courses: the network and the home in simulation, the home on the bench."""

    name: str
    network: Course
    home: Course
    bench: HomeCourse
    variants: dict[str, dict[str, float]]
    network_wall_s: float


def figures(power_w: FloatArray, reference_w: FloatArray) -> dict[str, float]:
    """Return the errors of means of one second, and e1 of means of a step, in percent."""
    per_step = (one.reshape(-1, STEP_S).mean(axis=1) for one in (power_w, reference_w))
    return {"e1_pct": round(e1_pct(power_w, reference_w), 3),
            "e2_pct": round(e2_pct(power_w, reference_w), 3),
            "e1_step_pct": round(e1_pct(*per_step), 3)}


def simulate(fleet: Fleet, seed: int, reference: FloatArray, variant: Variant | None = None,
             progress: Callable[[int], None] | None = None) -> Course:
    """Return the course of a fleet that follows a reference in -1..1 of its capacity."""
    return Ensemble(fleet, seed, variant).run(
        reference * fleet.capacity_w, time.perf_counter, progress)


def variants_of(plan: Plan, fleet: Fleet, reference: FloatArray) -> dict[str, dict[str, float]]:
    """Return what becomes of the network's figures when a part of the method is left out."""
    plain = plain_fleet(plan.devices, plan.seed)
    runs = {
        "no_residual": (fleet, Variant(residual=False)),
        "loads_alone_random": (plain, Variant()),
        "loads_alone_synchronised": (plain, Variant(remainders=False)),
    }
    return {name: figures(*simulate(one, plan.seed, reference, variant).means(1))
            for name, (one, variant) in runs.items()}


def track(plan: Plan, name: str, reference: FloatArray, progress: Progress,
          stopped: Callable[[], bool]) -> Tracked:
    """Run one signal. Raises StudyStopped, and BusError when the bench cannot run."""
    total = reference.size

    def report(what: str) -> Callable[[int], None]:
        def update(done: int) -> None:
            progress(f"{name}, {what}", done, total)
            if what == "simulation" and stopped():
                raise StudyStopped
        return update

    fleet = draw_fleet(plan.devices, plan.seed)
    began_s = time.monotonic()
    network = simulate(fleet, plan.seed, reference, progress=report("simulation"))
    wall_s = time.monotonic() - began_s
    variants = variants_of(plan, fleet, reference)
    bench = HomeBench(plan.seed, plan.folder / f"bench-{name}")
    home = simulate(bench.fleet, plan.seed, reference, Variant(patience=HOME_PATIENCE))
    course = bench.run(reference * bench.fleet.capacity_w, report("bench"), stopped)
    if course.stopped:
        raise StudyStopped
    return Tracked(name, network, home, course, variants, wall_s)


def side_by_side(one: Tracked) -> dict[str, Any]:
    """Return one signal's figures, simulation and bench and reference."""
    network, home = figures(*one.network.means(1)), figures(*one.home.means(1))
    reference_w = one.bench.references(1)
    bench = figures(one.bench.meter_w, reference_w)
    power_w, wanted_w = one.network.means(1)
    joined = figures(power_w + one.bench.meter_w, wanted_w + reference_w)
    # a bench that does better than its simulation is no credit to the network
    extrapolated = {key: round(network[key] + max(0.0, bench[key] - home[key]), 3)
                    for key in network}
    return {
        "name": one.name,
        "simulation": {"network": network, "home": home, "variants": one.variants,
                       "network_wall_s": round(one.network_wall_s, 2),
                       "switched_count": one.network.switched_count,
                       "left_w_max": round(one.network.left_w)},
        "bench": {"home": bench, "network": joined, "extrapolated": extrapolated,
                  "wall_s": round(one.bench.wall_s, 1),
                  "setpoint_count": one.bench.setpoint_count,
                  "refused_count": one.bench.refused_count,
                  "switched_count": one.bench.switched_count,
                  "compute_ms_median": round(float(np.median(one.bench.step_s)) * 1e3, 3),
                  "compute_ms_max": round(float(one.bench.step_s.max()) * 1e3, 3)},
        "reference": {key: {"pct": value} for key, value in REFERENCE_PCT[one.name].items()},
    }


def run_study(plan: Plan, progress: Progress = lambda *_: None,
              stopped: Callable[[], bool] = lambda: False
              ) -> tuple[dict[str, Any], list[Tracked]]:
    """Return the results and the courses that they were taken from.

    Raises ValueError for a plan that cannot be run, BusError for a bench that cannot,
    StudyStopped after a stop.
    """
    references = plan.references()
    draw_fleet(plan.devices, plan.seed)  # what is wrong with it is said before an hour's run
    paths = Paths.of_checkout(fast_micropython())
    tracked = [track(plan, name, reference, progress, stopped)
               for name, reference in references.items()]
    results: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "kind": "trustder",
        "seed": plan.seed,
        "devices": plan.devices,
        "hours": plan.hours,
        "step_count": step_count(plan.hours),
        "signal": plan.signal.name if plan.signal else f"regulation seed {plan.seed}",
        "commit": commit_of(paths.firmware.parent),
        "firmware_sha256": firmware_sha256(paths.firmware, paths.board),
        "clock": "virtual",
        "reference_compute_ms_max": REFERENCE_COMPUTE_MS,
        "signals": [side_by_side(one) for one in tracked],
    }
    return results, tracked
