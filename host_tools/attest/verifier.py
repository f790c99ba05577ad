"""Verify bundles offline with the standard library, cbor2 and cryptography, and nothing else.

docs/attestation.md describes every format byte by byte. A bundle that does not hold raises
`Refused`; one that does gives an `Outcome`. Read `primitives` (bytes, signatures, trees) and
`standing` (who may speak, and when) first; both are as standalone as this.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from host_tools.attest.primitives import (
    BYTES_MAX,
    UNIX_MS_MAX,
    check_consistency,
    check_signature,
    need,
    open_signed,
    pieces,
    receipt_header,
    shared_root,
    whole,
)
from host_tools.attest.primitives import Refused as Refused
from host_tools.attest.primitives import load as load
from host_tools.attest.standing import AGGREGATOR, NAME, PARTIES, PARTY, Credential
from host_tools.attest.standing import Trust as Trust

MAGIC, VERSION = "cw/bundle", 1
BUNDLE_SIZE_MAX = BYTES_MAX
CHECKPOINT_COUNT_MAX = 64

# Payloads: key -> type; b8 is 8 bytes, i an integer, ? allows null. All closed.
_RECORD = {1: "b8", 2: "i", 3: "b32", **dict.fromkeys(range(4, 15), "i"), 12: "?i", 13: "?i"}
_EVENT = {1: "b8", 2: "i", 3: "b32", **dict.fromkeys(range(4, 8), "i"), 8: "f", 9: "?i"}
_INTERVAL = {1: "b8", 2: "i", 3: "b32", 4: "b32", **dict.fromkeys(range(5, 13), "i")}
_CHECKPOINT = {1: "b8", 2: "i", 3: "b32", 4: "i"}
CheckAudit = Callable[[Any, "Outcome"], dict[str, Any]]


@dataclass(frozen=True)
class Shown:
    """One disclosed record (or safety event, energy 0). Times: Unix ms. discharge positive."""

    element_id: bytes
    counter: int
    interval: int
    index: int
    is_event: bool
    start_unix_ms: int
    end_unix_ms: int
    instructed_mwh: int
    energy_mwh: int
    quality: int
    previous_hash: bytes
    statement: bytes
    claims: dict[int, Any]  # of the credential that held at the time


@dataclass
class Outcome:
    """What a bundle that holds has shown; maps are payloads by key, as signed."""

    trust: Trust = field(default_factory=Trust)  # with the lists that the bundle encloses
    aggregator_id: bytes = b""
    records: list[Shown] = field(default_factory=list)
    intervals: list[dict[int, Any]] = field(default_factory=list)
    shown_counts: dict[int, int] = field(default_factory=dict)
    signed: list[bytes] = field(default_factory=list)  # commitments, then checkpoints
    credentials: dict[bytes, list[Credential]] = field(default_factory=dict)
    parties: dict[bytes, list[Credential]] = field(default_factory=dict)
    keys: dict[bytes, bytes] = field(default_factory=dict)  # of elements
    aggregators: dict[bytes, bytes] = field(default_factory=dict)
    checkpoints: list[dict[int, Any]] = field(default_factory=list)
    audit: dict[str, Any] | None = None
    receipts_signed: int = 0


def verify_bundle(data: bytes, trust: Trust, lists: list[list[bytes]] | None = None,
                  check_audit: CheckAudit | None = None) -> Outcome:
    """Return what a bundle shows. Raises Refused when any part does not hold or goes unread.

    lists: revocation lists beside those of trust and bundle, each as its signed parts.
    """
    bundle = load(data)
    need(type(bundle) is list and len(bundle) == 8 and bundle[0] == MAGIC, "no bundle")
    need(type(bundle[1]) is int and bundle[1] == VERSION, "bundle version", bundle[1])
    _, _, credentials, parties, intervals, log, audit, revoked = bundle
    need(type(intervals) is list and intervals, "no interval")
    need(type(revoked) is list and all(
        type(one) is list and all(type(part) is bytes for part in one) for one in revoked),
        "revocation lists")
    for parts in [*revoked, *(lists or [])]:
        trust = trust.with_list(parts)
    need(all(low < high for low, high in pairwise(revoked)), "revocation lists out of order")
    out = Outcome(trust=trust)
    out.credentials = _credentials(credentials, "cw/credential", out)
    out.keys = {kid: known[0].key for kid, known in out.credentials.items()}
    out.parties = _credentials(parties, "cw/party", out)
    for known in out.parties.values():
        for one in known:
            need(one.claims[PARTY] == AGGREGATOR, "party is no aggregator",
                 f"{PARTIES.get(one.claims[PARTY], '?')} {one.claims[NAME]}")
    # without roots the bare keys of aggregators stand in the place of their credentials
    out.aggregators = {kid: known[0].key for kid, known in out.parties.items()} \
        if trust.roots else trust.aggregators
    need(out.aggregators, "no party credential of an aggregator")
    for entry in intervals:
        _interval(entry, out)
    need(set(out.credentials) == {one.element_id for one in out.records}, "unused credential")
    need(set(out.parties) <= {out.aggregator_id}, "unused party credential")
    _chains(out)
    if log is not None:
        _log(log, out)
    if audit is not None:
        need(check_audit, "audit unchecked")
        out.audit = check_audit(audit, out) if check_audit else None
    return out


def _credentials(statements: Any, typ: str, out: Outcome) -> dict[bytes, list[Credential]]:
    """Return credentials by the id of the key that they confirm; several are renewals of one."""
    need(type(statements) is list and all(type(one) is bytes for one in statements), typ)
    need(all(low < high for low, high in pairwise(statements)), f"{typ} out of order")
    found: dict[bytes, list[Credential]] = {}
    for statement in statements:
        one = out.trust.credential(statement, typ)
        known = found.setdefault(one.key_id, [])
        need(not known or known[0].key == one.key, "two keys of one id", one.key_id)
        known.append(one)
    return found


def _aggregator(kid: bytes, at_unix_ms: int, out: Outcome) -> None:
    """Check that who signed is the bundle's aggregator, and held a credential at that time."""
    need(out.aggregator_id in (b"", kid), "aggregator", kid)
    if out.trust.roots:
        out.trust.check(out.parties[kid], at_unix_ms // 1000, at_unix_ms // 1000)


def _interval(entry: Any, out: Outcome) -> None:
    """Check one interval: commitment, records, shared proof, totals when all are shown."""
    need(type(entry) is list and len(entry) == 5, "interval")
    commitment, root_signature, indexes, records, nodes = entry
    statement = whole(commitment, "cw/interval")
    kid, fields = open_signed(statement, "cw/interval", out.aggregators, _INTERVAL)
    number, count = fields[2], fields[5]
    if out.intervals:
        need(number > out.intervals[-1][2], "intervals out of order", number)
        need(number > out.intervals[-1][2] + 1 or fields[3]
             == hashlib.sha256(out.signed[-1]).digest(), "interval chain broken", number)
    need(0 <= count <= 10**6 and 0 <= fields[6] <= fields[7] <= UNIX_MS_MAX, "interval", number)
    _aggregator(kid, fields[7], out)
    need(type(indexes) is list and type(records) is list and len(indexes) == len(records)
         and all(type(one) is int for one in indexes), "indexes", number)
    need(all(low < high for low, high in zip([-1, *indexes], [*indexes, count], strict=True)),
         "indexes out of order", number)
    if root_signature is not None:
        check_signature(out.aggregators[kid], receipt_header(kid, number, count), fields[4],
                        root_signature, f"root of interval {number}")
        out.receipts_signed += 1
    shown = [_record(one, number, index, fields[7], out)
             for index, one in zip(indexes, records, strict=True)]
    entries = {one.index: one.statement for one in shown}
    need(shared_root(count, entries, nodes) == fields[4] if shown else nodes == b"",
         "root does not match the records of interval", number)
    if shown and len(shown) == count:
        totals = (sum(one.instructed_mwh for one in shown),
                  sum(one.energy_mwh for one in shown), sum(1 for one in shown if one.quality))
        need(totals == (fields[8], fields[9], fields[12]), "totals of interval", number)
    out.aggregator_id, out.records = kid, out.records + shown
    out.intervals.append(fields)
    out.shown_counts[number] = len(shown)
    out.signed.append(statement)


def _record(statement: Any, number: int, index: int, committed_unix_ms: int, out: Outcome
            ) -> Shown:
    """Check one leaf: its signature by a credentialed key, valid at the time of the record.

    An event of a clock that was never set says 0: it is asked for as of its commitment.
    """
    need(type(statement) is bytes, "record")
    is_event = b"\x6fcw/safety-event" in statement[:48]
    if is_event:
        kid, fields = open_signed(statement, "cw/safety-event", out.keys, _EVENT)
        start_ms, end_ms, instructed, energy, quality = fields[5], fields[5], 0, 0, 0
    else:
        kid, fields = open_signed(statement, "cw/record", out.keys, _RECORD)
        start_ms, end_ms, energy, quality = fields[5], fields[6], fields[11], fields[14]
        # mean power x duration, rounded half away from zero
        instructed = (abs(fields[7]) * (end_ms - start_ms) + 1_800_000) // 3_600_000
        instructed = instructed if fields[7] >= 0 else -instructed
    need(fields[1] == kid, "signed for another element", fields[1])
    need(fields[2] >= 1 and 0 <= start_ms <= end_ms <= UNIX_MS_MAX, "record", index)
    from_ms, to_ms = (committed_unix_ms,) * 2 if is_event and not start_ms else (start_ms, end_ms)
    held = out.trust.check(out.credentials[kid], from_ms // 1000, to_ms // 1000)
    return Shown(kid, fields[2], number, index, is_event, start_ms, end_ms, instructed, energy,
                 quality, fields[3], statement, held.claims)


def _chains(out: Outcome) -> None:
    """Check the order inside intervals and, where counters touch, that hash continues hash."""
    for one, after in pairwise(sorted(out.records, key=lambda one: (one.element_id, one.counter))):
        if one.element_id == after.element_id:
            need(one.counter < after.counter, "counter shown twice", after.counter)
            need(after.counter > one.counter + 1 or after.previous_hash
                 == hashlib.sha256(one.statement).digest(), "chain broken", after.counter)
    for one, after in pairwise(out.records):
        if one.interval == after.interval:
            need((one.element_id, one.counter) < (after.element_id, after.counter),
                 "leaves out of order in interval", one.interval)
            need(one.element_id != after.element_id or after.index - one.index
                 <= after.counter - one.counter, "more leaves than counters", one.interval)


def _log(log: Any, out: Outcome) -> None:
    """Check the checkpoints, that each continues the one before, and that all intervals are in."""
    need(type(log) is list and len(log) == 3 and type(log[0]) is list
         and 0 < len(log[0]) <= CHECKPOINT_COUNT_MAX and type(log[2]) is list
         and len(log[2]) == len(log[0]) - 1, "log")
    for statement in log[0]:
        kid, fields = open_signed(statement, "cw/checkpoint", out.aggregators, _CHECKPOINT)
        need(kid == fields[1], "aggregator", kid)
        need(0 <= fields[4] <= UNIX_MS_MAX, "checkpoint", fields[4])
        _aggregator(kid, fields[4], out)
        for older in out.checkpoints[-1:]:
            need(older[2] < fields[2] and older[4] <= fields[4], "checkpoints out of order")
            path = list(pieces(log[2][len(out.checkpoints) - 1], 32))
            check_consistency(older[2], fields[2], path, older[3], fields[3])
        out.checkpoints.append(fields)
    newest = out.checkpoints[-1]
    entries = {one[2] - 1: signed for one, signed in zip(out.intervals, out.signed, strict=True)}
    need(min(entries) >= 0 and max(entries) < newest[2], "interval not in the log")
    need(shared_root(newest[2], entries, log[1]) == newest[3], "log and commitments differ")
    out.signed += log[0]
