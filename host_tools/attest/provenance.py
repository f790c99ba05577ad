"""From an aggregate's record down to an element's: every step signed and proven, offline.

A step is one level: a signed record, the credential of its signer, the commitment that the
level's aggregator signed over it, and the path that proves it is in there. The record of the next
step up is signed with the key of that aggregator, is of the same interval, and declares the energy
of that commitment to the mWh. What is trusted is the roots of each level.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from element.protocol import codes, schema, trust
from element.protocol.errors import DecodeError, SignatureError
from host_tools import codec
from host_tools.attest.bundle import Entry, Holdings
from host_tools.attest.made_of import check_made_of
from host_tools.attest.primitives import Refused, leaf_hash
from host_tools.attest.receipts import root_of_path
from host_tools.identity.credentials import Trust


@dataclass(frozen=True)
class Step:
    """One level. party: the credential of the aggregator, of the highest step alone."""

    record: bytes
    credential: bytes
    commitment: bytes
    index: int
    path: tuple[bytes, ...]
    party: bytes = b""


def _opened(kind: int, statement: bytes) -> dict[str, Any]:
    return codec.decode_statement(kind, codec.peek(statement)[2])


def walk(ledgers: Sequence[Iterable[Entry]], element_id: bytes, at_unix_ms: int) -> list[Step]:
    """Return the steps from an element's record at a time up through these ledgers.

    ledgers: the lowest first. Raises DecodeError naming what is not there.
    """
    steps: list[Step] = []
    signer, moment_ms = element_id, at_unix_ms
    for entries in ledgers:
        held = Holdings(entries)
        step = _step(held, signer, moment_ms)
        steps.append(step)
        committed = _opened(schema.INTERVAL_COMMITMENT, step.commitment)
        signer = committed["aggregator_id"]
        moment_ms = committed["end_unix_ms"] - 1
    top = held.parties.get(signer)
    if not top:
        raise DecodeError("no party credential of the aggregator", signer.hex())
    steps[-1] = Step(**{**steps[-1].__dict__, "party": top[-1][0]})
    return steps


def _step(held: Holdings, signer: bytes, at_unix_ms: int) -> Step:
    for interval in held.intervals.values():
        for index, leaf in enumerate(sorted(interval.leaves, key=lambda one: one.order)):
            fields = leaf.fields
            if leaf.element_id == signer and leaf.kind == schema.EXECUTION_RECORD \
                    and fields["start_unix_ms"] <= at_unix_ms < fields["end_unix_ms"]:
                return Step(leaf.statement, held.credential_of(leaf)[0], interval.statement,
                            index, tuple(interval.tree.inclusion_path(index)))
    raise DecodeError("no committed record", f"of {signer.hex()} at Unix ms {at_unix_ms}")


def check(steps: Sequence[Step], trusted: Sequence[Trust]) -> list[dict[str, Any]]:
    """Return the records' fields, the element's first, when every step holds.

    trusted: the roots of each level, the lowest first. Raises DecodeError or SignatureError
    saying what does not hold.
    """
    if not steps or len(steps) != len(trusted):
        raise DecodeError("roots of every level", len(trusted))
    records: list[dict[str, Any]] = []
    for at, (step, believed) in enumerate(zip(steps, trusted, strict=True)):
        claimed = _opened(schema.EXECUTION_RECORD, step.record)
        at_s = claimed["end_unix_ms"] // 1000
        key = believed.sign_key(schema.CREDENTIAL, step.credential, at_s)
        fields = codec.decode_statement(schema.EXECUTION_RECORD, codec.verify1(
            step.record, key, schema.STATEMENT_TYP[schema.EXECUTION_RECORD]))
        if _opened(schema.CREDENTIAL, step.credential)["subject"] != fields["element_id"].hex():
            raise SignatureError("signed for another element", fields["element_id"])
        if at:
            _check_joint(steps[at - 1].commitment, key, step.credential, fields)
        _check_inclusion(step)
        records.append(fields)
    last = steps[-1]
    end_s = _opened(schema.INTERVAL_COMMITMENT, last.commitment)["end_unix_ms"] // 1000
    codec.verify1(last.commitment, trusted[-1].sign_key(trust.PARTY_CREDENTIAL, last.party, end_s),
                  schema.STATEMENT_TYP[schema.INTERVAL_COMMITMENT])
    return records


def _check_joint(commitment: bytes, key: bytes, credential: bytes, record: dict[str, Any]
                 ) -> None:
    """Check that an aggregate's record is made of the commitment below it."""
    below = codec.decode_statement(schema.INTERVAL_COMMITMENT, codec.verify1(
        commitment, key, schema.STATEMENT_TYP[schema.INTERVAL_COMMITMENT]))
    if _opened(schema.CREDENTIAL, credential)["profile"]["kind"] != codes.KIND_AGGREGATE:
        raise SignatureError("credentialed as no aggregate", record["element_id"])
    check_made_of(record, below)


def _check_inclusion(step: Step) -> None:
    committed = _opened(schema.INTERVAL_COMMITMENT, step.commitment)
    try:
        root = root_of_path(leaf_hash(step.record), step.index, committed["leaf_count"],
                            step.path)
    except Refused as error:
        raise SignatureError(error.code, error.value) from error
    if root != committed["root"]:
        raise SignatureError("record is not in the commitment", committed["number"])
