"""The building's aggregator: wires ports, inventory, dispatch, verification and ledger. No I/O.

Time is handed in as Unix milliseconds and bytes as bytes, so that the same object serves the
panel's event loop and the bench's virtual time.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from element.protocol import codes, schema, trust
from element.protocol.errors import DecodeError, SignatureError
from host_tools import codec
from host_tools.attest.commitment import Committer, Leaf, energy_mwh
from host_tools.attest.log import CHECKPOINT_KIND
from host_tools.dispatch.loop import MeterLoop
from host_tools.dispatch.split import Capability, Split, StepChooser, split
from host_tools.identity.credentials import Trust
from host_tools.identity.issuer import Authorities, Issuer
from host_tools.identity.keyring import Enrolled, Keyring
from host_tools.interlock.panel import ReleaseDesk, fire_alarm
from host_tools.inventory.elements import ElementView, Inventory
from host_tools.ledger.store import Ledger
from host_tools.links.element_port import ElementPort

DISPATCH_PERIOD_MS = 1000
LEASE_MS = 1500
TIME_SYNC_PERIOD_MS = 10000
# Records of an interval are awaited this long after its end.
INTERVAL_GRACE_MS = 8000
# Elements send an unacknowledged statement again every five seconds.
GAP_MS_MAX = 30000


@dataclass
class Counters:
    """What happened, for reports."""

    verified: int = 0
    failed: int = 0
    duplicates: int = 0
    gaps: int = 0
    dispatches: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)


class Aggregator:
    """One building. `target` gives the power wanted at the meter, or None for no service."""

    def __init__(
        self, authorities: Authorities, ledger: Ledger, random_bytes: Callable[[int], bytes],
        profile_of: Callable[[str, bytes], tuple[dict[str, Any], int, str]],
        interval_ms: int = 60000, trim_mw_max: int = 2_000_000,
        believed: Callable[[], Trust] | None = None,
    ) -> None:
        """profile_of(port name, request) gives the profile, zone and tenant to enrol with.

        believed: the roots and lists by which elements are judged when they are greeted and once
        a minute in a session; None looks at the time of their credentials alone.
        """
        self._authorities = authorities
        self._issuer = Issuer(authorities)
        self._desk = ReleaseDesk(authorities.life_safety)
        # after a restart chain and log go on where they stood, and so do the elements' chains
        self._committer, self._pending = Committer.resumed(authorities.aggregator, ledger)
        self._heads = ledger.heads()
        self._random = random_bytes
        self._profile_of = profile_of
        self._interval_ms = interval_ms
        self._keyring = Keyring(authorities.party, {}, believed)
        self._challenges: dict[bytes, bytes] = {}
        self._sync_at: dict[str, int] = {}
        self._interval_end_ms: int | None = None
        self._shortfall_mj = 0
        self._chooser = StepChooser()
        self._dispatch_id = 0
        self._next_dispatch_ms = 0
        self._now_ms = 0
        self._redispatch = False
        self._switched = False
        self.last_split: Split | None = None
        self._acks: list[tuple[str, int]] = []
        self.ledger = ledger
        self._keep_credential(trust.PARTY_CREDENTIAL, authorities.aggregator.key_id,
                              authorities.credential)
        self.loop = MeterLoop(trim_mw_max)
        self.inventory = Inventory()
        self.ports: dict[str, ElementPort] = {}
        self.counters = Counters()
        self.target: Callable[[int], int | None] = lambda now_ms: None
        self.response: Callable[[], int | None] = lambda: None

    # ports and messages

    def add_port(self, name: str, send: Callable[[bytes], None]) -> ElementPort:
        """Return the port of a new line; bytes go out through send."""

        def enrol(request: bytes, challenge: bytes) -> tuple[Enrolled, dict[str, Any]]:
            profile, zone, tenant = self._profile_of(name, request)
            enrolled, grant = self._issuer.enrol(
                request, challenge, profile, zone, tenant, self._now_ms // 1000)
            self._keep_credential(schema.CREDENTIAL, enrolled.element_id, enrolled.credential)
            return enrolled, grant

        port = ElementPort(
            name, send, self._keyring, enrol, self._random,
            lambda kind, fields: self._on_message(name, kind, fields),
            lambda element_id: self._on_session(name, element_id),
        )
        self.ports[name] = port
        return port

    def receive(self, name: str, data: bytes, now_ms: int) -> None:
        """Take bytes from a line."""
        self._now_ms = now_ms
        self.ports[name].receive(data, now_ms)
        if self._acks:
            # an element forgets what is acknowledged: it has to be on the medium before
            self.ledger.flush()
            for port, counter in self._acks:
                self.ports[port].send(schema.STATEMENT_ACK, {"counter": counter})
            self._acks = []

    def _on_session(self, name: str, element_id: bytes) -> None:
        """Greet an element: set its clock, ask who it is."""
        view = self.inventory.add(self._keyring.known[element_id])
        if not view.last_counter:
            view.last_counter, view.last_hash = self._heads.get(element_id, (0, bytes(32)))
        self._sync(name)
        challenge = self._challenges[element_id] = self._random(16)
        self.ports[name].send(schema.INTERROGATE, {"challenge": challenge})

    def _sync(self, name: str) -> None:
        self._sync_at[name] = self._now_ms
        self.ports[name].send(schema.TIME_SYNC, {
            "unix_ms": self._now_ms, "record_interval_ms": self._interval_ms})

    def _on_message(self, name: str, kind: int, fields: dict[str, Any]) -> None:
        view = self._view(name)
        if kind == schema.TELEMETRY:
            before = view.available(self._now_ms)
            view.telemetry = fields
            view.telemetry_at_ms = self._now_ms
            late_ms = fields["late_ms_max"]
            view.late_ms_counts[late_ms] = view.late_ms_counts.get(late_ms, 0) + 1
            if view.available(self._now_ms) != before:
                self._redispatch = True
        elif kind == schema.ACK:
            if fields["accepted"]:
                view.accepted_count += 1
            else:
                self.counters.refused += 1
                view.refusals[fields["reason"]] = view.refusals.get(fields["reason"], 0) + 1
        elif kind == schema.STATEMENT:
            self._on_statement(name, view, fields["statement"])

    def _view(self, name: str) -> ElementView:
        element_id = self.ports[name].element_id
        view = self.inventory.get(element_id) if element_id is not None else None
        if view is None:
            raise DecodeError("element", None)
        return view

    # statements

    def _on_statement(self, name: str, view: ElementView, statement: bytes) -> None:
        """Verify a statement of this element; file it, acknowledge it, count what fails."""
        try:
            typ, kid, _ = codec.peek(statement)
            kind = {text: number for number, text in schema.STATEMENT_TYP.items()}.get(typ)
            if kind is None or kid != view.element_id:
                raise SignatureError("typ or key", typ)
            payload = codec.verify1(statement, view.enrolled.sign_key, typ)
            fields = codec.decode_statement(kind, payload)
            if fields.get("element_id") != view.element_id:
                raise SignatureError("element_id")
        except (DecodeError, SignatureError) as error:
            self._failed(f"{view.element_id.hex()}: {error.code}")
            return
        self.counters.verified += 1
        if kind == schema.ANNOUNCEMENT:
            if fields["challenge"] == self._challenges.get(view.element_id):
                view.announced = True
                self._file(kind, view.element_id, self._now_ms, statement)
            return
        if kind not in (schema.EXECUTION_RECORD, schema.SAFETY_EVENT):
            self._failed(f"{view.element_id.hex()}: unexpected {typ}")
            return
        counter = fields["counter"]
        if counter <= view.last_counter:
            self.counters.duplicates += 1
        elif not self._continues(view, counter, fields["previous_hash"]):
            return
        else:
            view.gap_since_ms = None
            view.last_counter = counter
            view.last_hash = hashlib.sha256(statement).digest()
            self._pending.append(Leaf(view.element_id, kind, fields, statement))
            self._file(kind, view.element_id, counter, statement)
        self._acks.append((name, counter))

    def _continues(self, view: ElementView, counter: int, previous_hash: bytes) -> bool:
        """Return True when a statement goes on where the element's chain stood.

        One that does not is left without an acknowledgement, so that the element sends what is
        missing. When it still sends the same as its oldest after GAP_MS_MAX, it has nothing
        older: the gap is counted, and the chain goes on after it; offline verification names it.
        """
        if counter == view.last_counter + 1 and previous_hash == view.last_hash:
            return True
        if view.gap_since_ms is None or counter < view.gap_counter:
            view.gap_since_ms, view.gap_counter = self._now_ms, counter
        lasting = self._now_ms - view.gap_since_ms > GAP_MS_MAX
        if not lasting or counter != view.gap_counter:
            return False
        self.counters.gaps += 1
        return True

    def _keep_credential(self, kind: int, subject: bytes, credential: bytes) -> None:
        """File a credential under its date: renewed ones stand beside those before."""
        claims = codec.decode_statement(kind, codec.peek(credential)[2])
        self._file(kind, subject, claims["issued_unix_s"], credential)

    def _file(self, kind: int, signer: bytes, counter: int, statement: bytes) -> None:
        self.ledger.add(kind, signer, counter, self._now_ms, statement)

    def _failed(self, why: str) -> None:
        self.counters.failed += 1
        if len(self.counters.failures) < 100:
            self.counters.failures.append(why)

    # time

    @property
    def due_ms(self) -> int:
        """When `step` is wanted next; the present when something changed."""
        return self._now_ms if self._redispatch else self._next_dispatch_ms

    def step(self, now_ms: int) -> None:
        """Do what is due: keep lines alive, close intervals, dispatch."""
        self._now_ms = now_ms
        regular = now_ms >= self._next_dispatch_ms
        if regular:
            self._next_dispatch_ms = now_ms - now_ms % DISPATCH_PERIOD_MS + DISPATCH_PERIOD_MS
            for name, port in self.ports.items():
                port.tick(now_ms)
                synced_ms = self._sync_at.get(name, 0)
                if port.has_session and now_ms - synced_ms >= TIME_SYNC_PERIOD_MS:
                    self._sync(name)
            self._close_interval(now_ms)
        self._redispatch = False
        self._dispatch(now_ms, regular)

    def _dispatch(self, now_ms: int, regular: bool) -> None:
        """Ask the elements for their parts of the target. The meter counts on regular turns."""
        target_mw = self.target(now_ms)
        if target_mw is None:
            self.loop.reset()
            self.last_split = None
            return
        last = self.last_split
        if regular:
            disturbed = self._switched or (last is not None and last.shortfall_mw > 0)
            asked_mw = self.loop.ask(target_mw, self.response(), disturbed)
            self._switched = False
            if last is not None:
                self._shortfall_mj += last.shortfall_mw * DISPATCH_PERIOD_MS // 1000
        else:
            asked_mw = target_mw + self.loop.trim_mw
        capabilities = []
        for view in self.inventory.views():
            capability = view.capability(now_ms)
            if capability is not None:
                capabilities.append(capability)
        self.last_split = split(asked_mw, capabilities, self._chooser, now_ms)
        self._switched = self._switched or _switched(last, self.last_split, capabilities)
        self._dispatch_id += 1
        self.counters.dispatches += 1
        for port in self.ports.values():
            view_of = self.inventory.get(port.element_id) if port.element_id else None
            if view_of is not None and view_of.element_id in self.last_split.parts_mw:
                part_mw = self.last_split.parts_mw[view_of.element_id]
                self._send_setpoint(port, view_of, part_mw, now_ms)

    def _send_setpoint(self, port: ElementPort, view: ElementView, power_mw: int,
                       now_ms: int) -> None:
        view.sequence += 1
        view.instructed_mw = power_mw
        port.send(schema.SETPOINT, {
            "dispatch_id": self._dispatch_id, "sequence": view.sequence, "power_mw": power_mw,
            "service": codes.SERVICE_REGULATION, "start_unix_ms": now_ms, "lease_ms": LEASE_MS,
        })

    def _close_interval(self, now_ms: int) -> None:
        """Commit to an interval once its grace is over."""
        if self._interval_end_ms is None:
            self._interval_end_ms = now_ms - now_ms % self._interval_ms + self._interval_ms
        if now_ms >= self._interval_end_ms + INTERVAL_GRACE_MS:
            self.commit_interval(self._interval_end_ms)
            self._interval_end_ms += self._interval_ms

    def commit_interval(self, end_ms: int) -> None:
        """Sign a commitment over every statement that came since the last one."""
        start_ms = end_ms - self._interval_ms
        leaves = sorted(self._pending, key=lambda leaf: leaf.order)
        self._pending = []
        reported = {leaf.element_id for leaf in leaves
                    if leaf.kind == schema.EXECUTION_RECORD
                    and start_ms < leaf.fields["end_unix_ms"]}
        missing = sum(1 for view in self.inventory.views() if view.element_id not in reported)
        shortfall_mwh = energy_mwh(self._shortfall_mj * 1000, 1000)
        self._shortfall_mj = 0
        statement, fields = self._committer.commit(
            leaves, start_ms, end_ms, shortfall_mwh, missing)
        number = fields["number"]
        self._file(schema.INTERVAL_COMMITMENT, fields["aggregator_id"], number, statement)
        self._file(CHECKPOINT_KIND, fields["aggregator_id"], number,
                   self._committer.checkpoint(end_ms))
        self.ledger.commit(number, [
            (leaf.kind, leaf.element_id, leaf.fields["counter"]) for leaf in leaves])

    # life safety

    def fire_alarm(self, zone: int, now_ms: int) -> None:
        """Trip every element of a zone now, whatever else is going on."""
        self._now_ms = now_ms
        for port in self.ports.values():
            view = self.inventory.get(port.element_id) if port.element_id else None
            if view is not None and view.zone == zone:
                port.send(schema.TRIP, fire_alarm(zone))
        self._redispatch = True

    def _file_order(self, number: int, order: bytes) -> None:
        """Keep a release order in the ledger before it goes out."""
        self._file(schema.RELEASE_ORDER, self._authorities.life_safety.key_id, number, order)

    def stop(self, now_ms: int) -> None:
        """Ask every element for zero now and send no setpoint any more."""
        self._now_ms = now_ms
        self.target = lambda _: None
        self.last_split = None
        self._dispatch_id += 1
        for port in self.ports.values():
            view = self.inventory.get(port.element_id) if port.element_id else None
            if view is not None:
                self._send_setpoint(port, view, 0, now_ms)

    def release(self, now_ms: int) -> int:
        """Send a signed release to every tripped element; returns how many orders went out."""
        self._now_ms = now_ms
        count = 0
        for port in self.ports.values():
            view = self.inventory.get(port.element_id) if port.element_id else None
            if view is None or view.telemetry is None or not view.telemetry["trip_cause"]:
                continue
            order = self._desk.order(
                view.element_id, view.telemetry["trip_cause"], now_ms,
                self._file_order)
            count += 1
            port.send(schema.RELEASE, {"order": order})
        return count


def _switched(before: Split | None, after: Split, capabilities: list[Capability]) -> bool:
    """Return True when an on/off element changed its state or an element came or went."""
    if before is None or before.parts_mw.keys() != after.parts_mw.keys():
        return True
    return any(before.parts_mw[one.element_id] != after.parts_mw[one.element_id]
               for one in capabilities if one.step_mw)
