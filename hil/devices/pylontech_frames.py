"""Parse requests to and build replies of a Pylontech module (RS-485, ASCII, 115200 8N1).

A frame is '~', then as hexadecimal text: version, address, CID1 46, CID2 (command, in a reply
the return code), length (4 check bits and the number of characters of info), info, checksum of
the characters; then a carriage return. Ref: PYLON low voltage Protocol RS485 V3.3 (2018), in
Frankkkkk/python-pylontech; captures in tests/vectors/bms/pylontech.txt.
"""

from dataclasses import dataclass
from random import Random

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

START = ord("~")
END = ord("\r")
VERSION = 0x20
CID1_BATTERY = 0x46
HEAD_CHARACTERS = 12
CHECK_CHARACTERS = 4
FRAME_CHARACTERS_MIN = HEAD_CHARACTERS + CHECK_CHARACTERS
REQUEST_CHARACTERS_MAX = 64  # The longest request of the protocol has 34.
PARTIAL_AGE_MS_MAX = 500  # Half a frame is forgotten after a pause; value is ours.
# The text has capitals; a client of many real modules sends small letters as well.
_HEX = frozenset(b"0123456789ABCDEFabcdef")

ANALOG = 0x42
ALARM = 0x44
SYSTEM_PARAMETERS = 0x47
PROTOCOL_VERSION = 0x4F
MANUFACTURER = 0x51
MANAGEMENT = 0x92
SERIAL_NUMBER = 0x93
TURN_OFF = 0x95
SOFTWARE_VERSION = 0x96

RETURN_GOOD = 0x00
RETURN_CHECKSUM = 0x02
RETURN_LENGTH_CHECKSUM = 0x03
RETURN_CID2 = 0x04
RETURN_FORMAT = 0x05

INFO_FLAG = 0x10  # "No unread switching change, unread change" in the text; 10 in captures.
BELOW, ABOVE = 0x01, 0x02
SMALL_CAPACITY_AH_MAX = 65.0
NO_VALUE_16 = b"\xff\xff"
CURRENT_SHOWN_A_MIN = 0.1

_STATUS_1 = (
    (ERROR_CHARGE_OVERTEMP | ERROR_CHARGE_UNDERTEMP, 1 << 6),
    (ERROR_DISCHARGE_OVERTEMP | ERROR_DISCHARGE_UNDERTEMP, 1 << 5),
    (ERROR_DISCHARGE_OVERCURRENT | ERROR_SHORT_CIRCUIT, 1 << 4),
    (ERROR_CHARGE_OVERCURRENT, 1 << 2),
    (ERROR_CELL_UNDERVOLT, 1 << 1),
    (ERROR_CELL_OVERVOLT, 1 << 0),
)
_OVERTEMP = ERROR_CHARGE_OVERTEMP | ERROR_DISCHARGE_OVERTEMP
_UNDERTEMP = ERROR_CHARGE_UNDERTEMP | ERROR_DISCHARGE_UNDERTEMP


@dataclass(frozen=True)
class Request:
    """Hold one frame with a plausible form, and its raw bytes; `fault` is RETURN_GOOD or why not.

    A frame with a wrong checksum may have any address.
    """

    address: int
    cid2: int
    info: bytes
    raw: bytes
    fault: int


@dataclass(frozen=True)
class Management:
    """Hold what reply 0x92 says: limits as positive magnitudes, and the module's wishes."""

    charge_v_max: float
    discharge_v_min: float
    charge_a_max: float
    discharge_a_max: float
    charge_enabled: bool
    discharge_enabled: bool
    charge_now_1: bool = False
    charge_now_2: bool = False
    full_charge: bool = False


def length_word(characters_count: int) -> int:
    """Return the length field: check bits above, the count below. Ref: 2.3.2."""
    total = sum(characters_count >> shift & 0xF for shift in (0, 4, 8))
    return (-total & 0xF) << 12 | characters_count


def checksum(text: bytes) -> bytes:
    """Return the four checksum characters over text. Ref: 2.3.3."""
    return b"%04X" % (-sum(text) & 0xFFFF)


def _finish(text: bytes) -> bytes:
    return bytes((START,)) + text + checksum(text) + bytes((END,))


def build_frame(address: int, cid2: int, info: bytes = b"", version: int = VERSION) -> bytes:
    """Return a complete frame; info in bytes, not yet as text."""
    text = info.hex().upper().encode("ascii")
    head = (version, address, CID1_BATTERY, cid2, length_word(len(text)))
    return _finish(b"%02X%02X%02X%02X%04X" % head + text)


def with_wrong_length(rng: Random, reply: bytes) -> bytes:
    """Return a reply whose length lies by 1..4 characters, both checksums made to fit."""
    text = reply[1:-5]
    count = (int(text[8:12], 16) + rng.choice((-4, -3, -2, -1, 1, 2, 3, 4))) & 0xFFF
    return _finish(text[:8] + b"%04X" % length_word(count) + text[12:])


def with_other_address(rng: Random, reply: bytes) -> bytes:
    """Return the reply as if another module had sent it."""
    text = reply[1:-5]
    address = (int(text[2:4], 16) + rng.randint(1, 0xFF)) & 0xFF
    return _finish(text[:2] + b"%02X" % address + text[4:])


def _u16(value: float) -> bytes:
    return max(0, min(0xFFFF, round(value))).to_bytes(2, "big")


def _s16(value: float) -> bytes:
    return max(-0x8000, min(0x7FFF, round(value))).to_bytes(2, "big", signed=True)


def _temperature(celsius: float) -> bytes:
    return _s16(celsius * 10.0 + 2731.0)


def current_raw(current_a: float) -> bytes:
    """Return a current in 0.1 A. The vendor counts charge as positive: flipped here, once."""
    return _s16(-current_a * 10.0)


def analog_data(values: Values) -> bytes:
    """Return the module's part of reply 0x42.

    temperatures_c: the board, then groups of cells. Up to 65 Ah two user-defined items, above
    four, and the old places of capacity then hold FFFF.
    """
    cells = b"".join(_u16(volts * 1000.0) for volts in values.cells_v)
    heat = b"".join(_temperature(celsius) for celsius in values.temperatures_c)
    left, full = round(values.charge_as / 3.6), round(values.full_as / 3.6)
    small = values.full_as <= SMALL_CAPACITY_AH_MAX * 3600.0
    out = bytes((len(values.cells_v),)) + cells + bytes((len(values.temperatures_c),)) + heat
    out += current_raw(values.current_a) + _u16(values.pack_v * 1000.0)
    out += _u16(left) if small else NO_VALUE_16
    out += b"\x02" if small else b"\x04"
    out += _u16(full) if small else NO_VALUE_16
    out += _u16(values.cycles_count)
    if not small:
        out += left.to_bytes(3, "big") + full.to_bytes(3, "big")
    return out


def alarm_data(values: Values, limits: ProtectionLimits, extra: bytes) -> bytes:
    """Return the module's part of reply 0x44; extra stands behind status 5.

    Captures of newer modules carry one byte more than the text, hence extra.
    """
    errors = values.errors
    over, under = errors & ERROR_CELL_OVERVOLT, errors & ERROR_CELL_UNDERVOLT
    cells = bytearray(len(values.cells_v))
    for index, volts in enumerate(values.cells_v):
        if over and volts > limits.cell_v_max_release:
            cells[index] = ABOVE
        elif under and volts < limits.cell_v_min_release:
            cells[index] = BELOW
    heat = ABOVE if errors & _OVERTEMP else BELOW if errors & _UNDERTEMP else 0
    count = len(values.temperatures_c)
    charge = ABOVE if errors & ERROR_CHARGE_OVERCURRENT else 0
    discharge = ERROR_DISCHARGE_OVERCURRENT | ERROR_SHORT_CIRCUIT
    currents = bytes((charge, 0, ABOVE if errors & discharge else 0))
    out = bytes((len(cells),)) + bytes(cells) + bytes((count,)) + bytes((heat,)) * count
    return out + currents + bytes(_status(values)) + extra


def _status(values: Values) -> tuple[int, int, int, int, int]:
    """Return status 1 to 5: protections, FETs, flow, and one bit a cell that is broken."""
    protections = sum(place for bits, place in _STATUS_1 if values.errors & bits)
    fets = values.fet_discharge << 3 | values.fet_discharge << 2 | values.fet_charge << 1
    flow = (values.current_a < -CURRENT_SHOWN_A_MIN) << 7
    flow |= (values.current_a > CURRENT_SHOWN_A_MIN) << 6
    flow |= (round(values.soc * 100.0) >= 100) << 3
    broken = sum(
        1 << index for index, volts in enumerate(values.cells_v) if not 1.0 <= volts <= 4.2
    )
    return protections, fets, flow, broken & 0xFF, broken >> 8 & 0xFF


def system_data(limits: ProtectionLimits, series_count: int) -> bytes:
    """Return the twelve words of reply 0x47; alarms stand a little before the protections."""
    low_v = limits.cell_v_min + 0.2
    return b"".join((
        _u16(limits.cell_v_max * 1000.0),
        _u16(low_v * 1000.0),
        _u16(limits.cell_v_min * 1000.0),
        _temperature(limits.charge_c_max),
        _temperature(limits.charge_c_min),
        current_raw(-limits.charge_a_max),
        _u16(limits.cell_v_max * series_count * 1000.0),
        _u16(low_v * series_count * 1000.0),
        _u16(limits.cell_v_min * series_count * 1000.0),
        _temperature(limits.discharge_c_max),
        _temperature(limits.discharge_c_min),
        current_raw(limits.discharge_a_max),
    ))


def management_data(wish: Management) -> bytes:
    """Return the module's part of reply 0x92; the discharge limit is negative on the wire."""
    status = wish.charge_enabled << 7 | wish.discharge_enabled << 6
    status |= wish.charge_now_1 << 5 | wish.charge_now_2 << 4 | wish.full_charge << 3
    volts = _u16(wish.charge_v_max * 1000.0) + _u16(wish.discharge_v_min * 1000.0)
    amps = current_raw(-wish.charge_a_max) + current_raw(wish.discharge_a_max)
    return volts + amps + bytes((status,))


class RequestParser:
    """Find frames in a byte stream; count what is none in `bad_count`.

    A new '~' starts a new frame whatever came before. The buffer never holds more than
    REQUEST_CHARACTERS_MAX characters.
    """

    def __init__(self) -> None:
        """Start with an empty buffer."""
        self.bad_count = 0
        self._text: bytearray | None = None
        self._last_ms = 0

    def feed(self, data: bytes, start_ms: int, end_ms: int) -> list[Request]:
        """Return the requests that data completes; never raises on bad bytes."""
        if self._text is not None and start_ms - self._last_ms > PARTIAL_AGE_MS_MAX:
            self.bad_count += 1
            self._text = None
        self._last_ms = end_ms
        found: list[Request] = []
        for byte in data:
            if byte == START:
                self.bad_count += self._text is not None
                self._text = bytearray()
            elif self._text is not None:
                self._take(byte, found)
        return found

    def _take(self, byte: int, found: list[Request]) -> None:
        text = self._text
        if text is None:
            return
        if byte == END:
            self._text = None
            request = _judge(bytes(text))
            if request is None or request.fault != RETURN_GOOD:
                self.bad_count += 1
            if request is not None:
                found.append(request)
        elif byte not in _HEX or len(text) >= REQUEST_CHARACTERS_MAX:
            self.bad_count += 1
            self._text = None
        else:
            text.append(byte)


def _judge(text: bytes) -> Request | None:
    """Return the frame that text is, with what is wrong with it; None when it is no frame."""
    if len(text) < FRAME_CHARACTERS_MIN or len(text) % 2:
        return None
    address, cid1, cid2 = (int(text[at : at + 2], 16) for at in (2, 4, 6))
    word = int(text[8:HEAD_CHARACTERS], 16)
    info_text = text[HEAD_CHARACTERS:-CHECK_CHARACTERS]
    fault = RETURN_GOOD
    if checksum(text[:-CHECK_CHARACTERS]) != text[-CHECK_CHARACTERS:].upper():
        fault = RETURN_CHECKSUM
    elif length_word(word & 0xFFF) != word:
        fault = RETURN_LENGTH_CHECKSUM
    elif word & 0xFFF != len(info_text) or cid1 != CID1_BATTERY:
        fault = RETURN_FORMAT
    raw = bytes((START,)) + text + bytes((END,))
    return Request(address, cid2, bytes.fromhex(info_text.decode("ascii")), raw, fault)
