"""A building in service: aggregator, instructions, discovery and alarms, kept over restarts.

No I/O but the ledger's; time is handed in. What is decided here is on the medium before it is
done: an instruction before its first setpoint, an alarm's end before a release goes out.
"""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from element.protocol import codes
from element.protocol.errors import RangeError
from host_tools.aggregator import Aggregator
from host_tools.attest.curtailment import Able, Curtailments
from host_tools.dispatch.orders import Order
from host_tools.dispatch.plan import dispatch
from host_tools.envelope.ceilings import BY_RAMP
from host_tools.envelope.policy import EVERYBODY, PROPORTIONAL, Among, Instruction
from host_tools.inventory.discovery import Delta, Discovery, difference, document, entry
from host_tools.inventory.elements import ElementView
from host_tools.ledger.dispatches import (
    ACCEPTED,
    CANCELLED,
    DONE,
    REFUSED,
    SUPERSEDED,
    Dispatch,
    Dispatches,
)

_ALARMS = "alarms"
_QUARANTINE = "quarantine"
_INVENTORY = "inventory"
EVENTS_MAX = 1000
DURATION_MS_MAX = 7 * 86_400_000
AHEAD_MS_MAX = 7 * 86_400_000
OPEN_MAX = 1000
# The whole population is looked through so often at most.
LOOK_MS = 200
# Records are asked for when they are this late.
CHASE_MS = 3000
# Who goes first when several ask at once; of equals, who came last.
_RANKS = {"support": 0, "parent": 1, "api": 1, "emergency": 2}


@dataclass(frozen=True)
class Event:
    """Something that happened, for logs and listeners. number: rises by one each."""

    number: int
    at_unix_ms: int
    kind: str
    fields: dict[str, Any]


class Building:
    """One building. on_event gets every Event as it happens."""

    def __init__(self, aggregator: Aggregator, discovery: Discovery,
                 on_event: Callable[[Event], None] = lambda _: None) -> None:
        self.aggregator = aggregator
        self.discovery = discovery
        self.dispatches = Dispatches(aggregator.ledger)
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self.inventory: dict[str, dict[str, Any]] = {}
        self.last_delta = Delta()
        self.before_alarm: Callable[[int], None] = lambda now_ms: None  # lines make haste
        self._on_event = on_event
        self._curtailments = Curtailments(aggregator.key, aggregator.ledger)
        self._event_number = 0
        self._open = self.dispatches.open()
        self._among: dict[int, Among] = {}  # who does what was lent, by number
        self._last_order: Order | None = None
        self._quarantined: set[str] = set()
        self._circuits: dict[bytes, str] = {}
        self._chased_ms = 0
        self._now_ms = 0
        self._inventory_state = (-1, -1)
        self._looked_ms = 0
        self._limits: tuple[str, ...] = ()
        self._recover()
        aggregator.order = self.order

    def _recover(self) -> None:
        """Take up alarms, quarantine and inventory where a restart has left them."""
        ledger = self.aggregator.ledger
        for one in json.loads(ledger.kept(_ALARMS) or b"[]"):
            self.aggregator.alarms.begin(**one)
        for what, why, since_ms in json.loads(ledger.kept(_QUARANTINE) or b"[]"):
            self.aggregator.quarantine.add(what, why, since_ms)
            self._quarantined.add(what)
        self.inventory = json.loads(ledger.kept(_INVENTORY) or b"{}")

    def tell(self, kind: str, now_ms: int, **fields: Any) -> None:
        """Let an event happen."""
        self._event_number += 1
        event = Event(self._event_number, now_ms, kind, fields)
        self.events.append(event)
        self._on_event(event)

    # instructions

    def submit(self, key: str, source: str, power_mw: int, service: int, start_ms: int,
               end_ms: int, partial: bool | None, now_ms: int) -> Dispatch:
        """Admit or refuse an instruction, and file which; the same key again gives the same.

        start_ms, end_ms: Unix ms. partial: admit what is possible, None as the policy says.
        Raises RangeError for times that make no sense and for a key with another instruction.
        """
        partial = self.aggregator.fleet.policy.partial if partial is None else partial
        asked = Dispatch(key, source, power_mw, service, start_ms, end_ms, partial, ACCEPTED,
                         power_mw, "", now_ms)
        known = self.dispatches.find(key)
        if known is not None:
            return self.dispatches.add(asked)
        if not max(start_ms, now_ms) < end_ms <= start_ms + DURATION_MS_MAX:
            raise RangeError("end_unix_ms", end_ms)
        if start_ms > now_ms + AHEAD_MS_MAX:
            raise RangeError("start_unix_ms", start_ms)
        if len(self._open) >= OPEN_MAX:
            raise RangeError("instructions", OPEN_MAX)
        for view in self.discovery.at_dispatch(self.aggregator.inventory.views()):
            self.aggregator.interrogate(view)
        filed = self.dispatches.add(self._admitted(asked, now_ms))
        if filed.state == ACCEPTED:
            self._open.append(filed)
            self.aggregator.wake()
        self.tell("dispatch", now_ms, **_shown(filed))
        return filed

    def _admitted(self, asked: Dispatch, now_ms: int) -> Dispatch:
        """Return an instruction with what can be admitted of it for its whole duration."""
        fleet = self.aggregator.fleet
        fleet.renew(now_ms)
        plan = dispatch(fleet.population, fleet.policy, Instruction(
            asked.power_mw, asked.service,
            max(fleet.lease_ms, asked.end_unix_ms - max(now_ms, asked.start_unix_ms)),
            fleet.lease_ms, asked.power_mw, 1000, now_ms, asked.partial))
        state = REFUSED if plan.refused else ACCEPTED
        return replace(asked, state=state, admitted_mw=plan.admitted_mw,
                       reason=", ".join(plan.limited_by))

    # setpoints of an aggregator above, each for a lease

    def lend(self, key: str, source: str, power_mw: int, service: int, now_ms: int, end_ms: int,
             among: Among | None = None) -> Dispatch:
        """File what was asked from above, and was admitted, from now until end_ms.

        among: who is to do it, in proportion to what each can; None: anybody, by the policy's
        rule. Raises RangeError when there are too many instructions or the key is known.
        """
        if len(self._open) >= OPEN_MAX:
            raise RangeError("instructions", OPEN_MAX)
        filed = self.dispatches.add(Dispatch(
            key, source, power_mw, service, now_ms, end_ms, True, ACCEPTED, power_mw, "", now_ms))
        self._open.append(filed)
        if among is not None:
            self._among[filed.id] = among
        self.aggregator.wake()
        self.tell("dispatch", now_ms, **_shown(filed))
        return filed

    def extend(self, number: int, power_mw: int, service: int, end_ms: int, now_ms: int,
               among: Among | None = None) -> bool:
        """Let it last until end_ms with this power; False when it is not in force any more.

        Not filed each time: after a restart it has ended, and is asked for anew.
        """
        for at, one in enumerate(self._open):
            if one.id == number and one.end_unix_ms > now_ms:
                if (one.power_mw, one.service, self._among.get(number)) != (
                        power_mw, service, among):
                    self.aggregator.wake()
                if among is not None:
                    self._among[number] = among
                self._open[at] = replace(one, power_mw=power_mw, admitted_mw=power_mw,
                                         service=service, end_unix_ms=end_ms)
                return True
        return False

    def is_open(self, number: int) -> bool:
        """Return True while an instruction has not ended."""
        return any(one.id == number for one in self._open)

    def outranks(self, source: str, now_ms: int) -> bool:
        """Return True while what is in force gives way to nobody of this source."""
        active = self.active(now_ms)
        return active is not None and _rank(active.source) > _rank(source)

    def cancel(self, number: int, now_ms: int) -> Dispatch | None:
        """End an instruction now; None when there is none with this number."""
        return self.finish(number, now_ms, CANCELLED)

    def finish(self, number: int, now_ms: int, state: str = DONE) -> Dispatch | None:
        """End an instruction now, in a state; None when there is none with this number."""
        if self.is_open(number):
            self._end(number, state, now_ms)
            self.aggregator.wake()
        return self.dispatches.get(number)

    def _end(self, number: int, state: str, now_ms: int) -> None:
        lent = next((one for one in self._open if one.id == number and one.source == "parent"),
                    None)
        self.dispatches.end(number, state,
                            None if lent is None else min(now_ms, lent.end_unix_ms))
        self._open = [one for one in self._open if one.id != number]
        self._among.pop(number, None)
        self.tell("dispatch_ended", now_ms, id=number, state=state)

    def active(self, now_ms: int) -> Dispatch | None:
        """Return the instruction that is in force: of the highest rank, of these the newest."""
        running = [one for one in self._open
                   if one.start_unix_ms <= now_ms < one.end_unix_ms]
        return max(running, key=lambda one: (_rank(one.source), one.id), default=None)

    def order(self, now_ms: int) -> Order | None:
        """Return what the elements are to do now; zero, once, when an instruction has ended."""
        for one in [one for one in self._open if one.end_unix_ms <= now_ms]:
            self._end(one.id, DONE, now_ms)
        active = self.active(now_ms)
        if active is None:
            last, self._last_order = self._last_order, None
            return None if last is None else replace(last, power_mw=0, duration_ms=None)
        for older in [one for one in self._open if one.id < active.id
                      and one.start_unix_ms <= now_ms
                      and _rank(one.source) == _rank(active.source)]:
            self._end(older.id, SUPERSEDED, now_ms)
        # what could not be admitted at the beginning may be possible now, if a part is allowed
        wanted_mw = active.power_mw if active.partial else active.admitted_mw
        among = self._among.get(active.id)
        self._last_order = Order(
            wanted_mw, active.service, active.end_unix_ms - now_ms, True, active.id,
            False, among or EVERYBODY, "" if among is None else PROPORTIONAL)
        return self._last_order

    # time

    @property
    def due_ms(self) -> int:
        """When `step` is wanted next: the aggregator's turn, or an instruction's moment."""
        return min([self.aggregator.due_ms, *self._moments(self._now_ms)])

    def _moments(self, after_ms: int) -> list[int]:
        """Return when instructions begin and end, as far as that is still to come."""
        return [at_ms for one in self._open for at_ms in (one.start_unix_ms, one.end_unix_ms)
                if at_ms > after_ms]

    def step(self, now_ms: int) -> None:
        """Do what is due: discovery, the aggregator's turn, and telling what changed."""
        if any(at_ms <= now_ms for at_ms in self._moments(self._now_ms)):
            self.aggregator.wake()
        self._now_ms = now_ms
        looks = now_ms - self._looked_ms >= LOOK_MS
        if looks:
            self._looked_ms = now_ms
            self._discover(now_ms)
        self.aggregator.step(now_ms)
        self._tell_shortfall(now_ms)
        if looks:
            self._tell_inventory(now_ms)
            self._name_strangers(now_ms)
            self._tell_quarantine(now_ms)
            self._tell_circuits(now_ms)

    def _discover(self, now_ms: int) -> None:
        views = self.aggregator.inventory.views()
        for view in self.discovery.due(views, now_ms):
            self.aggregator.interrogate(view)
        for view in self.discovery.ended(views, now_ms) or ():
            self.aggregator.forget(view.element_id)
        self._chase(views, now_ms)

    def enumerate(self, now_ms: int) -> None:
        """Begin a full round of discovery now."""
        self.discovery.begin_full(now_ms)
        for view in self.aggregator.inventory.views():
            self.aggregator.interrogate(view)

    def _chase(self, views: list[ElementView], now_ms: int) -> None:
        """Ask those whose record of the last interval is late who they are: that says how many
        statements they have, and so what is missing here."""
        end_ms = self.aggregator.interval_end_ms
        if end_ms is None or now_ms < end_ms + CHASE_MS or self._chased_ms == end_ms:
            return
        self._chased_ms = end_ms
        for view in views:
            if view.last_record_end_ms < end_ms and self.aggregator.has_session(view):
                self.aggregator.interrogate(view)

    def _tell_shortfall(self, now_ms: int) -> None:
        """Tell when what is in force can no longer be done whole, why, and when it can again."""
        last = self.aggregator.last_split
        limits = last.plan.limited_by if last is not None and last.shortfall_mw else ()
        if limits == self._limits or limits == (BY_RAMP,):
            return
        self._limits = limits
        self.tell("shortfall", now_ms, shortfall_mw=last.shortfall_mw if last else 0,
                  limited_by=limits, id=last.order.dispatch_id if last else 0)

    def _tell_inventory(self, now_ms: int) -> None:
        """Keep the inventory and tell what was added, removed or changed."""
        inventory = self.aggregator.inventory
        state = (inventory.version, self.discovery.full_count)
        if state == self._inventory_state:
            return
        self._inventory_state = state
        views = inventory.views()
        after = {view.element_id.hex(): entry(view) for view in views if view.announced}
        # who has not announced itself since a restart may still be here: until a full round ends
        waiting = {name: known for name, known in self.inventory.items()
                   if name not in after and self.discovery.full_count == 0}
        delta = difference(self.inventory, waiting | after)
        if delta.is_empty:
            return
        self.inventory = waiting | after
        self.last_delta = delta
        self.aggregator.ledger.keep(_INVENTORY, json.dumps(
            self.inventory, sort_keys=True).encode())
        self.tell("inventory", now_ms, added=delta.added, removed=delta.removed,
                  changed=delta.changed)

    def _name_strangers(self, now_ms: int) -> None:
        """Name lines at whose end is somebody whom this site's issuer does not vouch for.

        A line is let go by itself once somebody has proven there who he is.
        """
        for name, port in self.aggregator.ports.items():
            if port.has_session:
                if name in self._quarantined:
                    self.aggregator.quarantine.clear(name)
            elif port.enrol_error.startswith("element "):
                self.aggregator.quarantine.add(name, port.enrol_error, now_ms)

    def _tell_quarantine(self, now_ms: int) -> None:
        entries = self.aggregator.quarantine.entries()
        if {one.what for one in entries} == self._quarantined:
            return
        for one in entries:
            if one.what not in self._quarantined:
                self.tell("quarantine", now_ms, what=one.what, why=one.why)
        self._quarantined = {one.what for one in entries}
        self.aggregator.ledger.keep(_QUARANTINE, json.dumps(
            [[one.what, one.why, one.since_ms] for one in entries]).encode())

    def _tell_circuits(self, now_ms: int) -> None:
        for view in self.aggregator.inventory.views():
            state = view.circuit.state
            if self._circuits.get(view.element_id, "closed") != state:
                self._circuits[view.element_id] = state
                self.tell("circuit", now_ms, element=view.element_id.hex(), state=state,
                          why=view.circuit.why)

    @property
    def inventory_document(self) -> bytes:
        """The inventory as deterministic CBOR: the same population gives the same bytes."""
        return document(self.aggregator.inventory.views())

    # life safety

    def alarm(self, zone: int, now_ms: int, source: str, cause: int = codes.TRIP_FIRE,
              input_on: bool = False) -> int:
        """Put a zone into the safe state; returns how many elements were told just now."""
        known, before = self.aggregator.alarms.in_alarm(zone), self._able(now_ms)
        self.before_alarm(now_ms)
        told = self.aggregator.alarm(zone, now_ms, source, cause, input_on)
        if not known:
            self._curtailments.file(now_ms, zone, cause, source, True, before,
                                    self._able(now_ms))
        self._keep_alarms()
        if not known:
            self.tell("alarm", now_ms, zone=zone, source=source, told=told)
        return told

    def quiet(self, zone: int, now_ms: int) -> None:
        """Take note that a zone's input is quiet; the zone stays safe until its release."""
        self.aggregator.alarms.quiet(zone)
        self._keep_alarms()
        self.tell("alarm_quiet", now_ms, zone=zone)

    def release(self, now_ms: int, zone: int | None = None, cause: int | None = None) -> int:
        """Release a zone, all for None, with the life-safety key; returns how many orders.

        cause: of elements that latched for it alone.
        """
        alarms, before = self.aggregator.alarms.all(), self._able(now_ms)
        count = self.aggregator.release(now_ms, zone, cause)
        for one in alarms:
            if not self.aggregator.alarms.in_alarm(one.zone):
                self._curtailments.file(now_ms, one.zone, one.cause, one.source, False, before,
                                        self._able(now_ms))
        self._keep_alarms()
        self.tell("release", now_ms, zone=zone, orders=count)
        return count

    def _able(self, now_ms: int) -> Able:
        """Return what the building can do now, for the record of what an alarm changes."""
        regulation = self.aggregator.capability(now_ms)[codes.SERVICE_REGULATION]
        return Able(regulation.discharge.power_mw, regulation.charge.power_mw)

    def _keep_alarms(self) -> None:
        self.aggregator.ledger.keep(_ALARMS, json.dumps([
            {"zone": one.zone, "now_ms": one.since_ms, "source": one.source, "cause": one.cause,
             "input_on": one.input_on} for one in self.aggregator.alarms.all()]).encode())


def _rank(source: str) -> int:
    return _RANKS.get(source, 0)


def _shown(filed: Dispatch) -> dict[str, Any]:
    """Return an instruction for events."""
    return asdict(filed) | {"shortfall_mw": filed.shortfall_mw}
