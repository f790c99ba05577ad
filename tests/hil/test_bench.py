"""The bench end to end: real MicroPython firmware, lockstep time, faults, hostile links."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from element.protocol import codes, schema
from element.protocol.framing import encode_frame
from hil.bench.bench_key import bench_key
from hil.bench.scheduling import REAL_TIME, scheduling_of
from hil.bench.session import Session
from hil.report.signature import verify_run
from hil.scenarios.model import EventModel, ScenarioModel
from host_tools import codec

from .conftest import run_small


def _with_events(scenario: ScenarioModel, *events: dict[str, Any]) -> ScenarioModel:
    return scenario.model_copy(update={"events": [EventModel(**event) for event in events]})


def _clock(session: Session) -> Any:
    return session._run._clock


def test_a_run_tracks_signs_and_verifies(small: ScenarioModel, tmp_path: Path,
                                         micropython: Path) -> None:
    run, results = run_small(small, tmp_path / "run")
    ramp = next(one for one in results["segments"] if one["name"] == "ramp")
    assert ramp["e1_pct"] < 3
    assert results["statements"]["failed"] == 0
    # two credentials and announcements, every full interval a record an element
    assert results["statements"]["by_kind"]["credential"] == 2
    assert results["statements"]["by_kind"]["record"] >= 2 * 10
    assert abs(results["energy"]["difference_pct"]) < 3
    assert all(one["setpoints_accepted"] >= 55 for one in results["elements"])
    assert all(one["restarts"] == 0 for one in results["elements"])
    assert results["clock_error_ms"] == 0
    assert [one["element"] for one in results["rig"]["boards"]] == ["wall", "cabinet"]
    for name in ("results.json", "report.html", "junit.xml", "trace.csv", "ledger.db"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    signed = verify_run(tmp_path / "run", bench_key().public)
    assert signed.holds and signed.checked >= 8 and signed.unlisted == []
    assert all(not rig.board.running for rig in run.site.rigs)


def test_the_same_seed_gives_the_same_bytes(small: ScenarioModel, tmp_path: Path,
                                            micropython: Path) -> None:
    texts = []
    for name in ("a", "b"):
        run_small(small, tmp_path / name, seed=5)
        results = json.loads((tmp_path / name / "results.json").read_text())
        del results["wall_s"]
        statements = (tmp_path / name / "statements" / "statements.cborseq").read_bytes()
        texts.append((results, statements, (tmp_path / name / "trace.csv").read_bytes(),
                      (tmp_path / name / "console.csv").read_text()))
    assert texts[0] == texts[1]
    # boards stamp with ticks of their own, and all of it comes out on the run's clock
    said = texts[0][-1].splitlines()
    assert {line for line in said if line.endswith(",start")} == {
        f"0.000,{one['name']},start" for one in texts[0][0]["elements"]}
    enrolled = [float(line.split(",")[0]) for line in said if "enrolled in zone" in line]
    assert len(enrolled) == len(texts[0][0]["elements"]) and min(enrolled) > 0
    assert max(enrolled) < small.phases[0].duration_s


def test_another_seed_gives_another_run(small: ScenarioModel, tmp_path: Path,
                                        micropython: Path) -> None:
    traces = []
    for seed in (5, 6):
        run_small(small, tmp_path / str(seed), seed=seed)
        traces.append((tmp_path / str(seed) / "trace.csv").read_bytes())
    assert traces[0] != traces[1]


@pytest.mark.parametrize("at_s", [12.0, 12.35, 12.71])
def test_faults_end_at_zero_in_time(small: ScenarioModel, tmp_path: Path, micropython: Path,
                                    at_s: float) -> None:
    events = (
        {"name": "silent", "kind": "bms_silent", "phase": "ramp", "at_s": at_s,
         "element": "wall", "duration_s": 8.0},
        {"name": "fire", "kind": "fire_alarm", "phase": "ramp", "at_s": at_s + 32, "zone": 1})
    run, results = run_small(_with_events(small, *events), tmp_path / "run")
    silent, fire = results["events"]
    assert 0 < silent["safe_after_ms"] <= 2000
    assert 0 < fire["safe_after_ms"] <= 300
    # the silence heals by itself, the alarm stays latched
    trace = run.recording.elements["wall"]
    begin = results["segments"][0]["from_s"]
    assert abs(trace.power_w[begin + int(at_s) + 4]) < 25
    assert abs(trace.power_w[begin + int(at_s) + 27]) > 100
    assert all(abs(power) < 25 for power in trace.power_w[begin + int(at_s) + 33:])
    wall = run.aggregator.inventory.get(run.aggregator.ports["wall"].element_id)
    assert wall.telemetry["trip_cause"] == codes.TRIP_FIRE


@pytest.mark.parametrize("at_s", [12.0, 12.02, 12.5, 12.99])
def test_a_lost_link_ends_at_zero_and_comes_back(small: ScenarioModel, tmp_path: Path,
                                                 micropython: Path, at_s: float) -> None:
    scenario = _with_events(small, {
        "name": "lost", "kind": "link_lost", "phase": "ramp", "at_s": at_s, "element": "wall",
        "duration_s": 8.0})
    run, results = run_small(scenario, tmp_path / "run")
    assert 0 < results["events"][0]["safe_after_ms"] <= 2000
    assert results["statements"]["failed"] == 0
    trace = run.recording.elements["wall"]
    begin = results["segments"][0]["from_s"]
    assert abs(trace.power_w[begin + 17]) < 25
    assert abs(trace.power_w[begin + 35]) > 100


def test_a_signed_release_ends_a_trip(small: ScenarioModel, tmp_path: Path,
                                      micropython: Path) -> None:
    events = (
        {"name": "fire", "kind": "fire_alarm", "phase": "ramp", "at_s": 20.0, "zone": 1},
        {"name": "release", "kind": "release", "phase": "release", "at_s": 2.0})
    run, results = run_small(_with_events(small, *events), tmp_path / "run")
    assert results["events"][1]["orders"] == 1
    states = [view.telemetry["state"] for view in run.aggregator.inventory.views()]
    assert states == [codes.STATE_IDLE] * 2
    assert results["statements"]["by_kind"]["release"] == 1
    # the trip, its release, and one boot of each element
    assert results["statements"]["by_kind"]["safety-event"] == 4


def test_a_killed_board_is_off_at_once_and_returns_by_itself(
        small: ScenarioModel, tmp_path: Path, micropython: Path) -> None:
    seen: dict[str, float] = {}

    def prepare(session: Session) -> None:
        clock, site = _clock(session), session._run.result.site
        rig = site.rig("wall")

        def kill() -> None:
            seen["before"] = rig.plant.pcc_w
            rig.board._process.kill()
            rig.board._process.wait()

        clock.call_at(45_000, kill)

        def look() -> None:
            rig.plant.advance(clock.now_ms)
            seen["after"] = rig.plant.pcc_w

        clock.call_at(45_300, look)
        clock.call_at(70_000, lambda: seen.update(later=rig.plant.pcc_w))

    _, results = run_small(small, tmp_path / "run", change=prepare)
    assert abs(seen["before"]) > 100
    assert abs(seen["after"]) < 25
    assert abs(seen["later"]) > 100
    wall = next(one for one in results["elements"] if one["name"] == "wall")
    assert wall["restarts"] == 1
    # the chain on its flash goes on where it was cut
    assert results["statements"]["failed"] == 0


def _hostile_frames(element_id: bytes, rng: random.Random) -> list[bytes]:
    """Return frames that must change nothing: garbage, forged, unauthenticated, oversized."""
    setpoint = codec.encode_message(schema.SETPOINT, {
        "dispatch_id": 1, "sequence": 2**32 - 1, "power_mw": 2_000_000, "service": 1,
        "start_unix_ms": 1_767_225_700_000, "lease_ms": 5000})
    trip = codec.encode_message(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 0})
    grant = codec.encode_message(schema.ENROL_GRANT, {
        "credential": b"x" * 200, "issuer": bytes(100), "operator": bytes(100),
        "life_safety": bytes(100)})
    frames = [encode_frame(one) for one in (setpoint, trip, grant)]
    frames += [rng.randbytes(rng.randint(1, 300)) for _ in range(40)]
    frames += [b"\x01" * 5000 + b"\x00", b"\x00" * 50, encode_frame(b"\xd0\x83")]
    return frames


def test_a_hostile_link_changes_nothing_and_is_counted(small: ScenarioModel, tmp_path: Path,
                                                       micropython: Path) -> None:
    rng = random.Random(4)
    captured: list[bytes] = []

    def prepare(session: Session) -> None:
        clock, site = _clock(session), session._run.result.site
        rig = site.rig("wall")
        put = rig.to_board.put

        def tapped(data: bytes, now_ms: int) -> None:
            captured.append(data)
            put(data, now_ms)

        rig.to_board.put = tapped

        def attack() -> None:
            frames = _hostile_frames(rig.element_id or bytes(8), rng)
            frames += captured[-30:]  # replays of true frames
            rng.shuffle(frames)
            for frame in frames:
                put(frame, clock.now_ms)

        for at_ms in range(35_000, 80_000, 15_000):
            clock.call_at(at_ms, attack)

    run, results = run_small(small, tmp_path / "run", change=prepare)
    view = run.aggregator.inventory.get(run.aggregator.ports["wall"].element_id)
    assert view.telemetry["dropped_count"] > 100
    assert view.telemetry["trip_cause"] == codes.TRIP_NONE
    assert results["statements"]["failed"] == 0
    ramp = next(one for one in results["segments"] if one["name"] == "ramp")
    assert ramp["e1_pct"] < 6  # frames behind garbage on the wire are late, never wrong
    wall = next(one for one in results["elements"] if one["name"] == "wall")
    assert wall["restarts"] == 0


@pytest.mark.xdist_group("waiting")
def test_the_real_clock_runs_the_same_firmware(small: ScenarioModel, tmp_path: Path,
                                               micropython: Path) -> None:
    phases = [phase.model_copy(update={"duration_s": seconds})
              for phase, seconds in zip(small.phases, (20, 48, 10), strict=True)]
    policies: list[int] = []

    def change(session: Any) -> None:
        rigs = session._run.result.site.rigs
        _clock(session).call_at(15_000, lambda: policies.extend(
            os.sched_getscheduler(rig.board._process.pid) for rig in rigs))

    before = os.sched_getscheduler(0)
    _, results = run_small(small.model_copy(update={"phases": phases}), tmp_path / "run",
                           clock="real", change=change)
    permitted = scheduling_of("real") == REAL_TIME
    assert set(policies) == {os.SCHED_RR if permitted else before}
    assert os.sched_getscheduler(0) == before
    ramp = next(one for one in results["segments"] if one["name"] == "ramp")
    assert ramp["e1_pct"] < 10
    assert results["statements"]["failed"] == 0
    assert results["statements"]["by_kind"]["record"] >= 12
    assert results["clock"] == "real" and results["simulation"] is True
    assert results["clock_error_ms"] >= 1 and "monotonic" in results["clock_error_source"]
    assert results["rig"]["kind"] == "real-time bench"
    assert results["rig"]["host"]["scheduling"] == scheduling_of("real")
