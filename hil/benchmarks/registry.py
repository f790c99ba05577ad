"""Benchmarks register themselves here; the runner measures, compares and writes the table."""

import json
import os
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measure:
    """One figure: its value, its unit, and what it should reach ('<= 90', '>= 5000', '== 0')."""

    name: str
    value: float
    unit: str
    reach: str

    @property
    def met(self) -> bool:
        """True when the value is where `reach` says; a figure without a reach is only stated."""
        if not self.reach:
            return True
        sign, bound = self.reach.split()
        limit = float(bound)
        return {"<=": self.value <= limit, ">=": self.value >= limit,
                "==": self.value == limit}[sign]


@dataclass(frozen=True)
class Context:
    """What a benchmark may use: the interpreter, a folder of its own, a CSV of real days."""

    micropython: Path
    folder: Path
    agc_csv: Path | None


Benchmark = Callable[[Context], Iterator[Measure]]
_BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(name: str) -> Callable[[Benchmark], Benchmark]:
    """Register a function that yields measures under name."""
    def add(function: Benchmark) -> Benchmark:
        if name in _BENCHMARKS:
            raise ValueError(f"two benchmarks are called {name}")
        _BENCHMARKS[name] = function
        return function

    return add


def chosen(pattern: str | None) -> dict[str, Benchmark]:
    """Return the benchmarks whose name matches the regular expression, all for None."""
    return {name: function for name, function in _BENCHMARKS.items()
            if pattern is None or re.search(pattern, name)}


def machine() -> str:
    """Return what the figures were measured on."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        model = platform.machine()  # not Linux: the architecture has to do
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def write_results(measures: list[tuple[str, Measure]], path: Path) -> None:
    """Write build/bench/results.json; figures of benchmarks not run this time are kept."""
    kept: dict[str, dict[str, object]] = {}
    if path.exists():
        kept = {one["name"]: one for one in json.loads(path.read_text(encoding="utf-8"))}
    on = machine()
    for bench, measure in measures:
        kept[measure.name] = {
            "name": measure.name, "value": measure.value, "unit": measure.unit,
            "reach": measure.reach, "met": measure.met,
            "command": f"make bench ONLY='^{bench}$'", "machine": on}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(sorted(kept.values(), key=lambda one: str(one["name"])), indent=1)
    path.write_text(text + "\n", encoding="utf-8")
