"""Audited totals: a spot check that a counterparty repeats without ever seeing the ledger.

The declared energy of an interval is the sum over its leaves. To show it, the aggregator signs a
*sum tree* beside the interval's tree: leaf i is (energy of record i, hash that binds the energy
to the record), a node is (sum of both, hash over both sums and hashes). Its root, the leaf count,
the total and a bound B on the energy of any one leaf are the payload of a statement (typ
cw/audit); SHA-256 of that payload selects k leaves (Fiat-Shamir), which the bundle shows with
their way to both roots. On that way no sum beside it may exceed B times its leaves. A second
statement (typ cw/audit-opening) names the challenge under which they were selected.

The bound. Call a leaf *good* when its record is genuine, its energy is what the sum tree says
and not above B, and its way to the roots holds, bounds included; else *wrong*, m of n in all.
Take the union T of the ways of all good leaves. Sums on T add up. What hangs beside T are
subtrees of wrong leaves alone, m leaves together, and each claims at most B per leaf, because
a good leaf's way checked it. What these m leaves truly did is at most B each as well, by their
ratings. So the declared total misses the truth by D <= 2 B m: a total inflated by x of the truth,
D = |total| x / (1 + x), needs m >= D / (2 B) wrong leaves. A sample of k without replacement
misses them all with probability C(n-m, k) / C(n, k) (hypergeometric), and else is refused.

Grinding. Whoever lies can build many false trees and publish one whose sample is harmless: with
2^g tries an escape of probability p happens with at most 2^g p. `sample_for` therefore takes g
(40 by default: about a day of one machine's hashing at ten million a second) and asks for
2^g p <= 2^-20. A counterparty that picks a challenge *after* it was told the SHA-256 of the
payload leaves no tries: then g is 0. A challenge that was known before the payload was made
changes nothing. k is not under the seed and need not be, for samples are nested.

What it does not show: instructed energy and shortfall (not in the sum tree), records that were
never committed, and what an element measured wrongly itself.
Ref: Fiat and Shamir, CRYPTO 86; Fisher and Yates 1938 (Knuth, TAOCP 2, 3.4.2, algorithm P).
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from element.protocol import schema
from element.protocol.errors import RangeError
from host_tools import codec
from host_tools.attest import bundle, merkle
from host_tools.attest.audit_check import (
    AUDIT_TYP,
    CHALLENGE_SIZE_MAX,
    OPENING_TYP,
    allowance_mwh,
    audit_indexes,
    escape_probability,
    seed_of,
    sum_join,
    sum_leaf,
    wrong_leaves_min,
)
from host_tools.attest.commitment import Leaf, span_unix_ms
from host_tools.identity.keys import KeyPair

GRIND_LOG2 = 40
ESCAPE_LOG2 = 20
SAMPLE_DEFAULT = 100


def energy_of(leaf: Leaf) -> int:
    """Return what a leaf adds to the realized total, mWh; a safety event adds nothing."""
    return int(leaf.fields["energy_mwh"]) if leaf.kind == schema.EXECUTION_RECORD else 0


class SumTree:
    """The tree of sums over leaves, in the shape of RFC 9162 2.1.1; every level is kept."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        """leaves: in the order of the interval's tree, at least one."""
        level = [sum_leaf(energy_of(leaf), leaf.statement) for leaf in leaves]
        if not level:
            raise RangeError("no leaves to audit", None)
        self.levels = [level]
        while len(level) > 1:
            pairs = len(level) & ~1
            level = [sum_join(level[at], level[at + 1]) for at in range(0, pairs, 2)] \
                + level[pairs:]
            self.levels.append(level)

    @property
    def root(self) -> tuple[int, bytes]:
        """(total mWh, hash)."""
        return self.levels[-1][0]

    def shared_proof(self, indexes: Sequence[int]) -> bytes:
        """Return the nodes beside the ways of the leaves at indexes: mWh (8 bytes) and hash."""
        out = []
        for low, high in merkle.uncovered(len(self.levels[0]), indexes):
            height = (high - low - 1).bit_length()
            energy_mwh, digest = self.levels[height][low >> height]
            out.append(energy_mwh.to_bytes(8, "big", signed=True) + digest)
        return b"".join(out)


def leaf_mwh_max(holdings: bundle.Holdings, leaves: Sequence[Leaf]) -> int:
    """Return B: the largest energy that any leaf's rating and duration allow, mWh.

    Raises RangeError for a record above its own allowance, which no audit could show.
    """
    bound = 1
    for leaf in leaves:
        profile = holdings.credential_of(leaf)[1]["profile"]
        start, end = span_unix_ms(leaf.fields)
        allowed = allowance_mwh(
            max(profile["power_mw_discharge_max"], profile["power_mw_charge_max"]), end - start)
        if abs(energy_of(leaf)) > allowed:
            raise RangeError("energy above the rating", leaf.fields["counter"])
        bound = max(bound, allowed)
    return bound


def sample_for(count: int, wrong: int, grind_log2: int = GRIND_LOG2,
               escape_log2: int = ESCAPE_LOG2) -> int:
    """Return the smallest sample that lets `wrong` of count leaves escape seldom enough.

    That is 2^grind_log2 tries together with a probability of at most 2^-escape_log2. All of the
    leaves when no smaller sample does it.
    """
    low, high = 1, count
    while low < high:
        middle = (low + high) // 2
        if escape_probability(count, middle, wrong) <= 2.0 ** -(grind_log2 + escape_log2):
            high = middle
        else:
            low = middle + 1
    return low


def sign_audit(key: KeyPair, payload: dict[int, Any], challenge: bytes) -> tuple[
        bytes, bytes, bytes]:
    """Return (statement, opening, seed of the sample) for an audit's payload."""
    encoded = codec.dumps(payload)
    statement = codec.sign1(key.private, AUDIT_TYP, key.key_id, encoded)
    opening = codec.sign1(key.private, OPENING_TYP, key.key_id, codec.dumps(
        {1: key.key_id, 2: hashlib.sha256(encoded).digest(), 3: challenge}))
    return statement, opening, seed_of(encoded, challenge)


def build_audit(holdings: bundle.Holdings, number: int, sample: int, key: KeyPair,
                at_unix_ms: int = 0, challenge: bytes = b"",
                revocations: Sequence[Sequence[bytes]] = ()) -> bytes:
    """Return the bundle that audits the realized total of interval number with k = sample leaves.

    challenge: from the counterparty, or empty. The payload is a function of the leaves, so the
    audit without a challenge tells the commitment that a challenge may then follow. All leaves
    when there are fewer than sample. Raises RangeError for an interval that is not there
    or empty, a challenge that is too long, and records above their ratings.
    """
    interval = holdings.intervals.get(number)
    if interval is None or not interval.tree.size:
        raise RangeError("interval", number)
    if len(challenge) > CHALLENGE_SIZE_MAX:
        raise RangeError("challenge", len(challenge))
    tree = SumTree(interval.leaves)
    payload: dict[int, Any] = {
        1: key.key_id, 2: number,
        3: hashlib.sha256(codec.peek(interval.statement)[2]).digest(),
        4: tree.root[1], 5: interval.tree.size, 6: tree.root[0],
        7: leaf_mwh_max(holdings, interval.leaves)}
    statement, opening, seed = sign_audit(key, payload, challenge)
    indexes = audit_indexes(seed, interval.tree.size, min(sample, interval.tree.size))
    return bundle.build(holdings, {number: indexes}, key, at_unix_ms,
                        audit=[statement, opening, tree.shared_proof(indexes)],
                        revocations=revocations)


def findings(audit: dict[str, Any], inflations_bp: Sequence[int] = (100, 500, 1000, 5000),
             grind_log2: int = GRIND_LOG2) -> list[dict[str, Any]]:
    """Return, for each inflation in basis points, what an audit says of it.

    wrong_leaves: at least so many would be wrong; escape: the probability to be missed in one
    try; escape_ground: at most this with 2^grind_log2 tries.
    """
    out = []
    for inflation_bp in inflations_bp:
        wrong = wrong_leaves_min(audit["total_mwh"], inflation_bp, audit["leaf_mwh_max"])
        escape = escape_probability(audit["leaf_count"], audit["sample"], wrong)
        out.append({"inflation_pct": inflation_bp / 100, "wrong_leaves": wrong,
                    "escape": escape, "escape_ground": min(1.0, escape * 2.0 ** grind_log2)})
    return out
