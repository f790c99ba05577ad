"""Every kind of power stage on the bench: real firmware, its line, its plant, its faults."""

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from element.power import base as faults
from element.protocol import codes
from hil.bench.rig import Rig
from hil.bench.session import Session
from hil.scenarios.load import load_scenario
from hil.scenarios.model import EventModel, ScenarioModel

from .conftest import run_small

KINDS = ("converter", "bms_fets", "relay", "sunspec")
REGULATED = ("converter", "sunspec")
FULL_MS = 45_000  # the ramp has power in it
LOOK_MS = 10


def scenario(tmp_path: Path, kind: str, alone: bool = True, **changes: Any) -> ScenarioModel:
    """Return a minute of ramp for one element; with company it is the building that follows."""
    rating_w, current_a = (2500, 60) if kind in REGULATED else (500, 20)
    company = "" if alone else """
  - {name: other, kind: converter, chemistry: LFP, series_count: 16, capacity_ah: 100,
     rating_w: 2500, zone: 2, current_a_max: 60, cell_mv_min: 2800, cell_mv_max: 3600}"""
    power_kw = 0.9 * rating_w / 1000 if alone else 2.8
    path = tmp_path / "stage.yaml"
    path.write_text(f"""\
scenario: stage
description: One stage.
record_interval_s: 10
elements:
  - {{name: wall, kind: {kind}, chemistry: LFP, series_count: 16, capacity_ah: 100,
     rating_w: {rating_w}, zone: 1, current_a_max: {current_a}, cell_mv_min: 2800,
     cell_mv_max: 3600}}{company}
phases:
  - {{name: discovery, signal: idle, duration_s: 30}}
  - {{name: ramp, signal: ramp, duration_s: 60, power_kw: {power_kw}}}
  - {{name: release, signal: idle, duration_s: 20}}
""", encoding="utf-8")
    return load_scenario(path).model_copy(update=changes)


@dataclass
class Watched:
    """What a rig did, looked at every LOOK_MS of a window."""

    rows: list[tuple[int, bool, float, bool]] = field(default_factory=list)

    def after(self, at_ms: int, holds: Callable[[tuple[int, bool, float, bool]], bool]) -> int:
        """Return how long after at_ms something held for good."""
        last = max((row[0] for row in self.rows if row[0] >= at_ms and not holds(row)),
                   default=at_ms - LOOK_MS)
        assert last < self.rows[-1][0], "never"
        return last + LOOK_MS - at_ms

    def off_ms(self, at_ms: int) -> int:
        """Return when power was below 1 % of a 2.5 kW rating for good."""
        return self.after(at_ms, lambda row: abs(row[2]) < 25.0)

    def open_ms(self, at_ms: int) -> int:
        """Return when both FETs were open for good."""
        return self.after(at_ms, lambda row: not row[3])


class Prepared:
    """Break something at a moment, and watch what comes of it."""

    def __init__(self, do: Callable[[Rig], None], at_ms: int = FULL_MS, watch_ms: int = 6000,
                 first: Callable[[Rig], None] | None = None) -> None:
        self.seen = Watched()
        self.at_ms = at_ms
        self.rig: Any = None
        self.before_w = 0.0
        self._do = do
        self._watch_ms = watch_ms
        self._first = first

    def __call__(self, session: Session) -> None:
        clock = session._run._clock
        rig = self.rig = session._run.result.site.rig("wall")
        if self._first is not None:
            self._first(rig)

        def act() -> None:
            rig.plant.advance(clock.now_ms)
            self.before_w = rig.plant.pcc_w
            self._do(rig)

        def look() -> None:
            rig.plant.advance(clock.now_ms)
            self.seen.rows.append((clock.now_ms, rig.outputs.enable, rig.plant.pcc_w,
                                   rig.bms.fet_charge or rig.bms.fet_discharge))

        clock.call_at(self.at_ms, act)
        for now_ms in range(self.at_ms, self.at_ms + self._watch_ms, LOOK_MS):
            clock.call_at(now_ms, look)


def telemetry(run: Any) -> dict[str, Any]:
    """Return what the element said last."""
    found: dict[str, Any] = run.aggregator.inventory.get(
        run.aggregator.ports["wall"].element_id).telemetry
    return found


def ramp_e1(results: dict[str, Any]) -> float:
    """Return the tracking error of the ramp, percent."""
    return float(next(one for one in results["segments"] if one["name"] == "ramp")["e1_pct"])


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_discovered_follows_and_ends_at_zero(tmp_path: Path, micropython: Path,
                                                   kind: str) -> None:
    prepared = Prepared(lambda rig: None, at_ms=95_000, watch_ms=10)
    run, results = run_small(scenario(tmp_path, kind, alone=kind in REGULATED), tmp_path / "run",
                             change=prepared)
    assert ramp_e1(results) < 3.0
    wall = next(one for one in results["elements"] if one["name"] == "wall")
    assert wall["restarts"] == 0 and wall["setpoints_accepted"] >= 25
    assert results["statements"]["failed"] == 0 and telemetry(run)["trip_cause"] == 0
    assert max(abs(power) for power in run.recording.elements["wall"].power_w) > 400
    assert prepared.seen.rows[-1][2] == 0.0 and not prepared.seen.rows[-1][3]


@pytest.mark.parametrize("kind", KINDS)
def test_a_silent_bms_ends_at_zero(tmp_path: Path, micropython: Path, kind: str) -> None:
    event = EventModel(name="silent", kind="bms_silent", phase="ramp", at_s=15.35,
                       element="wall", duration_s=6.0)
    prepared = Prepared(lambda rig: None, at_ms=45_300, watch_ms=20)
    run, results = run_small(scenario(tmp_path, kind, events=[event]), tmp_path / "run",
                             change=prepared)
    assert abs(prepared.before_w) > 100
    assert 0 < results["events"][0]["safe_after_ms"] <= 2000
    assert telemetry(run)["trip_cause"] == codes.TRIP_NONE


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_board_leaves_no_power(tmp_path: Path, micropython: Path, kind: str) -> None:
    def kill(rig: Rig) -> None:
        rig.board._process.kill()  # type: ignore[union-attr]
        rig.board._process.wait()  # type: ignore[union-attr]

    prepared = Prepared(kill, watch_ms=1400)
    run_small(scenario(tmp_path, kind), tmp_path / "run", change=prepared)
    assert abs(prepared.before_w) > 100 and prepared.seen.off_ms(FULL_MS) <= 300


def test_an_inverter_without_its_board_stops_by_itself(tmp_path: Path, micropython: Path) -> None:
    """The contactor has welded and the board is dead: the reversion timer is what is left."""
    def kill(rig: Rig) -> None:
        rig.plant.ignores_enable = True
        rig.board._process.kill()  # type: ignore[union-attr]
        rig.board._process.wait()  # type: ignore[union-attr]

    prepared = Prepared(kill, watch_ms=2500)
    run_small(scenario(tmp_path, "sunspec"), tmp_path / "run", change=prepared)
    assert abs(prepared.before_w) > 1000 and 300 < prepared.seen.off_ms(FULL_MS) <= 2000
    assert prepared.rig.stage.reverted_count >= 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_dead_stage_is_not_actuated(tmp_path: Path, micropython: Path, kind: str) -> None:
    def die(rig: Rig) -> None:
        rig.plant.dead = True

    prepared = Prepared(die)
    run, _ = run_small(scenario(tmp_path, kind), tmp_path / "run", change=prepared)
    assert abs(prepared.before_w) > 100
    took_ms = prepared.seen.after(FULL_MS, lambda row: not row[1])
    assert took_ms <= 2000
    assert telemetry(run)["trip_cause"] == codes.TRIP_NOT_ACTUATED


def test_a_relay_that_stays_open_is_not_actuated(tmp_path: Path, micropython: Path) -> None:
    def first(rig: Rig) -> None:
        rig.plant.stuck_open = True  # type: ignore[attr-defined]

    prepared = Prepared(lambda rig: None, at_ms=31_000, watch_ms=20_000, first=first)
    run, _ = run_small(scenario(tmp_path, "relay"), tmp_path / "run", change=prepared)
    on_ms = next(row[0] for row in prepared.seen.rows if row[1])
    assert prepared.seen.after(on_ms, lambda row: not row[1]) <= 2000
    assert telemetry(run)["trip_cause"] == codes.TRIP_NOT_ACTUATED


def test_a_welded_relay_opens_the_fets(tmp_path: Path, micropython: Path) -> None:
    def weld(rig: Rig) -> None:
        rig.plant.welded = True  # type: ignore[attr-defined]

    prepared = Prepared(weld, watch_ms=25_000)
    run, _ = run_small(scenario(tmp_path, "relay"), tmp_path / "run", change=prepared)
    rows = prepared.seen.rows
    off_ms = next(row[0] for row in rows if not row[1] and abs(row[2]) > 100)
    assert prepared.seen.open_ms(off_ms) <= 2000 and prepared.seen.off_ms(off_ms) <= 2000
    assert telemetry(run)["trip_cause"] == codes.TRIP_NOT_ACTUATED


@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_that_ignores_its_enable_is_cut_off(tmp_path: Path, micropython: Path,
                                                    kind: str) -> None:
    """The setpoints end; what runs on is stopped by the FETs, or by the inverter's own zero."""
    def break_off(rig: Rig) -> None:
        rig.plant.ignores_enable = True
        rig.set_link_cut(True)

    prepared = Prepared(break_off, watch_ms=8000)
    run_small(scenario(tmp_path, kind), tmp_path / "run", change=prepared)
    off_ms = next(row[0] for row in prepared.seen.rows if not row[1])
    assert prepared.seen.off_ms(off_ms) <= 2000


# ---- the DC link ----


def test_the_link_is_charged_before_the_fets_close(tmp_path: Path, micropython: Path) -> None:
    prepared = Prepared(lambda rig: None, at_ms=29_900, watch_ms=2000)
    run_small(scenario(tmp_path, "converter"), tmp_path / "run", change=prepared)
    link = prepared.rig.plant.link
    assert 0.0 < link.inrush_a_max < 300.0
    closed_ms = next(row[0] for row in prepared.seen.rows if row[3])
    assert 100 <= closed_ms - 30_000 <= 500


def test_a_broken_precharge_closes_nothing(tmp_path: Path, micropython: Path) -> None:
    def first(rig: Rig) -> None:
        rig.plant.link.precharge_open = True  # type: ignore[attr-defined]

    prepared = Prepared(lambda rig: None, at_ms=30_000, watch_ms=5000, first=first)
    run, _ = run_small(scenario(tmp_path, "converter"), tmp_path / "run", change=prepared)
    assert not any(row[1] or row[3] for row in prepared.seen.rows)
    assert prepared.rig.plant.link.inrush_a_max == 0.0
    assert telemetry(run)["trip_cause"] == codes.TRIP_STAGE
    console = (tmp_path / "run" / "boards" / "wall" / "console.log").read_text()
    assert f"power stage: {faults.FAULT_PRECHARGE}" in console


def test_a_welded_fet_is_seen_at_rest(tmp_path: Path, micropython: Path) -> None:
    def first(rig: Rig) -> None:
        rig.plant.fet_welded = True  # type: ignore[attr-defined]

    quiet = scenario(tmp_path, "converter")
    phases = [phase.model_copy(update={"duration_s": seconds})
              for phase, seconds in zip(quiet.phases, (80, 48, 10), strict=True)]
    prepared = Prepared(lambda rig: None, at_ms=79_000, watch_ms=20, first=first)
    run, _ = run_small(quiet.model_copy(update={"phases": phases}), tmp_path / "run",
                       change=prepared)
    assert telemetry(run)["trip_cause"] == codes.TRIP_STAGE
    with (tmp_path / "run" / "console.csv").open(newline="") as file:
        (told,) = [row for row in csv.DictReader(file) if
                   f"power stage: {faults.FAULT_LINK_AT_REST}" in row["text"]]
    assert told["element"] == "wall" and 0 < float(told["t_s"]) < 80


# ---- the inverter's line ----


@pytest.mark.parametrize("spoil", ["silent", "failed"])
def test_an_inverter_that_fails_or_falls_silent_trips(tmp_path: Path, micropython: Path,
                                                      spoil: str) -> None:
    prepared = Prepared(lambda rig: setattr(rig.stage, spoil, True))
    run, _ = run_small(scenario(tmp_path, "sunspec"), tmp_path / "run", change=prepared)
    assert abs(prepared.before_w) > 1000 and prepared.seen.off_ms(FULL_MS) <= 2000
    assert telemetry(run)["trip_cause"] == codes.TRIP_STAGE


def test_a_bad_line_is_ridden_through(tmp_path: Path, micropython: Path) -> None:
    def spoil(rig: Any) -> None:
        rig.stage.faults.mode = "flip"
        rig.stage.faults.probability = 0.1

    prepared = Prepared(lambda rig: None, first=spoil)
    run, results = run_small(scenario(tmp_path, "sunspec"), tmp_path / "run", change=prepared)
    assert telemetry(run)["trip_cause"] == codes.TRIP_NONE and ramp_e1(results) < 4.0
    assert prepared.rig.stage.faults.hit_count > 50


@pytest.mark.whole
@pytest.mark.xdist_group("waiting")
def test_real_time_has_a_third_line(tmp_path: Path, micropython: Path) -> None:
    short = scenario(tmp_path, "sunspec")
    phases = [phase.model_copy(update={"duration_s": seconds})
              for phase, seconds in zip(short.phases, (21, 48, 6), strict=True)]
    run, results = run_small(short.model_copy(update={"phases": phases}), tmp_path / "run",
                             clock="real")
    assert ramp_e1(results) < 10 and telemetry(run)["trip_cause"] == codes.TRIP_NONE
    assert max(abs(power) for power in run.recording.elements["wall"].power_w) > 1000
