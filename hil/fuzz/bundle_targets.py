"""Fuzz what a counterparty reads: bundles and receipts.

As in `targets`, each function takes any bytes and returns True if they were accepted. What is
accepted must show nothing but statements that were really signed, and be encoded in one way.
"""

from functools import lru_cache

import cbor2

from hil.benchmarks.attest import START_MS, Building, make_building
from host_tools.attest import audit, bundle, receipts
from host_tools.attest.audit_check import check_audit
from host_tools.attest.verifier import Refused, load, verify_bundle

from .defect import DefectError

_LATER_MS = START_MS + 3_600_000


@lru_cache(maxsize=1)
def _site() -> tuple[Building, bundle.Holdings, frozenset[bytes]]:
    """Return a building of four intervals, and every statement signed in it."""
    building = make_building(4, 4, 11, 2, checkpoints=2)
    holdings = bundle.Holdings(building.entries)
    return building, holdings, frozenset(statement for _, _, statement in building.entries)


@lru_cache(maxsize=1)
def bundle_corpus() -> list[bytes]:
    """Return bundles of every shape: totals, records, logs, receipts, audits."""
    building, holdings, _ = _site()
    key = building.authorities.aggregator
    bare = bundle.Holdings([one for one in building.entries if one[0] != 64])
    chosen: list[dict[int, list[int]]] = [
        {1: []}, {4: []}, {1: [], 3: []}, {2: [1]}, {1: [0], 2: [0]}, {3: [0, 3]},
        {4: [0, 1, 2, 3]}]
    return [
        *[bundle.build(bare, one) for one in chosen],
        *[bundle.build(holdings, one) for one in chosen[:4]],
        bundle.build(holdings, {1: [2]}, key, _LATER_MS, receipts=True),
        audit.build_audit(bare, 2, 1, key, _LATER_MS, b"challenge"),
    ]


def bundle_bytes(data: bytes) -> bool:
    """Fuzz the verifier of bundles: whatever it accepts was signed, statement by statement."""
    building, _, signed = _site()
    try:
        outcome = verify_bundle(data, building.trust, None, check_audit)
    except Refused:
        return False
    shown = {one.statement for one in outcome.records} | set(cbor2.loads(data)[2])
    # the checkpoints of now are made with the corpus, not with the building
    commitments = set(outcome.signed[:len(outcome.intervals)])
    if not (shown | commitments) <= signed:
        raise DefectError("bundle: accepted a statement that nobody signed")
    if cbor2.dumps(load(data)) != data:
        raise DefectError("bundle: accepted a second encoding")
    return True


@lru_cache(maxsize=1)
def _receipts() -> dict[bytes, int]:
    building, holdings, _ = _site()
    tree = holdings.intervals[1].tree
    key = building.authorities.aggregator
    out = {}
    for number in range(1, 5):
        signed = receipts.sign_root(key, number, tree.size, tree.root)
        out.update({one: index for index, one in enumerate(receipts.all_receipts(signed, tree))})
    return out


def receipt_corpus() -> list[bytes]:
    """Return receipts of several intervals and leaves."""
    return list(_receipts())


def receipt_bytes(data: bytes) -> bool:
    """Fuzz receipts against one entry: only its own receipts prove it."""
    building, holdings, _ = _site()
    public = building.authorities.aggregator.public
    index = _receipts().get(data, 0)
    entry = holdings.intervals[1].leaves[index].statement
    try:
        number, place, root = receipts.check_inclusion(data, entry, public)
    except Refused:
        return False
    if data not in _receipts() or place != index or root != holdings.intervals[1].tree.root:
        raise DefectError(f"receipt: accepted another one, of interval {number}")
    return True
