"""AES-CCM-16-64-128 on the host: the twin of element.crypto.ccm, made of `cryptography`."""

from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from element.protocol.errors import DecodeError, RangeError, SignatureError

KEY_SIZE = 16
NONCE_SIZE = 13
TAG_SIZE = 8


def _cipher(key: bytes, nonce: bytes) -> AESCCM:
    if len(key) != KEY_SIZE:
        raise RangeError("ccm_key_size", len(key))
    if len(nonce) != NONCE_SIZE:
        raise RangeError("ccm_nonce_size", len(nonce))
    return _of_key(key)


# sessions use their two keys again and again
@lru_cache(maxsize=65_536)
def _of_key(key: bytes) -> AESCCM:
    return AESCCM(key, tag_length=TAG_SIZE)


def ccm_seal(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
    """Return ciphertext and 8-byte tag. Raises RangeError for a key, nonce or size that is none.

    key: 16 bytes. nonce: 13 bytes, never used twice with one key. Ref: RFC 9053, section 4.2.
    """
    try:
        return _cipher(key, nonce).encrypt(nonce, plaintext, aad)
    except (ValueError, OverflowError) as error:
        raise RangeError("ccm_plaintext_size", len(plaintext)) from error


def ccm_open(key: bytes, nonce: bytes, aad: bytes, sealed: bytes) -> bytes:
    """Return the plaintext. Raises SignatureError "ccm_tag", DecodeError for a wrong size."""
    cipher = _cipher(key, nonce)
    if len(sealed) < TAG_SIZE:
        raise DecodeError("ccm_size", len(sealed))
    try:
        return cipher.decrypt(nonce, sealed, aad)
    except InvalidTag as error:
        raise SignatureError("ccm_tag") from error
    except (ValueError, OverflowError) as error:
        raise DecodeError("ccm_size", len(sealed)) from error
