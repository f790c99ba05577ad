"""Keep the erases of a littlefs apart, where an erase stops the processor for 45 ms.

An append erases one block for its data. Its folder's log takes a page of 256 bytes for every
change and is written anew into another block when 16 pages are full: a second erase in the same
call would make 110 ms of 55, and a control tick late. So that log is filled up before, at a moment
of its own: small writes of 2 ms each, until one of them has taken as long as an erase. The next
APPENDS_PER_PACE appends then find room.

Measured on the RP2040 image (docs/memory.md). Ref: littlefs, SPEC.md, "Metadata pairs".
"""

# With 50 files in the folder its compacted log takes 5 of 16 pages.
APPENDS_PER_PACE = 6
WRITES_MAX = 16
# At once, after one tick: less than 20 ms, and the erase that may end them.
WRITES_PER_STEP = 8
ERASE_MS_MIN = 30


class Pace:
    """A job of the worker: write until the log has just been compacted."""

    writes = True

    def __init__(self, hal, worker, path: str):
        """path: a file in the folder of the ledger, of no other use."""
        self._hal = hal
        self._worker = worker
        self._path = path
        self._append_count = 0
        self._write_count = 0

    def begin(self) -> None:
        """Have it done now: nobody knows how full the log is."""
        self._append_count = self._write_count = 0
        self._worker.submit(self, _nothing)

    def appended(self) -> None:
        """Count an append; every so many the log is filled up again."""
        self._append_count += 1
        if self._append_count == APPENDS_PER_PACE:
            self.begin()

    def step(self) -> bool:
        """Write a few times; True when one of them compacted, or they were enough."""
        hal = self._hal
        for _ in range(WRITES_PER_STEP):
            began = hal.ticks_ms()
            try:
                with open(self._path, "wb") as file:
                    file.write(b"p")
            except (OSError, MemoryError):
                return True  # what matters is written elsewhere, and says so
            self._write_count += 1
            if hal.ticks_diff(hal.ticks_ms(), began) >= ERASE_MS_MIN:
                return True
        return self._write_count >= WRITES_MAX


def _nothing(_job) -> None:
    """Wait for nothing."""
