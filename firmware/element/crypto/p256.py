"""ECDSA (ES256) and ECDH over P-256, in slices for a control loop or in one call.

A private key is 32 bytes, a public key 64 bytes (x then y, no prefix), a digest 32 bytes, a
signature 64 bytes (r then s, the form of COSE), a shared secret 32 bytes (x); all big-endian.

SignJob, VerifyJob and EcdhJob do a bounded piece of work in each step(), so that the caller
decides how many fit before its next deadline. Measured on the unix port (1.25, one EPYC core):
signature 0.9 ms in 34 slices, verification 4.4 ms in 118, ECDH 3.6 ms in 93, each slice 0.1 ms
at most unless the garbage collector runs inside it.

Nonces are those of RFC 6979, so no random source is needed and the same digest gives the same
signature. Both s and N - s are accepted, as ES256 does. Not constant time: see curve.py for what
is blinded and what is not.
Ref: FIPS 186-5, section 6.4 (ECDSA); RFC 6979, section 3.2 (nonce); SP 800-56A, 5.7.1.2 (ECDH).
"""

from ..protocol.errors import RangeError, SignatureError
from . import curve
from .hmac import hmac_sha256

KEY_SIZE = 32
PUBLIC_KEY_SIZE = 64
DIGEST_SIZE = 32
SIGNATURE_SIZE = 64
# One nonce in 2**32 is refused; a second in a row means a broken hash.
NONCE_COUNT_MAX = 4


class Job:
    """Run a generator one slice a step; a subclass names what its return value is."""

    def __init__(self, steps):
        self._steps = steps
        self.done = False
        self._result = None

    def step(self) -> bool:
        """Do one slice; return True when finished. Further calls do nothing."""
        if not self.done:
            try:
                next(self._steps)
            except StopIteration as stop:
                self._result = stop.value
                self._steps = None
                self.done = True
        return self.done

    def run(self):
        """Do all slices that are left and return the result."""
        while not self.step():
            pass
        return self._result


class SignJob(Job):
    """Sign a digest; `signature` is None until step() has returned True, then 64 bytes.

    Raises RangeError here, before any work, for a private key outside 1..N-1 or a bad size.
    """

    def __init__(self, private_key: bytes, digest: bytes):
        secret = _private_int(private_key)
        if len(digest) != DIGEST_SIZE:
            raise RangeError("digest_size", len(digest))
        super().__init__(_sign_steps(secret, bytes(digest)))

    @property
    def signature(self):
        return self._result


class VerifyJob(Job):
    """Verify a signature; `valid` is None until step() has returned True, then a bool.

    Never raises for bad input of any kind: it finishes with False.
    """

    def __init__(self, public_key: bytes, digest: bytes, signature: bytes):
        super().__init__(_verify_steps(public_key, digest, signature))

    @property
    def valid(self):
        return self._result


class EcdhJob(Job):
    """Agree on a secret; `secret` is None until step() has returned True, then 32 bytes.

    Raises here, before any work: RangeError for a bad private key, SignatureError for a public
    key that is not a point of the curve.
    """

    def __init__(self, private_key: bytes, public_key: bytes):
        scalar = _private_int(private_key)
        if not is_public_key(public_key):
            raise SignatureError("public_key")
        super().__init__(_ecdh_steps(scalar, bytes(public_key)))

    @property
    def secret(self):
        return self._result


def sign(private_key: bytes, digest: bytes) -> bytes:
    """Return the 64-byte deterministic signature of a 32-byte digest. Raises as SignJob."""
    return SignJob(private_key, digest).run()


def verify(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    """Return True if the signature is valid for digest and public_key; never raises."""
    return VerifyJob(public_key, digest, signature).run()


def ecdh(private_key: bytes, public_key: bytes) -> bytes:
    """Return the 32-byte x of private_key * public_key. Raises as EcdhJob.

    The bytes are not uniform: derive keys from them with HKDF.
    """
    return EcdhJob(private_key, public_key).run()


def public_key(private_key: bytes) -> bytes:
    """Return the 64-byte public key. Raises RangeError for a private key outside 1..N-1."""
    return Job(public_key_steps(private_key)).run()


def is_public_key(data: bytes) -> bool:
    """Return True if data is 64 bytes that name a point of the curve; never raises."""
    return _is_bytes(data, PUBLIC_KEY_SIZE) and curve.is_on_curve(*_halves(data))


def _is_bytes(data, size: int) -> bool:
    return isinstance(data, (bytes, bytearray, memoryview)) and len(data) == size


def _halves(data: bytes):
    data = bytes(data)
    return int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big")


def _private_int(private_key: bytes) -> int:
    """Return the key as an integer; the error never carries the key itself."""
    if not _is_bytes(private_key, KEY_SIZE):
        raise RangeError("private_key_size")
    secret = int.from_bytes(bytes(private_key), "big")
    if not 1 <= secret < curve.N:
        raise RangeError("private_key")
    return secret


def _blinds(key: bytes, label: bytes):
    """Return (scalar blind, factor 1..N-1, z 1..P-1), pseudo-random in a secret and a label."""
    first = hmac_sha256(key, b"cellwall blind 1" + label)
    second = int.from_bytes(hmac_sha256(key, b"cellwall blind 2" + label), "big")
    third = int.from_bytes(hmac_sha256(key, b"cellwall blind 3" + label), "big")
    return (
        int.from_bytes(first[:4], "big"),
        second % (curve.N - 1) + 1,
        third % (curve.P - 1) + 1,
    )


def _nonces(secret: int, digest: bytes):
    """Yield the nonces of RFC 6979, 3.2, each 1..N-1; the caller takes the first that serves."""
    reduced = int.from_bytes(digest, "big") % curve.N
    seed = secret.to_bytes(32, "big") + reduced.to_bytes(32, "big")
    value = b"\x01" * 32
    key = hmac_sha256(bytes(32), value + b"\x00" + seed)
    value = hmac_sha256(key, value)
    key = hmac_sha256(key, value + b"\x01" + seed)
    value = hmac_sha256(key, value)
    for _ in range(NONCE_COUNT_MAX):
        value = hmac_sha256(key, value)
        nonce = int.from_bytes(value, "big")
        if 1 <= nonce < curve.N:
            yield nonce
        key = hmac_sha256(key, value + b"\x00")
        value = hmac_sha256(key, value)


def _sign_steps(secret: int, digest: bytes):
    n = curve.N
    hashed = int.from_bytes(digest, "big")
    for nonce in _nonces(secret, digest):
        yield  # 14 ms of HMACs on an RP2040
        blind, factor, z = _blinds(nonce.to_bytes(32, "big"), b"")
        yield
        point = yield from curve.base_steps(nonce, blind, z)
        x, _ = yield from curve.to_affine_steps(point)
        r = x % n
        # Euclid sees nonce * factor, never the nonce; the factor cancels in s
        inverse = yield from curve.inverse_steps(nonce * factor % n, n)
        s = inverse * (factor * hashed + factor * secret % n * r) % n
        if r and s:
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    raise RangeError("nonce")


def _verify_steps(key: bytes, digest: bytes, signature: bytes):
    n = curve.N
    if not (is_public_key(key) and _is_bytes(digest, 32) and _is_bytes(signature, 64)):
        return False
    r, s = _halves(signature)
    if not (1 <= r < n and 1 <= s < n):
        return False
    yield
    inverse = yield from curve.inverse_steps(s, n)
    u1 = int.from_bytes(bytes(digest), "big") * inverse % n
    u2 = r * inverse % n
    # everything here is public, so nothing is blinded
    ours = yield from curve.base_steps(u1, 0, 1)
    qx, qy = _halves(key)
    theirs = yield from curve.point_steps(qx, qy, u2, 0, 1)
    x, _, z = curve.add(ours, theirs)
    if z == 0:
        return False
    # compare x / z**2 modulo N with r without dividing: x is r, or r + N where that is below P
    zz = z * z % curve.P
    if r * zz % curve.P == x:
        return True
    return r + n < curve.P and (r + n) * zz % curve.P == x


def _ecdh_steps(scalar: int, key: bytes):
    blind, _, z = _blinds(scalar.to_bytes(32, "big"), key)
    x, y = _halves(key)
    point = yield from curve.point_steps(x, y, scalar, blind, z)
    shared = yield from curve.to_affine_steps(point)
    return shared[0].to_bytes(32, "big")


def public_key_steps(private_key: bytes):
    """Yield between slices and return a public key, for a Job. Raises RangeError at its first."""
    scalar = _private_int(private_key)
    blind, _, z = _blinds(scalar.to_bytes(32, "big"), b"public")
    point = yield from curve.base_steps(scalar, blind, z)
    x, y = yield from curve.to_affine_steps(point)
    return x.to_bytes(32, "big") + y.to_bytes(32, "big")
