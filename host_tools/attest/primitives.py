"""What every format here is made of: deterministic CBOR, COSE_Sign1, Merkle trees.

The bottom of the standalone verifier: primitives, standing, verifier and audit_check need the
standard library, cbor2 and cryptography, and nothing else of ours. Ref: RFC 8949 4.2.1
(deterministic CBOR), RFC 9052 4.2 and 4.4 (COSE_Sign1), RFC 9053 2.1 (ES256), RFC 9162 2.1
(trees), RFC 9942 5 (receipts).
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

BYTES_MAX, DEPTH_MAX = 1 << 24, 8
UNIX_MS_MAX = 4_102_444_800_000  # 2100-01-01, as everywhere in the contract
VDS, RFC9162_SHA256 = 395, 1  # RFC 9942 2 and 4.1
NUMBER_CLAIM, SIZE_CLAIM = -70010, -70011
_TYPES = {"b": bytes, "i": int, "s": str, "f": bool, "m": dict}


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
    need(len(data) <= BYTES_MAX, "size", len(data))
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


def _framed(data: Any, typ: str) -> tuple[bytes, bytes, bytes, Any]:
    """Return (kid, protected header, payload, signature) of a statement of this typ, unchecked."""
    protected, unprotected, payload, signature = parts_of(data, typ)
    header = shaped(load(protected), {1: "i", 4: "b8", 16: "s"}, True, f"{typ} header")
    need(header[1] == -7, "algorithm", header[1])
    need(header[16] == typ, "typ", header[16])
    need(unprotected == {} and type(payload) is bytes, typ)
    return header[4], protected, payload, signature


def peek(data: Any, typ: str, shape: dict[int, str]) -> tuple[bytes, dict[int, Any]]:
    """Return (kid, payload) of a statement of this typ, to find its key; no signature checked."""
    kid, _, payload, _ = _framed(data, typ)
    return kid, shaped(load(payload), shape, False, typ)


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
    kid, protected, payload, signature = _framed(data, typ)
    need(kid in keys, f"signer of {typ} is not trusted", kid)
    check_signature(keys[kid], protected, payload, signature, typ)
    return kid, shaped(load(payload), shape, closed, typ)


def whole(pair: Any, typ: str) -> bytes:
    """Return the statement of which a bundle has [payload, signature] alone.

    The header can be left out: its kid is key 1 of the payload and its typ is known by place.
    """
    need(type(pair) is list and len(pair) == 2 and type(pair[0]) is bytes, typ)
    fields = load(pair[0])
    need(type(fields) is dict and type(fields.get(1)) is bytes, typ)
    header = cbor2.dumps({1: -7, 4: fields[1], 16: typ})
    return b"\xd2" + cbor2.dumps([header, {}, *pair])


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


