"""Choose records of a ledger or run and put them, with all that proves them, into one bundle.

A bundle is deterministic CBOR, described in docs/attestation.md and checked by verifier.py. It
has what was chosen and nothing about the rest but its count: hashes of statements, and a
statement ends in a signature that only its element can make, so no hash can be tried out.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

import cbor2

from element.protocol import schema, trust
from element.protocol.errors import DecodeError, RangeError
from host_tools import codec
from host_tools.attest import merkle
from host_tools.attest.commitment import Leaf, span_unix_ms
from host_tools.attest.log import CHECKPOINT_KIND, CHECKPOINT_SHAPE, IntervalLog
from host_tools.attest.primitives import (
    leaf_hash,
    load,
    need,
    node_hash,
    parts_of,
    pieces,
    receipt_header,
    shaped,
    whole,
)
from host_tools.attest.receipts import (
    INTERVAL_TYP,
    SignedRoot,
    inclusion_receipt,
    sign_root,
)
from host_tools.attest.standing import SKEW_S
from host_tools.attest.verifier import (
    BUNDLE_SIZE_MAX,
    CHECKPOINT_COUNT_MAX,
    MAGIC,
    VERSION,
)
from host_tools.identity.keys import KeyPair, key_id

Entry = tuple[int, int | None, bytes]
Held = tuple[bytes, dict[str, Any]]  # a credential as signed, and its claims


@dataclass(frozen=True)
class Choice:
    """Which records to disclose; what is None does not matter.

    element: the beginning of an id in hexadecimal. Times: a record has to lie within them.
    """

    element: str | None = None
    tenant: str | None = None
    manufacturer: str | None = None
    chemistry: str | None = None
    role: str | None = None
    from_unix_ms: int | None = None
    to_unix_ms: int | None = None

    def takes(self, leaf: Leaf, claims: dict[str, Any]) -> bool:
        """Return True for a record that was chosen. claims: of its element's credential."""
        profile = claims["profile"]
        wanted = ((self.tenant, claims["tenant"]), (self.manufacturer, claims.get("manufacturer")),
                  (self.chemistry, profile["chemistry"]), (self.role, profile["role"]))
        start, end = span_unix_ms(leaf.fields)
        prefix = (self.element or "").lower()
        return (all(wish is None or wish == value for wish, value in wanted)
                and leaf.element_id.hex().startswith(prefix)
                and (self.from_unix_ms is None or start >= self.from_unix_ms)
                and (self.to_unix_ms is None or end <= self.to_unix_ms))

    def text(self) -> str:
        """Return the choice in words, for the record of a refusal."""
        said = [f"{one.name}={getattr(self, one.name)}" for one in fields(self)
                if getattr(self, one.name) is not None]
        return " ".join(said) or "everything"


@dataclass
class Interval:
    """One committed interval with its leaves in the tree's order."""

    statement: bytes
    fields: dict[str, Any]
    leaves: list[Leaf] = field(default_factory=list)
    _tree: merkle.Tree | None = None

    @property
    def tree(self) -> merkle.Tree:
        """The tree over the leaves. Raises DecodeError when it is not the committed one."""
        if self._tree is None:
            self.leaves.sort(key=lambda leaf: leaf.order)
            self._tree = merkle.Tree([leaf.statement for leaf in self.leaves])
            if self._tree.root != self.fields["root"]:
                raise DecodeError("records do not match the commitment of interval",
                                  self.fields["number"])
        return self._tree


class Holdings:
    """What a ledger or an archive holds, by what it is. Nothing is verified here."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """entries: (kind, interval number, statement). Raises DecodeError for broken ones."""
        self.credentials: dict[bytes, list[Held]] = {}
        self.parties: dict[bytes, list[Held]] = {}
        self.intervals: dict[int, Interval] = {}
        self.checkpoints: list[tuple[dict[int, Any], bytes]] = []
        leaves: dict[int, list[Leaf]] = {}
        for kind, number, statement in entries:
            if kind == CHECKPOINT_KIND:
                payload = load(parts_of(statement, "checkpoint")[2])
                self.checkpoints.append(
                    (shaped(payload, CHECKPOINT_SHAPE, True, "checkpoint"), statement))
            if kind in (schema.CREDENTIAL, trust.PARTY_CREDENTIAL):
                self.add_credential(kind, statement)
            if kind not in (schema.EXECUTION_RECORD, schema.SAFETY_EVENT,
                            schema.INTERVAL_COMMITMENT):
                continue
            found = codec.decode_statement(kind, codec.peek(statement)[2])
            if kind == schema.INTERVAL_COMMITMENT:
                self.intervals[found["number"]] = Interval(statement, found)
            elif number is not None:
                leaves.setdefault(number, []).append(
                    Leaf(found["element_id"], kind, found, statement))
        for number, members in leaves.items():
            if number in self.intervals:
                self.intervals[number].leaves = members
        self.checkpoints.sort(key=lambda one: one[0][2])

    def add_credential(self, kind: int, statement: bytes) -> None:
        """Take an element's or a party's credential; renewals stand beside the ones before.

        Raises DecodeError for one that is malformed.
        """
        claims = codec.decode_statement(kind, codec.peek(statement)[2])
        held = self.credentials if kind == schema.CREDENTIAL else self.parties
        known = held.setdefault(key_id(schema.raw_key(claims["cnf"]["cose_key"])), [])
        if all(one != statement for one, _ in known):
            known.append((statement, claims))
            known.sort(key=lambda one: int(one[1]["issued_unix_s"]))

    def chosen(self, choice: Choice) -> dict[int, list[int]]:
        """Return the indexes of the chosen leaves by interval. Intervals without any are left out.

        Raises DecodeError for a record whose element has no credential here.
        """
        out = {}
        for number, interval in sorted(self.intervals.items()):
            indexes = interval.tree.size and [
                index for index, leaf in enumerate(interval.leaves)
                if choice.takes(leaf, self.credential_of(leaf, interval.fields["end_unix_ms"])[1])]
            if indexes:
                out[number] = indexes
        return out

    def credential_of(self, leaf: Leaf, committed_unix_ms: int = 0) -> Held:
        """Return the credential that held when a record was made, else the newest.

        committed_unix_ms: end of its interval, for an event that has no time of its own.
        Raises DecodeError when there is none of its element.
        """
        known = self.credentials.get(leaf.element_id)
        if not known:
            raise DecodeError("no credential for element", leaf.element_id.hex())
        start, end = span_unix_ms(leaf.fields, committed_unix_ms)
        return _in_force(known, start, end) or known[-1]

    def parties_of(self, aggregator_id: bytes, times_unix_ms: Iterable[int]) -> list[bytes]:
        """Return the credentials under which an aggregator signed at these times.

        None for holdings without any of it, as of a bench. Raises DecodeError when it has some
        and none of them was in force at one of the times.
        """
        known, used = self.parties.get(aggregator_id, []), set()
        for at_unix_ms in times_unix_ms if known else ():
            one = _in_force(known, at_unix_ms, at_unix_ms)
            if one is None:
                raise DecodeError(
                    "no party credential of the aggregator was in force",
                    f"{aggregator_id.hex()}, Unix s {at_unix_ms // 1000}\n  next: cellwall pki "
                    "renew aggregator, and name the site with --site")
            used.add(one[0])
        return sorted(used)

    def log(self) -> IntervalLog:
        """Return the log of all commitments. Raises DecodeError when one is missing."""
        for number, wanted in zip(sorted(self.intervals), range(1, len(self.intervals) + 1),
                                  strict=True):
            if number != wanted:
                raise DecodeError("commitment missing of interval", wanted)
        return IntervalLog([self.intervals[number].statement for number in sorted(self.intervals)])


def _in_force(known: list[Held], start_unix_ms: int, end_unix_ms: int) -> Held | None:
    """Return the newest credential whose validity has all of that time, as verifiers see it."""
    return next((one for one in reversed(known)
                 if one[1]["not_before_unix_s"] - SKEW_S <= start_unix_ms // 1000
                 and end_unix_ms // 1000 <= one[1]["expires_unix_s"] + SKEW_S), None)


def _log_part(holdings: Holdings, numbers: Sequence[int], key: KeyPair | None,
              at_unix_ms: int) -> list[Any] | None:
    """Return [checkpoints, shared inclusion proof, consistency proofs], or None without any.

    The newest checkpoint that covers all the numbers (made now, with a key), and before it the
    oldest one that covers the first: what was said then still stands.
    """
    log = holdings.log()
    stored = [(one[2], statement) for one, statement in holdings.checkpoints
              if one[2] <= len(log.entries)]
    for one, _ in holdings.checkpoints:
        if one[2] <= len(log.entries) and log.tree.root_at(one[2]) != one[3]:
            raise DecodeError("commitments do not match the checkpoint of size", one[2])
    if key is not None and not any(size == len(log.entries) for size, _ in stored):
        stored.append((len(log.entries), log.checkpoint(key, at_unix_ms)))
    covering = [one for one in stored if one[0] >= numbers[-1]]
    if not covering:
        return None
    newest = covering[-1]
    older = [one for one in stored if numbers[0] <= one[0] < newest[0]][:CHECKPOINT_COUNT_MAX - 1]
    shown = [*older[:1], newest]
    tree = log.tree if newest[0] == len(log.entries) else merkle.Tree(log.entries[:newest[0]])
    return [[statement for _, statement in shown],
            b"".join(tree.shared_proof([number - 1 for number in numbers])),
            [b"".join(log.consistency(one[0], after[0])) for one, after in pairwise(shown)]]


def encode(credentials: Sequence[bytes], parties: Sequence[bytes], intervals: list[Any],
           log: list[Any] | None, audit: list[Any] | None = None,
           revocations: Sequence[Sequence[bytes]] = ()) -> bytes:
    """Return the bytes of a bundle. Raises RangeError when it is too large for a verifier."""
    data = cbor2.dumps([MAGIC, VERSION, sorted(credentials), sorted(parties), intervals, log,
                        audit, sorted(map(list, revocations))])
    if len(data) > BUNDLE_SIZE_MAX:
        raise RangeError("bundle_size", len(data))
    return data


def build(holdings: Holdings, indexes: dict[int, list[int]], key: KeyPair | None = None,
          at_unix_ms: int = 0, receipts: bool = False, audit: list[Any] | None = None,
          revocations: Sequence[Sequence[bytes]] = ()) -> bytes:
    """Return a bundle with the leaves at indexes (by interval, rising; empty: its totals alone).

    key: the aggregator's, for a checkpoint of now and, with receipts, for a signature over each
    root by which every record maps to an RFC 9942 receipt. revocations: signed lists to enclose,
    each as its parts. Raises RangeError for no interval and
    for a bundle that is too large, DecodeError for holdings that contradict themselves.
    """
    if not indexes:
        raise RangeError("nothing chosen", None)
    used: set[bytes] = set()
    intervals: list[Any] = []
    for number in sorted(indexes):
        interval, shown = holdings.intervals[number], indexes[number]
        nodes = interval.tree.shared_proof(shown) if shown else []
        used |= {holdings.credential_of(interval.leaves[index], interval.fields["end_unix_ms"])[0]
                 for index in shown}
        signature = sign_root(key, number, interval.tree.size, interval.tree.root).signature \
            if key is not None and receipts else None
        _, _, payload, sealed = parts_of(interval.statement, "interval")
        intervals.append([[payload, sealed], signature, shown,
                          [interval.leaves[index].statement for index in shown],
                          b"".join(nodes)])
    log = _log_part(holdings, sorted(indexes), key, at_unix_ms)
    chosen = [holdings.intervals[number].fields for number in sorted(indexes)]
    times = [one["end_unix_ms"] for one in chosen] + [
        load(parts_of(one, "checkpoint")[2])[4] for one in (log[0] if log else ())]
    parties = holdings.parties_of(chosen[0]["aggregator_id"], times)
    return encode(list(used), parties, intervals, log, audit, revocations)


def _paths(size: int, entries: dict[int, bytes], nodes: bytes) -> dict[int, list[bytes]]:
    """Return every entry's audit path out of a shared proof, deepest first."""
    places = merkle.uncovered(size, sorted(entries))
    known = dict(zip(places, pieces(nodes, 32), strict=True))

    def over(low: int, high: int) -> bytes:
        if (low, high) not in known:
            if high - low == 1:
                known[low, high] = leaf_hash(entries[low])
            else:
                middle = low + merkle.split_point(high - low)
                known[low, high] = node_hash(over(low, middle), over(middle, high))
        return known[low, high]

    over(0, size)
    out = {}
    for index in entries:
        path, low, high = [], 0, size
        while high - low > 1:
            middle = low + merkle.split_point(high - low)
            path.append(over(middle, high) if index < middle else over(low, middle))
            low, high = (low, middle) if index < middle else (middle, high)
        out[index] = path[::-1]
    return out


def receipts_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return (statement, RFC 9942 receipt) of every record of a verified bundle.

    Raises Refused when the bundle has no root signature for an interval.
    """
    out = []
    for commitment, signature, indexes, records, nodes in load(data)[4]:
        payload = load(parts_of(whole(commitment, "cw/interval"), "interval")[2])
        need(signature is not None or not indexes, "no receipt signature", payload[2])
        header = receipt_header(payload[1], payload[2], payload[5], INTERVAL_TYP)
        signed = SignedRoot(header, payload[4], payload[5], signature or b"")
        paths = _paths(payload[5], dict(zip(indexes, records, strict=True)), nodes) \
            if indexes else {}
        out += [(record, inclusion_receipt(signed, index, paths[index]))
                for index, record in zip(indexes, records, strict=True)]
    return out


def fingerprint(data: bytes) -> str:
    """Return the SHA-256 of a bundle in hexadecimal, to name it by."""
    return hashlib.sha256(data).hexdigest()
