"""Benchmarks of campaigns: how many simulated seconds a second, and a thousand seeds of faults."""

import os
import shutil
import sys
from collections.abc import Iterator

from hil.benchmarks.registry import Context, Measure, benchmark
from hil.campaign.campaign import Campaign
from hil.campaign.pool import in_processes
from hil.campaign.trial import Outcome
from hil.scenarios.load import find_scenario, load_scenario

SPEED_SEEDS = 100  # as many as a campaign has when nobody says how many
SEEDS = 1000
FIRST_SEED = 1
TOLD_SEEDS = 50


def _run(context: Context, name: str, seeds: range) -> Campaign:
    folder = context.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    scenario = load_scenario(find_scenario("campaign"))
    campaign = Campaign(scenario, seeds, folder)
    jobs = len(os.sched_getaffinity(0))

    def told(outcome: Outcome) -> None:
        done = len(campaign.outcomes)
        if outcome.violation is not None or done % TOLD_SEEDS == 0:
            said = f", seed {outcome.seed}: {outcome.violation.text}" if outcome.violation else ""
            print(f"{name}: {done} of {len(seeds)} seeds{said}", file=sys.stderr)

    campaign.run(in_processes(scenario, seeds, jobs), told, lambda runs, left: None)
    return campaign


@benchmark("campaign_speed")
def campaign_speed(context: Context) -> Iterator[Measure]:
    """Run seeds of the fault campaign, eight boards each, on all cores."""
    summary = _run(context, "campaign-speed", range(50_001, 50_001 + SPEED_SEEDS)).summary()
    yield Measure("campaign.simulated_s_per_s", summary["simulated_s_per_s_wall"], "", ">= 100")
    yield Measure("campaign.boards", summary["elements"], "", "")


@benchmark("campaign_seeds")
def campaign_seeds(context: Context) -> Iterator[Measure]:
    """A thousand seeds of the fault campaign: not one invariant may be violated."""
    campaign = _run(context, "campaign-seeds", range(FIRST_SEED, FIRST_SEED + SEEDS))
    summary = campaign.summary()
    yield Measure("campaign.violations", len(summary["violations"]), "", "== 0")
    yield Measure("campaign.seeds", summary["seeds"], "", f">= {SEEDS}")
    yield Measure("campaign.wall_s", summary["s_wall"], "s", "")
    for key in ("looks", "setpoints", "records", "trips", "panel_deaths"):
        yield Measure(f"campaign.{key}", summary[key], "", "")
