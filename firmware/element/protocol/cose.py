"""COSE_Sign1 in one exact form, without any cryptography, and what encrypt0.py shares with it.

Sign1 is ES256 (label 1 = -7) over a 64-byte r || s. It comes tagged (18), with a protected header
in deterministic CBOR, an empty unprotected header and the payload inside. Labels: 1 alg, 4 kid
(1..64 bytes), 6 Partial IV (the sequence number, not in Sign1), 16 typ (text, Sign1 only).
Anything else is refused, so a message has one encoding and no field that goes unread.
Ref: RFC 9052, sections 3, 4.2 and 4.4; RFC 9053, section 2.1; RFC 9596 (typ).
"""

from . import cbor
from .errors import DecodeError, RangeError

TAG_SIGN1 = 18
ALG_ES256 = -7

ALG = 1
KID = 4
PIV = 6
TYP = 16

SIGNATURE_SIZE = 64
KID_SIZE_MAX = 64
TYP_SIZE_MAX = 64
# Four bytes of Partial IV last 45 years at three messages a second.
SEQUENCE_MAX = 0xFFFFFFFF

_SIGN1_LABELS = (ALG, KID, TYP)
SESSION_LABELS = (ALG, KID, PIV)


def protected_header(alg: int, kid=None, typ=None, piv=None) -> bytes:
    """Return the protected header as deterministic CBOR bytes.

    kid: bytes. typ: str. piv: sequence number 1..SEQUENCE_MAX, encoded as minimal big-endian
    bytes. None leaves a label out. Raises RangeError for a value that a parser would refuse.
    """
    header = {ALG: alg}
    if kid is not None:
        if not 1 <= len(kid) <= KID_SIZE_MAX:
            raise RangeError("cose_kid", kid)
        header[KID] = bytes(kid)
    if piv is not None:
        header[PIV] = _sequence_bytes(piv)
    if typ is not None:
        if not 1 <= len(typ) <= TYP_SIZE_MAX:
            raise RangeError("cose_typ", typ)
        header[TYP] = typ
    return cbor.encode(header)


def sig_structure(protected: bytes, payload: bytes, external_aad: bytes = b"") -> bytes:
    """Return the bytes that a Sign1 signature covers (the caller hashes them with SHA-256)."""
    return cbor.encode(["Signature1", protected, external_aad, payload])


def sign1_assemble(protected: bytes, payload: bytes, signature: bytes) -> bytes:
    """Return the tagged COSE_Sign1. Raises RangeError for a signature that is not 64 bytes."""
    if len(signature) != SIGNATURE_SIZE:
        raise RangeError("cose_signature", len(signature))
    return cbor.encode(cbor.Tagged(TAG_SIGN1, [protected, {}, payload, signature]))


def sign1_parse(data: bytes) -> tuple:
    """Return (protected bytes, header by label, payload, signature); nothing is verified yet.

    Raises DecodeError for anything but the one form that sign1_assemble makes.
    """
    protected, payload, signature = parts_of(data, TAG_SIGN1, 4)
    if not isinstance(payload, bytes):
        raise DecodeError("cose_payload")
    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_SIZE:
        raise DecodeError("cose_signature")
    return protected, header_of(protected, ALG_ES256, _SIGN1_LABELS), payload, signature


def ct_equal(a: bytes, b: bytes) -> bool:
    """Return True if a and b are the same bytes, looking at every byte whatever they hold.

    The time depends on the sizes only (they are public), as far as an interpreter allows.
    """
    if len(a) != len(b):
        return False
    difference = 0
    for index in range(len(a)):
        difference |= a[index] ^ b[index]
    return difference == 0


def parts_of(data: bytes, tag: int, count: int) -> list:
    """Return the parts of a message without its empty unprotected header."""
    message = cbor.decode(data)
    if not isinstance(message, cbor.Tagged) or message.tag != tag:
        raise DecodeError("cose_tag")
    parts = message.value
    if not isinstance(parts, list) or len(parts) != count:
        raise DecodeError("cose_array")
    unprotected = parts.pop(1)
    if not isinstance(unprotected, dict) or unprotected:
        raise DecodeError("cose_unprotected")
    if not isinstance(parts[0], bytes):
        raise DecodeError("cose_protected")
    return parts


def header_of(protected: bytes, alg: int, labels: tuple) -> dict:
    """Return the checked protected header, Partial IV as an integer."""
    header = cbor.decode(protected)
    if not isinstance(header, dict):
        raise DecodeError("cose_protected")
    for label in header:
        if label not in labels:
            raise DecodeError("cose_label", label)
    if header.get(ALG) != alg:
        raise DecodeError("cose_alg", header.get(ALG))
    if KID in header:
        kid = header[KID]
        if not isinstance(kid, bytes) or not 1 <= len(kid) <= KID_SIZE_MAX:
            raise DecodeError("cose_kid", kid)
    if PIV in header:
        header[PIV] = _sequence_int(header[PIV])
    if TYP in header:
        typ = header[TYP]
        if not isinstance(typ, str) or not 1 <= len(typ) <= TYP_SIZE_MAX:
            raise DecodeError("cose_typ", typ)
    return header


def _sequence_bytes(sequence: int) -> bytes:
    if not 1 <= sequence <= SEQUENCE_MAX:
        raise RangeError("sequence", sequence)
    size = 1
    while sequence >> (8 * size):
        size += 1
    return sequence.to_bytes(size, "big")


def _sequence_int(data) -> int:
    # a leading zero byte would be a second way to write the same number, zero is never sent
    if not isinstance(data, bytes) or not 1 <= len(data) <= 4 or data[0] == 0:
        raise DecodeError("cose_piv", data)
    return int.from_bytes(data, "big")
