"""COSE_Encrypt0 with AES-CCM-16-64-128 in one exact form, without any cryptography.

Tag 16, label 1 = 10, an 8-byte tag behind the ciphertext; header and refusals as in cose.py.
Ref: RFC 9052, sections 5.2 and 5.3; RFC 9053, section 4.2.
"""

from . import cbor, cose
from .errors import DecodeError, RangeError

TAG_ENCRYPT0 = 16
ALG_AES_CCM_16_64_128 = 10
AEAD_TAG_SIZE = 8


# The tag and the array of three, and what stands before the two byte strings of an Enc_structure.
_START = b"\xd0\x83"
_STRUCTURE = b"\x83\x68Encrypt0"
_EMPTY_MAP = 0xA0


def _bstr(data: bytes) -> bytes:
    """Return a byte string of up to 65535 bytes in CBOR: every message has four of them."""
    size = len(data)
    if size < 24:
        return bytes((0x40 | size,)) + data
    if size < 256:
        return bytes((0x58, size)) + data
    return bytes((0x59, size >> 8, size & 0xFF)) + data


def _bstr_at(data: bytes, position: int) -> tuple:
    """Return (start, end) of the content of a byte string in its shortest form, else (0, 0)."""
    first = data[position]
    if 0x40 <= first < 0x58:
        return position + 1, position + 1 + (first & 0x1F)
    if first == 0x58 and data[position + 1] >= 24:
        return position + 2, position + 2 + data[position + 1]
    if first == 0x59 and data[position + 1]:
        return position + 3, position + 3 + (data[position + 1] << 8 | data[position + 2])
    return 0, 0


def enc_structure(protected: bytes, external_aad: bytes = b"") -> bytes:
    """Return the additional data that an Encrypt0 authenticates beside its plaintext."""
    return _STRUCTURE + _bstr(protected) + _bstr(external_aad)


def assemble(protected: bytes, ciphertext: bytes) -> bytes:
    """Return the tagged COSE_Encrypt0; ciphertext ends with its tag.

    Raises RangeError for a ciphertext shorter than a tag, or more than a decoder takes.
    """
    if len(ciphertext) < AEAD_TAG_SIZE:
        raise RangeError("cose_ciphertext", len(ciphertext))
    data = _START + _bstr(protected) + b"\xa0" + _bstr(ciphertext)
    if len(data) > cbor.SIZE_MAX:
        raise RangeError("cbor_size", len(data))
    return data


def split(data: bytes) -> tuple:
    """Return (protected bytes, ciphertext). Raises DecodeError as `parse`, but for the header.

    The one form is looked for at its places; what is not found there is decoded, to say why.
    """
    size = len(data)
    if data[:2] == _START and 8 < size <= cbor.SIZE_MAX:
        start, end = _bstr_at(data, 2)
        if start and end + 4 < size and data[end] == _EMPTY_MAP:
            protected = data[start:end]
            start, end = _bstr_at(data, end + 1)
            if end == size and end - start >= AEAD_TAG_SIZE:
                return bytes(protected), bytes(data[start:])
    protected, ciphertext = cose.parts_of(data, TAG_ENCRYPT0, 3)
    if not isinstance(ciphertext, bytes) or len(ciphertext) < AEAD_TAG_SIZE:
        raise DecodeError("cose_ciphertext")
    return protected, ciphertext


def parse(data: bytes) -> tuple:
    """Return (protected bytes, header by label, ciphertext); nothing is verified yet.

    Raises DecodeError for anything but the one form that `assemble` makes.
    """
    protected, ciphertext = split(data)
    header = cose.header_of(protected, ALG_AES_CCM_16_64_128, cose.SESSION_LABELS)
    return protected, header, ciphertext
