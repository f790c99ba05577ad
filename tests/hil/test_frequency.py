"""Frequency response: traces, meter, judgement, and the real firmware under the controller."""

import csv
import json
from random import Random

import numpy as np
import pytest
from typer.testing import CliRunner

from hil.frequency.bench import FrequencyBench
from hil.frequency.judge import judge_step, judge_trace, limits_of
from hil.frequency.meter import FrequencyMeter, MeterModel
from hil.frequency.products import PRODUCTS
from hil.frequency.traces import Step, Trace, generated_trace, load_trace, step_trace
from hil.scenarios.load import find_scenario, load_scenario
from hil.signals.csv_source import SignalError
from host_tools.cli.main import app

RUNNER = CliRunner()
DC = PRODUCTS["dynamic-containment"]


def response(start_ms, full_ms, size=8000.0, over=0.0, until_ms=12_000):
    """Return (time, power) of a straight response to a step at 1000 ms."""
    time_ms = np.arange(10.0, until_ms + 10, 10)
    share = np.clip((time_ms - 1000 - start_ms) / (full_ms - start_ms), 0, 1)
    power = size * share
    power[(time_ms > 1000 + full_ms) & (time_ms < 1000 + full_ms + 300)] += over
    return time_ms, power


def test_a_step_is_judged_by_its_times():
    """5 % is the start, 95 % full, the band is where it stays; both directions alike."""
    for sign in (1, -1):
        time_ms, power = response(200, 600)
        found = judge_step(time_ms, sign * power, Step(1000, 12_000, -sign * 500),
                           sign * 8000.0, 8000.0)
        assert found.start_ms == pytest.approx(220, abs=10)
        assert found.full_ms == pytest.approx(580, abs=10)
        assert found.settled_ms == pytest.approx(580, abs=10)
        assert found.overshoot_pct == 0
    time_ms, power = response(200, 600, over=800.0)
    found = judge_step(time_ms, power, Step(1000, 12_000, -500), 8000.0, 8000.0)
    assert found.overshoot_pct == pytest.approx(10) and found.settled_ms == pytest.approx(900)
    limits = {one["name"]: one for one in limits_of(DC, [found])}
    assert not limits["overshoot_pct"]["met"] and limits["full_ms"]["met"]
    assert limits["full_ms"]["margin"] == pytest.approx(1000 - found.full_ms)


def test_what_never_happens_is_a_missed_limit():
    """A response that stays away has no times, and one half as large is never full."""
    time_ms, power = response(200, 600, size=4000.0)
    half = judge_step(time_ms, power, Step(1000, 12_000, -500), 8000.0, 8000.0)
    none = judge_step(time_ms, 0 * power, Step(1000, 12_000, -500), 8000.0, 8000.0)
    assert half.start_ms is not None and half.full_ms is None and half.settled_ms is None
    assert none.start_ms is None
    assert [one["met"] for one in limits_of(DC, [none])] == [False, False, True, False]
    with pytest.raises(ValueError, match="asks for nothing"):
        judge_step(time_ms, power, Step(1000, 12_000, -10), 0.0, 8000.0)
    with pytest.raises(ValueError, match="not recorded"):
        judge_step(time_ms, power, Step(99_000, 99_500, -10), 8000.0, 8000.0)


def test_a_trace_is_judged_within_its_permitted_delay():
    """A response as late as it may be is in the band; later is outside, and e1 sees both."""
    asked = 1000.0 * np.sin(np.arange(2000) / 60.0)
    late = np.concatenate((np.zeros(20), asked[:-20]))
    permitted = judge_trace(late, asked, 50, 1000)
    beyond = judge_trace(late, asked, 50, 400)
    assert permitted["outside_pct"] == 0 and permitted["within_pct"] == 100
    assert beyond["outside_pct"] > 1 and beyond["within_pct"] < 90
    assert permitted["e1_pct"] == beyond["e1_pct"] > 5
    assert judge_trace(asked * 0, asked * 0, 50, 400)["e1_pct"] is None


def test_steps_meet_the_curve_both_ways_at_different_moments():
    """Every deviation of the product, down and up, off the grid of the meter's samples."""
    trace = step_trace(DC)
    assert [one.deviation_mhz for one in trace.steps] == [-200, 200, -500, 500]
    assert len({one.at_ms % 50 for one in trace.steps}) == len(trace.steps)
    for one in trace.steps:
        assert trace.at(one.at_ms - 1) == 0 and trace.at(one.at_ms) == one.deviation_mhz
        assert trace.at(one.end_ms - 1) == one.deviation_mhz and trace.at(one.end_ms) == 0


def test_a_generated_trace_follows_its_seed():
    """The same twice; wandering, with one event."""
    one, again, other = (generated_trace(seed, 600_000) for seed in (1, 1, 2))
    assert (one.deviation_mhz == again.deviation_mhz).all()
    assert (one.deviation_mhz != other.deviation_mhz).any()
    assert one.duration_ms == 600_000 and one.deviation_mhz.min() < -100


def test_a_measured_trace_is_loaded_and_a_broken_one_named(tmp_path):
    """The first column that looks like Hz, or the named one; row, column and cure in errors."""
    path = tmp_path / "t.csv"
    path.write_text("Time,V,F,F2\n10.0,543,49.9,50\n10.5,543,49.8,50\n11.0,543,49.7,50\n")
    trace = load_trace(path, None, 50_000)
    assert trace.name == "t.csv:F" and trace.duration_ms == 1000
    assert trace.at(500) == pytest.approx(-200) and trace.at(250) == pytest.approx(-150)
    assert load_trace(path, "F2", 50_000).at(500) == pytest.approx(0)
    for text, column, why in (
        ("Time,V\n1,543\n2,543\n", None, "no column looks like a frequency"),
        ("Time,F\n1,50\n2,50\n", "X", "no column 'X'"),
        ("Time,F\n1,50\n", None, "no trace"),
        ("Time,F\n1,50\n2,x\n", "F", "row 3"),
        ("Time,F\n1,50\n1,50\n", None, "time does not rise"),
        ("Time,F\n1,50\n2,5\n", "F", "no grid frequency"),
    ):
        path.write_text(text)
        with pytest.raises(SignalError, match=why):
            load_trace(path, column, 50_000)


def test_the_meter_is_late_by_its_window_and_says_whole_steps():
    """Half of a step is seen when half of the window is behind it."""
    trace = Trace("step", np.array([0.0, 1000.0, 2000.0]), np.array([0.0, -500.0, -500.0]), True)
    meter = FrequencyMeter(trace, MeterModel(noise_mhz=0.0), Random(1))
    assert meter.deviation_mhz(1000) == 0
    assert meter.deviation_mhz(1030) == -250
    assert meter.deviation_mhz(1060) == -500
    noisy = FrequencyMeter(trace, MeterModel(noise_mhz=5.0), Random(1))
    values = {noisy.deviation_mhz(1500) for _ in range(40)}
    assert len(values) > 5 and all(isinstance(one, int) for one in values)


@pytest.fixture(scope="module")
def contained(tmp_path_factory):
    """Return Dynamic Containment's step test on two regulated elements, cut to one size."""
    scenario = load_scenario(find_scenario("regulated"))
    scenario = scenario.model_copy(update={
        "elements": [scenario.elements[0].model_copy(update={"count": 2, "zone": 1})]})
    product = PRODUCTS["dynamic-moderation"]
    trace = step_trace(product)
    cut = [one for one in trace.steps if abs(one.deviation_mhz) == 200]
    shift = cut[0].at_ms - 5000
    steps = tuple(Step(one.at_ms - shift, one.end_ms - shift, one.deviation_mhz) for one in cut)
    keep = trace.at_ms >= cut[0].at_ms
    short = Trace("short", np.concatenate(([0.0], trace.at_ms[keep] - shift)),
                  np.concatenate(([0.0], trace.deviation_mhz[keep])), True, steps)
    bench = FrequencyBench(scenario, product, short, tmp_path_factory.mktemp("frequency"))
    return bench.run()


def test_real_firmware_delivers_in_time(contained):
    """Begun and full long before the product's limits, and the record is at 20 Hz."""
    assert contained.passed, contained.limits
    assert len(contained.steps) == 2 and contained.contract_w == 4000
    assert all(10 < one.start_ms < 500 for one in contained.steps)
    assert contained.clock_error_ms == 0  # virtual time
    record = contained.record
    assert (np.diff(record[:, 0]) == 50).all()
    assert record[:, 3].max() == pytest.approx(4000, rel=0.05)
    assert record[:, 3].min() == pytest.approx(-4000, rel=0.05)
    assert contained.tracking["within_pct"] > 99


def test_the_command_writes_its_record_and_names_what_is_wrong(tmp_path):
    """A short measured trace through the command line; wrong input by name."""
    path = tmp_path / "dip.csv"
    path.write_text("t,Hz\n" + "".join(
        f"{index / 10},{60 - 0.3 * (20 <= index < 100)}\n" for index in range(140)))
    out = tmp_path / "out"
    reply = RUNNER.invoke(app, ["hil", "frequency", "--product", "droop", "--trace", str(path),
                                "--out", str(out), "--json"])
    assert reply.exit_code == 0, reply.output
    said = json.loads(reply.stdout)
    assert said == json.loads((out / "frequency.json").read_text())
    assert said["limits"] == [] and said["tracking"]["within_pct"] > 90
    assert len(said["firmware_sha256"]) == 64
    with (out / "record.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[120]["frequency_hz"]) == pytest.approx(59.7)
    assert float(rows[120]["power_w"]) == pytest.approx(float(rows[120]["asked_w"]), rel=0.1)
    for words, why in ((["--product", "x"], "none of"), (["--clock", "x"], "neither"),
                       (["--scenario", "nowhere"], "no such scenario"),
                       (["--trace", str(tmp_path / "gone.csv")], "cannot be read")):
        reply = RUNNER.invoke(app, ["hil", "frequency", *words])
        assert reply.exit_code == 2 and why in " ".join(reply.output.split()), reply.output


