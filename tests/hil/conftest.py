"""Fixtures of the bench tests: real MicroPython, small scenarios."""

from pathlib import Path
from typing import Any

import pytest

from hil.bench.session import Options, Session, find_micropython
from hil.scenarios.load import load_scenario
from hil.scenarios.model import ScenarioModel

SMALL = """\
scenario: small
description: Two elements of two kinds, short phases.
record_interval_s: 10
elements:
  - {name: wall, kind: converter, chemistry: LFP, series_count: 16, capacity_ah: 100,
     rating_w: 2500, zone: 1, current_a_max: 60, cell_mv_min: 2800, cell_mv_max: 3600}
  - {name: cabinet, kind: bms_fets, chemistry: NMC, series_count: 13, capacity_ah: 50,
     rating_w: 500, zone: 2, current_a_max: 20, cell_mv_min: 3100, cell_mv_max: 4150}
phases:
  - {name: discovery, signal: idle, duration_s: 30}
  - {name: ramp, signal: ramp, duration_s: 60, power_kw: 2}
  - {name: release, signal: idle, duration_s: 20}
"""


@pytest.fixture(scope="session")
def micropython() -> Path:
    """The unix port; missing, the tests fail and say how to get it."""
    return find_micropython()


@pytest.fixture
def small(tmp_path: Path) -> ScenarioModel:
    """A small scenario to vary."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return load_scenario(path)


def run_small(scenario: ScenarioModel, out: Path, seed: int = 1, clock: str = "virtual",
              change: Any = None) -> tuple[Any, dict[str, Any]]:
    """Run a scenario and return (run, results); change(session) may prepare the bench."""
    session = Session(Options(scenario, seed, clock, out), lambda *_: None)
    if change is not None:
        change(session)
    return session.execute()
