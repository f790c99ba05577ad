"""What elements sign: checked, put into their chains, filed, acknowledged, committed to. No I/O
of its own: the ledger is handed in, and time with every call.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from element.protocol import schema
from element.protocol.errors import DecodeError, SignatureError
from host_tools import codec
from host_tools.attest.commitment import Committer, Leaf, energy_mwh
from host_tools.attest.log import BELOW_KIND, CHECKPOINT_KIND
from host_tools.identity.keys import KeyPair
from host_tools.inventory.elements import ElementView
from host_tools.ledger.store import Ledger

# Elements send an unacknowledged statement again every five seconds.
GAP_MS_MAX = 30000
_KINDS = {text: number for number, text in schema.STATEMENT_TYP.items()}


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


class Intake:
    """Statements of all elements of a building, into one ledger.

    on_announcement(view, fields): who an element says it is, in answer to our challenge.
    """

    def __init__(self, key: KeyPair, ledger: Ledger, counters: Counters,
                 on_announcement: Callable[[ElementView, dict[str, Any]], bool]) -> None:
        # after a restart chain and log go on where they stood, and so do the elements' chains
        self._committer, self._pending = Committer.resumed(key, ledger)
        self._heads = ledger.heads()
        self._below = {signer: _head(statement) for signer, statement
                       in ledger.newest_of_kind(BELOW_KIND).items()}
        self._ledger = ledger
        self._counters = counters
        self._on_announcement = on_announcement
        self._acks: list[tuple[str, int]] = []
        self.shortfall_mj = 0

    def resume(self, view: ElementView) -> None:
        """Let a new view go on where its element's chain stood before a restart."""
        if not view.last_counter:
            view.last_counter, view.last_hash = self._heads.get(
                view.element_id, (0, bytes(32)))
        if view.depth and not view.commitment[0]:
            view.commitment = self._below.get(view.element_id, view.commitment)

    def file(self, kind: int, signer: bytes, counter: int, now_ms: int, statement: bytes) -> None:
        """Put a statement into the ledger."""
        self._ledger.put(kind, signer, counter, now_ms, statement)

    def keep_credential(self, kind: int, subject: bytes, credential: bytes, now_ms: int) -> None:
        """File a credential under its date: renewed ones stand beside those before."""
        claims = codec.decode_statement(kind, codec.peek(credential)[2])
        self.file(kind, subject, claims["issued_unix_s"], now_ms, credential)

    def take(self, name: str, view: ElementView, statement: bytes, now_ms: int) -> None:
        """Verify a statement of this element; file it, acknowledge it, count what fails.

        name: of the line on which `acknowledged` is to send the answer.
        """
        try:
            kind, fields = self._checked(view, statement)
        except (DecodeError, SignatureError) as error:
            self._failed(f"{view.element_id.hex()}: {error.code}")
            return
        self._counters.verified += 1
        if kind == schema.ANNOUNCEMENT:
            if self._on_announcement(view, fields):
                self.file(kind, view.element_id, now_ms, now_ms, statement)
            return
        if kind == schema.INTERVAL_COMMITMENT and view.depth:
            self._take_commitment(name, view, fields, statement, now_ms)
            return
        if kind not in (schema.EXECUTION_RECORD, schema.SAFETY_EVENT):
            self._failed(f"{view.element_id.hex()}: unexpected {schema.STATEMENT_TYP[kind]}")
            return
        counter = fields["counter"]
        if counter <= view.last_counter:
            self._counters.duplicates += 1
            view.last_record_end_ms = max(view.last_record_end_ms, fields.get("end_unix_ms", 0))
        elif not self._continues(view, counter, fields["previous_hash"], now_ms):
            return
        else:
            view.gap_since_ms = None
            view.last_counter = counter
            view.last_hash = hashlib.sha256(statement).digest()
            view.last_record_end_ms = fields.get("end_unix_ms", view.last_record_end_ms)
            self._pending.append(Leaf(view.element_id, kind, fields, statement))
            self.file(kind, view.element_id, counter, now_ms, statement)
        if self._is_founded(view):
            self._acks.append((name, counter))

    @staticmethod
    def _is_founded(view: ElementView) -> bool:
        """Return True unless an aggregate's record waits for the commitment that it is made of.

        It is not acknowledged before, so that what proves it is never lost on the way.
        """
        return not view.depth or view.last_record_end_ms <= view.commitment[2]

    def _take_commitment(self, name: str, view: ElementView, fields: dict[str, Any],
                         statement: bytes, now_ms: int) -> None:
        """File what an aggregate below has committed to: its records are proven by it."""
        number, digest, _ = view.commitment
        if fields["number"] <= number:
            self._counters.duplicates += 1
        else:
            if fields["number"] == number + 1:
                if number and fields["previous_hash"] != digest:
                    self._failed(f"{view.element_id.hex()}: commitment does not continue")
                    return
            elif number:
                self._counters.gaps += 1
            view.commitment = (fields["number"], hashlib.sha256(statement).digest(),
                               fields["end_unix_ms"])
            self.file(BELOW_KIND, view.element_id, fields["number"], now_ms, statement)
        if view.last_counter and self._is_founded(view):
            self._acks.append((name, view.last_counter))

    @staticmethod
    def _checked(view: ElementView, statement: bytes) -> tuple[int, dict[str, Any]]:
        """Return (kind, fields) of a statement. Raises DecodeError or SignatureError."""
        typ, kid, _ = codec.peek(statement)
        kind = _KINDS.get(typ)
        if kind is None or kid != view.element_id:
            raise SignatureError("typ or key", typ)
        payload = codec.verify1(statement, view.enrolled.sign_key, typ)
        fields = codec.decode_statement(kind, payload)
        whose = "aggregator_id" if kind == schema.INTERVAL_COMMITMENT else "element_id"
        if fields.get(whose) != view.element_id:
            raise SignatureError("element_id")
        return kind, fields

    def _continues(self, view: ElementView, counter: int, previous_hash: bytes, now_ms: int
                   ) -> bool:
        """Return True when a statement goes on where the element's chain stood.

        One that does not is left without an acknowledgement, so that the element sends what is
        missing. When it still sends the same as its oldest after GAP_MS_MAX, it has nothing
        older: the gap is counted, and the chain goes on after it; offline verification names it.
        """
        if counter == view.last_counter + 1 and previous_hash == view.last_hash:
            return True
        if view.gap_since_ms is None or counter < view.gap_counter:
            view.gap_since_ms, view.gap_counter = now_ms, counter
        lasting = now_ms - view.gap_since_ms > GAP_MS_MAX
        if not lasting or counter != view.gap_counter:
            return False
        self._counters.gaps += 1
        return True

    def acknowledged(self) -> list[tuple[str, int]]:
        """Return (line, counter) of what may be acknowledged: by now it is on the medium.

        An element forgets what is acknowledged.
        """
        if not self._acks:
            return []
        self._ledger.flush()
        acks, self._acks = self._acks, []
        return acks

    def _failed(self, why: str) -> None:
        self._counters.failed += 1
        if len(self._counters.failures) < 100:
            self._counters.failures.append(why)

    def commit_interval(self, start_ms: int, end_ms: int, views: Iterable[ElementView],
                        now_ms: int) -> tuple[bytes, dict[str, Any], list[Leaf]]:
        """Sign a commitment over every statement that came since the last one.

        Returns it, its fields, and the statements that it is over.
        """
        leaves = sorted(self._pending, key=lambda leaf: leaf.order)
        self._pending = []
        reported = {leaf.element_id for leaf in leaves
                    if leaf.kind == schema.EXECUTION_RECORD
                    and start_ms < leaf.fields["end_unix_ms"]}
        missing = sum(1 for view in views if view.element_id not in reported)
        shortfall_mwh = energy_mwh(self.shortfall_mj * 1000, 1000)
        self.shortfall_mj = 0
        statement, fields = self._committer.commit(
            leaves, start_ms, end_ms, shortfall_mwh, missing)
        number = fields["number"]
        self.file(schema.INTERVAL_COMMITMENT, fields["aggregator_id"], number, now_ms, statement)
        self.file(CHECKPOINT_KIND, fields["aggregator_id"], number, now_ms,
                  self._committer.checkpoint(end_ms))
        self._ledger.commit(number, [
            (leaf.kind, leaf.element_id, leaf.fields["counter"]) for leaf in leaves])
        return statement, fields, leaves


def _head(statement: bytes) -> tuple[int, bytes, int]:
    """Return number, SHA-256 and end of a commitment."""
    fields = codec.decode_statement(schema.INTERVAL_COMMITMENT, codec.peek(statement)[2])
    return fields["number"], hashlib.sha256(statement).digest(), fields["end_unix_ms"]
