"""Make signed statements in the background and chain the ledger's ones by hash.

A record or safety event gets its counter and the SHA-256 of the statement before it when its
turn to be signed comes, so the chain has no gaps even when several wait.
"""

import hashlib

from ..crypto.p256 import SignJob
from ..protocol import cbor, cose, schema
from ..protocol.errors import DecodeError, RangeError

# Statements held in memory for the host: the oldest ones; the flash has the others.
UNACKED_MAX = 64
# Statements held in memory while the flash does not take them.
UNWRITTEN_MAX = 16
# Places in the worker's queue that are kept free of what can be asked for again.
_SPARE_RECORD = 2
_SPARE_UNCHAINED = 8


class _StatementJob:
    """Encode one statement, sign it in slices, and keep the result."""

    def __init__(self, signer, kind: int, fields: dict):
        self._signer = signer
        self._kind = kind
        self._fields = fields
        self._sign = None
        self._parts = None
        self.statement = b""

    def step(self) -> bool:
        """Do one slice: first the encoding, then the signature, at last the flash write.

        Fields that do not fit their statement end the job, counted, with empty bytes.
        """
        if self._sign is None:
            try:
                self._begin()
            except RangeError:
                self._signer.lost_count += 1
                return True
            return False
        if self._sign.step():
            protected, payload = self._parts
            self.statement = cose.sign1_assemble(protected, payload, self._sign.signature)
            if self._kind in Signer.CHAINED:
                self._signer.chained(self._fields["counter"], self.statement)
            return True
        return False

    def _begin(self) -> None:
        signer = self._signer
        if self._kind in Signer.CHAINED:
            self._fields["element_id"] = signer.element_id
            self._fields["counter"] = signer.counter + 1
            self._fields["previous_hash"] = signer.previous_hash
        table = schema.table_of(self._kind)
        payload = cbor.encode(schema.statement_to_wire(table, self._fields))
        protected = cose.protected_header(
            -7, kid=signer.element_id, typ=schema.STATEMENT_TYP[self._kind]
        )
        digest = hashlib.sha256(cose.sig_structure(protected, payload)).digest()
        self._parts = (protected, payload)
        self._sign = SignJob(signer.private_key, digest)


class _RefillJob:
    """Read statements that memory had no room for back from flash, one entry a slice."""

    def __init__(self, signer, entries):
        self._signer = signer
        self._entries = entries

    def step(self) -> bool:
        """Take one entry; True when memory is full again or the flash has no more."""
        entry = next(self._entries, None)
        return self._signer.refilled(entry)


class Signer:
    """The element's signing key, its chain, and the statements the host has not yet taken.

    `unacked` holds (counter, statement) in the order of the chain without a gap. storage_ok is
    False while the flash does not take statements: they are kept in memory and tried again.
    """

    CHAINED = (schema.EXECUTION_RECORD, schema.SAFETY_EVENT)

    def __init__(self, worker, log):
        self._worker = worker
        self._log = log
        self.private_key = b""
        self.element_id = b""
        self.counter = 0
        self.previous_hash = bytes(32)
        self.unacked = []
        self.lost_count = 0
        self.write_error_count = 0
        self.on_statement = None
        self._unwritten = []
        self._behind = False
        self._refilling = False
        self._acked = 0

    @property
    def storage_ok(self) -> bool:
        """False while a statement waits for the flash to take it."""
        return not self._unwritten

    def load(self, private_key: bytes, element_id: bytes) -> None:
        """Take the key and find the end of the chain on flash.

        An entry that is whole but no statement is counted as lost and passed over.
        """
        self.private_key = private_key
        self.element_id = element_id
        for entry in self._log.entries():
            try:
                counter = _counter_of(entry)
            except DecodeError:
                self.lost_count += 1
                continue
            self.counter = counter
            self.previous_hash = hashlib.sha256(entry).digest()
            self._keep(counter, entry)

    def submit(self, kind: int, fields: dict, done=None) -> bool:
        """Queue a statement; `done(statement)` gets its bytes. False, counted, when full.

        A safety event may take the last place, a record and an answer may not.
        """
        spare = 0
        if kind == schema.EXECUTION_RECORD:
            spare = _SPARE_RECORD
        elif kind not in self.CHAINED:
            spare = _SPARE_UNCHAINED

        def finished(job) -> None:
            if done is not None and job.statement:
                done(job.statement)

        accepted = self._worker.submit(_StatementJob(self, kind, fields), finished, spare)
        if not accepted:
            self.lost_count += 1
        return accepted

    def chained(self, counter: int, statement: bytes) -> None:
        """Put a finished statement at the end of the chain, on flash, and offer it to the host.

        A flash that does not take it stops neither the chain nor the caller; see storage_ok.
        """
        self.counter = counter
        self.previous_hash = hashlib.sha256(statement).digest()
        self._keep(counter, statement)
        self._unwritten.append(statement)
        try:
            while self._unwritten:
                self._log.append(self._unwritten[0])
                self._unwritten.pop(0)
        except OSError:
            self.write_error_count += 1
            if len(self._unwritten) > UNWRITTEN_MAX:
                self._unwritten.pop(0)
                self.lost_count += 1
        if self.on_statement is not None:
            self.on_statement()

    def acknowledge(self, counter: int) -> None:
        """Forget what the host has up to and including counter; nothing for one not yet given."""
        if counter > self.counter:
            return
        self._acked = max(self._acked, counter)
        while self.unacked and self.unacked[0][0] <= counter:
            self.unacked.pop(0)
        if self._behind and not self._refilling and len(self.unacked) < UNACKED_MAX // 2:
            job = _RefillJob(self, self._log.again())
            self._refilling = self._worker.submit(job, self._refill_ended)

    def refilled(self, entry) -> bool:
        """Take an entry of the flash into memory if it is the next; True to end the refill."""
        if entry is None:
            self._behind = len(self._unwritten) > 0
            return True
        if len(self.unacked) >= UNACKED_MAX:
            return True
        try:
            counter = _counter_of(entry)
        except DecodeError:
            return False
        last = self.unacked[-1][0] if self.unacked else self._acked
        if counter > last:
            self.unacked.append((counter, entry))
            if self.on_statement is not None:
                self.on_statement()
        return False

    def _refill_ended(self, _job) -> None:
        self._refilling = False

    def _keep(self, counter: int, statement: bytes) -> None:
        """Hold a new statement for the host while there is room and nothing older is missing."""
        if self._behind or len(self.unacked) >= UNACKED_MAX:
            self._behind = True  # the log on flash still has it
        else:
            self.unacked.append((counter, statement))


def _counter_of(statement: bytes) -> int:
    """Return the counter of a chained statement (key 2 of every chained payload).

    Raises DecodeError for anything else.
    """
    payload = cbor.decode(cose.sign1_parse(statement)[2])
    counter = payload.get(2) if isinstance(payload, dict) else None
    if not isinstance(counter, int):
        raise DecodeError("counter", None)
    return counter
