"""Runs over time: found, ordered, told apart by signature, and drawn."""

import os
from pathlib import Path

import pytest

from hil.report.signature import sign_run
from hil.report.trend import (
    SPARK_SIZE_MAX,
    as_dict,
    find_folders,
    read_trend,
    sparkline,
    verdict_of,
)
from hil.report.trend_page import render_trend
from hil.report.write import write_report
from host_tools.identity.keys import KeyPair, make_key_pair

from .report_example import example
from .test_report_html import Page, polylines

BEGAN = 1_790_000_000_000


@pytest.fixture
def key() -> KeyPair:
    """A bench's key."""
    return make_key_pair(os.urandom)


def run_in(folder: Path, key: KeyPair | None, began_unix_ms: int = BEGAN,
           **changes: object) -> None:
    """Make a run's folder; key None: not signed."""
    folder.mkdir(parents=True)
    results = example() | changes
    write_report(results, folder)
    if key is not None:
        sign_run(folder, results, key, began_unix_ms, began_unix_ms)


def test_folders_are_found_at_any_depth(tmp_path: Path, key: KeyPair) -> None:
    """The folder itself, those below, and none inside of a run's own folders."""
    for name in ("", "b", "a/deep/er"):
        run_in(tmp_path / "top" / name, key) if name else run_in(tmp_path / "top", key)
    for name in ("statements", "boards"):
        run_in(tmp_path / "top" / "b" / name, key)
    found = [one.relative_to(tmp_path).as_posix() for one in find_folders(tmp_path / "top")]
    assert found == ["top", "top/a/deep/er", "top/b"]
    trend = read_trend(tmp_path / "top", key.public)
    assert [run.folder for run in trend.groups[0].runs] == ["a/deep/er", "b", "top"]


def test_a_signature_is_told_from_none_and_from_another(tmp_path: Path, key: KeyPair) -> None:
    """And a run that was changed is not called signed, whatever else holds."""
    run_in(tmp_path / "ours", key)
    run_in(tmp_path / "theirs", make_key_pair(os.urandom))
    run_in(tmp_path / "nobodys", None)
    run_in(tmp_path / "changed", key)
    path = tmp_path / "changed" / "results.json"
    path.write_text(path.read_text().replace("3.21", "3.22"))
    (tmp_path / "ours" / "junit.xml").write_text("")  # only the figures are read here
    os.utime(tmp_path / "nobodys" / "results.json", (1_700_000_000, 1_700_000_000))
    runs = read_trend(tmp_path, key.public).groups[0].runs
    assert {run.folder: (run.signed, run.time_is_signed) for run in runs} == {
        "ours": ("yes", True), "theirs": ("other key", True), "nobodys": ("no", False),
        "changed": ("no", True)}
    assert runs[0].folder == "nobodys" and runs[0].at_unix_ms == 1_700_000_000_000
    assert {run.signed for run in read_trend(tmp_path, b"").groups[0].runs} == {
        "other key", "no"}


def test_scenarios_and_clocks_are_apart(tmp_path: Path, key: KeyPair) -> None:
    run_in(tmp_path / "1", key)
    run_in(tmp_path / "2", key, clock="real")
    run_in(tmp_path / "3", key, scenario="other")
    groups = read_trend(tmp_path, key.public).groups
    assert [(one.scenario, one.clock, len(one.runs)) for one in groups] == [
        ("other", "virtual", 1), ("small", "real", 1), ("small", "virtual", 1)]


def test_metrics_are_chosen_by_name_or_pattern(tmp_path: Path, key: KeyPair) -> None:
    run_in(tmp_path / "1", key)
    group = read_trend(tmp_path, key.public).groups[0]
    assert group.names() == ["ramp.e1_pct", "regulation.e1_pct", "regulation.pjm.composite",
                             "events.safe_after_ms_max", "energy.difference_pct"]
    assert group.names(["shortfall_s", "elements.wall-1.*"]) == [
        "shortfall_s", "elements.wall-1.ramp.e1_pct", "elements.wall-1.refused",
        "elements.wall-1.restarts"]
    assert group.names(["nothing"]) == []


def test_sparklines() -> None:
    """Lowest to highest, level in the middle, a dot for none, the newest of many."""
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 5]) == "▄▄" and sparkline([]) == ""
    assert sparkline([None, 1, None, 9]) == "·▁·█" and sparkline([None]) == "·"
    assert sparkline([9, *[1] * SPARK_SIZE_MAX]) == "▄" * SPARK_SIZE_MAX


def test_verdicts() -> None:
    assert verdict_of({"aborted": True, "passed": False}) == "stopped"
    assert verdict_of({"aborted": False, "passed": False}) == "failed"
    assert verdict_of({"aborted": False, "passed": True}) == "passed"


def test_the_page_has_a_line_for_each_metric(tmp_path: Path, key: KeyPair) -> None:
    """Values and limits over the number of the run; a gap where a run has none; text escaped."""
    for index in range(3):
        changes = example()
        changes["segments"][0]["e1_pct"] = 0.4 + index / 10
        if index == 1:
            changes["segments"] = changes["segments"][:1]
        run_in(tmp_path / f"<b>{index}", key, BEGAN + index, **changes)
    trend = read_trend(tmp_path, key.public)
    trend.broken.append(("<i>x", "<script>alert(1)</script>"))
    text = render_trend("<u>all", trend)
    page = Page(text)
    assert "<u>" not in text and "<script>alert" not in text and "<b>0" not in text
    assert "<b>0" in page.text and "<u>all" in page.text and "3 did not pass" in page.text
    lines = polylines(page, "response")
    assert [len(one) for one in lines] == [3, 3, 2, 3, 3]  # no score in the second run
    assert [one[0] for one in lines[0]] == pytest.approx([1000 / 6, 500, 5000 / 6], abs=0.01)
    limits = polylines(page, "target")
    assert [len(one) for one in limits] == [3, 3]  # of ramp and regulation
    assert sum(tag == "line" and attrs.get("class") == "mark" for tag, attrs in page.tags) == 15


def test_one_run_and_no_value_are_drawn_too(tmp_path: Path, key: KeyPair) -> None:
    run_in(tmp_path / "1", key, events=[example()["events"][0] | {"safe_after_ms": None}])
    trend = read_trend(tmp_path, key.public)
    page = Page(render_trend("one", trend, ["*.safe_after_ms", "ramp.e1_pct"]))
    assert "no value" in page.text and "last 0.5, lowest 0.5" in page.text
    assert [len(one) for one in polylines(page, "response")] == [2]  # twice the same: a dot
    assert as_dict(trend, ["*.safe_after_ms"])["groups"][0]["runs"][0]["values"] == {
        "silent_bms.safe_after_ms": None}
