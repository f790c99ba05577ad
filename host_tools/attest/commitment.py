"""Close an interval: a Merkle root over what was received, signed by the aggregator.

After a restart the committer goes on where the ledger stops, in the same chain and log. A ledger
that lacks its end or was altered is refused: going on from it would be a second history.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cbor2

from element.protocol import schema
from element.protocol.errors import DecodeError, SignatureError
from host_tools import codec
from host_tools.attest import merkle
from host_tools.attest.log import (
    CHECKPOINT_KIND,
    CHECKPOINT_SHAPE,
    CHECKPOINT_TYP,
    sign_checkpoint,
)
from host_tools.attest.primitives import Refused, open_signed
from host_tools.identity.keys import KeyPair
from host_tools.ledger.store import Ledger


@dataclass(frozen=True)
class Leaf:
    """One chained statement of an element, with its decoded fields."""

    element_id: bytes
    kind: int
    fields: dict[str, Any]
    statement: bytes

    @property
    def order(self) -> tuple[bytes, int]:
        """Leaves stand in the order of element id and counter."""
        return self.element_id, int(self.fields["counter"])


def span_unix_ms(fields: dict[str, Any], committed_unix_ms: int = 0) -> tuple[int, int]:
    """Return the start and end of a record; of what has one moment, that twice.

    An event of a clock that was never set says 0: it was signed by committed_unix_ms, the end of
    the interval that commits it, and that is as of when its signer's credential is asked for.
    """
    if "end_unix_ms" in fields:
        return fields["start_unix_ms"], fields["end_unix_ms"]
    at_unix_ms = fields.get("at_unix_ms", 0) or committed_unix_ms
    return at_unix_ms, at_unix_ms


def energy_mwh(power_mw: int, duration_ms: int) -> int:
    """Return power for a duration in mWh, rounded half away from zero."""
    size = (abs(power_mw) * duration_ms + 1_800_000) // 3_600_000
    return size if power_mw >= 0 else -size


def totals(leaves: Sequence[Leaf]) -> tuple[int, int, int]:
    """Return (instructed mWh, realized mWh, flagged records) over the execution records."""
    records = [leaf.fields for leaf in leaves if leaf.kind == schema.EXECUTION_RECORD]
    instructed = sum(
        energy_mwh(one["instructed_mw_mean"], one["end_unix_ms"] - one["start_unix_ms"])
        for one in records)
    realized = sum(one["energy_mwh"] for one in records)
    return instructed, realized, sum(1 for one in records if one["quality"])


class Committer:
    """Sign one commitment after the other, chained by hash, and checkpoints of their log."""

    def __init__(self, key: KeyPair) -> None:
        self._key = key
        self._number = 0
        self._previous = bytes(32)
        self._log = merkle.Frontier()

    @classmethod
    def resumed(cls, key: KeyPair, ledger: Ledger, seen: Sequence[bytes] = ()
                ) -> tuple["Committer", list[Leaf]]:
        """Return a committer that goes on where a ledger stops, and what waits for an interval.

        An empty ledger gives a new one. The leaves are the records and events that came and were
        not committed yet. seen: checkpoints of this log that are kept elsewhere: they alone
        show a ledger that was put back whole to an earlier day. Raises DecodeError for a ledger
        that lacks something, SignatureError for one that was altered, BusError for one that can
        not be read; the code says what. 100,000 commitments take a second of a desk computer.
        """
        committer = cls(key)
        newest = ledger.last_of_kind(CHECKPOINT_KIND)
        points = [_checkpoint(one, key) for one in [*seen, *([newest] if newest else [])]]
        roots = committer._replay(ledger, {one[2] for one in points})
        for one in points:
            if one[2] > committer._number:
                raise DecodeError("ledger is shorter than its checkpoint",
                                  f"{committer._number} intervals, not {one[2]}")
            if roots.get(one[2]) != one[3]:
                raise SignatureError("checkpoint does not match the ledger", one[2])
        if committer._number and newest is None:
            raise DecodeError("ledger has no checkpoint", committer._number)
        return committer, [_leaf(kind, one) for kind, one in ledger.chained(None)]

    def _replay(self, ledger: Ledger, sizes: set[int]) -> dict[int, bytes]:
        """Take up number, hash and log from a ledger's commitments; returns the log's roots.

        sizes: of which the root is wanted. Each commitment is bound by the hash in the next, and
        the last by its signature, so no other signature is checked.
        """
        roots: dict[int, bytes] = {}
        statement = b""
        for counter, statement in ledger.of_kind(schema.INTERVAL_COMMITMENT):
            aggregator_id, number, previous = _chained_fields(statement, counter)
            if aggregator_id != self._key.key_id:
                raise SignatureError("ledger of another aggregator", aggregator_id)
            if counter != self._number + 1:
                raise DecodeError("commitment missing in the ledger", self._number + 1)
            if number != counter:
                raise SignatureError("commitment under another number", counter)
            if previous != self._previous:
                raise SignatureError("commitment altered in the ledger", counter - 1)
            self._number, self._previous = counter, hashlib.sha256(statement).digest()
            self._log.append(statement)
            if counter in sizes:
                roots[counter] = self._log.root
        if ledger.last_interval() > self._number:
            raise DecodeError("commitment missing in the ledger", self._number + 1)
        if self._number:
            self._check_last(statement, [_leaf(kind, one)
                                         for kind, one in ledger.chained(self._number)])
        return roots

    def _check_last(self, statement: bytes, leaves: Sequence[Leaf]) -> None:
        """Check the newest commitment's signature, and that its records are those it is over."""
        try:
            payload = codec.verify1(statement, self._key.public,
                                    schema.STATEMENT_TYP[schema.INTERVAL_COMMITMENT])
        except SignatureError as error:
            raise SignatureError("commitment altered in the ledger", self._number) from error
        fields = codec.decode_statement(schema.INTERVAL_COMMITMENT, payload)
        if len(leaves) != fields["leaf_count"]:
            raise DecodeError("records missing in the ledger's last interval",
                              f"{len(leaves)} of {fields['leaf_count']}")
        ordered = sorted(leaves, key=lambda leaf: leaf.order)
        if merkle.root([leaf.statement for leaf in ordered]) != fields["root"]:
            raise SignatureError("records altered in the ledger's last interval", self._number)

    def checkpoint(self, at_unix_ms: int) -> bytes:
        """Sign the log of all commitments made so far."""
        return sign_checkpoint(self._key, self._log.size, self._log.root, at_unix_ms)

    def commit(
        self, leaves: Sequence[Leaf], start_unix_ms: int, end_unix_ms: int, shortfall_mwh: int,
        missing_count: int,
    ) -> tuple[bytes, dict[str, Any]]:
        """Return (statement, fields) over leaves, which are put into order here."""
        ordered = sorted(leaves, key=lambda leaf: leaf.order)
        instructed, realized, flagged = totals(ordered)
        self._number += 1
        fields = {
            "aggregator_id": self._key.key_id,
            "number": self._number,
            "previous_hash": self._previous,
            "root": merkle.root([leaf.statement for leaf in ordered]),
            "leaf_count": len(ordered),
            "start_unix_ms": start_unix_ms,
            "end_unix_ms": end_unix_ms,
            "instructed_mwh": instructed,
            "realized_mwh": realized,
            "shortfall_mwh": shortfall_mwh,
            "missing_count": missing_count,
            "flagged_count": flagged,
        }
        statement = codec.sign1(
            self._key.private, schema.STATEMENT_TYP[schema.INTERVAL_COMMITMENT],
            self._key.key_id, codec.encode_statement(schema.INTERVAL_COMMITMENT, fields),
        )
        self._previous = hashlib.sha256(statement).digest()
        self._log.append(statement)
        return statement, fields


def _leaf(kind: int, statement: bytes) -> Leaf:
    """Return a leaf of the ledger. Raises DecodeError for one that is malformed."""
    fields = codec.decode_statement(kind, codec.peek(statement)[2])
    return Leaf(fields["element_id"], kind, fields, statement)


def _chained_fields(statement: bytes, counter: int) -> tuple[Any, Any, Any]:
    """Return aggregator id, number and previous hash of a commitment, unchecked. DecodeError."""
    try:
        payload = cbor2.loads(cbor2.loads(statement[1:])[2])
        return payload[1], payload[2], payload[3]
    except (cbor2.CBORError, ValueError, TypeError, LookupError) as error:
        raise DecodeError("commitment altered in the ledger", counter) from error


def _checkpoint(statement: bytes, key: KeyPair) -> dict[int, Any]:
    """Return a checkpoint's fields by number. Raises SignatureError for one that is not ours."""
    try:
        _, fields = open_signed(statement, CHECKPOINT_TYP, {key.key_id: key.public},
                                CHECKPOINT_SHAPE)
    except Refused as error:
        raise SignatureError(f"checkpoint: {error.code}", error.value) from error
    return fields
