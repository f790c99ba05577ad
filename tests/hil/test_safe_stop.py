"""Whenever a run is stopped, every element is at zero at its end: on/off stages too."""

from pathlib import Path

import pytest

from hil.bench.faults import above_safe
from hil.bench.session import Options, Session
from hil.scenarios.load import load_scenario

CABINETS = """\
scenario: cabinets
description: Three on/off elements that follow half of their power.
elements:
  - {name: cabinet, count: 3, kind: bms_fets, chemistry: NMC, series_count: 13, capacity_ah: 50,
     rating_w: 500, zone: 1, current_a_max: 20, cell_mv_min: 3100, cell_mv_max: 4150}
phases:
  - {name: discovery, signal: idle, duration_s: 30}
  - {name: ramp, signal: ramp, duration_s: 120, power_kw: 1}
"""


@pytest.mark.parametrize("stop_s", [51, 54, 58, 61, 66])
def test_a_stop_at_any_moment_ends_at_zero(tmp_path: Path, micropython: Path,
                                           stop_s: int) -> None:
    path = tmp_path / "cabinets.yaml"
    path.write_text(CABINETS, encoding="utf-8")
    session = Session(Options(load_scenario(path), stop_s, "virtual", tmp_path / "out"),
                      lambda *_: None)
    run = session._run
    run._clock.call_at(stop_s * 1000 - 10, run.stop)
    session.execute()
    rows = (tmp_path / "out" / "trace.csv").read_text(encoding="utf-8").splitlines()
    columns = [index for index, name in enumerate(rows[0].split(","))
               if name.startswith("cabinet") and name.endswith("_power_w")]
    values = [[abs(float(row.split(",")[index])) for index in columns] for row in rows[1:]]
    assert any(value > 100 for value in values[stop_s - 1])  # something was on when it came
    assert max(values[-1]) < 5
    assert not any(map(above_safe, run.result.site.rigs))
