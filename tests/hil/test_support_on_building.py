"""Grid support with simulated elements: a dip is answered, the ramp is kept, blindness is zero."""

from pathlib import Path

from element.protocol import codes
from hil.swarm.specs import converters
from host_tools.support.controller import Support
from host_tools.support.droop import CURVES
from host_tools.support.modes import Measurement, Nominal

from .panel_process import house, until
from .simulated_building import SimulatedBuilding

KW = 1_000_000
FAST = converters(5000, services=0x3F, response_ms=500, ramp_mw_per_s=50 * KW)


def supported(site: SimulatedBuilding, power_mw: int) -> Support:
    """Return a building's support, its power lent by the building."""
    building = site.building
    return Support(CURVES["dynamic-containment"], power_mw, Nominal(), None,
                   lambda source, mw, service, now_ms, end_ms: building.lend(
                       f"{source}:{now_ms}", source, mw, service, now_ms, end_ms),
                   building.extend, building.finish, building.tell)


def follow(site: SimulatedBuilding, support: Support, mhz: int | None, duration_ms: int,
           mv: int = 230_000) -> list[int]:
    """Measure this frequency for a while; returns the power every 100 ms."""
    powers = []
    for _ in range(duration_ms // 100):
        if mhz is not None:
            support.measure(Measurement(site.now_ms, mhz, mv))
        ready = site.aggregator.capability(site.now_ms)[codes.SERVICE_FREQUENCY]
        support.step(site.now_ms, site.power_mw, ready.discharge.power_mw, False)
        site.run(100)
        powers.append(site.power_mw)
    return powers


def test_a_dip_is_answered_by_the_curve_within_the_ramp() -> None:
    site = SimulatedBuilding(4, FAST).run(4000)
    support = supported(site, 20 * KW)
    assert follow(site, support, 50_000, 1000) == [0] * 10
    powers = follow(site, support, 49_500, 6000)
    # never faster than 30 % of the nameplate in a second
    assert max(later - now for now, later in zip(powers, powers[10:], strict=False)) \
        <= 20 * KW * 3 // 10 + 20 * KW // 10
    assert abs(powers[-1] - 20 * KW) <= 4
    half = follow(site, support, 49_650, 6000)[-1]
    assert abs(half - 20 * KW * 5250 // 10000) <= 4
    high = follow(site, support, 50_500, 12_000)[-1]
    assert abs(high + 20 * KW) <= 4
    ids = {one["id"] for one in site.told("dispatch")}
    assert len(ids) == 1  # one instruction for the whole event


def test_blindness_and_a_dark_bus_are_zero() -> None:
    site = SimulatedBuilding(2, FAST).run(4000)
    support = supported(site, 10 * KW)
    assert follow(site, support, 49_500, 5000)[-1] > 9 * KW
    assert follow(site, support, None, 6000)[-1] == 0  # the meter has gone
    assert support.mode.name == "standby"
    assert follow(site, support, 49_500, 5000)[-1] > 9 * KW
    dark = follow(site, support, 0, 6000, mv=0)
    assert dark[-1] == 0 and support.mode.name == "no grid"
    assert support.begin_black_start(site.now_ms).state == "running"
    assert support.confirm("outage confirmed", site.now_ms)
    follow(site, support, 0, 2000, mv=0)
    step = support.black_start.step
    assert step is not None and step.name == "open"  # the panel saw zero by itself
    assert not support.confirm("all elements at zero", site.now_ms)  # nobody is asked for that
    support.withdraw("outage confirmed")
    assert follow(site, support, 0, 300, mv=0)[-1] == 0
    assert support.black_start.state == "aborted"


def test_an_instruction_comes_back_after_an_emergency() -> None:
    site = SimulatedBuilding(4, FAST).run(4000)
    support = supported(site, 20 * KW)
    filed = site.submit(-4 * KW, 120_000)
    assert abs(follow(site, support, 50_000, 4000)[-1] + 4 * KW) <= 4
    assert follow(site, support, 49_100, 8000)[-1] > 19 * KW  # beyond 0.8 Hz: emergency
    assert abs(follow(site, support, 50_000, 42_000)[-1] + 4 * KW) <= 4
    active = site.building.active(site.now_ms)
    assert active is not None and active.id == filed.id


def test_measurements_over_the_api_move_a_real_panel(tmp_path: Path) -> None:
    more = "support: {curve: droop, power_kw: 4, full_mhz: 200}\n"
    with house(tmp_path, 3, more) as (elements, panel):
        assert panel.get("/v1/support")["mode"] == "standby"
        # the simulated mix answers in 1000 ms, the class of frequency response
        def dip() -> bool:
            reply = panel.request("POST", "/v1/measurements", frequency_mhz=49_800,
                                  voltage_mv=230_000)
            assert reply.status_code == 202 and reply.json()["mode"] == "grid support"
            assert reply.json()["required_mw"] in (0, 4 * KW)
            return reply.json()["required_mw"] == 4 * KW

        until(dip, 10)
        until(lambda: panel.get("/v1/support")["mode"] == "standby", 10)  # nobody measures
        until(lambda: elements.power_mw == 0, 10)
        refused = panel.request("PUT", "/v1/black-start/facts", fact="loads shed")
        assert refused.status_code == 409
