"""JK (Jikong) BMS over its GPS/RS-485 port at 115200 baud 8N1: the 4E 57 protocol.

Frame: 4E 57, size (all but the first two bytes), terminal number (4), command, source (0 BMS,
2 GPS, 3 PC), type (0 request, 1 reply, 2 sent unasked), data, record number (4), 68, two zero
bytes, the sum of all before; big-endian. The reply to 06 (read all) is a row of id and value,
where every id has its own size; 79 is followed by a size and three bytes a cell (number, mV).
Ref: Communication protocol between monitoring platform and BMS, V2.5, and RS485 communication
example, as kept in syssi/esphome-jk-bms docs; dbus-serialbattery (jkbms.py).

Current (84), 10 mA: when the frame has C0 = 1, the highest bit says charge and the rest is the
size; else 10000 is none and more is discharge. Ours is positive when it discharges: the sign
flips here, once. An id of unknown size hides what follows, C0 perhaps: such a frame is refused.

Temperatures: 81 (battery box) and 82 (battery); 80 is that of the FETs, which the BMS guards by
itself. The protection values 97 and 99 are what the BMS names as limits. Which cells are balanced
it does not say. To write, the password frame (05) goes first, empty, and the write follows after
100 ms (esphome-jk-bms components/jk_modbus; pull 343); then AB and AC are the FETs' switches.
"""

from array import array

from ..protocol.errors import DecodeError
from .base import CELLS, CELLS_MAX, CURRENT_MA_UNLIMITED, PACK
from .driver import PollingDriver
from .plausible import check, check_current, check_pack_mv
from .protocol import BMSProtocol, ascii_of, cells_from, names_of, total, u16

PERIOD_MS = 500
FRAME_SIZE_MAX = 448

WRITE = 0x02
PASSWORD = 0x05
READ_ALL = 0x06
CHARGE_SWITCH = 0xAB
DISCHARGE_SWITCH = 0xAC

_REPLY = 1
_SOURCE_PC = 3
# Bytes before the data of a frame, and after it.
_HEAD = 11
_TAIL = 9

_CELLS = 0x79
_FIRST = 0x80
_LAST = 0xC0
# The sizes of ids 80..C0; 0 where the vendor names no id.
_SIZES = (
    b"\x02\x02\x02\x02\x02\x01\x01\x02\x00\x04\x02\x02\x02\x00\x02\x02"
    b"\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x01\x02\x02"
    b"\x02\x02\x02\x02\x02\x02\x02\x02\x02\x01\x04\x01\x01\x02\x01\x01"
    b"\x02\x01\x0a\x01\x08\x04\x04\x0f\x01\x04\x18\x01\x01\x01\x02\x02\x01"
)
# What a frame must have to be a reading.
_NEEDED = b"\x81\x82\x83\x84\x85\x86\x8b\x8c"

# Bit 0 only warns of a low SoC.
ERRORS_PROTECTING = 0x3FFE
_ERRORS = ("low SoC;FET overtemperature;pack overvoltage;pack undervoltage;battery "
           "overtemperature;charge overcurrent;discharge overcurrent;cells apart;box "
           "overtemperature;battery undertemperature;cell overvoltage;cell undervoltage;"
           "309 A protection;309 B protection")
_DEAF = ("a JK that sleeps wakes by a charger or its button; its GPS port, not CAN or the "
         "inverter's RS-485, speaks this protocol")


def current_ma_of(raw: int, protocol: int) -> int:
    """Return mA, positive discharge, from a raw U16 of id 84; protocol is the value of id C0."""
    if protocol == 0:
        return (raw - 10000) * 10
    return (raw & 0x7FFF) * (-10 if raw & 0x8000 else 10)


def mdegc_of(raw: int) -> int:
    """Return mdegC from a raw U16: above 100 stands what is below zero, 101 is -1 degC."""
    check("temperature", raw, 0, 140)
    return (raw if raw <= 100 else 100 - raw) * 1000


def frame_of(command: int, data: bytes) -> bytes:
    """Return a request."""
    size = _HEAD + len(data) + _TAIL - 2
    body = b"\x4e\x57" + size.to_bytes(2, "big") + bytes((0, 0, 0, 0, command, _SOURCE_PC, 0))
    body += data + b"\x00\x00\x00\x00\x68"
    return body + b"\x00\x00" + (total(body, 0, len(body)) & 0xFFFF).to_bytes(2, "big")


class JKProtocol(BMSProtocol):
    """The JK protocol of the GPS port."""

    name = "jk"
    baud = 115200
    mark = b"\x4e"
    head_size = 4
    size_max = FRAME_SIZE_MAX
    backlog_max = 2 * FRAME_SIZE_MAX
    kind_at = 8
    unanswered = bytes((PASSWORD,))
    reply_ms_max = 300
    # the vendor asks for 100 ms between two packets
    gap_ms = 100
    groups = ((PACK | CELLS, (READ_ALL,), PERIOD_MS),)

    def __init__(self):
        BMSProtocol.__init__(self)
        # where the value of each id is in the frame at hand; 0 when it has none
        self._at = array("H", bytes(2 * (_LAST + 1 - _CELLS)))

    def request(self, kind: int) -> bytes:
        return frame_of(kind, b"\x00")

    def fits(self, frame: bytes, kind: int) -> bool:
        return frame[8] == kind and frame[10] == _REPLY

    def explain(self, frame, kind: int) -> str:
        return _DEAF if frame is None else ""

    def take(self, frame: bytes, kind: int, out) -> bool:
        self._find(frame)
        at = self._at
        size = frame[at[0]] if at[0] else 0
        if size % 3:
            raise DecodeError("cells size", size)
        check("cell count", size // 3, 1, CELLS_MAX)
        ntc_count = frame[self._of(0x86)]
        # without a thermometer nothing may be energised
        check("ntc count", ntc_count, 1, 8)
        box = mdegc_of(u16(frame, self._of(0x81)))
        battery = mdegc_of(u16(frame, self._of(0x82))) if ntc_count > 1 else box
        pack_mv = u16(frame, self._of(0x83)) * 10
        check_pack_mv(pack_mv)
        protocol = self._value(frame, 0xC0, 0)
        check("protocol", protocol, 0, 1)
        current_ma = current_ma_of(u16(frame, self._of(0x84)), protocol)
        check_current(current_ma)
        soc_pct = frame[self._of(0x85)]
        check("soc_pct", soc_pct, 0, 100)
        full_ah = self._value(frame, 0xAA, 0)
        check("full_ah", full_ah, 0, 100_000)
        cells_from(frame, at[0] + 2, 3, size // 3, out)
        out.cell_count = size // 3
        out.ntc_count = ntc_count
        out.temperature_mdegc_min = min(box, battery)
        out.temperature_mdegc_max = max(box, battery)
        out.ntc_index_min = 1 if battery < box else 0
        out.ntc_index_max = 1 if battery > box else 0
        out.pack_mv = pack_mv
        out.current_ma = current_ma
        out.soc_bp = soc_pct * 100
        out.full_mah = full_ah * 1000
        out.remaining_mah = full_ah * soc_pct * 10
        out.cycle_count = self._value(frame, 0x87, 0)
        out.errors = u16(frame, self._of(0x8B)) & 0x3FFF
        out.protecting = out.errors & ERRORS_PROTECTING != 0
        out.fets = u16(frame, self._of(0x8C)) & 3
        out.current_ma_discharge_bms = self._limit_ma(frame, 0x97)
        out.current_ma_charge_bms = self._limit_ma(frame, 0x99)
        if out.model == "":
            version = self._of(0xB7)
            if version:
                out.model = ascii_of(frame, version, version + 15).strip("_ ")
        return True

    def _of(self, identity: int) -> int:
        """Return where the value of an id begins, 0 when the frame has none."""
        return self._at[identity - _CELLS]

    def _value(self, frame, identity: int, default: int) -> int:
        """Return the number at an id, or default."""
        at = self._of(identity)
        if not at:
            return default
        number = 0
        for index in range(_SIZES[identity - _FIRST]):
            number = number << 8 | frame[at + index]
        return number

    def _limit_ma(self, frame, identity: int) -> int:
        amperes = self._value(frame, identity, 0)
        return min(amperes * 1000, CURRENT_MA_UNLIMITED) if amperes else CURRENT_MA_UNLIMITED

    def _find(self, frame) -> None:
        """Note where each id's value begins. Raises DecodeError when the row does not add up."""
        at = self._at
        for index in range(len(at)):
            at[index] = 0
        position = _HEAD
        end = len(frame) - _TAIL
        while position < end:
            identity = frame[position]
            if identity == _CELLS:
                size = 1 + frame[position + 1]
            elif _FIRST <= identity <= _LAST:
                size = _SIZES[identity - _FIRST]
            else:
                size = 0
            if size == 0 or at[identity - _CELLS]:
                raise DecodeError("id", identity)
            at[identity - _CELLS] = position + 1
            position += 1 + size
        if position != end:
            raise DecodeError("ids size", position)
        for identity in _NEEDED:
            if not at[identity - _CELLS]:
                raise DecodeError("missing id", identity)

    def fets_requests(self, fets: int) -> tuple:
        return (
            frame_of(PASSWORD, b"\x00\x00"),
            frame_of(WRITE, bytes((DISCHARGE_SWITCH, fets >> 1 & 1))),
            frame_of(WRITE, bytes((CHARGE_SWITCH, fets & 1))),
        )

    def error_names(self, errors: int) -> list:
        return names_of(_ERRORS, errors)

    def _size_of(self, buffer, at: int) -> int:
        return u16(buffer, at + 2) + 2 if buffer[at + 1] == 0x57 else 0

    def _is_good(self, buffer, at: int, end: int) -> bool:
        return (end - at >= _HEAD + _TAIL and buffer[end - 5] == 0x68
                and total(buffer, at, end - 4) & 0xFFFF == u16(buffer, end - 2))


PROTOCOL = JKProtocol


class JK(PollingDriver):
    """The driver of a JK BMS on a UART."""

    def __init__(self, hal, uart):
        PollingDriver.__init__(self, hal, uart, JKProtocol())


DRIVER = JK
