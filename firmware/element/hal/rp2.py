"""The port for the RP2040: Raspberry Pi Pico and Pico W, stock MicroPython 1.24 or newer.

`machine.reset_cause()` calls a wanted reset a watchdog's, as both use the watchdog. The reason
register and a mark in a scratch register that no reset but a power cut clears tell them apart.
Ref: RP2040 datasheet, 4.7.6 (REASON at 0x08, SCRATCH0 at 0x0c; 4 to 7 are the boot ROM's), 4.9
(ADC), MicroPython 1.25, ports/rp2/{modmachine,main,machine_wdt}.c.
"""

import hashlib
import os

import machine
from micropython import const

from .micro import MicroHAL, USBLine, can_write, cause_of, outputs_off

_REASON = const(0x40058008)
_SCRATCH0 = const(0x4005800C)
_ARMED = const(0x0CE11A3D)
# Raw bytes for 32 of entropy: more than a stuck oscillator's ring has, so that it shows in every
# draw, and a bit of entropy a byte is enough.
RAW_SIZE = const(288)


class RP2HAL(MicroHAL):
    """An RP2040."""

    def __init__(self, board, pins):
        sense = machine.ADC(board.SENSE_ADC)
        link = None if board.DC_LINK_ADC is None else machine.ADC(board.DC_LINK_ADC).read_u16
        # the poll says whether there is room, not how much: one byte at a time
        super().__init__(board, pins, sense.read_u16, link, 3_300_000, 65535,
                         USBLine(can_write(), 1))

    def entropy(self, size: int) -> bytes:
        """Hash the ring oscillator's bits, which alone are not fit for keys (datasheet 2.17.5)."""
        out = b""
        while len(out) < size:
            out += hashlib.sha256(self._random.draw(RAW_SIZE)).digest()
        return out[:size]

    def _raw(self, size: int) -> bytes:
        return os.urandom(size)

    def _why(self) -> int:
        armed = machine.mem32[_SCRATCH0] == _ARMED
        self._mark(False)
        return cause_of(armed, machine.mem32[_REASON] & 3 == 0)

    def _mark(self, armed: bool) -> None:
        machine.mem32[_SCRATCH0] = _ARMED if armed else 0


def open_board(board):
    """Return the HAL of an RP2040 board; its outputs are off before anything else happens."""
    return RP2HAL(board, outputs_off(board))
