"""Check what keeps a littlefs's erases apart: element.ledger.pace."""

from fakes import FakeHAL, in_folder

from element.ledger import pace as module
from element.ledger.pace import (
    APPENDS_PER_PACE,
    ERASE_MS_MIN,
    WRITES_MAX,
    WRITES_PER_STEP,
    Pace,
)


class Queue:
    """A worker that keeps what it is given."""

    def __init__(self):
        self.jobs = []

    def submit(self, job, done, spare=0):
        self.jobs.append((job, done))
        return True

    def run(self):
        """Do everything; returns how many steps that took."""
        steps = 0
        while self.jobs:
            job, done = self.jobs.pop(0)
            while True:
                steps += 1
                if job.step():
                    break
            done(job)
        return steps


class Flash:
    """A file system whose compacted log makes every so many writes an erase."""

    def __init__(self, hal, erase_every, left=None):
        self.hal = hal
        self.erase_every = erase_every
        self.left = erase_every if left is None else left
        self.writes = 0

    def open(self, path, mode):
        """Take the time that this write takes."""
        assert path == "p" and mode == "wb"
        self.writes += 1
        self.left -= 1
        self.hal.now_ms += 2
        if self.left == 0:
            self.left = self.erase_every
            self.hal.now_ms += ERASE_MS_MIN
        return open(path, mode)


def paced(body):
    """Run body(hal, worker, pace) in a folder of its own."""
    def run():
        hal = FakeHAL()
        worker = Queue()
        try:
            body(hal, worker, Pace(hal, worker, "p"))
        finally:
            if hasattr(module, "open"):
                del module.open
    in_folder("pace", run)


def test_it_writes_until_a_write_erased():
    def body(hal, worker, pace):
        for left in range(1, 11):
            flash = Flash(hal, 11, left)
            module.open = flash.open
            pace.begin()
            steps = worker.run()
            assert flash.writes == left
            assert steps == (left + WRITES_PER_STEP - 1) // WRITES_PER_STEP

    paced(body)


def test_a_file_system_that_never_erases_is_given_up_on():
    def body(hal, worker, pace):
        flash = Flash(hal, 1000)
        module.open = flash.open
        for count in range(1, 4):
            pace.begin()
            assert worker.run() == WRITES_MAX // WRITES_PER_STEP
            assert flash.writes == count * WRITES_MAX

    paced(body)


def test_it_comes_once_in_so_many_appends():
    def body(hal, worker, pace):
        flash = Flash(hal, 3)
        module.open = flash.open
        for count in range(1, 4 * APPENDS_PER_PACE + 1):
            pace.appended()
            assert len(worker.jobs) == (count % APPENDS_PER_PACE == 0), count
            worker.run()
        assert flash.writes == 4 * 3

    paced(body)


def test_a_flash_or_a_heap_that_is_full_ends_it():
    def body(hal, worker, pace):
        for error in (OSError(28, "full"), MemoryError("full")):
            def fail(path, mode, error=error):
                raise error

            module.open = fail
            pace.begin()
            assert worker.run() == 1

    paced(body)
