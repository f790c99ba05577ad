"""The aggregator as an element to the one above it: one line, the element's protocol. No I/O.

What stands behind this element is a building with its own elements, limits and alarms. It keeps
the element's promises: a setpoint is admitted whole or refused, power is lent for a lease and is
zero after it, what is ready is never overstated, and a trip holds until a signed order ends it.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import cbor2

from element.protocol import codes, schema
from element.protocol.errors import DecodeError, RangeError, SignatureError
from host_tools import codec
from host_tools.attest.commitment import Leaf
from host_tools.dispatch.plan import dispatch
from host_tools.envelope.capability import HORIZONS_MS, SERVICES, Direction
from host_tools.envelope.ceilings import (
    BY_ENVELOPE,
    BY_HEADROOM,
    BY_POWER,
    BY_RAMP,
    BY_RESERVE,
    ceilings,
    seconds,
)
from host_tools.envelope.policy import Instruction
from host_tools.identity.keys import KeyPair
from host_tools.interlock.alarms import BUILDING, Alarm
from host_tools.inventory.elements import TELEMETRY_AGE_MS_MAX
from host_tools.ledger.dispatches import CANCELLED, SUPERSEDED, Dispatch
from host_tools.ledger.intervals import Committed
from host_tools.links.element_chain import STATEMENT_RETRY_MS, STATEMENTS_IN_FLIGHT
from host_tools.links.element_end import ElementEnd, Peer
from host_tools.links.element_identity import ElementIdentity
from host_tools.links.element_user import Answer, ElementUser
from host_tools.panel.building import Building
from host_tools.panel.upward import Look, Meter, look

BOARD = "aggregate"
SOURCE = "parent"
TELEMETRY_PERIOD_MS = 1000
# Elements are looked at this often at most; an alarm is told at once.
LOOK_MS = 100
# What is ready has to change by this much to be told before it is due.
CHANGE_BP = 200
# A setpoint whose start is further from now was delayed or is for another day.
START_OFFSET_MS_MAX = 5000
# Setpoints are for a lease; the elements' own setpoints end a little after it.
MARGIN_MS = 500
_STATE = "parent"
_REASONS = {BY_POWER: codes.REASON_POWER, BY_ENVELOPE: codes.REASON_ENERGY,
            BY_HEADROOM: codes.REASON_RESERVE, BY_RESERVE: codes.REASON_RESERVE,
            BY_RAMP: codes.REASON_RAMP}


class ParentEnd(ElementUser):
    """One building's end of the line to its parent.

    sign: the aggregator's own key, so that the credential of the parent's issuer vouches for the
    commitments too. grant: the EnrolGrant that the parent gave, as encoded; another one takes the
    place of the one before, and the chain goes on. send: where bytes go.
    """

    def __init__(self, building: Building, sign: KeyPair, agree: KeyPair, grant: dict[str, Any],
                 send: Callable[[bytes], None], random_bytes: Callable[[int], bytes],
                 firmware: str = "cellwall", now_ms: int = 0) -> None:
        """Raises SignatureError for a grant that is not ours, DecodeError for a damaged state."""
        self.building = building
        self._meter = Meter()
        self._now_ms = now_ms
        self._look_ms = self._telemetry_ms = 0
        self._seen = Look()
        self._told: tuple[int, ...] = ()
        self._skew_ms = 0
        self._row: Dispatch | None = None
        self._asked: tuple[bytes, int] = (b"", 0)  # whose dispatch the row is, and its id
        self._power_mw = 0
        self._latched = codes.TRIP_NONE
        self._reported = 0  # the newest commitment that a record was made of
        self._below: list[tuple[int, bytes]] = []  # commitments by their record's counter
        self._sent_ms: dict[int, int] = {}
        self._grant = hashlib.sha256(grant["credential"]).digest()
        identity = ElementIdentity(sign, agree, keep=self._keep)
        self.end = ElementEnd(identity, self, send, random_bytes, BOARD, firmware,
                              own_clock=True, open_enrolment=False)
        self._begin(grant)
        building.aggregator.intervals.early = True
        building.aggregator.intervals.told = self._on_committed

    # what is kept

    def _begin(self, grant: dict[str, Any]) -> None:
        """Go on where a restart has left it, with this grant."""
        ledger = self.building.aggregator.ledger
        kept = ledger.kept(_STATE)
        state = None if kept is None else cbor2.loads(kept)
        identity = self.end.identity
        if state is not None:
            self.end.chain.restore(state["chain"])
            self._reported, self._latched = state["reported"], state["latched"]
            self._below = [(counter, statement) for counter, statement in state["below"]]
        if state is not None and state["grant"] == self._grant:
            identity.restore(state["identity"])
            self.end.order_number = state["order_number"]
        else:
            code = identity.grant(grant)
            if code:
                raise SignatureError("the grant of the parent is not for this aggregator", code)
        self._catch_up(state is None)
        self._keep()

    def _keep(self) -> None:
        end = self.end
        self.building.aggregator.ledger.keep(_STATE, cbor2.dumps({
            "grant": self._grant, "identity": end.identity.state(), "chain": end.chain.state(),
            "order_number": end.order_number, "reported": self._reported,
            "latched": self._latched, "below": [list(one) for one in self._below]}))

    def _catch_up(self, is_new: bool) -> None:
        """Make the records of commitments that a crash has left without one."""
        ledger = self.building.aggregator.ledger
        newest = ledger.last_of_kind(schema.INTERVAL_COMMITMENT)
        if newest is None:
            return
        last = codec.decode_statement(schema.INTERVAL_COMMITMENT, codec.peek(newest)[2])["number"]
        if is_new:
            self._reported = last  # the parent is told of nothing before it knew us
        if last <= self._reported:
            return
        for number, statement in ledger.of_kind(schema.INTERVAL_COMMITMENT):
            if number > self._reported:
                fields = codec.decode_statement(schema.INTERVAL_COMMITMENT,
                                                codec.peek(statement)[2])
                leaves = [Leaf(one["element_id"], kind, one, signed)
                          for kind, signed in ledger.chained(number)
                          for one in [codec.decode_statement(kind, codec.peek(signed)[2])]]
                self._on_committed(Committed(statement, fields, leaves))

    # bytes and time

    @property
    def due_ms(self) -> int:
        """When `step` is wanted next."""
        return self._telemetry_ms

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take bytes from the line."""
        self._now_ms = now_ms
        self.end.receive(data, now_ms)
        self._drop_acknowledged()

    def step(self, now_ms: int) -> None:
        """Let time pass, after the building's own turn: account, tell what is due or has changed.
        """
        self._now_ms = now_ms
        self._look_at_alarms()
        regular = now_ms >= self._telemetry_ms
        changed = self._alarm_cause != (self._told[1] if self._told else 0)
        if not regular and not changed and now_ms - self._look_ms < LOOK_MS:
            return
        self._look()
        if regular:
            self._telemetry_ms = now_ms - now_ms % TELEMETRY_PERIOD_MS + TELEMETRY_PERIOD_MS
            self._offer_commitments()
            self.end.tick(now_ms)
        told = self.telemetry()
        if regular or self._is_news(told):
            self._told = _summary(told)
            self.end.send_telemetry(told)

    def _look(self) -> None:
        """See what the elements do, and account it."""
        now_ms = self._look_ms = self._now_ms
        aggregator = self.building.aggregator
        fleet = aggregator.fleet
        age_ms_max = TELEMETRY_AGE_MS_MAX
        if fleet.rides_through(now_ms):
            age_ms_max = 10**9
        self._seen = look(aggregator.inventory.views(), now_ms, age_ms_max)
        row = self._current
        self._meter.account(now_ms, self._seen, 0 if row is None else self._power_mw,
                            0 if row is None else self._asked[1], self._interval_ms)

    @property
    def _interval_ms(self) -> int:
        return self.building.aggregator.intervals.interval_ms

    def _is_news(self, told: dict[str, Any]) -> bool:
        """Return True for what is to be told before its time: a state, or another capability."""
        before, now = self._told, _summary(told)
        if not before or before[:3] != now[:3]:
            return True
        return any(abs(one - other) * 10_000 > max(one, other) * CHANGE_BP
                   for one, other in zip(before[3:], now[3:], strict=True))

    # what goes up

    def _on_committed(self, committed: Committed) -> None:
        """Make the record of an interval that was committed to, and keep both for the parent."""
        number = committed.fields["number"]
        if number <= self._reported or not self.end.identity.enrolled:
            return
        fields = self._meter.record(committed.fields, committed.leaves)
        self._reported = number
        chain = self.end.chain
        # it may be the second that is chained: a notice of what was lost can go before it
        before, self._below = self._below, [
            *self._below, (chain.counter + 1, committed.statement)]
        if not chain.add(schema.EXECUTION_RECORD, fields):
            self._below = before
        elif self._below[-1][0] != chain.counter:
            self._below[-1] = (chain.counter, committed.statement)
            self._keep()

    def _offer_commitments(self) -> None:
        """Send the commitments of records that are on their way, each before its record."""
        if not self.end.has_session:
            return
        flying = {counter for counter, _ in self.end.chain.unacked[:STATEMENTS_IN_FLIGHT]}
        for counter, statement in self._below:
            sent_ms = self._sent_ms.get(counter)
            if counter in flying and (sent_ms is None
                                      or self._now_ms - sent_ms > STATEMENT_RETRY_MS):
                self._sent_ms[counter] = self._now_ms
                self.end.send(schema.STATEMENT, {"statement": statement})

    def _drop_acknowledged(self) -> None:
        unacked = self.end.chain.unacked
        first = unacked[0][0] if unacked else self.end.chain.counter + 1
        if self._below and self._below[0][0] < first:
            self._below = [one for one in self._below if one[0] >= first]
            self._sent_ms = {one: at for one, at in self._sent_ms.items() if one >= first}
            self._keep()

    # life safety

    @property
    def _alarm(self) -> Alarm | None:
        alarms = self.building.aggregator.alarms
        return alarms.of(BUILDING) if alarms.in_alarm(BUILDING) else None

    @property
    def _alarm_cause(self) -> int:
        alarm = self._alarm
        return codes.TRIP_NONE if alarm is None else alarm.cause

    def _look_at_alarms(self) -> None:
        """Sign that the whole has tripped, or was released, whoever did it."""
        cause = self._alarm_cause
        if cause == self._latched:
            return
        before, self._latched = self._latched, cause
        for what, released in ((before, True), (cause, False)):
            if what:
                self.end.chain.add(schema.SAFETY_EVENT, {
                    "cause": what, "at_unix_ms": self._now_ms, "value": BUILDING, "limit": 0,
                    "released": released, "index": None})
        if cause:
            self._meter.flag(self._now_ms, codes.QUALITY_TRIPPED, self._interval_ms)

    def on_trip(self, fields: dict[str, Any]) -> None:
        if fields["zone"] in (0, self.end.identity.zone):
            self.building.alarm(BUILDING, self._now_ms, SOURCE, fields["cause"])
            self._end_row()
            self._look_at_alarms()

    def on_release(self, order: dict[str, Any]) -> bool:
        """Release what the parent has tripped. An alarm of our own is ours to end."""
        alarm = self._alarm
        if alarm is None or alarm.source != SOURCE or alarm.input_on \
                or alarm.cause != order["cause"]:
            return False
        self.building.release(self._now_ms, BUILDING, alarm.cause)
        self._look_at_alarms()
        return True

    # setpoints

    @property
    def _current(self) -> Dispatch | None:
        """The parent's instruction while it is in force."""
        row = self._row
        if row is not None and not self.building.is_open(row.id):
            return None
        return row

    def on_setpoint(self, fields: dict[str, Any]) -> Answer | None:
        reason, limit = self._admit(fields)
        if reason != codes.REASON_NONE:
            self._meter.flag(self._now_ms, codes.QUALITY_REFUSED, self._interval_ms)
        return reason, limit

    def _admit(self, fields: dict[str, Any]) -> Answer:
        """Take a setpoint, whole, or say why not."""
        now_ms, power_mw = self._now_ms, fields["power_mw"]
        start_ms = fields["start_unix_ms"] - self._skew_ms
        left_ms = start_ms + fields["lease_ms"] - now_ms
        if power_mw:
            answer = self._refusal(fields, start_ms, left_ms)
            if answer[0] != codes.REASON_NONE:
                return answer
        elif self._current is None:
            return codes.REASON_NONE, None
        return self._lend(fields, max(left_ms, 1) if power_mw == 0 else left_ms)

    def _refusal(self, fields: dict[str, Any], start_ms: int, left_ms: int) -> Answer:
        """Return why a power that is not zero is refused, and the limit behind it."""
        now_ms, identity = self._now_ms, self.end.identity
        profile, power_mw = identity.claims["profile"], fields["power_mw"]
        if not identity.valid_at(now_ms):
            return codes.REASON_NOT_ENROLLED, None
        cause = self._alarm_cause
        if cause:
            return codes.REASON_TRIPPED, cause
        if fields["service"] & ~profile["services"] or not fields["service"]:
            return codes.REASON_SERVICE, profile["services"]
        lease_ms_max = profile["lease_ms_max"]
        if fields["lease_ms"] > lease_ms_max or abs(start_ms - now_ms) > START_OFFSET_MS_MAX \
                or left_ms <= 0:
            return codes.REASON_LEASE, lease_ms_max
        most_mw = profile["power_mw_discharge_max" if power_mw > 0 else "power_mw_charge_max"]
        if abs(power_mw) > most_mw:
            return codes.REASON_POWER, most_mw if power_mw > 0 else -most_mw
        if self.building.outranks(SOURCE, now_ms):
            return codes.REASON_OWNER, None
        return self._ceiling(power_mw, fields["service"], left_ms)

    def _ceiling(self, power_mw: int, service: int, left_ms: int) -> Answer:
        """Plan a power with the elements as they are; what does not fit is refused."""
        fleet, now_ms = self.building.aggregator.fleet, self._now_ms
        fleet.renew(now_ms)
        duration_ms = left_ms + MARGIN_MS
        asked = Instruction(
            power_mw, service, duration_ms, fleet.lease_ms, power_mw, 1000, now_ms, False)
        plan = dispatch(fleet.population, fleet.policy, asked)
        if not plan.refused:
            return codes.REASON_NONE, None
        sign = 1 if power_mw > 0 else -1
        bound = ceilings(fleet.population, fleet.policy, sign, asked)
        return _REASONS.get(plan.limited_by[-1], codes.REASON_POWER), sign * bound.total_mw

    def _lend(self, fields: dict[str, Any], left_ms: int) -> Answer:
        """Let the building follow a setpoint until its lease ends."""
        now_ms, power_mw = self._now_ms, fields["power_mw"]
        peer = self._peer
        asked = (b"" if peer is None else peer.subject, fields["dispatch_id"])
        if self._row is not None and asked == self._asked:
            if self.building.extend(self._row.id, power_mw, fields["service"],
                                    now_ms + left_ms, now_ms):
                self._power_mw = power_mw
                self._look()
                return codes.REASON_NONE, None
            known = self.building.dispatches.get(self._row.id)
            other = self.building.active(now_ms)
            if known is not None and (known.state == CANCELLED or (
                    known.state == SUPERSEDED and other is not None and other.source != SOURCE)):
                return codes.REASON_OWNER, None  # somebody here has taken over
        if not power_mw:
            return codes.REASON_NONE, None
        try:
            self._row = self.building.lend(
                f"{SOURCE}:{asked[0].hex()}:{asked[1]}:{now_ms}", SOURCE, power_mw,
                fields["service"], now_ms, now_ms + left_ms)
        except RangeError:
            return codes.REASON_OWNER, None
        self._asked, self._power_mw = asked, power_mw
        self._look()
        return codes.REASON_NONE, None

    @property
    def _peer(self) -> Peer | None:
        return next((one for one in self.end.peers
                     if one.party == codes.PARTY_AGGREGATOR), None)

    def _end_row(self) -> None:
        row = self._current
        if row is not None:
            self.building.finish(row.id, self._now_ms)

    # what else an element is asked

    def on_owner_limit(self, fields: dict[str, Any]) -> Answer | None:
        return codes.REASON_OWNER, None

    def on_time_sync(self, fields: dict[str, Any]) -> None:
        # our clock is the site's; setpoints are understood in the parent's
        self._skew_ms = fields["unix_ms"] - self._now_ms

    def on_enrolled(self) -> None:
        raise DecodeError("enrolment over the line", None)

    def announcement(self) -> dict[str, Any]:
        return {"state": self._state(), "soc_bp": self._seen.soc_bp, "soh_bp": self._seen.soh_bp}

    # telemetry

    def _state(self) -> int:
        building = self.building
        if self._alarm_cause:
            return codes.STATE_TRIPPED
        if not building.aggregator.fleet.counted or building.outranks(SOURCE, self._now_ms):
            return codes.STATE_INHIBITED
        row = self._current
        return codes.STATE_ACTIVE if row is not None and self._power_mw else codes.STATE_IDLE

    def ready(self) -> tuple[int, int, int, int]:
        """Return (discharge, charge) in mW and (out, in) in mWh that can be dispatched.

        Of every class of service in the credential, the least: none of them is overstated.
        """
        if self._state() not in (codes.STATE_IDLE, codes.STATE_ACTIVE):
            return 0, 0, 0, 0
        profile = self.end.identity.claims["profile"]
        capability = self.building.aggregator.capability(self._now_ms)
        mine = [capability[one] for one in SERVICES if profile["services"] & one]
        if not mine:
            return 0, 0, 0, 0
        out = min(one.discharge.power_mw for one in mine)
        into = min(one.charge.power_mw for one in mine)
        return (min(out, profile["power_mw_discharge_max"]),
                min(into, profile["power_mw_charge_max"]),
                min(_room_mwh(one.discharge) for one in mine),
                min(_room_mwh(one.charge) for one in mine))

    def telemetry(self) -> dict[str, Any]:
        aggregator, seen = self.building.aggregator, self._seen
        state, row = self._state(), self._current
        discharge_mw, charge_mw, out_mwh, in_mwh = self.ready()
        stale = aggregator.fleet.rides_through(self._now_ms) or seen.below_stale
        return {
            "at_unix_ms": self._now_ms, "state": state,
            "inhibits": codes.INHIBIT_STALE if not aggregator.fleet.counted else
            codes.INHIBIT_LIMIT if state == codes.STATE_INHIBITED else
            codes.INHIBIT_LEASE if row is None else 0,
            "trip_cause": self._alarm_cause, "power_mw": seen.power_mw,
            "instructed_mw": self._power_mw if row is not None else 0,
            "power_mw_discharge_ready": discharge_mw, "power_mw_charge_ready": charge_mw,
            "room_mwh_discharge": out_mwh, "room_mwh_charge": in_mwh,
            "pack_mv": None, "current_ma": 0, "current_age_ms": 0, "soc_bp": seen.soc_bp,
            "cell_mv_min": None, "cell_mv_max": None, "temperature_mdegc_max": None,
            "bms_age_ms": None, "cells_age_ms": None, "fets": None,
            "refused_count": self.end.refused, "dropped_count": self.end.dropped,
            "late_ms_max": 0, "flags": codes.FLAG_DISCOVERY_STALE if stale else 0,
            "soc_bp_low": seen.soc_bp_low, "soc_bp_high": seen.soc_bp_high,
            "soc_bp_doubt": None, "cell_index_min": None, "cell_index_max": None,
            "bms_errors": None, "bms_lost_count": 0,
            "bms_note": f"{aggregator.fleet.counted} of {len(aggregator.inventory)} elements",
        }


def _room_mwh(direction: Direction) -> int:
    """Return an energy of which no power lasts longer than the elements' own envelopes allow.

    Some elements are empty before others. At each of HORIZONS_MS what follows from this number
    and the ready power is at most what can be sustained.
    """
    bounds = [direction.energy_mwh]
    for sustained_mw, duration_ms in zip(direction.sustained_mw, HORIZONS_MS, strict=True):
        if sustained_mw < direction.power_mw:
            bounds.append(sustained_mw * seconds(duration_ms) // 3600)
    return max(0, min(bounds))


def _summary(told: dict[str, Any]) -> tuple[int, ...]:
    return (told["state"], told["trip_cause"], told["flags"], told["power_mw_discharge_ready"],
            told["power_mw_charge_ready"])
