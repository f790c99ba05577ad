"""Check the log on flash: the ring, torn tails at every byte, damage, a flash that fails, fuzz."""

import os

from fakes import in_folder
from flash_sim import SECTORS, Flash, Random

from element.ledger import log as log_module
from element.ledger.log import DATA_SIZE_MAX, ENTRY_SIZE_MAX, HEAD_SIZE, FlashLog
from element.protocol.errors import RangeError

COUNT = 4
SIZE = 1200  # four entries of the largest size, or twenty of `entry`
FOREVER = 100_000


def entry(counter, size=40):
    return counter, (b"entry %d " % counter + bytes(size))[:size]


def entries(first, last):
    return [entry(counter) for counter in range(first, last + 1)]


def read_all(log, after=0):
    out = []
    for _ in range(FOREVER):
        found = log.read_next(after)
        if found is None:
            return out
        assert found[0] > after
        after = found[0]
        out.append(found)
    raise AssertionError("reading never ends")


def open_log(size_max=SIZE, count=COUNT):
    """Return a loaded log on the working folder."""
    log = FlashLog("l", count, size_max)
    log.newest = log.load()
    return log


def write(first, last, size_max=SIZE, acknowledged=None):
    """Append entries, all acknowledged at once unless said otherwise."""
    log = open_log(size_max)
    for counter in range(first, last + 1):
        log.acknowledged = max(
            log.acknowledged, counter - 1 if acknowledged is None else acknowledged)
        assert log.append(entry(counter))
    return log


def content(path):
    with open(path, "rb") as file:
        return file.read()


def rewrite(path, data):
    with open(path, "wb") as file:
        file.write(data)


def on_flash(function, files=None):
    """Call function(flash) with the log's module on a simulated flash."""
    flash = Flash(SECTORS, files or {})
    real = log_module.os
    log_module.open = flash.open
    log_module.os = flash
    try:
        return function(flash)
    finally:
        del log_module.open
        log_module.os = real


# ---- writing and reading ----


def test_an_empty_flash():
    def body():
        log = open_log()
        assert log.newest is None and log.torn_count == 0 and read_all(log) == []
        assert log.room == COUNT * log.reserve

    in_folder("log_empty", body)


def test_what_is_written_is_read_back_in_order():
    def body():
        log = write(1, 50, acknowledged=0)
        assert read_all(log) == entries(1, 50)
        log = open_log()
        assert log.newest == entry(50) and log.torn_count == 0 and log.acknowledged == 0
        assert read_all(log) == entries(1, 50)
        # and on, while it is read
        for counter in range(51, 70):
            assert log.append(entry(counter))
            assert log.read_next(counter - 1) == entry(counter)
            assert log.read_next(counter) is None

    in_folder("log_order", body)


def test_entry_sizes_and_counters():
    def body():
        log = open_log()
        log.acknowledged = 6
        for wrong in ((7, b""), (7, bytes(DATA_SIZE_MAX + 1)), (6, b"x"), (1 << 32, b"x")):
            try:
                log.append(wrong)
            except RangeError:
                continue
            raise AssertionError("accepted")
        log.append((7, b"x"))
        log.append((0xFFFFFFFF, bytes(DATA_SIZE_MAX)))
        assert [len(one[1]) for one in read_all(open_log(), 6)] == [1, DATA_SIZE_MAX]

    in_folder("log_sizes", body)


def test_segments_take_turns_and_stay_small():
    def body():
        for count in (1, 5, 20, 21, 22, 40, 41, 60, 100, 700):
            for path in os.listdir():
                os.remove(path)
            write(1, count)
            log = open_log()
            assert log.newest == entry(count) and log.acknowledged == count - 1
            kept = read_all(log)
            assert kept[-1] == entry(count)
            assert sorted(os.listdir()) == ["l.%d" % index for index in range(
                min(COUNT, 1 + (count - 1) // 21))]
            for path in os.listdir():
                assert os.stat(path)[6] <= SIZE

    in_folder("log_segments", body)


def test_a_restart_before_every_entry_loses_nothing():
    def body():
        for counter in range(1, 131):
            log = open_log()
            assert log.newest == (entry(counter - 1) if counter > 1 else None)
            log.acknowledged = max(log.acknowledged, counter - 30)
            assert log.append(entry(counter))
        assert read_all(open_log(), 100) == entries(101, 130)

    in_folder("log_restarts", body)


def test_what_is_gone_had_been_acknowledged():
    def body():
        write(1, 63, acknowledged=0)  # three segments
        os.remove("l.0")  # a cut after the truncation, before an entry could tell
        log = open_log()
        assert log.acknowledged == 21 and read_all(log, 21) == entries(22, 63)

    in_folder("log_gone", body)


def test_skip_goes_on_behind_the_newest():
    def body():
        log = write(1, 30, acknowledged=0)
        log.skip()
        assert log.read_next(30) is None
        assert log.append(entry(31)) and read_all(log, 30) == entries(31, 31)

    in_folder("log_skip", body)


def test_reading_far_behind_while_the_ring_turns():
    def body():
        log = open_log()
        given = 0
        for counter in range(1, 2001):
            if not log.room:
                # what was given may go; what was not may not
                assert counter - given > 40
                log.acknowledged = given
                for _ in range(30):
                    given, data = log.read_next(given)
                    assert (given, data) == entry(given)
                log.acknowledged = given
            assert log.append(entry(counter))
        assert read_all(log, given) == entries(given + 1, 2000)

    in_folder("log_behind", body)


# ---- full ----


def test_a_full_log_refuses_and_keeps_the_oldest():
    def body():
        log = open_log()
        counter = 0
        while log.append(entry(counter + 1)):
            counter += 1
        assert log.room == 0 and counter == 4 * 21
        files = {path: content(path) for path in os.listdir()}
        for _ in range(3):
            assert not log.append(entry(counter + 1))
        assert {path: content(path) for path in os.listdir()} == files
        assert read_all(log) == entries(1, counter)
        # all of a segment but its last entry: not yet
        log.acknowledged = 20
        assert not log.append(entry(counter + 1)) and log.room == 0
        log.acknowledged = 21
        assert log.room == log.reserve and log.append(entry(counter + 1))
        again = open_log()
        assert again.acknowledged == 21 and again.newest == entry(counter + 1)
        assert read_all(again, 21) == entries(22, counter + 1)
        assert again.room == log.room

    in_folder("log_full", body)


def test_room_is_never_more_than_there_is():
    def body():
        random = Random(3)
        log = open_log()
        counter = 0
        for _ in range(3000):
            room = log.room
            counter += 1
            if not log.append(entry(counter, 1 + random.below(DATA_SIZE_MAX))):
                assert room == 0
                counter -= 1
            assert log.room >= room - 1
            if random.below(20) == 0:
                log.acknowledged += random.below(counter - log.acknowledged + 1)

    in_folder("log_room", body)


# ---- torn and damaged ----


def test_a_torn_tail_at_every_cut_of_the_last_entry():
    def body():
        write(1, 5, acknowledged=0)
        whole = content("l.0")
        size = HEAD_SIZE + 40
        for cut in range(1, size):
            rewrite("l.0", whole[:-cut])
            for _ in range(2):  # a boot without a write changes nothing
                log = open_log()
                assert log.torn_count == 1 and log.newest == entry(4), cut
            assert log.append(entry(5)) and log.append(entry(6))
            log = open_log()
            assert log.torn_count == 0 and read_all(log) == entries(1, 6)
        # a cut on the boundary is no damage: the entry was never there
        rewrite("l.0", whole[:-size])
        log = open_log()
        assert log.newest == entry(4) and log.torn_count == 0

    in_folder("log_torn", body)


def test_a_torn_first_entry_of_a_segment():
    def body():
        write(1, 21, acknowledged=0)
        for torn in (b"\xc5", b"\xc5\x01\x28\x00", bytes(200), b"\xff" * 2000):
            rewrite("l.1", torn)
            log = open_log()
            assert log.torn_count == 1 and log.newest == entry(21)
            assert log.append(entry(22, 1))  # still fits into l.0
            assert sorted(os.listdir()) == ["l.0"]
            rewrite("l.0", content("l.0")[:-17])
            rewrite("l.1", torn)
            log = open_log()
            assert log.append(entry(22))  # starts l.1
            assert open_log().torn_count == 0 and read_all(open_log()) == entries(1, 22)
        for path in os.listdir():
            os.remove(path)
        rewrite("l.0", b"\xc5\x01")
        log = open_log()
        assert log.newest is None and log.torn_count == 1
        assert log.append(entry(1)) and read_all(open_log()) == [entry(1)]
        assert open_log().torn_count == 0

    in_folder("log_torn_first", body)


def test_a_damaged_byte_costs_one_entry():
    def body():
        write(1, 5, acknowledged=0)
        whole = content("l.0")
        size = HEAD_SIZE + 40
        for position in range(size, 2 * size):
            for flip in (1, 0x80, 0xFF):
                damaged = bytearray(whole)
                damaged[position] ^= flip
                rewrite("l.0", bytes(damaged))
                log = open_log()
                assert log.newest == entry(5) and log.torn_count == 0
                assert read_all(log) == [entry(1)] + entries(3, 5), position

    in_folder("log_damage", body)


def test_the_erased_flash_after_the_tail_is_no_entry():
    def body():
        write(1, 3, acknowledged=0)
        whole = content("l.0")
        for fill in (b"\x00", b"\xff", b"\xc5\x01"):
            for size in (1, 6, 7, 254, 255, 256, 257, 700):
                rewrite("l.0", whole + fill * size)
                log = open_log()
                assert log.newest == entry(3) and log.torn_count == 1
                assert log.append(entry(4)) and read_all(open_log()) == entries(1, 4)

    in_folder("log_erased", body)


def test_an_entry_is_found_behind_any_length_of_rubbish():
    def body():
        write(1, 1, acknowledged=0)
        whole = content("l.0")
        for size in range(530):
            rewrite("l.0", bytes(size) + whole)
            assert open_log().newest == entry(1), size

    in_folder("log_rubbish", body)


def test_what_was_damaged_after_the_boot_is_passed_over():
    def body():
        log = write(1, 30, acknowledged=0)
        rewrite("l.0", bytes(100))
        assert read_all(log) == entries(22, 30)
        rewrite("l.1", b"")
        assert read_all(log, 24) == []

    in_folder("log_later", body)


# ---- a flash that fails ----


def test_a_failed_append_raises_and_the_next_one_is_readable():
    def body(flash):
        log = open_log()
        for counter in range(1, 60):
            log.acknowledged = max(0, counter - 10)
            for at in (1, 2, 3):
                # the open, the write and the flush fail in turn; the write leaves a part
                count = flash.operation_count

                def fail(flash, path, contents, last=count + at):
                    if flash.operation_count == last:
                        if len(contents) > 2:
                            flash.files[path] = contents[1][:-at]
                        flash.failing = True
                        raise OSError(5)

                flash._on_operation = fail
                try:
                    log.append(entry(counter))
                except OSError:
                    flash._on_operation = None
                    flash.failing = False
                    continue
                raise AssertionError("a failed write went unnoticed")
            assert log.append(entry(counter))
        assert open_log().newest == entry(59)
        return read_all(open_log(), 49)

    found = on_flash(body)
    assert found == entries(50, 59)


def test_a_segment_that_cannot_be_read_stays_where_it_is():
    def body(flash):
        write(1, 50, acknowledged=0)
        real = log_module.open

        def fail(path, mode):
            if path == "l.1" and mode == "rb":
                raise OSError(5)
            return real(path, mode)

        log_module.open = fail
        log = open_log()
        assert log.torn_count == 1 and log.newest == entry(50)
        assert log.append(entry(51))
        log_module.open = real
        log = open_log()
        assert log.torn_count == 0 and read_all(log) == entries(1, 51)

    on_flash(body)


def test_a_file_that_cannot_be_removed_stops_nothing():
    def body(flash):
        write(1, 2, acknowledged=0)
        flash.files["l.2"] = b"rubbish"

        def fail(path):
            raise OSError(13)

        flash.remove = fail
        log = open_log()
        assert log.torn_count == 1 and log.append(entry(3)) and log.append(entry(4))
        assert flash.files["l.2"] == b"rubbish" and open_log().torn_count == 1

    on_flash(body)


# ---- fuzz ----


def test_flipped_bits_never_give_a_wrong_entry():
    def body(flash):
        write(1, 70, acknowledged=0)
        good = dict(flash.files)
        random = Random(11)
        for _ in range(400):
            flash.files = dict(good)
            for _ in range(1 + random.below(6)):
                path = "l.%d" % random.below(COUNT)
                data = bytearray(flash.files[path])
                at = random.below(len(data))
                data[at] ^= 1 << random.below(8)
                flash.files[path] = bytes(data[:at] if random.below(8) == 0 else data)
            check_any(random)

    on_flash(body)


def test_random_bytes_never_give_a_wrong_entry():
    def body(flash):
        write(1, 70, acknowledged=0)
        good = dict(flash.files)
        random = Random(13)
        for _ in range(300):
            flash.files = dict(good)
            for _ in range(1 + random.below(4)):
                size = random.below(600)
                bits = 1 if random.below(2) else 255
                noise = bytes([(0xC5, 1)[random.below(256) & 1] if bits == 1
                               else random.below(256) for _ in range(size)])
                path = "l.%d" % random.below(COUNT)
                data = flash.files[path]
                at = random.below(len(data))
                flash.files[path] = data[:at] + noise + data[at + random.below(3) * size:]
            check_any(random)

    on_flash(body)


def check_any(random):
    """Load what is there: only true entries, in rising order, and the log goes on."""
    log = open_log()
    last = log.newest[0] if log.newest else 0
    assert log.newest is None or log.newest == entry(last)
    for found in read_all(log):
        assert found == entry(found[0])
    log.acknowledged = last
    for counter in range(last + 1, last + 4):
        assert log.append(entry(counter))
    assert open_log().newest == entry(last + 3)


# ---- figures ----


def test_segments_are_large_enough_for_their_figures():
    log = FlashLog("l")
    assert log.segment_room * ENTRY_SIZE_MAX == 4096 and log.reserve == 96
    assert log.room == 8 * 96
