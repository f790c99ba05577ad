"""Key pairs that cost little memory: a number each, made into a key when it is used.

OpenSSL keeps kilobytes a private key, of which a simulated element has two. Making one costs less
than signing with it.
"""

from collections.abc import Callable
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric import ec

from host_tools.identity.keys import KeyPair, make_key_pair


class LightKey:
    """A private key of P-256, as `host_tools.identity.keys.PrivateKey` has it."""

    __slots__ = ("_scalar",)

    def __init__(self, scalar: int) -> None:
        self._scalar = scalar.to_bytes(32, "big")

    def _key(self) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(int.from_bytes(self._scalar, "big"), ec.SECP256R1())

    def sign(self, data: bytes, signature_algorithm: Any) -> bytes:
        """Return a DER signature over data."""
        return self._key().sign(data, signature_algorithm)

    def exchange(self, algorithm: Any, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Return the ECDH secret with a peer."""
        return self._key().exchange(algorithm, peer_public_key)


def light_pair(random_bytes: Callable[[int], bytes]) -> KeyPair:
    """Make the same pair as `make_key_pair` would."""
    pair = make_key_pair(random_bytes)
    private = cast(ec.EllipticCurvePrivateKey, pair.private)
    return KeyPair(LightKey(private.private_numbers().private_value), pair.public)
