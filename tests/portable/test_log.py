"""Check the log on flash: segments, torn tails at every byte, damage, a flash that fails."""

import os

from fakes import in_folder

from element.ledger import log as log_module
from element.ledger.log import ENTRY_SIZE_MAX, FlashLog


def entry(index, size=40):
    return (b"entry %d " % index + bytes(size))[:size]


def read_back(path="l", size_max=65536):
    log = FlashLog(path, size_max)
    return list(log.entries()), log


def write(count, path="l", size_max=65536, first=0):
    log = FlashLog(path, size_max)
    list(log.entries())
    for index in range(first, first + count):
        log.append(entry(index))
    return log


def content(path):
    with open(path, "rb") as file:
        return file.read()


def rewrite(path, data):
    with open(path, "wb") as file:
        file.write(data)


def test_an_empty_flash():
    def body():
        entries, log = read_back()
        assert entries == [] and log.torn_count == 0

    in_folder("log_empty", body)


def test_what_is_written_is_read_back_in_order():
    def body():
        log = write(50)
        assert list(log.again()) == [entry(index) for index in range(50)]
        entries, log = read_back()
        assert entries == [entry(index) for index in range(50)] and log.torn_count == 0
        log.append(entry(50))
        assert read_back()[0][-1] == entry(50)

    in_folder("log_order", body)


def test_entry_sizes():
    def body():
        log = FlashLog("l")
        for wrong in (b"", bytes(ENTRY_SIZE_MAX + 1)):
            try:
                log.append(wrong)
            except ValueError:
                continue
            raise AssertionError("accepted")
        log.append(b"x")
        log.append(bytes(ENTRY_SIZE_MAX))
        assert [len(one) for one in read_back()[0]] == [1, ENTRY_SIZE_MAX]

    in_folder("log_sizes", body)


def test_full_segments_take_turns_and_keep_the_newest():
    def body():
        for count in (1, 5, 20, 21, 22, 40, 41, 60, 100, 700):
            for path in ("l.0", "l.1"):
                try:
                    os.remove(path)
                except OSError:
                    pass
            write(count, size_max=1000)
            entries, log = read_back(size_max=1000)
            kept = len(entries)
            assert entries == [entry(index) for index in range(count - kept, count)], count
            assert kept >= min(count, 21) and log.torn_count == 0
            for path in ("l.0", "l.1"):
                try:
                    assert os.stat(path)[6] <= 1000
                except OSError:
                    pass

    in_folder("log_segments", body)


def test_restarts_at_every_point_lose_nothing():
    def body():
        for index in range(130):  # every append by a new process
            entries, log = read_back(size_max=1000)
            if entries:
                assert entries[-1] == entry(index - 1)
            log.append(entry(index))
        entries, _ = read_back(size_max=1000)
        assert entries == [entry(index) for index in range(130 - len(entries), 130)]

    in_folder("log_restarts", body)


def test_a_torn_tail_at_every_cut_of_the_last_entry():
    def body():
        write(5)
        whole = content("l.0")
        size = 40 + 6
        for cut in range(1, size):
            rewrite("l.0", whole[:-cut])
            try:
                os.remove("l.1")
            except OSError:
                pass
            entries, log = read_back()
            assert entries == [entry(index) for index in range(4)]
            assert log.torn_count == 1, cut
            log.append(entry(99))
            entries, log = read_back()
            assert entries == [entry(index) for index in range(4)] + [entry(99)]
        # a cut on the boundary is no damage: the entry was never there
        rewrite("l.0", whole[:-size])
        os.remove("l.1")
        entries, log = read_back()
        assert len(entries) == 4 and log.torn_count == 0

    in_folder("log_torn", body)


def test_a_torn_tail_survives_many_boots_without_a_write():
    def body():
        write(5)
        rewrite("l.0", content("l.0")[:-3])
        for _ in range(5):
            entries, _ = read_back()
            assert len(entries) == 4

    in_folder("log_boots", body)


def test_every_damaged_byte_of_an_entry_is_found():
    def body():
        write(3)
        whole = content("l.0")
        for position in range(1 + 46, 1 + 92):
            damaged = bytearray(whole)
            damaged[position] ^= 0x10
            rewrite("l.0", bytes(damaged))
            entries, log = read_back()
            assert entries == [entry(0)] and log.torn_count == 1, position

    in_folder("log_damage", body)


def test_the_erased_flash_after_the_tail_is_no_entry():
    def body():
        write(3)
        whole = content("l.0")
        for fill in (b"\x00", b"\xff"):
            for size in (1, 6, 7, 100):
                rewrite("l.0", whole + fill * size)
                entries, log = read_back()
                assert len(entries) == 3 and log.torn_count == 1

    in_folder("log_erased", body)


def test_the_number_byte_wraps():
    def body():
        log = FlashLog("l", 120)
        for index in range(1200):  # two entries a segment: six hundred segments
            log.append(entry(index))
            if index % 97 == 0:
                entries, log = read_back(size_max=120)
                assert entries[-1] == entry(index)
        entries, _ = read_back(size_max=120)
        assert entries[-1] == entry(1199) and len(entries) >= 3

    in_folder("log_wrap", body)


class FailingOpen:
    """Stand for open() on a flash that writes `size` bytes of an entry and then fails."""

    def __init__(self, size):
        self.size = size
        self.failing = True

    def __call__(self, path, mode):
        file = open(path, mode)
        if not self.failing or mode != "ab":
            return file
        if self.size == 0:
            file.close()
            raise OSError(28)
        return FailingFile(file, self.size)


class FailingFile:
    """A file whose first write is cut and fails."""

    def __init__(self, file, size):
        self.file = file
        self.size = size

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[:self.size])
        self.file.flush()
        raise OSError(5)


def test_a_failed_append_raises_and_the_next_one_is_readable():
    def body():
        for size in (0, 1, 6, 20):
            for path in ("l.0", "l.1"):
                try:
                    os.remove(path)
                except OSError:
                    pass
            log = write(4)
            failing = FailingOpen(size)
            log_module.open = failing
            try:
                for _ in range(3):
                    try:
                        log.append(entry(50))
                    except OSError:
                        continue
                    raise AssertionError("a failed write went unnoticed")
                failing.failing = False
                log.append(entry(51))
            finally:
                del log_module.open
            entries, _ = read_back()
            assert entries[-1] == entry(51), size
            if size == 0:  # nothing was touched, so nothing is lost
                assert entries[:4] == [entry(index) for index in range(4)]

    in_folder("log_failing", body)
