"""Emulate a JK BMS on its GPS port (frames 4E 57), without I/O.

Vendor sign: protocol version 1 sends a magnitude and sets the top bit while charging, version
0 counts up from 10000 while discharging; the sign turns in jk_frames.current_raw alone.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from hil.plant.pack import Pack

from . import jk_frames as frames
from .device import MASK_CHARGE_OFF, MASK_DISCHARGE_OFF, BMSDevice, Dialect, Setup
from .jk_frames import Request, RequestParser, build_frame
from .measurement import BALANCE_BELOW_V_MAX, Values
from .protection import ProtectionLimits

BAUD = 115_200
# The vendor's own example takes 93 ms from request to reply, 25 of them on the wire.
PROCESSING_MS = (20, 70)
CELLS_COUNT_MAX = 32
# Power FETs, battery box, battery: the frame has a place for each of these three.
NTCS_COUNT = 3
OUTCOME_IGNORED = -1
OUTCOME_DONE = 0
_SWITCHES = {
    frames.REGISTER_CHARGE_SWITCH: MASK_CHARGE_OFF,
    frames.REGISTER_DISCHARGE_SWITCH: MASK_DISCHARGE_OFF,
}


class JKEmulator(BMSDevice[Request]):
    """Behave like one JK BMS wired to one pack; see BMSDevice.

    Requests with a wrong checksum or another terminal number, and writes of anything but the
    three switches, are not answered.
    """

    def __init__(
        self,
        pack: Pack,
        rng: Random,
        series_count: int,
        capacity_ah: float = 100.0,
        current_of: Callable[[], float] | None = None,
        start_closed: bool = False,
        limits: ProtectionLimits | None = None,
        name: str = "CELLWALLJK16",
        start_ms: int = 0,
        *,
        soc_drift_pct_per_month: float = 0.0,
        soc_error: float = 0.0,
        terminal: int = 0,
        protocol_version: int = 1,
        needs_password: bool = False,
    ) -> None:
        """Power the BMS on. current_of returns the true pack current, positive = discharge.

        terminal: its number, 24 bits, 0 unless somebody set it. protocol_version: how current
        is counted, 0 for devices before 2021. needs_password: writes are answered only after
        a frame with command 0x05, as the vendor's text wants it; real devices were seen to
        write without. Raises ValueError when series_count is not the pack's, or something
        does not fit its field.
        """
        setup = Setup(
            series_count, NTCS_COUNT, capacity_ah, current_of, start_closed, limits, start_ms,
            soc_drift_pct_per_month, soc_error,
        )
        setup.check(pack, CELLS_COUNT_MAX, NTCS_COUNT, 1_000_000.0)
        if not 0 <= terminal <= 0xFFFFFF or protocol_version not in (0, 1):
            raise ValueError(f"terminal {terminal}, protocol_version {protocol_version}")
        self._terminal = terminal.to_bytes(4, "big")
        self._version = protocol_version
        self._unlocked = not needs_password
        chemistry = pack.chemistry
        self._settings = frames.settings_registers(
            limits or ProtectionLimits.for_chemistry(chemistry), series_count, capacity_ah,
            chemistry.cell_v_max - BALANCE_BELOW_V_MAX, protocol_version, name)
        super().__init__(pack, rng, Dialect(
            BAUD, PROCESSING_MS, RequestParser(), frames.with_wrong_length,
            frames.with_other_address), setup)

    def _perform(self, request: Request, ready_ms: int) -> int:
        """Return what became of the request; a switch takes effect at ready_ms."""
        if request.terminal != self._terminal:
            return OUTCOME_IGNORED
        if request.command == frames.COMMAND_PASSWORD:
            self._unlocked = True
            return OUTCOME_DONE
        if request.command == frames.COMMAND_WRITE:
            return self._write(request.register, request.data, ready_ms)
        return OUTCOME_DONE

    def _write(self, register: int, data: bytes, ready_ms: int) -> int:
        if not self._unlocked or len(data) != 1 or data[0] > 1:
            return OUTCOME_IGNORED
        if register == frames.REGISTER_BALANCE_SWITCH:
            self._settings[register] = data
            return OUTCOME_DONE
        off = _SWITCHES.get(register)
        if off is None:
            return OUTCOME_IGNORED
        mask = self._commanded_mask() & ~off
        done = self._command(ready_ms, mask if data[0] else mask | off)
        return OUTCOME_DONE if done else OUTCOME_IGNORED

    def _encode(self, request: Request, outcome: int, values: Values) -> bytes:
        command, register = request.command, request.register
        if outcome == OUTCOME_IGNORED:
            return b""
        if command in (frames.COMMAND_WRITE, frames.COMMAND_PASSWORD, frames.COMMAND_ACTIVATE):
            return build_frame(self._terminal, command, bytes((register,)))
        if command not in (frames.COMMAND_READ, frames.COMMAND_READ_ALL):
            return b""
        registers = self._registers(values)
        if register != frames.REGISTER_ALL and command == frames.COMMAND_READ:
            if register not in registers:
                return b""
            registers = {register: registers[register]}
        return build_frame(self._terminal, command, frames.pack_registers(registers))

    def _registers(self, values: Values) -> dict[int, bytes]:
        low_soc_pct = self._settings[frames.REGISTER_LOW_SOC][0]
        if self._settings[frames.REGISTER_BALANCE_SWITCH] == b"\x00":
            values = replace(values, balancing=0)
        registers = frames.live_registers(values, self._version, low_soc_pct)
        registers.update(self._settings)
        for register, off in _SWITCHES.items():
            registers[register] = bytes((not values.mosfet_mask & off,))
        registers[0xB6] = (values.uptime_ms // 60_000).to_bytes(4, "big")
        return registers
