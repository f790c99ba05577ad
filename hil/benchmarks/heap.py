"""Benchmarks of the element's memory: how little it runs in, and whether that grows in a day."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from element.protocol.errors import BusError
from hil.bench.site import Paths
from hil.benchmarks.registry import Context, Measure, benchmark
from hil.fmea.bench import scenario_for
from hil.fmea.faults import FAULTS
from hil.fmea.trial import Outcome, Trial
from host_tools.provision.build import build_firmware

HEAP_KB_MAX = 110
STEP_KB = 10
SEARCH_KB = (60, 600)
SHORT_MS = 25 * 60_000
DAY_MS = 24 * 3600_000
_USED = re.compile(r"heap (\d+) used")


def compiled(context: Context) -> Paths:
    """Return paths whose firmware is compiled as for a board: folded, shortened, mpy-cross."""
    folder = context.folder.resolve() / "firmware"
    shutil.rmtree(folder, ignore_errors=True)
    return built(context.micropython, folder)


def built(micropython: Path, folder: Path) -> Paths:
    """Put the compiled firmware of the virtual board into a folder and return its paths."""
    paths = Paths.of_checkout(micropython)
    firmware = build_firmware(paths.firmware.parent, paths.board.name)
    # the bench tells each virtual board its stage and BMS on the command line: board.py stays
    files = {name: data for name, data in firmware.root.items() if name != "board.mpy"}
    for name, data in (files | firmware.package).items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return Paths(paths.micropython, folder, paths.board)


def _trial(context: Context, paths: Paths, heap_kb: int, watch_ms: int) -> tuple[Outcome, Path]:
    folder = context.folder.resolve() / "heap"
    trial = Trial(scenario_for(FAULTS[0]), 7, folder, paths, f"{heap_kb}k")
    return trial.run(lambda _: None, 0, watch_ms), folder / "boards" / "wall" / "console.log"


def _runs(context: Context, paths: Paths, heap_kb: int) -> bool:
    """Return True when the agent does its work in a heap of heap_kb."""
    try:
        outcome, _ = _trial(context, paths, heap_kb, SHORT_MS)
    except BusError:  # it never stays up
        return False
    return outcome.restarts == 0


@benchmark("heap")
def heap(context: Context) -> Iterator[Measure]:
    """Find the smallest heap in which an element with JBD and converter runs at power."""
    paths = compiled(context)
    low, high = SEARCH_KB
    while high - low > STEP_KB:
        middle = (low + high) // 2 // STEP_KB * STEP_KB
        if _runs(context, paths, middle):
            high = middle
        else:
            low = middle
    yield Measure("heap.smallest_kb", high, "KB", f"<= {HEAP_KB_MAX}")


@benchmark("heap_day")
def heap_day(context: Context) -> Iterator[Measure]:
    """Run an element for 24 simulated hours at power; how much more memory is used at the end?"""
    outcome, log = _trial(context, compiled(context), 400, DAY_MS)
    used = [int(number) for number in _USED.findall(log.read_text(encoding="utf-8"))]
    yield Measure("heap_day.restarts", outcome.restarts, "", "== 0")
    yield Measure("heap_day.looks", len(used), "", ">= 140")
    yield Measure("heap_day.used_kb", round(max(used) / 1024, 1), "KB", "")
    # the first look comes when everything has been used once
    yield Measure("heap_day.growth_bytes", used[-1] - used[5], "B", "<= 256")
