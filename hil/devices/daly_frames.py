"""Parse requests to and build replies of a Daly BMS (UART/RS-485 protocol A5, 9600 8N1).

A frame is 13 bytes both ways: A5, address, data id, length 08, eight data bytes, low byte of
the sum of the twelve. Byte 1 of a request is the host (40 PC, 80 Bluetooth, 20 GPRS; 40 + n
addresses board n + 1), of a reply the board's number. Ref: Daly UART/485 Communications
Protocol V1.2 (2020) and Part 4 RS485+UART Protocol V1.0 (2019), both in maland16/daly-bms-uart.

Classic firmware fills every reply into one buffer and writes only the bytes of the message:
the others keep what the reply before left there. The vendor's documents call them reserved;
it is plain in captured frames (tests/vectors/bms/daly.txt).
"""

from collections.abc import Iterable
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
)

START = 0xA5
DATA_SIZE = 8
FRAME_SIZE = 13

ID_RATED = 0x50
ID_CODE = 0x57
ID_PACK = 0x90
ID_CELL_RANGE = 0x91
ID_TEMPERATURE_RANGE = 0x92
ID_FETS = 0x93
ID_STATUS = 0x94
ID_CELLS = 0x95
ID_TEMPERATURES = 0x96
ID_BALANCE = 0x97
ID_ERRORS = 0x98
ID_SET_DISCHARGE_FET = 0xD9
ID_SET_CHARGE_FET = 0xDA

CELLS_PER_FRAME = 3
TEMPERATURES_PER_FRAME = 7
CODE_PER_FRAME = 7
CELL_FRAMES_MAX = 16
TEMPERATURE_FRAMES_MAX = 3
CODE_FRAMES = 5
CURRENT_ZERO = 30_000
TEMPERATURE_ZERO_C = -40
STATE_CURRENT_A_MIN = 0.5  # Below it a pack is "stationary"; value is ours.
DIO_STATES = 0x02  # Seen in most captures; what DI2 means there is not documented.

# Data of 0x98: our bit -> byte and bits. Level 2 is the protection; level 1, the warning at a
# nearer threshold, stands with it.
_ERROR_PLACES = (
    (ERROR_CELL_OVERVOLT, 0, 0x03),
    (ERROR_CELL_UNDERVOLT, 0, 0x0C),
    (ERROR_CHARGE_OVERTEMP, 1, 0x03),
    (ERROR_CHARGE_UNDERTEMP, 1, 0x0C),
    (ERROR_DISCHARGE_OVERTEMP, 1, 0x30),
    (ERROR_DISCHARGE_UNDERTEMP, 1, 0xC0),
    (ERROR_CHARGE_OVERCURRENT, 2, 0x03),
    (ERROR_DISCHARGE_OVERCURRENT, 2, 0x0C),
    (ERROR_SHORT_CIRCUIT, 6, 0x04),
)


@dataclass(frozen=True)
class Request:
    """Hold one request with a good checksum, and its raw bytes."""

    address: int
    data_id: int
    data: bytes
    raw: bytes


def build_frame(address: int, data_id: int, data: bytes) -> bytes:
    """Return a complete frame. Raises ValueError unless data has eight bytes."""
    if len(data) != DATA_SIZE:
        raise ValueError(f"{len(data)} data bytes")
    body = bytes((START, address, data_id, DATA_SIZE)) + data
    return body + bytes((sum(body) & 0xFF,))


def _refit(frame: bytearray) -> None:
    frame[-1] = sum(frame[:-1]) & 0xFF


def with_wrong_length(rng: Random, reply: bytes) -> bytes:
    """Return a reply one frame of which claims another length, with a sum that fits."""
    return _changed(rng, reply, 3, rng.choice((-4, -3, -2, -1, 1, 2, 3, 4)), every=False)


def with_other_address(rng: Random, reply: bytes) -> bytes:
    """Return the reply as if another board had sent it."""
    return _changed(rng, reply, 1, rng.randint(1, 15), every=True)


def _changed(rng: Random, reply: bytes, at: int, by: int, every: bool) -> bytes:
    frames = [bytearray(reply[i : i + FRAME_SIZE]) for i in range(0, len(reply), FRAME_SIZE)]
    for frame in frames if every else [rng.choice(frames)]:
        frame[at] = (frame[at] + by) & 0xFF
        _refit(frame)
    return b"".join(frames)


class ReplyBuffer:
    """Hold the eight data bytes of the last reply; see the module's text on what stays."""

    def __init__(self, reuse: bool) -> None:
        """Start with zeros. reuse False is the newer firmware that clears before it writes."""
        self._reuse = reuse
        self._data = bytearray(DATA_SIZE)

    def clear(self) -> None:
        """Zero everything."""
        self._data[:] = bytes(DATA_SIZE)

    def fill(self, parts: Iterable[int]) -> bytes:
        """Write bytes from the first on and return all eight."""
        if not self._reuse:
            self.clear()
        for index, value in enumerate(parts):
            self._data[index] = value
        return bytes(self._data)


def _u16(value: float) -> bytes:
    return max(0, min(0xFFFF, round(value))).to_bytes(2, "big")


def _u8(value: float) -> int:
    return max(0, min(0xFF, round(value)))


def pack_data(values: Values) -> bytes:
    """Return the data of 0x90: 0.1 V, nothing gathered, 0.1 A from 30000 up, 0.1 %.

    The vendor counts discharge as positive, as we do; out of range values saturate.
    """
    current = _u16(CURRENT_ZERO + values.current_a * 10.0)
    return _u16(values.pack_v * 10.0) + bytes(2) + current + _u16(values.soc * 1000.0)


def cell_range_data(values: Values) -> bytes:
    """Return the data of 0x91: highest cell in mV and its number from 1, lowest likewise."""
    cells = values.cells_v
    high, low = max(cells), min(cells)
    top, bottom = cells.index(high) + 1, cells.index(low) + 1
    return _u16(high * 1000.0) + bytes((top,)) + _u16(low * 1000.0) + bytes((bottom,))


def _temperature(celsius: float) -> int:
    return _u8(celsius - TEMPERATURE_ZERO_C)


def temperature_range_data(values: Values) -> bytes:
    """Return the data of 0x92: hottest sensor in degC + 40 and its number from 1, coldest."""
    sensors = values.temperatures_c
    if not sensors:
        return bytes(4)
    high, low = max(sensors), min(sensors)
    top, bottom = sensors.index(high) + 1, sensors.index(low) + 1
    return bytes((_temperature(high), top, _temperature(low), bottom))


def fet_data(values: Values, life: int) -> bytes:
    """Return the data of 0x93: state, charge FET, discharge FET, life counter, mAh left.

    State: 0 stationary, 1 charge, 2 discharge.
    """
    state = 0
    if abs(values.current_a) >= STATE_CURRENT_A_MIN:
        state = 2 if values.current_a > 0.0 else 1
    left_mah = round(values.charge_as / 3.6)
    head = bytes((state, values.fet_charge, values.fet_discharge, life & 0xFF))
    return head + left_mah.to_bytes(4, "big")


def status_data(values: Values, dio_states: int = DIO_STATES) -> bytes:
    """Return the data of 0x94: cells, sensors, charger and load seen, inputs, cycles."""
    counts = (len(values.cells_v), len(values.temperatures_c), 0, 0, dio_states)
    return bytes(counts) + _u16(values.cycles_count)


def balance_data(values: Values) -> bytes:
    """Return the data of 0x97: bit n of byte m is cell 8 * m + n + 1."""
    return values.balancing.to_bytes(6, "little") + bytes(2)


def error_data(errors: int) -> bytes:
    """Return the data of 0x98 from bits of hil.devices.protection; no fault code."""
    data = bytearray(DATA_SIZE)
    for bit, at, places in _ERROR_PLACES:
        if errors & bit:
            data[at] |= places
    return bytes(data)


def numbered(items: bytes, size: int, frames_count: int, first: int) -> list[bytes]:
    """Cut items into messages of up to size bytes, each behind its number from first on.

    frames_count beyond the items gives messages of a number alone.
    """
    cut = [items[at * size : (at + 1) * size] for at in range(frames_count)]
    return [bytes((first + at,)) + part for at, part in enumerate(cut)]


def cells_mv(values: Values) -> bytes:
    """Return the cells as U16 in mV, big-endian."""
    return b"".join(_u16(volts * 1000.0) for volts in values.cells_v)


def temperatures(values: Values) -> bytes:
    """Return the sensors as degC + 40."""
    return bytes(_temperature(celsius) for celsius in values.temperatures_c)


class RequestParser(request_parser.RequestParser[Request]):
    """Find Daly requests: thirteen bytes, the last one their sum."""

    start = START

    def _judge(self, buffer: bytearray) -> Request | bool | None:
        if len(buffer) < FRAME_SIZE:
            return None
        frame = bytes(buffer[:FRAME_SIZE])
        if frame[3] != DATA_SIZE or sum(frame[:-1]) & 0xFF != frame[-1]:
            return False
        return Request(frame[1], frame[2], frame[4:-1], frame)
