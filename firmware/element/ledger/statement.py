"""The job that makes one signed statement, and a notice before it when one is due."""

import hashlib

from ..crypto.p256 import SignJob
from ..protocol import cbor, cose, schema
from ..protocol.errors import RangeError

# Statements with a counter and the hash of the one before.
CHAINED = (schema.EXECUTION_RECORD, schema.SAFETY_EVENT)


class StatementJob:
    """Encode one statement, sign it in slices, and keep the result.

    A notice that is due is made and signed before it.
    """

    def __init__(self, signer, kind: int, fields: dict):
        self._signer = signer
        self._kind = kind
        self._fields = fields
        self._notice = False
        self._digest = None
        self._sign = None
        self._parts = None
        self._counter = 0
        self.writes = False
        self.statement = b""

    def step(self) -> bool:
        """Do one slice: first the encoding, then the signature, at last the flash write.

        Fields that do not fit their statement end the job, counted, with empty bytes.
        """
        if self._digest is not None:
            self._sign = SignJob(self._signer.private_key, self._digest)
            self._digest = None
            return False
        if self._sign is None:
            try:
                return not self._begin()
            except RangeError:
                self._signer.lost_count += 1
                return True
        if not self.writes:
            # a slice of its own for the flash write, at a moment that the worker chooses
            if not self._sign.step():
                return False
            if self._counter:
                self.writes = True
                return False
        self.writes = False
        protected, payload = self._parts
        statement = cose.sign1_assemble(protected, payload, self._sign.signature)
        self._sign = None
        if self._counter:
            self._signer.chained(self._counter, statement)
        if self._notice:
            self._notice = False
            return False
        self.statement = statement
        return True

    def _begin(self) -> bool:
        """Encode what comes first and begin its signature; False when it is given up."""
        signer = self._signer
        kind = self._kind
        fields = self._fields
        if kind in CHAINED:
            notice = signer.notice_due(time_of(fields))
            if notice is not None:
                self._notice = True
                kind = schema.SAFETY_EVENT
                fields = notice
            elif not signer.has_room(kind):
                fields = signer.refuse(fields)
                if fields is None:
                    return False
                kind = schema.SAFETY_EVENT
            fields["element_id"] = signer.element_id
            self._counter = fields["counter"] = signer.counter + 1
            fields["previous_hash"] = signer.previous_hash
        elif kind == schema.ANNOUNCEMENT:
            fields["counter"] = signer.counter  # known by now; it may have been asked at the boot
        table = schema.table_of(kind)
        payload = cbor.encode(schema.statement_to_wire(table, fields))
        protected = cose.protected_header(
            -7, kid=signer.element_id, typ=schema.STATEMENT_TYP[kind]
        )
        digest = hashlib.sha256(cose.sig_structure(protected, payload)).digest()
        self._parts = (protected, payload)
        self._digest = digest
        return True


def time_of(fields: dict) -> int:
    """Return the Unix time in ms of an event, or of a record's end."""
    return fields.get("end_unix_ms", fields.get("at_unix_ms", 0))


def notice(cause: int, now_ms: int, value: int, limit: int) -> dict:
    """Return the fields of an event that latched nothing (codes.NOTICE_*)."""
    return {"cause": cause, "at_unix_ms": now_ms, "value": value, "limit": limit,
            "released": False, "index": None}
