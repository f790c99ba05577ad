"""The building's aggregator: wires ports, inventory, dispatch, verification and ledger. No I/O.

Time is handed in as Unix milliseconds and bytes as bytes, so that the same object serves the
panel's event loop and the bench's virtual time.
"""

from collections.abc import Callable
from typing import Any

from element.protocol import codes, schema, trust
from element.protocol.errors import DecodeError
from host_tools.dispatch.circuit import OPENED, PROBE, RETRY
from host_tools.dispatch.fleet import LEASE_MS, Fleet
from host_tools.dispatch.loop import MeterLoop
from host_tools.dispatch.orders import Dispatched, Order, Turn, switched
from host_tools.dispatch.plan import dispatch
from host_tools.envelope.capability import Capability
from host_tools.envelope.ceilings import BY_RAMP
from host_tools.envelope.policy import ROUND_ROBIN, Instruction, Policy
from host_tools.identity.credentials import Trust
from host_tools.identity.issuer import Authorities, Issuer
from host_tools.identity.keyring import Enrolled, Keyring
from host_tools.identity.keys import KeyPair
from host_tools.interlock.alarms import Alarm, Alarms
from host_tools.interlock.panel import ReleaseDesk
from host_tools.interlock.trips import TRIP_REPEAT_MS, Trips, concerned
from host_tools.inventory.elements import ElementView, Inventory, Placement
from host_tools.inventory.quarantine import Quarantine
from host_tools.ledger.intake import Counters, Intake
from host_tools.ledger.intervals import Intervals
from host_tools.ledger.store import Ledger
from host_tools.links.element_port import SILENCE_MS_MAX, ElementPort

DISPATCH_PERIOD_MS = 1000
TIME_SYNC_PERIOD_MS = 10000
# While the policy's ramp holds an instruction back, the next part of it is asked for this soon.
RAMP_PERIOD_MS = 200
# A setpoint's lease on a link that is too late for commands in time: the element is left to it.
LATE_LEASE_MS = 30_000
_TURN = "round-robin turn"


class Aggregator:
    """One building. `target` gives the power wanted at the meter, or None for no service.

    order: what is to be done instead of `target`, None for nothing; called every turn.
    """

    def __init__(
        self, authorities: Authorities, ledger: Ledger, random_bytes: Callable[[int], bytes],
        profile_of: Callable[[str, bytes], tuple[dict[str, Any], int, str]] | None,
        interval_ms: int = 60000, trim_mw_max: int = 2_000_000,
        believed: Callable[[], Trust] | None = None, policy: Policy | None = None,
        keyring: Keyring | None = None,
        placement_of: Callable[[bytes], Placement] = lambda _: Placement(),
        lease_ms: int = LEASE_MS, ride_through_ms: int = 0,
    ) -> None:
        """profile_of(port name, request) gives the profile, zone and tenant to enrol with; None:
        nobody is enrolled here. keyring: the elements that are known, empty by default.

        believed: the roots and lists by which elements are judged when they are greeted and once
        a minute in a session; None looks at the time of their credentials alone.
        """
        self._authorities = authorities
        self._issuer = Issuer(authorities)
        self._desk = ReleaseDesk(authorities.life_safety)
        self._random = random_bytes
        self._profile_of = profile_of
        self._placement_of = placement_of
        self._keyring = keyring or Keyring(authorities.party, {}, believed)
        self._challenges: dict[bytes, bytes] = {}
        self._sync_at: dict[str, int] = {}
        self._next_dispatch_ms = 0
        self._check_ms: int | None = None  # no circuit or trip is due before
        self._now_ms = 0
        self._redispatch = False
        self._switched = False
        self._ramp_ms: int | None = None  # when the ramp goes on
        self._previous = (0, 0)  # (admitted mW, when)
        self._port_of: dict[bytes, ElementPort] = {}
        self._unanswered: dict[bytes, ElementView] = {}
        self.last_split: Dispatched | None = None
        self.ledger = ledger
        self._turn = Turn(ledger.kept(_TURN) or b"")
        self.counters = Counters()
        self._intake = Intake(authorities.aggregator, ledger, self.counters, self._announced)
        self._intake.keep_credential(trust.PARTY_CREDENTIAL, authorities.aggregator.key_id,
                                     authorities.credential, 0)
        self.intervals = Intervals(self._intake, interval_ms)
        self.loop = MeterLoop(trim_mw_max)
        self.inventory = Inventory()
        self.fleet = Fleet(self.inventory, policy or Policy(), lease_ms, ride_through_ms)
        self.alarms = Alarms()
        self._trips = Trips(self.alarms, self._say)
        self.quarantine = Quarantine()
        self.ports: dict[str, ElementPort] = {}
        self.target: Callable[[int], int | None] = lambda now_ms: None
        self.order: Callable[[int], Order | None] = self._order_of_target
        self.response: Callable[[], int | None] = lambda: None

    @property
    def key(self) -> KeyPair:
        """With which the building signs."""
        return self._authorities.aggregator

    # ports and messages

    def add_port(self, name: str, send: Callable[[bytes], None]) -> ElementPort:
        """Return the port of a new line; bytes go out through send."""

        def enrol(request: bytes, challenge: bytes) -> tuple[Enrolled, dict[str, Any]]:
            assert self._profile_of is not None
            profile, zone, tenant = self._profile_of(name, request)
            enrolled, grant = self._issuer.enrol(
                request, challenge, profile, zone, tenant, self._now_ms // 1000)
            self._intake.keep_credential(schema.CREDENTIAL, enrolled.element_id,
                                         enrolled.credential, self._now_ms)
            return enrolled, grant

        port = ElementPort(
            name, send, self._keyring, enrol if self._profile_of else None, self._random,
            lambda kind, fields: self._on_message(name, kind, fields),
            lambda element_id: self._on_session(name, element_id),
        )
        self.ports[name] = port
        return port

    def remove_port(self, name: str) -> None:
        """Forget a line that is not there any more."""
        port = self.ports.pop(name, None)
        if port is not None and port.element_id is not None \
                and self._port_of.get(port.element_id) is port:
            del self._port_of[port.element_id]

    def receive(self, name: str, data: bytes, now_ms: int) -> None:
        """Take bytes from a line."""
        self._now_ms = now_ms
        self.ports[name].receive(data, now_ms)
        for line, counter in self._intake.acknowledged():
            self.ports[line].send(schema.STATEMENT_ACK, {"counter": counter})

    def _on_session(self, name: str, element_id: bytes) -> None:
        """Greet an element: set its clock, ask who it is."""
        view = self.inventory.add(self._keyring.known[element_id],
                                  self._placement_of(element_id))
        self._intake.resume(view)
        # a verifier needs the credential beside what was signed under it
        self._intake.keep_credential(schema.CREDENTIAL, element_id, view.enrolled.credential,
                                     self._now_ms)
        before, port = self._port_of.get(element_id), self.ports[name]
        if before is not None and before is not port and before.has_session \
                and before.last_heard_ms is not None \
                and self._now_ms - before.last_heard_ms <= SILENCE_MS_MAX:
            # one identity in two places: a clone, or a line that is looped
            self.quarantine.add(element_id.hex(), f"answers on {before.name} and on {name}",
                                self._now_ms)
        self._port_of[element_id] = port
        view.circuit.reset()
        self._unanswered.pop(element_id, None)
        self.fleet.add(view)
        self._hold(view)
        self._sync(name)
        self.interrogate(view)

    def interrogate(self, view: ElementView) -> None:
        """Ask an element who it is."""
        challenge = self._challenges[view.element_id] = self._random(16)
        port = self._port_of.get(view.element_id)
        if port is not None:
            port.send(schema.INTERROGATE, {"challenge": challenge})

    def has_session(self, view: ElementView) -> bool:
        """Return True while an element has a session."""
        port = self._port_of.get(view.element_id)
        return port is not None and port.has_session and port.element_id == view.element_id

    def line_of(self, view: ElementView) -> str | None:
        """Return the name of the line on which an element was last heard."""
        port = self._port_of.get(view.element_id)
        return None if port is None else port.name

    def forget(self, element_id: bytes) -> None:
        """Give an element up: it is not here any more. When it comes back it is new."""
        self.inventory.remove([element_id])
        self.fleet.remove(element_id)
        self._port_of.pop(element_id, None)
        self._unanswered.pop(element_id, None)
        self._trips.forget(element_id)

    def wake(self) -> None:
        """Ask for a turn now: there is something new to do."""
        self._redispatch = True

    @property
    def interval_end_ms(self) -> int | None:
        """The end of the interval that is committed to next, Unix ms."""
        return self.intervals.end_ms

    def _announced(self, view: ElementView, fields: dict[str, Any]) -> bool:
        """Take an element's answer to our challenge; False for an answer to another one."""
        if fields["challenge"] != self._challenges.get(view.element_id):
            return False
        self.inventory.announce(view, fields)
        view.confirmed_ms = self._now_ms
        self.fleet.add(view)
        return True

    def _sync(self, name: str) -> None:
        self._sync_at[name] = self._now_ms
        self.ports[name].send(schema.TIME_SYNC, {
            "unix_ms": self._now_ms, "record_interval_ms": self.intervals.interval_ms})

    def _on_message(self, name: str, kind: int, fields: dict[str, Any]) -> None:
        view = self._view(name)
        if kind == schema.TELEMETRY:
            self._on_telemetry(view, fields)
        elif kind == schema.ACK:
            self._on_ack(view, fields)
        elif kind == schema.STATEMENT:
            self._intake.take(name, view, fields["statement"], self._now_ms)

    def _view(self, name: str) -> ElementView:
        element_id = self.ports[name].element_id
        view = self.inventory.get(element_id) if element_id is not None else None
        if view is None and element_id in self._keyring.known:
            # given up as silent, and here again in the same session
            self._on_session(name, element_id)
            view = self.inventory.get(element_id)
        if view is None:
            raise DecodeError("element", None)
        return view

    def _on_telemetry(self, view: ElementView, fields: dict[str, Any]) -> None:
        view.telemetry = fields
        view.telemetry_at_ms = view.confirmed_ms = self._now_ms
        late_ms = fields["late_ms_max"]
        view.late_ms_counts[late_ms] = view.late_ms_counts.get(late_ms, 0) + 1
        if fields["trip_cause"]:
            self._trips.forget(view.element_id)
        self._update(view)

    def _on_ack(self, view: ElementView, fields: dict[str, Any]) -> None:
        was_closed = view.circuit.is_closed
        view.circuit.answered(fields["sequence"], fields["accepted"], self._now_ms)
        if view.circuit.deadline_ms is None:
            self._unanswered.pop(view.element_id, None)
        if fields["accepted"]:
            view.accepted_count += 1
        else:
            self.counters.refused += 1
            view.refusals[fields["reason"]] = view.refusals.get(fields["reason"], 0) + 1
        if view.circuit.is_closed != was_closed:
            self._update(view)

    def _update(self, view: ElementView) -> None:
        """Let what an element said, or what became of it, count from now on."""
        if self.fleet.update(view, self._now_ms):
            self._redispatch = True

    def _hold(self, view: ElementView) -> None:
        """Find out whether an element is held, and let it count or not."""
        why = self.quarantine.why(view.element_id.hex())
        alarm = self.alarms.of(view.zone)
        view.hold = f"quarantine: {why}" if why else f"alarm: {alarm.source}" if alarm else ""
        if alarm is not None:
            self._trip(view, alarm)
        self._update(view)

    def clear_quarantine(self, what: str) -> bool:
        """Let an element or line take part again; False when it was not quarantined."""
        if not self.quarantine.clear(what):
            return False
        for view in self.inventory.views():
            if view.element_id.hex() == what:
                self._hold(view)
        return True

    # time

    @property
    def due_ms(self) -> int:
        """When `step` is wanted next; the present when something changed."""
        if self._redispatch:
            return self._now_ms
        due_ms = self._next_dispatch_ms
        for other_ms in (self._check_ms, self._ramp_ms):
            if other_ms is not None and other_ms < due_ms:
                due_ms = max(self._now_ms, other_ms)
        return due_ms

    def step(self, now_ms: int) -> None:
        """Do what is due: keep lines alive, close intervals, dispatch, ask again."""
        self._now_ms = now_ms
        regular = now_ms >= self._next_dispatch_ms
        if regular:
            self._next_dispatch_ms = now_ms - now_ms % DISPATCH_PERIOD_MS + DISPATCH_PERIOD_MS
            for name, port in self.ports.items():
                port.tick(now_ms)
                synced_ms = self._sync_at.get(name, 0)
                if port.has_session and now_ms - synced_ms >= TIME_SYNC_PERIOD_MS:
                    self._sync(name)
            self.intervals.look(self.inventory.views, now_ms)
            self._redispatch = self.fleet.age(now_ms) or self._redispatch
        if self._check_ms is not None and now_ms >= self._check_ms:
            self._check(now_ms)
        if self._ramp_ms is not None and now_ms >= self._ramp_ms:
            self._redispatch = True
        if regular or self._redispatch:
            self._redispatch, self._ramp_ms = False, None
            self._dispatch(now_ms, regular)

    def _order_of_target(self, now_ms: int) -> Order | None:
        target_mw = self.target(now_ms)
        return None if target_mw is None else Order(target_mw)

    def _dispatch(self, now_ms: int, regular: bool) -> None:
        """Ask the elements for their parts of the order. The meter counts on regular turns."""
        order = self.order(now_ms)
        if order is None:
            self.loop.reset()
            self.last_split = None
            if self._turn.rest():
                self._keep_turn()
            self._previous = (0, now_ms)
            return
        if self._turn.serve(order):
            self._keep_turn()
        asked_mw = self._asked_mw(order, now_ms, regular)
        self.fleet.renew(now_ms)
        population = self.fleet.population
        before_mw, before_ms = self._previous
        plan = dispatch(population, self.fleet.policy, Instruction(
            asked_mw, order.service, max(self.fleet.lease_ms + 500, order.duration_ms or 0),
            self.fleet.lease_ms, before_mw, max(1, now_ms - before_ms), now_ms, order.partial,
            self._turn.cursor, order.among, order.rule))
        self._turn.took(plan)
        population.take(plan.levels, now_ms)
        last = self.last_split
        self.last_split = Dispatched(plan, population.ids, order)
        self._switched = self._switched or switched(last, self.last_split, population)
        self._previous = (plan.admitted_mw, now_ms)
        self.counters.dispatches += 1
        if BY_RAMP in plan.limited_by:
            self._ramp_ms = now_ms + RAMP_PERIOD_MS
        for element_id, part_mw in zip(population.ids, plan.parts_mw.tolist(), strict=True):
            view = self.inventory.get(element_id)
            if view is not None and (part_mw or self.fleet.counts(element_id)):
                self._send_setpoint(view, part_mw, order.service, now_ms)

    def _keep_turn(self) -> None:
        """Let a restart go on with the turns where they are."""
        if self.fleet.policy.rule == ROUND_ROBIN:
            self.ledger.keep(_TURN, self._turn.cursor)

    def _asked_mw(self, order: Order, now_ms: int, regular: bool) -> int:
        """Return what to ask of the elements for an order at the meter."""
        last = self.last_split
        if not order.metered:
            if regular and last is not None:
                self._intake.shortfall_mj += last.shortfall_mw * DISPATCH_PERIOD_MS // 1000
            return order.power_mw
        if not regular:
            return order.power_mw + self.loop.trim_mw
        disturbed = self._switched or self.fleet.rides_through(now_ms) \
            or (last is not None and last.shortfall_mw > 0)
        self._switched = False
        if last is not None:
            self._intake.shortfall_mj += last.shortfall_mw * DISPATCH_PERIOD_MS // 1000
        return self.loop.ask(order.power_mw, self.response(), disturbed)

    def _send_setpoint(self, view: ElementView, power_mw: int, service: int, now_ms: int) -> None:
        port = self._port_of.get(view.element_id)
        if port is None or not self.has_session(view):
            return
        lease_ms = self.fleet.lease_ms
        if view.circuit.is_late:
            lease_ms = LATE_LEASE_MS
        view.sequence += 1
        view.instructed_mw = power_mw
        port.send(schema.SETPOINT, {
            "dispatch_id": max(1, self._turn.number), "sequence": view.sequence,
            "power_mw": power_mw, "service": service, "start_unix_ms": now_ms,
            "lease_ms": min(lease_ms, view.profile["lease_ms_max"])})
        circuit = view.circuit
        circuit.sent(view.sequence, service, now_ms)
        if circuit.deadline_ms is not None:
            self._unanswered[view.element_id] = view
            self._check_at(circuit.deadline_ms)

    def _check_at(self, at_ms: int) -> None:
        if self._check_ms is None or at_ms < self._check_ms:
            self._check_ms = at_ms

    def _check(self, now_ms: int) -> None:
        """Ask again those that have not answered; plan without those that do not."""
        self._check_ms = None
        waits = self.fleet.rides_through(now_ms)
        service = self.last_split.order.service if self.last_split else codes.SERVICE_REGULATION
        for view in list(self._unanswered.values()):
            circuit = view.circuit
            if waits:
                circuit.wait(now_ms)
            due = circuit.due(now_ms)
            if due == RETRY:
                self._send_setpoint(view, view.instructed_mw, service, now_ms)
            elif due == PROBE:
                self._send_setpoint(view, 0, service, now_ms)
            elif due == OPENED:
                self._update(view)
            if circuit.deadline_ms is None:
                self._unanswered.pop(view.element_id, None)
            else:
                self._check_at(circuit.deadline_ms)
        self._trips.repeat(self.inventory, now_ms)
        if self._trips.waits:
            self._check_at(now_ms + TRIP_REPEAT_MS)

    def commit_interval(self, end_ms: int) -> None:
        """Sign a commitment over every statement that came since the last one."""
        self.intervals.commit(end_ms, self.inventory.views(), self._now_ms)

    def capability(self, now_ms: int) -> Capability:
        """Return what the building can do now."""
        return self.fleet.capability(now_ms)

    # life safety

    def fire_alarm(self, zone: int, now_ms: int) -> None:
        """Trip every element of a zone now, whatever else is going on."""
        self.alarm(zone, now_ms, "fire alarm")

    def alarm(self, zone: int, now_ms: int, source: str, cause: int = codes.TRIP_FIRE,
              input_on: bool = False) -> int:
        """Put a zone, BUILDING for all, into the safe state; returns how many were told."""
        self._now_ms = now_ms
        self.alarms.begin(zone, now_ms, source, cause, input_on)
        alarm = self.alarms.of(zone)
        told = 0
        views = concerned(self.inventory.views(), zone)
        for view in views:  # the trips first: everything else can wait
            if alarm is not None:
                told += self._trip(view, alarm)
        for view in views:
            self._hold(view)
        self._redispatch = True
        return told

    def _trip(self, view: ElementView, alarm: Alarm) -> bool:
        """Send a trip, and again until the element says that it has tripped."""
        told = self._trips.trip(view, alarm, self._now_ms)
        if self._trips.waits:
            self._check_at(self._now_ms + TRIP_REPEAT_MS)
        return told

    def _say(self, view: ElementView, kind: int, fields: dict[str, int]) -> bool:
        port = self._port_of.get(view.element_id)
        return port is not None and port.send(kind, fields)

    def _file_order(self, number: int, order: bytes) -> None:
        """Keep a release order in the ledger before it goes out."""
        self._intake.file(schema.RELEASE_ORDER, self._authorities.life_safety.key_id, number,
                          self._now_ms, order)

    def stop(self, now_ms: int) -> None:
        """Ask every element for zero now and send no setpoint any more."""
        self._now_ms = now_ms
        self.target = lambda _: None
        self.order = lambda _: None
        self.last_split = None
        self._turn.number += 1
        for view in self.inventory.views():
            self._send_setpoint(view, 0, codes.SERVICE_REGULATION, now_ms)

    def release(self, now_ms: int, zone: int | None = None, cause: int | None = None) -> int:
        """End alarms whose inputs are quiet and send a signed release to every tripped element.

        zone: this one alone, and whom it concerns. cause: elements that latched for it alone.
        Elements of a zone whose input is still on are not released. Returns how many orders went
        out.
        """
        self._now_ms = now_ms
        self.alarms.release(zone)
        count = 0
        for view in concerned(self.inventory.views(), zone):
            port = self._port_of.get(view.element_id)
            if port is None:
                continue
            self._hold(view)
            if self.alarms.of(view.zone) is not None or view.telemetry is None \
                    or not view.telemetry["trip_cause"] \
                    or cause not in (None, view.telemetry["trip_cause"]):
                continue
            order = self._desk.order(
                view.element_id, view.telemetry["trip_cause"], now_ms, self._file_order)
            self.ledger.flush()
            count += 1
            port.send(schema.RELEASE, {"order": order})
        return count
