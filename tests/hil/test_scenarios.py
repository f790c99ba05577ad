"""Scenario files: what comes with the project loads; every mistake names its line."""

from pathlib import Path

import pytest

from hil.scenarios.load import FOLDER, ScenarioError, find_scenario, load_scenario

GOOD = """\
scenario: small
description: one element
elements:
  - name: wall
    kind: converter
    chemistry: LFP
    series_count: 16
    capacity_ah: 100
    rating_w: 2500
    current_a_max: 60
    cell_mv_min: 2800
    cell_mv_max: 3600
phases:
  - {name: discovery, signal: idle, duration_s: 30}
  - {name: ramp, signal: ramp, duration_s: 60, power_kw: 2}
events:
  - {name: silent, kind: bms_silent, phase: ramp, at_s: 5, element: wall, duration_s: 10}
limits:
  - {value: ramp.e1_pct, max: 2}
"""


def _load(tmp_path: Path, text: str):
    path = tmp_path / "scenario.yaml"
    path.write_text(text, encoding="utf-8")
    return load_scenario(path)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_scenarios_of_the_project_load(path: Path) -> None:
    scenario = load_scenario(path)
    assert scenario.scenario == path.stem


def test_a_good_one_loads(tmp_path: Path) -> None:
    scenario = _load(tmp_path, GOOD)
    assert scenario.seed == 1 and scenario.element_names() == ["wall"]


MISTAKES = [
    ("rating_w: 2500", "rating_kw: 2.5", 9, "rating_w"),
    ("power_kw: 2}", "power_w: 2000}", 15, "power_kw"),
    ("capacity_ah: 100", "capacity_ah: -3", 8, "greater than 0.5"),
    ("capacity_ah: 100", "capacity_ah: much", 8, "number"),
    ("capacity_ah: 100", "capacity_ah: .nan", 8, "finite"),
    ("series_count: 16", "series_count: 16.5", 7, "integer"),
    ("chemistry: LFP", "chemistry: PbA", 4, "PbA"),
    ("kind: converter", "kind: inverter", 5, "converter"),
    ("cell_mv_min: 2800", "cell_mv_min: 3600", 4, "below"),
    ("duration_s: 30}", "duration_s: 3}", 14, "10"),
    ("phase: ramp, at_s: 5", "phase: rump, at_s: 5", 17, "rump"),
    ("at_s: 5,", "at_s: 500,", 17, "after the end"),
    ("element: wall,", "element: wal,", 17, "did you mean wall"),
    ("element: wall,", "zone: 1,", 17, "needs element"),
    ("max: 2}", "max: 2, min: 1}", 19, "exactly one"),
    ("signal: idle", "signal: ramp, power_kw: 1", 1, "first phase must be idle"),
    ("scenario: small", "scenario: small\nscenario: twice", 2, "duplicate"),
    ("limits:", "limit:", 18, "limit"),
]


@pytest.mark.parametrize(("old", "new", "line", "said"), MISTAKES,
                         ids=[new[:20] for _, new, _, _ in MISTAKES])
def test_a_mistake_names_its_line(tmp_path: Path, old: str, new: str, line: int,
                                  said: str) -> None:
    assert GOOD.count(old) >= 1
    with pytest.raises(ScenarioError) as caught:
        _load(tmp_path, GOOD.replace(old, new, 1))
    assert caught.value.line == line, str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", [
    "", "just text", "- a\n- b", "a: [1, 2", "a: !!python/object:os.x", "\x00", "a: &x [*x]"])
def test_what_is_no_scenario_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ScenarioError):
        _load(tmp_path, text)


def test_unknown_names_suggest_the_known() -> None:
    with pytest.raises(ScenarioError, match="did you mean default"):
        find_scenario("defualt")
    with pytest.raises(ScenarioError, match="no such file"):
        find_scenario("missing.yaml")
