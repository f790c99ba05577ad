"""Many runs over time: found below a folder, in the order in which they were run.

results.json has no date, so that it can be byte-equal; the start of a run is in run.cose. A run
without that is placed by the time of its file, and it is said.
"""

import fnmatch
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hil.report.compare import ELEMENTS, Metric, metrics_of
from hil.report.files import RESULTS_FILE
from hil.report.signature import peek_run, verify_run
from hil.report.write import ResultsError, load_results
from host_tools.attest.primitives import Refused

# Shown when nothing else is asked for.
KEY_METRICS = ("*.e1_pct", "*.pjm.composite", "events.safe_after_ms_max", "energy.difference_pct")
RUNS_MAX = 5000
# Folders of a run in which no other run is.
INSIDE = ("statements", "boards")
BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
SPARK_SIZE_MAX = 16
NOT_SIGNED, OTHER_KEY, SIGNED = "no", "other key", "yes"


@dataclass(frozen=True)
class TrendRun:
    """One run. signed: SIGNED by the given key, OTHER_KEY, or NOT_SIGNED or changed since."""

    folder: str
    results: dict[str, Any]
    metrics: dict[str, Metric]
    at_unix_ms: int
    time_is_signed: bool
    signed: str


@dataclass
class Group:
    """Runs of one scenario on one clock, oldest first: only these are alike."""

    scenario: str
    clock: str
    runs: list[TrendRun] = field(default_factory=list)

    def names(self, wanted: Sequence[str] = ()) -> list[str]:
        """Return the metrics that match a name or a pattern; without any, the key ones."""
        every = dict.fromkeys(name for run in self.runs for name in run.metrics)
        if wanted:
            return [name for name in every
                    if any(fnmatch.fnmatchcase(name, one) for one in wanted)]
        return [name for name in every if not name.startswith(ELEMENTS)
                and any(fnmatch.fnmatchcase(name, one) for one in KEY_METRICS)]

    def values(self, name: str) -> list[float | None]:
        """Return a metric of every run; None where it was not reached or is not there."""
        return [run.metrics[name].value if name in run.metrics else None for run in self.runs]


@dataclass
class Trend:
    """The groups by name, and the folders that could not be read, with why."""

    groups: list[Group]
    broken: list[tuple[str, str]]


def find_folders(top: Path) -> Iterator[Path]:
    """Yield the folders below top, and top itself, that hold a results.json, sorted."""
    for place, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name not in INSIDE)
        if RESULTS_FILE in files:
            yield Path(place)


def read_run(folder: Path, top: Path, public: bytes) -> TrendRun:
    """Return one run. public: the raw key that is to have signed. Raises ResultsError."""
    results = load_results(folder)
    found = verify_run(folder, public, only=RESULTS_FILE)
    signed = SIGNED if found.holds else OTHER_KEY if found.foreign else NOT_SIGNED
    try:
        at_unix_ms, from_signature = peek_run(folder).began_unix_ms, True
    except Refused:
        changed_s = (folder / RESULTS_FILE).stat().st_mtime
        at_unix_ms, from_signature = round(changed_s * 1000), False
    name = folder.relative_to(top).as_posix()
    return TrendRun(top.resolve().name if name == "." else name, results, metrics_of(results),
                    at_unix_ms, from_signature, signed)


def read_trend(top: Path, public: bytes) -> Trend:
    """Read all runs below a folder; one that cannot be read is named and stops nothing."""
    groups: dict[tuple[str, str], Group] = {}
    broken: list[tuple[str, str]] = []
    for count, folder in enumerate(find_folders(top)):
        if count == RUNS_MAX:
            broken.append((str(folder), f"and all after it: {RUNS_MAX} runs were read"))
            break
        try:
            run = read_run(folder, top, public)
        except ResultsError as error:
            broken.append((str(folder), str(error)))
            continue
        key = run.results["scenario"], run.results["clock"]
        groups.setdefault(key, Group(*key)).runs.append(run)
    for group in groups.values():
        group.runs.sort(key=lambda one: (one.at_unix_ms, one.folder))
    return Trend([groups[key] for key in sorted(groups)], broken)


def sparkline(values: Sequence[float | None]) -> str:
    """Return the newest values as bars from the lowest to the highest; a dot where none is."""
    shown = values[-SPARK_SIZE_MAX:]
    known = [one for one in shown if one is not None]
    if not known:
        return "\u00b7" * len(shown)
    low, high = min(known), max(known)
    top = len(BARS) - 1
    return "".join(
        "\u00b7" if one is None else BARS[
            top // 2 if high == low else round((one - low) / (high - low) * top)]
        for one in shown)


def verdict_of(results: dict[str, Any]) -> str:
    """Return how a run ended, in a word."""
    return "stopped" if results["aborted"] else "passed" if results["passed"] else "failed"


def as_dict(trend: Trend, wanted: Sequence[str] = ()) -> dict[str, Any]:
    """Return it for programs."""
    groups = []
    for group in trend.groups:
        names = group.names(wanted)
        groups.append({
            "scenario": group.scenario, "clock": group.clock, "metrics": names,
            "runs": [{
                "folder": run.folder, "at_unix_ms": run.at_unix_ms,
                "time_is_signed": run.time_is_signed, "signed": run.signed,
                "seed": run.results["seed"], "commit": run.results["commit"],
                "firmware_sha256": run.results["firmware_sha256"],
                "verdict": verdict_of(run.results),
                "values": {name: run.metrics[name].value if name in run.metrics else None
                           for name in names},
            } for run in group.runs]})
    return {"groups": groups,
            "broken": [{"folder": name, "why": why} for name, why in trend.broken]}
