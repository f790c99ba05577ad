"""Daly BMS over its UART or RS-485 at 9600 baud 8N1 (the A5 protocol, not the Modbus one).

Frame, 13 bytes both ways: A5, address (40 the host, 01 the BMS), command, 08, eight bytes of
data, the low byte of the sum of all before. Ref: Daly RS485+UART protocol V1.2, as read by
dreadnought/python-daly-bms, maland16/daly-bms-uart and dbus-serialbattery (daly.py); numbers are
big-endian. Current is (raw - 30000) * 0.1 A and positive when it discharges, as ours: captured
frames with raw 7724 stand beside a state of 2, discharging, and a falling capacity. Temperatures
have an offset of 40 degC.

A reply to 95 is several frames of three cells, numbered from 0 in the vendor's text and from 1 by
the devices captured; both are taken, in order. Bytes that a reply leaves over hold remains of
older frames. The vendor's text has the cycles in bytes 5 and 6 of the reply to 94. Commands 91
and 96 add nothing to 95 and 92. A Daly sleeps without load or charge and is then silent.
"""

from ..protocol.errors import DecodeError
from .base import CELLS, CELLS_MAX, INFO, PACK
from .driver import PollingDriver
from .plausible import (
    SOC_BP_MAX,
    check,
    check_cell_mv,
    check_current,
    check_pack_mv,
    check_temperature,
)
from .protocol import BMSProtocol, ascii_of, find_extremes, names_of, total, u16

PACK_PERIOD_MS = 500
CELLS_PERIOD_MS = 1000
BALANCE_PERIOD_MS = 5000
INFO_PERIOD_MS = 60_000
SENSORS_MAX = 16
FRAME_SIZE = 13
CODE_FRAMES = 5

_HOST = 0x40
_BMS = 0x01

SOC = 0x90
TEMPERATURES = 0x92
FETS = 0x93
STATUS = 0x94
CELL_VOLTAGES = 0x95
BALANCE = 0x97
FAILURES = 0x98
RATED = 0x50
CODE = 0x57
DISCHARGE_FET = 0xD9
CHARGE_FET = 0xDA

# The bits of `errors`: byte and mask of the reply to 98 and the name of each. The first stage of
# an alarm is a warning, the second switches off.
_ERRORS = (
    b"\x00\x02\x00\x08\x00\x20\x00\x80\x01\x02\x01\x08\x01\x20\x01\x80\x02\x02\x02\x08\x03\x02"
    b"\x03\x08\x04\x03\x04\x0c\x04\xf0\x05\x01\x05\x02\x05\x04\x06\x01\x06\x02\x06\x04"
    b"\x00\x55\x01\x55\x02\x05\x02\xf0\x03\x05\x05\x18\x05\x20\x05\xc0\x06\x08"
)
_NAMES = (
    "cell overvoltage;cell undervoltage;pack overvoltage;pack undervoltage;"
    "charge overtemperature;charge undertemperature;discharge overtemperature;"
    "discharge undertemperature;charge overcurrent;discharge overcurrent;cells apart;"
    "temperatures apart;FET overtemperature;FET thermometer fault;FET stuck or open;"
    "front-end fault;cell wire lost;cell thermometer fault;current sensor fault;"
    "pack voltage sensor fault;short circuit;"
    "voltage warning;temperature warning;current warning;SoC warning;difference warning;"
    "memory or clock fault;precharge failed;communication fault;too low to charge"
)
# Bits 0..20 protect; what follows warns.
ERRORS_PROTECTING = 0x1FFFFF

_ASLEEP = "a Daly that sleeps is silent until a load, a charger or its button wakes it"
_DEAF_TO_WRITES = "if reads are answered, this firmware does not switch its FETs by command"


def current_ma_of(raw: int) -> int:
    """Return mA, positive discharge, from a raw U16 of 90 (0.1 A, 30000 is none)."""
    return (raw - 30000) * 100


def frame_of(command: int, first: int = 0) -> bytes:
    """Return the host's frame for a command; first is the first byte of its data."""
    body = bytes((0xA5, _HOST, command, 8, first, 0, 0, 0, 0, 0, 0, 0))
    return body + bytes((total(body, 0, 12) & 0xFF,))


def errors_of(frame) -> int:
    """Return our error bits from a reply to 98."""
    errors = 0
    for bit in range(len(_ERRORS) // 2):
        if frame[4 + _ERRORS[2 * bit]] & _ERRORS[2 * bit + 1]:
            errors |= 1 << bit
    return errors


def _degrees(raw: int) -> int:
    mdegc = (raw - 40) * 1000
    check_temperature(mdegc)
    return mdegc


def _take_soc(frame, out) -> None:
    pack_mv = u16(frame, 4) * 100
    check_pack_mv(pack_mv)
    current_ma = current_ma_of(u16(frame, 8))
    check_current(current_ma)
    soc_bp = u16(frame, 10) * 10
    check("soc_bp", soc_bp, 0, SOC_BP_MAX)
    out.pack_mv = pack_mv
    out.current_ma = current_ma
    out.soc_bp = soc_bp


def _take_temperatures(frame, out) -> None:
    high = _degrees(frame[4])
    low = _degrees(frame[6])
    # without a thermometer nothing may be energised, and sensor 0 is none
    check("sensor", frame[5], 1, SENSORS_MAX)
    check("sensor", frame[7], 1, SENSORS_MAX)
    check("temperatures", low, low, high)
    out.temperature_mdegc_max = high
    out.ntc_index_max = frame[5] - 1
    out.temperature_mdegc_min = low
    out.ntc_index_min = frame[7] - 1


def _take_fets(frame, out) -> None:
    check("fets", frame[5] | frame[6], 0, 1)
    if frame[8] >= 0x3F:
        raise DecodeError("remaining_mah", frame[8])  # 1 kAh is far below
    out.fets = frame[5] | frame[6] << 1
    out.remaining_mah = frame[8] << 24 | frame[9] << 16 | u16(frame, 10)


def _take_status(frame, out) -> None:
    check("cell count", frame[4], 1, CELLS_MAX)
    check("ntc count", frame[5], 1, SENSORS_MAX)
    out.cell_count = frame[4]
    out.ntc_count = frame[5]
    out.cycle_count = u16(frame, 9)


def _take_balance(frame, out) -> None:
    out.balancing = (frame[4] | frame[5] << 8 | frame[6] << 16 | frame[7] << 24) \
        & ((1 << out.cell_count) - 1)


def _take_failures(frame, out) -> None:
    out.errors = errors_of(frame)
    out.protecting = out.errors & ERRORS_PROTECTING != 0


def _take_rated(frame, out) -> None:
    if frame[4] >= 0x3F:
        raise DecodeError("full_mah", frame[4])
    out.full_mah = frame[4] << 24 | frame[5] << 16 | u16(frame, 6)


_TAKERS = {SOC: _take_soc, TEMPERATURES: _take_temperatures, FETS: _take_fets,
           STATUS: _take_status, BALANCE: _take_balance, FAILURES: _take_failures,
           RATED: _take_rated}


class DalyProtocol(BMSProtocol):
    """The Daly protocol."""

    name = "daly"
    mark = b"\xa5"
    head_size = FRAME_SIZE
    size_max = FRAME_SIZE
    # over Bluetooth an answer to 95 always has 16 frames
    backlog_max = 16 * FRAME_SIZE
    # between two requests a Daly wants 20 ms, or it leaves one unanswered (dbus-serialbattery)
    reply_ms_max = 300
    gap_ms = 20
    groups = (
        (PACK, (SOC, TEMPERATURES, FETS, FAILURES), PACK_PERIOD_MS),
        (CELLS, (STATUS, CELL_VOLTAGES), CELLS_PERIOD_MS),
        (INFO, (BALANCE,), BALANCE_PERIOD_MS),
        (INFO, (RATED,), INFO_PERIOD_MS),
        (INFO, (CODE,), INFO_PERIOD_MS),
    )

    def __init__(self):
        BMSProtocol.__init__(self)
        # the first frame's number and the count of frames taken, of an answer in several
        self._first = 0
        self._count = 0

    def clear(self) -> None:
        BMSProtocol.clear(self)
        self._count = 0

    def request(self, kind: int) -> bytes:
        return frame_of(kind)

    def fits(self, frame: bytes, kind: int) -> bool:
        return frame[1] == _BMS and frame[2] == kind

    def explain(self, frame, kind: int) -> str:
        if frame is not None:
            return ""  # a Daly refuses nothing, it is silent
        return _DEAF_TO_WRITES if kind in (DISCHARGE_FET, CHARGE_FET) else _ASLEEP

    def take(self, frame: bytes, kind: int, out) -> bool:
        if kind == CELL_VOLTAGES:
            return self._take_cells(frame, out)
        if kind == CODE:
            self._number(frame)
            text = ascii_of(frame, 5, 12)
            out.model = text if self._count == 1 else out.model + text
            return self._count == CODE_FRAMES
        _TAKERS[kind](frame, out)
        return True

    def _number(self, frame) -> None:
        """Count a frame of an answer in several; raise DecodeError when it is out of order."""
        if self._count == 0:
            check("frame number", frame[4], 0, 1)
            self._first = frame[4]
        elif frame[4] != self._first + self._count:
            raise DecodeError("frame number", frame[4])
        self._count += 1

    def _take_cells(self, frame, out) -> bool:
        check("cell count", out.cell_count, 1, CELLS_MAX)
        self._number(frame)
        first = 3 * (self._count - 1)
        count = min(3, out.cell_count - first)
        for index in range(count):
            check_cell_mv(u16(frame, 5 + 2 * index))
        for index in range(count):
            out.cell_mv[first + index] = u16(frame, 5 + 2 * index)
        if first + count < out.cell_count:
            return False
        find_extremes(out, out.cell_count)
        return True

    def fets_requests(self, fets: int) -> tuple:
        return (frame_of(DISCHARGE_FET, fets >> 1 & 1), frame_of(CHARGE_FET, fets & 1))

    def error_names(self, errors: int) -> list:
        return names_of(_NAMES, errors)

    def _size_of(self, buffer, at: int) -> int:
        return FRAME_SIZE if buffer[at + 3] == 8 else 0

    def _is_good(self, buffer, at: int, end: int) -> bool:
        return total(buffer, at, end - 1) & 0xFF == buffer[end - 1]


PROTOCOL = DalyProtocol


class Daly(PollingDriver):
    """The driver of a Daly BMS on a UART."""

    def __init__(self, hal, uart):
        PollingDriver.__init__(self, hal, uart, DalyProtocol())


DRIVER = Daly
