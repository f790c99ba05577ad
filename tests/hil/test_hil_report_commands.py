"""`cellwall hil report|verify|key`: exit codes, words for people, JSON for programs."""

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
