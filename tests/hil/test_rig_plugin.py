"""The pytest plugin, by pytest's own means: in virtual time, and what it does without a rig."""

import pytest

pytest_plugins = ("pytester",)
# by its module and not by its entry point: the same in a checkout that is not installed
PLUGIN = ("-p", "no:cellwall", "-p", "hil.pytest_plugin", "-p", "no:xdist",
          "-p", "no:cacheprovider")

TESTS = """
import pytest


def test_a_setpoint_is_followed_and_taken_back(bench, board):
    board.setpoint(500)
    board.wait_until(lambda one: abs(one.power_w - 500) < 25, 10, "500 W")
    board.setpoint(0)
    board.wait_until(lambda one: abs(one.power_w) < 5, 5, "zero")


def test_a_trip_latches_until_it_is_released(board):
    board.setpoint(500)
    board.wait_until(lambda one: one.power_w > 400, 10)
    board.trip()
    board.wait_until(lambda one: one.telemetry["trip_cause"] != 0, 5, "the trip")
    board.wait_until(lambda one: abs(one.power_w) < 5, 5)
    assert board.release() == 1


def test_a_wait_says_what_it_waited_for(board):
    board.wait_until(lambda one: one.power_w > 1e6, 1, "a megawatt")


@pytest.mark.hardware
def test_of_hardware(board):
    raise AssertionError("it must not run here")


@pytest.mark.cellwall_scenario("no-such-scenario")
def test_of_another_scenario(bench):
    pass
"""


def test_the_fixtures_run_real_firmware_in_virtual_time(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(passed=2, failed=1, skipped=1, errors=1)
    result.stdout.fnmatch_lines(["*wall: a megawatt did not come in 1 s*"])
    result.stdout.fnmatch_lines(["*no such scenario*"])
    result.stdout.fnmatch_lines(["cellwall: SKIPPED 1 tests: needs hardware*"])


def test_whoever_does_not_use_it_pays_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
import sys

def test_that_nothing_of_the_bench_is_loaded():
    assert not [name for name in sys.modules if name.startswith(("hil.rig", "hil.bench"))]
    assert "numpy" not in sys.modules and "pymodbus" not in sys.modules
""")
    result = pytester.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(passed=1)
    assert "cellwall" not in result.stdout.str()


def test_an_installed_cellwall_is_a_plugin(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.hardware:*", "@pytest.mark.cellwall_scenario*"])
