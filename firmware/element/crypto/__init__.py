"""P-256, HMAC and HKDF in pure Python: the same files run on CPython and on MicroPython."""
