"""Daly's Bluetooth module, which does not speak A5 frames but Modbus RTU over GATT.

Request D2 03 first count CRC, reply D2 03 size registers CRC, the CRC-16 of Modbus, low byte
first. Ref: patman15/aiobmsble, daly_bms.py, and the captures in its tests. The vendor counts
charge as positive, we count discharge: the sign flips here, once.
"""

from element.bms.base import CELLS, CELLS_MAX, NTC_MAX, PACK, Reading
from element.bms.plausible import (
    SOC_BP_MAX,
    check,
    check_cell_mv,
    check_current,
    check_pack_mv,
    check_temperature,
)
from element.bms.protocol import BMSProtocol, find_extremes, u16

ADDRESS = 0xD2
READ = 0x03
REGISTER_COUNT = 62
PERIOD_MS = 1000
_HEAD = 3
# Register numbers of the block that begins at 0.
_CELLS, _TEMPERATURES, _PACK, _CURRENT, _SOC = 0x00, 0x20, 0x28, 0x29, 0x2A
_REMAINING, _CELL_COUNT, _NTC_COUNT, _CYCLES = 0x30, 0x31, 0x32, 0x33
_CHARGE_FET, _DISCHARGE_FET, _ALARMS = 0x35, 0x36, 0x3A


def crc16(data: bytes) -> int:
    """Return the CRC-16 of Modbus (polynomial A001, start FFFF)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


class DalyBLEProtocol(BMSProtocol):
    """One block of registers holds everything; the FETs are only read here."""

    name = "daly"
    can_switch = False
    groups = ((PACK | CELLS, (READ,), PERIOD_MS),)
    mark = bytes((ADDRESS,))
    head_size = _HEAD
    size_max = _HEAD + 2 * REGISTER_COUNT + 2
    backlog_max = 2 * size_max
    reply_ms_max = 1500

    def request(self, kind: int) -> bytes:
        """Return the request for the whole block."""
        body = bytes((ADDRESS, READ, 0, 0, 0, REGISTER_COUNT))
        return body + crc16(body).to_bytes(2, "little")

    def fits(self, frame: bytes, kind: int) -> bool:
        """Return True for a block of the size that was asked for, or a refusal."""
        return frame[1] & 0x7F == READ

    def explain(self, frame: bytes | None, kind: int) -> str:
        """Return what an exception code means, or what to look at when nothing answers."""
        if frame is None:
            return ("modules before 2022 carry A5 frames instead: their wire is read with the "
                    "serial port")
        if frame[1] & 0x80:
            return f"refused with Modbus exception {frame[2]}"
        return ""

    def take(self, frame: bytes, kind: int, out: Reading) -> bool:
        """Fill the whole reading from the block."""
        if frame[2] != 2 * REGISTER_COUNT:
            check("block size", frame[2], 2 * REGISTER_COUNT, 2 * REGISTER_COUNT)

        def register(number: int) -> int:
            return u16(frame, _HEAD + 2 * number)

        cell_count, ntc_count = register(_CELL_COUNT), register(_NTC_COUNT)
        check("cell count", cell_count, 1, CELLS_MAX)
        check("ntc count", ntc_count, 1, NTC_MAX)
        cells = [register(_CELLS + index) for index in range(cell_count)]
        for cell_mv in cells:
            check_cell_mv(cell_mv)
        mdegc = [(register(_TEMPERATURES + index) - 40) * 1000 for index in range(ntc_count)]
        for value in mdegc:
            check_temperature(value)
        pack_mv, soc_bp = register(_PACK) * 100, register(_SOC) * 10
        current_ma = -(register(_CURRENT) - 30000) * 100
        check_pack_mv(pack_mv)
        check_current(current_ma)
        check("soc_bp", soc_bp, 0, SOC_BP_MAX)
        for index, cell_mv in enumerate(cells):
            out.cell_mv[index] = cell_mv
        out.cell_count, out.ntc_count = cell_count, ntc_count
        find_extremes(out, cell_count)
        out.temperature_mdegc_min, out.temperature_mdegc_max = min(mdegc), max(mdegc)
        out.ntc_index_min, out.ntc_index_max = mdegc.index(min(mdegc)), mdegc.index(max(mdegc))
        out.pack_mv, out.current_ma, out.soc_bp = pack_mv, current_ma, soc_bp
        out.remaining_mah = register(_REMAINING) * 100
        out.cycle_count = register(_CYCLES)
        out.fets = (register(_CHARGE_FET) & 1) | (register(_DISCHARGE_FET) & 1) << 1
        out.errors = register(_ALARMS) << 16 | register(_ALARMS + 1)
        out.protecting = out.errors != 0
        return True

    def error_names(self, errors: int) -> list[str]:
        """Return the alarm bits by number: the vendor names them nowhere we have seen."""
        return [f"alarm bit {bit}" for bit in range(32) if errors >> bit & 1]

    def _size_of(self, buffer: bytearray, at: int) -> int:
        if buffer[at + 1] == READ | 0x80:
            return 5
        return _HEAD + buffer[at + 2] + 2 if buffer[at + 1] == READ else 0

    def _is_good(self, buffer: bytearray, at: int, end: int) -> bool:
        return crc16(bytes(buffer[at:end - 2])) == int.from_bytes(buffer[end - 2:end], "little")
