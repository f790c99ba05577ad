"""Parse requests to and build replies of a JK BMS (GPS port, TTL or RS-485, 115200 8N1).

A frame: 4E 57, length (2, of everything behind the start), terminal number (4), command,
source (0 BMS, 1 Bluetooth, 2 GPS, 3 PC), type (0 request, 1 reply, 2 report), registers,
record number (4), 68, checksum (4: two zeros, then the low 16 bits of the sum of all bytes up
to and with 68). Big-endian. Ref: Communication protocol between monitoring platform and BMS,
V2.5 (2020), in syssi/esphome-jk-bms docs; captures in tests/vectors/bms/jk.txt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from . import request_parser
from .measurement import Values
from .protection import (
    ERROR_CELL_OVERVOLT,
    ERROR_CELL_UNDERVOLT,
    ERROR_CHARGE_OVERCURRENT,
    ERROR_CHARGE_OVERTEMP,
    ERROR_CHARGE_UNDERTEMP,
    ERROR_DISCHARGE_OVERCURRENT,
    ERROR_DISCHARGE_OVERTEMP,
    ERROR_DISCHARGE_UNDERTEMP,
    ERROR_SHORT_CIRCUIT,
    ProtectionLimits,
)

START = b"\x4e\x57"
END = 0x68
OVERHEAD_BYTES = 20  # A frame without any register.
REQUEST_SIZE_MAX = 64
SOURCE_BMS = 0
TYPE_REQUEST = 0
TYPE_REPLY = 1

COMMAND_ACTIVATE = 0x01
COMMAND_WRITE = 0x02
COMMAND_READ = 0x03
COMMAND_PASSWORD = 0x05
COMMAND_READ_ALL = 0x06

REGISTER_ALL = 0x00
REGISTER_CELLS = 0x79
REGISTER_CURRENT = 0x84
REGISTER_BALANCE_SWITCH = 0x9D
REGISTER_CHARGE_SWITCH = 0xAB
REGISTER_DISCHARGE_SWITCH = 0xAC
REGISTER_LOW_SOC = 0xB1
REGISTER_PROTOCOL = 0xC0
CURRENT_ZERO_V0 = 10_000
CHARGE_FLAG_V1 = 0x8000

_WARNINGS = (
    (ERROR_CELL_OVERVOLT, 1 << 10),
    (ERROR_CELL_UNDERVOLT, 1 << 11),
    (ERROR_CHARGE_OVERTEMP | ERROR_DISCHARGE_OVERTEMP, 1 << 4),
    (ERROR_CHARGE_UNDERTEMP | ERROR_DISCHARGE_UNDERTEMP, 1 << 9),
    (ERROR_CHARGE_OVERCURRENT, 1 << 5),
    (ERROR_DISCHARGE_OVERCURRENT | ERROR_SHORT_CIRCUIT, 1 << 6),
)
WARNING_LOW_CAPACITY = 1 << 0


@dataclass(frozen=True)
class Request:
    """Hold one request with a good checksum, and its raw bytes."""

    terminal: bytes
    command: int
    register: int
    data: bytes
    raw: bytes


def build_frame(terminal: bytes, command: int, info: bytes, record: bytes = bytes(4)) -> bytes:
    """Return a reply frame. terminal and record have four bytes; info is the registers."""
    size = OVERHEAD_BYTES + len(info) - len(START)
    body = START + size.to_bytes(2, "big") + terminal + bytes((command, SOURCE_BMS, TYPE_REPLY))
    body += info + record + bytes((END,))
    return body + checksum(body)


def checksum(body: bytes | bytearray) -> bytes:
    """Return the four checksum bytes over everything up to and with the end mark."""
    return bytes(2) + (sum(body) & 0xFFFF).to_bytes(2, "big")


def with_wrong_length(rng: Random, reply: bytes) -> bytes:
    """Return a reply whose length lies by 1..4, with a checksum that fits."""
    size = int.from_bytes(reply[2:4], "big") + rng.choice((-4, -3, -2, -1, 1, 2, 3, 4))
    return _refit(reply[:2] + size.to_bytes(2, "big") + reply[4:-4])


def with_other_address(rng: Random, reply: bytes) -> bytes:
    """Return the reply under another terminal number, 24 bits of it."""
    number = int.from_bytes(reply[5:8], "big") + rng.randint(1, 0xFFFFFF)
    return _refit(reply[:5] + (number & 0xFFFFFF).to_bytes(3, "big") + reply[8:-4])


def _refit(body: bytes) -> bytes:
    return body + checksum(body)


def _u16(value: float) -> bytes:
    return max(0, min(0xFFFF, round(value))).to_bytes(2, "big")


def _s16(value: float) -> bytes:
    return max(-0x8000, min(0x7FFF, round(value))).to_bytes(2, "big", signed=True)


def _u32(value: float) -> bytes:
    return max(0, min(0xFFFFFFFF, round(value))).to_bytes(4, "big")


def _temperature(celsius: float) -> bytes:
    """Return degC 0..100 as they are and -1..-40 as 101..140."""
    whole = max(-40, min(100, round(celsius)))
    return _u16(whole if whole >= 0 else 100 - whole)


def current_raw(current_a: float, protocol_version: int) -> bytes:
    """Return register 0x84 in 10 mA. Our positive = discharge becomes the vendor's, once.

    Version 1: magnitude, top bit set while charging. Version 0: 10000 + discharge.
    """
    count = round(current_a * 100.0)
    if protocol_version == 0:
        return _u16(CURRENT_ZERO_V0 + count)
    size = min(abs(count), CHARGE_FLAG_V1 - 1)
    return (size | (CHARGE_FLAG_V1 if count < 0 else 0)).to_bytes(2, "big")


def warning_bits(values: Values, low_soc_pct: int) -> int:
    """Return register 0x8B: low capacity as a warning, the rest from the protections."""
    word = sum(place for bits, place in _WARNINGS if values.errors & bits)
    low = round(values.soc * 100.0) < low_soc_pct
    return word | (WARNING_LOW_CAPACITY if low else 0)


def live_registers(values: Values, protocol_version: int, low_soc_pct: int) -> dict[int, bytes]:
    """Return registers 0x79..0x8C, in the order they are sent.

    values.temperatures_c: power FETs, battery box, battery. 0x89 is the charge moved in
    whole Ah. Bit 3 of 0x8C, "battery dropped", is 0 in all captures but the oldest.
    """
    cells = b"".join(
        bytes((number,)) + _u16(volts * 1000.0) for number, volts in enumerate(values.cells_v, 1)
    )
    state = values.fet_charge | values.fet_discharge << 1 | (values.balancing != 0) << 2
    hot = values.temperatures_c
    return {
        REGISTER_CELLS: bytes((len(cells),)) + cells,
        0x80: _temperature(hot[0]),
        0x81: _temperature(hot[1]),
        0x82: _temperature(hot[2]),
        0x83: _u16(values.pack_v * 100.0),
        REGISTER_CURRENT: current_raw(values.current_a, protocol_version),
        0x85: bytes((round(values.soc * 100.0),)),
        0x86: bytes((2,)),
        0x87: _u16(values.cycles_count),
        0x89: _u32(values.throughput_as / 7200.0),
        0x8A: _u16(len(values.cells_v)),
        0x8B: _u16(warning_bits(values, low_soc_pct)),
        0x8C: _u16(state),
    }


def settings_registers(limits: ProtectionLimits, series_count: int, capacity_ah: float,
                       balance_v: float, protocol_version: int, name: str) -> dict[int, bytes]:
    """Return registers 0x8E..0xC0 as they stand after power-on, in the order they are sent.

    Voltages in mV (pack in 10 mV), currents in A, times in s, temperatures in degC.
    """
    delay = _u16(limits.voltage_delay_ms / 1000.0)
    over = _u16(limits.overcurrent_delay_ms / 1000.0)
    gap_c = limits.temperature_hysteresis_c
    table = {
        0x8E: _u16(limits.cell_v_max * series_count * 100.0),
        0x8F: _u16(limits.cell_v_min * series_count * 100.0),
        0x90: _u16(limits.cell_v_max * 1000.0),
        0x91: _u16(limits.cell_v_max_release * 1000.0),
        0x92: delay,
        0x93: _u16(limits.cell_v_min * 1000.0),
        0x94: _u16(limits.cell_v_min_release * 1000.0),
        0x95: delay,
        0x96: _u16(300),
        0x97: _u16(limits.discharge_a_max),
        0x98: over,
        0x99: _u16(limits.charge_a_max),
        0x9A: over,
        0x9B: _u16(balance_v * 1000.0),
        0x9C: _u16(10),
        REGISTER_BALANCE_SWITCH: b"\x01",
        0x9E: _u16(90),
        0x9F: _u16(70),
        0xA0: _u16(100),
        0xA1: _u16(100),
        0xA2: _u16(20),
        0xA3: _u16(limits.charge_c_max),
        0xA4: _u16(limits.discharge_c_max),
        0xA5: _s16(limits.charge_c_min),
        0xA6: _s16(limits.charge_c_min + gap_c),
        0xA7: _s16(limits.discharge_c_min),
        0xA8: _s16(limits.discharge_c_min + gap_c),
        0xA9: bytes((series_count,)),
        0xAA: _u32(capacity_ah),
        REGISTER_CHARGE_SWITCH: b"\x00",
        REGISTER_DISCHARGE_SWITCH: b"\x00",
        0xAD: _u16(1000),
        0xAE: b"\x01",
        0xAF: b"\x00",
        0xB0: _u16(10),
        REGISTER_LOW_SOC: b"\x14",
        0xB2: b"123456".ljust(10, b"\x00"),
        0xB3: b"\x00",
        0xB4: b"Input Us",
        0xB5: b"2401",
        0xB6: bytes(4),
        0xB7: b"11.XW_S11.26___",
    }
    if protocol_version > 0:
        table[0xB8] = b"\x00"
        table[0xB9] = _u32(capacity_ah)
        table[0xBA] = b"Input Userda" + name.encode("ascii")[:12].ljust(12, b"\x00")
        table[REGISTER_PROTOCOL] = bytes((protocol_version,))
    return table


def pack_registers(registers: Mapping[int, bytes]) -> bytes:
    """Return registers as they stand in a frame: each one's id and its data."""
    return b"".join(bytes((register,)) + data for register, data in registers.items())


class RequestParser(request_parser.RequestParser[Request]):
    """Find JK requests. One that claims more than REQUEST_SIZE_MAX is refused at once."""

    start = START[0]

    def _judge(self, buffer: bytearray) -> Request | bool | None:
        if len(buffer) < 2:
            return None
        if buffer[1] != START[1]:
            return False
        if len(buffer) < 4:
            return None
        size = int.from_bytes(buffer[2:4], "big") + len(START)
        if not OVERHEAD_BYTES <= size <= REQUEST_SIZE_MAX:
            return False
        if len(buffer) < size:
            return None
        frame = bytes(buffer[:size])
        if frame[-5] != END or checksum(frame[:-4]) != frame[-4:]:
            return False
        info = frame[11:-9]
        register = info[0] if info else REGISTER_ALL
        return Request(frame[4:8], frame[8], register, info[1:], frame)
