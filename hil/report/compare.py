"""Compare runs metric by metric: what changed, by how much, and whether that is worse.

Pure: results in, a table out. The first run is what the others are compared with, so the same core
tells a regression between two commits, and how far virtual time, real time and a rig are apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hil.report.text import unit_of

LOWER, NEITHER, HIGHER = -1, 0, 1
SAME, BETTER, WORSE, CHANGED, GONE, NEW = "same", "better", "worse", "changed", "gone", "new"
ELEMENTS = "elements."
# A smaller difference is no difference: events are looked at every 10 ms, scores have 4 decimals.
RESOLUTION = {" %": 0.01, " ms": 10.0, " W": 1.0, " mWh": 1.0, " s": 0.0}
RESOLUTION_OF_A_SCORE = 0.001
# What two runs should have in common for their figures to be compared.
SHOULD_AGREE = ("scenario", "seed", "firmware_sha256", "clock", "signal", "simulated_s")
FACTS = ("scenario", "seed", "commit", "firmware_sha256", "rig", "clock", "clock_error_ms",
         "signal", "simulated_s", "passed")


@dataclass(frozen=True)
class Metric:
    """One figure of one run. better: LOWER, HIGHER, or NEITHER. None: it was never reached."""

    value: float | None
    better: int


@dataclass(frozen=True)
class Change:
    """A run against the first one: difference, in percent of the first, and what that is."""

    absolute: float | None
    pct: float | None
    verdict: str


@dataclass(frozen=True)
class Row:
    """One metric of all runs; a run without it has no entry in `metrics`."""

    name: str
    unit: str
    better: int
    metrics: tuple[Metric | None, ...]
    changes: tuple[Change, ...]

    @property
    def of_an_element(self) -> bool:
        """True for a metric of a single element."""
        return self.name.startswith(ELEMENTS)


@dataclass(frozen=True)
class LimitRow:
    """One limit of all runs: whether it was met, None where the run has no such limit."""

    name: str
    met: tuple[bool | None, ...]
    margins: tuple[float | None, ...]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side. facts: field to its text in each run."""

    labels: tuple[str, ...]
    facts: dict[str, tuple[str, ...]]
    rows: list[Row]
    limits: list[LimitRow]
    tolerance_pct: float

    @property
    def warnings(self) -> list[str]:
        """Why the figures may differ without anything having become worse."""
        return [f"{name} differs: " + ", ".join(
                    f"{label} {text}" for label, text in zip(self.labels, texts, strict=True))
                for name, texts in self.facts.items()
                if name in SHOULD_AGREE and len(set(texts)) > 1]

    def regressions(self, index: int = 1) -> list[str]:
        """Return what is worse in a run than in the first, beyond the tolerance."""
        found = [one.name for one in self.limits if one.met[0] and one.met[index] is False]
        for row in self.rows:
            verdict = row.changes[index - 1].verdict
            if verdict == WORSE or (verdict == GONE and row.better != NEITHER):
                found.append(row.name)
        return list(dict.fromkeys(found))


def metrics_of(results: dict[str, Any]) -> dict[str, Metric]:
    """Return every figure of a run that can be compared, by name, the building's first."""
    found: dict[str, Metric] = {}

    def put(name: str, value: float | None, better: int) -> None:
        found[name] = Metric(value, better)

    for one in results["segments"]:
        for key in ("e1_pct", "e2_pct", "rmse_pct"):
            if one[key] is not None:
                put(f"{one['name']}.{key}", one[key], LOWER)
        for key in ("composite", "accuracy", "delay", "precision") if one["pjm"] else ():
            put(f"{one['name']}.pjm.{key}", one["pjm"][key], HIGHER)
    _put_events(results["events"], put)
    energy, statements = results["energy"], results["statements"]
    if energy["difference_pct"] is not None:
        put("energy.difference_pct", energy["difference_pct"], LOWER)
    for key in ("realized_mwh", "metered_mwh", "throughput_mwh"):
        if energy[key] is None:  # a place of a rig without a meter
            continue
        put(f"energy.{key}", energy[key], NEITHER)
    put("statements.verified", statements["verified"], NEITHER)
    put("statements.failed", statements["failed"], LOWER)
    put("shortfall_s", results["shortfall_s"], LOWER)
    put("aborted", int(results["aborted"]), LOWER)
    for limit in results["limits"]:  # figures that have no other place in results
        if limit["name"] not in found:
            put(limit["name"], limit["value"], LOWER if limit["kind"] == "max" else HIGHER)
    for one in results["elements"]:
        name = f"{ELEMENTS}{one['name']}"
        for part in one["segments"]:
            if part["e1_pct"] is not None:
                put(f"{name}.{part['name']}.e1_pct", part["e1_pct"], LOWER)
        put(f"{name}.refused", sum(one["setpoints_refused"].values()), LOWER)
        if one["restarts"] is not None:
            put(f"{name}.restarts", one["restarts"], LOWER)
    return found


def _put_events(events: list[dict[str, Any]], put: Any) -> None:
    """Put the times of each event that was watched, and the longest of them."""
    watched = [one for one in events if one["elements"]]
    for one in watched:
        for key in ("detected_after_ms", "safe_after_ms"):
            put(f"{one['name']}.{key}", one[key], LOWER)
    if watched:
        times = [one["safe_after_ms"] for one in watched]
        put("events.safe_after_ms_max", None if None in times else max(times), LOWER)


def change_of(first: Metric | None, other: Metric | None, unit: str,
              tolerance_pct: float) -> Change:
    """Return what became of a figure. A value that was never reached is worse than any."""
    if first is None or other is None:
        return Change(None, None, SAME if first is other else NEW if first is None else GONE)
    if first.value is None or other.value is None:
        verdict = SAME if first.value == other.value else (
            BETTER if first.value is None else WORSE)
        return Change(None, None, verdict)
    difference = other.value - first.value
    pct = 100 * difference / abs(first.value) if first.value else None
    hair = 1e-9  # of floats: 2.1 is 5 % more than 2.0
    within = abs(difference) <= RESOLUTION.get(unit, RESOLUTION_OF_A_SCORE) + hair or (
        pct is not None and abs(pct) <= tolerance_pct + hair)
    if within:
        verdict = SAME
    elif first.better == NEITHER:
        verdict = CHANGED
    else:
        verdict = BETTER if difference * first.better > 0 else WORSE
    return Change(difference, pct, verdict)


def _fact(results: dict[str, Any], name: str) -> str:
    if name == "rig":
        return str(results["rig"]["kind"])
    if name == "passed":
        return "stopped" if results["aborted"] else "yes" if results["passed"] else "no"
    return "unknown" if results[name] is None else str(results[name])


def _merged(names_of_each: Sequence[Sequence[str]]) -> list[str]:
    """Return all names in the order of the first run, those of later ones behind."""
    return list(dict.fromkeys(name for names in names_of_each for name in names))


def compare(runs: Sequence[tuple[str, dict[str, Any]]], tolerance_pct: float) -> Comparison:
    """Compare runs, (label, results) each, with the first of them. At least two."""
    if len(runs) < 2:
        raise ValueError("two runs are needed")
    every = [metrics_of(results) for _, results in runs]
    rows = []
    for name in _merged([list(one) for one in every]):
        metrics = tuple(one.get(name) for one in every)
        unit = unit_of(name)
        better = next(one.better for one in metrics if one is not None)
        rows.append(Row(name, unit, better, metrics, tuple(
            change_of(metrics[0], other, unit, tolerance_pct) for other in metrics[1:])))
    limits_of = [{one["name"]: one for one in results["limits"]} for _, results in runs]
    limits = [
        LimitRow(name, tuple(one[name]["met"] if name in one else None for one in limits_of),
                 tuple(one[name]["margin"] if name in one else None for one in limits_of))
        for name in _merged([list(one) for one in limits_of])]
    facts = {name: tuple(_fact(results, name) for _, results in runs) for name in FACTS}
    return Comparison(tuple(label for label, _ in runs), facts, rows, limits, tolerance_pct)


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison for programs."""
    labels = comparison.labels
    return {
        "runs": [{"label": label, **{name: texts[index]
                                     for name, texts in comparison.facts.items()}}
                 for index, label in enumerate(labels)],
        "tolerance_pct": comparison.tolerance_pct,
        "warnings": comparison.warnings,
        "regressions": {label: comparison.regressions(index)
                        for index, label in enumerate(labels) if index},
        "limits": [{"name": one.name, "met": list(one.met), "margins": list(one.margins)}
                   for one in comparison.limits],
        "metrics": [{
            "name": row.name, "unit": row.unit.strip(), "better": ("lower", None, "higher")[
                row.better + 1],
            "values": [one.value if one else None for one in row.metrics],
            "present": [one is not None for one in row.metrics],
            "changes": [{"absolute": one.absolute, "pct": one.pct, "verdict": one.verdict}
                        for one in row.changes],
        } for row in comparison.rows],
    }


def labels_of(folders: Sequence[str]) -> list[str]:
    """Return a short name of each folder: its last part, or all of it where two are alike."""
    short = [one.rstrip("/").rpartition("/")[2] or one for one in folders]
    return [name if short.count(name) == 1 else whole
            for name, whole in zip(short, folders, strict=True)]
