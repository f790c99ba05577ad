"""COSE Receipts (RFC 9942): inclusion and consistency proofs that any COSE library can check.

A receipt is a tagged COSE_Sign1 whose payload is detached: the 32-byte root of an RFC9162_SHA256
tree, which the checker computes from the entry and the proof (RFC 9942 5.2.1). The proofs are
in the unprotected header under 396 (vdp), inclusion at -1, consistency at -2, each a byte string
that holds [tree-size, leaf-index, path] or [size-1, size-2, path] (RFC 9942 5.2 and 5.3). The
protected header has alg (1), kid (4), CWT claims (15, RFC 9597) with our interval number and tree
size, typ (16, RFC 9596) and vds (395) = 1. An entry is the COSE_Sign1 statement that an element
signed, byte for byte; the path is as RFC 9162 2.1.3.1 and 2.1.4.1 give it.

One signature serves all leaves of a tree, for the proof is not under it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from element.protocol import cose
from host_tools.attest import merkle
from host_tools.attest.primitives import (
    NUMBER_CLAIM,
    RFC9162_SHA256,
    SIZE_CLAIM,
    VDS,
    Refused,
    check_consistency,
    check_signature,
    key_id,
    leaf_hash,
    load,
    need,
    node_hash,
    parts_of,
    receipt_header,
    shaped,
)
from host_tools.identity.keys import KeyPair

RECEIPTS, VDP = 394, 396  # header labels, RFC 9942 2
INCLUSION, CONSISTENCY = -1, -2  # RFC 9942 4.2
INTERVAL_TYP, LOG_TYP = "cw/receipt", "cw/log-receipt"
PATH_COUNT_MAX = 64
_SIGN = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_HASH_HEAD = b"\x58\x20"


@dataclass(frozen=True)
class SignedRoot:
    """A root under its receipt signature: what every receipt of one tree shares."""

    header: bytes
    root: bytes
    size: int
    signature: bytes


def es256(key: KeyPair, header: bytes, payload: bytes) -> bytes:
    """Return r || s over the Sig_structure of RFC 9052 4.4, with an RFC 6979 nonce."""
    r, s = utils.decode_dss_signature(key.private.sign(cose.sig_structure(header, payload), _SIGN))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def sign_root(key: KeyPair, number: int, size: int, root: bytes, typ: str = INTERVAL_TYP
              ) -> SignedRoot:
    """Sign the root of a tree of size leaves; number: the interval, or 0 for the log."""
    header = receipt_header(key.key_id, number, size, typ)
    return SignedRoot(header, root, size, es256(key, header, root))


def _head(major: int, value: int) -> bytes:
    """Return the shortest CBOR head (RFC 8949 3)."""
    if value < 24:
        return bytes([major << 5 | value])
    size = 1 if value < 1 << 8 else 2 if value < 1 << 16 else 4 if value < 1 << 32 else 8
    return bytes([major << 5 | 24 + size.bit_length() - 1]) + value.to_bytes(size, "big")


def _around(signed: SignedRoot, label: int) -> tuple[bytes, bytes]:
    """Return what stands before and behind the proof's byte string in a receipt."""
    before = b"\xd2\x84" + _head(2, len(signed.header)) + signed.header
    return (before + b"\xa1" + _head(0, VDP) + b"\xa1" + _head(1, -1 - label) + b"\x81",
            b"\xf6\x58\x40" + signed.signature)


def _proof(first: int, second: int, count: int, path: bytes) -> bytes:
    """Return a proof as a byte string; path: count hashes, each with its CBOR head."""
    inner = b"\x83" + _head(0, first) + _head(0, second) + _head(4, count) + path
    return _head(2, len(inner)) + inner


def inclusion_receipt(signed: SignedRoot, index: int, path: Sequence[bytes]) -> bytes:
    """Return the receipt of the leaf at index, whose audit path is given."""
    before, behind = _around(signed, INCLUSION)
    text = b"".join([_HASH_HEAD + one for one in path])
    return before + _proof(signed.size, index, len(path), text) + behind


def all_receipts(signed: SignedRoot, tree: merkle.Tree) -> list[bytes]:
    """Return the receipt of every leaf of the tree, in order.

    The paths are built from the root down, so that each is its parent's with one hash before it.
    """
    before, behind = _around(signed, INCLUSION)
    above: list[tuple[int, bytes]] = [(0, b"")]
    for level in reversed(tree.levels[:-1]):
        last, here = len(level), []
        for index in range(last):
            count, path = above[index >> 1]
            if index ^ 1 < last:
                here.append((count + 1, _HASH_HEAD + level[index ^ 1] + path))
            else:
                here.append((count, path))
        above = here
    return [before + _proof(signed.size, index, count, path) + behind
            for index, (count, path) in enumerate(above[:tree.size])]


def consistency_receipt(signed: SignedRoot, older_size: int, path: Sequence[bytes]) -> bytes:
    """Return the receipt that the signed tree continues its first older_size leaves."""
    before, behind = _around(signed, CONSISTENCY)
    text = b"".join([_HASH_HEAD + one for one in path])
    return before + _proof(older_size, signed.size, len(path), text) + behind


def _opened(receipt: bytes, key: bytes, label: int, typ: str) -> tuple[
        bytes, int, int, int, list[bytes], bytes]:
    """Return (header, number, first, second, path, signature); the signature is unchecked."""
    header, unprotected, payload, signature = parts_of(receipt, "receipt")
    labels = shaped(load(header), {1: "i", 4: "b8", 15: "m", 16: "s", VDS: "i"}, True,
                    "receipt header")
    claims = shaped(labels[15], {NUMBER_CLAIM: "i", SIZE_CLAIM: "i"}, True, "receipt claims")
    need(labels[1] == -7, "algorithm", labels[1])
    need(labels[VDS] == RFC9162_SHA256, "vds", labels[VDS])
    need(labels[16] == typ, "typ", labels[16])
    need(labels[4] == key_id(key), "signer", labels[4])
    need(payload is None, "receipt payload is not detached")
    need(type(unprotected) is dict and list(unprotected) == [VDP], "receipt")
    proofs = unprotected[VDP]
    need(type(proofs) is dict and list(proofs) == [label] and type(proofs[label]) is list
         and len(proofs[label]) == 1 and type(proofs[label][0]) is bytes, "receipt proofs")
    proof = load(proofs[label][0])
    need(type(proof) is list and len(proof) == 3 and type(proof[0]) is int
         and type(proof[1]) is int and type(proof[2]) is list, "proof")
    first, second, path = proof
    need(len(path) <= PATH_COUNT_MAX
         and all(type(one) is bytes and len(one) == 32 for one in path), "path")
    size = first if label == INCLUSION else second
    need(size == claims[SIZE_CLAIM], "tree size", size)
    return header, claims[NUMBER_CLAIM], first, second, path, signature


def check_inclusion(receipt: bytes, entry: bytes, key: bytes, typ: str = INTERVAL_TYP
                    ) -> tuple[int, int, bytes]:
    """Check that a receipt proves entry; returns (interval number, leaf index, root).

    The root is computed first and the signature checked over it, in the order of RFC 9942 5.2.1.
    Raises Refused for anything that does not hold.
    """
    header, number, size, index, path, signature = _opened(receipt, key, INCLUSION, typ)
    root = root_of_path(leaf_hash(entry), index, size, path)
    check_signature(key, header, root, signature, "receipt")
    return number, index, root


def check_growth(receipt: bytes, older_root: bytes, newer_root: bytes, key: bytes
                 ) -> tuple[int, int]:
    """Check a consistency receipt of the log; returns (older size, newer size).

    Raises Refused for anything that does not hold.
    """
    header, _, older, newer, path, signature = _opened(receipt, key, CONSISTENCY, LOG_TYP)
    check_signature(key, header, newer_root, signature, "receipt")
    check_consistency(older, newer, path, older_root, newer_root)
    return older, newer


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root to which a leaf's hash and its path lead (RFC 9162 2.1.3.2).

    Raises Refused for an index outside and a path of another length.
    """
    need(0 <= index < size, "leaf index", index)
    node, last, current = index, size - 1, leaf
    for one in path:
        need(last, "path too long")
        if node & 1 or node == last:
            current = node_hash(one, current)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            current = node_hash(current, one)
        node, last = node >> 1, last >> 1
    need(last == 0, "path too short")
    return current


def with_receipts(statement: bytes, receipts: Sequence[bytes]) -> bytes:
    """Return a statement that carries receipts in its unprotected header, label 394.

    The signature holds as before, for that header is not under it. The result is for other
    people's tools: our own parsers, which take an empty header alone, refuse it. Raises Refused
    for bytes that are no COSE_Sign1.
    """
    header, _, payload, signature = parts_of(statement, "statement")
    if not receipts:
        raise Refused("no receipt")
    parts = [header, {RECEIPTS: list(receipts)}, payload, signature]
    return b"\xd2" + cbor2.dumps(parts)
