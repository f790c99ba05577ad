"""Check an audited total: the last part of the standalone verifier, which it alone imports.

An audit shows k leaves that the commitment itself has chosen, and that their energies are part
of the declared total. Host_tools/attest/audit.py makes audits and derives the bound.
"""

import hashlib
from typing import Any

from host_tools.attest.primitives import (
    fold,
    leaf_hash,
    need,
    open_signed,
    parts_of,
    pieces,
)
from host_tools.attest.standing import PROFILE
from host_tools.attest.verifier import Outcome

DOMAIN = b"cellwall audit 1"
CHALLENGE_SIZE_MAX = 64
LEAF_COUNT_MAX = 1_000_000
LEAF_MWH_MAX = 1 << 31  # of one record: the contract's energies are 32-bit
# Up to this share of rating x duration a measured energy is believed, and 1 mWh of rounding: on
# the virtual bench honest records reach 103.1 %.
ALLOWANCE_PCT = 110
AUDIT_TYP = "cw/audit"
AUDIT_SHAPE = {1: "b8", 2: "i", 3: "b32", 4: "b32", 5: "i", 6: "i", 7: "i"}
OPENING_TYP = "cw/audit-opening"
OPENING_SHAPE = {1: "b8", 2: "b32", 3: "b"}


def seed_of(audit_payload: bytes, challenge: bytes) -> bytes:
    """Return the seed of the sample: SHA-256 of the domain, SHA-256(payload), the challenge.

    The payload binds commitment, sum tree, total and bound; the signature is left out, because
    whoever signs can make as many signatures of one payload as he likes.
    """
    bound = hashlib.sha256(audit_payload).digest()
    return hashlib.sha256(DOMAIN + bound + challenge).digest()


def audit_indexes(seed: bytes, count: int, sample: int) -> list[int]:
    """Return sample different indexes below count, rising: a Fisher-Yates draw from SHA-256.

    Word i is the first 8 bytes of SHA-256(seed, i as 4 bytes big-endian). A word at or above the
    largest multiple of the range is skipped, so every set is as likely as any other. Samples of
    one seed are nested: choosing the size afterwards gains nothing. Raises Refused for sizes
    that make no sense.
    """
    need(0 < sample <= count <= LEAF_COUNT_MAX, "sample", sample)
    words = (int.from_bytes(hashlib.sha256(seed + at.to_bytes(4, "big")).digest()[:8], "big")
             for at in range(1 << 32))
    moved: dict[int, int] = {}
    chosen = []
    for at in range(sample):
        span = count - at
        word = next(one for one in words if one < 2**64 - 2**64 % span)
        other = at + word % span
        chosen.append(moved.get(other, other))
        moved[other] = moved.get(at, at)
    return sorted(chosen)


def escape_probability(count: int, sample: int, wrong: int) -> float:
    """Return how likely a sample without replacement misses all of the wrong leaves.

    C(count - wrong, sample) / C(count, sample), the hypergeometric probability of none.
    """
    out = 1.0
    for at in range(min(sample, count)):
        out *= max(0, count - wrong - at) / (count - at)
    return out


def wrong_leaves_min(total_mwh: int, inflation_bp: int, leaf_mwh_max: int) -> int:
    """Return how many leaves must be wrong for a declared total to be inflated this far.

    inflation_bp: of the true total in basis points. A wrong leaf can hide at most twice the
    bound: claimed at +bound, true at -bound.
    """
    excess = abs(total_mwh) * inflation_bp
    hidden = 2 * leaf_mwh_max * (10_000 + inflation_bp)
    return max(1, -(-excess // hidden)) if excess else 0


def sum_leaf(energy_mwh: int, statement: bytes) -> tuple[int, bytes]:
    """Return a leaf of the sum tree: (mWh, SHA-256(02, mWh as int64 big-endian, leaf hash))."""
    text = energy_mwh.to_bytes(8, "big", signed=True) + leaf_hash(statement)
    return energy_mwh, hashlib.sha256(b"\x02" + text).digest()


def sum_join(left: tuple[int, bytes], right: tuple[int, bytes]) -> tuple[int, bytes]:
    """Return the node over two: (sum, SHA-256(03, mWh, hash of the left, mWh, hash of the right)).

    Both sums are under the hash. Raises Refused for a sum beyond 63 bits.
    """
    total = left[0] + right[0]
    need(-2**62 < total < 2**62, "sum", total)
    text = b"".join([one[0].to_bytes(8, "big", signed=True) + one[1] for one in (left, right)])
    return total, hashlib.sha256(b"\x03" + text).digest()


def allowance_mwh(power_mw: int, duration_ms: int) -> int:
    """Return the largest energy that a rating allows in a duration, with its margin."""
    return power_mw * duration_ms * ALLOWANCE_PCT // 360_000_000 + 1


def check_audit(audit: Any, out: Outcome) -> dict[str, Any]:
    """Return what an audit shows: leaf_count, sample, total_mwh, leaf_mwh_max, challenge, and
    commitment, the SHA-256 that a challenge has to come after.

    out: the outcome for the rest of the bundle, whose one interval has the sampled leaves. Both
    statements have no time of their own: their signer is the aggregator of that interval.
    Raises Refused when the leaves are not those the seed selects, when an energy is above its
    element's rating or a sum above its bound, and when the sums do not make the total.
    """
    need(type(audit) is list and len(audit) == 3 and len(out.intervals) == 1, "audit")
    statement, opening, nodes = audit
    kid, fields = open_signed(statement, AUDIT_TYP, out.aggregators, AUDIT_SHAPE)
    payload = parts_of(statement, AUDIT_TYP)[2]
    opener, opened = open_signed(opening, OPENING_TYP, out.aggregators, OPENING_SHAPE)
    need(opener == opened[1] == kid and opened[2] == hashlib.sha256(payload).digest()
         and len(opened[3]) <= CHALLENGE_SIZE_MAX, "opening of another audit")
    interval = out.intervals[0]
    committed = hashlib.sha256(parts_of(out.signed[0], "interval")[2]).digest()
    need(kid == fields[1] == out.aggregator_id and fields[2] == interval[2]
         and fields[3] == committed and fields[5] == interval[5] and fields[6] == interval[9]
         and 0 < fields[7] <= LEAF_MWH_MAX, "audit of another interval")
    wanted = audit_indexes(seed_of(payload, opened[3]), fields[5], len(out.records))
    need([one.index for one in out.records] == wanted, "other leaves than the root selects")
    for one in out.records:
        profile = one.claims[PROFILE]
        allowed = allowance_mwh(max(profile[2], profile[3]), one.end_unix_ms - one.start_unix_ms)
        need(abs(one.energy_mwh) <= min(allowed, fields[7]), "energy above the rating", one.index)

    def take(node: bytes, leaf_count: int) -> tuple[int, bytes]:
        energy_mwh = int.from_bytes(node[:8], "big", signed=True)
        need(abs(energy_mwh) <= leaf_count * fields[7], "sum above its bound", energy_mwh)
        return energy_mwh, node[8:]

    leaves = {one.index: sum_leaf(one.energy_mwh, one.statement) for one in out.records}
    total, root = fold(fields[5], leaves, pieces(nodes, 40), sum_join, take)
    need(root == fields[4] and total == fields[6], "the sums do not make the total")
    return {"leaf_count": fields[5], "sample": len(wanted), "total_mwh": total,
            "leaf_mwh_max": fields[7], "challenge": opened[3], "commitment": opened[2]}
