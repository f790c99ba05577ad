"""What the building's roots tell this element: their next keys, who is revoked, its renewal.

Such a statement comes from anybody, without a session: its own signature vouches for it, and it
is newer than what is known. A root's next key is the one that the key before has promised by its
hash, so whoever has stolen a key cannot appoint another. Loaded when a statement comes, forgotten
when it has been dealt with. Ref: protocol/trust.py.
"""

import hashlib

from . import enrolling
from .crypto import p256
from .enrolment import ISSUER, LIFE_SAFETY, OPERATOR
from .link.host_port import SKEW_S
from .protocol import cbor, cose, schema, trust
from .protocol.errors import DecodeError, RangeError, SignatureError
from .protocol.statements import statement_digest

_PINS = {trust.ROLE_ISSUER: ISSUER, trust.ROLE_OPERATOR: OPERATOR,
         trust.ROLE_LIFE_SAFETY: LIFE_SAFETY}
_KNOWN = "known"
_NO_MEMORY = "no memory now"
# This element holds what a building's operator needs to revoke a hundred parties.
ENTRIES_SIZE_MAX = 100 * trust.ENTRY_SIZE
# What may be asked for again leaves room in the worker's queue for records.
_SPARE = 8


def _number_of(pin: bytes) -> int:
    """Return which of a root's keys this is, from 1."""
    return int.from_bytes(pin[:4], "big")


class _KeepJob:
    """Write to flash right after a tick; `code` says why that failed, empty for success."""

    writes = True

    def __init__(self, keep):
        self._keep = keep
        self.code = ""

    def step(self) -> bool:
        try:
            self._keep()
        except OSError as error:
            self.code = "flash %s" % error.errno
        except MemoryError:
            self.code = _NO_MEMORY
        return True


class TrustDesk:
    """Examine one statement; `answer(digest, code)` gets 8 bytes that name it, and why not."""

    def __init__(self, port, enrolment, worker):
        self._port = port
        self._enrolment = enrolment
        self._worker = worker

    def examine(self, statement: bytes, answer) -> None:
        """Check statement, verify its signature in the background, keep what it says."""
        name = hashlib.sha256(statement).digest()[:8]
        try:
            typ = cose.sign1_parse(statement)[1].get(cose.TYP)
            examine = {
                trust.TYP[trust.ROOT_ROTATION]: self._rotation,
                trust.TYP[trust.REVOCATION_LIST]: self._revocations,
                schema.STATEMENT_TYP[schema.CREDENTIAL]: self._renewal,
            }.get(typ)
            if examine is None:
                raise SignatureError("typ", typ)
            digest, payload, signature, _ = statement_digest(typ, statement)
            key, keep = examine(statement, payload)
            verify = p256.VerifyJob(key, digest, signature)
        except (DecodeError, RangeError, SignatureError) as error:
            answer(name, "" if error.code == _KNOWN else error.code[:48])
            return
        except MemoryError:
            answer(name, _NO_MEMORY)
            return

        def kept(job) -> None:
            answer(name, job.code)

        def verified(job) -> None:
            if not job.valid:
                answer(name, "signature")
            elif not self._worker.submit(_KeepJob(keep), kept):
                answer(name, "busy")

        if not self._worker.submit(verify, verified, _SPARE):
            answer(name, "busy")

    def _rotation(self, statement: bytes, payload: bytes) -> tuple:
        """Return (key that must have signed, what to do then) for a root's next key."""
        fields = _fields(trust.ROOT_ROTATION, payload)
        index = _PINS.get(fields["role"])
        if index is None:
            raise SignatureError("not a root of an element")
        pin = self._enrolment.pins[index]
        number = fields["number"]
        if number <= _number_of(pin):
            raise SignatureError(_KNOWN)
        if number != _number_of(pin) + 1:
            raise SignatureError("a rotation before it is missing")
        key = schema.raw_key(fields["key"])
        if hashlib.sha256(key).digest() != pin[68:]:
            raise SignatureError("not the promised key")
        unix_s = self._port.unix_s()
        if unix_s and unix_s < fields["not_before_unix_s"] - SKEW_S:
            raise SignatureError("not yet in force")

        def keep() -> None:
            enrolling.keep_pin(
                self._enrolment, index, number.to_bytes(4, "big") + key + fields["next_hash"],
                fields["not_before_unix_s"])
            if index == OPERATOR:
                self._port.end_sessions()
            self._port.log("root %d has its key number %d" % (fields["role"], number))

        return key, keep

    def _dated(self, signed_unix_s: int) -> int:
        """Return the time, 0 while the clock is not set. Raises SignatureError for a future date.

        The clock is never set to before what a root has signed: a date in the future, of a key
        that was stolen, would stop it.
        """
        unix_s = self._port.unix_s()
        if unix_s and signed_unix_s > unix_s + SKEW_S:
            raise SignatureError("dated in the future")
        return unix_s

    def _revocations(self, statement: bytes, payload: bytes) -> tuple:
        """Return (key that must have signed, what to do then) for the operator's list."""
        fields = _fields(trust.REVOCATION_LIST, payload)
        if fields["number"] <= self._enrolment.revocation_number:
            raise SignatureError(_KNOWN)
        entries = fields["entries"]
        if fields["part_count"] != 1 or len(entries) > ENTRIES_SIZE_MAX:
            raise DecodeError("list too long for an element")
        if len(entries) % trust.ENTRY_SIZE:
            raise DecodeError("entries", len(entries))
        unix_s = self._dated(fields["issued_unix_s"])

        def keep() -> None:
            enrolling.keep_revoked(
                self._enrolment, fields["number"],
                fields["issued_unix_s"] if unix_s else 0, entries)
            self._port.check()

        return self._enrolment.operator_key, keep

    def _renewal(self, statement: bytes, payload: bytes) -> tuple:
        """Return (key that must have signed, what to do then) for our credential, renewed.

        It may name another time and another issuer; whatever limits this element stays as it is.
        """
        enrolment = self._enrolment
        claims = enrolment.checked(payload)
        if statement == enrolment.credential:
            raise SignatureError(_KNOWN)
        if claims["issued_unix_s"] <= enrolment.issued_unix_s:
            raise SignatureError("older than the present one")
        self._dated(claims["issued_unix_s"])
        present = _fields(schema.CREDENTIAL, cose.sign1_parse(enrolment.credential)[2])
        for name in ("subject", "profile", "zone", "tenant"):
            if claims[name] != present[name]:
                raise SignatureError("another " + name)

        def keep() -> None:
            enrolling.keep_grant(
                enrolment, claims, statement, enrolment.issuer_key, enrolment.pins)

        return enrolment.issuer_key, keep


def _fields(kind: int, payload: bytes) -> dict:
    table = schema.table_of(kind) if kind == schema.CREDENTIAL else trust.table_of(kind)
    return schema.statement_from_wire(table, cbor.decode(payload))
