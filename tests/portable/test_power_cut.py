"""Cut the power at every operation on flash of a 1,000-record run, and twice in a row.

After each cut the element starts again on what is left: nothing whose append had returned and
that the host had not acknowledged is missing, the chain verifies, a torn tail is found and told
of, and twenty more records go on. Every operation is cut in `make nightly`; the tests of every
day, and MicroPython, which is slower, do a seeded sample of the same.
"""

import binascii
import hashlib
import os
import struct
import sys

from fakes import FakeHAL, drain
from flash_sim import LITTLEFS, SECTORS, Flash, PowerCut, Random

from element.crypto.worker import Worker
from element.ledger import log as log_module
from element.ledger import statement as statement_module
from element.ledger.log import DATA_SIZE_MAX, ENTRY_SIZE_MAX, FlashLog
from element.ledger.signer import Signer
from element.protocol import cbor, codes, cose, schema

RECORD_COUNT = 1000
MORE_COUNT = 20
SEGMENT_COUNT = 5
SEGMENT_SIZE = 5 * ENTRY_SIZE_MAX
START_MS = 1_767_225_600_000
if sys.implementation.name != "cpython":
    STRIDE = 11
else:
    STRIDE = 1 if os.getenv("CELLWALL_WHOLE") else 7
_MARK = b"\xc5\x01"


class FastSignJob:
    """Stand for SignJob: a signature of zeros, at once."""

    signature = bytes(64)

    def __init__(self, private_key, digest):
        """Take what a SignJob takes."""

    def step(self):
        return True


class Fault(AssertionError):
    """A cut after which something was missing or wrong."""


def need(condition, what):
    if not condition:
        raise Fault(what)


# ---- an independent reader of the flash and the chain ----

_known = {}


def facts(statement):
    """Return (counter, previous hash, own hash, cause or None) of a statement; remembered."""
    if statement not in _known:
        if len(_known) > 200:
            _known.clear()
        payload = cbor.decode(cose.sign1_parse(statement)[2])
        event = len(payload) == 9
        _known[statement] = (payload[2], payload[3], hashlib.sha256(statement).digest(),
                             payload[4] if event else None, payload[6] if event else 0)
    return _known[statement]


def entries_of(data):
    """Return (entries as {counter: statement}, end of the last whole one) of a segment."""
    out = {}
    end = at = 0
    while True:
        at = data.find(_MARK, at)
        if at < 0:
            return out, end
        head = data[at:at + 16]
        if len(head) == 16:
            size, counter, _, crc = struct.unpack("<HIII", head[2:])
            body = data[at + 16:at + 16 + size]
            if len(body) == size and 0 < size <= DATA_SIZE_MAX \
                    and binascii.crc32(head[:12] + body) & 0xFFFFFFFF == crc:
                out[counter] = body
                end = at = at + 16 + size
                continue
        at += 1


def read_flash(files):
    """Return ({counter: statement}, torn tails) as a reader of the format finds them."""
    entries = {}
    torn = newest = tail = 0
    for data in files.values():
        found, end = entries_of(data)
        if not found:
            torn += len(data) > 0
            continue
        entries.update(found)
        if max(found) > newest:
            newest = max(found)
            tail = end < len(data)
    return entries, torn + tail


def check_chain(entries):
    """Demand that counters have no hole and every hash fits, from the oldest kept."""
    last = None
    for counter in sorted(entries):
        number, previous, own = facts(entries[counter])[:3]
        need(number == counter, "an entry is not the statement it says")
        if last is not None:
            need(counter == last[0] + 1, "hole before %d" % counter)
            need(previous == last[1], "hash before %d" % counter)
        last = (counter, own)
    return last


# ---- an element's ledger ----


class Life:
    """One life of the ledger on a Flash, from boot to power cut.

    written: what append has returned for; it and acked belong to the test and outlive the life.
    """

    log_class = FlashLog

    def __init__(self, flash, written, acked):
        self.flash = flash
        self.written = written
        self.acked = acked
        self.told = 0  # given up, by what the chain says
        self.select()
        self.log = self.log_class("l", SEGMENT_COUNT, SEGMENT_SIZE)
        self.append = self.log.append
        self.log.append = self.watched_append
        self.worker = Worker(FakeHAL())
        self.signer = Signer(self.worker, self.log)
        self.signer.load(bytes(32), b"element1")
        drain(self.worker)

    def select(self):
        """Have the ledger's module work on this life's flash."""
        log_module.open = self.flash.open
        log_module.os = self.flash

    def watched_append(self, entry):
        done = self.append(entry)
        if done:
            self.written[entry[0]] = entry[1]
            fact = facts(entry[1])
            self.told += fact[4] if fact[3] == codes.NOTICE_GAP else 0
        return done

    def record(self, number):
        """Finish an interval: its record is signed, chained and written, or given up."""
        start = START_MS + 300_000 * number
        self.signer.submit(schema.EXECUTION_RECORD, {
            "dispatch_id": number, "start_unix_ms": start, "end_unix_ms": start + 300_000,
            "instructed_mw_mean": -1_000_000, "realized_mw_mean": -999_000 - number,
            "realized_mw_min": -1_000_000, "realized_mw_max": 0, "energy_mwh": -83_000,
            "soc_bp_start": 5000, "soc_bp_end": None, "quality": 0})
        drain(self.worker)

    def event(self, number):
        """Trip: an event, which may use what records leave free."""
        self.signer.submit(schema.SAFETY_EVENT, {
            "cause": codes.TRIP_INPUT, "at_unix_ms": START_MS + 300_000 * number, "value": 1,
            "limit": 2, "released": False, "index": None})
        drain(self.worker)

    def host_takes(self, count):
        """Have the host take and acknowledge up to count statements, in order."""
        while count and self.signer.unacked:
            counter, statement = self.signer.unacked[0]
            need(self.written.get(counter, statement) == statement, "offered another statement")
            need(counter <= self.acked + 1, "offered %d after %d" % (counter, self.acked))
            self.acked = max(self.acked, counter)
            self.signer.acknowledge(counter)
            drain(self.worker)
            count -= 1


def forget(written, acked):
    """Drop what need not be kept any more."""
    for counter in [one for one in written if one <= acked - 40]:
        del written[counter]


def check_restart(medium, files, written, acked, more):
    """Start on files and demand all that must hold. Returns the torn tails found."""
    entries, torn = read_flash(files)
    last = check_chain(entries)
    for counter in written:
        if counter > acked:
            need(entries.get(counter) == written[counter], "lost %d" % counter)
    life = Life(Flash(medium, files), dict(written), acked)
    need(life.signer.counter == (last[0] if last else 0), "chain ends elsewhere")
    need(life.log.torn_count == torn, "torn %d, found %d" % (torn, life.log.torn_count))
    first = life.signer.counter + 1
    for number in range(more):
        life.record(number)
        life.host_takes(2)
    life.host_takes(1000)
    life.record(more)
    life.host_takes(1000)
    lost = life.signer.lost_count
    need(life.acked == life.signer.counter >= first + more - lost, "not all given")
    need(lost == life.told and life.signer.storage_ok, "%d lost, %d told" % (lost, life.told))
    need(lost <= 8, "full although the host takes all")
    if torn:
        fact = facts(life.written[first])
        need(fact[3:] == (codes.NOTICE_TORN, torn), "torn tail not told of")
    entries, torn_later = read_flash(life.flash.files)
    check_chain(entries)
    need(torn_later == 0, "torn for ever")
    need(life.log_class("l", SEGMENT_COUNT, SEGMENT_SIZE).load()[0] == life.acked, "not found")
    return torn


class Run:
    """A run of records in which every operation of the flash is looked at."""

    def __init__(self, medium, stride, log_class=FlashLog, pairs=0, more=MORE_COUNT, seed=5):
        self.medium = medium
        self.stride = stride
        self.pairs = pairs
        self.more = more
        self.random = Random(seed)
        self.cut_random = Random(seed + 1000)  # what is cut changes nothing of what is written
        self.cut_count = self.state_count = self.torn_count = self.pair_count = 0
        self.full_count = 0
        self.checked = None
        Life.log_class = log_class
        self.written = {}
        self.life = None
        self.flash = Flash(medium, {}, self.on_operation)

    def run(self, record_count):
        """Make records while the host comes and goes."""
        life = self.life = Life(self.flash, self.written, 0)
        number = 0
        away = 0
        while number < record_count:
            lost = life.signer.lost_count
            life.record(number)
            if life.signer.lost_count == lost:
                number += 1
            else:
                self.full_count += 1
            lost = life.signer.lost_count
            if self.random.below(20) == 0:
                life.event(number)
            need(life.signer.lost_count == lost, "an event found no room")
            away -= 1
            if away < 0:
                life.host_takes(1 + self.random.below(6))
                if self.random.below(12) == 0:
                    away = self.random.below(40)
            forget(self.written, life.acked)
        need(life.told == self.full_count, "given up and not told of")
        return self

    def on_operation(self, flash, path, contents):
        """Cut here, in every way there is."""
        if self.life is None or flash.operation_count % self.stride:
            return
        life = self.life
        for content in contents:
            self.cut_count += 1
            files = flash.after(path, content)
            if (files, len(self.written), life.acked) != self.checked:
                self.state_count += 1
                torn = check_restart(self.medium, files, self.written, life.acked, self.more)
                self.torn_count += torn > 0
            self.checked = (files, len(self.written), life.acked)
        for _ in range(self.pairs):
            content = contents[self.cut_random.below(len(contents))]
            self.cut_twice(flash.after(path, content))
        life.select()

    def cut_twice(self, files):
        """Start again, cut the power a second time within the first records."""
        at = 1 + self.cut_random.below(13)

        def cut(flash, path, contents):
            if flash.operation_count == at:
                flash.cut(path, contents[self.cut_random.below(len(contents))])

        flash = Flash(self.medium, files, cut, at)
        life = Life(flash, dict(self.written), self.life.acked)
        try:
            for number in range(5):
                life.record(number)
                life.host_takes(1)
        except PowerCut:
            self.pair_count += 1
            check_restart(self.medium, flash.files, life.written, life.acked, 3)


def simulated(function):
    """Run function with the ledger on a simulated flash and fast signatures."""
    real = statement_module.SignJob
    real_os = log_module.os
    statement_module.SignJob = FastSignJob
    try:
        return function()
    finally:
        statement_module.SignJob = real
        log_module.os = real_os
        if hasattr(log_module, "open"):
            del log_module.open
        Life.log_class = FlashLog


def report(name, run):
    print("power cuts, %s: %d at %d operations, %d different states, %d torn, %d pairs, "
          "%d given up" % (name, run.cut_count, run.flash.operation_count, run.state_count,
                           run.torn_count, run.pair_count, run.full_count))


def test_a_cut_at_every_operation_of_a_thousand_records_on_littlefs():
    def body():
        run = Run(LITTLEFS, STRIDE).run(RECORD_COUNT)
        report("littlefs", run)
        assert run.torn_count == 0 and run.full_count > 20
        assert run.cut_count >= 4 * RECORD_COUNT // STRIDE

    simulated(body)


def test_a_cut_at_every_operation_of_a_thousand_records_on_sectors():
    def body():
        run = Run(SECTORS, STRIDE).run(RECORD_COUNT)
        report("sectors", run)
        assert run.torn_count > RECORD_COUNT // STRIDE // 2 and run.full_count > 20
        assert run.cut_count >= 10 * RECORD_COUNT // STRIDE

    simulated(body)


def test_two_cuts_in_a_row():
    def body():
        for medium, name in ((LITTLEFS, "littlefs"), (SECTORS, "sectors")):
            run = Run(medium, 5 * STRIDE, pairs=4, more=1, seed=9).run(RECORD_COUNT)
            report(name, run)
            assert run.pair_count >= 2000 // STRIDE

    simulated(body)


# ---- the simulation finds what is wrong ----


class RewritingLog(FlashLog):
    """Wrong: writes the whole segment anew for each entry."""

    def append(self, entry):
        index = self._current
        if not self._size[index]:
            return FlashLog.append(self, entry)
        with log_module.open(self._paths[index], "rb") as file:
            before = file.read(SEGMENT_SIZE)
        done = FlashLog.append(self, entry)
        if done and self._current == index:
            with log_module.open(self._paths[index], "rb") as file:
                whole = file.read(SEGMENT_SIZE)
            with log_module.open(self._paths[index], "wb") as file:
                file.write(before)
                file.write(whole[len(before):])
        return done


class GreedyLog(FlashLog):
    """Wrong: takes the oldest segment when the log is full, acknowledged or not."""

    @property
    def room(self):
        return 2 * self.reserve

    def append(self, entry):
        after = self._after(self._current)
        self._last[after] = 0
        return FlashLog.append(self, entry)


class LateLog(FlashLog):
    """Wrong: says that an entry is on flash when it has only begun to write it."""

    held = None

    def append(self, entry):
        held = self.held
        self.held = entry
        if held is not None:
            acknowledged = self.acknowledged
            self.acknowledged = min(acknowledged, held[0] - 1)
            FlashLog.append(self, held)
            self.acknowledged = acknowledged
        return True


def found(medium, log_class):
    """Return True when the simulation finds a fault of a log."""
    try:
        simulated(lambda: Run(medium, 3, log_class, more=5).run(150))
    except Fault:
        return True
    return False


def test_a_log_that_is_right_passes_where_wrong_ones_fail():
    assert not found(SECTORS, FlashLog) and not found(LITTLEFS, FlashLog)


def test_logs_that_are_wrong_are_found():
    for log_class in (RewritingLog, GreedyLog, LateLog):
        assert found(SECTORS, log_class), log_class
    for log_class in (GreedyLog, LateLog):
        assert found(LITTLEFS, log_class), log_class


def with_reader(name, reader, medium=SECTORS):
    """Return True when the simulation finds a log with another reading function."""
    real = getattr(log_module, name)
    setattr(log_module, name, reader)
    try:
        return found(medium, FlashLog)
    finally:
        setattr(log_module, name, real)


def test_a_reader_that_ignores_the_checksum_is_found():
    def entry_at(file, offset):
        file.seek(offset)
        head = file.read(16)
        if len(head) != 16 or head[:2] != _MARK:
            return None
        size, counter, acknowledged = struct.unpack("<HII", head[2:12])
        return counter, file.read(size), acknowledged, offset + 16 + size

    assert with_reader("_entry_at", entry_at)


def test_a_reader_that_stops_at_a_torn_tail_is_found():
    assert with_reader("_next_entry", log_module._entry_at)
