"""An element's chain of signed statements: made, offered, kept until they are acknowledged.

The twin of element.ledger.signer. A statement is signed at once; the caller keeps it on its
medium (`keep`) before it is offered, so that no counter is ever used for two statements.
"""

import hashlib
from typing import Any

from element.protocol import codes, schema
from host_tools.links.element_identity import ElementIdentity

STATEMENTS_IN_FLIGHT = 4
STATEMENT_RETRY_MS = 5000
UNACKED_MAX = 512
# The last places are for events.
RESERVE = 16
_NUMBER_MAX = 0x7FFFFFFF


class StatementChain:
    """Statements with a counter and the hash of the one before.

    unacked: (counter, statement), oldest first. A record that finds no room is given up, counted,
    and told of by a signed notice as soon as there is room; nothing old is ever given up.
    """

    __slots__ = ("_gap_count", "_gap_from_ms", "_gap_to_ms", "_identity", "_sent_at", "counter",
                 "lost_count", "previous_hash", "unacked")

    def __init__(self, identity: ElementIdentity) -> None:
        self._identity = identity
        self.counter = 0
        self.previous_hash = bytes(32)
        self.unacked: list[tuple[int, bytes]] = []
        self.lost_count = 0
        self._sent_at: dict[int, int] = {}
        self._gap_count = 0
        self._gap_from_ms = 0
        self._gap_to_ms = 0

    def add(self, kind: int, fields: dict[str, Any]) -> bool:
        """Sign a record or an event and put it at the end; False when there is no room for it.

        fields: without element, counter and hash. Raises RangeError for a bad field.
        """
        reserve = 0 if kind == schema.SAFETY_EVENT else RESERVE
        at_ms = fields["at_unix_ms"] if kind == schema.SAFETY_EVENT else fields["end_unix_ms"]
        if len(self.unacked) + 1 + (self._gap_count > 0) > UNACKED_MAX - reserve:
            self.lost_count += 1
            if not self._gap_count:
                self._gap_from_ms = fields.get("start_unix_ms", at_ms)
            self._gap_count += 1
            self._gap_to_ms = at_ms
            return False
        if self._gap_count:
            span_s = (self._gap_to_ms - self._gap_from_ms) // 1000
            self._chain(schema.SAFETY_EVENT, {
                "cause": codes.NOTICE_GAP, "at_unix_ms": at_ms, "value": self._gap_count,
                "limit": max(0, min(span_s, _NUMBER_MAX)), "released": False, "index": None})
            self._gap_count = 0
        self._chain(kind, fields)
        if self._identity.keep is not None:
            self._identity.keep()
        return True

    def _chain(self, kind: int, fields: dict[str, Any]) -> None:
        statement = self._identity.signed(kind, {
            **fields, "element_id": self._identity.element_id, "counter": self.counter + 1,
            "previous_hash": self.previous_hash})
        self.counter += 1
        self.previous_hash = hashlib.sha256(statement).digest()
        self.unacked.append((self.counter, statement))

    def due(self, now_ms: int) -> list[bytes]:
        """Return the statements to offer now, and count them as offered."""
        out = []
        for counter, statement in self.unacked[:STATEMENTS_IN_FLIGHT]:
            sent_ms = self._sent_at.get(counter)
            if sent_ms is None or now_ms - sent_ms > STATEMENT_RETRY_MS:
                self._sent_at[counter] = now_ms
                out.append(statement)
        return out

    @property
    def waits(self) -> bool:
        """True while a statement that may be offered has not been offered yet."""
        return any(counter not in self._sent_at
                   for counter, _ in self.unacked[:STATEMENTS_IN_FLIGHT])

    def acknowledge(self, counter: int) -> None:
        """Forget what the host has, up to and including counter; nothing for one not offered."""
        if not self.unacked or not self.unacked[0][0] <= counter <= self.unacked[-1][0]:
            return
        self.unacked = [one for one in self.unacked if one[0] > counter]
        self._sent_at = {one: at for one, at in self._sent_at.items() if one > counter}
        if self._identity.keep is not None:
            self._identity.keep()

    def state(self) -> dict[str, Any]:
        """Return what a restart must know."""
        return {"counter": self.counter, "previous_hash": self.previous_hash,
                "unacked": [list(one) for one in self.unacked],
                "gap": [self._gap_count, self._gap_from_ms, self._gap_to_ms]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a state stood."""
        self.counter, self.previous_hash = state["counter"], state["previous_hash"]
        self.unacked = [(counter, statement) for counter, statement in state["unacked"]]
        self._gap_count, self._gap_from_ms, self._gap_to_ms = state["gap"]
