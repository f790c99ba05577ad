"""Grid support with simulated elements: a dip is answered, the ramp is kept, blindness is zero."""

import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from element.protocol import codes
from hil.swarm.element import Spec
from hil.swarm.specs import converters
from host_tools.envelope.policy import Policy
from host_tools.inventory.elements import Placement
from host_tools.support.controller import Support
from host_tools.support.droop import CURVES
from host_tools.support.modes import Measurement, Nominal
from host_tools.support.share import Responders

from .panel_process import Elements, house, until
from .simulated_building import SimulatedBuilding

KW = 1_000_000
FAST = converters(5000, services=0x3F, response_ms=500, ramp_mw_per_s=50 * KW)


def supported(site: SimulatedBuilding, power_mw: int, responders: Responders | None = None,
              armed: bool = False) -> Support:
    """Return a building's support, its power lent by the building."""
    building = site.building
    return Support(CURVES["dynamic-containment"], power_mw, Nominal(), None,
                   lambda source, mw, service, now_ms, end_ms, among: building.lend(
                       f"{source}:{now_ms}", source, mw, service, now_ms, end_ms, among),
                   building.extend, building.finish, building.tell,
                   responders=responders or Responders(), armed=armed)


def follow(site: SimulatedBuilding, support: Support, mhz: int | None, duration_ms: int,
           mv: int = 230_000, place: str = "") -> list[int]:
    """Measure this frequency for a while; returns the power every 100 ms."""
    powers = []
    for _ in range(duration_ms // 100):
        if mhz is not None:
            support.measure(Measurement(site.now_ms, mhz, mv, place=place))
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


def test_a_ramp_goes_on_between_the_panels_regular_turns() -> None:
    site = SimulatedBuilding(4, FAST).run(4000)
    support = supported(site, 20 * KW)
    follow(site, support, 50_000, 1050)
    powers = follow(site, support, 49_500, 3000)
    # a fifth of a second's 30 % at a time: no step as large as half a second's
    steps = [later - now for now, later in itertools.pairwise(powers)]
    assert 0 < max(steps) <= 20 * KW * 3 // 10 // 2
    assert len([one for one in steps if one > KW]) >= 10


def test_who_is_armed_holds_zero_ready_while_the_grid_is_measured() -> None:
    site = SimulatedBuilding(2, FAST).run(4000)
    support = supported(site, 10 * KW, armed=True)
    assert follow(site, support, 50_000, 4000)[-1] == 0
    active = site.building.active(site.now_ms)
    assert active is not None and active.power_mw == 0 and support.mode.name == "standby"
    assert follow(site, support, 49_500, 5000)[-1] > 9 * KW
    follow(site, support, None, 8000)  # a meter that is gone arms nobody
    assert site.building.active(site.now_ms) is None
    idle = supported(site, 10 * KW)
    follow(site, idle, 50_000, 2000)
    assert site.building.active(site.now_ms) is None


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


def powers_mw(site: SimulatedBuilding) -> list[int]:
    """Return what each element gives now."""
    return [site.element(at).body.realized_mw for at in range(len(site.known))]


def test_the_near_and_healthy_respond_in_proportion_to_their_headroom() -> None:
    rule = Responders.of("north/f1/t1", ["north/f1/t2", "south/f9/t4"], 2, 7000)
    places = ["north/f1/t1", "north/f1/t2", "south/f9/t4", "north/f1/t1", "south/f9/t4"]

    def make(index: int, rng: random.Random) -> Spec:
        watts = (5000, 2500, 5000, 5000, 5000)[index]
        spec = converters(watts, services=0x3F, response_ms=500, ramp_mw_per_s=50 * KW)(index, rng)
        return replace(spec, soh_bp=6500 if index == 3 else 9000)

    site = SimulatedBuilding(5, make, policy=Policy("economic"), placements=[
        Placement(place=rule.number(place)) for place in places]).run(4000)
    support = supported(site, 3 * KW, rule)
    follow(site, support, 49_500, 4000)  # at home: the feeder's two, 5 to 2.5
    assert powers_mw(site) == [2 * KW, 1 * KW, 0, 0, 0]
    follow(site, support, 49_500, 4000, place="south/f9/t1")
    assert powers_mw(site) == [0, 0, 1_500_000, 0, 1_500_000]
    follow(site, support, 49_500, 3000, place="west/f2")
    assert powers_mw(site) == [0] * 5  # nobody is near, and that is said
    assert site.told("shortfall")[-1]["shortfall_mw"] == 3 * KW
    filed = site.submit(18 * KW, 60_000)  # an instruction is for everybody
    site.run(3000)
    assert filed.state == "accepted" and powers_mw(site)[3] > 0


def test_what_an_owner_keeps_is_still_there_afterwards() -> None:
    site = SimulatedBuilding(2, FAST, placements=[
        Placement(backup_mwh=10 * KW), Placement()]).run(4000)
    room_mwh = [telemetry(site, at)["room_mwh_discharge"] for at in (0, 1)]
    kept_mwh = room_mwh[1] - 20_000  # 20 Wh are free: 14 s at full power
    site = SimulatedBuilding(2, FAST, placements=[
        Placement(backup_mwh=10 * KW), Placement(backup_mwh=kept_mwh)]).run(4000)
    for service in codes.SERVICE_ENERGY, codes.SERVICE_FREQUENCY:
        able = site.aggregator.capability(site.now_ms)[service].discharge
        assert able.energy_mwh <= 20_000 < able.expected_mwh and able.sustained_mw[0] <= 240_000
    support = supported(site, 10 * KW)
    powers = follow(site, support, 49_500, 60_000)
    assert max(powers) == 5 * KW  # the second alone, as long as it has something to give
    assert powers[-1] < KW // 10
    assert kept_mwh <= telemetry(site, 1)["room_mwh_discharge"] <= kept_mwh + 2000
    assert telemetry(site, 0)["room_mwh_discharge"] >= room_mwh[0]
    follow(site, support, 50_500, 10_000)
    assert powers_mw(site) == [-5 * KW] * 2  # both may charge


def telemetry(site: SimulatedBuilding, index: int) -> dict[str, Any]:
    """Return what an element last told."""
    view = site.aggregator.inventory.get(list(site.known)[index])
    assert view is not None and view.telemetry is not None
    return view.telemetry


def test_measurements_over_the_api_move_a_real_panel(tmp_path: Path) -> None:
    ids: list[str] = []

    def more(elements: Elements) -> str:
        # the third is switched by FETs: not for frequency response
        ids.extend(elements.report()[at]["id"] for at in (0, 1, 3))
        return (
            "support: {curve: droop, power_kw: 1, full_mhz: 200, place: north/f1/t1, "
            "nearness_steps: 2}\n"
            f"elements:\n- {{id: {ids[0]}, place: south/f9/t1}}\n"
            f"- {{id: {ids[1]}, backup_kwh: 1000}}\n- {{id: {ids[2]}, place: north/f1/t7}}\n")

    with house(tmp_path, 4, more) as (elements, panel):
        assert panel.get("/v1/support")["mode"] == "standby"
        shown = {one["id"]: one for one in panel.get("/v1/elements")}
        assert [shown[one]["place"] for one in ids] == [
            "south/f9/t1", "north/f1/t1", "north/f1/t7"]
        assert shown[ids[1]]["backup_mwh"] == 1000 * KW

        def dip() -> list[int]:
            reply = panel.request("POST", "/v1/measurements", frequency_mhz=49_800,
                                  voltage_mv=230_000)
            assert reply.status_code == 202 and reply.json()["mode"] == "grid support"
            assert reply.json()["required_mw"] in (0, KW) and reply.json()["responders"] == 2
            powers = {one["id"]: one["power_mw"] for one in elements.report()}
            return [powers[one] for one in ids] if any(powers.values()) else []

        until(lambda: dip() == [0, 0, KW], 10)  # far, keeps all for its owner, responds
        until(lambda: panel.get("/v1/support")["mode"] == "standby", 10)  # nobody measures
        until(lambda: elements.power_mw == 0, 10)
        refused = panel.request("PUT", "/v1/black-start/facts", fact="loads shed")
        assert refused.status_code == 409
