"""JBD (Jiabaida, Xiaoxiang, Overkill Solar) BMS over its UART at 9600 baud 8N1.

Frame: DD, A5 read or 5A write, register, size, data, checksum (big-endian), 77; the checksum is
the two's complement of the sum of register, size and data. A reply has the register and a status
(00 ok) in place of direction and register, and its checksum covers status, size and data.
Ref: JBD general protocol V4, sections 03 (basic information), 04 (cell voltages), 05 (hardware
name) and E1 (MOS control), as kept in syssi/esphome-jbd-bms docs. The vendor counts charge as
positive, we count discharge: the sign flips here, once.

Bits of register 03: V4 names 0..12, esphome-jbd-bms names bit 13. Balance: V4 says one bit a
cell, dbus-serialbattery counts it from cell 1 at bit 0 as we do; esphome-jbd-bms counts from the
other end.

Passwords: firmware since 16 knows register 06 (use password: size, then that many digits, each
as its value); a BMS that wants it refuses writes with status 81 until then (fl4p/batmon-ha issue
4). Firmware 21 has dropped it and refuses register 06 with 80 (smagicld/xiaoxiangBMS issue 195).
The Bluetooth modules that pair (frames FF AA 15 .. 1D, esphome-jbd-bms docs/ffaa-auth-flow) do
so before any frame of this protocol passes; their own UART needs none of it.
"""

from ..protocol.errors import DecodeError, RangeError
from .base import CELLS, CELLS_MAX, INFO, NTC_MAX, PACK
from .driver import PollingDriver
from .plausible import check, check_pack_mv
from .protocol import (
    BMSProtocol,
    ascii_of,
    cells_from,
    check_kelvins,
    kelvins_from,
    names_of,
    s16,
    total,
    u16,
)

REG_BASIC = 0x03
REG_CELLS = 0x04
REG_NAME = 0x05
REG_PASSWORD = 0x06
REG_FETS = 0xE1

BASIC_PERIOD_MS = 500
CELLS_PERIOD_MS = 1000
NAME_PERIOD_MS = 60_000
FRAME_SIZE_MAX = 160
# More than this at once is no answer to anything asked here: only its end is looked at.
BACKLOG_SIZE_MAX = 2 * FRAME_SIZE_MAX
PASSWORD_SIZE = 6

_START = 0xDD
_END = 0x77
_BASIC_SIZE = 23

# Error bits 0..11 are protections; bit 12 only says that software holds the FETs, as we do by
# E1, and bit 13 that a charge took its time.
ERRORS_PROTECTING = 0x0FFF
_ERRORS = ("cell overvoltage;cell undervoltage;pack overvoltage;pack undervoltage;"
           "charge overtemperature;charge undertemperature;discharge overtemperature;"
           "discharge undertemperature;charge overcurrent;discharge overcurrent;short circuit;"
           "front-end fault;FETs held by software;charge time-out")

_WANTS_PASSWORD = ("the BMS wants its password before it switches FETs: give it to the driver, "
                   "or clear it with the vendor's app")
_DEAF_TO_WRITES = ("if reads are answered, the BMS takes no writes: it may want its password or "
                   "a pairing, clear them with the vendor's app")


def checksum(data, start: int, end: int) -> int:
    """Return the JBD checksum of data[start:end]."""
    return (0x10000 - total(data, start, end)) & 0xFFFF


def _framed(body: bytes) -> bytes:
    return body + checksum(body, 2, len(body)).to_bytes(2, "big") + bytes((_END,))


def read_request(register: int) -> bytes:
    """Return the 7-byte frame that reads a register."""
    return _framed(bytes((_START, 0xA5, register, 0)))


def fets_request(fets: int) -> bytes:
    """Return the 9-byte frame that sets the FETs: fets has bit 0 charge, bit 1 discharge on.

    Register E1 counts the other way round: a set bit switches the FET off.
    """
    return _framed(bytes((_START, 0x5A, REG_FETS, 2, 0, ~fets & 3)))


def password_request(password: str) -> bytes:
    """Return the frame that gives the BMS its password of six digits.

    Raises RangeError for anything else.
    """
    if len(password) != PASSWORD_SIZE or not password.isdigit():
        raise RangeError("password", len(password))
    digits = bytes([ord(digit) - 48 for digit in password])
    head = bytes((_START, 0x5A, REG_PASSWORD, PASSWORD_SIZE + 1, PASSWORD_SIZE))
    return _framed(head + digits)


def current_ma_of(raw: int) -> int:
    """Return mA, positive discharge, from a raw U16 of register 03 (10 mA, negative discharge)."""
    if raw & 0x8000:
        raw -= 0x10000
    return -raw * 10


def decode_basic_info(frame, out) -> None:
    """Fill out from a checked reply to 03 (`frame[4:]` is the data). Any NTC count is taken.

    Raises DecodeError, leaving out untouched, when the size or a value is impossible.
    """
    size = frame[3]
    if size < _BASIC_SIZE:
        raise DecodeError("basic size", size)
    ntc_count = frame[26]
    # newer firmware appends fields after the NTCs: at least what is announced must be there;
    # without a thermometer nothing may be energised
    if not 1 <= ntc_count <= NTC_MAX or size < _BASIC_SIZE + 2 * ntc_count:
        raise DecodeError("ntc count", ntc_count)
    check("cell count", frame[25], 1, CELLS_MAX)
    pack_mv = u16(frame, 4) * 10
    check_pack_mv(pack_mv)
    check("soc_pct", frame[23], 0, 100)
    check_kelvins(frame, 27, ntc_count)
    out.pack_mv = pack_mv
    out.current_ma = -s16(frame, 6) * 10
    out.remaining_mah = u16(frame, 8) * 10
    out.full_mah = u16(frame, 10) * 10
    out.cycle_count = u16(frame, 12)
    out.balancing = u16(frame, 16) | u16(frame, 18) << 16
    out.errors = u16(frame, 20)
    out.protecting = out.errors & ERRORS_PROTECTING != 0
    out.soc_bp = frame[23] * 100
    out.fets = frame[24] & 3
    out.cell_count = frame[25]
    kelvins_from(frame, 27, ntc_count, out)


def decode_cells(frame, out) -> None:
    """Fill out's cell group from a checked reply to 04: a U16 in mV a cell.

    Raises DecodeError, leaving out untouched, when a voltage is impossible or the count is, or
    is another one than out's, once that is known.
    """
    size = frame[3]
    if size & 1 or (out.cell_count and size != 2 * out.cell_count):
        raise DecodeError("cells size", size)
    cells_from(frame, 4, 2, size // 2, out)


class JBDProtocol(BMSProtocol):
    """The JBD protocol. password: six digits for register 06, or None."""

    name = "jbd"
    mark = b"\xdd"
    head_size = 7
    size_max = FRAME_SIZE_MAX
    backlog_max = BACKLOG_SIZE_MAX
    groups = (
        (PACK, (REG_BASIC,), BASIC_PERIOD_MS),
        (CELLS, (REG_CELLS,), CELLS_PERIOD_MS),
        (INFO, (REG_NAME,), NAME_PERIOD_MS),
    )

    def __init__(self, password=None):
        BMSProtocol.__init__(self)
        self._unlock = () if password is None else (password_request(password),)

    def request(self, kind: int) -> bytes:
        return read_request(kind)

    def fits(self, frame: bytes, kind: int) -> bool:
        return frame[1] == kind

    def explain(self, frame, kind: int) -> str:
        if frame is None:
            return _DEAF_TO_WRITES if kind == REG_FETS else ""
        status = frame[2]
        if status == 0 or (kind == REG_PASSWORD and status == 0x80):
            return ""  # firmware without passwords: nothing to unlock
        if kind == REG_PASSWORD:
            return "the BMS refused the password, status %02x: give the right one" % status
        if status == 0x81:
            return _WANTS_PASSWORD
        return "register %02x refused, status %02x: %s" % (
            kind, status, "this firmware does not have it, or not in this state"
            if status == 0x80 else "the vendor's protocol does not name it")

    def take(self, frame: bytes, kind: int, out) -> bool:
        if kind == REG_BASIC:
            decode_basic_info(frame, out)
        elif kind == REG_CELLS:
            decode_cells(frame, out)
        else:
            out.model = ascii_of(frame, 4, 4 + frame[3]).strip()
        return True

    def fets_requests(self, fets: int) -> tuple:
        return self._unlock + (fets_request(fets),)

    def error_names(self, errors: int) -> list:
        return names_of(_ERRORS, errors)

    def _size_of(self, buffer, at: int) -> int:
        return buffer[at + 3] + 7

    def _is_good(self, buffer, at: int, end: int) -> bool:
        return (buffer[end - 1] == _END
                and checksum(buffer, at + 2, end - 3) == u16(buffer, end - 3))


# The name under which tests and the fuzzer know the part that cuts frames.
FrameReader = JBDProtocol
PROTOCOL = JBDProtocol


class JBD(PollingDriver):
    """The driver of a JBD BMS on a UART."""

    def __init__(self, hal, uart, password=None):
        PollingDriver.__init__(self, hal, uart, JBDProtocol(password))


DRIVER = JBD
