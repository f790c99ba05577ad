"""Verify bundles offline with the standard library, cbor2 and cryptography, and nothing else.

docs/attestation.md describes every format byte by byte. A bundle that does not hold raises
`Refused`; one that does gives an `Outcome`. Ref: RFC 8949 4.2.1 (deterministic CBOR), RFC 9052
4.2 and 4.4 (COSE_Sign1), RFC 9053 2.1 (ES256), RFC 9162 2.1 (trees), RFC 9942 5 (receipts).
"""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

MAGIC, VERSION = "cw/bundle", 1
BUNDLE_SIZE_MAX, DEPTH_MAX = 1 << 24, 8
UNIX_MS_MAX = 4_102_444_800_000  # 2100-01-01, as everywhere in the contract
CHECKPOINT_COUNT_MAX = TRUST_FILES_MAX = 64
CLOCK_SKEW_S_MAX = 120  # how far a record may lie outside its credential's validity
VDS, RFC9162_SHA256 = 395, 1  # RFC 9942 2 and 4.1
NUMBER_CLAIM, SIZE_CLAIM = -70010, -70011

# Payloads: key -> type; b8 is 8 bytes, i an integer, ? allows null. Closed, but for credentials.
_RECORD = {1: "b8", 2: "i", 3: "b32", **dict.fromkeys(range(4, 15), "i"), 12: "?i", 13: "?i"}
_EVENT = {1: "b8", 2: "i", 3: "b32", **dict.fromkeys(range(4, 8), "i"), 8: "f", 9: "?i"}
_INTERVAL = {1: "b8", 2: "i", 3: "b32", 4: "b32", **dict.fromkeys(range(5, 13), "i")}
_CHECKPOINT = {1: "b8", 2: "i", 3: "b32", 4: "i"}
_CREDENTIAL = {1: "s", 2: "s", 4: "i", 5: "i", 8: "m", -70002: "m", -70004: "s"}
_TYPES = {"b": bytes, "i": int, "s": str, "f": bool, "m": dict}
RevokedAt = Callable[[bytes, int], str | None]  # (key id, Unix s) -> why it was revoked, or None
OpenRevocations = Callable[[list[bytes]], RevokedAt]  # the parts of one signed list
CheckAudit = Callable[[Any, "Trust", "Outcome"], dict[str, Any]]


class Refused(Exception):
    """The bytes do not hold. code: what was wrong; value: where or with what."""

    def __init__(self, code: str, value: object = None) -> None:
        super().__init__(code, value)
        self.code, self.value = code, value


def need(holds: object, code: str, value: object = None) -> None:
    """Raise Refused with this code unless it holds."""
    if not holds:
        raise Refused(code, value)


def _ordered(value: Any, depth: int = 0) -> Any:
    """Return value with maps in bytewise key order; refuses what no format here contains."""
    need(depth <= DEPTH_MAX, "cbor depth")
    kind = type(value)
    if kind is dict:
        need(all(type(key) is int for key in value), "cbor key")
        return {key: _ordered(value[key], depth + 1) for key in sorted(value, key=cbor2.dumps)}
    if kind is list:
        return [_ordered(one, depth + 1) for one in value]
    need(kind in (bytes, str, bool, type(None)) or (kind is int and -2**63 <= value < 2**64),
         "cbor type", kind.__name__)
    return value


def load(data: bytes) -> Any:
    """Return the value of deterministic CBOR without tags. Raises Refused for anything else."""
    need(len(data) <= BUNDLE_SIZE_MAX, "size", len(data))
    try:
        value = cbor2.loads(data)
        again = cbor2.dumps(_ordered(value))
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Refused("cbor", type(error).__name__) from error
    need(again == data, "cbor not deterministic")
    return value


def shaped(value: Any, shape: dict[int, str], closed: bool, what: str) -> dict[int, Any]:
    """Return value when it is a map with these keys and types. Raises Refused."""
    need(type(value) is dict and (len(value) == len(shape) or not closed), what)
    for key, rule in shape.items():
        one, name = value.get(key), rule.lstrip("?")
        if one is not None or rule == name or key not in value:
            need(type(one) is _TYPES[name[0]], what, key)
            need(len(name) == 1 or len(one) == int(name[1:]), what, key)
    return value


@lru_cache(maxsize=4096)
def _public(key: bytes) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + key)


def key_id(key: bytes) -> bytes:
    """Return the 8 bytes that name a raw x||y key."""
    return hashlib.sha256(key).digest()[:8]


def parts_of(data: Any, what: str) -> list[Any]:
    """Return the four parts of a tagged COSE_Sign1 (RFC 9052 4.2), nothing of it checked."""
    need(type(data) is bytes and data[:1] == b"\xd2", what)
    parts = load(data[1:])
    need(type(parts) is list and len(parts) == 4 and type(parts[0]) is bytes, what)
    return parts


def check_signature(key: bytes, header: bytes, payload: bytes, signature: Any, what: str) -> None:
    """Check ES256 over the Sig_structure of RFC 9052 4.4. Raises Refused."""
    need(type(signature) is bytes and len(signature) == 64, "signature", what)
    signed = cbor2.dumps(["Signature1", header, b"", payload])
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        _public(key).verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError) as error:  # ValueError: the key is no point
        raise Refused("signature", what) from error


def open_signed(data: Any, typ: str, keys: dict[bytes, bytes], shape: dict[int, str],
                closed: bool = True) -> tuple[bytes, dict[int, Any]]:
    """Return (kid, payload) of a statement of this typ, signed by one of the keys (by kid)."""
    protected, unprotected, payload, signature = parts_of(data, typ)
    header = shaped(load(protected), {1: "i", 4: "b8", 16: "s"}, True, f"{typ} header")
    need(header[1] == -7, "algorithm", header[1])
    need(header[16] == typ, "typ", header[16])
    need(unprotected == {} and type(payload) is bytes, typ)
    need(header[4] in keys, f"signer of {typ} is not trusted", header[4])
    check_signature(keys[header[4]], protected, payload, signature, typ)
    return header[4], shaped(load(payload), shape, closed, typ)


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256 of 00 and the entry (RFC 9162 2.1.1)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256 of 01 and two nodes (RFC 9162 2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold(size: int, leaves: dict[int, Any], given: Iterator[Any],
         join: Callable[[Any, Any], Any], take: Callable[[Any, int], Any]) -> Any:
    """Return the root node over leaves by index; what holds none of them comes from given.

    Left to right, one given node for each largest subtree without a leaf of ours.
    """
    indexes = sorted(leaves)

    def over(low: int, high: int) -> Any:
        place = bisect_left(indexes, low)
        if place == len(indexes) or indexes[place] >= high:
            one = next(given, None)
            need(one is not None, "proof too short")
            return take(one, high - low)
        if high - low == 1:
            return leaves[low]
        middle = low + (1 << ((high - low - 1).bit_length() - 1))
        return join(over(low, middle), over(middle, high))

    root = over(0, size)
    need(next(given, None) is None, "proof too long")
    return root


def pieces(data: Any, size: int) -> Iterator[bytes]:
    """Return the parts of this size that make up data. Raises Refused when one is short."""
    need(type(data) is bytes and len(data) % size == 0, "proof")
    return iter([data[at:at + size] for at in range(0, len(data), size)])


def shared_root(size: int, entries: dict[int, bytes], nodes: bytes) -> bytes:
    """Return the root over entries by index and the nodes of a shared proof, 32 bytes each."""
    leaves = {index: leaf_hash(one) for index, one in entries.items()}
    return bytes(fold(size, leaves, pieces(nodes, 32), node_hash, lambda node, _: node))


def check_consistency(older_size: int, newer_size: int, path: Sequence[bytes],
                      older_root: bytes, newer_root: bytes) -> None:
    """Check that the newer tree continues the older (RFC 9162 2.1.4.2). Raises Refused."""
    need(0 < older_size < newer_size and path, "consistency")
    hashes_in = iter(path)
    older = newer = older_root if older_size & (older_size - 1) == 0 else next(hashes_in)
    node, last = older_size - 1, newer_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    for one in hashes_in:
        need(last, "consistency")
        if node & 1 or node == last:
            older, newer = node_hash(one, older), node_hash(one, newer)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            newer = node_hash(newer, one)
        node, last = node >> 1, last >> 1
    need(last == 0 and (older, newer) == (older_root, newer_root), "history rewritten", newer_size)


def receipt_header(kid: bytes, number: int, size: int, typ: str = "cw/receipt") -> bytes:
    """Return a receipt's protected header: alg, kid, CWT claims (RFC 9597), typ, vds."""
    return cbor2.dumps({1: -7, 4: kid, 15: {NUMBER_CLAIM: number, SIZE_CLAIM: size}, 16: typ,
                        VDS: RFC9162_SHA256})


@dataclass(frozen=True)
class Trust:
    """The keys that a counterparty trusts, by key id: of issuers and of aggregators."""

    issuers: dict[bytes, bytes]
    aggregators: dict[bytes, bytes]

    @classmethod
    def load(cls, path: Path) -> "Trust":
        """Read a trust.json, or every *.json of a folder. Raises Refused for any that is none."""
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        need(0 < len(files) <= TRUST_FILES_MAX, "trust root", str(path))
        out = cls({}, {})
        for file in files:
            try:
                named = json.loads(file.read_text(encoding="utf-8"))
                for name, known in (("issuer", out.issuers), ("aggregator", out.aggregators)):
                    key = bytes.fromhex(named[name])
                    need(len(key) == 64, "trust root", str(file))
                    known[key_id(key)] = key
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise Refused("trust root", str(file)) from error
        return out


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


@dataclass
class Outcome:
    """What a bundle that holds has shown; maps are payloads by key, as signed."""

    aggregator_id: bytes = b""
    records: list[Shown] = field(default_factory=list)
    intervals: list[dict[int, Any]] = field(default_factory=list)
    shown_counts: dict[int, int] = field(default_factory=dict)
    signed: list[bytes] = field(default_factory=list)  # commitments, then checkpoints
    credentials: dict[bytes, dict[int, Any]] = field(default_factory=dict)
    keys: dict[bytes, bytes] = field(default_factory=dict)
    checkpoints: list[dict[int, Any]] = field(default_factory=list)
    audit: dict[str, Any] | None = None
    revocations_checked: bool = False
    receipts_signed: int = 0


def verify_bundle(data: bytes, trust: Trust, revocations: OpenRevocations | None = None,
                  check_audit: CheckAudit | None = None) -> Outcome:
    """Return what a bundle shows. Raises Refused when any part does not hold or goes unread."""
    bundle = load(data)
    need(type(bundle) is list and len(bundle) == 7 and bundle[0] == MAGIC, "no bundle")
    need(type(bundle[1]) is int and bundle[1] == VERSION, "bundle version", bundle[1])
    _, _, credentials, intervals, log, audit, revoked = bundle
    need(type(credentials) is list and all(type(one) is bytes for one in credentials)
         and credentials == sorted(credentials), "credentials out of order")
    need(type(intervals) is list and intervals, "no interval")
    out = Outcome(revocations_checked=revoked is not None)
    need(revoked is None or revocations, "revocations unchecked")
    revoked_at = revocations(revoked) if revocations and revoked is not None else None
    for statement in credentials:
        _credential(statement, trust, out)
    for entry in intervals:
        _interval(entry, trust, out, revoked_at)
    need(set(out.credentials) == {one.element_id for one in out.records}, "unused credential")
    _chains(out)
    if log is not None:
        _log(log, trust, out)
    if audit is not None:
        need(check_audit, "audit unchecked")
        out.audit = check_audit(audit, trust, out) if check_audit else None
    return out


def _credential(statement: bytes, trust: Trust, out: Outcome) -> None:
    _, claims = open_signed(statement, "cw/credential", trust.issuers, _CREDENTIAL, False)
    cnf = shaped(claims[8], {1: "m"}, True, "cnf")
    key = shaped(cnf[1], {1: "i", -1: "i", -2: "b32", -3: "b32"}, True, "cnf")
    raw = key[-2] + key[-3]
    shaped(claims[-70002], {2: "i", 3: "i", 20: "s", 21: "s"}, False, "profile")
    need(key[1] == 2 and key[-1] == 1 and claims[2] == key_id(raw).hex(), "subject", claims[2])
    need(key_id(raw) not in out.credentials, "second credential", key_id(raw))
    out.credentials[key_id(raw)], out.keys[key_id(raw)] = claims, raw


def _interval(entry: Any, trust: Trust, out: Outcome, revoked_at: RevokedAt | None) -> None:
    """Check one interval: commitment, records, shared proof, totals when all are shown."""
    need(type(entry) is list and len(entry) == 5, "interval")
    statement, root_signature, indexes, records, nodes = entry
    kid, fields = open_signed(statement, "cw/interval", trust.aggregators, _INTERVAL)
    number, count = fields[2], fields[5]
    need(fields[1] == kid and out.aggregator_id in (b"", kid), "aggregator", kid)
    if out.intervals:
        need(number > out.intervals[-1][2], "intervals out of order", number)
        need(number > out.intervals[-1][2] + 1 or fields[3]
             == hashlib.sha256(out.signed[-1]).digest(), "interval chain broken", number)
    need(0 <= count <= 10**6 and 0 <= fields[6] <= fields[7] <= UNIX_MS_MAX, "interval", number)
    need(type(indexes) is list and type(records) is list and len(indexes) == len(records)
         and all(type(one) is int for one in indexes), "indexes", number)
    need(all(low < high for low, high in zip([-1, *indexes], [*indexes, count], strict=True)),
         "indexes out of order", number)
    if root_signature is not None:
        check_signature(trust.aggregators[kid], receipt_header(kid, number, count), fields[4],
                        root_signature, f"root of interval {number}")
        out.receipts_signed += 1
    shown = [_record(one, number, index, out, revoked_at)
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


def _record(statement: Any, number: int, index: int, out: Outcome,
            revoked_at: RevokedAt | None) -> Shown:
    """Check one leaf: its signature by a credentialed key, valid at the time of the record."""
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
    claims = out.credentials[kid]
    need(fields[2] >= 1 and 0 <= start_ms <= end_ms <= UNIX_MS_MAX, "record", index)
    need(start_ms // 1000 >= claims[5] - CLOCK_SKEW_S_MAX, "credential not yet valid", kid)
    need(end_ms // 1000 <= claims[4] + CLOCK_SKEW_S_MAX, "credential expired", kid)
    why = revoked_at(kid, end_ms // 1000) if revoked_at else None
    need(why is None, "credential revoked", why)
    return Shown(kid, fields[2], number, index, is_event, start_ms, end_ms, instructed, energy,
                 quality, fields[3], statement)


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


def _log(log: Any, trust: Trust, out: Outcome) -> None:
    """Check the checkpoints, that each continues the one before, and that all intervals are in."""
    need(type(log) is list and len(log) == 3 and type(log[0]) is list
         and 0 < len(log[0]) <= CHECKPOINT_COUNT_MAX and type(log[2]) is list
         and len(log[2]) == len(log[0]) - 1, "log")
    for statement in log[0]:
        kid, fields = open_signed(statement, "cw/checkpoint", trust.aggregators, _CHECKPOINT)
        need(kid == fields[1] == out.aggregator_id, "aggregator", kid)
        need(0 <= fields[4] <= UNIX_MS_MAX, "checkpoint", fields[4])
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
