"""The contract of a BMS family's wire protocol: bytes to frames, frames to a `Reading`.

No line and no clock in here, so that the board's driver and a command on the host use the same.
A *kind* is the family's own code of a request (a register, a command).
"""

from .base import CELLS_MAX
from .plausible import (
    TEMPERATURE_MDEGC_MAX,
    TEMPERATURE_MDEGC_MIN,
    check,
    check_cell_mv,
    check_temperature,
)


def u16(frame, at: int) -> int:
    """Return the big-endian U16 at frame[at]."""
    return frame[at] << 8 | frame[at + 1]


def s16(frame, at: int) -> int:
    """Return the big-endian two's complement S16 at frame[at]."""
    return (u16(frame, at) ^ 0x8000) - 0x8000


def total(data, start: int, end: int) -> int:
    """Return the sum of the bytes data[start:end]."""
    out = 0
    for index in range(start, end):
        out += data[index]
    return out


def names_of(text: str, bits: int) -> list:
    """Return the names of the set bits; text has them in order, with `;` between."""
    out = []
    for bit, name in enumerate(text.split(";")):
        if name and bits >> bit & 1:
            out.append(name)
    return out


def ascii_of(frame, start: int, end: int) -> str:
    """Return frame[start:end] as text up to the first zero, without what does not print."""
    out = ""
    for index in range(start, end):
        byte = frame[index]
        if byte == 0:
            break
        if 32 <= byte < 127:
            out += chr(byte)
    return out


def cells_from(frame, start: int, step: int, count: int, out) -> None:
    """Fill out's cells from big-endian U16 in mV at frame[start::step]. Allocates nothing.

    Raises DecodeError before anything is changed when a voltage or the count is impossible.
    """
    check("cell count", count, 1, CELLS_MAX)
    for index in range(count):
        check_cell_mv(u16(frame, start + index * step))
    for index in range(count):
        out.cell_mv[index] = u16(frame, start + index * step)
    find_extremes(out, count)


def find_extremes(out, count: int) -> None:
    """Fill out's lowest, highest and sum from the first count of its cells."""
    cells = out.cell_mv
    low = high = cells[0]
    low_index = high_index = sum_mv = 0
    for index in range(count):
        cell_mv = cells[index]
        sum_mv += cell_mv
        if cell_mv < low:
            low = cell_mv
            low_index = index
        if cell_mv > high:
            high = cell_mv
            high_index = index
    out.cell_mv_min = low
    out.cell_mv_max = high
    out.cell_mv_sum = sum_mv
    out.cell_index_min = low_index
    out.cell_index_max = high_index


def check_kelvins(frame, start: int, count: int) -> None:
    """Raise DecodeError unless count U16 of 0.1 K at frame[start] are temperatures."""
    for index in range(count):
        check_temperature((u16(frame, start + 2 * index) - 2731) * 100)


def kelvins_from(frame, start: int, count: int, out) -> None:
    """Fill out's temperature extremes from count checked U16 of 0.1 K at frame[start]."""
    low = TEMPERATURE_MDEGC_MAX + 1
    high = TEMPERATURE_MDEGC_MIN - 1
    for index in range(count):
        mdegc = (u16(frame, start + 2 * index) - 2731) * 100
        if mdegc < low:
            low = mdegc
            out.ntc_index_min = index
        if mdegc > high:
            high = mdegc
            out.ntc_index_max = index
    out.temperature_mdegc_min = low
    out.temperature_mdegc_max = high
    out.ntc_count = count


class BMSProtocol:
    """One family's protocol. Bounded; resynchronises at the next start byte.

    groups: a tuple of (fields, kinds, period_ms); fields is PACK, CELLS, INFO or more than one of
    these bits, kinds the requests that together fill them, in order. The first has PACK.
    """

    name = ""
    baud = 9600
    can_switch = True
    groups: tuple = ()
    # Where a request has its kind.
    kind_at = 2
    # Kinds of which nobody knows whether they are answered: they are sent and not waited for.
    unanswered = b""
    # How long an answer may take; the rest between an answer and the next request.
    reply_ms_max = 200
    gap_ms = 0

    # The first byte of a frame; how much of it tells its size; its largest size; and how much
    # may come at once: more is no answer to anything asked, and only its end is looked at.
    mark = b"\x00"
    head_size = 1
    size_max = 1
    backlog_max = 1

    def __init__(self):
        self._buffer = bytearray()
        self.bad_count = 0

    def request(self, kind: int) -> bytes:
        """Return the bytes that ask for kind."""
        raise NotImplementedError

    def fits(self, frame: bytes, kind: int) -> bool:
        """Return True when frame is the BMS's answer to kind, be it a refusal."""
        raise NotImplementedError

    def explain(self, frame, kind: int) -> str:
        """Return what a refusal means and what to do, or "" when frame refuses nothing.

        With None, return what is worth to look at when kind found no answer, or "".
        """
        raise NotImplementedError

    def take(self, frame: bytes, kind: int, out) -> bool:
        """Decode the answer to kind into out; True when it is complete, False if more belongs.

        Raises DecodeError, leaving out untouched, when a value is impossible.
        """
        raise NotImplementedError

    def fets_requests(self, fets: int) -> tuple:
        """Return the requests that together set the FETs."""
        return ()

    def error_names(self, errors: int) -> list:
        """Return the names of the bits in errors."""
        raise NotImplementedError

    def _size_of(self, buffer, at: int) -> int:
        """Return the size of the frame whose head is at buffer[at]; 0 when there can be none."""
        raise NotImplementedError

    def _is_good(self, buffer, at: int, end: int) -> bool:
        """Return True when the frame buffer[at:end] is undamaged."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget what is buffered: a new request starts a new conversation."""
        self._buffer = bytearray()

    def feed(self, data: bytes):
        """Add bytes and return one checked frame, or None when none is complete yet."""
        buffer = self._buffer
        buffer += data
        size = len(buffer)
        position = 0
        if size > self.backlog_max:
            self.bad_count += 1
            position = size - self.backlog_max
        frame = None
        while position < size:
            found = buffer.find(self.mark, position)
            if found != position:
                self.bad_count += 1
                if found < 0:
                    position = size
                    break
                position = found
            if size - position < self.head_size:
                break
            frame_size = self._size_of(buffer, position)
            if not self.head_size <= frame_size <= self.size_max:
                self.bad_count += 1
                position += 1
                continue
            end = position + frame_size
            if size < end:
                break
            if self._is_good(buffer, position, end):
                frame = bytes(buffer[position:end])
                position = end
                break
            self.bad_count += 1
            position += 1
        if position:
            self._buffer = buffer[position:]
        return frame
