"""Every single fault of the table on the bench, and the document that is made of it."""

import ast
from pathlib import Path

import pytest

from hil.fmea.bench import Verdict, judge
from hil.fmea.document import document, read_times
from hil.fmea.faults import FAULTS, Fault
from hil.fmea.shown import SHOWN
from hil.fmea.trial import Outcome

ROOT = Path(__file__).parents[2]
# A change of the firmware may move a time by a tick or a poll: then `make fmea` is due.
TIME_MS_OFF = 150


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fmea(fault: Fault, tmp_path: Path, micropython: Path) -> None:
    verdict = judge(fault, tmp_path)
    assert verdict.problems == ()
    if fault.rides:
        # it goes on at power: what is safe for good would be a loss of service here
        assert any(outcome.off_ms is None for outcome in verdict.outcomes) \
            or fault.name in ("link-noise", "bms-late")
        return
    written = read_times((ROOT / "docs" / "fmea.md").read_text(encoding="utf-8"))
    assert verdict.safe_ms is not None
    assert abs(written[fault.name] - verdict.safe_ms) <= TIME_MS_OFF, "run `make fmea`"


def test_the_document_has_every_row() -> None:
    text = (ROOT / "docs" / "fmea.md").read_text(encoding="utf-8")
    for fault in FAULTS:
        assert f"test_fmea.py[{fault.name}]`" in text, f"{fault.name}: run `make fmea`"
    for row in SHOWN:
        assert row.test in text, f"{row.what}: run `make fmea`"
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_every_test_that_a_row_names_exists() -> None:
    for row in SHOWN:
        name, function = row.test.split("::")
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        assert function in [node.name for node in tree.body
                            if isinstance(node, ast.FunctionDef)], row.test


def test_a_fault_that_is_never_safe_is_a_problem() -> None:
    fault = FAULTS[0]
    never = Verdict(fault, (Outcome(was_w=2000, safe_ms=1000), Outcome(was_w=2000)), ())
    assert never.safe_ms is None
    assert "| None |" in document([never])


def test_a_trial_sees_a_fault_that_nothing_ends(tmp_path: Path, micropython: Path) -> None:
    harmless = Fault("harmless", "nothing", "nothing", "nothing", "power", lambda trial: None)
    verdict = judge(harmless, tmp_path)
    assert verdict.safe_ms is None and any("safe after None" in one for one in verdict.problems)
