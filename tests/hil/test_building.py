"""A building in service, end to end with simulated elements: what fails, and what then happens."""

import random
from pathlib import Path

import pytest

from element.protocol import codes, schema
from element.protocol.errors import RangeError
from hil.swarm.element import Spec
from hil.swarm.specs import converters, mixed
from host_tools.envelope.policy import Policy
from host_tools.identity.issuer import Authorities
from host_tools.inventory.discovery import document
from host_tools.ledger.dispatches import ACCEPTED, CANCELLED, DONE, REFUSED, SUPERSEDED

from .simulated_building import SimulatedBuilding

KW = 1_000_000


def test_an_instruction_is_followed_and_ends_in_zero() -> None:
    site = SimulatedBuilding(4).run(4000)
    filed = site.submit(8 * KW, 10_000)
    assert (filed.state, filed.admitted_mw) == (ACCEPTED, 8 * KW)
    site.run(4000)
    assert abs(site.power_mw - 8 * KW) <= 4
    site.run(7000)
    assert site.power_mw == 0
    ended = site.building.dispatches.get(filed.id)
    assert ended is not None and ended.state == DONE
    # every setpoint carried the instruction's number, so its records do
    site.run(90_000)
    ids = {fields["dispatch_id"] for kind, fields in _records(site)
           if kind == schema.EXECUTION_RECORD}
    assert ids <= {0, filed.id} and filed.id in ids


def _records(site: SimulatedBuilding) -> list:
    from host_tools import codec

    return [(kind, codec.decode_statement(kind, codec.peek(statement)[2]))
            for kind, _, _, _, statement in site.aggregator.ledger.statements()
            if kind in (schema.EXECUTION_RECORD, schema.SAFETY_EVENT)]


def test_a_repeated_key_is_the_same_instruction_and_another_one_is_refused() -> None:
    site = SimulatedBuilding(2).run(4000)
    first = site.submit(2 * KW, key="k")
    again = site.building.submit("k", "api", 2 * KW, 1, first.start_unix_ms, first.end_unix_ms,
                                 None, site.now_ms + 500)
    assert again == first and len(site.told("dispatch")) == 1
    with pytest.raises(RangeError):
        site.submit(3 * KW, key="k")
    for duration_ms in (0, -5, 8 * 86_400_000):
        with pytest.raises(RangeError):
            site.submit(KW, duration_ms)


def test_whole_or_nothing_and_a_part_where_that_is_allowed() -> None:
    site = SimulatedBuilding(2, policy=Policy(partial=False)).run(4000)
    refused = site.submit(11 * KW)
    assert (refused.state, refused.admitted_mw) == (REFUSED, 0)
    assert refused.shortfall_mw == 11 * KW and refused.reason == "power"
    assert site.run(3000).power_mw == 0
    part = site.submit(11 * KW, partial=True)
    assert (part.state, part.admitted_mw) == (ACCEPTED, 10 * KW)
    assert abs(site.run(4000).power_mw - 10 * KW) <= 2


def test_the_newest_instruction_counts_and_cancelling_ends_it() -> None:
    site = SimulatedBuilding(2).run(4000)
    first, second = site.submit(4 * KW), site.submit(-2 * KW)
    site.run(5000)
    assert abs(site.power_mw + 2 * KW) <= 2
    stale = site.building.dispatches.get(first.id)
    assert stale is not None and stale.state == SUPERSEDED
    ended = site.building.cancel(second.id, site.now_ms)
    assert ended is not None and ended.state == CANCELLED
    assert site.run(4000).power_mw == 0
    assert site.building.cancel(999, site.now_ms) is None


def test_round_robin_begins_every_instruction_behind_the_last_one(tmp_path: Path) -> None:
    site = SimulatedBuilding(4, policy=Policy("round_robin"), ledger_path=tmp_path / "l.db")
    site.run(4000)

    def busy(after_ms: int) -> list[int]:
        site.run(after_ms)
        turn = site.aggregator.last_split
        assert turn is not None
        return [at for at, part in enumerate(turn.plan.parts_mw.tolist()) if part]

    for power_mw, elements in ((5 * KW, [0]), (10 * KW, [1, 2]), (-5 * KW, [3])):
        site.submit(power_mw, 10_000)
        assert busy(1500) == elements
        assert busy(5000) == elements  # nobody is exchanged in between
        site.run(5000)
    site.submit(5 * KW, 10_000)
    site.run(15_000)
    site.restart()
    site.run(20_000)
    site.submit(5 * KW)
    assert busy(2000) == [1]
    site.restart()  # within the instruction: it keeps its turn
    assert busy(20_000) == [1]


@pytest.mark.parametrize("fault", ["deaf", "refuses"])
def test_an_element_that_does_not_do_it_is_retried_then_replaced_in_the_interval(
    fault: str,
) -> None:
    """Timeout on DER response (seed 003): retries with backoff, circuit, re-dispatch."""
    site = SimulatedBuilding(4).run(4000)
    setattr(site.element(0).faults, fault, True)
    site.submit(8 * KW)
    site.run(6000)
    view = site.aggregator.inventory.get(site.element(0).element_id)
    assert view is not None and view.circuit.state == "open"
    assert site.told("circuit")[0]["element"] == site.element(0).element_id.hex()
    assert abs(site.power_mw - 8 * KW) <= 3 and site.element(0).body.realized_mw == 0
    setattr(site.element(0).faults, fault, False)
    site.run(30_000)
    assert view.circuit.is_closed
    assert abs(site.power_mw - 8 * KW) <= 4 and site.element(0).body.realized_mw > KW


def test_a_shortfall_that_comes_later_is_told_with_its_reason_and_so_is_its_end() -> None:
    site = SimulatedBuilding(2).run(4000)
    filed = site.submit(10 * KW, 120_000)
    site.run(4000)
    assert site.told("shortfall") == []
    site.element(0).faults.silent = site.element(0).faults.deaf = True
    site.run(5000)
    told = site.told("shortfall")
    assert told == [{"shortfall_mw": 5 * KW, "limited_by": ("power",), "id": filed.id}]
    site.element(0).faults.silent = site.element(0).faults.deaf = False
    site.run(20_000)
    assert site.told("shortfall")[-1] == {"shortfall_mw": 0, "limited_by": (), "id": filed.id}
    assert abs(site.power_mw - 10 * KW) <= 4


def test_lost_frames_cost_a_retry_and_no_element() -> None:
    site = SimulatedBuilding(4).run(4000)
    for one in site.population.elements.values():
        one.faults.loss = 0.1
    site.submit(8 * KW)
    site.run(20_000)
    circuits = [view.circuit for view in site.aggregator.inventory.views()]
    assert sum(one.retry_count for one in circuits) > 0
    assert site.aggregator.fleet.counted >= 3


def test_late_links_get_long_leases_and_are_left_to_themselves() -> None:
    """Communication jitter (seed 003): beyond 800 ms the element keeps its last schedule."""
    site = SimulatedBuilding(2, latency_ms=450).run(20_000)
    site.submit(4 * KW)
    site.run(10_000)
    views = site.aggregator.inventory.views()
    assert all(view.circuit.is_late for view in views)
    # the line is cut: within its lease each goes on with what was admitted, then to zero
    for one in site.population.elements.values():
        one.faults.deaf = True
    site.run(3000)
    assert abs(site.power_mw - 4 * KW) <= 2
    site.run(4000)
    assert site.power_mw == 0


def test_a_disturbed_bus_is_ridden_through_and_flagged() -> None:
    """Degraded discovery (seed 000): the last population is dispatched, flagged as stale."""
    site = SimulatedBuilding(4, ride_through_ms=20_000, delta_period_ms=5000,
                             answer_ms=2000).run(6000)
    site.submit(8 * KW, 120_000)
    site.run(3000)
    for one in site.population.elements.values():
        one.faults.silent = True  # what they say does not arrive; what they are told does
    site.run(12_000)
    views = site.aggregator.inventory.views()
    assert site.aggregator.fleet.counted == 4 and abs(site.power_mw - 8 * KW) <= 4
    assert site.building.discovery.is_stale(views, site.now_ms)
    assert site.building.discovery.age_ms(views, site.now_ms) >= 10_000
    site.run(15_000)
    assert site.aggregator.fleet.counted == 0 and site.power_mw == 0
    assert len(site.aggregator.inventory.views()) == 4


def test_discovery_is_idempotent_and_a_retrofit_is_named() -> None:
    site = SimulatedBuilding(5, mixed, full_period_ms=20_000, delta_period_ms=5000,
                             answer_ms=3000).run(6000)
    first = site.building.inventory_document
    other = SimulatedBuilding(5, mixed, seed=1)
    for name in reversed(list(other.population.elements)):  # heard in another order
        other.aggregator.ports[name] = other.aggregator.ports.pop(name)
    other.run(6000)
    assert other.building.inventory_document == first and len(first) > 500
    site.run(20_000)
    assert site.building.inventory_document == first
    told = len(site.told("inventory"))
    names = list(site.population.elements)
    gone = site.population.remove(names[0])
    new = site.population.add(converters(3000)(77, site.population.rng), site.authorities)
    site.known[new.element_id] = site.population.enrolled[-1]
    site.plug(new.spec.name)
    site.run(45_000)
    deltas = site.told("inventory")[told:]
    assert sum((one["added"] for one in deltas), ()) == (new.element_id.hex(),)
    assert sum((one["removed"] for one in deltas), ()) == (gone.element_id.hex(),)
    assert document(site.aggregator.inventory.views()) != first


def test_a_clone_is_quarantined_by_name_until_it_is_cleared() -> None:
    site = SimulatedBuilding(3).run(4000)
    names = list(site.population.elements)
    site.population.clone(names[0], "twin")
    site.plug("twin")
    site.run(4000)
    entries = site.aggregator.quarantine.entries()
    assert [one.what for one in entries] == [site.element(0).element_id.hex()]
    assert "answers on" in entries[0].why and "twin" in entries[0].why
    assert site.aggregator.fleet.counted == 2
    site.submit(4 * KW)
    site.run(4000)
    assert site.element(0).body.realized_mw == 0
    site.population.remove("twin")
    site.aggregator.remove_port("twin")
    site.run(5000)
    assert site.aggregator.fleet.counted == 2  # it does not become good by waiting
    assert site.aggregator.clear_quarantine(entries[0].what)
    assert site.run(4000).aggregator.fleet.counted == 3


def test_somebody_of_an_unknown_issuer_is_quarantined_by_line_and_let_go_when_known() -> None:
    site = SimulatedBuilding(2).run(4000)
    foreign = Authorities.make(random.Random(99).randbytes)
    stranger = site.population.add(converters(5000)(50, site.population.rng), foreign)
    site.plug(stranger.spec.name)
    site.run(4000)
    entries = site.aggregator.quarantine.entries()
    assert [one.what for one in entries] == [stranger.spec.name]
    assert stranger.element_id.hex() in entries[0].why and "another host" in entries[0].why
    assert site.told("quarantine")[0]["what"] == stranger.spec.name
    assert site.aggregator.fleet.counted == 2
    # its line is given to one of ours
    site.population.remove(stranger.spec.name)
    ours = site.population.add(Spec(stranger.spec.name, stranger.spec.profile), site.authorities)
    site.known[ours.element_id] = site.population.enrolled[-1]
    site.run(6000)
    assert site.aggregator.quarantine.entries() == [] and site.aggregator.fleet.counted == 3


def test_a_fire_holds_its_zone_whatever_is_instructed_until_the_release() -> None:
    maker = mixed
    site = SimulatedBuilding(12, maker, seed=3).run(4000)
    zone = site.element(0).spec.zone
    inside = [one for one in site.population.elements.values() if one.spec.zone == zone]
    before = site.aggregator.capability(site.now_ms)[1].discharge.power_mw
    site.submit(before, partial=True)
    site.run(5000)
    told = site.building.alarm(zone, site.now_ms, "detector", input_on=True)
    # the capability drops in the same report, before any element has answered
    after = site.aggregator.capability(site.now_ms)[1].discharge.power_mw
    assert told == len(inside) and after < before
    site.run(300)
    assert all(one.body.realized_mw == 0 for one in inside)
    site.run(3000)
    assert site.building.release(site.now_ms) == 0  # the detector still says fire
    site.run(2000)
    assert all(one.body.state == codes.STATE_TRIPPED for one in inside)
    site.building.quiet(zone, site.now_ms)
    site.run(2000)
    assert all(one.body.state == codes.STATE_TRIPPED for one in inside)
    assert site.building.release(site.now_ms) == len(inside)
    site.run(3000)
    assert not any(one.body.state == codes.STATE_TRIPPED for one in inside)
    site.run(70_000)
    causes = [fields["cause"] for kind, fields in _records(site)
              if kind == schema.SAFETY_EVENT and fields["cause"] < codes.NOTICE_BOOT]
    assert causes.count(codes.TRIP_FIRE) == 2 * len(inside)  # tripped, released: both signed


def test_a_trip_is_repeated_until_the_element_says_so() -> None:
    site = SimulatedBuilding(2).run(4000)
    site.element(0).faults.deaf = True
    site.building.alarm(1, site.now_ms, "test")
    site.run(1000)
    assert site.element(1).body.state == codes.STATE_TRIPPED
    assert site.element(0).body.state != codes.STATE_TRIPPED
    site.element(0).faults.deaf = False
    site.run(600)
    assert site.element(0).body.state == codes.STATE_TRIPPED


def test_a_restart_goes_on_with_the_instruction_once_and_keeps_the_alarm(tmp_path: Path) -> None:
    site = SimulatedBuilding(4, ledger_path=tmp_path / "ledger.db").run(4000)
    told = len(site.told("inventory"))
    filed = site.submit(8 * KW, 40_000)
    done = site.submit(2 * KW, 1000, key="short")
    site.run(3000)
    site.building.alarm(9, site.now_ms, "kitchen")
    site.restart()
    site.run(8000)
    active = site.building.active(site.now_ms)
    # the short one superseded the first; neither begins again after the restart
    assert active is None and site.power_mw == 0
    third = site.submit(4 * KW, 30_000)
    site.run(3000)
    site.restart()
    site.run(8000)
    assert site.building.active(site.now_ms) == third and abs(site.power_mw - 4 * KW) <= 4
    assert [one.zone for one in site.aggregator.alarms.all()] == [9]
    assert third.id > done.id > filed.id
    assert site.building.submit("short", "api", 2 * KW, 1, done.start_unix_ms, done.end_unix_ms,
                                None, site.now_ms).state == DONE
    assert len(site.building.inventory) == 4
    assert len(site.told("inventory")) == told  # the same population is no news


def test_records_that_are_lost_for_good_are_declared_as_a_gap() -> None:
    site = SimulatedBuilding(2).run(4000)
    site.run(70_000)
    site.element(0).faults.records_to_drop = 1
    site.run(180_000)
    assert site.aggregator.counters.gaps == 1
    assert site.aggregator.counters.failed == 0
