"""A signed statement taken apart, up to the signature that the caller verifies."""

import hashlib

from . import cose
from .errors import SignatureError


def statement_digest(typ: str, statement: bytes) -> tuple:
    """Return (digest, payload, signature, kid) of a COSE_Sign1 of the given typ.

    Raises DecodeError for malformed bytes and SignatureError for another typ. The signature is
    not checked here: the caller verifies it over the digest.
    """
    protected, header, payload, signature = cose.sign1_parse(statement)
    if header.get(cose.TYP) != typ:
        raise SignatureError("typ", header.get(cose.TYP))
    digest = hashlib.sha256(cose.sig_structure(protected, payload)).digest()
    return digest, payload, signature, header.get(cose.KID)
