"""The curve work of an EDHOC handshake in slices, for the worker of an element.

The protocol (protocol/edhoc*.py) knows no curve: it takes shared secrets and gives public keys.
Here are the jobs in between, for the responder that an element is. Measured on the emulated
RP2040 in slices of p256's size (9..17 ms, the longer the fuller the heap): message_2 2.4 s after
message_1, the exporter 1.0 s after message_3; on the unix port 11 and 4 ms.

Ephemeral keys travel as x alone. LiftJob finds a y for it; either of the two serves, because the
secret is the x of a product and both give the same.
Ref: RFC 9528, appendix B (compact representation); RFC 6090, appendix C (square root).
"""

from hashlib import sha256

from ..protocol import edhoc
from ..protocol.errors import Error, RangeError, SignatureError
from . import curve, p256
from .ccm import ccm_open, ccm_seal
from .hmac import hmac_sha256

# So many random bytes become one private key without a noticeable bias (FIPS 186-5, A.2.1).
ENTROPY_SIZE = 48
SQUARINGS_PER_SLICE = 16


def _sha256(data: bytes) -> bytes:
    return sha256(data).digest()


CRYPTO = edhoc.Crypto(_sha256, hmac_sha256, ccm_seal, ccm_open)


def private_key(entropy: bytes) -> bytes:
    """Return the 32-byte private key made of 48 random bytes. Raises RangeError for a size."""
    if len(entropy) != ENTROPY_SIZE:
        raise RangeError("entropy_size", len(entropy))
    return (int.from_bytes(entropy, "big") % (curve.N - 1) + 1).to_bytes(32, "big")


class _PeerJob(p256.Job):
    """A job on a peer's input; what is wrong with that ends up in `error`."""

    error = None

    def step(self) -> bool:
        """Do one slice; return True when finished, well or not. Further calls do nothing."""
        try:
            return super().step()
        except Error as error:
            self.error = error
            self._steps = None
            self.done = True
            return True


class LiftJob(_PeerJob):
    """Find the public key of an x; `public_key` is None until then, or for good with an error.

    x: 32 bytes from a peer. The error is SignatureError "public_key" when no point has this x.
    """

    def __init__(self, x: bytes):
        super().__init__(_lift_steps(bytes(x)))

    @property
    def public_key(self):
        return self._result


class AnswerJob(_PeerJob):
    """Answer a message_1; `message_2` and then `error` say how it went.

    responder: an edhoc_responder.Responder that has seen nothing yet. static_key: our 32-byte
    private key. entropy: 48 fresh random bytes. c_r: our connection identifier for this session;
    when the peer chose the same, the last byte is changed. ead: as make_2 takes it.
    """

    def __init__(self, responder, message_1: bytes, static_key: bytes, entropy: bytes,
                 c_r: bytes, ead=()):
        self.ephemeral_key = private_key(entropy)
        super().__init__(self._answer_steps(responder, message_1, static_key, c_r, ead))

    @property
    def message_2(self):
        return self._result

    def _answer_steps(self, responder, message_1: bytes, static_key: bytes, c_r: bytes, ead):
        g_x = responder.receive_1(message_1)
        yield
        peer = yield from _lift_steps(g_x)
        ours = yield from _job_steps(p256.Job(p256.public_key_steps(self.ephemeral_key)))
        g_xy = yield from _job_steps(p256.EcdhJob(self.ephemeral_key, peer))
        g_rx = yield from _job_steps(p256.EcdhJob(static_key, peer))
        if c_r == responder.c_i:
            c_r = c_r[:-1] + bytes([c_r[-1] ^ 1])
        return responder.make_2(c_r, ours[:32], g_xy, g_rx, ead)


class FinishJob(_PeerJob):
    """Check a message_3; `exporter` is None until then, or for good with an error.

    answer: the AnswerJob that made message_2; its ephemeral key is gone afterwards.
    """

    def __init__(self, responder, answer: AnswerJob, message_3: bytes):
        ephemeral_key = answer.ephemeral_key
        answer.ephemeral_key = None
        super().__init__(_finish_steps(responder, ephemeral_key, message_3))

    @property
    def exporter(self):
        return self._result


def _job_steps(job):
    """Yield between the slices of a job of p256 and return its result."""
    while not job.step():
        yield
    return job.run()


def _finish_steps(responder, ephemeral_key: bytes, message_3: bytes):
    static_public = responder.receive_3(message_3)
    yield
    g_iy = yield from _job_steps(p256.EcdhJob(ephemeral_key, static_public))
    return responder.finish_3(g_iy)


def _lift_steps(x: bytes):
    """Yield between slices and return x and a y, 64 bytes; everything here is public."""
    p = curve.P
    number = int.from_bytes(x, "big")
    if len(x) != 32 or number >= p:
        raise SignatureError("public_key")
    base = ((number * number - 3) * number + curve.B) % p
    # the exponent (P + 1) / 4 is 2**94 (2**96 (2**32 (2**32 - 1) + 1) + 1)
    power = base
    for bits in (1, 2, 4, 8, 16):
        half = power
        power = yield from _square_steps(power, bits)
        power = power * half % p
    for bits, factor in ((32, base), (96, base), (94, 1)):
        power = yield from _square_steps(power, bits)
        power = power * factor % p
    public_key = x + power.to_bytes(32, "big")
    if not p256.is_public_key(public_key):
        raise SignatureError("public_key")
    return public_key


def _square_steps(value: int, count: int):
    """Yield between slices and return value after count squarings modulo P."""
    for index in range(count):
        value = value * value % curve.P
        if index % SQUARINGS_PER_SLICE == SQUARINGS_PER_SLICE - 1:
            yield
    return value
