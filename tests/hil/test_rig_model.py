"""rig.yaml, limits, locks, losses and the table of flaky cases; nothing here is served."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ruamel.yaml import YAML

from element.protocol.errors import BusError, RangeError
from hil.bench.site import profile_of
from hil.report.junit import junit_xml
from hil.report.write import write_report
from hil.rig.books import Books
from hil.rig.equipment import Equipment, make_meter
from hil.rig.flakes import cases_of, merged_junit
from hil.rig.journal import Entry, Journal, read_record
from hil.rig.load import (
    RigError,
    check_events,
    check_loads,
    check_profile,
    load_rig,
    seats_of,
)
from hil.rig.locks import VARIABLE, Locks, owners
from hil.rig.losses import Losses, Rule
from hil.rig.model import RigModel
from hil.rig.outputs import Outputs
from hil.rig.results import results_of
from hil.scenarios.load import find_scenario, load_scenario
from tests.hil.report_example import example
from tests.hil.report_example import rig as report_rig

RIG = """\
rig: lab
site: site
rated: {power_w: 3000}
meter: pcc
watchdog: {name: dog, kind: shelly_http, address: "127.0.0.1:1"}
places:
  - {name: one, port: /dev/a, element: wall, rated: {power_w: 2500, current_a: 60}}
  - {name: two, port: /dev/b, rated: {power_w: 500, current_a: 20}, power: sw}
meters:
  - {name: pcc, address: "127.0.0.1:2"}
switches:
  - {name: sw, kind: shelly_http, address: "127.0.0.1:3"}
loads:
  - {name: bank, address: "127.0.0.1:4", rated: {power_w: 700, current_a: 9, voltage_v: 60}}
"""


def _load(tmp_path: Path, text: str) -> tuple[Path, RigModel]:
    path = tmp_path / "rig.yaml"
    path.write_text(text, encoding="utf-8")
    return path, load_rig(path)


@pytest.mark.parametrize(("old", "new", "line", "problem"), [
    ("rated: {power_w: 3000}", "rated: {power_kw: 3}", 3, "unknown key 'power_kw'; did you mean"),
    ("meter: pcc", "meter: pc", 4, "no meter is called 'pc'; did you mean pcc?"),
    ("power: sw", "power: ws", 8, "no switch is called 'ws'"),
    ("port: /dev/b", "port: /dev/a", 7, "'/dev/a' is used twice"),
    ("name: two", "name: one", 7, "the name 'one' appears twice"),
    ("power_w: 500, current_a: 20", "power_w: 500", 8, "needs power_w and current_a"),
    ("current_a: 9, ", "", 14, "are loaded as its protections"),
])
def test_what_is_wrong_names_its_line(tmp_path: Path, old: str, new: str, line: int,
                                      problem: str) -> None:
    with pytest.raises(RigError, match=problem.replace("?", r"\?")) as caught:
        _load(tmp_path, RIG.replace(old, new, 1))
    assert caught.value.line == line


def test_a_scenario_that_asks_more_is_refused_with_the_number(tmp_path: Path) -> None:
    short = load_scenario(find_scenario("short"))
    path, rig = _load(tmp_path, RIG)
    seats = seats_of(path, rig, short)
    assert [(one.name, one.place.name) for one in seats] == [("wall", "one"), ("cabinet", "two")]
    for text, problem in (
            (RIG.replace("power_w: 2500", "power_w: 2400"),
             "asks 2500 W, more than the 2400 W of place 'one'"),
            (RIG.replace("current_a: 60", "current_a: 59"), "asks 60 A, more than the 59 A"),
            (RIG.replace("power_w: 3000", "power_w: 1500"),
             "asks 2000 W of the rig, which is rated for 1500 W")):
        path, rig = _load(tmp_path, text)
        with pytest.raises(RigError, match=problem):
            seats_of(path, rig, short)
    path, rig = _load(tmp_path, RIG.replace("power_w: 700", "power_w: 500"))
    with pytest.raises(RigError, match="draws 600 W, 100 W more"):
        check_loads(path, rig, short)
    with pytest.raises(RigError, match="no place for element"):
        seats_of(path, rig, load_scenario(find_scenario("default")))


def test_a_credential_beyond_its_place_and_an_event_without_its_switch(tmp_path: Path) -> None:
    short = load_scenario(find_scenario("short"))
    path, rig = _load(tmp_path, RIG)
    seats = seats_of(path, rig, short)
    profile = profile_of(seats[0].model)
    check_profile(seats[0], profile)
    with pytest.raises(RangeError, match="permits 2501 W, more than the 2500 W"):
        check_profile(seats[0], profile | {"power_mw_charge_max": 2_501_000})
    default = load_scenario(find_scenario("default"))
    silent = default.events[0].model_copy(update={"element": "wall"})
    with pytest.raises(RigError, match="has no switch in its BMS line"):
        check_events(path, rig, short.model_copy(update={"events": [silent]}), seats)


@pytest.fixture
def lock_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of locks of our own."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "locks"))
    return tmp_path / "locks"


HOLDER = """
import sys
from hil.rig.locks import Locks
Locks().take([sys.argv[1]], "a long soak")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_names_its_owner_and_outlives_no_process(lock_folder: Path,
                                                        tmp_path: Path) -> None:
    port, alias = tmp_path / "port", tmp_path / "by-id"
    port.touch()
    alias.symlink_to(port)
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(alias)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, env=os.environ | {
                                 "PYTHONPATH": os.pathsep.join(sys.path)})
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    ours = Locks()
    with pytest.raises(BusError, match=f"process {other.pid}, for .* a long soak") as caught:
        ours.take([str(tmp_path / "another"), str(port)], "mine")
    assert "the rig is in use" in str(caught.value.code)
    assert [one.held for one in owners()] == [True]  # and what was taken before is given back
    other.kill()
    other.wait()
    assert [(one.held, one.purpose) for one in owners()] == [(False, "a long soak")]
    ours.take([str(port)], "mine")
    assert len(ours.taken_over) == 1 and f"process {other.pid}" in ours.taken_over[0]
    ours.release()
    assert owners() == []


def test_a_loss_counts_from_its_beginning_and_ends_by_an_answer() -> None:
    losses = Losses({"meter": Rule(True, 1000), "lamp": Rule(False, 0)})
    assert losses.gone("meter", "silent", 100) is not None
    assert losses.gone("meter", "silent", 500) is None
    assert losses.fatal(1100) is None
    fatal = losses.fatal(1101)
    assert fatal is not None and fatal.name == "meter" and fatal.stopped
    assert losses.back("meter", 1200) is fatal and losses.fatal(9999) is None
    losses.gone("lamp", "dark", 0)
    assert losses.fatal(99_999) is None


class _Recorder:
    """Outputs that write down what is asked of them; those in `broken` fail."""

    def __init__(self, equipment: Any, broken: set[str]) -> None:
        self.calls: list[str] = []
        for one in (equipment.watchdog, *equipment.switches.values(), *equipment.loads.values()):
            for name in ("feed", "make_safe", "set", "input_on", "set_power", "protect"):
                if hasattr(one, name):
                    setattr(one, name, self._call(one.name, name, broken))

    def _call(self, who: str, what: str, broken: set[str]) -> Any:
        def call(*_: Any) -> None:
            self.calls.append(f"{who}.{what}")
            if who in broken:
                raise BusError(who, "is gone")

        return call


@pytest.mark.parametrize("broken", [set(), {"dog"}, {"bank", "sw"}])
def test_everything_is_switched_off_whatever_fails(tmp_path: Path, broken: set[str]) -> None:
    equipment = Equipment(_load(tmp_path, RIG)[1])
    outputs = Outputs(equipment, lambda error: None, lambda line: None)
    recorder = _Recorder(equipment, set())
    with pytest.raises(BusError, match="not armed"):
        outputs.on({"bank": 600.0})
    assert recorder.calls == []
    outputs.load_limits()
    outputs.arm()
    outputs.on({"bank": 600.0})
    order = [recorder.calls.index(one) for one in (
        "bank.protect", "dog.feed", "sw.set", "bank.set_power", "bank.input_on")]
    assert order == sorted(order)
    recorder = _Recorder(equipment, broken)
    problems = outputs.hard_stop("a test")
    assert recorder.calls[0] == "dog.make_safe"
    assert {"dog.make_safe", "bank.make_safe", "sw.make_safe"} <= set(recorder.calls)
    assert {one.partition(":")[0].split()[-1] for one in problems} == broken
    assert outputs.hard_stop("again") == []
    with pytest.raises(BusError):
        outputs.on({})


def test_a_run_that_hangs_feeds_no_watchdog(tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.rig.outputs.HEARTBEAT_S_MAX", 0.5)
    text = RIG.replace('address: "127.0.0.1:1"}', 'address: "127.0.0.1:1", hold_s: 1.0}', 1)
    equipment = Equipment(_load(tmp_path, text)[1])
    recorder = _Recorder(equipment, set())
    outputs = Outputs(equipment, lambda error: None, lambda line: None)
    outputs.arm()
    end_s = time.monotonic() + 1.5
    while time.monotonic() < end_s:
        outputs.feeder.beat()
        time.sleep(0.05)
    fed = recorder.calls.count("dog.feed")
    assert fed >= 3
    time.sleep(2.0)  # nobody turns: at most what was under way is fed
    hung = recorder.calls.count("dog.feed")
    assert hung <= fed + 3
    time.sleep(1.0)
    assert recorder.calls.count("dog.feed") == hung
    outputs.hard_stop("the end of the test")


def test_a_recording_that_is_cut_or_full_is_refused(tmp_path: Path) -> None:
    seen: list[Any] = []
    journal = Journal(seen.append, tmp_path, lambda: 7)
    journal.raw("line", "rx", "00ff")
    journal.header({"seed": 1})
    journal.put(10, "row", "idle", {})
    header, entries = read_record(tmp_path)
    journal.close()
    assert header["seed"] == 1
    with pytest.raises(BusError, match="did not come to its end"):
        list(entries)
    journal = Journal(seen.append, tmp_path, lambda: 7, size_max=100)
    journal.header({})
    for _ in range(10):
        journal.raw("line", "rx", "00" * 20)
    journal.close()
    with pytest.raises(BusError, match="largest size"):
        list(read_record(tmp_path)[1])
    (tmp_path / "record.jsonl").write_text(json.dumps({"version": 99}) + "\n")
    with pytest.raises(BusError, match="no recording of a rig"):
        read_record(tmp_path)


def test_what_nobody_measured_is_null_and_stops_no_judge(tmp_path: Path) -> None:
    short = load_scenario(find_scenario("short"))
    path, rig = _load(tmp_path, RIG)
    books = Books(short, seats_of(path, rig, short), "pcc", {
        one.name: make_meter(one) for one in rig.meters})
    parts = {"target_w": 100.0, "load_w": 0.0}
    for second in range(1, 21):
        if second != 12:  # a second without a reading of the meter
            # SunSpec W and its scale factor; import is positive: 100 W of export
            books.take(Entry(1000 * second - 500, "meter", "pcc", [0xFF9C, 0, 0, 0, 0]))
        books.take(Entry(1000 * second, "row", "ramp", parts))
    never = [None, 0, [], None]
    books.take(Entry(20_000, "end", "", {"simulated_s": 20, "aborted": False, "seen": {
        "wall": never, "cabinet": never}}))
    made = results_of(books, {
        "seed": 1, "signal": "ramp", "commit": "unknown", "firmware_sha256": "00" * 32,
        "start_unix_ms": 0, "rig": report_rig()}, rig,
        {"verified": 0, "failed": 0, "by_kind": {}, "failures": []}, {}, 20.0)
    write_report(made, tmp_path)  # it holds what the schema says
    assert made["segments"][0]["seconds"] == 19 and made["segments"][0]["e1_pct"] == 0
    wall = made["elements"][0]
    assert {wall[key] for key in ("metered_mwh", "soc_end_pct", "restarts", "cycles")} == {None}
    assert wall["segments"][0]["e1_pct"] is None
    assert made["energy"]["metered_mwh"] is made["energy"]["throughput_mwh"] is None
    assert not made["passed"]  # restarts that nobody knows are not none
    books.recording.write_csv(tmp_path / "trace.csv")
    lines = (tmp_path / "trace.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 20 and lines[-1].endswith("0.0,,,0.0,,")
    write_report(made, tmp_path)  # and its page draws what there is


def test_what_passes_once_and_fails_once_is_flaky() -> None:
    first, second = example(), example()
    second["limits"][1] |= {"value": 2.9, "margin": 0.1, "met": True}
    cases = {one.name: one for one in cases_of([first, second, second])}
    flaky = cases["regulation.e1_pct"]
    assert (flaky.verdict, flaky.failed) == ("FLAKY", (1,))
    assert (flaky.value_min, flaky.value_median, flaky.value_max) == (2.9, 2.9, 3.25)
    assert cases["ramp.e1_pct"].verdict == "pass"
    second["limits"] = []
    assert {one.name: one for one in cases_of([first, second])}["ramp.e1_pct"].failed == (2,)
    merged = ElementTree.fromstring(merged_junit([junit_xml(first), junit_xml(first)]))
    names = [one.get("name") for one in merged.iter("testsuite")]
    assert names == ["cellwall.small.run-1", "cellwall.small.run-2"]
    assert int(str(merged.get("tests"))) == len(list(merged.iter("testcase")))
    assert int(str(merged.get("failures"))) == 2


def test_the_example_in_the_documentation_is_a_rig(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "rigs.md").read_text(encoding="utf-8")
    example_yaml = text.partition("```yaml\n")[2].partition("```")[0]
    _, rig = _load(tmp_path, example_yaml)
    assert rig.rig == "lab-1" and len(rig.meters) == 2
    assert YAML(typ="safe").load(example_yaml)["watchdog"]["hold_s"] == 3
