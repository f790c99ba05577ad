"""Pylontech low-voltage battery (US2000, US3000 and kin) over RS-485 at 115200 baud 8N1.

Frame, all in ASCII hex: `~`, version, address, 46, command or return code, LENGTH, INFO, CHKSUM,
CR. LENGTH has the count of INFO's characters in 12 bits and over them the two's complement of the
sum of its three nibbles; CHKSUM is the two's complement of the sum of all characters between `~`
and itself. The first battery has address 2; a group adds 10 a step (DIP switches; with the first
one on the line runs at 9600). Ref: PYLON low voltage protocol RS485 V3.3, sections 2 and 3.3
(42), 3.5 (44), 3.6 (92), 3.2 (51), as kept in Frankkkkk/python-pylontech. Numbers are big-endian.

The vendor counts charge as positive, we count discharge: the sign flips here, once. The battery
switches its FETs by itself: a charge or discharge FET counts as conducting here when its MOSFET is
on (44) and the battery permits that direction (92). The thermometer of the BMS board is left out
when there are others. Any alarm byte acts as a protection. A return code names no command, so an
answer is known by its size. A US3000C sends one byte behind Status 5 (zivillian/esp32-pylontech).
"""

from binascii import unhexlify

from ..protocol.errors import RangeError
from .base import CELLS, CELLS_MAX, INFO, NTC_MAX, PACK
from .driver import PollingDriver
from .plausible import check, check_current, check_pack_mv
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

PERIOD_MS = 500
INFO_PERIOD_MS = 60_000
FRAME_SIZE_MAX = 320
ADDRESS_MIN = 0x02
ADDRESS_MAX = 0x7D

ANALOG = 0x42
ALARMS = 0x44
MAKER = 0x51
LIMITS = 0x92

# `~`, 12 characters of head; CHKSUM and CR.
_HEAD = 13
_TAIL = 5
_MAKER_SIZE = 32

# Bits 0..7 of `errors` are Status 1 of 44, the rest what its other bytes say.
_ERRORS = ("pack overvoltage;cell undervoltage;charge overcurrent;;discharge overcurrent;"
           "discharge overtemperature;charge overtemperature;pack undervoltage;"
           "cell voltage alarm;temperature alarm;charge current alarm;pack voltage alarm;"
           "discharge current alarm;cell voltage fault")
_CELL_ALARM = 1 << 8
_TEMPERATURE_ALARM = 1 << 9
_CURRENT_ALARM = 1 << 10
_CELL_FAULT = 1 << 13

# Normal, below the limit, above it, another fault.
_ALARM_VALUES = b"\x00\x01\x02\xf0"

_COMMANDS = b"\x42\x44\x47\x4f\x51\x92\x93\x94\x95\x96"
_RETURNS = ("version not known;checksum of the request wrong;length checksum of the request "
            "wrong;command not known;request malformed;data of the request invalid")
_DEAF = ("the address is set by the DIP switches, and with the first one on the line runs at "
         "9600; only the master battery's port answers")


def current_ma_of(raw: int) -> int:
    """Return mA, positive discharge, from a raw U16 of 42 (0.1 A, positive charge)."""
    return -((raw ^ 0x8000) - 0x8000) * 100


def frame_of(address: int, code: int, info: bytes) -> bytes:
    """Return a frame with info, which is ASCII hex already."""
    size = len(info)
    check_nibble = -(size + (size >> 4) + (size >> 8)) & 15 if size else 0
    body = b"20%02X46%02X%X%03X" % (address, code, check_nibble, size) + info
    return b"~" + body + b"%04X" % (-total(body, 0, len(body)) & 0xFFFF) + b"\r"


def info_of(frame: bytes) -> bytes:
    """Return the INFO of a checked frame, in bytes."""
    return unhexlify(frame[_HEAD:-_TAIL])


def _hex(buffer, start: int, end: int) -> int:
    """Return the number in ASCII hex at buffer[start:end], or -1 when it is none."""
    number = 0
    for index in range(start, end):
        digit = buffer[index]
        if 48 <= digit <= 57:
            digit -= 48
        elif 65 <= digit <= 70:
            digit -= 55
        else:
            return -1
        number = number << 4 | digit
    return number


def _take_analog(info: bytes, out) -> None:
    """Fill out from INFO of 42: flag, battery, cells, thermometers, current, voltage, charge."""
    cell_count = info[2]
    at = 3 + 2 * cell_count
    ntc_count = info[at]
    first = at + 1
    at = first + 2 * ntc_count
    if ntc_count > 1:
        first += 2  # the board's own
        ntc_count -= 1
    check("ntc count", ntc_count, 1, NTC_MAX)
    check_kelvins(info, first, ntc_count)
    current_ma = current_ma_of(u16(info, at))
    check_current(current_ma)
    pack_mv = u16(info, at + 2)
    check_pack_mv(pack_mv)
    remaining_mah = u16(info, at + 4)
    full_mah = u16(info, at + 7)
    if info[at + 6] > 2:  # above 65 Ah the true values follow
        remaining_mah = info[at + 11] << 16 | u16(info, at + 12)
        full_mah = info[at + 14] << 16 | u16(info, at + 15)
    # a little over full is what the battery's own counting makes of it
    check("full_mah", full_mah, 1, 0xFFFFFF)
    check("remaining_mah", remaining_mah, 0, full_mah + full_mah // 20)
    cells_from(info, 3, 2, cell_count, out)
    out.cell_count = cell_count
    kelvins_from(info, first, ntc_count, out)
    out.current_ma = current_ma
    out.pack_mv = pack_mv
    out.remaining_mah = remaining_mah
    out.full_mah = full_mah
    out.soc_bp = min(remaining_mah * 10_000 // full_mah, 10_000)
    out.cycle_count = u16(info, at + 9)


def _take_alarms(info: bytes, out) -> None:
    """Fill out from INFO of 44: a byte a cell, thermometer and current, then five of status."""
    cells_end = 3 + info[2]
    at = cells_end + 1 + info[cells_end]
    errors = info[at + 3]
    if total(info, 3, cells_end):
        errors |= _CELL_ALARM
    if total(info, cells_end + 1, at):
        errors |= _TEMPERATURE_ALARM
    for index in range(3):
        if info[at + index]:
            errors |= _CURRENT_ALARM << index
    if info[at + 6] | info[at + 7]:
        errors |= _CELL_FAULT
    out.errors = errors
    out.protecting = errors != 0
    # bit 1 is the charge, bit 2 the discharge MOSFET
    out.fets = info[at + 4] >> 1 & 3


def _take_limits(info: bytes, out) -> None:
    """Fill out from INFO of 92: battery, two voltages, charge and discharge current, status."""
    charge_ma = s16(info, 5) * 100
    discharge_ma = -s16(info, 7) * 100
    check("charge limit", charge_ma, 0, 1_000_000)
    check("discharge limit", discharge_ma, 0, 1_000_000)
    permitted = info[9] >> 7 | (info[9] >> 6 & 1) << 1
    out.fets &= permitted
    out.current_ma_charge_bms = charge_ma if permitted & 1 else 0
    out.current_ma_discharge_bms = discharge_ma if permitted & 2 else 0


class PylontechProtocol(BMSProtocol):
    """The Pylontech protocol. address: of the battery, 2 for the first of the first group."""

    name = "pylontech"
    baud = 115200
    can_switch = False
    mark = b"~"
    head_size = _HEAD
    size_max = FRAME_SIZE_MAX
    backlog_max = 2 * FRAME_SIZE_MAX
    # at 9600 baud the longest answer takes 170 ms
    reply_ms_max = 400
    # 44 must come before 92: the FETs are both's
    groups = (
        (PACK | CELLS, (ANALOG, ALARMS, LIMITS), PERIOD_MS),
        (INFO, (MAKER,), INFO_PERIOD_MS),
    )

    def __init__(self, address: int = ADDRESS_MIN):
        BMSProtocol.__init__(self)
        if not ADDRESS_MIN <= address <= ADDRESS_MAX:
            raise RangeError("address", address)
        self._address = address

    def request(self, kind: int) -> bytes:
        return frame_of(self._address, kind, b"" if kind == MAKER else b"%02X" % self._address)

    def fits(self, frame: bytes, kind: int) -> bool:
        if _hex(frame, 3, 5) != self._address:
            return False
        code = _hex(frame, 7, 9)
        if code != 0:
            return code not in _COMMANDS  # a refusal, or what another master asks
        info = info_of(frame)
        size = len(info)
        if kind == MAKER:
            return size == _MAKER_SIZE and info[0] >= 32  # text, and no flag of 44
        if kind == LIMITS:
            return size == 10 and info[0] == self._address
        if size < 12 or info[1] != self._address or not 1 <= info[2] <= CELLS_MAX:
            return False
        if kind == ALARMS:
            at = 3 + info[2]
            if at >= size or not 0 <= size - (at + 1 + info[at] + 8) <= 1:
                return False
            for index in range(3, at):
                if info[index] not in _ALARM_VALUES:
                    return False  # these are voltages: a late answer to 42
            return True
        at = 3 + 2 * info[2]
        if at >= size:
            return False
        at += 1 + 2 * info[at]
        # what is announced must be there: the flag of a large battery has six bytes behind it
        return size > at + 6 and size == at + (17 if info[at + 6] > 2 else 11)

    def explain(self, frame, kind: int) -> str:
        if frame is None:
            return _DEAF
        code = _hex(frame, 7, 9)
        if code == 0:
            return ""
        if code == 0x90:
            why = "no battery at this address: see the DIP switches"
        elif code == 0x91:
            why = "the master battery does not reach this one: see the link cables"
        elif code <= 6:
            why = _RETURNS.split(";")[code - 1]
        else:
            why = "the vendor's protocol does not name it"
        return "command %02x refused, code %02x: %s" % (kind, code, why)

    def take(self, frame: bytes, kind: int, out) -> bool:
        info = info_of(frame)
        if kind == ANALOG:
            _take_analog(info, out)
        elif kind == ALARMS:
            _take_alarms(info, out)
        elif kind == LIMITS:
            _take_limits(info, out)
        else:
            out.model = ascii_of(info, 0, 10).strip()
        return True

    def error_names(self, errors: int) -> list:
        return names_of(_ERRORS, errors)

    def _size_of(self, buffer, at: int) -> int:
        length = _hex(buffer, at + 9, at + 13)
        size = length & 0xFFF
        # the four nibbles add up to a multiple of 16, and a byte has two characters
        sum_nibbles = length + (length >> 4) + (length >> 8) + (length >> 12)
        if length < 0 or size & 1 or sum_nibbles & 15:
            return 0
        return _HEAD + size + _TAIL

    def _is_good(self, buffer, at: int, end: int) -> bool:
        if buffer[end - 1] != 13 or _hex(buffer, end - 5, end - 1) < 0:
            return False
        for index in range(at + 1, end - 5):
            if _hex(buffer, index, index + 1) < 0:
                return False
        return (total(buffer, at + 1, end - 5) + _hex(buffer, end - 5, end - 1)) & 0xFFFF == 0


PROTOCOL = PylontechProtocol


class Pylontech(PollingDriver):
    """The driver of a Pylontech battery on an RS-485 line."""

    def __init__(self, hal, uart, address: int = ADDRESS_MIN):
        PollingDriver.__init__(self, hal, uart, PylontechProtocol(address))


DRIVER = Pylontech
