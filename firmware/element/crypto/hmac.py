"""HMAC-SHA256 over hashlib, which on a board has no hmac beside it.

Ref: RFC 2104.
"""

from hashlib import sha256

from ..protocol.cose import ct_equal

__all__ = ("ct_equal", "hmac_sha256")

BLOCK_SIZE = 64
_INNER_PAD = int.from_bytes(b"\x36" * BLOCK_SIZE, "big")
_OUTER_PAD = int.from_bytes(b"\x5c" * BLOCK_SIZE, "big")


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA256(key, message), 32 bytes. A key of any size is allowed (RFC 2104)."""
    if len(key) > BLOCK_SIZE:
        key = sha256(key).digest()
    # one long XOR is ten times faster than 64 short ones
    block = int.from_bytes(bytes(key) + bytes(BLOCK_SIZE - len(key)), "big")
    inner = sha256((block ^ _INNER_PAD).to_bytes(BLOCK_SIZE, "big"))
    inner.update(message)
    outer = sha256((block ^ _OUTER_PAD).to_bytes(BLOCK_SIZE, "big"))
    outer.update(inner.digest())
    return outer.digest()
