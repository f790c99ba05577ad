"""P-256 keys on the host: made, loaded, used through `cryptography`.

Public keys travel as raw x||y, 64 bytes, everywhere in the project.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from element.protocol.errors import SignatureError

# Order of the P-256 group. Ref: SEC 2, section 2.4.2.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def raw_public(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return x||y of a public key."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def public_from_raw(raw: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key object of x||y. Raises SignatureError when that is no point of the curve."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + raw)
    except ValueError as error:
        raise SignatureError("public_key") from error


def key_id(public_key: bytes) -> bytes:
    """Return the 8 bytes that name a raw public key, and its element."""
    return hashlib.sha256(public_key).digest()[:8]


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return the 32-byte HMAC-SHA256 (RFC 2104)."""
    return hmac.digest(key, message, "sha256")


class PrivateKey(Protocol):
    """What is asked of a private key, wherever it lives."""

    def sign(self, data: bytes, signature_algorithm: Any) -> bytes:
        """Return a DER signature over data."""
        ...

    def exchange(self, algorithm: Any, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Return the ECDH secret with a peer."""
        ...


@dataclass(frozen=True)
class KeyPair:
    """A private key with its raw public key and the 8-byte id made of it."""

    private: PrivateKey
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The 8 bytes that name this key."""
        return key_id(self.public)

    def agree(self, peer_public: bytes) -> bytes:
        """Return the 32-byte ECDH secret with a peer. Raises SignatureError for a bad key."""
        return self.private.exchange(ec.ECDH(), public_from_raw(peer_public))


def make_key_pair(random_bytes: Callable[[int], bytes]) -> KeyPair:
    """Make a key pair from 64 random bytes (FIPS 186-5 A.2.1: extra bits, then reduced)."""
    scalar = int.from_bytes(random_bytes(64), "big") % (_ORDER - 1) + 1
    private = ec.derive_private_key(scalar, ec.SECP256R1())
    return KeyPair(private, raw_public(private.public_key()))
