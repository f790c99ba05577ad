"""Grid support: curves, modes, who takes part, the black start and its document."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_tools.envelope.policy import EVERYBODY, Among
from host_tools.support import black_start, modes
from host_tools.support.black_start import ABORTED, DONE, RUNNING, STEPS, BlackStart, begin, go_on
from host_tools.support.droop import CURVES, VOLTAGE, Curve, Lead, droop, required_mw
from host_tools.support.modes import (
    EMERGENCY,
    ISLANDED,
    QUIET_MS,
    STANDBY,
    SUPPORT,
    Measurement,
    Mode,
    Nominal,
)
from host_tools.support.share import Responders, nearness

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "black-start.md"


def test_dynamic_containment_is_as_its_service_description_says() -> None:
    curve = CURVES["dynamic-containment"]
    for mhz, share in ((0, 0), (-15, 0), (15, 0), (-200, 500), (200, -500), (-500, 10000),
                       (500, -10000), (-900, 10000), (-350, 5250), (350, -5250)):
        assert curve.share_bp(mhz) == share, mhz
    assert curve.share_bp(-16) == 500 // 185


@pytest.mark.parametrize("curve", [*CURVES.values(), VOLTAGE, droop("own", 20, 300)])
def test_every_curve_is_symmetric_rising_and_zero_in_its_dead_band(curve: Curve) -> None:
    before = 0
    for size in range(curve.points[-1][0] + 50):
        share = curve.share_bp(-size)
        assert share == -curve.share_bp(size) and before <= share <= 10000
        assert share == 0 or size > curve.points[0][0]
        before = share
    assert before == 10000


@pytest.mark.parametrize("points", [(), ((10, 0), (10, 5)), ((10, 5), (20, 0)),
                                    ((10, 0), (20, 10001)), ((-1, 0), (5, 5))])
def test_a_curve_that_is_none_is_refused(points: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError):
        Curve("bad", points)


@given(st.integers(0, 10**10), st.integers(-10000, 10000), st.integers(-10000, 10000),
       st.integers(0, 10**10))
def test_what_is_required_is_within_the_contract_and_frequency_comes_first(
    power: int, frequency: int, voltage: int, excess: int,
) -> None:
    wanted = required_mw(power, frequency, voltage, excess)
    assert abs(wanted) <= power
    if power * abs(frequency) >= 10000:
        assert wanted * frequency > 0
        assert abs(wanted) >= power * abs(frequency) // 10000
    if not frequency and not voltage:
        assert wanted == min(power, excess)


def test_a_lead_makes_up_for_a_delay_and_overshoots_nothing() -> None:
    """A ramp of the frequency, answered 500 ms late: with the lead the error is a fifth."""
    late = 5  # samples of 100 ms
    wanted = [min(10000, max(0, at - 10) * 200) for at in range(80)]
    errors = []
    for lead_ms in (0, 500):
        lead = Lead(lead_ms)
        asked = [lead.step(share, at * 100) for at, share in enumerate(wanted)]
        given = [0] * late + asked[:-late]
        errors.append(sum(abs(want - got) for want, got in zip(wanted, given, strict=True)))
        assert max(asked) <= 10000 and asked[:11] == [0] * 11
    assert errors[1] * 2 < errors[0]
    noise = Lead(500)
    assert max(noise.step(5000 + (at % 2) * 20, at * 100) for at in range(50)) < 5100
    assert noise.step(0, 5000) == 0  # within the dead-band
    assert noise.step(4000, 60_000) == 4000  # after a long silence there is no slope


NOMINAL = Nominal()


def run(mode: Mode, at_ms: int, mhz: int = 50_000, mv: int = 230_000, demand: int = 0,
        measured_ms: int | None = None) -> Mode:
    """Let one measurement count."""
    measured = Measurement(at_ms if measured_ms is None else measured_ms, mhz, mv, demand)
    return modes.step(mode, measured, NOMINAL, 15, 300, 10_000_000, at_ms)


def test_modes_rise_at_once_and_fall_after_a_quiet_time() -> None:
    mode = run(Mode(), 0)
    assert mode.name == STANDBY
    mode = run(mode, 100, mhz=49_900)
    assert mode.name == SUPPORT and "49900" in mode.why
    mode = run(mode, 200, mhz=49_100)
    assert mode.name == EMERGENCY
    mode = run(mode, 300)
    for at_ms in range(400, 300 + QUIET_MS, 1000):
        mode = run(mode, at_ms)
        assert mode.name == EMERGENCY
    assert run(mode, 300 + QUIET_MS).name == STANDBY
    # a new reason in between starts the quiet time anew
    mode = run(run(run(Mode(), 0, mhz=49_100), 100), 20_000, mhz=49_100)
    assert mode.quiet_since_ms is None


def test_voltage_demand_and_a_dark_bus() -> None:
    assert run(Mode(), 0, mv=222_000).name == SUPPORT
    assert run(Mode(), 0, demand=10_000_001).name == SUPPORT
    assert run(Mode(), 0, mv=180_000).name == EMERGENCY
    dark = run(Mode(), 0, mv=1000)
    assert dark.name == EMERGENCY  # a dip is none yet
    assert run(dark, 200, mv=1000).name == ISLANDED
    assert run(run(dark, 100), 200, mv=1000).name == EMERGENCY


def test_what_is_not_measured_is_not_supported() -> None:
    active = run(Mode(), 0, mhz=49_100)
    old = run(active, 2001, mhz=49_100, measured_ms=0)
    assert old.name == STANDBY and "too old" in old.why
    assert modes.step(active, None, NOMINAL, 15, 300, None, 5).name == STANDBY


def test_the_near_and_the_healthy_respond() -> None:
    assert nearness("n/f1/t1", "n/f1/t2") == 2 and nearness("a", "b") == 0
    assert nearness("n/f1", "n/f10") == 1  # a step is whole or not there
    assert nearness("", "") == 0
    rule = Responders.of("n/f1/t1", ["n/f1/t9", "", "s/f9/t1", "n/f1/t9"], 2, 7000)
    assert rule.places == ("n/f1/t1", "n/f1/t9", "s/f9/t1")
    assert rule.number("") == rule.number("n/f1/t1") == 0
    near = Among(frozenset({0, 1}), 7000)
    assert rule.to("") == rule.to("n/f1/t77") == near
    assert rule.to("s/f9/t1") == Among(frozenset({2}), 7000)
    assert rule.to("n/f2") == Among(frozenset(), 7000)  # nobody is near
    assert rule.whole_building == Among(None, 7000)
    assert Responders.of("", [], 0, 0).to("anywhere") == EVERYBODY
    with pytest.raises(ValueError):
        rule.number("unknown")


def test_a_black_start_goes_through_every_step_in_order() -> None:
    facts = {"no voltage at the PCC"}
    at = begin(facts, 0)
    seen = []
    for now_ms in range(1000, 100_000, 1000):
        step = at.step
        if step is None:
            break
        seen.append(step.name)
        assert go_on(at, facts, now_ms) == at  # nothing goes on by itself
        facts.add(step.done)
        at = go_on(at, facts, now_ms)
    assert at.state == DONE and seen == [one.name for one in STEPS]


def test_a_black_start_ends_when_a_fact_is_lost_time_is_over_or_an_alarm_comes() -> None:
    assert begin(set(), 0).state == ABORTED
    facts = {"no voltage at the PCC"}
    at = begin(facts, 0)
    assert go_on(at, set(), 10).why == "no longer true: no voltage at the PCC"
    assert go_on(at, facts, 10, alarm=True).state == ABORTED
    assert go_on(at, facts, 60 * 60_000).state == RUNNING
    assert go_on(at, facts, 60 * 60_000 + 1).state == ABORTED
    done = BlackStart(ABORTED, 3, 0, "x")
    assert go_on(done, facts, 10) == done and done.share_bp == 0


def test_power_flows_in_three_steps_alone() -> None:
    shares = {one.name: BlackStart(RUNNING, at).share_bp for at, one in enumerate(STEPS)}
    assert {name for name, share in shares.items() if share} == {"support", "loads", "grid back"}
    assert shares["support"] == 1000


def test_the_document_says_what_the_program_does() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")][1:]
    assert rows == [[one.name, one.by, one.what, ", ".join(one.needs), one.done,
                     f"{one.minutes_max} min"] for one in STEPS]
    assert BlackStart().state == black_start.WAITING
