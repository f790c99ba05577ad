"""Simulated elements: limits, leases, latches, chains and faults, on the real protocol.

The host's ends are ElementPorts; there is no aggregator here.
"""

import hashlib
import itertools
import random
from typing import Any

import pytest

from element.protocol import cbor, codes, schema
from hil.swarm.element import SimulatedElement
from hil.swarm.population import START_MS, Population
from hil.swarm.specs import Maker, converters, mixed
from host_tools import codec
from host_tools.identity.issuer import Authorities
from host_tools.identity.keyring import Keyring
from host_tools.interlock.panel import ReleaseDesk
from host_tools.links.element_port import ElementPort

LEASE_MS = 1500


class Host:
    """One ElementPort an element, and everything they were told."""

    def __init__(self, count: int = 1, maker: Maker | None = None, latency_ms: int = 0,
                 foreign: bool = False) -> None:
        rng = random.Random(3)
        self.authorities = Authorities.make(rng.randbytes)
        theirs = Authorities.make(rng.randbytes) if foreign else self.authorities
        self.population = Population.make(
            count, 1, theirs, maker=maker or converters(), latency_ms=latency_ms)
        self.keyring = Keyring(self.authorities.party,
                               {one.element_id: one for one in self.population.enrolled})
        self.rng = rng
        self.said: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.ports: dict[str, ElementPort] = {}
        self.sequence = 0
        for name in self.population.elements:
            self.plug(name)

    def plug(self, name: str) -> None:
        said = self.said[name] = []
        self.ports[name] = ElementPort(
            name, self.population.line(name), self.keyring, None, self.rng.randbytes,
            lambda kind, fields: said.append((kind, fields)), lambda element_id: None)

    @property
    def one(self) -> SimulatedElement:
        return next(iter(self.population.elements.values()))

    def run(self, duration_ms: int, step_ms: int = 100) -> "Host":
        population = self.population
        end_ms = population.now_ms + duration_ms
        while population.now_ms < end_ms:
            population.advance(min(end_ms, population.now_ms + step_ms))
            for port in self.ports.values():
                port.tick(population.now_ms)
            population.pump(lambda name, data, at: self.ports[name].receive(data, at))
        for element in population.elements.values():
            element.body.advance(population.now_ms)  # it is otherwise when it has to say something
        return self

    def connect(self) -> "Host":
        self.run(1500)
        for port in self.ports.values():
            assert port.has_session
        self.each(schema.TIME_SYNC, unix_ms=self.population.now_ms, record_interval_ms=10_000)
        return self.run(200)

    def each(self, kind: int, **fields: Any) -> None:
        for port in self.ports.values():
            port.send(kind, fields)

    def setpoint(self, power_mw: int, lease_ms: int = LEASE_MS) -> None:
        self.sequence += 1
        self.each(schema.SETPOINT, dispatch_id=7, sequence=self.sequence, power_mw=power_mw,
                  service=codes.SERVICE_REGULATION, start_unix_ms=self.population.now_ms,
                  lease_ms=lease_ms)

    def hold(self, power_mw: int, seconds: int) -> "Host":
        for _ in range(seconds):
            self.setpoint(power_mw)
            self.run(1000)
        return self

    def last(self, kind: int, name: str = "sim-00000") -> dict[str, Any]:
        return [fields for one, fields in self.said[name] if one == kind][-1]

    def statements(self, name: str = "sim-00000") -> list[bytes]:
        return [fields["statement"] for one, fields in self.said[name]
                if one == schema.STATEMENT]

    def acknowledge(self, name: str = "sim-00000") -> None:
        counter = self.population.elements[name].end.chain.counter
        self.ports[name].send(schema.STATEMENT_ACK, {"counter": counter})
        self.run(100)


def test_a_setpoint_is_followed_at_the_profiles_ramp_and_ends_with_its_lease() -> None:
    host = Host().connect()
    host.setpoint(2_000_000, 1000)
    host.run(100)
    assert host.last(schema.ACK)["accepted"]
    host.run(100)
    assert 0 < host.one.body.realized_mw <= 10_000_000 // 1000 * 200  # 10 kW/s
    host.run(500)
    assert host.one.body.realized_mw == 2_000_000
    host.run(300)
    assert host.one.body.state == codes.STATE_ACTIVE
    host.run(250)
    assert host.one.body.realized_mw == 0
    host.run(200)
    told = host.last(schema.TELEMETRY)
    assert told["state"] == codes.STATE_IDLE and told["inhibits"] & codes.INHIBIT_LEASE


def test_energy_is_conserved_and_the_telemetry_says_the_room() -> None:
    host = Host().connect()
    body = host.one.body
    before = body.soc_bp
    room_mwh = host.last(schema.TELEMETRY)["room_mwh_discharge"]
    host.hold(4_000_000, 120)
    # 4 kW for 2 min out of 10 kWh at 97 %: 137 bp, less what the first ramp takes
    assert 135 <= before - body.soc_bp <= 138
    told = host.last(schema.TELEMETRY)
    assert told["room_mwh_discharge"] == room_mwh - (before - told["soc_bp"]) * 1000
    assert told["room_mwh_charge"] > 0 and told["power_mw"] == 4_000_000


def test_what_the_profile_forbids_is_refused_with_its_limit() -> None:
    host = Host().connect()
    host.setpoint(5_000_001)
    host.run(100)
    ack = host.last(schema.ACK)
    assert (ack["accepted"], ack["reason"], ack["limit"]) == (False, codes.REASON_POWER, 5_000_000)
    host.setpoint(1_000_000, 6000)
    host.run(100)
    assert host.last(schema.ACK)["reason"] == codes.REASON_LEASE
    host.sequence -= 1
    host.setpoint(1_000_000)
    host.run(100)
    assert host.last(schema.ACK)["reason"] == codes.REASON_SEQUENCE
    assert host.one.body.realized_mw == 0 and host.one.end.refused == 3


def test_an_empty_element_stops_at_its_reserve() -> None:
    host = Host(maker=converters(reserve_soc_bp=4940)).connect()
    host.hold(5_000_000, 40)
    body = host.one.body
    assert body.realized_mw == 0 and 4985 <= body.soc_bp <= 4995
    assert host.last(schema.ACK)["reason"] in (codes.REASON_RESERVE, codes.REASON_ENERGY)
    assert host.last(schema.TELEMETRY)["room_mwh_discharge"] <= 1000  # a basis point
    assert host.last(schema.TELEMETRY)["power_mw_charge_ready"] > 0


def test_an_owners_limit_narrows_until_it_ends() -> None:
    host = Host().connect()
    host.sequence += 1
    host.each(schema.OWNER_LIMIT, owner="tenant", sequence=host.sequence,
              power_mw_discharge_max=1000, power_mw_charge_max=0, lease_ms=3000)
    host.run(100)
    host.setpoint(2000)
    host.run(100)
    assert host.last(schema.ACK)["reason"] == codes.REASON_OWNER
    host.run(3000)
    host.setpoint(2000)
    host.run(100)
    assert host.last(schema.ACK)["accepted"]


def test_a_trip_of_its_zone_latches_until_a_signed_order() -> None:
    host = Host(2).connect()
    host.hold(1_000_000, 2)
    host.each(schema.TRIP, cause=codes.TRIP_FIRE, zone=2)
    host.run(100)
    assert host.one.body.realized_mw == 1_000_000  # zone 1 hears nothing of zone 2
    host.each(schema.TRIP, cause=codes.TRIP_FIRE, zone=1)
    host.population.pump(lambda name, data, at: host.ports[name].receive(data, at))
    assert host.one.body.realized_mw == 0  # at once
    assert host.last(schema.TELEMETRY)["trip_cause"] == codes.TRIP_FIRE
    host.setpoint(1_000_000)
    host.run(100)
    assert host.last(schema.ACK)["reason"] == codes.REASON_TRIPPED
    desk = ReleaseDesk(host.authorities.life_safety)
    forged = ReleaseDesk(host.authorities.aggregator)
    for made in (forged, desk):
        order = made.order(host.one.element_id, codes.TRIP_FIRE, host.population.now_ms,
                           lambda number, order: None)
        host.each(schema.RELEASE, order=order)
        host.run(100)
        state = codes.STATE_TRIPPED if made is forged else codes.STATE_IDLE
        assert host.one.body.state == state
    others = host.population.elements["sim-00001"]
    assert others.body.state == codes.STATE_TRIPPED  # the order was not for it
    events = [codec.decode_statement(schema.SAFETY_EVENT, codec.peek(one)[2])
              for one in host.statements() if codec.peek(one)[0] == "cw/safety-event"]
    assert [(one["cause"], one["released"]) for one in events][-2:] == [
        (codes.TRIP_FIRE, False), (codes.TRIP_FIRE, True)]


def test_records_tell_of_whole_intervals_in_one_chain() -> None:
    host = Host().connect()
    host.hold(3_000_000, 32)
    host.acknowledge()
    host.run(500)
    key, previous = host.one.end.identity.sign.public, bytes(32)
    records = []
    for counter, statement in enumerate(dict.fromkeys(host.statements()), 1):
        typ, _, payload = codec.peek(statement)
        codec.verify1(statement, key, typ)
        kind = schema.EXECUTION_RECORD if typ == "cw/record" else schema.SAFETY_EVENT
        fields = codec.decode_statement(kind, payload)
        assert (fields["counter"], fields["previous_hash"]) == (counter, previous)
        previous = hashlib.sha256(statement).digest()
        if kind == schema.EXECUTION_RECORD:
            records.append(fields)
    whole = records[-1]
    assert whole["end_unix_ms"] - whole["start_unix_ms"] == 10_000
    assert whole["end_unix_ms"] % 10_000 == 0 and whole["quality"] == 0
    assert whole["realized_mw_mean"] == whole["realized_mw_max"] == 3_000_000
    assert whole["energy_mwh"] == 8333 and whole["dispatch_id"] == 7
    assert host.one.end.chain.unacked == []


def test_mixed_elements_of_one_seed_are_the_same_elements() -> None:
    def ids(seed: int) -> list[bytes]:
        population = Population.make(20, seed, maker=mixed)
        return [one.element_id for one in population.elements.values()]

    assert ids(1) == ids(1) != ids(2)
    host = Host(20, mixed).connect()
    kinds = {one.spec.profile["kind"] for one in host.population.elements.values()}
    assert len(kinds) == 3
    phases = {one.due_ms % 1000 for one in host.population.elements.values()}
    assert len(phases) > 10


def test_an_on_off_element_takes_whole_steps_and_keeps_its_times() -> None:
    host = Host(1, converters(kind=codes.KIND_BMS_FETS, step_mw=5_000_000, on_ms_min=3000,
                              off_ms_min=2000)).connect()
    host.setpoint(5_000_000)
    host.run(300)
    assert host.one.body.realized_mw == 5_000_000
    host.run(1500)
    assert host.one.body.realized_mw == 0  # no minimum time prolongs a lease
    host.setpoint(-5_000_000)
    host.run(1000)
    assert host.one.body.realized_mw == 0  # it rests first
    host.setpoint(-5_000_000)
    host.run(900)
    assert host.one.body.realized_mw == -5_000_000


# ---- faults ----


def test_silent_and_deaf_elements_lose_their_power_within_a_lease() -> None:
    host = Host().connect()
    host.hold(1_000_000, 2)
    host.one.faults.silent = True
    count = len(host.said["sim-00000"])
    host.hold(1_000_000, 2)
    assert len(host.said["sim-00000"]) == count and host.one.body.realized_mw == 1_000_000
    host.one.faults.silent, host.one.faults.deaf = False, True
    host.hold(1_000_000, 2)
    assert host.one.body.realized_mw == 0
    assert host.last(schema.TELEMETRY)["state"] == codes.STATE_IDLE
    host.one.faults.deaf = False
    host.run(5000)
    assert host.ports["sim-00000"].has_session


def test_refusals_late_answers_and_a_bms_that_is_not_heard() -> None:
    host = Host().connect()
    host.one.faults.refuses = True
    host.setpoint(1000)
    host.run(100)
    assert host.last(schema.ACK)["reason"] == codes.REASON_BMS
    host.one.faults.refuses, host.one.faults.ack_delay_ms = False, 700
    host.setpoint(1000)
    host.run(600)
    assert host.last(schema.ACK)["sequence"] == 1
    host.run(200)
    assert host.last(schema.ACK) == {"sequence": 2, "accepted": True, "reason": 0, "limit": None}
    host.one.faults.ack_delay_ms, host.one.faults.stale = 0, True
    host.run(1200)
    told = host.last(schema.TELEMETRY)
    assert told["state"] == codes.STATE_INHIBITED and told["inhibits"] & codes.INHIBIT_STALE
    host.setpoint(1000)
    host.run(100)
    assert host.last(schema.ACK)["reason"] == codes.REASON_STALE


def test_lost_frames_are_made_good() -> None:
    host = Host(8)
    for element in host.population.elements.values():
        element.faults.loss = 0.2
    host.run(30_000)
    assert all(port.has_session for port in host.ports.values())
    for _ in range(10):
        host.each(schema.TIME_SYNC, unix_ms=host.population.now_ms, record_interval_ms=10_000)
        host.run(100)
    host.hold(1_000_000, 10)
    assert sum(one.body.realized_mw > 0 for one in host.population.elements.values()) >= 4


def test_a_clone_is_the_same_element_on_another_line() -> None:
    host = Host().connect()
    host.population.clone("sim-00000", "twin")
    host.plug("twin")
    host.run(3000)
    assert host.ports["twin"].has_session
    assert host.ports["twin"].element_id == host.ports["sim-00000"].element_id


def test_an_element_of_a_foreign_issuer_gets_no_session() -> None:
    host = Host(foreign=True).run(4000)
    port = host.ports["sim-00000"]
    # it was enrolled by others: it believes none of our parties
    assert not port.has_session and "not the operator's" in port.enrol_error
    host.keyring.known.clear()
    host.run(4000)
    assert "enrolled with another host" in port.enrol_error


def test_a_wrong_clock_and_dropped_records_are_there_to_be_found() -> None:
    host = Host().connect()
    host.one.faults.clock_error_ms = 90_000
    host.each(schema.TIME_SYNC, unix_ms=host.population.now_ms, record_interval_ms=10_000)
    host.run(1500)
    told = host.last(schema.TELEMETRY)
    assert 89_000 < told["at_unix_ms"] - host.population.now_ms <= 90_000
    host.run(12_000)
    host.acknowledge()
    host.run(10_000)
    host.one.faults.records_to_drop = 2
    host.run(40_000)
    counters = [codec.decode_statement(schema.EXECUTION_RECORD, codec.peek(one)[2])["counter"]
                for one in dict.fromkeys(host.statements())
                if codec.peek(one)[0] == "cw/record"]
    gaps = [later - earlier for earlier, later in itertools.pairwise(counters)]
    assert 3 in gaps and host.one.faults.records_to_drop == 0


def test_latency_delays_both_ways() -> None:
    host = Host(latency_ms=300)
    host.run(4000)
    assert host.ports["sim-00000"].has_session
    host.each(schema.TIME_SYNC, unix_ms=host.population.now_ms, record_interval_ms=10_000)
    host.setpoint(0)
    host.run(500)
    assert not [1 for kind, _ in host.said["sim-00000"] if kind == schema.ACK]
    host.run(200)
    assert host.last(schema.ACK)["accepted"]


# ---- over a restart ----


def test_latch_chain_and_energy_outlive_a_restart() -> None:
    host = Host().connect()
    host.hold(4_000_000, 20)
    host.each(schema.TRIP, cause=codes.TRIP_FIRE, zone=0)
    host.run(100)
    before = host.one
    kept = cbor.decode(cbor.encode(before.state()))
    host.population.remove("sim-00000")
    identity = before.end.identity
    again = host.population.add(before.spec, pairs=(identity.sign, identity.agree))
    again.restore(kept)
    host.run(5000).connect()
    assert again.body.state == codes.STATE_TRIPPED and again.body.soc_bp == before.body.soc_bp
    assert again.body.usage.day.total_mwh == before.body.usage.day.total_mwh > 0
    assert again.end.chain.counter > before.end.chain.counter
    host.each(schema.STATEMENT_ACK, counter=before.end.chain.counter)
    host.run(500)
    boots = [codec.decode_statement(schema.SAFETY_EVENT, codec.peek(one)[2])
             for one in host.statements() if codec.peek(one)[0] == "cw/safety-event"]
    assert {one["limit"] for one in boots if one["cause"] == codes.NOTICE_BOOT} == {1, 2}


def test_a_grant_beyond_the_spec_is_refused() -> None:
    host = Host(0)
    spec = converters()(0, random.Random(1))
    element = host.population.add(spec)
    wide = converters(9000)(0, random.Random(1)).profile
    assert element._rated(wide) == "power_mw_discharge_max"
    assert element._rated(spec.profile) == ""
    with pytest.raises(ValueError, match="two elements"):
        host.population.add(spec)
    assert host.population.now_ms == START_MS
