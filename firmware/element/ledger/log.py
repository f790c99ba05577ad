"""A ring of segment files on flash: append-only, store and forward, safe from power cuts.

Entry: mark (2 bytes, the second is the format's version), u16 size of the data, u32 counter, u32
counter acknowledged when it was written, u32 CRC-32 of all the rest, data. An entry carries all
that is needed to find it: a segment has no header that could be torn or lost. Whatever is not a
whole entry is passed over up to the next mark, so one damaged entry costs one entry, and
appending behind a torn tail is safe. A segment is started anew when every entry in it has been
acknowledged, and not before: when the next one is not free the log is full and refuses.

Kept: everything not acknowledged. With statements of the largest size there is room for at least
576 records (48 hours at five minutes) and 96 events more from when the host goes away.

Wear, measured on a real littlefs (tests/hil/test_ledger_littlefs.py): the log writes every byte
once, but littlefs copies the last block of a file for every append, so an entry costs 1.0 erases
of a 4 KB block, and 1.2 with those that pace.py moves: 340 a day at five minutes, 1,700 at one.
littlefs spreads them over the blocks that are free: about one, or five, for each of a Pico's 352 a
day. They last 100,000.
"""

import binascii
import os
import struct

from ..protocol.errors import RangeError

# A segment is one block of a Pico's flash: an append that reaches into a second block would erase
# two, 110 ms in place of 55, and delay the control loop.
SEGMENT_COUNT = 48
SEGMENT_SIZE_MAX = 4096
# Room that records leave to events, where the log is large enough.
EVENT_RESERVE = 96
# The largest statement of the chain has 217 bytes.
DATA_SIZE_MAX = 240
HEAD_SIZE = 16
ENTRY_SIZE_MAX = HEAD_SIZE + DATA_SIZE_MAX
# Each takes about 2 ms on an RP2040.
ENTRIES_PER_SLICE = 4

_MARK = b"\xc5\x01"
_HEAD = "<2sHII"
_CHUNK_SIZE = 256


def _crc(head: bytes, data: bytes) -> int:
    return binascii.crc32(data, binascii.crc32(head))


def _size_of(path: str) -> int:
    """Return the size of a file in bytes, or 0 when there is none to be read."""
    try:
        return os.stat(path)[6]
    except OSError:
        return 0


def _entry_at(file, offset: int):
    """Return (counter, data, acknowledged, end) of the whole entry at offset, else None."""
    file.seek(offset)
    head = file.read(HEAD_SIZE)
    if len(head) != HEAD_SIZE:
        return None
    mark, size, counter, acknowledged = struct.unpack(_HEAD, head[:12])
    if mark != _MARK or not 0 < size <= DATA_SIZE_MAX or acknowledged >= counter:
        return None
    data = file.read(size)
    if len(data) != size or _crc(head[:12], data) != struct.unpack("<I", head[12:])[0]:
        return None
    return counter, data, acknowledged, offset + HEAD_SIZE + size


def _next_entry(file, offset: int):
    """Return what _entry_at gives for the first whole entry at or after offset, else None."""
    while True:
        found = _entry_at(file, offset)
        if found is not None:
            return found
        offset += 1
        while True:
            file.seek(offset)
            chunk = file.read(_CHUNK_SIZE)
            at = chunk.find(_MARK)
            if at >= 0:
                offset += at
                break
            if len(chunk) < _CHUNK_SIZE:
                return None
            offset += _CHUNK_SIZE - 1  # a mark may lie across two chunks


class FlashLog:
    """Append (counter, data) pairs with rising counters; read them back in order.

    path: the begin of the files' names, in a folder of their own or none.
    `acknowledged`: the highest counter that need not be kept; the owner raises it, `load` finds
    what was written of it. `torn_count`: unfinished or damaged tails found by `load`.
    """

    def __init__(self, path: str, segment_count: int = SEGMENT_COUNT,
                 segment_size_max: int = SEGMENT_SIZE_MAX):
        self._paths = ["%s.%d" % (path, index) for index in range(segment_count)]
        self._size_max = segment_size_max
        # of each segment: counter of its newest entry (0: none), size of the file in bytes
        self._last = [0] * segment_count
        self._size = [0] * segment_count
        self._current = 0
        self._read_index = 0
        self._read_at = 0
        self._waste = False
        self.acknowledged = 0
        self.torn_count = 0

    def load(self):
        """Find the whole entries, all at once. Returns what `load_steps` returns."""
        steps = self.load_steps()
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return stop.value

    def load_steps(self):
        """Yield between slices and return (counter, data) of the newest whole entry, or None.

        Changes nothing on flash. A tail that is not whole, and a file with nothing whole in it,
        are counted in `torn_count` at every load until the next entry has been appended.
        """
        if "/" in self._paths[0]:
            try:
                os.mkdir(self._paths[0].split("/")[0])
            except OSError:
                pass  # it is there, or the first append says why not
        newest = None
        oldest = 0
        torn = 0
        for index in range(len(self._paths)):
            yield
            first, found, torn_here = yield from self._scan_steps(index)
            if found is None:
                self.torn_count += torn_here
                continue
            oldest = min(oldest or first, first)
            if newest is None or found[0] > newest[0]:
                newest = found
                torn = torn_here
                self._current = index
        self.torn_count += torn
        # what made room for something else had been acknowledged
        self.acknowledged = max(self.acknowledged, oldest - 1)
        self._read_index = self._after(self._current)
        return newest

    def _scan_steps(self, index: int):
        """Yield between slices; return a segment's oldest counter, its newest (counter, data) or
        None, and torn tails.

        The last is 1 when something follows the newest: it was torn, or cannot be read. What
        cannot be read is left as it is.
        """
        size = _size_of(self._paths[index])
        newest = None
        end = oldest = count = 0
        try:
            with open(self._paths[index], "rb") as file:
                found = _next_entry(file, end)
                while found is not None:
                    newest = found[:2]
                    oldest = oldest or found[0]
                    end = found[3]
                    self._last[index] = found[0]
                    self.acknowledged = max(self.acknowledged, found[2])
                    found = _next_entry(file, end)
                    count += 1
                    if count % ENTRIES_PER_SLICE == 0:
                        yield
        except OSError:
            return oldest, newest, int(size > 0)
        self._size[index] = size
        self._waste = self._waste or newest is None
        return oldest, newest, int(end < size)

    @property
    def reserve(self) -> int:
        """How many entries of the largest size records leave room for: at least a segment's."""
        total = len(self._paths) * self.segment_room
        return max(self.segment_room, min(EVENT_RESERVE, total // 8))

    @property
    def segment_room(self) -> int:
        """How many entries of the largest size a segment takes."""
        return self._size_max // ENTRY_SIZE_MAX

    @property
    def room(self) -> int:
        """How many more entries of the largest size fit before the log is full."""
        count = max(0, self._size_max - self._size[self._current]) // ENTRY_SIZE_MAX
        index = self._after(self._current)
        while index != self._current and self._last[index] <= self.acknowledged:
            count += self.segment_room
            index = self._after(index)
        return count

    def append(self, entry: tuple) -> bool:
        """Write (counter, data). True: it is on flash, whatever comes; False: the log is full.

        data: 1..DATA_SIZE_MAX bytes. counter: 1..2**32 - 1, above every one before; RangeError
        for others. OSError when the flash does not take it: what that may have left behind is
        passed over when reading.
        """
        counter, data = entry
        if not 0 < len(data) <= DATA_SIZE_MAX or not self.acknowledged < counter <= 0xFFFFFFFF:
            raise RangeError("entry", counter)
        whole_size = HEAD_SIZE + len(data)
        index = self._current
        mode = "ab"
        if self._size[index] + whole_size > self._size_max:
            index = self._after(index)
            mode = "wb"
            if self._last[index] > self.acknowledged:
                return False
            self._last[index] = self._size[index] = 0
            if self._read_index == index:
                self._read_index = self._after(index)
                self._read_at = 0
        head = struct.pack(_HEAD, _MARK, len(data), counter, self.acknowledged)
        try:
            with open(self._paths[index], mode) as file:
                file.write(head + struct.pack("<I", _crc(head, data)) + data)
                file.flush()  # on Linux too it is the medium that has it now
        except (OSError, MemoryError):
            self._size[index] = _size_of(self._paths[index])
            raise
        self._size[index] += whole_size
        self._last[index] = counter
        self._current = index
        if self._waste:
            self._clear()
        return True

    def _clear(self) -> None:
        """Remove files in which nothing is whole: now that an entry has followed them."""
        self._waste = False
        for index in range(len(self._paths)):
            if self._size[index] and not self._last[index]:
                try:
                    os.remove(self._paths[index])
                except OSError:
                    pass  # it is found again by the next load
                self._size[index] = 0

    def _after(self, index: int) -> int:
        return (index + 1) % len(self._paths)

    def skip(self) -> None:
        """Let `read_next` go on behind the newest entry: its owner has all there is."""
        self._read_index = self._current
        self._read_at = self._size[self._current]

    def read_next(self, after: int):
        """Return the oldest (counter, data) with a counter above after, or None.

        after: at least the one of the last call, and at least `acknowledged`. Raises OSError
        when the flash cannot be read.
        """
        while True:
            index = self._read_index
            while self._last[index] > after:
                with open(self._paths[index], "rb") as file:
                    found = _next_entry(file, self._read_at)
                if found is None:
                    break  # what was there has been damaged since
                self._read_at = found[3]
                if found[0] > after:
                    return found[:2]
            if index == self._current:
                return None
            self._read_index = self._after(index)
            self._read_at = 0
