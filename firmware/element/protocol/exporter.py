"""What a finished EDHOC handshake leaves behind: its key derivation and its exporter.

Apart from edhoc.py: a session lives on these for days, and a small board forgets the rest.
"""

from . import cbor
from .errors import RangeError

HASH_SIZE = 32
CONTEXT_SIZE_MAX = 256


class Exporter:
    """Derive application keys from a finished handshake; update() moves on to fresh ones.

    It holds PRK_out and nothing else that is secret. Ref: RFC 9528, 4.1.3, 4.2.1, appendix H.
    """

    def __init__(self, hmac, prk_out: bytes):
        self._hmac = hmac
        self._prk_out = prk_out

    def export(self, label: int, context: bytes, size: int) -> bytes:
        """Return size bytes (1..8160) for a registered label, 0..65535, 32768 and up private."""
        prk_exporter = kdf(self._hmac, self._prk_out, 10, b"", HASH_SIZE)
        return kdf(self._hmac, prk_exporter, label, context, size)

    def update(self, context: bytes):
        """Replace PRK_out by one that shows nothing of it; both ends give the same context.

        Raises RangeError for a context above 256 bytes.
        """
        if len(context) > CONTEXT_SIZE_MAX:
            raise RangeError("edhoc_context_size", len(context))
        self._prk_out = kdf(self._hmac, self._prk_out, 11, context, HASH_SIZE)


def kdf(hmac, prk: bytes, label: int, context: bytes, size: int) -> bytes:
    """Return EDHOC_KDF, size bytes, 1..8160 (RFC 9528, 4.1.2; HKDF-Expand of RFC 5869, 2.3)."""
    if not 1 <= size <= 255 * HASH_SIZE:
        raise RangeError("edhoc_kdf_size", size)
    info = cbor.encode(label) + cbor.encode(context) + cbor.encode(size)
    out = block = b""
    counter = 0
    while len(out) < size:
        counter += 1
        block = hmac(prk, block + info + bytes((counter,)))
        out += block
    return out[:size]
