"""`hil report`, `verify`, `key`, `compare`, `trend`: exit codes, words, JSON, pages."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hil.bench.bench_key import bench_key, public_pem
from hil.report.signature import sign_run
from hil.report.write import write_report
from host_tools.cli.main import main
from host_tools.identity.keys import KeyPair, make_key_pair

from .report_example import example, write_trace

BEGAN = 1_790_000_000_000


@pytest.fixture(autouse=True)
def _own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "100")


def run_in(folder: Path, key: KeyPair | None = None, began_unix_ms: int = BEGAN,
           **changes: Any) -> Path:
    """Make the folder of a run that passed, signed by the bench's key or another."""
    folder.mkdir(parents=True)
    results = example() | changes
    write_trace(folder, 240)
    signer = key or bench_key()
    write_report(results, folder, signer.key_id)
    sign_run(folder, results, signer, began_unix_ms, began_unix_ms + 1000)
    return folder


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Return stdout and stderr, in one line each."""
    out, err = capsys.readouterr()
    return " ".join(out.split()), " ".join(err.split())


def test_verify_tells_what_was_signed_and_what_was_changed(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_in(tmp_path / "run")
    assert main(["hil", "verify", str(folder)]) == 0
    out, _ = said(capsys)
    assert "4 files: all are what was signed" in out and "scenario small, seed 7" in out
    assert "2026-09-21" in out and bench_key().key_id.hex() in out
    (folder / "note.txt").write_text("")
    with (folder / "trace.csv").open("a") as file:
        file.write("\n")
    assert main(["hil", "verify", str(folder)]) == 1
    assert "trace.csv: was changed after it was signed" in said(capsys)[0]
    assert main(["hil", "verify", str(folder), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["holds"] is False and told["signed"] is None
    assert told["problems"] == [{"file": "trace.csv", "why": "was changed after it was signed"}]
    assert told["not_signed"] == ["note.txt"]


def test_verify_with_the_key_of_another_bench(tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    """Their public key is what `hil key` prints there; without it the next step is said."""
    theirs = make_key_pair(os.urandom)
    folder = run_in(tmp_path / "run", theirs)
    assert main(["hil", "verify", str(folder)]) == 2  # no key at all
    assert "cellwall hil key" in said(capsys)[1]
    bench_key()
    assert main(["hil", "verify", str(folder)]) == 1
    out = said(capsys)[0]
    assert f"signed by key {theirs.key_id.hex()}" in out and "next: --key" in out
    pem = tmp_path / "theirs.pem"
    pem.write_text(public_pem(theirs.public))
    assert main(["hil", "verify", str(folder), "--key", str(pem), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signed"]["seed"] == 7
    pem.write_text("no key")
    assert main(["hil", "verify", str(folder), "--key", str(pem)]) == 2
    assert main(["hil", "verify", str(tmp_path / "none")]) == 2
    capsys.readouterr()
    assert main(["hil", "key"]) == 0
    out, err = capsys.readouterr()
    assert out == public_pem(bench_key().public) and bench_key().key_id.hex() in err


def test_report_signs_again_what_still_is_what_was_signed(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passed = {"passed": True, "limits": []}
    folder = run_in(tmp_path / "run", **passed)
    (folder / "report.html").unlink()
    assert main(["hil", "report", str(folder)]) == 0
    assert main(["hil", "verify", str(folder)]) == 0
    text = (folder / "results.json").read_text()
    (folder / "results.json").write_text(text.replace('"seed": 7', '"seed": 8'))
    capsys.readouterr()
    assert main(["hil", "report", str(folder)]) == 1
    assert "NOT signed again" in said(capsys)[1]
    assert main(["hil", "verify", str(folder)]) == 1
    assert main(["hil", "report", str(tmp_path)]) == 2


def test_report_leaves_the_signature_of_another_bench(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = make_key_pair(os.urandom)
    folder = run_in(tmp_path / "run", theirs, passed=True, limits=[])
    before = (folder / "run.cose").read_bytes()
    assert main(["hil", "report", str(folder)]) == 0
    assert theirs.key_id.hex() in said(capsys)[1]
    assert (folder / "run.cose").read_bytes() == before


def worse() -> list[dict[str, Any]]:
    """Return the segments of a run that tracks its ramp less well."""
    segments = example()["segments"]
    segments[0]["e1_pct"] = 0.8
    return segments


def test_compare_fails_for_what_is_worse_alone(tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    before = run_in(tmp_path / "before")
    after = run_in(tmp_path / "after", segments=worse(), seed=9)
    assert main(["hil", "compare", str(before), str(before)]) == 0
    assert "NOT WORSE by more than 5 %" in said(capsys)[0]
    assert main(["hil", "compare", str(before), str(after)]) == 1
    out, _ = said(capsys)
    assert "ramp.e1_pct 0.5 % 0.8 % +0.3 +60 worse" in out and "WORSE: ramp.e1_pct" in out
    assert "note: seed differs: before 7, after 9" in out
    assert "and 6 figures of single elements that are the same" in out
    # the other way round it is better, and a generous eye sees nothing
    assert main(["hil", "compare", str(after), str(before)]) == 0
    assert main(["hil", "compare", str(before), str(after), "--tolerance-pct", "60"]) == 0


def test_compare_for_programs_and_as_a_page(tmp_path: Path,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    before = run_in(tmp_path / "before")
    after = run_in(tmp_path / "after", segments=worse())
    page = tmp_path / "page.html"
    assert main(["hil", "compare", str(before), str(after), "--json", "--html", str(page)]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["regressions"] == {"after": ["ramp.e1_pct"]}
    assert told["metrics"][0]["changes"][0]["verdict"] == "worse"
    assert "WORSE" in page.read_text() and "ramp" in page.read_text()


def test_compare_refuses_what_is_no_run(tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    run = run_in(tmp_path / "run")
    assert main(["hil", "compare", str(run), str(tmp_path / "none")]) == 2
    assert "RUN_B" in said(capsys)[1]
    assert main(["hil", "compare", str(run), str(run), "--tolerance-pct", "-1"]) == 2
    assert main(["hil", "compare", str(run), str(run), "--html", str(tmp_path / "no" / "x")]) == 2
    assert "cannot be written" in said(capsys)[1]


def many(folder: Path) -> Path:
    """Make four runs, the third failing, in an order that their names do not tell."""
    for index, name in enumerate("cabd"):
        segments = example()["segments"]
        segments[0]["e1_pct"] = 0.5 + index / 10
        run_in(folder / "deep" / name, began_unix_ms=BEGAN + index * 86_400_000,
               segments=segments, passed=index != 2)
    return folder


def test_trend_orders_by_the_start_of_the_run(tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    """Broken folders are named, other scenarios stand apart, and nothing stops."""
    top = many(tmp_path / "runs")
    run_in(top / "other", scenario="other")
    (top / "broken").mkdir()
    (top / "broken" / "results.json").write_text("{")
    page = tmp_path / "trend.html"
    assert main(["hil", "trend", str(top), "--html", str(page)]) == 0
    out, err = said(capsys)
    assert out.index("deep/c") < out.index("deep/a") < out.index("deep/b") < out.index("deep/d")
    assert "small, virtual time: 4 runs" in out and "other, virtual time: 1 runs" in out
    assert "ramp.e1_pct, % 0.5 0.8 0.5 0.8 ▁▃▆█" in out and out.count("failed") == 2
    assert "not read" in err and "broken" in err and "is not JSON" in err
    assert main(["hil", "trend", str(top), "--json", "--metric", "ramp.*"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["scenario"] for one in told["groups"]] == ["other", "small"]
    small = told["groups"][1]
    assert [one["folder"] for one in small["runs"]] == ["deep/c", "deep/a", "deep/b", "deep/d"]
    assert [one["verdict"] for one in small["runs"]] == ["passed", "passed", "failed", "passed"]
    assert small["metrics"] == ["ramp.e1_pct", "ramp.e2_pct", "ramp.rmse_pct"]
    assert {one["signed"] for one in small["runs"]} == {"yes"}
    assert [one["folder"] for one in told["broken"]] == [str(top / "broken")]
    assert "trend-1-0" in page.read_text() and "is not JSON" in page.read_text()


def test_trend_explains_what_it_cannot_show(tmp_path: Path,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    top = many(tmp_path / "runs")
    assert main(["hil", "trend", str(top), "--metric", "ramp.e1"]) == 2
    assert "ramp.e1_pct" in said(capsys)[1]
    assert main(["hil", "trend", str(tmp_path / "none")]) == 2
    assert "holds no run" in said(capsys)[1]


@pytest.mark.parametrize("name", ["report", "verify", "key", "compare", "trend"])
def test_help_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hil", name, "--help"]) == 0
    assert f"cellwall hil {name}" in said(capsys)[0]
