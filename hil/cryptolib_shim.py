"""MicroPython's cryptolib for CPython: what element.crypto.ccm imports, made of `cryptography`.

Only for running the firmware's files in tests and on the bench; boards have the real one. ECB
and CBC without padding, as there: a size that is no multiple of 16 is an error.
"""

import sys
from types import ModuleType

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

ECB = 1
CBC = 2


class aes:  # noqa: N801, RUF100 - the name that cryptolib gives it
    """One direction of AES with one key; a CBC object goes on from its last block."""

    def __init__(self, key: bytes, mode: int, iv: bytes | None = None) -> None:
        chosen = modes.ECB() if mode == ECB else modes.CBC(bytes(iv or b""))
        self._cipher = Cipher(algorithms.AES(bytes(key)), chosen)
        self._encryptor = self._cipher.encryptor()
        self._decryptor = self._cipher.decryptor()

    def encrypt(self, data: bytes) -> bytes:
        """Return data, a multiple of 16 bytes, encrypted. Raises ValueError for another size."""
        return _whole(data) and self._encryptor.update(data)

    def decrypt(self, data: bytes) -> bytes:
        """Return data, a multiple of 16 bytes, decrypted. Raises ValueError for another size."""
        return _whole(data) and self._decryptor.update(data)


def _whole(data: bytes) -> bytes:
    if len(data) % 16:
        raise ValueError("blksize % 16")
    return data


def install() -> None:
    """Make `import cryptolib` find this module's aes; a real cryptolib is left in place."""
    try:
        import cryptolib  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        module = ModuleType("cryptolib")
        module.aes = aes  # type: ignore[attr-defined]
        sys.modules["cryptolib"] = module
