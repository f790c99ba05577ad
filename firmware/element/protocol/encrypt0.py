"""COSE_Encrypt0 with AES-CCM-16-64-128 in one exact form, without any cryptography.

Tag 16, label 1 = 10, an 8-byte tag behind the ciphertext; header and refusals as in cose.py.
Ref: RFC 9052, sections 5.2 and 5.3; RFC 9053, section 4.2.
"""

from . import cbor, cose
from .errors import DecodeError, RangeError

TAG_ENCRYPT0 = 16
ALG_AES_CCM_16_64_128 = 10
AEAD_TAG_SIZE = 8


def enc_structure(protected: bytes, external_aad: bytes = b"") -> bytes:
    """Return the additional data that an Encrypt0 authenticates beside its plaintext."""
    return cbor.encode(["Encrypt0", protected, external_aad])


def assemble(protected: bytes, ciphertext: bytes) -> bytes:
    """Return the tagged COSE_Encrypt0; ciphertext ends with its tag.

    Raises RangeError for a ciphertext shorter than a tag.
    """
    if len(ciphertext) < AEAD_TAG_SIZE:
        raise RangeError("cose_ciphertext", len(ciphertext))
    return cbor.encode(cbor.Tagged(TAG_ENCRYPT0, [protected, {}, ciphertext]))


def parse(data: bytes) -> tuple:
    """Return (protected bytes, header by label, ciphertext); nothing is verified yet.

    Raises DecodeError for anything but the one form that `assemble` makes.
    """
    protected, ciphertext = cose.parts_of(data, TAG_ENCRYPT0, 3)
    if not isinstance(ciphertext, bytes) or len(ciphertext) < AEAD_TAG_SIZE:
        raise DecodeError("cose_ciphertext")
    header = cose.header_of(protected, ALG_AES_CCM_16_64_128, cose.SESSION_LABELS)
    return protected, header, ciphertext
