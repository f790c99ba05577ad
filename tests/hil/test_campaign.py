"""Campaigns: drawing, disturbed lines, torn flash, invariants, shrinking, pools, replay."""

import heapq
import json
import os
import shutil
from dataclasses import replace
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from element.protocol import schema
from hil.bench.session import find_micropython
from hil.bench.site import Paths
from hil.campaign import campaign as campaign_module
from hil.campaign import pool
from hil.campaign.campaign import INVARIANTS, Campaign, violation_document
from hil.campaign.case import Case, draw_case, load_case
from hil.campaign.catalogue import KINDS, Fault, draw_faults
from hil.campaign.flash import FlashWatch
from hil.campaign.image import image_paths, own_image
from hil.campaign.invariants import ALARM_MS_MAX, BACKLOG_MS, TICK_MS, Violation, Watch
from hil.campaign.shrink import RUNS_MAX, shrink
from hil.campaign.slots import Slots
from hil.campaign.trial import Outcome, Trial
from hil.campaign.wires import DisturbedWire
from hil.scenarios.load import find_scenario, load_scenario
from hil.scenarios.model import PhaseModel, ScenarioModel
from host_tools.cli.main import app

RUNNER = CliRunner()


def small() -> ScenarioModel:
    """Return the campaign's scenario with two of its elements, and short."""
    scenario = load_scenario(find_scenario("campaign"))
    wall, cabinet = scenario.elements[0], scenario.elements[4]
    return scenario.model_copy(update={
        "elements": [wall.model_copy(update={"count": 1, "zone": 1}),
                     cabinet.model_copy(update={"name": "box", "count": 1, "zone": 2,
                                                "kind": "bms_fets", "bms": "jbd",
                                                "rating_w": 500})],
        "phases": [PhaseModel(name="discovery", signal="idle", duration_s=20),
                   PhaseModel(name="ramp", signal="ramp", duration_s=50, power_kw=2)]})


def case_with(*faults: Fault, seed: int = 3) -> Case:
    """Return a small case with these faults."""
    return draw_case(small(), seed).with_faults(faults)


# drawing


def test_a_seed_draws_the_same_case_every_time_and_another_seed_another_one():
    """Plant, latencies and faults follow from the seed."""
    scenario = load_scenario(find_scenario("campaign"))
    first, again, other = (draw_case(scenario, seed).as_dict() for seed in (7, 7, 8))
    assert first == again
    assert first["scenario"]["elements"] != other["scenario"]["elements"]
    assert first["faults"] != other["faults"]
    assert first["latencies_ms"] != other["latencies_ms"]


def test_every_fault_of_the_catalogue_is_drawn_within_its_ranges():
    """Over many seeds nothing of the catalogue is left out, and nothing lies beyond the run."""
    scenario = load_scenario(find_scenario("campaign"))
    kinds = {name: model.kind for model in scenario.elements for name in model.names()}
    seen = set()
    for seed in range(400):
        for fault in draw_faults(Random(seed), kinds, 25_000, 140_000):
            kind = KINDS[fault.kind]
            seen.add(fault.kind)
            assert 25_000 <= fault.at_ms < fault.end_ms + 1 <= 140_001
            assert fault.duration_ms <= kind.duration_ms[1]
            assert (fault.element is not None) == (kind.scope == "element")
            if kind.stages:
                assert kinds[str(fault.element)] in kind.stages
            assert Fault.from_dict(json.loads(json.dumps(fault.as_dict()))) == fault
    assert seen == set(KINDS)


@pytest.mark.parametrize("change", [
    {"kind": "gremlins"}, {"at_ms": -1}, {"duration_ms": -1}, {"element": None},
    {"colour": "red"}])
def test_what_is_no_fault_is_refused(change):
    """A document from elsewhere is checked."""
    fields = Fault("bms_silent", 30_000, 500, "wall").as_dict() | change
    with pytest.raises(ValueError, match=r"fault|for one"):
        Fault.from_dict(fields)


def test_a_case_survives_its_document(tmp_path):
    """What is written can be read back, and what is no case is named."""
    case = case_with(Fault("link_lost", 30_000, 4000, "wall"))
    assert Case.from_dict(json.loads(json.dumps(case.as_dict()))) == case
    for text, why in (("{", "not JSON"), ("{}", "holds no case"),
                      (json.dumps({"case": {"version": 1}}), "not a case"),
                      (json.dumps({"case": case.as_dict() | {"version": 99}}), "version 99")):
        path = tmp_path / "x.json"
        path.write_text(text)
        with pytest.raises(ValueError, match=why):
            load_case(path)
    stranger = case.as_dict()
    stranger["faults"][0]["element"] = "nobody"
    with pytest.raises(ValueError, match="nobody"):
        Case.from_dict(stranger)


# several faults of one kind on one element


@given(st.data())
def test_of_several_faults_at_once_each_lasts_until_its_own_end(data):
    """In whatever order they begin and end: the latest is in force, and nothing is left."""
    target, slots = SimpleNamespace(gain=0.5, on=False), Slots()
    going = []
    for value in data.draw(st.lists(st.integers(1, 9), max_size=8)):
        going.append((value, slots.until_end(target, "gain", value), slots.while_any(
            "line", lambda: setattr(target, "on", True), lambda: setattr(target, "on", False))))
        while going and data.draw(st.booleans()):
            _, *ends = going.pop(data.draw(st.integers(0, len(going) - 1)))
            for end in ends:
                end()
        assert target.gain == (going[-1][0] if going else 0.5)
        assert target.on == bool(going) and slots.rest(target, "gain") == 0.5
    while going:
        _, *ends = going.pop(0)
        for end in ends:
            end()
    assert target.gain == 0.5 and not target.on


def test_overlapping_faults_leave_a_world_as_it_was(tmp_path):
    """A gain twice, two holds of one line, two cuts: the last one to end undoes it."""
    faults = [Fault(kind, at_ms, 2000, element, value) for kind, element, value in (
        ("gain_error", "wall", 1.2), ("stale", "wall", 0.0), ("broker_gone", None, 0.0),
        ("link_lost", "box", 0.0), ("bms_corrupt", "box", 3.5), ("panel_killed", None, 0.0),
        ("disk_full", None, 0.0)) for at_ms in (1000, 2500)]
    trial = Trial(case_with(*faults), tmp_path / "case")
    injector, clock, wall, box = trial._injector, trial.clock, *trial.site.rigs
    gain = wall.plant.gain
    injector.schedule(tuple(faults))
    due = {}
    for now_ms in (1000, 2500, 3000, 4500):
        while clock._calls and clock._calls[0][0] <= now_ms:
            clock.now_ms, _, call = heapq.heappop(clock._calls)
            call()
        due[now_ms] = (wall.plant.gain, wall.to_board.holding, box.to_board.cut,
                       box.bms.fault_mode is not None, trial.panel._down,
                       trial.panel._disk_full, "link_lost" in trial.watch.states["box"].faults)
    faulty = (gain * 1.2, True, True, True, True, True, True)
    assert due == {1000: faulty, 2500: faulty, 3000: faulty,
                   4500: (gain, False, False, False, False, False, False)}
    trial.panel.close()


# lines and flash


def arrivals(wire: DisturbedWire, until_ms: int = 20_000) -> list[tuple[int, bytes]]:
    """Return what arrives, and when."""
    out = []
    while (at_ms := wire.due_ms()) is not None and at_ms <= until_ms:
        out.append((at_ms, wire.take(at_ms)))
    return out


def test_a_line_delays_doubles_reorders_corrupts_holds_and_loses():
    """Each disturbance does what it says, and nothing else does."""
    wire = DisturbedWire(Random(1), 5)
    wire.put(b"abc", 100)
    assert arrivals(wire) == [(106, b"abc")]
    wire.delay_ms = 300
    wire.put(b"abc", 1000)
    assert arrivals(wire) == [(1306, b"abc")]
    wire.delay_ms, wire.duplicates = 0, 1.0
    wire.put(b"abc", 2000)
    assert [data for _, data in arrivals(wire)] in ([b"abc", b"abc"], [b"abcabc"])
    wire.duplicates, wire.corrupts = 0, 1.0
    wire.put(b"abc", 3000)
    (_, damaged), = arrivals(wire)
    assert damaged != b"abc" and len(damaged) == 3
    wire.corrupts, wire.reorders = 0, 1.0
    wire.put(b"abc", 4000)
    assert arrivals(wire)[0][0] >= 4020
    wire.reorders = 0
    wire.hold(True, 5000)
    wire.put(b"one", 5000)
    wire.put(b"two", 5500)
    assert arrivals(wire) == []
    wire.hold(False, 9000)
    assert b"".join(data for _, data in arrivals(wire)) == b"onetwo"
    wire.put(b"abc", 10_000)
    wire.set_cut(True)
    wire.put(b"abc", 10_001)
    assert arrivals(wire) == []


def test_only_whole_genuine_frames_are_reported_and_a_dead_sender_sends_nothing():
    """Tags follow frames; injected, corrupted and retracted ones have none."""
    wire = DisturbedWire(Random(1), 0)
    seen = []
    wire.on_arrival = lambda tag, now_ms: seen.append(tag)
    wire.tag = "first"
    wire.put(b"abc", 0)
    wire.inject(b"evil", 1)
    wire.corrupts = 1.0
    wire.tag = "damaged"
    wire.put(b"abc", 10)
    wire.corrupts = 0
    wire.tag = "retracted"
    wire.put(b"abc", 20)
    wire.retract(20)
    wire.hold(True, 30)
    wire.tag = "held"
    wire.put(b"abc", 30)
    wire.retract(30)
    wire.hold(False, 31)
    assert b"evil" in b"".join(data for _, data in arrivals(wire))
    assert seen == ["first"]


def test_a_write_is_torn_where_it_was(tmp_path):
    """An append is cut short, a rename is undone beside its part, a rewrite is a beginning."""
    log, latch, usage = (tmp_path / name for name in ("log", "latch", "usage"))
    for path in (log, latch, usage):
        path.write_bytes(b"old-")
    (tmp_path / "console.log").write_text("said")
    watch = FlashWatch(tmp_path)
    assert watch.tear(0.5) is None
    (tmp_path / "console.log").write_text("said more")
    assert watch.tear(0.5) is None  # the console is on no flash
    with log.open("ab") as file:
        file.write(b"12345678")
    assert watch.tear(0.5) == "log" and log.read_bytes() == b"old-1234"
    watch = FlashWatch(tmp_path)
    (tmp_path / "next").write_bytes(b"new-content")
    os.replace(tmp_path / "next", latch)
    assert watch.tear(0.3) == "latch"
    assert latch.read_bytes() == b"old-" and (tmp_path / "latch.new").read_bytes() == b"new"
    watch = FlashWatch(tmp_path)
    usage.write_bytes(b"NEW!")
    assert watch.tear(0.25) == "usage" and usage.read_bytes() == b"N"


# invariants: each one can fail


class World:
    """A watch and one element whose plant is what a test says."""

    def __init__(self, kind="converter", exact=True):
        profile = {"cell_mv_min": 2800, "cell_mv_max": 3600, "current_ma_discharge_max": 60_000,
                   "on_ms_min": 0 if kind == "converter" else 3000}
        self.pack = SimpleNamespace(current_a=0.0, series_count=16, cells_v=[3.3] * 16,
                                    chemistry=SimpleNamespace(nominal_v=3.2))
        self.pack.cell_voltages_v = lambda: self.pack.cells_v
        self.rig = SimpleNamespace(
            name="wall", kind=kind, rating_w=2500, hung=False,
            outputs=SimpleNamespace(enable=False),
            plant=SimpleNamespace(pcc_w=0.0, pack=self.pack))
        self.found: list[Violation] = []
        site = SimpleNamespace(rigs=[self.rig], profiles={"wall": profile})
        self.watch = Watch(site, 5500, exact, self.found.append)
        self.watch.heard("wall", 0)

    def lend(self, at_ms, lease_ms=1500, power_mw=1_000_000):
        """Let a setpoint arrive."""
        self.watch.arrived("wall", (schema.SETPOINT, {
            "power_mw": power_mw, "start_unix_ms": at_ms, "lease_ms": lease_ms}), at_ms, at_ms)

    def at(self, now_ms, enable=True, power_w=1000.0, current_a=20.0, heard=True):
        """Look at it in a state; returns what has been violated so far."""
        self.rig.outputs.enable, self.rig.plant.pcc_w = enable, power_w
        self.pack.current_a = current_a
        if heard:
            self.watch.heard("wall", now_ms)
        self.watch.look(self.rig, now_ms)
        return [one.invariant for one in self.found]


def test_power_ends_with_its_lease():
    """Within the ramp and a tick after the end; then it is a violation, on the pin and beyond."""
    world = World()
    world.lend(1000)
    assert world.at(2500) == []
    assert world.at(2500 + 200 + TICK_MS) == []
    assert world.at(2500 + 201 + TICK_MS) == ["enabled_without_lease"]
    world = World()
    world.lend(1000)
    assert world.at(2880, enable=False) == []
    assert world.at(2881, enable=False) == ["power_without_lease"]


def test_a_lease_is_as_long_as_it_can_be_where_clocks_differ():
    """Only then; and never longer than from the setpoint's arrival."""
    world = World(exact=False)
    world.lend(1000)
    end_ms = 6500 + BACKLOG_MS
    assert world.at(end_ms + 200) == []
    assert world.at(end_ms + 201 + TICK_MS) == ["enabled_without_lease"]


def test_a_setpoint_of_zero_lends_no_power():
    """The pin may be on, nothing may flow."""
    world = World()
    world.lend(1000, power_mw=0)
    assert world.at(1500, power_w=0.0, current_a=0.2) == []
    assert world.at(1500) == ["power_without_lease"]


def test_a_stage_that_only_switches_stays_on_for_its_shortest_time():
    """At a zero that lives, for no longer than since power was last asked; and not without one."""
    after_ms = 200 + TICK_MS + 150
    world = World("bms_fets")
    world.lend(1000)
    for at_ms in range(2000, 9000, 1000):
        world.lend(at_ms, power_mw=0)
    assert world.at(2500 + 3000 + after_ms) == []
    assert world.at(2501 + 3000 + after_ms) == ["power_without_lease"]
    world = World("bms_fets")
    world.lend(1000)
    world.lend(2000, power_mw=0)
    assert world.at(3500 + after_ms, enable=False) == []
    assert world.at(3501 + after_ms, enable=False) == ["power_without_lease"]


def test_after_a_trip_nothing_flows_until_a_release():
    """The first bound counts; a release ends it; old telemetry does not begin it again."""
    world = World()
    for at_ms in range(0, 60_000, 1000):
        world.lend(at_ms)
    world.watch.must_be_off("wall", 5000 + ALARM_MS_MAX, "fire alarm")
    assert world.at(5300) == []
    assert world.at(5421) == ["enabled_after_trip"]
    assert world.at(5481, enable=False) == ["enabled_after_trip", "power_after_trip"]
    world.found.clear()
    world.watch.arrived("wall", (schema.RELEASE, {}), 9000, 9000)
    world.watch.told_trip("wall", 9500)
    assert world.at(12_000) == []
    world.watch.told_trip("wall", 30_000)
    assert world.at(30_130, power_w=0.0, current_a=0.0) == ["enabled_after_trip"]


def test_a_silent_bms_ends_power_in_two_seconds():
    """Counted from its last word."""
    world = World()
    for at_ms in range(0, 20_000, 1000):
        world.lend(at_ms)
    assert world.at(10_000) == []
    assert world.at(12_180, heard=False) == []
    assert world.at(12_181, heard=False) == ["power_on_stale_reading"]


def test_nothing_is_energised_before_the_first_reading():
    """A board that has started has to hear from its BMS first."""
    world = World()
    world.lend(1000)
    world.watch.started("wall", 1200)
    assert world.at(1300, heard=False) == ["energised_before_first_reading"]


def test_cells_and_current_have_their_times():
    """Longer than the bound, and in the direction that makes it worse."""
    world = World()
    for at_ms in range(0, 30_000, 1000):
        world.lend(at_ms)
    world.pack.cells_v = [3.3] * 15 + [2.7]
    assert world.at(10_000) == []
    assert world.at(12_600) == ["cell_outside_limits"]
    world.found.clear()
    assert world.at(20_000, power_w=-1000, current_a=-20.0) == []  # charging is what it needs
    assert world.at(20_600) == []
    assert world.at(21_000, power_w=0.0, current_a=0.0) == []
    assert world.at(24_000) == []  # a rest between two moments: neither is long
    world.found.clear()
    assert world.at(20_100, current_a=80.0) == []
    assert world.at(20_500, current_a=80.0) == []
    assert "current_above_limit" in world.at(20_601, current_a=80.0)


def test_two_welded_paths_are_judged_by_the_pin_alone():
    """Nothing can stop them; the pin has to be off all the same."""
    world = World("relay")
    world.watch.states["wall"].faults |= {"fets_welded", "contacts_welded"}
    assert world.at(9000, enable=False) == []
    assert world.at(9000) == ["enabled_without_lease"]


# shrinking


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 5), min_size=1, max_size=3), st.integers(200, 9000))
def test_shrinking_finds_the_smallest_schedule(culprits, needed_ms):
    """Whatever subset of the faults is needed, and for how long, at least to a factor of two."""
    names = [f"wall-{number}" for number in range(6)]
    faults = tuple(Fault("bms_silent", 30_000 + 100 * number, 20_000, name)
                   for number, name in enumerate(names))
    wanted = {names[index] for index in culprits}
    runs = 0

    def run(case: Case) -> Outcome:
        nonlocal runs
        runs += 1
        long_enough = {one.element for one in case.faults if one.duration_ms >= needed_ms}
        violation = Violation("power_without_lease", "wall-0", 31_000, "") \
            if wanted <= long_enough else None
        return Outcome(1, violation=violation)

    case = case_with(*faults)
    best, outcome = shrink(case, run(case), run)
    assert outcome.violation is not None and runs <= RUNS_MAX + 1
    assert {one.element for one in best.faults} == wanted
    if runs <= RUNS_MAX:
        assert all(needed_ms <= one.duration_ms < max(2 * needed_ms, 400) for one in best.faults)


def test_shrinking_keeps_to_the_invariant_that_was_broken():
    """A schedule that breaks something else is another finding."""
    faults = (Fault("bms_silent", 30_000, 500, "wall"), Fault("bms_late", 30_000, 500, "wall"))

    def run(case: Case) -> Outcome:
        name = "power_after_trip" if len(case.faults) == 2 else "conservation"
        return Outcome(1, violation=Violation(name, None, 31_000, ""))

    best, outcome = shrink(case_with(*faults), run(case_with(*faults)), run)
    assert len(best.faults) == 2 and outcome.violation.invariant == "power_after_trip"


# the real thing


def test_a_case_runs_the_same_every_time_and_on_either_interpreter(tmp_path):
    """Runs of a case with faults of many rooms give the same outcome, and nothing breaks."""
    case = case_with(
        Fault("panel_killed", 26_000, 3000), Fault("disk_full", 32_000, 5000),
        Fault("board_reset", 38_000, 0, "wall"), Fault("power_cut_in_write", 41_000, 9000, "box",
                                                       0.5),
        Fault("replayed", 44_000, 3000, "wall"), Fault("forged", 45_000, 3000, "box"),
        Fault("fire_alarm", 52_000, 3000, None, 1.0), Fault("release", 56_000, 0))
    paths = image_paths(own_image())
    first, second, plain = (
        Trial(case, tmp_path / name, replace(paths, micropython=micropython)).run()
        for name, micropython in (("a", paths.micropython), ("b", paths.micropython),
                                  ("c", find_micropython())))
    assert first.as_dict() == second.as_dict() == plain.as_dict()
    assert first.violation is None
    assert first.simulated_s == 70 and first.setpoints > 20 and first.records > 0
    assert first.trips >= 1  # the alarm, or nothing was tested
    assert set(first.hits) >= {fault.kind for fault in case.faults}


@pytest.fixture(scope="module")
def careless(tmp_path_factory):
    """Return the paths of a firmware whose leases never end."""
    ours = Paths.of_checkout(find_micropython())
    root = tmp_path_factory.mktemp("careless")
    shutil.copytree(ours.firmware, root / "firmware")
    lease = root / "firmware" / "element" / "lease.py"
    text = lease.read_text()
    assert text.count("self._diff(now_ms, self._end_ms) >= 0") == 1
    lease.write_text(text.replace("self._diff(now_ms, self._end_ms) >= 0", "False"))
    return replace(ours, firmware=root / "firmware")


def test_a_planted_defect_is_found_shrunk_and_replayed(careless, tmp_path):
    """Leases that never end break an invariant; one lost link is all it takes; and exactly."""
    case = case_with(Fault("bms_soc_lie", 24_000, 9000, "box", 0.2),
                     Fault("link_lost", 30_000, 9000, "wall"),
                     Fault("link_duplicates", 31_000, 4000, "box", 0.5))

    def run(one: Case) -> Outcome:
        return Trial(one, tmp_path / "case", careless).run()

    found = run(case)
    assert found.violation is not None and found.violation.element == "wall"
    assert found.violation.invariant == "enabled_without_lease"
    best, outcome = shrink(case, found, run)
    assert [fault.kind for fault in best.faults] == ["link_lost"]
    assert best.faults[0].duration_ms <= 4500
    path = tmp_path / "violation.json"
    path.write_text(json.dumps(violation_document(best, outcome, case)))
    again, document = load_case(path)
    assert run(again).violation.as_dict() == document["violation"]
    # the checkout's own firmware holds where the careless one did not
    reply = RUNNER.invoke(app, ["hil", "replay", str(path), "--json"])
    assert reply.exit_code == 0, reply.output
    said = json.loads(reply.stdout)
    assert said["found"] is None and not said["same"]
    assert said["recorded"]["invariant"] == "enabled_without_lease"


def test_a_pool_and_a_cluster_give_what_one_process_gives():
    """In the order of the seeds, whoever ran them: two processes, two Dask workers."""
    from distributed import LocalCluster

    scenario, seeds = small(), range(21, 23)
    alone = [pool.run_seed(scenario.model_dump(mode="json"), seed).as_dict() for seed in seeds]
    assert [one["seed"] for one in alone] == [21, 22]
    assert [one.as_dict() for one in pool.in_processes(scenario, seeds, 2)] == alone
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        found = pool.on_cluster(scenario, seeds, cluster.scheduler_address)
        assert [one.as_dict() for one in found] == alone


def test_a_cluster_that_is_not_there_or_runs_other_code_is_refused(monkeypatch):
    """With what to do next."""
    monkeypatch.setattr(pool, "CONNECT_S", 1)
    with pytest.raises(pool.ClusterError, match="dask scheduler"):
        next(pool.on_cluster(small(), range(1), "tcp://127.0.0.1:1"))
    with pytest.raises(pool.ClusterError, match="no workers"):
        pool._same_code({}, "tcp://127.0.0.1:1")
    with pytest.raises(pool.ClusterError, match="runs commit abc"):
        pool._same_code({"w": "abc"}, "tcp://127.0.0.1:1")


def test_a_campaign_writes_down_what_it_found(tmp_path):
    """Summary, JUnit and a file a violation; a campaign that was stopped has not passed."""
    broken = Outcome(2, 30.0, Violation("conservation", None, 9000, "1 mW is missing"))
    campaign = Campaign(small(), range(1, 3), tmp_path, shrink=False)
    campaign.run(iter([Outcome(1, 70.0, hits={"bms_late": 2}), broken]), lambda one: None,
                 lambda runs, faults: None)
    summary = json.loads((tmp_path / "campaign.json").read_text())
    assert not summary["passed"] and not summary["stopped"]
    assert summary["simulated_s"] == 100 and summary["faults"]["bms_late"] == 2
    assert summary["violations"][0]["seed"] == 2
    assert load_case(tmp_path / "violation-2.json")[0].seed == 2
    junit = (tmp_path / "junit.xml").read_text()
    assert 'failures="1"' in junit and "seed 2: 1 mW is missing" in junit
    assert all(f'name="{name}"' in junit for name in INVARIANTS)
    stopped = Campaign(small(), range(1, 3), tmp_path)
    stopped.run(iter([Outcome(1)]), lambda one: None, lambda runs, faults: None)
    assert stopped.stopped and not stopped.passed
    assert not list(tmp_path.glob("violation-*"))


def test_a_campaign_that_is_killed_leaves_what_it_has_done(tmp_path, monkeypatch):
    """The summary is on disk while seeds still run, and says that not all have."""
    monkeypatch.setattr(campaign_module, "KEEP_S", 0.0)
    seen = []

    def told(outcome):
        if seen or outcome.seed > 1:
            seen.append(json.loads((tmp_path / "campaign.json").read_text()))

    Campaign(small(), range(1, 4), tmp_path).run(
        iter([Outcome(1), Outcome(2), Outcome(3)]), told, lambda runs, faults: None)
    assert [(one["seeds"], one["stopped"], one["passed"]) for one in seen] == [
        (1, True, False), (2, True, False)]
    assert json.loads((tmp_path / "campaign.json").read_text())["passed"]


def test_the_command_says_what_it_did_and_what_is_wrong(tmp_path):
    """A small campaign from a YAML file; and wrong input by name."""
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(small().model_dump(mode="json", exclude_none=True)))
    reply = RUNNER.invoke(app, ["hil", "campaign", str(path), "--seeds", "2", "--jobs", "2",
                                "--out", str(tmp_path / "out"), "--json"])
    assert reply.exit_code == 0, reply.output
    said = json.loads(reply.stdout)
    assert said["passed"] and said["seeds"] == 2 and said["simulated_s"] == 140
    assert json.loads((tmp_path / "out" / "campaign.json").read_text()) == said
    for words, why in ((["hil", "campaign", "nowhere"], "no such scenario"),
                       (["hil", "campaign", "--jobs", "2", "--cluster", "tcp://x:1"], "give one"),
                       (["hil", "campaign", "--seeds", "0"], "seeds"),
                       (["hil", "replay", str(path)], "holds no case"),
                       (["hil", "replay", str(tmp_path / "gone.json")], "cannot be read")):
        reply = RUNNER.invoke(app, words)
        assert reply.exit_code == 2 and why in " ".join(reply.output.split()), reply.output
