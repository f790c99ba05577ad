"""RFC 9162 SHA-256 Merkle trees: the root over leaves, their proofs and the verification.

`Tree` keeps every level, so that all proofs of a large tree cost one pass; the functions on
plain lists are the RFC's own recursion, and the tests hold both together.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256 over 00 and the leaf (RFC 9162 2.1.1)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def split_point(count: int) -> int:
    """Return the largest power of two smaller than count, which is two or more."""
    return 1 << ((count - 1).bit_length() - 1)


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the 32-byte root over leaves in order; of none, the hash of nothing."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    return _root_of_hashes([leaf_hash(leaf) for leaf in leaves])


def _root_of_hashes(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    middle = split_point(len(hashes))
    return _node_hash(_root_of_hashes(hashes[:middle]), _root_of_hashes(hashes[middle:]))


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the audit path of leaf index, deepest first (RFC 9162 2.1.3.1).

    Raises IndexError when there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(index)
    return _path([leaf_hash(leaf) for leaf in leaves], index)


def _path(hashes: Sequence[bytes], index: int) -> list[bytes]:
    if len(hashes) == 1:
        return []
    middle = split_point(len(hashes))
    if index < middle:
        return [*_path(hashes[:middle], index), _root_of_hashes(hashes[middle:])]
    return [*_path(hashes[middle:], index - middle), _root_of_hashes(hashes[:middle])]


def verify_inclusion(
    leaf: bytes, index: int, count: int, path: Sequence[bytes], expected_root: bytes
) -> bool:
    """Return True when path proves leaf at index of a tree of count leaves (RFC 9162 2.1.3.2)."""
    if not 0 <= index < count:
        return False
    node, last, current = index, count - 1, leaf_hash(leaf)
    for sibling in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            current = _node_hash(sibling, current)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            current = _node_hash(current, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and current == expected_root


class Tree:
    """A tree with all of its nodes: roots, inclusion, consistency and shared proofs.

    A node that has no sibling moves up a level unchanged; that gives the RFC's tree, whose left
    part always is the largest power of two (RFC 9162 2.1.1).
    """

    def __init__(self, leaves: Sequence[bytes]) -> None:
        """leaves: entries in order, not their hashes."""
        level = [leaf_hash(leaf) for leaf in leaves]
        self.size = len(level)
        self.levels = [level]
        while len(level) > 1:
            pairs = len(level) & ~1
            above = [_node_hash(level[at], level[at + 1]) for at in range(0, pairs, 2)]
            above += level[pairs:]
            self.levels.append(above)
            level = above

    @property
    def root(self) -> bytes:
        """The 32-byte root; of no leaves, the hash of nothing."""
        return self.levels[-1][0] if self.size else hashlib.sha256(b"").digest()

    def node(self, low: int, high: int) -> bytes:
        """Return the hash over leaves low..high-1, a subtree that occurs in the tree."""
        height = (high - low - 1).bit_length()
        return self.levels[height][low >> height]

    def inclusion_path(self, index: int) -> list[bytes]:
        """Return the audit path of leaf index, deepest first (RFC 9162 2.1.3.1).

        Raises IndexError when there is no such leaf.
        """
        if not 0 <= index < self.size:
            raise IndexError(index)
        path = []
        for level in self.levels[:-1]:
            if index ^ 1 < len(level):
                path.append(level[index ^ 1])
            index >>= 1
        return path

    def shared_proof(self, indexes: Sequence[int]) -> list[bytes]:
        """Return the hashes that lead from the leaves at rising indexes to the root.

        Left to right: one hash for each largest subtree without any of the leaves. What can be
        computed from the leaves is left out. Raises IndexError for indexes that do not rise or
        lie outside.
        """
        if any(low >= high for low, high in pairwise(indexes)) \
                or (indexes and not 0 <= indexes[0] <= indexes[-1] < self.size):
            raise IndexError(indexes)
        return [self.node(low, high) for low, high in uncovered(self.size, indexes)]

    def consistency_path(self, older_size: int, newer_size: int | None = None) -> list[bytes]:
        """Return the proof that the tree of newer_size leaves continues that of older_size.

        newer_size: all leaves by default. Empty for equal sizes. Ref: RFC 9162 2.1.4.1. Raises
        IndexError unless 0 < older_size <= newer_size <= size.
        """
        newer = self.size if newer_size is None else newer_size
        if not 0 < older_size <= newer <= self.size:
            raise IndexError(older_size)
        path: list[bytes] = []
        low, high, whole = 0, newer, True
        while low + older_size != high:
            middle = low + split_point(high - low)
            if low + older_size <= middle:
                path.append(self._range(middle, high))
                high = middle
            else:
                path.append(self._range(low, middle))
                older_size -= middle - low
                low, whole = middle, False
        if not whole:
            path.append(self._range(low, high))
        return path[::-1]

    def root_at(self, size: int) -> bytes:
        """Return the root of the first size leaves. Raises IndexError for none or too many."""
        if not 0 < size <= self.size:
            raise IndexError(size)
        return self._range(0, size)

    def _range(self, low: int, high: int) -> bytes:
        """Return the hash over leaves low..high-1 of a tree that may end at high."""
        if high == self.size or (high - low) & (high - low - 1) == 0:
            return self.node(low, high)
        middle = low + split_point(high - low)
        return _node_hash(self.node(low, middle), self._range(middle, high))


class Frontier:
    """The root of a tree that only grows: the roots of its full subtrees, largest first.

    An entry costs two hashes on average and the root as many as there are subtrees, so a log of
    years needs no more memory than one of a day.
    """

    def __init__(self) -> None:
        self.size = 0
        self._full: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Take the next entry."""
        node, size = leaf_hash(leaf), self.size
        while size & 1:
            node = _node_hash(self._full.pop(), node)
            size >>= 1
        self._full.append(node)
        self.size += 1

    @property
    def root(self) -> bytes:
        """The 32-byte root; of no entries, the hash of nothing."""
        if not self._full:
            return hashlib.sha256(b"").digest()
        node = self._full[-1]
        for full in self._full[-2::-1]:
            node = _node_hash(full, node)
        return node


def uncovered(size: int, indexes: Sequence[int]) -> list[tuple[int, int]]:
    """Return the largest subtrees (low, high) of size leaves that hold none of the indexes.

    indexes rise. From left to right; the order of a shared proof and of a sum proof.
    """
    out: list[tuple[int, int]] = []
    todo = [(0, size)] if size else []
    while todo:
        low, high = todo.pop()
        place = bisect_left(indexes, low)
        if place == len(indexes) or indexes[place] >= high:
            out.append((low, high))
        elif high - low > 1:
            middle = low + split_point(high - low)
            todo += [(middle, high), (low, middle)]
    return out


def verify_consistency(
    older_size: int, newer_size: int, path: Sequence[bytes], older_root: bytes,
    newer_root: bytes,
) -> bool:
    """Return True when path proves that newer_root continues older_root (RFC 9162 2.1.4.2)."""
    if older_size == newer_size:
        return older_size > 0 and not path and older_root == newer_root
    if not 0 < older_size < newer_size or not path:
        return False
    hashes = list(path)
    if older_size & (older_size - 1) == 0:
        hashes.insert(0, older_root)
    node, last = older_size - 1, newer_size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    older = newer = hashes[0]
    for one in hashes[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            older, newer = _node_hash(one, older), _node_hash(one, newer)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            newer = _node_hash(newer, one)
        node >>= 1
        last >>= 1
    return last == 0 and older == older_root and newer == newer_root
