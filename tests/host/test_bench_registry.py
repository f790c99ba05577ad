"""The benchmark runner's own parts: what counts as reached, what is written."""

import json
from pathlib import Path

import pytest

import hil.benchmarks.element
import hil.benchmarks.handshake
import hil.benchmarks.heap
import hil.benchmarks.host
import hil.benchmarks.scenarios  # noqa: F401  each module registers its benchmarks
from hil.benchmarks.host import make_archive
from hil.benchmarks.registry import Measure, benchmark, chosen, write_results


@pytest.mark.parametrize(("value", "reach", "met"), [
    (90, "<= 90", True), (90.1, "<= 90", False), (5000, ">= 5000", True), (4999, ">= 5000", False),
    (0, "== 0", True), (1, "== 0", False), (123, "", True)])
def test_reach(value: float, reach: str, met: bool) -> None:
    assert Measure("x", value, "", reach).met is met


def test_benchmarks_are_chosen_by_pattern_and_names_are_unique() -> None:
    assert {"default", "regulated_days", "es256", "verify", "fuzz", "edhoc"} <= set(chosen(None))
    assert list(chosen("^es256$")) == ["es256"]
    with pytest.raises(ValueError, match="two benchmarks"):
        benchmark("es256")(lambda context: iter(()))


def test_results_of_other_benchmarks_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results([("a", Measure("a.x", 1, "ms", "<= 2")), ("b", Measure("b.x", 1, "", ""))], path)
    write_results([("a", Measure("a.x", 3, "ms", "<= 2"))], path)
    rows = json.loads(path.read_text())
    assert [(row["name"], row["value"], row["met"]) for row in rows] == [
        ("a.x", 3, False), ("b.x", 1, True)]
    assert set(rows[0]) == {"name", "value", "unit", "reach", "met", "command", "machine"}


def test_the_archive_that_is_timed_is_a_true_one() -> None:
    verifier, entries = make_archive(40, 2)
    outcome = verifier.run(entries)
    assert outcome.failed == 0 and outcome.by_kind["record"] == 40
