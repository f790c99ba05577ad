"""The port for ESP32 and ESP32-C3, stock MicroPython 1.24 or newer. Not run on hardware yet.

The converter is not linear: `read_uv` uses the factory's calibration and has no reading below
about 0.15 V (ESP32). `machine.reset_cause()` calls a crash of the C code a hard reset, like a
wanted one; a mark in RTC memory tells them apart.
Ref: MicroPython 1.25, docs/esp32/quickref.rst (ADC, WDT, RTC), ports/esp32/modmachine.c,
usb_serial_jtag.c.
"""

import os

import machine
from micropython import const

from .micro import MicroHAL, USBLine, can_write, cause_of, outputs_off

# ESP32-C3, USB_SERIAL_JTAG_EP1_CONF_REG: bit 1 is set while the transmit FIFO is empty, and then
# it takes a whole packet.
_EP1_CONF = const(0x60043004)
_PACKET_SIZE = const(64)
_ARMED = b"A"


def _jtag_room() -> bool:
    """Return False while the C3's USB would wait for a host: stdout's poll does not know."""
    return machine.mem8[_EP1_CONF] & 2 != 0


class ESP32HAL(MicroHAL):
    """An ESP32 of either kind."""

    def __init__(self, board, pins):
        jtag = board.DEVICES["usb"] == "jtag"
        self._rtc = machine.RTC()
        link = None if board.DC_LINK_ADC is None else _adc(board.DC_LINK_ADC)
        super().__init__(board, pins, _adc(board.SENSE_ADC), link, 1, 1,
                         USBLine(_jtag_room if jtag else can_write(), _PACKET_SIZE))

    def _network(self, board):
        # loaded by those that use it: a line on a cable leaves the memory to others
        if board.LINK != "ble":
            from .wifi import join

            join(self.log)
        from ..link.lines import open_line

        return open_line(board, self)

    def _raw(self, size: int) -> bytes:
        return os.urandom(size)

    def _why(self) -> int:
        armed = self._rtc.memory() == _ARMED
        self._mark(False)
        return cause_of(armed, machine.reset_cause() == machine.PWRON_RESET)

    def _mark(self, armed: bool) -> None:
        self._rtc.memory(_ARMED if armed else b"")


def _adc(pin: int):
    """Return the function that reads a pin in microvolts, over the converter's full range."""
    return machine.ADC(machine.Pin(pin), atten=machine.ADC.ATTN_11DB).read_uv


def open_board(board):
    """Return the HAL of an ESP32 board; its outputs are off before anything else happens."""
    return ESP32HAL(board, outputs_off(board))
