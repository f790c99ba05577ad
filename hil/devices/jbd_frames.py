"""Parse requests to and build replies of a JBD BMS (UART protocol, 9600 8N1).

Request: DD, A5 read or 5A write, register, length, data, checksum (2 bytes), 77.
Reply: DD, register, status (00 good, 80 error), length, data, checksum (2 bytes), 77.
The checksum is 0x10000 minus the sum of register, length, data (request) or of status,
length, data (reply). Ref: vendor's general protocol V4; JBD register map (Overkill Solar).
"""

from dataclasses import dataclass
from random import Random

from . import request_parser
from .measurement import Values

START = 0xDD
END = 0x77
READ = 0xA5
WRITE = 0x5A
STATUS_GOOD = 0x00
STATUS_ERROR = 0x80
STATUS_LOCKED = 0x81
OVERHEAD_BYTES = 7
DATE_2024_01_01 = 24 << 9 | 1 << 5 | 1
SOFTWARE_VERSION = 0x20
_LENGTH_LIES = (-4, -3, -2, -1, 1, 2, 3, 4)


@dataclass(frozen=True)
class Request:
    """Hold one request with a good checksum, and its raw bytes."""

    is_write: bool
    register: int
    data: bytes
    raw: bytes


def checksum(payload: bytes | bytearray) -> bytes:
    """Return the two checksum bytes over payload."""
    return (-sum(payload) & 0xFFFF).to_bytes(2, "big")


def build_reply(register: int, status: int, data: bytes = b"") -> bytes:
    """Return a complete reply frame. Raises ValueError for more than 255 bytes of data."""
    if len(data) > 0xFF:
        raise ValueError(f"reply of {len(data)} bytes")
    payload = bytes((status, len(data))) + data
    return bytes((START, register)) + payload + checksum(payload) + bytes((END,))


def locked_reply(register: int) -> bytes:
    """Return what a BMS with a password says to a write before it has heard the password.

    Captured as DD 00 81 00 00 00 77, so its checksum field is zero and not FF7F. Ref:
    fl4p/batmon-ha issue 4.
    """
    return bytes((START, register, STATUS_LOCKED, 0, 0, 0, END))


def with_wrong_length(rng: Random, reply: bytes) -> bytes:
    """Return a reply whose length byte lies by 1..4, with a checksum that fits the lie."""
    broken = bytearray(reply)
    broken[3] = (broken[3] + rng.choice(_LENGTH_LIES)) & 0xFF
    broken[-3:-1] = checksum(broken[2:-3])
    return bytes(broken)


def with_other_register(rng: Random, reply: bytes) -> bytes:
    """Return the reply under another register's name; the checksum does not cover the name.

    JBD on a UART has no address: this is what a reply of somebody else looks like there.
    """
    broken = bytearray(reply)
    broken[1] = (broken[1] + rng.randint(1, 0xFF)) & 0xFF
    return bytes(broken)


def basic_data(values: Values, version: int = SOFTWARE_VERSION,
               date: int = DATE_2024_01_01) -> bytes:
    """Return the data of register 0x03, big-endian, 23 bytes and 2 for each NTC.

    Units: 10 mV, 10 mA, 10 mAh, percent, 0.1 K; balance bits of cells 1..16, then 17..32. The
    vendor counts discharge as negative, we count it as positive: the sign flips here, once.
    Out of range values saturate. date: day in bits 0..4, month 5..8, year from 2000 above.
    """
    raw_10ma = max(-0x8000, min(0x7FFF, round(-values.current_a * 100.0)))
    words = (
        round(values.pack_v * 100.0),
        raw_10ma & 0xFFFF,
        round(values.charge_as / 36.0),
        round(values.full_as / 36.0),
        values.cycles_count,
        date,
        values.balancing & 0xFFFF,
        values.balancing >> 16,
        values.errors,
    )
    fet_bits = values.fet_charge | values.fet_discharge << 1
    counts = len(values.cells_v), len(values.temperatures_c)
    tail = (version, round(values.soc * 100.0), fet_bits, *counts)
    ntcs = (round(celsius * 10.0) + 2731 for celsius in values.temperatures_c)
    return _pack_u16(*words) + bytes(tail) + _pack_u16(*ntcs)


def cell_data(values: Values) -> bytes:
    """Return the data of register 0x04: one U16 in mV for each cell, big-endian."""
    return _pack_u16(*(round(volts * 1000.0) for volts in values.cells_v))


def _pack_u16(*values: int) -> bytes:
    """Return the values as big-endian U16, each saturated to its range."""
    return b"".join(max(0, min(0xFFFF, value)).to_bytes(2, "big") for value in values)


class RequestParser(request_parser.RequestParser[Request]):
    """Find JBD requests; a frame has 262 bytes at most."""

    start = START

    def _judge(self, buffer: bytearray) -> Request | bool | None:
        if len(buffer) < OVERHEAD_BYTES or len(buffer) < buffer[3] + OVERHEAD_BYTES:
            # A direction byte that can never be right must not wait for a long "length".
            return False if len(buffer) > 1 and buffer[1] not in (READ, WRITE) else None
        frame = bytes(buffer[: buffer[3] + OVERHEAD_BYTES])
        if frame[1] not in (READ, WRITE) or frame[-1] != END:
            return False
        if checksum(frame[2:-3]) != frame[-3:-1]:
            return False
        return Request(frame[1] == WRITE, frame[2], frame[4:-3], frame)
