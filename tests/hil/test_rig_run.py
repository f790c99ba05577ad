"""Runs on an emulated rig: real firmware and protocols; every way out ends with outputs off."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hil.report.write import load_results
from tests.hil.line_process import until
from tests.hil.rig_process import RUN_S_MAX, SCENARIO, RigProcess

SHORT_LOSSES = (("pcc", "power-1", "bank"), ("power-2", "bms-break"), ("place-2",))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RigProcess]:
    """A served rig with two elements."""
    folder = tmp_path_factory.mktemp("rig")
    scenario = folder / "scenario.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    served = RigProcess(folder, scenario)
    yield served
    served.end()


@pytest.fixture
def rig(served: RigProcess) -> Iterator[RigProcess]:
    """The rig; parts that a test has unplugged are plugged in again, trips are released."""
    yield served
    for name, plugged in served.state()["plugged"].items():
        if not plugged:
            served.plug(True, name)
    for name in served.tripped():
        served.release(name)


def _on(rig: RigProcess, host: subprocess.Popen[str]) -> None:
    """Wait until outputs are on."""
    until(lambda: rig.state()["true_w"] > 0 or host.poll() is not None, 60.0)
    assert host.poll() is None, rig.said()


def test_the_doctor_proves_every_port_of_a_rig(rig: RigProcess) -> None:
    doctor = rig.hil("doctor", str(rig.rig), "--json")
    assert doctor.wait(RUN_S_MAX) == 0, rig.said()
    checks = {one["name"]: one for one in json.loads(rig.said("out.txt"))}
    assert set(checks) == set(rig.ready["parts"])
    assert all(one["both_ways"] and one["verdict"] == "pass" for one in checks.values())
    assert "firmware" in checks["place-1"]["identity"]
    assert "PCC-1" in checks["pcc"]["identity"]
    rig.plug(False, "place-2")
    rig.plug(False, "bank")
    doctor = rig.hil("doctor", str(rig.rig), "--json")
    assert doctor.wait(RUN_S_MAX) == 3
    checks = {one["name"]: one for one in json.loads(rig.said("out.txt"))}
    assert {name for name, one in checks.items() if one["verdict"] == "fail"} == {
        "place-2", "bank"}
    assert all(checks[name]["next_step"] for name in ("place-2", "bank"))
    rig.plug(True, "place-2")
    rig.plug(True, "bank")
    assert rig.state()["true_w"] == 0


def test_an_event_waits_for_the_switch_that_makes_it_happen(rig: RigProcess) -> None:
    out = rig.folder / "late-event"
    host = rig.run("--out", str(out))
    rig.in_regulation(host)
    time.sleep(4.5)
    rig.plug(False, "bms-break")
    time.sleep(3)  # the event of second 6 of the phase is due meanwhile
    assert host.poll() is None, rig.said(of=host)
    rig.plug(True, "bms-break")
    assert host.wait(RUN_S_MAX) in (0, 1), rig.said(of=host)
    results = load_results(out)
    lost = next(one for one in results["rig"]["losses"] if one["name"] == "bms-break")
    event, = results["events"]
    # it counts from when it happened
    assert event["name"] == "silent" and event["at_s"] > max(16, lost["lost_s"])
    assert lost["back_s"] - 1 < event["at_s"] and 0 <= event["safe_after_ms"] <= 3000
    assert not results["aborted"]


def test_an_event_that_never_happens_is_said(rig: RigProcess) -> None:
    out = rig.folder / "no-event"
    rig_yaml = yaml.safe_load(rig.rig.read_text(encoding="utf-8"))
    next(one for one in rig_yaml["switches"] if one["name"] == "bms-break")["critical"] = False
    uncritical = rig.rig.with_name("uncritical.yaml")
    uncritical.write_text(yaml.safe_dump(rig_yaml), encoding="utf-8")
    host = rig.hil("run", str(rig.folder / "scenario.yaml"), "--rig", str(uncritical),
                   "--out", str(out))
    rig.in_regulation(host)
    rig.plug(False, "bms-break")
    assert host.wait(RUN_S_MAX) == 3
    said = rig.said(of=host)
    assert "events did not happen: silent (switch bms-break)" in said
    results = load_results(out)
    assert results["aborted"] and not results["passed"] and not results["events"]
    rig.until_off()


def test_a_run_bears_short_losses_and_is_replayed_without_the_rig(rig: RigProcess) -> None:
    out, record = rig.folder / "run", rig.folder / "record"
    host = rig.run("--out", str(out), "--record", str(record))
    until(lambda: "meter pcc" in rig.said(of=host) or host.poll() is not None, 60.0)
    locked = rig.hil("locks")
    rig.in_regulation(host)
    for names in SHORT_LOSSES:
        for plugged in (False, True):
            rig.plug(plugged, *names)
            time.sleep(0 if plugged else 1.2)
    code = host.wait(RUN_S_MAX)
    rig.until_off()
    assert locked.wait(RUN_S_MAX) == 0 and "hil run bench" in rig.said("out.txt", locked)
    results = load_results(out)
    assert code == (0 if results["passed"] else 1), rig.said(of=host)
    assert not results["aborted"] and results["statements"]["failed"] == 0
    lost = {one["name"]: one for one in results["rig"]["losses"]}
    assert set().union(*SHORT_LOSSES) <= set(lost)
    assert all(one["back_s"] > one["lost_s"] and not one["stopped"] for one in lost.values())
    wall, cabinet = results["elements"]
    assert wall["metered_mwh"] is not None and wall["segments"][0]["e1_pct"] is not None
    assert cabinet["metered_mwh"] is None and cabinet["segments"][0]["e1_pct"] is None
    assert wall["restarts"] == cabinet["restarts"] == 0 and wall["setpoints_accepted"] > 5
    assert results["simulation"] is True and results["rig"]["kind"] == "demo"
    # the breaker in the BMS's line worked, and its element was measured to be safe
    assert 0 <= results["events"][0]["safe_after_ms"] <= 3000
    assert rig.state()["unprotected"] == 0
    # rows close where the panel takes its turns, or each answer would count a second late
    with (record / "record.jsonl").open(encoding="utf-8") as file:
        assert json.loads(file.readline())["start_unix_ms"] % 1000 == 0
    # these boards keep their log to themselves: what a Pico says is in test_rp2040_rig
    assert (out / "console.csv").read_text(encoding="utf-8") == "t_s,element,text\n"
    again = rig.hil("replay", str(record), "--json")
    again.wait(RUN_S_MAX)
    numbers = json.loads(rig.said("out.txt"))
    assert {key for key in numbers if numbers[key] != results[key]} <= {"wall_s"}
    _forge(record)
    assert rig.hil("run", "--replay", str(record)).wait(RUN_S_MAX) == 1
    assert "NOT the run's numbers: " in rig.said("out.txt")


def _forge(record: Path) -> None:
    """Change one reading of the rig's meter in the recording, in the second that is judged."""
    path = record / "record.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    index = next(index for index, line in enumerate(lines) if '"row","regulation",' in line)
    while '"meter","pcc",' not in lines[index]:
        index -= 1
    entry: list[Any] = json.loads(lines[index])
    entry[3][0] ^= 0x0100
    lines[index] = json.dumps(entry)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_ctrl_c_ends_at_zero_with_outputs_off(rig: RigProcess) -> None:
    host = rig.run("--out", str(rig.folder / "stopped"))
    _on(rig, host)
    host.send_signal(signal.SIGINT)
    assert host.wait(RUN_S_MAX) == 4, rig.said()
    state = rig.state()
    assert state["true_w"] == 0 and not state["watchdog"] and not state["input"]
    assert not any(state["power"].values())
    assert load_results(rig.folder / "stopped")["aborted"]


def test_a_killed_host_leaves_nothing_on(rig: RigProcess) -> None:
    host = rig.run("--out", str(rig.folder / "killed"))
    _on(rig, host)
    host.kill()
    host.wait()
    rig.until_off()
    assert rig.state()["power"]["wall"]  # it was the watchdog relay, and nothing else
    _on_again = rig.hil("locks")
    assert _on_again.wait(RUN_S_MAX) == 0
    assert "left by a dead process" in rig.said("out.txt")


@pytest.mark.parametrize("name", [
    "pcc", *(pytest.param(name, marks=pytest.mark.whole)
             for name in ("watchdog", "place-1", "bank", "power-2"))])
def test_a_lasting_loss_stops_the_rig_and_is_named(rig: RigProcess, name: str) -> None:
    out = rig.folder / f"lost-{name}"
    host = rig.run("--out", str(out))
    rig.in_regulation(host)
    rig.plug(False, name)
    assert host.wait(RUN_S_MAX) == 3
    why = "is gone" if name == "place-1" else "does not answer"
    assert re.search(f"the rig has lost a part.*{name}.*{why}", " ".join(rig.said().split()))
    rig.until_off()
    rig.plug(True, name)
    results = load_results(out)
    assert results["aborted"] and not results["passed"]
    assert [one["name"] for one in results["rig"]["losses"] if one["stopped"]] == [name]


@pytest.mark.whole
def test_energy_that_a_meter_has_missed_is_not_known(rig: RigProcess) -> None:
    out = rig.folder / "missed"
    host = rig.run("--out", str(out))
    rig.in_regulation(host)
    rig.plug(False, "meter-1")
    time.sleep(1.5)
    rig.plug(True, "meter-1")
    assert host.wait(RUN_S_MAX) in (0, 1)
    results = load_results(out)
    (lost,) = results["rig"]["losses"]
    assert lost["name"] == "meter-1" and lost["back_s"] > lost["lost_s"] and not lost["stopped"]
    wall = results["elements"][0]
    assert wall["metered_mwh"] is None and wall["realized_mwh"] is not None


# Of one test of these: a third of this is usual, and what hangs then shows where.
HANGS_S = 60
TESTS = """
import pytest

@pytest.mark.hardware
def test_a_setpoint_is_followed(bench, board):
    board.setpoint(500)
    board.wait_until(lambda one: abs(one.power_w - 500) < 50, 20, "500 W")
    board.setpoint(0)
    board.wait_until(lambda one: abs(one.power_w) < 10, 10, "zero")

@pytest.mark.hardware
def test_that_raises_with_power_on(bench, board):
    board.setpoint(500)
    board.wait_until(lambda one: one.power_w > 400, 20)
    raise RuntimeError("as tests do")
"""


@pytest.mark.whole
def test_the_same_fixtures_on_a_rig_and_nothing_is_left_on(rig: RigProcess) -> None:
    path = rig.folder / "test_mine.py"
    path.write_text(TESTS, encoding="utf-8")
    try:
        tests = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cellwall", "-p", "hil.pytest_plugin",
             "-p", "no:xdist", "-p", "no:cacheprovider", "-o", f"faulthandler_timeout={HANGS_S}",
             str(path), "--cellwall-rig", str(rig.rig), "--cellwall-scenario",
             str(rig.folder / "scenario.yaml")],
            env=rig.env, cwd=rig.folder, capture_output=True, text=True,
            timeout=2 * RUN_S_MAX, check=False)
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"no end: {late.stdout!r}\n{late.stderr!r}")
    assert "1 failed, 1 passed" in tests.stdout, tests.stdout
    assert "as tests do" in tests.stdout
    rig.until_off()
    assert not any(rig.state()["power"].values()) and not rig.state()["input"]


TRIPPED = """\
  - {name: regulation, signal: regulation, duration_s: 10, power_kw: 1}
events:
  - {name: fire, kind: fire_alarm, phase: regulation, at_s: 1, zone: 1, safe_within_ms: 3000}
"""


@pytest.mark.whole
def test_a_trip_that_a_run_has_left_is_released_by_a_person_before_the_next(
        rig: RigProcess) -> None:
    path = rig.folder / "tripped.yaml"
    path.write_text(SCENARIO.partition("  - {name: regulation")[0] + TRIPPED, encoding="utf-8")
    host = rig.hil("run", str(path), "--rig", str(rig.rig), "--out", str(rig.folder / "tripped"))
    assert host.wait(RUN_S_MAX) == 0 and rig.tripped() == ["wall"], rig.said()
    assert rig.run().wait(RUN_S_MAX) == 3
    said = rig.said()
    assert "the element holds a trip: place place-1: fire alarm" in said
    command = f"cellwall release {rig.folder}/by-id/board-wall --site {rig.folder}/site"
    assert command in " ".join(said.split())
    assert rig.hil("doctor", str(rig.rig), "--json").wait(RUN_S_MAX) == 3
    checks = {one["name"]: one for one in json.loads(rig.said("out.txt"))}
    assert [name for name, one in checks.items() if one["verdict"] == "fail"] == ["place-1"]
    assert "cellwall release" in checks["place-1"]["next_step"]
    assert "firmware" in checks["place-1"]["identity"]
    rig.release("wall")
    assert rig.tripped() == []
    assert rig.hil("doctor", str(rig.rig)).wait(RUN_S_MAX) == 0


EVENTS = """\
  - {name: regulation, signal: regulation, duration_s: 45, power_kw: 1}
  - {name: release, signal: idle, duration_s: 15}
events:
  - {name: cut, kind: link_lost, phase: regulation, at_s: 5, element: wall, duration_s: 10}
  - {name: panel, kind: host_lost, phase: regulation, at_s: 18, duration_s: 8}
  - {name: fire, kind: fire_alarm, phase: regulation, at_s: 32, zone: 1, safe_within_ms: 2000}
  - {name: freed, kind: release, phase: release, at_s: 3}
"""


@pytest.mark.whole
def test_events_happen_on_the_rig_and_are_measured(rig: RigProcess) -> None:
    path, out = rig.folder / "events.yaml", rig.folder / "events"
    head = SCENARIO.partition("  - {name: regulation")[0]
    path.write_text(head + EVENTS, encoding="utf-8")
    assert rig.hil("run", str(path), "--rig", str(rig.rig), "--out", str(out)).wait(
        RUN_S_MAX) == 0, rig.said()
    results = load_results(out)
    cut, panel, fire, freed = results["events"]
    # the wall has a meter of its own: it went to zero by its lease, which is five seconds at most
    assert 0 < cut["safe_after_ms"] <= 6000
    assert panel["elements"] == ["wall", "cabinet"] and fire["elements"] == ["wall"]
    assert fire["safe_after_ms"] <= 2000 and freed["orders"] == 1
    assert results["rig"]["losses"] == []  # what is done on purpose is no loss
    assert results["statements"]["failed"] == 0


@pytest.mark.whole
def test_a_case_is_run_many_times_and_says_how_often_it_passed(rig: RigProcess) -> None:
    out = rig.folder / "many"
    host = rig.run("--count", "2", "--out", str(out), "--json")
    assert host.wait(2 * RUN_S_MAX) == 0, rig.said()
    said = json.loads(rig.said("out.txt"))
    cases = {one["name"]: one for one in said["cases"]}
    assert said["runs"] == 2 and all(one["verdict"] == "pass" for one in said["cases"])
    safe = cases["silent.safe_after_ms"]
    assert 0 < safe["value_min"] <= safe["value_median"] <= safe["value_max"] <= 3000
    assert (out / "junit.xml").read_text(encoding="utf-8").count("<testsuite ") == 2
    assert all(load_results(out / f"run-{number}")["passed"] for number in (1, 2))
    rig.until_off()


@pytest.mark.whole
def test_virtual_time_real_time_and_the_rig_side_by_side(rig: RigProcess) -> None:
    out = rig.folder / "parity"
    host = rig.hil("parity", str(rig.folder / "scenario.yaml"), "--rig", str(rig.rig),
                   "--out", str(out), "--json")
    assert host.wait(3 * RUN_S_MAX) == 0, rig.said()
    said = json.loads(rig.said("out.txt"))
    runs = {label: load_results(out / label) for label in ("virtual", "real", "rig")}
    assert [one["clock"] for one in runs.values()] == ["virtual", "real", "real"]
    assert [one["rig"]["kind"] for one in runs.values()] == [
        "virtual bench", "real-time bench", "demo"]
    assert [one["label"] for one in said["runs"]] == ["virtual", "real", "rig"]
    e1 = next(one for one in said["metrics"] if one["name"] == "regulation.e1_pct")
    assert e1["values"] == [next(
        seg["e1_pct"] for seg in run["segments"] if seg["name"] == "regulation")
        for run in runs.values()]
    assert [one["absolute"] for one in e1["changes"]] == [
        pytest.approx(value - e1["values"][0]) for value in e1["values"][1:]]
    assert (out / "parity.html").exists()
    rig.until_off()
