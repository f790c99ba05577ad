"""Floor, building, campus, virtual power plant: the same interface over the same protocol."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cbor2
import pytest

from element.protocol import codes, schema
from element.protocol.errors import Error, RangeError, SignatureError
from hil.swarm.specs import converters, mixed
from hil.swarm.specs import profile_of as element_profile
from host_tools import codec
from host_tools.attest import standing
from host_tools.attest.archive import Verifier
from host_tools.attest.log import BELOW_KIND
from host_tools.attest.provenance import check, walk
from host_tools.cli.statement_command import read_source
from host_tools.identity.aggregate import (
    HOP_MS,
    admit,
    make_request,
    profile_of,
    read_grant,
    read_request,
)
from host_tools.identity.credentials import Trust
from host_tools.identity.issuer import Issuer
from host_tools.ledger.dispatches import ACCEPTED
from host_tools.settlement.tenants import month_unix_ms, statement

from .levels import Level

KW = 1_000_000


def plant(folder: Path) -> tuple[Level, Level, Level, list[Level]]:
    """Return (virtual power plant, campus, building, floors): three floors of two elements."""
    floors = [Level(f"floor-{at}", folder, zone=at, seed=at) for at in (1, 2, 3)]
    building = Level("building", folder, floors, zone=7)
    campus = Level("campus", folder, [building], zone=8)
    return Level("plant", folder, [campus]), campus, building, floors


def test_an_aggregate_offers_what_all_its_elements_offer_and_it_is_fast_enough_for() -> None:
    fast = element_profile(codes.KIND_CONVERTER, "LFP", 16, 5000) | {"services": 0x3F}
    limits = dict(codes.SERVICE_RESPONSE_MS)
    for response_ms in (500, 900, 3900, 59_900):
        offered = profile_of([fast | {"response_ms": 100}, fast | {"response_ms": response_ms}])
        assert offered["response_ms"] == response_ms + HOP_MS
        assert offered["services"] == sum(
            one for one, limit_ms in limits.items() if response_ms + HOP_MS <= limit_ms)
    slow = fast | {"response_ms": 600_000, "services": codes.SERVICE_FREQUENCY}
    with pytest.raises(RangeError):
        profile_of([slow])
    few = codes.SERVICE_REGULATION | codes.SERVICE_ENERGY
    assert profile_of([fast, fast | {"services": few}])["services"] == few


def test_a_setpoint_at_the_top_moves_the_elements_at_the_bottom(tmp_path: Path) -> None:
    top, _campus, _building, _floors = plant(tmp_path)
    top.run(8000)
    assert top.ready_mw == 30 * KW
    filed = top.submit(24 * KW, 20_000)
    assert (filed.state, filed.admitted_mw) == (ACCEPTED, 24 * KW)
    top.run(6000)
    assert abs(top.power_mw - 24 * KW) <= 100
    top.run(18_000)
    assert top.power_mw == 0


def test_discovery_names_what_is_below_each_level_and_nothing_further(tmp_path: Path) -> None:
    top, campus, building, floors = plant(tmp_path)
    top.run(6000)
    assert [len(one.aggregator.inventory) for one in (top, campus, building, *floors)] \
        == [1, 1, 3, 2, 2, 2]
    entry = next(iter(top.building.inventory.values()))
    assert entry["board"] == "aggregate"
    view = top.aggregator.inventory.views()[0]
    assert view.element_id == campus.authorities.aggregator.key_id
    assert (view.depth, view.profile["chemistry"], view.profile["kind"]) \
        == (3, "LFP", codes.KIND_AGGREGATE)
    document = top.building.inventory_document
    top.building.enumerate(top.now_ms)
    top.run(3000)
    assert top.building.inventory_document == document


def test_what_is_advertised_at_the_top_is_what_the_bottom_does(tmp_path: Path) -> None:
    top, campus, building, floors = plant(tmp_path)
    floors[0].population.elements["sim-00000"].faults.stale = True  # it can do nothing
    top.run(8000)
    assert [one.ready_mw for one in (top, campus, building, *floors)] \
        == [25 * KW, 25 * KW, 25 * KW, 5 * KW, 10 * KW, 10 * KW]
    more = top.submit(25 * KW + 1)
    assert more.state != ACCEPTED and more.reason == "power"
    most = top.submit(25 * KW, 15_000)
    assert most.state == ACCEPTED
    top.run(6000)
    assert abs(top.power_mw - 25 * KW) <= 100
    assert floors[0].population.elements["sim-00000"].body.realized_mw == 0


def test_an_aggregate_refuses_what_it_cannot_do_and_says_why(tmp_path: Path) -> None:
    floor = Level("floor", tmp_path)
    top = Level("top", tmp_path, [floor])
    top.run(6000)
    end = floor.end
    assert end is not None
    asked = {"dispatch_id": 5, "sequence": 1, "power_mw": 10 * KW, "service": 1,
             "start_unix_ms": top.now_ms, "lease_ms": 1500}
    assert end.on_setpoint(asked | {"power_mw": 10 * KW + 1}) == (codes.REASON_POWER, 10 * KW)
    assert end.on_setpoint(asked | {"power_mw": -10 * KW - 1}) == (codes.REASON_POWER, -10 * KW)
    assert end.on_setpoint(asked | {"service": 8})[0] == codes.REASON_SERVICE
    assert end.on_setpoint(asked | {"lease_ms": 6000}) == (codes.REASON_LEASE, 5000)
    assert end.on_setpoint(asked | {"start_unix_ms": top.now_ms - 1500})[0] == codes.REASON_LEASE
    floor.population.elements["sim-00001"].faults.silent = True
    top.run(4000)
    assert end.on_setpoint(asked | {"start_unix_ms": top.now_ms}) \
        == (codes.REASON_POWER, 5 * KW)
    assert end.on_setpoint(asked | {"start_unix_ms": top.now_ms, "power_mw": 5 * KW}) \
        == (codes.REASON_NONE, None)
    row = floor.building.dispatches.newest(1)[0]
    subject = top.authorities.aggregator.key_id.hex()
    assert row.source == "parent" and row.key.startswith(f"parent:{subject}:5:")
    floor.building.submit("mine", "emergency", KW, 1, top.now_ms, top.now_ms + 5000, None,
                          top.now_ms)
    assert end.on_setpoint(asked | {"start_unix_ms": top.now_ms, "power_mw": KW})[0] \
        == codes.REASON_OWNER
    assert end.ready() == (0, 0, 0, 0)


def test_a_shortfall_is_seen_at_every_level(tmp_path: Path) -> None:
    top, campus, building, floors = plant(tmp_path)
    top.run(8000)
    top.submit(28 * KW, 60_000, partial=True)
    top.run(5000)
    for one in floors[0].population.elements.values():
        one.faults.silent = True
    top.run(8000)
    assert abs(top.power_mw - 20 * KW) <= 5 * KW  # the silent ones end with their lease
    for level in (top, campus, building):
        split = level.aggregator.last_split
        assert split is not None and split.admitted_mw == 20 * KW
    assert top.aggregator.last_split is not None
    assert top.aggregator.last_split.shortfall_mw == 8 * KW


def test_a_lost_line_ends_in_zero_within_the_lease(tmp_path: Path) -> None:
    top, _campus, building, floors = plant(tmp_path)
    top.run(8000)
    top.submit(20 * KW, 60_000)
    top.run(5000)
    assert abs(top.power_mw - 20 * KW) <= 100
    building.kill()
    top.run(3500)
    assert top.power_mw == 0 and top.ready_mw == 0
    assert all(floor.building.dispatches.newest(1)[0].state == "done" for floor in floors)
    building.restart()
    top.run(15_000)
    assert top.ready_mw == 30 * KW and abs(top.power_mw - 20 * KW) <= 100
    ids = [one.id for one in building.building.dispatches.newest(10)]
    assert len(set(ids)) == len(ids) >= 2  # a number for ever


def test_a_fire_on_one_floor_is_seen_at_the_top_at_once_and_the_rest_carries_on(
    tmp_path: Path,
) -> None:
    top, _campus, _building, floors = plant(tmp_path)
    top.run(8000)
    top.submit(12 * KW, 60_000)
    top.run(5000)
    floors[1].building.alarm(1, top.now_ms, "smoke")
    top.run(200)
    assert top.ready_mw == 20 * KW
    assert floors[1].power_mw == 0
    top.run(4000)
    assert abs(top.power_mw - 12 * KW) <= 100 and floors[1].power_mw == 0


def test_a_trip_from_above_holds_until_a_signed_order_from_above(tmp_path: Path) -> None:
    top, campus, building, floors = plant(tmp_path)
    top.run(8000)
    building.building.alarm(2, top.now_ms, "panel", codes.TRIP_OPERATOR)  # floor-2's zone
    top.run(1000)
    bodies = [one.body for one in floors[1].population.elements.values()]
    assert all(body.interlock.cause == codes.TRIP_OPERATOR for body in bodies)
    assert top.ready_mw == 20 * KW
    # who is below can not end it for those above: the line to its elements is its own
    end = floors[1].end
    assert end is not None and not end.on_release(
        {"cause": codes.TRIP_FIRE, "order_number": 1, "element_id": end.end.identity.element_id})
    assert building.building.release(top.now_ms, 2) == 1
    top.run(4000)
    assert all(body.interlock.cause == 0 for body in bodies) and top.ready_mw == 30 * KW
    top.run(20_000)
    events = [(fields["cause"], fields["released"])
              for kind, fields in signed(building) if kind == schema.SAFETY_EVENT
              and fields["element_id"] == end.end.identity.element_id]
    assert events == [(codes.TRIP_OPERATOR, False), (codes.TRIP_OPERATOR, True)]
    assert campus.aggregator.counters.failed == 0


def test_an_alarm_of_a_floor_is_not_ended_from_above(tmp_path: Path) -> None:
    floor = Level("floor", tmp_path)
    top = Level("top", tmp_path, [floor])
    top.run(6000)
    floor.building.alarm(0, top.now_ms, "its own panel")
    top.run(1000)
    view = top.aggregator.inventory.views()[0]
    assert view.telemetry is not None and view.telemetry["trip_cause"] == codes.TRIP_FIRE
    assert top.building.release(top.now_ms) == 1  # an order goes out, signed and in vain
    top.run(2000)
    assert view.telemetry["trip_cause"] == codes.TRIP_FIRE and top.ready_mw == 0
    floor.building.release(top.now_ms)
    top.run(3000)
    assert top.ready_mw == 10 * KW


def signed(level: Level) -> list:
    return [(kind, codec.decode_statement(kind, codec.peek(statement)[2]))
            for kind, _, _, _, statement in level.aggregator.ledger.statements()
            if kind in (schema.EXECUTION_RECORD, schema.SAFETY_EVENT)]


def entries(level: Level) -> list:
    return [(kind, number, statement) for kind, _, _, number, statement
            in level.aggregator.ledger.statements()]


def test_a_record_at_the_top_is_followed_to_an_element_offline(tmp_path: Path) -> None:
    top, campus, building, floors = plant(tmp_path)
    top.run(8000)
    filed = top.submit(24 * KW, 40_000)
    top.run(75_000)
    chain = [floors[2], building, campus, top]
    for level in chain:
        assert level.aggregator.counters.failed == level.aggregator.counters.gaps == 0
        outcome = Verifier(level.authorities.trust_root).run(entries(level))
        assert outcome.failures == [] and outcome.by_kind["record"] > 0
    roots = [Trust(level.authorities.roots) for level in chain]
    element_id = floors[2].population.elements["sim-00001"].element_id
    at_ms = filed.start_unix_ms + 15_000
    steps = walk([entries(level) for level in chain], element_id, at_ms)
    records = check(steps, roots)
    assert [one["element_id"] for one in records] == [element_id] + [
        level.authorities.aggregator.key_id for level in chain[:-1]]
    assert records[3]["dispatch_id"] == filed.id
    # every level accounts the same interval, and its parts to the mWh
    assert len({(one["start_unix_ms"], one["end_unix_ms"]) for one in records}) == 1
    mine = [fields["energy_mwh"] for level in floors for kind, fields in signed(level)
            if kind == schema.EXECUTION_RECORD
            and fields["start_unix_ms"] == records[0]["start_unix_ms"]]
    assert sum(mine) == records[3]["energy_mwh"] > 60_000
    assert all(one["quality"] == 0 for one in records)
    for one, power_mw in zip(records, (4 * KW, 8 * KW, 24 * KW, 24 * KW), strict=True):
        assert abs(one["instructed_mw_mean"] - power_mw) <= 100
        assert abs(one["realized_mw_mean"] - power_mw) <= power_mw // 100
        assert one["realized_mw_min"] <= one["realized_mw_mean"] <= one["realized_mw_max"]
    # and a bit that is changed at any level is found
    for at, step in enumerate(steps):
        for name in ("record", "commitment"):
            forged = bytearray(getattr(step, name))
            forged[-70] ^= 1
            altered = [*steps]
            altered[at] = replace(step, **{name: bytes(forged)})
            with pytest.raises(Error):
                check(altered, roots)
    with pytest.raises(SignatureError):
        check(steps, [*roots[1:], roots[0]])


def test_what_was_made_while_a_level_was_dead_comes_later_and_once(tmp_path: Path) -> None:
    top, campus, building, floors = plant(tmp_path)
    top.run(8000)
    top.submit(20 * KW, 30_000)
    top.run(14_000)
    building.kill()
    top.run(25_000)
    building.restart()
    top.run(90_000)
    below = [fields["energy_mwh"] for floor in floors for kind, fields in signed(floor)
             if kind == schema.EXECUTION_RECORD]
    for level in (building, campus, top):
        records = [fields for kind, fields in signed(level) if kind == schema.EXECUTION_RECORD]
        assert sum(one["energy_mwh"] for one in records) == sum(below)
        counters = [(one["element_id"], one["counter"]) for one in records]
        assert len(set(counters)) == len(counters)
        assert level.aggregator.counters.failed == 0
        outcome = Verifier(level.authorities.trust_root).run(entries(level))
        assert outcome.failures == []
    assert any(one["quality"] & codes.QUALITY_PARTIAL for _, one in signed(campus)
               if "quality" in one)


def test_mixed_chemistries_keep_their_own_rules_and_nothing_is_overstated(tmp_path: Path) -> None:
    floors = [Level(f"floor-{at}", tmp_path, maker=mixed, count=6, zone=at, seed=at)
              for at in (1, 2, 3)]
    building = Level("building", tmp_path, floors)
    top = Level("top", tmp_path, [building])
    top.run(10_000)
    chemistries = {view.profile["chemistry"] for floor in floors
                   for view in floor.aggregator.inventory.views()}
    assert chemistries == {"LFP", "NMC"}
    assert building.aggregator.inventory.views()[0].profile["chemistry"] == "mixed"
    for service in (codes.SERVICE_REGULATION, codes.SERVICE_ENERGY):
        below = [floor.aggregator.capability(top.now_ms)[service] for floor in floors]
        above = top.aggregator.capability(top.now_ms)[service]
        for way in ("discharge", "charge"):
            parts = [getattr(one, way) for one in below]
            whole = getattr(above, way)
            assert 0 < whole.power_mw <= sum(one.power_mw for one in parts)
            assert 0 < whole.energy_mwh <= sum(one.energy_mwh for one in parts)
            for at, sustained_mw in enumerate(whole.sustained_mw):
                assert sustained_mw <= sum(one.sustained_mw[at] for one in parts)
    # no aggregate takes part in a class that one of its elements is not credentialed for
    assert top.aggregator.capability(top.now_ms)[codes.SERVICE_FREQUENCY].discharge.power_mw == 0
    filed = top.submit(top.ready_mw, 5000)
    assert filed.state == ACCEPTED
    top.run(4000)
    assert abs(top.power_mw - filed.admitted_mw) <= filed.admitted_mw // 50


def test_an_aggregate_has_the_limits_of_its_credential(tmp_path: Path) -> None:
    floor = Level("floor", tmp_path)
    request = read_request(make_request(
        "floor", floor.authorities.aggregator, floor.agree,
        profile_of([one.claims["profile"] for one in floor.known.values()])))
    assert (request.profile["power_mw_discharge_max"], request.profile["role"],
            request.profile["response_ms"]) == (10 * KW, "aggregate-1", 1250)
    top = Level("top", tmp_path, count=0)
    with pytest.raises(RangeError):
        admit(request, Issuer(top.authorities), 1, "t", 1_767_225_600, power_mw=10 * KW + 1)
    enrolled, grant = admit(request, Issuer(top.authorities), 1, "t", 1_767_225_600,
                            power_mw=6 * KW)
    assert enrolled.claims["profile"]["power_mw_charge_max"] == 6 * KW
    top.known[enrolled.element_id], floor.grant, floor.name = enrolled, grant, "floor"
    top.below.append(floor)
    floor.attach()
    top.aggregator.add_port("floor", floor._from_parent.append)
    top.run(6000)
    assert (top.ready_mw, floor.ready_mw) == (6 * KW, 10 * KW)
    # a grant for another key, and one whose request was altered, are refused
    other = Level("other", tmp_path)
    other.grant = grant
    with pytest.raises(SignatureError):
        other.attach()
    data = make_request("x", floor.authorities.aggregator, floor.agree,
                        request.profile | {"power_mw_discharge_max": 99 * KW})
    parts = cbor2.loads(data)
    parts[2] = cbor2.loads(make_request("x", floor.authorities.aggregator, floor.agree,
                                        request.profile))[2]
    with pytest.raises(SignatureError):
        read_request(cbor2.dumps(parts, canonical=True))
    for damaged in (b"", data[:-1], b"\x80", b"x" * 5000):
        with pytest.raises(Error):
            read_request(damaged)
        with pytest.raises(Error):
            read_grant(damaged)


def test_a_commitment_that_is_forged_or_forked_is_not_filed(tmp_path: Path) -> None:
    floor = Level("floor", tmp_path)
    top = Level("top", tmp_path, [floor])
    top.run(25_000)
    intake, view = top.aggregator._intake, top.aggregator.inventory.views()[0]
    below = [one for one in entries(top) if one[0] == BELOW_KIND]
    assert [view.commitment[0]] == [len(below)] and len(below) >= 2
    key = floor.authorities.aggregator
    fields = codec.decode_statement(schema.INTERVAL_COMMITMENT, codec.peek(below[-1][2])[2])

    def sign(pair, **changes):
        return codec.sign1(pair.private, "cw/interval", pair.key_id, codec.encode_statement(
            schema.INTERVAL_COMMITMENT, fields | changes))

    before = top.aggregator.counters.failed
    number = fields["number"] + 1
    intake.take("floor", view, sign(key, number=number, previous_hash=bytes(32)), top.now_ms)
    intake.take("floor", view, sign(top.authorities.aggregator, number=number), top.now_ms)
    intake.take("floor", view, sign(key, aggregator_id=bytes(8), number=number), top.now_ms)
    assert top.aggregator.counters.failed == before + 3
    assert [one for one in entries(top) if one[0] == BELOW_KIND] == below
    # one whose energy is not the record's is found in the archive
    wrong = sign(key, realized_mwh=fields["realized_mwh"] + 1)
    altered = [one for one in entries(top) if one != below[-1]] + [(BELOW_KIND, None, wrong)]
    outcome = Verifier(top.authorities.trust_root).run(altered)
    assert [one.why for one in outcome.failures] \
        == [f"record and commitment differ in energy ({fields['number']})"]


def test_tenants_are_credited_from_the_bottom_for_what_the_top_asked(tmp_path: Path) -> None:
    def of(tenant: str):
        make = converters(5000)
        return lambda index, rng: replace(make(index, rng), tenant=tenant)

    floors = [Level(f"floor-{at}", tmp_path, maker=of(tenant), zone=at, seed=at)
              for at, tenant in ((1, "north"), (2, "south"), (3, "north"))]
    building = Level("building", tmp_path, floors)
    top = Level("top", tmp_path, [building])
    top.run(8000)
    filed = top.submit(24 * KW, 30_000)
    top.run(70_000)
    trusts = []
    for floor in floors:
        floor.authorities.roots.save(tmp_path / floor.name / "roots")
        trusts.append(standing.Trust.load(tmp_path / floor.name))
    sources = [read_source(str(floor.path)) for floor in floors]
    month = month_unix_ms("2026-01")
    said = {tenant: statement(sources, trusts, tenant, *month) for tenant in ("north", "south")}
    assert all(one.rejected == [] for one in said.values())
    assert {tenant: len(one.elements) for tenant, one in said.items()} == {"north": 4, "south": 2}
    whole = sum(fields["energy_mwh"] for kind, fields in signed(top)
                if kind == schema.EXECUTION_RECORD)
    parts = {tenant: one.total.out_mwh - one.total.in_mwh for tenant, one in said.items()}
    assert sum(parts.values()) == whole > 100_000
    assert abs(parts["north"] - 2 * parts["south"]) <= 4
    # what is above tells of its own elements alone: of an aggregate, that there is one
    building.authorities.roots.save(tmp_path / "building" / "roots")
    above = statement([read_source(str(building.path))],
                      [standing.Trust.load(tmp_path / "building")], "floor-1", *month)
    assert above.total.record_count == 0
    assert above.aggregates == [floors[0].authorities.aggregator.key_id.hex()]
    # the floor's own row names the dispatch of the building, and so on up to the top
    building_id = building.authorities.aggregator.key_id.hex()
    keys = {line.key.rsplit(":", 2)[0] for one in said.values() for line in one.lines if line.key}
    assert keys == {f"parent:{building_id}"}
    rows = building.building.dispatches.newest(9)
    assert [row.key.split(":")[:3] for row in rows] == [
        ["parent", top.authorities.aggregator.key_id.hex(), str(filed.id)]]


def test_stale_discovery_on_a_floor_is_flagged_at_every_level(tmp_path: Path) -> None:
    floor = Level("floor", tmp_path, ride_through_ms=10_000)
    building = Level("building", tmp_path, [floor])
    top = Level("top", tmp_path, [building])
    top.run(8000)

    def flags() -> list[int]:
        views = [level.aggregator.inventory.views()[0] for level in (building, top)]
        return [view.telemetry["flags"] for view in views if view.telemetry is not None]

    assert flags() == [0, 0]
    for one in floor.population.elements.values():
        one.faults.silent = True
    top.run(5000)
    assert flags() == [codes.FLAG_DISCOVERY_STALE] * 2
    assert top.ready_mw == 10 * KW  # it is dispatched on what was confirmed last
    top.run(10_000)
    assert top.ready_mw == 0
    for one in floor.population.elements.values():
        one.faults.silent = False
    top.run(5000)
    assert flags() == [0, 0] and top.ready_mw == 10 * KW
    top.run(20_000)
    assert any(fields["quality"] & codes.QUALITY_STALE for kind, fields in signed(top)
               if kind == schema.EXECUTION_RECORD)


def test_a_setpoint_is_understood_in_the_clock_of_whoever_sends_it(tmp_path: Path) -> None:
    floor = Level("floor", tmp_path)
    top = Level("top", tmp_path, [floor])
    top.run(6000)
    end = floor.end
    assert end is not None
    end.on_time_sync({"unix_ms": top.now_ms + 30_000, "record_interval_ms": 10_000})
    asked = {"dispatch_id": 5, "sequence": 1, "power_mw": KW, "service": 1, "lease_ms": 1500}
    assert end.on_setpoint(asked | {"start_unix_ms": top.now_ms})[0] == codes.REASON_LEASE
    assert end.on_setpoint(asked | {"start_unix_ms": top.now_ms + 30_000}) \
        == (codes.REASON_NONE, None)
    row = floor.building.dispatches.newest(1)[0]
    assert (row.start_unix_ms, row.end_unix_ms) == (top.now_ms, top.now_ms + 1500)


def test_another_parent_takes_over_and_no_counter_is_used_twice(tmp_path: Path) -> None:
    floor = Level("floor", tmp_path)
    first = Level("first", tmp_path, [floor])
    first.run(25_000)
    assert floor.end is not None
    counter = floor.end.end.chain.counter
    assert counter >= 2
    floor.kill()
    floor.alive = True
    second = Level("second", tmp_path, count=0)
    second.now_ms = first.now_ms
    second.below.append(floor)
    floor._begin()
    second._admit(floor)
    second.aggregator.add_port("floor", floor._from_parent.append)
    second.run(60_000)
    assert floor.end.end.chain.counter > counter
    got = [fields["counter"] for kind, fields in signed(second)]
    assert got and min(got) > counter - 1 and second.ready_mw == 10 * KW


def test_a_crash_between_commitment_and_record_leaves_out_nothing(tmp_path: Path) -> None:
    floor = Level("floor", tmp_path)
    top = Level("top", tmp_path, [floor])
    top.run(15_000)
    top.kill()
    kept = floor.aggregator.ledger.kept("parent")
    assert kept is not None
    before = floor.aggregator.ledger.last_interval()
    top.run(12_000)
    assert floor.aggregator.ledger.last_interval() > before
    # as if the process had ended right behind the commitment
    floor.aggregator.ledger.keep("parent", kept)
    floor.kill()
    floor.restart()
    top.restart()
    top.run(40_000)
    ends = [fields["end_unix_ms"] for kind, fields in signed(top)
            if kind == schema.EXECUTION_RECORD]
    assert ends == sorted(set(ends)) and len(ends) >= 4
    assert all(later - earlier == 10_000
               for earlier, later in pairwise(ends))
    assert Verifier(top.authorities.trust_root).run(entries(top)).failures == []


def test_a_record_is_kept_below_until_its_commitment_has_arrived_above(tmp_path: Path) -> None:
    floor = Level("floor", tmp_path)
    top = Level("top", tmp_path, [floor])
    top.run(6000)
    assert floor.end is not None
    offer, floor.end._offer_commitments = floor.end._offer_commitments, lambda: None
    top.run(30_000)
    assert len([kind for kind, _ in signed(top)]) >= 2  # the records have arrived
    kept = [counter for counter, _ in floor.end.end.chain.unacked]
    assert len(kept) >= 2 and [one for one, _ in floor.end._below] == kept
    assert not [one for one in entries(top) if one[0] == BELOW_KIND]
    floor.end._offer_commitments = offer
    top.run(30_000)
    assert len(floor.end.end.chain.unacked) == len(floor.end._below) <= 1
    numbers = [codec.decode_statement(schema.INTERVAL_COMMITMENT, codec.peek(one[2])[2])["number"]
               for one in entries(top) if one[0] == BELOW_KIND]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) and len(numbers) >= 5
    assert Verifier(top.authorities.trust_root).run(entries(top)).failures == []


def test_a_release_from_above_is_for_its_own_trip_alone(tmp_path: Path) -> None:
    floor = Level("floor", tmp_path)
    top = Level("top", tmp_path, [floor])
    top.run(6000)
    hurt, well = floor.population.elements.values()
    hurt._trip(codes.TRIP_OVER_CURRENT, 0)
    top.building.alarm(1, top.now_ms, "panel", codes.TRIP_OPERATOR)
    top.run(2000)
    assert [one.body.interlock.cause for one in (hurt, well)] \
        == [codes.TRIP_OVER_CURRENT, codes.TRIP_OPERATOR]
    top.building.release(top.now_ms, 1)
    top.run(3000)
    assert [one.body.interlock.cause for one in (hurt, well)] == [codes.TRIP_OVER_CURRENT, 0]
    assert top.ready_mw == 5 * KW
    floor.building.release(top.now_ms)
    top.run(3000)
    assert hurt.body.interlock.cause == 0 and top.ready_mw == 10 * KW
