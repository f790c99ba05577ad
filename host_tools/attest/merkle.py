"""RFC 9162 SHA-256 Merkle trees: the root over leaves, inclusion proofs, their verification."""

import hashlib
from collections.abc import Sequence


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256 over 00 and the leaf (RFC 9162 2.1.1)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split_point(count: int) -> int:
    """Return the largest power of two smaller than count."""
    return 1 << ((count - 1).bit_length() - 1)


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the 32-byte root over leaves in order; of none, the hash of nothing."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    return _root_of_hashes([leaf_hash(leaf) for leaf in leaves])


def _root_of_hashes(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    middle = _split_point(len(hashes))
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
    middle = _split_point(len(hashes))
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
