"""The home on the bench: what its battery is told, and real firmware that follows."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from hil.bench.faults import above_safe
from hil.metrics.tracking import e1_pct
from hil.trustder.bench import BEGIN_MS, HomeBench
from hil.trustder.fleet import BATTERY_W, home_fleet
from hil.trustder.home import HomeController, HomeSeen
from host_tools.cli.main import main

HEATER_W = 1535.0


def controller(anticipate=True):
    """Return a home's controller that has just told its heater to start, at 10 s."""
    home = HomeController(home_fleet(27.0, 48.0), 1, time.perf_counter, anticipate=anticipate)
    seen = HomeSeen(np.zeros(3), (True, False, False), (False, True, True), 0.5, 0.5,
                    -BATTERY_W, BATTERY_W)
    assert home.step(10_000, -1000.0, seen) == [(0, True)]
    return home


def moved_w(home, now_ms, circuits=(0.0, 0.0, 0.0)):
    """Return how far the heater moves the battery from where it was without it."""
    rest_w = -1000.0 - home.fleet.baseline_sum_w
    return home.battery_w(now_ms, np.array(circuits)) - max(rest_w, -BATTERY_W)


def test_the_battery_is_there_when_the_load_is_expected():
    """0.5 s of switch and 0.8 s of fan, less the 0.1 s that the battery needs itself."""
    home = controller()
    assert moved_w(home, 11_100) == 0.0
    assert moved_w(home, 11_200) > 500.0
    late = controller(anticipate=False)
    assert moved_w(late, 11_200) == 0.0
    assert moved_w(late, 11_400, (HEATER_W, 0, 0)) > 500.0


def test_a_load_that_is_early_counts_when_it_is_seen():
    home = controller()
    assert moved_w(home, 10_900, (HEATER_W, 0, 0)) == moved_w(home, 11_900, (HEATER_W, 0, 0)) > 500


def test_a_load_that_does_not_come_is_given_up():
    home = controller()
    assert moved_w(home, 11_599) > 500.0
    assert moved_w(home, 11_600) == 0.0  # three standard deviations late
    assert moved_w(home, 11_700) == 0.0


def test_a_fan_says_when_its_element_will_come():
    home = controller()
    assert moved_w(home, 10_400, (60.0, 0, 0)) < 100.0  # a contact that was 0.1 s early
    assert moved_w(home, 11_000, (40.0, 0, 0)) < 100.0
    assert moved_w(home, 11_100, (40.0, 0, 0)) > 500.0  # 0.8 s after the fan, and 0.1 s ahead


def test_what_the_meters_differ_by_is_learned_in_quiet_seconds_alone():
    home = controller()
    circuits = np.array([HEATER_W, 0.0, 0.0])
    before_w = home.battery_w(13_000, circuits)
    wanted_w = -1000.0 - home.fleet.baseline_sum_w
    home.metered(13_000, wanted_w + 8.0)  # the battery has just moved
    assert home.battery_w(14_000, circuits) == before_w
    for second in range(15, 25):
        at_w = wanted_w + 8.0 + home.battery_w(second * 1000, circuits) - before_w
        home.metered(second * 1000, at_w)
    assert home.battery_w(25_000, circuits) == pytest.approx(before_w - 8.0, abs=0.1)
    for second in range(26, 60):
        home.metered(second * 1000, wanted_w + 500.0)  # something is wrong; it is not followed
    assert home.battery_w(60_000, circuits) == pytest.approx(before_w - 30.0)


def test_an_inrush_is_not_followed():
    home = controller()
    assert moved_w(home, 12_000, (HEATER_W, 5000.0, 0)) \
        == moved_w(home, 12_000, (HEATER_W, 1.15 * 600, 0))


def profile(home, steps):
    """Return a reference with small moves and a jump, W."""
    shares = [0.0, 0.1, 0.2, 0.5, 0.9, 0.9, 0.8, -0.2, -0.6, -0.9, -0.9, -0.5]
    return np.resize(np.array(shares), steps) * home.fleet.capacity_w


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """One run of two minutes that several tests look at."""
    home = HomeBench(3, tmp_path_factory.mktemp("bench"))
    return home, home.run(profile(home, 24))


def test_real_firmware_follows_with_loads_that_only_switch(course):
    home, ran = course
    assert ran.meter_w.size == 120 and ran.true_w.size == 1200
    assert e1_pct(ran.meter_w, ran.references(1)) < 4.0
    assert ran.switched_count >= 2 and ran.setpoint_count >= 20 and ran.refused_count == 0
    assert np.abs(ran.battery_w).max() <= 1.01 * BATTERY_W
    view = home.aggregator.inventory.views()[0]
    assert view.accepted_count > 100, "the element was not asked through its session"
    assert home.rig.board.restart_count == 0


def test_the_meter_sees_the_home_and_nothing_else(course):
    home, ran = course
    true_w = ran.battery_w - ran.circuits_w.sum(axis=1) + home.fleet.baseline_sum_w
    assert ran.true_w == pytest.approx(true_w, abs=1e-6)
    seconds_w = ran.true_w.reshape(-1, 10).mean(axis=1) - home.fleet.baseline_sum_w
    metered_w = ran.meter_w - home.fleet.baseline_sum_w
    # class 0.5: gain within 0.4 %, noise, and steps of 1 W
    assert np.abs(metered_w - seconds_w).max() < 0.004 * np.abs(seconds_w).max() + 8
    assert not np.array_equal(metered_w, seconds_w)


def test_the_delay_of_the_switches_is_seen_on_the_bench(course):
    """No load moves before the shortest delay of its switch after the step's computation."""
    _, ran = course
    loads_w = ran.circuits_w.reshape(24, 50, 3)
    jump_w = np.abs(np.diff(loads_w[:, :, 0], axis=1))
    moved = np.argwhere(jump_w > 700)
    assert moved.size and (moved[:, 1] >= 2).all()


def test_a_battery_that_is_not_reached_is_an_error_that_the_bench_sees(tmp_path):
    home = HomeBench(3, tmp_path / "cut")
    home.clock.call_at(BEGIN_MS, lambda: home.rig.set_link_cut(True))
    ran = home.run(profile(home, 8))
    assert e1_pct(ran.meter_w, ran.references(1)) > 20.0
    assert np.abs(ran.battery_w[30:]).max() < 50.0, "its lease did not end"


def test_a_stop_leaves_the_battery_at_zero_and_no_process(tmp_path):
    home = HomeBench(3, tmp_path / "stop")
    powers_w = []

    def stopped():
        powers_w.append(abs(home.rig.plant.pcc_w))
        return home.clock.now_ms > 30_000 and powers_w[-1] > 200

    ran = home.run(profile(home, 12), stopped=stopped)
    assert ran.stopped and powers_w[-1] > 200 and not above_safe(home.rig)
    assert home.rig.board._process is None


def test_the_command_prints_results_and_leaves_a_page(tmp_path: Path, capfd) -> None:
    out = tmp_path / "out"
    assert main(["hil", "trustder", "--devices", "100", "--hours", "0.02", "--seed", "2",
                 "--out", str(out), "--json"]) == 0
    said = capfd.readouterr()
    results = json.loads(said.out)
    assert results == json.loads((out / "results.json").read_text())
    assert [one["name"] for one in results["signals"]] == ["ramp", "regulation"]
    for one in results["signals"]:
        bench, simulation = one["bench"], one["simulation"]
        assert 0 < bench["home"]["e1_pct"] < 10 and bench["setpoint_count"] > 0
        more = max(0.0, bench["home"]["e1_pct"] - simulation["home"]["e1_pct"])
        assert bench["extrapolated"]["e1_pct"] \
            == pytest.approx(simulation["network"]["e1_pct"] + more, abs=0.0011)
        assert one["reference"]["bench"]["pct"] in (8.99, 9.27)
    page = (out / "trustder.html").read_text()
    assert page.count("<svg class=\"chart\"") == 4 and "<script" not in page
    assert "ramp, bench: 14 steps" in said.err


@pytest.mark.parametrize(("options", "words"), [
    (["--devices", "19"], "20"),
    (["--hours", "0.001"], "0.02"),
    (["--signal", "nowhere.csv"], "Check path and rights"),
    (["--signal", "{flat}", "--hours", "0.02"], "zero throughout"),
    (["--signal", "{flat}", "--hours", "3"], "no more than that"),
    (["--out", "{flat}/x"], "give another"),
])
def test_wrong_input_says_what_to_do(tmp_path: Path, capfd, options, words) -> None:
    flat = tmp_path / "flat.csv"
    flat.write_text("t,a\n" + "".join(f"{4 * index},0\n" for index in range(60)))
    options = [one.format(flat=flat) for one in options]
    assert main(["hil", "trustder", *options]) == 2
    assert words in " ".join(capfd.readouterr().err.replace("\u2502", " ").split())
