"""The log of intervals: an RFC 9162 tree over the signed commitments, and its checkpoints.

Entry n-1 of the log is the IntervalCommitment of interval n as signed, so an entry binds the
interval's root together with its totals. A checkpoint is a COSE_Sign1, typ cw/checkpoint, over
{1: aggregator id, 2: tree size, 3: root, 4: Unix ms}. Any two checkpoints of an honest log have
a consistency proof (RFC 9162 2.1.4); two statements that cannot both be of one history are an
`Equivocation`, and the two signatures under them are the evidence.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

from host_tools import codec
from host_tools.attest import merkle
from host_tools.attest.primitives import Refused, load, open_signed, parts_of
from host_tools.attest.receipts import LOG_TYP, SignedRoot, sign_root
from host_tools.identity.keys import KeyPair

CHECKPOINT_TYP = "cw/checkpoint"
INTERVAL_TYP = "cw/interval"
INTERVAL_SHAPE = {1: "b8", 2: "i", 3: "b32", 4: "b32"}
CHECKPOINT_SHAPE = {1: "b8", 2: "i", 3: "b32", 4: "i"}
# The kind of a checkpoint in an archive or ledger; the contract's kinds end below.
CHECKPOINT_KIND = 64
# The kind of a commitment that an aggregator below has made: its own intervals, not this log's.
BELOW_KIND = 65
STATEMENTS_MAX = 100_000

SAME_INTERVAL = "two commitments for one interval"
SAME_SIZE = "two checkpoints of one size with different roots"
NO_CONTINUATION = "two checkpoints of which neither continues the other"
BROKEN_CHAIN = "a commitment that does not continue the one before"


def sign_checkpoint(key: KeyPair, size: int, root: bytes, at_unix_ms: int) -> bytes:
    """Sign what the log is at a time."""
    return codec.sign1(key.private, CHECKPOINT_TYP, key.key_id,
                       codec.dumps({1: key.key_id, 2: size, 3: root, 4: at_unix_ms}))


class IntervalLog:
    """Commitments in the order of their numbers, and what can be proven of them."""

    def __init__(self, commitments: Sequence[bytes] = ()) -> None:
        """commitments: signed, of intervals 1, 2, 3 and so on."""
        self.entries: list[bytes] = list(commitments)
        self._tree: merkle.Tree | None = None

    def append(self, commitment: bytes) -> None:
        """Take the commitment of the next interval."""
        self.entries.append(commitment)
        self._tree = None

    @property
    def tree(self) -> merkle.Tree:
        """The tree over all entries."""
        if self._tree is None:
            self._tree = merkle.Tree(self.entries)
        return self._tree

    def checkpoint(self, key: KeyPair, at_unix_ms: int, size: int | None = None) -> bytes:
        """Sign the log's first size entries, all by default. Raises IndexError for no entry."""
        count = len(self.entries) if size is None else size
        return sign_checkpoint(key, count, self.tree.root_at(count), at_unix_ms)

    def consistency(self, older_size: int, newer_size: int) -> list[bytes]:
        """Return the proof between two sizes (RFC 9162 2.1.4.1). Raises IndexError."""
        return self.tree.consistency_path(older_size, newer_size)

    def signed_root(self, key: KeyPair) -> SignedRoot:
        """Sign the root for receipts of inclusion or consistency in the log."""
        return sign_root(key, 0, len(self.entries), self.tree.root, LOG_TYP)


@dataclass(frozen=True)
class Equivocation:
    """Two statements signed by one aggregator that cannot both be of one history."""

    name: str
    first: bytes
    second: bytes

    def as_dict(self) -> dict[str, str]:
        """Return it for JSON: the name, and both statements in hexadecimal."""
        return {"name": self.name, "first": self.first.hex(), "second": self.second.hex()}


def _typ(statement: bytes) -> str:
    header = load(parts_of(statement, "statement")[0])
    typ = header.get(16) if isinstance(header, dict) else None
    return typ if isinstance(typ, str) else ""


def _opened(statements: Sequence[bytes], typ: str, shape: dict[int, str],
            keys: dict[bytes, bytes]) -> list[tuple[dict[int, Any], bytes]]:
    """Return (fields, statement) of every different statement of one typ, by field 2."""
    out = [(open_signed(one, typ, keys, shape, False)[1], one)
           for one in sorted(set(statements)) if _typ(one) == typ]
    return sorted(out, key=lambda pair: (pair[0][1], pair[0][2]))


def find_equivocation(
    statements: Sequence[bytes], keys: dict[bytes, bytes],
    proofs: dict[tuple[int, int], Sequence[bytes]] | None = None,
) -> list[Equivocation]:
    """Return every contradiction between signed commitments and checkpoints, from any sources.

    keys: trusted aggregators by key id. proofs: consistency paths by (older size, newer size);
    with None, checkpoints of different sizes are compared no further; with a map, a pair whose
    proof is missing or false is named, which accuses the log only when it was asked for it.
    Re-signed statements of equal payload are no contradiction. Raises Refused for a statement
    that does not hold by itself: it is evidence of nothing.
    """
    if len(statements) > STATEMENTS_MAX:
        raise Refused("statements", len(statements))
    found = []
    intervals = _opened(statements, INTERVAL_TYP, INTERVAL_SHAPE, keys)
    for (one, first), (two, second) in pairwise(intervals):
        if (one[1], one[2]) == (two[1], two[2]) and one != two:
            found.append(Equivocation(SAME_INTERVAL, first, second))
    known: dict[tuple[bytes, int], list[bytes]] = {}
    for fields, statement in intervals:
        known.setdefault((fields[1], fields[2]), []).append(statement)
    for fields, statement in intervals:
        before = known.get((fields[1], fields[2] - 1), [])
        if before and all(hashlib.sha256(one).digest() != fields[3] for one in before):
            found.append(Equivocation(BROKEN_CHAIN, before[0], statement))
    checkpoints = _opened(statements, CHECKPOINT_TYP, CHECKPOINT_SHAPE, keys)
    for (one, first), (two, second) in combinations(checkpoints[:1000], 2):
        if one[1] != two[1]:
            continue
        if one[2] == two[2]:
            if one[3] != two[3]:
                found.append(Equivocation(SAME_SIZE, first, second))
        elif proofs is not None and not merkle.verify_consistency(
                one[2], two[2], proofs.get((one[2], two[2]), ()), one[3], two[3]):
            found.append(Equivocation(NO_CONTINUATION, first, second))
    return found
