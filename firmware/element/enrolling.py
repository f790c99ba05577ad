"""Becoming an element: the key pairs at the first boot, and the grant that enrols it.

Loaded for that and forgotten. The private keys are made here and never leave the element.
"""

import hashlib

from .crypto import p256
from .enrolment import ISSUER, key_of
from .protocol.errors import DecodeError, RangeError, SignatureError
from .protocol.statements import statement_digest


def make_keys(enrolment, hal) -> None:
    """Make both key pairs from the board's generator; a stuck generator makes none.

    Raises SignatureError "entropy", and OSError of the flash.
    """
    draws = [hal.entropy(32) for _ in range(4)]
    for index, draw in enumerate(draws):
        if draw in draws[:index] or len(set(draw)) < 8:
            raise SignatureError("entropy", None)
    sign = _private_key(draws[0], draws[1])
    agree = _private_key(draws[2], draws[3])
    enrolment.keep_keys([sign, agree, p256.public_key(sign), p256.public_key(agree)])


def grant(enrolment, worker, fields: dict, answer) -> None:
    """Check the fields of an EnrolGrant; `answer(accepted, code)` gets the outcome."""
    try:
        digest, payload, signature, _ = statement_digest("cw/credential", fields["credential"])
        claims = enrolment.checked(payload)
        pins = [fields["issuer"], fields["operator"], fields["life_safety"]]
        for pin in pins:
            if not p256.is_public_key(key_of(pin)):
                raise SignatureError("root key")
        issuer_key = key_of(pins[ISSUER])
        verify = p256.VerifyJob(issuer_key, digest, signature)
    except (DecodeError, SignatureError) as error:
        answer(False, str(error.code))
        return

    def verified(job) -> None:
        if not job.valid:
            answer(False, "credential signature")
            return
        try:
            enrolment.keep_grant(claims, fields["credential"], issuer_key, pins)
        except OSError as error:
            answer(False, "flash %s" % error.errno)
            return
        answer(True, "")

    if not worker.submit(verify, verified):
        answer(False, "busy")


def _private_key(first: bytes, second: bytes) -> bytes:
    """Return a private key from 64 bytes of entropy: hashed until it is in 1..n-1.

    A hash is outside the range once in 2**32; eight in a row do not happen with a sound hash.
    """
    seed = first + second
    for _ in range(8):
        seed = hashlib.sha256(seed).digest()
        try:
            p256.public_key(seed)
        except RangeError:
            continue
        return seed
    raise SignatureError("entropy", None)
