"""Check results.json, its schema and junit.xml with good, odd and broken results."""

import copy
import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hil.report.junit import junit_xml
from hil.report.text import fixed, number, unit_of
from hil.report.trace import TraceError, read_trace
from hil.report.write import SCHEMA_PATH, ResultsError, load_results, write_report

from .report_example import event, example, write_trace

Change = Callable[[dict[str, Any]], Any]


def test_files_are_written_and_read_back(tmp_path: Path) -> None:
    """All three files appear, nothing else is left, and what is read back is what was given."""
    write_trace(tmp_path, 240)
    write_report(example(), tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "junit.xml", "report.html", "results.json", "trace.csv"]
    text = (tmp_path / "results.json").read_text()
    assert text == json.dumps(example(), indent=1) + "\n"
    assert load_results(tmp_path) == example()


def test_writing_again_changes_no_byte(tmp_path: Path) -> None:
    """`cellwall hil report` leaves the same files; the wall time is in two of them, no date is."""
    write_trace(tmp_path, 240)
    write_report(example(), tmp_path)
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    write_report(load_results(tmp_path), tmp_path)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


def test_a_file_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the move fails the old file stays and no temporary one is left."""
    (tmp_path / "results.json").write_text("old")

    def fail(*_: object) -> None:
        raise OSError("disk")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk"):
        write_report(example(), tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["results.json"]
    assert (tmp_path / "results.json").read_text() == "old"


def objects(node: Any) -> list[dict[str, Any]]:
    """Return every object of the schema that lists properties."""
    found = []
    if isinstance(node, dict):
        if "properties" in node:
            found.append(node)
        found += [one for value in node.values() for one in objects(value)]
    return found


def test_schema_is_strict_and_described() -> None:
    """Each object names all its fields as required, allows no other, and describes each one."""
    found = objects(json.loads(SCHEMA_PATH.read_text()))
    assert len(found) == 19
    for one in found:
        assert one["additionalProperties"] is False
        assert sorted(one["required"]) == sorted(one["properties"])
        for name, field in one["properties"].items():
            assert len(field.get("description", field.get("$ref", ""))) > 3, name


def test_docs_name_every_field() -> None:
    """docs/results.md has a row for each field of the schema."""
    text = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    for one in objects(json.loads(SCHEMA_PATH.read_text())):
        for name in one["properties"]:
            assert f"`{name}`" in text, name


BROKEN: list[tuple[str, Change, str]] = [
    ("missing", lambda r: r.pop("seed"), "top level: field 'seed' is missing"),
    ("missing deep", lambda r: r["elements"][1].pop("zone"), r"elements\[1\]: field 'zone' is"),
    ("extra", lambda r: r.update(watts=1), "top level: unknown field 'watts'"),
    ("extra deep", lambda r: r["segments"][0].update(e3=1), r"segments\[0\]: unknown field 'e3'"),
    ("type", lambda r: r["segments"][0].update(e1_pct="2"), r"segments\[0\]\.e1_pct: \"2\""),
    ("boolean", lambda r: r.update(passed=1), "passed: 1 breaks type"),
    ("integer", lambda r: r["events"][0].update(safe_after_ms=1.5), "safe_after_ms: 1.5"),
    ("negative", lambda r: r.update(wall_s=-0.1), "wall_s: -0.1 breaks minimum 0"),
    ("choice", lambda r: r["limits"][0].update(kind="most"), r"limits\[0\]\.kind: \"most\""),
    ("version", lambda r: r.update(schema=1), "schema: 1 breaks const 2"),
    ("score", lambda r: r["segments"][1]["pjm"].update(delay=1.01), r"pjm\.delay: 1.01"),
    ("null", lambda r: r.update(description=None), "description: null breaks type"),
    ("count", lambda r: r["elements"][0]["setpoints_refused"].update(x="a"), "refused.x: \"a\""),
]


@pytest.mark.parametrize(("change", "says"), [one[1:] for one in BROKEN],
                         ids=[one[0] for one in BROKEN])
def test_broken_results_are_refused(change: Change, says: str, tmp_path: Path) -> None:
    """Neither written nor read, and the error names the field and what to do."""
    results = example()
    change(results)
    with pytest.raises(ResultsError, match=says) as caught:
        write_report(results, tmp_path)
    assert "run again" in str(caught.value)
    assert not list(tmp_path.iterdir())
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(ResultsError, match=says):
        load_results(tmp_path)


@pytest.mark.parametrize(("text", "says"), [
    (None, "holds no results.json"), ("{", "is not JSON"), ("[]", "top level"),
    ('{"seed": NaN}', "NaN is not a number"), ("[" * 100_000, "is not JSON"),
    (b"\xff\xfe", "cannot be read"),
])
def test_unusable_files_are_explained(text: str | bytes | None, says: str,
                                      tmp_path: Path) -> None:
    """No file, no JSON, no object, no number, endless nesting, no UTF-8."""
    if text is not None:
        (tmp_path / "results.json").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ResultsError, match=says):
        load_results(tmp_path)


def test_infinite_figures_are_refused(tmp_path: Path) -> None:
    """JSON has no infinity, and a run that produced one is not valid."""
    results = example() | {"baseline_w": float("inf")}
    with pytest.raises(ResultsError, match="not finite"):
        write_report(results, tmp_path)
    assert not list(tmp_path.iterdir())


def suite_of(results: dict[str, Any]) -> ET.Element:
    """Return the one suite of the JUnit document."""
    root = ET.fromstring(junit_xml(results).encode())
    suites = root.findall("testsuite")
    assert root.tag == "testsuites" and len(suites) == 1
    for key in ("tests", "failures", "errors", "time"):
        assert root.get(key) == suites[0].get(key)
    return suites[0]


def failed_names(suite: ET.Element, kind: str = "failure") -> list[str]:
    """Return the names of the cases that failed."""
    cases = suite.findall("testcase")
    return [str(one.get("name")) for one in cases if one.find(kind) is not None]


def test_junit_counts_what_failed() -> None:
    """One case for the run, each limit, each event and the statements; one limit is missed."""
    suite = suite_of(example())
    assert len(suite.findall("testcase")) == int(suite.get("tests", "")) == 1 + 3 + 2 + 1
    assert (suite.get("failures"), suite.get("errors"), suite.get("time")) == ("1", "0", "3.21")
    assert failed_names(suite) == ["regulation.e1_pct"]
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "value 3.25 %, allowed at most 3 %, margin -0.25 %"
    properties = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert properties["seed"] == "7" and properties["clock"] == "virtual"
    assert properties["firmware_sha256"] == "ab" * 32 and properties["clock_error_ms"] == "0"
    assert properties["rig"] == "virtual bench"
    assert properties["scenario"] == "small" and "-dirty" in str(properties["commit"])


def test_junit_fails_late_and_unsafe_events() -> None:
    """An event over its time, one never safe, and one without a limit."""
    results = example()
    results["events"] = [
        event("late", 1.0, safe_after_ms=2001), event("edge", 2.0, safe_after_ms=2000),
        event("never", 3.0, safe_after_ms=None, detected_after_ms=None),
        event("free", 4.0, safe_after_ms=None, safe_within_ms=None)]
    results["limits"] = []
    suite = suite_of(results)
    assert failed_names(suite) == ["late", "never"]
    said = {one.get("name"): one.findtext("system-out") or "" for one in suite.iter("testcase")}
    assert "margin -1 ms" in said["late"] and "margin 0 ms" in said["edge"]
    assert "not detected, never safe" in said["never"]


def test_junit_tells_statements_and_stops() -> None:
    """Failed statements, none at all, and a stop before the end are not green."""
    results = example() | {"limits": [], "aborted": True}
    results["statements"] = {"verified": 3, "failed": 30, "by_kind": {"record": 3}, "failures": [
        {"index": index, "what": "record", "why": "bad signature"} for index in range(30)]}
    suite = suite_of(results)
    assert failed_names(suite) == ["verified"] and failed_names(suite, "error") == ["completed"]
    assert suite.get("failures") == "1" and suite.get("errors") == "1"
    text = suite.findtext("testcase[@name='verified']/failure") or ""
    assert "statement 19, record: bad signature" in text and "and 10 more" in text
    empty = example() | {"limits": [], "statements": {
        "verified": 0, "failed": 0, "by_kind": {}, "failures": []}}
    assert failed_names(suite_of(empty)) == ["verified"]


def test_junit_survives_hostile_text() -> None:
    """Markup is escaped and characters that XML cannot hold are replaced."""
    results = example() | {"scenario": 'a<b>&"\x00\x1b[31m\ud800'}
    suite = suite_of(results)
    assert suite.get("name") == 'cellwall.a<b>&"\ufffd\ufffd[31m\ufffd'


def test_junit_without_a_value() -> None:
    """A limit whose figure does not exist fails and says so."""
    results = example()
    results["limits"] = [{"name": "sun.e1_pct", "value": None, "limit": 1.0, "kind": "min",
                          "margin": None, "met": False}]
    failure = suite_of(results).find("testcase/failure")
    assert failure is not None and "no value, allowed at least 1 %" in failure.get("message", "")


@pytest.mark.parametrize(("text", "says"), [
    ("", "line 1: no column phase"),
    ("t_s,phase,target_w\n", "no column response_w"),
    ("t_s,phase,target_w,response_w\n0,a,1\n", "line 2: 3 cells, not 4"),
    ("t_s,phase,target_w,response_w\n0,a,1,2\n1,a,1,x\n", "line 3, response_w: 'x'"),
    ("t_s,phase,target_w,response_w\n0,a,nan,2\n", "line 2, target_w: 'nan'"),
    ("t_s,phase,target_w,response_w\n1,a,1,2\n1,a,1,2\n", "t_s does not rise"),
])
def test_broken_traces_are_explained(text: str, says: str, tmp_path: Path) -> None:
    """The line and the column are named; results.json and junit.xml are there all the same."""
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=says):
        read_trace(path, [])
    with pytest.raises(ResultsError, match=r"trace\.csv: "):
        write_report(example(), tmp_path)
    assert load_results(tmp_path) == example()
    assert (tmp_path / "junit.xml").exists() and not (tmp_path / "report.html").exists()


def test_trace_knows_its_phases(tmp_path: Path) -> None:
    """Phases follow each other; the service starts after the first; seconds are half-open."""
    write_trace(tmp_path, 240)
    trace = read_trace(tmp_path / "trace.csv", ["wall-1"])
    assert [(one.name, one.start, one.end) for one in trace.phases] == [
        ("discovery", 0, 60), ("ramp", 60, 180), ("regulation", 180, 230), ("release", 230, 240)]
    assert trace.service_start() == 60 and trace.count == 240
    assert trace.between(60, 180) == slice(60, 180) and trace.between(-5, 999) == slice(0, 240)
    assert float(trace.columns["wall-1_asked_w"][100]) == 400.0


def test_words_for_figures() -> None:
    """Units come from names, zeros have no sign."""
    assert [unit_of(name) for name in ("x.e1_pct", "e.safe_after_ms", "statements.failed", "w")
            ] == [" %", " ms", "", ""]
    assert [number(value) for value in (1200.0, 0.5, -0.0001, None)] == ["1200", "0.5", "0", "n/a"]
    assert [fixed(value) for value in (-0.001, 2, None)] == ["0.00", "2.00", "n/a"]


def test_example_is_independent() -> None:
    """Tests change what example() returns; the next one must not see it."""
    first = example()
    kept = copy.deepcopy(first)
    first["elements"][0]["zone"] = 9
    assert example() == kept
