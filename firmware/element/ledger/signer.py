"""Make signed statements in the background and chain the ledger's ones by hash.

A record or safety event gets its counter and the SHA-256 of the statement before it when its
turn to be signed comes, so the chain has no gaps even when several wait. One that finds no room
is given up before that: the chain stays whole, and a notice in it tells what is missing.
"""

import hashlib

from ..protocol import codes, schema
from .statement import CHAINED, StatementJob, notice, time_of

# Statements held in memory for the host: the oldest ones; the flash has them all.
UNACKED_MAX = 6
# Statements held in memory while the flash does not take them; the last ones are for events.
UNWRITTEN_MAX = 8
_SPARE_UNWRITTEN = 3
# Places in the worker's queue that are kept free of what can be asked for again.
_SPARE_RECORD = 2
_SPARE_UNCHAINED = 8
_NUMBER_MAX = 0x7FFFFFFF


class Signer:
    """The element's signing key, its chain, and the statements the host has not yet taken.

    `unacked` holds (counter, statement) in the order of the chain; each is on flash before it is
    offered, so no counter is ever used for two statements. storage_ok is False while the flash
    does not take statements: a few are kept in memory and tried again. A log that is full is no
    such failure: what it has no room for is given up (`lost_count`) and told of by a notice.
    """

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
        self.read_error_count = 0
        self.on_statement = None
        self.on_written = None  # called after every entry that the flash has taken
        self._unwritten = []
        self._behind = True  # the flash has more than `unacked`
        self._refilling = False
        self._torn_count = 0  # found at boot and not yet told of
        # given up and not yet told of: how many, from and to in Unix ms
        self._gap_count = 0
        self._gap_from_ms = 0
        self._gap_to_ms = 0
        self._told_count = 0  # given up since there was no room, and told of

    @property
    def storage_ok(self) -> bool:
        """False while a statement waits for the flash to take it."""
        return not self._unwritten

    def load(self, private_key: bytes, element_id: bytes) -> None:
        """Take the key and have the worker find the end of the chain on flash.

        What is submitted meanwhile stands behind that in the worker's queue.
        """
        self.private_key = private_key
        self.element_id = element_id
        self._worker.submit(_LoadJob(self._load_steps()), _loaded)

    def _load_steps(self):
        newest = yield from self._log.load_steps()
        self._torn_count = self._log.torn_count
        if newest is not None:
            self.counter = newest[0]
            self.previous_hash = hashlib.sha256(newest[1]).digest()
        while not self.step():
            yield

    def submit(self, kind: int, fields: dict, done=None) -> bool:
        """Queue a statement; `done(statement)` gets its bytes. False, counted, when full.

        A safety event may take the last place, a record and an answer may not.
        """
        spare = 0
        if kind == schema.EXECUTION_RECORD:
            spare = _SPARE_RECORD
        elif kind not in CHAINED:
            spare = _SPARE_UNCHAINED

        def finished(job) -> None:
            if done is not None and job.statement:
                done(job.statement)

        accepted = self._worker.submit(StatementJob(self, kind, fields), finished, spare)
        if not accepted:
            if kind in CHAINED:
                self._give_up(fields)
            else:
                self.lost_count += 1
        return accepted

    # room

    def has_room(self, kind: int) -> bool:
        """Return True when one more statement has its place in memory and on flash.

        Records leave a segment's worth to events, and one place to the notice that is due.
        """
        self._write_out()
        needed = len(self._unwritten) + 1
        if kind == schema.SAFETY_EVENT:
            return needed <= UNWRITTEN_MAX and needed <= self._log.room
        needed += self._gap_count > 0
        if needed > UNWRITTEN_MAX - _SPARE_UNWRITTEN \
                or needed + self._log.reserve > self._log.room:
            return False
        self._told_count = 0
        return True

    def notice_due(self, now_ms: int):
        """Return the fields of a notice that the chain owes and has room for, else None."""
        if self._torn_count and self.has_room(schema.SAFETY_EVENT):
            torn_count = self._torn_count
            self._torn_count = 0
            return notice(codes.NOTICE_TORN, now_ms, torn_count, 0)
        if self._gap_count and self.has_room(schema.EXECUTION_RECORD):
            return self._gap_notice(now_ms)
        return None

    def refuse(self, fields: dict):
        """Give a statement up. Returns the fields of the notice to write in its place, or None.

        A power cut would forget what is not told of. So the first is told of at once, and more
        whenever they are more than all before: few notices, of which a cut forgets less than
        half. They take no more than half of the events' reserve.
        """
        self._give_up(fields)
        if self._gap_count <= self._told_count or not self.has_room(schema.SAFETY_EVENT) \
                or self._log.room <= self._log.reserve // 2:
            return None
        self._told_count += self._gap_count
        return self._gap_notice(time_of(fields))

    def _gap_notice(self, now_ms: int) -> dict:
        count = self._gap_count
        span_s = (self._gap_to_ms - self._gap_from_ms) // 1000
        self._gap_count = 0
        return notice(codes.NOTICE_GAP, now_ms, count, max(0, min(span_s, _NUMBER_MAX)))

    def _give_up(self, fields: dict) -> None:
        """Count a statement that will never be, and the time it would have told of."""
        self.lost_count += 1
        if not self._gap_count:
            self._gap_from_ms = fields.get("start_unix_ms", time_of(fields))
        self._gap_count += 1
        self._gap_to_ms = time_of(fields)

    # flash and host

    def chained(self, counter: int, statement: bytes) -> None:
        """Put a finished statement at the end of the chain, on flash, and offer it to the host.

        A flash that does not take it stops neither the chain nor the caller; see storage_ok.
        """
        self.counter = counter
        self.previous_hash = hashlib.sha256(statement).digest()
        self._unwritten.append((counter, statement))
        self._write_out()
        self._refill()

    def _write_out(self) -> None:
        """Write what waits for the flash; offer to the host what the flash has taken."""
        try:
            while self._unwritten and self._log.append(self._unwritten[0]):
                self._offer(self._unwritten.pop(0))
                if self.on_written is not None:
                    self.on_written()
        except (OSError, MemoryError):  # a file that is opened takes a kilobyte in one piece
            self.write_error_count += 1

    def _offer(self, entry: tuple) -> None:
        """Hold a statement for the host while there is room and nothing older is missing."""
        if self._behind or len(self.unacked) >= UNACKED_MAX:
            self._behind = True
            return
        self.unacked.append(entry)
        self._log.skip()
        if self.on_statement is not None:
            self.on_statement()

    @property
    def _given(self) -> int:
        """The counter up to which the host has, or is being offered, everything."""
        return self.unacked[-1][0] if self.unacked else self._log.acknowledged

    def acknowledge(self, counter: int) -> None:
        """Forget what the host has up to and including counter; nothing for one not offered."""
        if not self._log.acknowledged < counter <= self._given:
            return
        self._log.acknowledged = counter
        while self.unacked and self.unacked[0][0] <= counter:
            self.unacked.pop(0)
        self._refill()

    def _refill(self) -> None:
        """Have the worker read on from flash when the host has taken most of what there was."""
        if self._behind and not self._refilling and len(self.unacked) <= UNACKED_MAX // 2:
            self._refilling = self._worker.submit(self, self._refill_ended, _SPARE_RECORD)

    def step(self) -> bool:
        """Read one statement back from flash: a job of the worker.

        True when memory is full, or the flash has no more, or cannot be read now.
        """
        if len(self.unacked) >= UNACKED_MAX:
            return True
        try:
            entry = self._log.read_next(self._given)
        except (OSError, MemoryError):
            self.read_error_count += 1
            return True
        if entry is None:
            self._behind = False
            return True
        self.lost_count += entry[0] - self._given - 1  # damaged on flash
        self.unacked.append(entry)
        if self.on_statement is not None:
            self.on_statement()
        return False

    def _refill_ended(self, _job) -> None:
        self._refilling = False


class _LoadJob:
    """Run the steps of a load, one in a slice."""

    def __init__(self, steps):
        self._steps = steps

    def step(self) -> bool:
        """Do one slice; True when the chain's end is known."""
        try:
            next(self._steps)
        except StopIteration:
            return True
        return False


def _loaded(_job) -> None:
    """Wait for nothing: the steps have left everything in its place."""
