"""JBD (Jiabaida, Xiaoxiang, Overkill Solar) BMS over its UART at 9600 baud 8N1.

Frame: DD, A5 read or 5A write, register, size, data, checksum (big-endian), 77; the checksum is
the two's complement of the sum of register, size and data. A reply has the register and a status
(00 ok, 80 refused) in place of direction and register, and its checksum covers status, size and
data. Ref: JBD communication protocol V4, sections basic information (03), cell voltages (04) and
MOSFET control (E1). The vendor counts charge as positive, we count discharge: the sign flips
here, once.
"""

from ..protocol.errors import DecodeError
from .base import CELLS_MAX, NTC_MAX, BMSDriver, Reading

REG_BASIC = 0x03
REG_CELLS = 0x04
REG_FETS = 0xE1

BASIC_PERIOD_MS = 500
CELLS_PERIOD_MS = 2000
REPLY_MS_MAX = 200
FETS_RETRY_MS = 200
FRAME_SIZE_MAX = 160
# More than this at once is no answer to anything asked here: only its end is looked at.
BACKLOG_SIZE_MAX = 2 * FRAME_SIZE_MAX

_START = 0xDD
_END = 0x77
_BASIC_SIZE = 23

# Error bits 0..11 are protections; bit 12 only says that software holds the FETs, as we do by E1.
ERRORS_PROTECTING = 0x0FFF

# Plausible at all, for any pack this driver is made for; the profile's limits are narrower.
PACK_MV_MIN = 2000
PACK_MV_MAX = 200_000
CELL_MV_MIN = 500
CELL_MV_MAX = 5000
TEMPERATURE_MDEGC_MIN = -45000
TEMPERATURE_MDEGC_MAX = 130_000


def checksum(data, start: int, end: int) -> int:
    """Return the JBD checksum of data[start:end]."""
    total = 0
    for index in range(start, end):
        total += data[index]
    return (0x10000 - total) & 0xFFFF


def read_request(register: int) -> bytes:
    """Return the 7-byte frame that reads a register."""
    body = bytes((_START, 0xA5, register, 0))
    return body + checksum(body, 2, 4).to_bytes(2, "big") + bytes((_END,))


def fets_request(fets: int) -> bytes:
    """Return the 9-byte frame that sets the FETs: fets has bit 0 charge, bit 1 discharge on.

    Register E1 counts the other way round: a set bit switches the FET off.
    """
    body = bytes((_START, 0x5A, REG_FETS, 2, 0, ~fets & 3))
    return body + checksum(body, 2, 6).to_bytes(2, "big") + bytes((_END,))


def current_ma_of(raw: int) -> int:
    """Return mA, positive discharge, from a raw U16 of register 03 (10 mA, negative discharge)."""
    if raw & 0x8000:
        raw -= 0x10000
    return -raw * 10


def decode_basic_info(frame, out: Reading) -> None:
    """Fill out from a checked reply to 03 (`frame[4:]` is the data). Any NTC count is taken.

    Raises DecodeError, leaving out untouched, when the size or a value is impossible.
    """
    size = frame[3]
    if size < _BASIC_SIZE:
        raise DecodeError("basic size", size)
    ntc_count = frame[26]
    cell_count = frame[25]
    # newer firmware appends fields after the NTCs: at least what is announced must be there
    if ntc_count > NTC_MAX or size < _BASIC_SIZE + 2 * ntc_count:
        raise DecodeError("ntc count", ntc_count)
    if not 1 <= cell_count <= CELLS_MAX:
        raise DecodeError("cell count", cell_count)
    pack_mv = (frame[4] << 8 | frame[5]) * 10
    if not PACK_MV_MIN <= pack_mv <= PACK_MV_MAX:
        raise DecodeError("pack_mv", pack_mv)
    soc_pct = frame[23]
    if soc_pct > 100:
        raise DecodeError("soc_pct", soc_pct)
    low = TEMPERATURE_MDEGC_MAX
    high = TEMPERATURE_MDEGC_MIN
    for index in range(27, 27 + 2 * ntc_count, 2):
        mdegc = ((frame[index] << 8 | frame[index + 1]) - 2731) * 100
        if not TEMPERATURE_MDEGC_MIN <= mdegc <= TEMPERATURE_MDEGC_MAX:
            raise DecodeError("temperature_mdegc", mdegc)
        low = min(low, mdegc)
        high = max(high, mdegc)
    if ntc_count == 0:
        raise DecodeError("ntc count", 0)  # without a thermometer nothing may be energised
    out.pack_mv = pack_mv
    out.current_ma = current_ma_of(frame[6] << 8 | frame[7])
    out.remaining_mah = (frame[8] << 8 | frame[9]) * 10
    out.full_mah = (frame[10] << 8 | frame[11]) * 10
    out.cycle_count = frame[12] << 8 | frame[13]
    out.errors = frame[20] << 8 | frame[21]
    out.protecting = out.errors & ERRORS_PROTECTING != 0
    out.soc_bp = soc_pct * 100
    out.fets = frame[24] & 3
    if cell_count != out.cell_count:
        out.cells_valid = False  # the cells known so far are another pack's
    out.cell_count = cell_count
    out.ntc_count = ntc_count
    out.temperature_mdegc_min = low
    out.temperature_mdegc_max = high


def decode_cells(frame, out: Reading) -> None:
    """Fill out's cell group from a checked reply to 04: a U16 in mV a cell.

    Raises DecodeError, leaving out untouched, when the count or a voltage is impossible.
    """
    size = frame[3]
    if size == 0 or size & 1 or size > 2 * CELLS_MAX:
        raise DecodeError("cells size", size)
    if out.valid and size != 2 * out.cell_count:
        raise DecodeError("cell count", size // 2)
    low = CELL_MV_MAX
    high = CELL_MV_MIN
    total = 0
    for index in range(4, 4 + size, 2):
        cell_mv = frame[index] << 8 | frame[index + 1]
        if not CELL_MV_MIN <= cell_mv <= CELL_MV_MAX:
            raise DecodeError("cell_mv", cell_mv)
        total += cell_mv
        if cell_mv < low:
            low = cell_mv
        if cell_mv > high:
            high = cell_mv
    # the cells and the pack are two measurements of one thing: 5 % and 200 mV may part them
    if out.valid and abs(total - out.pack_mv) > out.pack_mv // 20 + 200:
        raise DecodeError("cells sum", total)
    for index in range(size // 2):
        out.cell_mv[index] = frame[4 + 2 * index] << 8 | frame[5 + 2 * index]
    out.cell_mv_min = low
    out.cell_mv_max = high
    out.cell_mv_sum = total


class FrameReader:
    """Cut replies out of a byte stream. Bounded; resynchronises at the next start byte."""

    def __init__(self):
        self._buffer = bytearray()
        self.bad_count = 0

    def clear(self) -> None:
        """Forget what is buffered: a new request starts a new conversation."""
        self._buffer = bytearray()

    def feed(self, data: bytes):
        """Add bytes and return one checked frame, or None when none is complete yet."""
        buffer = self._buffer
        buffer += data
        size = len(buffer)
        position = 0
        if size > BACKLOG_SIZE_MAX:
            self.bad_count += 1
            position = size - BACKLOG_SIZE_MAX
        frame = None
        while position < size:
            start = buffer.find(b"\xdd", position)
            if start != position:
                self.bad_count += 1
                if start < 0:
                    position = size
                    break
                position = start
            if size - position < 7:
                break
            end = position + buffer[position + 3] + 7
            if end - position > FRAME_SIZE_MAX:
                self.bad_count += 1
                position += 1
                continue
            if size < end:
                break
            wanted = buffer[end - 3] << 8 | buffer[end - 2]
            if buffer[end - 1] == _END and checksum(buffer, position + 2, end - 3) == wanted:
                frame = bytes(buffer[position:end])
                position = end
                break
            self.bad_count += 1
            position += 1
        if position:
            self._buffer = buffer[position:]
        return frame


class JBD(BMSDriver):
    """The driver's task: polls, keeps the FETs as wanted, ages what it could not renew."""

    def __init__(self, hal, uart):
        self._hal = hal
        self._uart = uart
        self._frames = FrameReader()
        self._fets_changed = True
        self.reading = Reading()
        self.fets_wanted = 0
        self.fets_proven = False
        self.error_count = 0
        self.last_error = "never answered"
        self.exchange_count = 0

    def want_fets(self, fets: int) -> None:
        """Ask for FETs; a change interrupts the wait for the next poll."""
        if fets != self.fets_wanted:
            self.fets_wanted = fets
            self.fets_proven = False
            self._fets_changed = True
            self._uart.kick()

    def open_now(self) -> None:
        """Put the frame for open FETs on the line: twice, as a reply may be under way."""
        self.want_fets(0)
        frame = fets_request(0)
        self._uart.write(frame + frame)

    async def run(self) -> None:
        """Poll register 03 and 04 in their periods; write E1 when wish and read-back differ."""
        hal = self._hal
        now = hal.ticks_ms()
        basic_at = now
        cells_at = now
        fets_at = now
        while True:
            now = hal.ticks_ms()
            differs = not self.reading.valid or self.reading.fets != self.fets_wanted
            if self._fets_changed or (differs and hal.ticks_diff(now, fets_at) >= 0):
                self._fets_changed = False
                await self._write_fets()
                fets_at = hal.ticks_add(hal.ticks_ms(), FETS_RETRY_MS)
                basic_at = hal.ticks_add(hal.ticks_ms(), 50)  # read back soon: the proof
            elif hal.ticks_diff(now, basic_at) >= 0:
                basic_at = hal.ticks_add(now, BASIC_PERIOD_MS)
                await self._poll(REG_BASIC)
            elif hal.ticks_diff(now, cells_at) >= 0:
                cells_at = hal.ticks_add(now, CELLS_PERIOD_MS)
                await self._poll(REG_CELLS)
            else:
                wait_ms = min(hal.ticks_diff(basic_at, now), hal.ticks_diff(cells_at, now))
                if differs:
                    wait_ms = min(wait_ms, hal.ticks_diff(fets_at, now))
                if await self._uart.wait_rx(max(1, wait_ms)):
                    self._uart.read()  # nobody asked: noise or a late answer
                    # a line that never falls silent must not keep the other tasks from running
                    await hal.sleep_ms(1)

    async def _transact(self, request: bytes, register: int):
        """Send a request and return the checked reply to it, or None after REPLY_MS_MAX."""
        hal = self._hal
        self._uart.read()
        self._frames.clear()
        self._uart.write(request)
        self.exchange_count += 1
        deadline = hal.ticks_add(hal.ticks_ms(), REPLY_MS_MAX)
        while True:
            left_ms = hal.ticks_diff(deadline, hal.ticks_ms())
            if left_ms <= 0:
                self._failed("no answer to register %02x" % register)
                return None
            await self._uart.wait_rx(left_ms)
            data = self._uart.read()
            while True:
                frame = self._frames.feed(data)
                if frame is None:
                    break
                if frame[1] == register:
                    if frame[2] == 0:
                        return frame
                    self._failed("register %02x refused, status %02x" % (register, frame[2]))
                    return None
                data = b""
            await hal.sleep_ms(0)  # whatever the line does, the control tick gets its turn

    async def _poll(self, register: int) -> None:
        """Read one register into the reading; a bad or missing reply leaves the old one to age."""
        sent_ms = self._hal.ticks_ms()
        frame = await self._transact(read_request(register), register)
        if frame is None:
            return
        reading = self.reading
        try:
            if register == REG_BASIC:
                decode_basic_info(frame, reading)
                # the age counts from the request: the values are no newer than the answer
                reading.at_ms = sent_ms
                reading.valid = True
                # a wish that came meanwhile has not been sent
                self.fets_proven = not self._fets_changed
            else:
                decode_cells(frame, reading)
                reading.cells_at_ms = sent_ms
                reading.cells_valid = True
        except DecodeError as error:
            self._failed("implausible %s %s" % (error.code, error.value))

    async def _write_fets(self) -> None:
        """Write the wish to E1; the next read of 03 shows whether the FETs moved."""
        await self._transact(fets_request(self.fets_wanted), REG_FETS)

    def _failed(self, why: str) -> None:
        self.error_count += 1
        self.last_error = why
