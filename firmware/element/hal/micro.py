"""What the ports of microcontrollers share: pins, analogue inputs, lines, the idle loop.

Outputs are off before anything else is touched. Between reset and that moment every pin is an
input, and the pull-down at each output (boards/*/README.md) holds the power stage off.
The methods that a control tick calls allocate nothing.
"""

import select
import sys
import time
from asyncio import core

import machine
import micropython
from micropython import const

from ..protocol import codes
from ..protocol.errors import RangeError
from .analog import CurrentSense, gain_of
from .health import Entropy
from .scheduler import RX_BYTES_MAX, BufferedUART, LoopWaiter, install

# Bytes on a UART are looked for this often: one wake-up for several bytes of a slow line.
LOOK_MS = const(5)
# While bytes wait to be sent.
_SENDING_MS = const(1)
# What one look moves over USB either way, where every byte costs calls: 64 are 4 to 5 ms on an
# RP2040, and less would be too slow for a frame.
USB_BYTES_MAX = const(64)
STALL_MS_MAX = const(500)
TX_SIZE = const(512)
_RX_SIZE = const(1024)
_LINK_RX_SIZE = const(2048)
_SAMPLES = const(4)


class UARTLine(BufferedUART):
    """A line on a machine.UART, whose own buffers interrupts fill and empty."""

    def __init__(self, number: int, tx: int, rx: int, baud: int, rx_size: int):
        """tx, rx: pins. rx_size: what may arrive between two looks, a flash write included."""
        super().__init__()
        self._uart = machine.UART(
            number, baudrate=baud, tx=machine.Pin(tx), rx=machine.Pin(rx), rxbuf=rx_size,
            txbuf=TX_SIZE, timeout=0)

    def look(self) -> bool:
        """Take what has arrived and send what fits; True when something came."""
        uart = self._uart
        # after txdone the whole transmit buffer is free: a write of its size never waits
        if self.tx and uart.txdone():
            sent = uart.write(self.tx[:TX_SIZE])
            self.tx = self.tx[sent or 0:]
        size = uart.any()
        if not size:
            return False
        self.received(uart.read(size) or b"")
        return True


class USBLine(BufferedUART):
    """The USB serial port behind sys.stdin and sys.stdout. Never waits for a host.

    MicroPython waits up to 500 ms for room for a whole write, so a write is never larger than
    the room that is known. A host that takes nothing for STALL_MS_MAX loses what is queued: it
    must not get it later and take it for news.
    Ref: MicroPython 1.25, shared/tinyusb/mp_usbd_cdc.c, ports/esp32/usb_serial_jtag.c.
    """

    def __init__(self, room, chunk_size: int):
        """room(): False while chunk_size bytes would have to wait."""
        super().__init__()
        self._room = room
        self._chunk = bytearray(chunk_size)
        self._one = bytearray(1)
        self._out = sys.stdout.buffer
        readable = select.poll()
        readable.register(sys.stdin, select.POLLIN)
        # bound once: a look allocates nothing
        self._readable = readable.ipoll
        self._readinto = sys.stdin.buffer.readinto
        self._moved_at = time.ticks_ms()

    def wait(self, duration_ms: int) -> None:
        """Idle for duration_ms or until the host has sent something."""
        for _ in self._readable(duration_ms):
            pass

    def look(self) -> bool:
        """Send and take at most USB_BYTES_MAX; True when something came."""
        now = time.ticks_ms()
        if not self.tx:
            self._moved_at = now
        elif self._send():
            self._moved_at = now
        elif time.ticks_diff(now, self._moved_at) > STALL_MS_MAX:
            self.lost_count += len(self.tx)
            self.tx = bytearray()
        return self._take() > 0

    def _send(self) -> int:
        """Write while there is room; return how many bytes."""
        tx = self.tx
        chunk = self._chunk
        size = len(chunk)
        sent = 0
        end = min(len(tx), USB_BYTES_MAX)
        while sent < end and self._room():
            if size == 1:
                chunk[0] = tx[sent]
                self._out.write(chunk)
            else:
                self._out.write(tx[sent:sent + size])
            sent += size
        if sent:
            self.tx = tx[sent:]
        return sent

    def _take(self) -> int:
        """Read what is there, byte by byte: a read of more would wait for the rest."""
        one = self._one
        rx = self.rx
        readable = self._readable
        readinto = self._readinto
        count = 0
        while count < USB_BYTES_MAX:
            ready = False
            for _ in readable(0):
                ready = True
            if not ready:
                break
            readinto(one)
            count += 1
            if len(rx) < RX_BYTES_MAX:
                rx.append(one[0])
            else:
                self.lost_count += 1
        if count:
            self.kick()
        return count


def can_write():
    """Return a function that tells whether stdout takes a byte without waiting."""
    poll = select.poll()
    poll.register(sys.stdout, select.POLLOUT)

    def room() -> bool:
        ready = False
        for _ in poll.ipoll(0):
            ready = True
        return ready

    return room


def output(pin):
    """Return a pin as output, low from the first moment; None for a pin that is not there."""
    return None if pin is None else machine.Pin(pin, machine.Pin.OUT, value=0)


class MicroHAL:
    """A microcontroller. A port hands in its analogue reading, its USB and its entropy.

    It keeps the contract `base.HAL` without being one: the empty methods would take 3 KB of a
    board's memory. tests/host/test_boards.py compares them. The port has switched the outputs
    off already: `pins` is what `outputs_off` returned.
    """

    link_uart = stage_uart = console_uart = None

    slow_flash = True
    tight_heap = paced = True
    _look_ms = LOOK_MS

    def __init__(self, board, pins, sense_read, link_read, uv_num: int, uv_den: int, usb):
        """sense_read, link_read: functions that read one raw count, link_read None without
        sensor. uv_num / uv_den: microvolts that one count means. usb: the `USBLine`."""
        self._enable, self._precharge, self._led, self._heart, self._pwms = pins
        self._board = board
        self._watchdog = None
        self._interlock = machine.Pin(board.INTERLOCK, machine.Pin.IN, machine.Pin.PULL_UP)
        self._sense_read = sense_read
        self._link_read = link_read
        # four readings are added up, not averaged: one division less and two bits more
        self._sense = CurrentSense(board, uv_num, uv_den * _SAMPLES)
        count_max = 3_300_000 * uv_den // uv_num
        self._link_gain, self._link_shift = gain_of(
            board.DC_LINK_RATIO * uv_num, uv_den * 1000, count_max)
        self._usb = usb
        self._lines = []
        self._open_lines(board)
        self._reset_cause = self._why()
        self._random = Entropy(self._raw)
        self._random.start()
        self.repl_off()
        install(self._wait)

    def _open_lines(self, board) -> None:
        """Open the lines that the board has; one UART cannot serve two of them."""
        self.bms_uart = self._open(
            board.BMS_UART, board.BMS_TX, board.BMS_RX, board.BMS_BAUD, _RX_SIZE)
        taken = None
        if board.LINK == "usb":
            self.link_uart = self._usb
        elif board.LINK == "uart":
            taken = board.LINK_UART
            self.link_uart = self._open(
                taken, board.LINK_TX, board.LINK_RX, board.LINK_BAUD, _LINK_RX_SIZE)
            self.console_uart = self._usb
        elif board.LINK == "bus":
            from ..link.lines import open_bus

            taken = board.LINK_UART
            pair = self._open(taken, board.LINK_TX, board.LINK_RX, board.LINK_BAUD, _LINK_RX_SIZE)
            self.link_uart = open_bus(self, pair, board.LINK_BAUD)
            self._lines.append(self.link_uart)
            self._look_ms = _SENDING_MS  # a turn is short, and begins at a moment
            self.console_uart = self._usb
        else:
            self.link_uart = self._network(board)
            self._lines.append(self.link_uart)
            self.console_uart = self._usb
        if board.STAGE == "sunspec":
            if board.STAGE_UART == taken:
                raise RangeError("STAGE_UART", taken)
            self.stage_uart = self._open(
                board.STAGE_UART, board.STAGE_TX, board.STAGE_RX, board.STAGE_BAUD, _RX_SIZE)

    def _open(self, number, tx, rx, baud: int, rx_size: int):
        if number is None:
            raise RangeError("uart", None)
        line = UARTLine(number, tx, rx, baud, rx_size)
        self._lines.append(line)
        return line

    # ---- time ----

    def ticks_ms(self) -> int:
        """Return the wrapping millisecond counter."""
        return time.ticks_ms()

    def ticks_diff(self, later: int, earlier: int) -> int:
        """Return later - earlier in ms across a wrap."""
        return time.ticks_diff(later, earlier)

    def ticks_add(self, ticks: int, delta_ms: int) -> int:
        """Return ticks + delta_ms, wrapped."""
        return time.ticks_add(ticks, delta_ms)

    def sleep_ms(self, duration_ms: int):
        """Let the other tasks run for duration_ms."""
        return core.sleep_ms(duration_ms)

    def relax(self):
        """Look at the lines between two slices of long work, and give way."""
        # while slices of long work are due the loop never idles: look at the lines here
        self._look()
        return core.sleep_ms(0)

    def waiter(self):
        """Return a new waiter."""
        return LoopWaiter()

    def _look(self) -> bool:
        came = self._usb.look()
        for line in self._lines:
            if line.look():
                came = True
        return came

    def _wait(self, dt_ms: int) -> None:
        """Idle until dt_ms are over (-1: without limit) or a line has brought something."""
        end = time.ticks_add(time.ticks_ms(), max(dt_ms, 0))
        while not self._look():
            sending = self._usb.tx
            for line in self._lines:
                sending = sending or line.tx
            left_ms = _SENDING_MS if sending else self._look_ms
            if dt_ms >= 0:
                left_ms = min(left_ms, time.ticks_diff(end, time.ticks_ms()))
                if left_ms <= 0:
                    return
            self._usb.wait(left_ms)

    # ---- outputs ----

    def enable_set(self, on: bool) -> None:
        """Drive the enable line and the LED; never high without the watchdog."""
        if on and self._watchdog is None:
            self.watchdog_start()
        self._enable(on)
        if self._led is not None:
            self._led(on)

    def enable_is(self) -> bool:
        """Return the level at the enable pin."""
        return self._enable() == 1

    def precharge_set(self, on: bool) -> None:
        """Drive the pre-charge line."""
        if self._precharge is not None:
            self._precharge(on)

    def duty_set(self, duty_permille: int) -> None:
        """Set the signed duty, clamped to -1000..1000."""
        if self._pwms is None:
            return
        discharge, charge = self._pwms
        # the one that ends goes first: never both above zero
        if duty_permille > 0:
            charge.duty_u16(0)
            discharge.duty_u16(min(duty_permille, 1000) * 65535 // 1000)
        else:
            discharge.duty_u16(0)
            charge.duty_u16(min(-duty_permille, 1000) * 65535 // 1000)

    # ---- inputs ----

    def sense_ma(self) -> int:
        """Sample and return the pack current; BROKEN_MA for a sensor at a rail."""
        read = self._sense_read
        return self._sense.ma(read() + read() + read() + read())

    def sense_age_ms(self) -> int:
        """Return 0: every reading is fresh."""
        return 0

    def dc_link_mv(self) -> int:
        """Return the DC link's voltage, -1 without a sensor."""
        if self._link_read is None:
            return -1
        return self._link_read() * self._link_gain >> self._link_shift

    def interlock_ok(self) -> bool:
        """Return True while the loop pulls the pin to ground."""
        return self._interlock() == 0

    # ---- the chip ----

    def watchdog_start(self) -> None:
        """Start the watchdog, once."""
        if self._watchdog is None:
            self._mark(True)
            self._watchdog = machine.WDT(timeout=self._board.WATCHDOG_MS)

    def watchdog_feed(self) -> None:
        """Feed the watchdog, which starts it at first; toggle the heartbeat."""
        if self._watchdog is None:
            self.watchdog_start()
        self._watchdog.feed()
        if self._heart is not None:
            self._heart(not self._heart())

    def unique_id(self) -> bytes:
        """Return the chip's identity."""
        return machine.unique_id()

    def entropy(self, size: int) -> bytes:
        """Return size tested bytes. Raises SignatureError."""
        return self._random.draw(size)

    def reset_cause(self) -> int:
        """Return codes.RESET_*."""
        return self._reset_cause

    def log(self, line: str) -> None:
        """Queue a line of text on the USB port."""
        # print would wait for a host; the zero ends the text, so that a frame may follow at once
        self._usb.write(line.encode() + b"\r\n\x00")

    def reset(self) -> None:
        """Switch everything off and restart the chip."""
        self.enable_set(False)
        self.precharge_set(False)
        self.duty_set(0)
        self._mark(False)
        machine.reset()

    def repl_on(self) -> None:
        """Let Ctrl-C interrupt."""
        micropython.kbd_intr(3)

    def repl_off(self) -> None:
        """Make 0x03 a byte like any other."""
        micropython.kbd_intr(-1)

    # ---- what a port adds ----

    def _network(self, board):
        """Return the line to a panel that a radio reaches. Raises RangeError without one."""
        raise RangeError("LINK", board.LINK)

    def _raw(self, size: int) -> bytes:
        """Return bytes of the chip's generator, to be tested."""
        raise NotImplementedError

    def _why(self) -> int:
        """Return codes.RESET_* and forget the mark."""
        raise NotImplementedError

    def _mark(self, armed: bool) -> None:
        """Leave a mark that outlives a reset: the watchdog runs, or this reset is wanted."""
        raise NotImplementedError


def outputs_off(board) -> tuple:
    """Drive every output low, first of all; return the pins for `MicroHAL`."""
    enable = output(board.ENABLE)
    precharge = output(board.PRECHARGE)
    # low as pins, before the PWM takes them over at zero duty
    output(board.PWM_DISCHARGE)
    output(board.PWM_CHARGE)
    pwms = None
    if board.PWM_DISCHARGE is not None:
        pwms = (_pwm(board.PWM_DISCHARGE, board.PWM_HZ), _pwm(board.PWM_CHARGE, board.PWM_HZ))
    return enable, precharge, output(board.STATUS_LED), output(board.HEARTBEAT), pwms


def _pwm(pin: int, frequency_hz: int):
    return machine.PWM(machine.Pin(pin), freq=frequency_hz, duty_u16=0)


def cause_of(armed: bool, powered_on: bool) -> int:
    """Return codes.RESET_* of a start.

    A chip that was reset while the watchdog ran and nobody asked for it lost its control loop:
    starved, crashed or reset by hand, it may have been conducting.
    """
    if powered_on:
        return codes.RESET_POWER_ON
    return codes.RESET_WATCHDOG if armed else codes.RESET_SOFTWARE
