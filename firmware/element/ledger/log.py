"""An append-only log on flash in two segments; a torn tail is detected and reported.

Segment: one number byte, then entries. Entry: u16 size, u32 CRC-32 of the data, the data. When
the current segment is full the other one is started anew, so that between one and two segments
of the newest entries remain. Nothing here holds more than one entry in memory.
"""

import binascii
import os
import struct

_HEAD = "<HI"
_HEAD_SIZE = 6
ENTRY_SIZE_MAX = 2048


def _size_of(path: str) -> int:
    """Return the size of a file, or 0 when there is none."""
    try:
        return os.stat(path)[6]
    except OSError as error:
        if error.errno == 2:
            return 0
        raise


class FlashLog:
    """Append entries; read them all back in order at boot."""

    def __init__(self, path: str, segment_size_max: int = 65536):
        self._paths = (path + ".0", path + ".1")
        self._size_max = segment_size_max
        self._current = 0
        self._number = 0
        self._unsound = False
        self.torn_count = 0

    def entries(self):
        """Yield every whole entry, oldest first, and find the segment to continue.

        The newer segment is the one whose number byte is higher (mod 256). A tail that is not
        whole is counted in `torn_count`, and the next entry starts the other segment.
        """
        order = self._order()
        self._number = order[-1][0] if order else 0
        self._current = order[-1][1] if order else 0
        for _, index in order:
            whole = yield from self._entries_of(index)
            if not whole:
                self.torn_count += 1
            self._unsound = not whole

    def again(self):
        """Yield every whole entry, oldest first, and change nothing: to read after the boot."""
        for _, index in self._order():
            yield from self._entries_of(index)

    def append(self, entry: bytes) -> None:
        """Write one entry and close the file. Raises ValueError for one over ENTRY_SIZE_MAX.

        Raises OSError when the flash does not take it; what it may have left behind is then
        never continued: the next entry starts the other segment.
        """
        if not 0 < len(entry) <= ENTRY_SIZE_MAX:
            raise ValueError("entry size")
        size = _size_of(self._paths[self._current])
        if self._unsound or size + 1 + _HEAD_SIZE + len(entry) > self._size_max:
            self._switch()
            size = 1
        path = self._paths[self._current]
        self._unsound = True
        try:
            with open(path, "ab") as file:
                if size == 0:
                    file.write(bytes((self._number,)))
                file.write(struct.pack(_HEAD, len(entry), binascii.crc32(entry)) + entry)
        except OSError:
            # nothing was written: the segment is as good as before
            self._unsound = _size_of(path) != size
            raise
        self._unsound = False

    def _order(self) -> list:
        """Return (number, index) of the segments that hold anything, the older one first."""
        found = []
        for index in (0, 1):
            if _size_of(self._paths[index]):
                with open(self._paths[index], "rb") as file:
                    found.append((file.read(1)[0], index))
        if len(found) == 2 and (found[0][0] - found[1][0]) & 0xFF < 128:
            found.reverse()
        return found

    def _entries_of(self, index: int):
        """Yield a segment's entries up to the first that is not whole; True when all are."""
        with open(self._paths[index], "rb") as file:
            file.read(1)
            while True:
                head = file.read(_HEAD_SIZE)
                if not head:
                    return True
                if len(head) != _HEAD_SIZE:
                    return False
                size, crc = struct.unpack(_HEAD, head)
                if not 0 < size <= ENTRY_SIZE_MAX:
                    return False
                entry = file.read(size)
                if len(entry) != size or binascii.crc32(entry) != crc:
                    return False
                yield entry

    def _switch(self) -> None:
        """Start the other segment with the next number; what it held is gone."""
        other = 1 - self._current
        number = (self._number + 1) & 0xFF
        with open(self._paths[other], "wb") as file:
            file.write(bytes((number,)))
        self._current = other
        self._number = number
