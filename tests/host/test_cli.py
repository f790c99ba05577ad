"""The command line as a user meets it: help, wrong usage, exit codes, Ctrl-C."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from host_tools.cli.hil_commands import _progress
from host_tools.cli.result_table import _show_segments

WAIT_S_MAX = 60.0


def cellwall(*words: str, columns: int = 80, **env: str) -> subprocess.CompletedProcess:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "host_tools.cli.main", *words], capture_output=True, text=True,
        check=False, timeout=300,
        env={**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1"} | env)


@pytest.mark.parametrize("words", [("--help",), ("hil", "--help"), ("hil", "run", "--help"),
                                   ("hil", "report", "--help"), ("verify", "--help")])
def test_help_fits_80_columns_and_exits_0(words: tuple[str, ...]) -> None:
    done = cellwall(*words)
    assert done.returncode == 0 and "Usage" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    if words[-2:-1] in (("run",), ("verify",)):
        assert "xample" in done.stdout


WRONG = [
    ((), "Usage"),
    (("nonsense",), "nonsense"),
    (("hil", "run", "nonsense"), "there are: arbitrage"),
    (("hil", "run", "missing.yaml"), "no such file"),
    (("hil", "run", "--seed", "-1"), "--seed"),
    (("hil", "run", "--seed", "x"), "--seed"),
    (("hil", "run", "--clock", "sundial"), "sundial"),
    (("hil", "run", "--hours", "0"), "--hours"),
    (("hil", "run", "--signal", "missing.csv"), "missing.csv"),
    (("verify", "missing"), "missing"),
    (("hil", "report", "missing"), "missing"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_wrong_usage_exits_2_and_says_what(words: tuple[str, ...], said: str) -> None:
    done = cellwall(*words, columns=200)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_bad_csv_names_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text("t,a,b\n0,1,2\n4,x,3\n8,1,4\n")
    done = cellwall("hil", "run", "--signal", f"{path}:a", columns=200)
    assert done.returncode == 2
    assert ("row 3" in done.stderr and "'a'" in done.stderr) or "column a" in done.stderr


@pytest.mark.parametrize(("program", "said"), [
    ("/does/not/exist", "CELLWALL_MICROPYTHON"), ("/bin/false", "MicroPython")])
def test_a_rig_that_does_not_start_exits_3_and_says_why(
        tmp_path: Path, program: str, said: str) -> None:
    done = cellwall("hil", "run", "regulated", "--hours", "0.02", "--out", str(tmp_path / "run"),
                    columns=200, CELLWALL_MICROPYTHON=program)
    assert done.returncode == 3
    assert "rig fault" in done.stderr and said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished short run."""
    out = tmp_path_factory.mktemp("run")
    done = cellwall("hil", "run", "regulated", "--hours", "0.02", "--out", str(out), "--json")
    assert done.returncode in (0, 1), done.stderr
    results = json.loads(done.stdout)
    assert results["scenario"] == "regulated"
    assert json.loads((out / "results.json").read_text()) == results
    return out


def test_segments_stay_whole_at_80_columns() -> None:
    pjm = {"composite": 0.951, "delay": 1.0, "precision": 0.902}
    segment = {"name": "regulation_outside_faults", "e1_pct": 100.25, "e2_pct": 100.5,
               "rmse_pct": 100.75, "pjm": pjm}
    console = Console(width=80, file=io.StringIO(), highlight=False)
    _show_segments({"segments": [segment]}, console)
    row, = (line for line in console.file.getvalue().splitlines() if "regulation" in line)
    assert row.split() == ["regulation_outside_faults", "100.25", "100.50", "100.75", "0.951",
                           "1.000", "0.902"]


def test_a_log_says_every_phase_and_once_a_minute_how_far_it_is(
        monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    console = Console(file=io.StringIO(), width=80)
    with _progress(console) as told:
        for done_s, passed_s in ((1, 0), (2, 59), (3, 1), (4, 30), (61, 29), (62, 31), (63, 60)):
            now_s += passed_s
            told(done_s, 100, "idle" if done_s < 61 else "ramp")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "idle: from 0 s of 100 s", "idle: 3 s of 100 s", "ramp: from 60 s of 100 s",
        "ramp: 63 s of 100 s"]


def test_verify_holds_and_finds_a_changed_byte(folder: Path) -> None:
    done = cellwall("verify", str(folder))
    assert done.returncode == 0 and "all hold" in done.stdout
    assert json.loads(cellwall("verify", str(folder), "--json").stdout)["failed"] == 0
    path = folder / "statements" / "statements.cborseq"
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    path.write_bytes(bytes(changed))
    done = cellwall("verify", str(folder))
    path.write_bytes(whole)
    assert done.returncode == 1
    assert "FAILED" in done.stdout or "error" in done.stderr


def test_report_is_made_again_from_the_folder(folder: Path) -> None:
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    done = cellwall("hil", "report", str(folder))
    assert done.returncode in (0, 1)
    assert (folder / "report.html").read_bytes() == before


@pytest.mark.parametrize(("kind", "clock"), [
    (signal.SIGINT, "virtual"), (signal.SIGTERM, "virtual"), (signal.SIGINT, "real")])
def test_ctrl_c_goes_to_zero_keeps_whole_files_and_exits_4(
        tmp_path: Path, kind: int, clock: str) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "host_tools.cli.main", "hil", "run", "default", "--out", str(out),
         "--clock", clock],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    boards = out / "boards" / "wall-1" / "console.log"
    end = time.monotonic() + WAIT_S_MAX
    while time.monotonic() < end:
        if boards.exists() and "enrolled" in boards.read_text():
            break
        time.sleep(0.1)
    time.sleep(2.0)
    process.send_signal(kind)
    _, errors = process.communicate(timeout=WAIT_S_MAX)
    assert process.returncode == 4, errors
    assert "zero first" in errors
    results = json.loads((out / "results.json").read_text())
    assert results["aborted"] is True and results["passed"] is False
    rows = (out / "trace.csv").read_text().splitlines()
    header, last = rows[0].split(","), rows[-1].split(",")
    for name, value in zip(header, last, strict=True):
        if name.endswith("_power_w"):
            assert abs(float(value)) < 25, name
    assert cellwall("verify", str(out)).returncode == 0
