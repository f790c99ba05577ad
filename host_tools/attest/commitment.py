"""Close an interval: a Merkle root over what was received, signed by the aggregator."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from element.protocol import schema
from host_tools import codec
from host_tools.attest import merkle
from host_tools.attest.log import sign_checkpoint
from host_tools.identity.keys import KeyPair


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
