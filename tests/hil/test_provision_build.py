"""The firmware as it is built for a board does exactly what its sources do."""

from pathlib import Path

import pytest

from hil.bench import session as session_module
from hil.benchmarks.heap import built
from hil.scenarios.model import ScenarioModel

from .conftest import run_small


def test_a_run_of_the_built_firmware_equals_one_of_the_sources(
        small: ScenarioModel, micropython: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    _, from_sources = run_small(small, tmp_path / "sources")
    paths = built(micropython, tmp_path / "built")
    compiled = sorted(path.name for path in (paths.firmware / "element").rglob("*"))
    assert "agent.mpy" in compiled and not [name for name in compiled if name.endswith(".py")]
    monkeypatch.setenv("CELLWALL_MICROPYTHON", str(micropython))
    monkeypatch.setattr(session_module.Paths, "of_checkout", classmethod(lambda *_: paths))
    _, from_build = run_small(small, tmp_path / "compiled")
    traces = [(tmp_path / name / "trace.csv").read_bytes() for name in ("sources", "compiled")]
    assert traces[0] == traces[1] and traces[0].count(b"\n") > 100
    assert from_sources["passed"] and from_build["passed"]
    # down to the last signature
    statements = [(tmp_path / name / "statements" / "statements.cborseq").read_bytes()
                  for name in ("sources", "compiled")]
    assert statements[0] == statements[1]
