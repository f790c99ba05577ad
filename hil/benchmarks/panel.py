"""Benchmark of the service as a process: killed at random while it dispatches, 200 times."""

import shutil
import time
from collections.abc import Iterator

from hil.bench.panel import AfterKills, house, killed_at_random, until
from hil.benchmarks.registry import Context, Measure, benchmark

KILLS = 200
ELEMENTS = 4


@benchmark("kills")
def kills(context: Context) -> Iterator[Measure]:
    """Real processes: SIGKILL within 1.5 s of an accepted instruction, again and again."""
    folder = context.folder / "kills"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder = folder.resolve()
    began = time.monotonic()
    with house(folder, ELEMENTS) as (elements, panel):
        keys = killed_at_random(panel, KILLS, 1)
        panel.kill()
        until(lambda: elements.power_mw == 0, 15)
        found = AfterKills.judge(elements, f"sqlite:///{folder / 'aggregator.db'}", keys)
        acknowledged = sum(one["acknowledged"] for one in elements.report())
    yield Measure("kills.count", len(keys), "", f"== {KILLS}")
    yield Measure("kills.acknowledged_statements_lost", found.lost, "", "== 0")
    yield Measure("kills.double_dispatches", found.doubled, "", "== 0")
    yield Measure("kills.power_without_lease", found.unleased, "", "== 0")
    yield Measure("kills.acknowledged_statements", acknowledged, "", "")
    yield Measure("kills.wall_s", round(time.monotonic() - began), "s", "")
