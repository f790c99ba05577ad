"""Comparing runs: direction, tolerance, what is gone, and more than two runs."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from hil.report.compare import (
    HIGHER,
    LOWER,
    NEITHER,
    Comparison,
    Metric,
    as_dict,
    change_of,
    compare,
    labels_of,
    metrics_of,
)

from .report_example import event, example

Change = Callable[[dict[str, Any]], Any]


def pair(change: Change, tolerance_pct: float = 5.0) -> Comparison:
    """Compare the example with a changed one."""
    changed = example()
    change(changed)
    return compare([("before", example()), ("after", changed)], tolerance_pct)


def test_the_same_run_has_no_regression_and_no_warning() -> None:
    same = pair(lambda _: None, 0.0)
    assert same.regressions() == [] and same.warnings == []
    assert {one.changes[0].verdict for one in same.rows} == {"same"}
    assert len(same.rows) == len(metrics_of(example())) > 20


def test_every_kind_of_figure_is_compared() -> None:
    names = set(metrics_of(example()))
    assert names >= {
        "ramp.e1_pct", "regulation.rmse_pct", "regulation.pjm.composite",
        "silent_bms.safe_after_ms", "silent_bms.detected_after_ms", "events.safe_after_ms_max",
        "energy.difference_pct", "energy.realized_mwh", "statements.failed", "shortfall_s",
        "elements.wall-1.ramp.e1_pct", "elements.wall-2.refused", "elements.wall-2.restarts"}
    assert not any(name.startswith("release.") for name in names)  # nothing was watched there


WORSE: list[tuple[str, Change, list[str]]] = [
    ("error", lambda r: r["segments"][0].update(e1_pct=0.6), ["ramp.e1_pct"]),
    ("score", lambda r: r["segments"][1]["pjm"].update(delay=0.5), ["regulation.pjm.delay"]),
    ("time", lambda r: r["events"][0].update(safe_after_ms=1500),
     ["silent_bms.safe_after_ms", "events.safe_after_ms_max"]),
    ("never", lambda r: r["events"][0].update(safe_after_ms=None),
     ["silent_bms.safe_after_ms", "events.safe_after_ms_max"]),
    ("energy", lambda r: r["energy"].update(difference_pct=2.0), ["energy.difference_pct"]),
    ("statements", lambda r: r["statements"].update(failed=1), ["statements.failed"]),
    ("element", lambda r: r["elements"][1].update(restarts=1), ["elements.wall-2.restarts"]),
    ("limit", lambda r: r["limits"][0].update(met=False), ["ramp.e1_pct"]),
    ("gone", lambda r: (r["segments"].pop(0), r["limits"][0].update(
        value=None, margin=None, met=False)),
     ["ramp.e1_pct", "ramp.e2_pct", "ramp.rmse_pct"]),
    ("aborted", lambda r: r.update(aborted=True), ["aborted"]),
    ("restarts", lambda r: r["limits"].append(
        {"name": "boards.restarts", "value": 2, "limit": 0, "kind": "max", "margin": -2,
         "met": False}), []),  # the run before had no such limit
]


@pytest.mark.parametrize(("change", "names"), [one[1:] for one in WORSE],
                         ids=[one[0] for one in WORSE])
def test_what_is_worse_is_named(change: Change, names: list[str]) -> None:
    assert pair(change).regressions() == names


@pytest.mark.parametrize("change", [
    lambda r: r["segments"][0].update(e1_pct=0.1),
    lambda r: r["segments"][1]["pjm"].update(composite=1.0),
    lambda r: r["events"][0].update(safe_after_ms=100),
    lambda r: r["limits"][1].update(met=True),
    lambda r: r["energy"].update(realized_mwh=9_999_999),
    lambda r: r["events"].append(event("new", 200.0)),
])
def test_what_is_better_or_only_different_is_no_regression(change: Change) -> None:
    assert pair(change).regressions() == []


def metric(value: float | None, better: int = LOWER) -> Metric:
    """Return a metric."""
    return Metric(value, better)


@pytest.mark.parametrize(("first", "other", "unit", "verdict"), [
    (metric(2.0), metric(2.1), " %", "same"),           # exactly the tolerance
    (metric(2.0), metric(2.1001), " %", "worse"),
    (metric(2.0), metric(1.8), " %", "better"),
    (metric(0.9, HIGHER), metric(0.8, HIGHER), "", "worse"),
    (metric(0.9, HIGHER), metric(1.0, HIGHER), "", "better"),
    (metric(-2.0), metric(-1.0), " %", "worse"),        # a negative first: percent of its size
    (metric(0.0), metric(0.01), " %", "same"),          # no percent of zero: the resolution
    (metric(0.0), metric(0.02), " %", "worse"),
    (metric(0), metric(1), "", "worse"),
    (metric(50), metric(60), " ms", "same"),            # looked at every 10 ms
    (metric(50), metric(61), " ms", "worse"),
    (metric(10.0, NEITHER), metric(99.0, NEITHER), "", "changed"),
    (metric(None), metric(None), " ms", "same"),
    (metric(None), metric(1), " ms", "better"),
    (metric(1), metric(None), " ms", "worse"),
    (None, metric(1), " ms", "new"),
    (metric(1), None, " ms", "gone"),
    (None, None, "", "same"),
])
def test_directions_tolerance_and_resolution(first: Metric | None, other: Metric | None,
                                             unit: str, verdict: str) -> None:
    assert change_of(first, other, unit, 5.0).verdict == verdict


def test_differences_are_absolute_and_in_percent() -> None:
    change = change_of(metric(-4.0), metric(-3.0), " %", 0.0)
    assert (change.absolute, change.pct, change.verdict) == (1.0, 25.0, "worse")
    assert change_of(metric(0.0), metric(3.0), " %", 0.0).pct is None


@pytest.mark.parametrize(("field", "value"), [
    ("scenario", "other"), ("seed", 8), ("firmware_sha256", "cd" * 32), ("clock", "real"),
    ("signal", "agc.csv"), ("simulated_s", 10)])
def test_runs_that_differ_in_more_than_figures_are_warned_of(field: str, value: Any) -> None:
    found = pair(lambda r: r.update({field: value})).warnings
    assert len(found) == 1 and found[0].startswith(f"{field} differs: before ")
    assert str(value) in found[0]
    assert pair(lambda r: r.update(commit="f" * 40)).warnings == []


def test_many_runs_stand_side_by_side() -> None:
    """Virtual time, real time and a rig: each against the first."""
    real, rig = example(), example()
    real["segments"][0]["e1_pct"], rig["segments"][0]["e1_pct"] = 0.4, 0.9
    real["clock"] = rig["clock"] = "real"
    rig["rig"]["kind"] = "shed"
    del rig["segments"][1]
    made = compare([("virtual", example()), ("real", real), ("rig", rig)], 5.0)
    assert made.regressions(1) == []
    assert made.regressions(2)[0] == "ramp.e1_pct"
    assert "regulation.pjm.composite" in made.regressions(2)
    row = next(one for one in made.rows if one.name == "ramp.e1_pct")
    assert [one.value for one in row.metrics if one] == [0.5, 0.4, 0.9]
    assert [one.verdict for one in row.changes] == ["better", "worse"]
    assert made.facts["rig"] == ("virtual bench", "virtual bench", "shed")
    told = json.loads(json.dumps(as_dict(made)))
    assert list(told["regressions"]) == ["real", "rig"] and told["warnings"]
    assert told["runs"][2]["rig"] == "shed" and told["metrics"][0]["better"] == "lower"
    with pytest.raises(ValueError, match="two runs"):
        compare([("alone", example())], 5.0)


def test_labels_are_short_where_they_can_be() -> None:
    assert labels_of(["build/hil/a", "build/hil/b/"]) == ["a", "b"]
    assert labels_of(["x/run", "y/run"]) == ["x/run", "y/run"]
