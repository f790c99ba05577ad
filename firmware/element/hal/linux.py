"""The port for Linux: a Raspberry Pi with MicroPython's unix port, in real time.

Lines are tty devices through termios, pins the GPIO character device, PWM and analogue inputs
files under /sys, the watchdog is /dev/watchdog. Every path is the board's. What does not answer
is safe: a dead sensor reads as over-current, a dead line brings no bytes, a dead pin raises.
A process that dies leaves pins and PWM as they were: see boards/linux/README.md for what makes
that safe.
"""

import hashlib
import os
import select
import struct
import termios
import time
from asyncio import core

from ..protocol import codes
from .analog import BROKEN_MA, CurrentSense, gain_of
from .base import HAL
from .gpiochip import FLAG_BIAS_PULL_UP, FLAG_INPUT, FLAG_OUTPUT, Lines, ioctl, open_fd
from .health import Entropy
from .scheduler import BufferedUART, LoopWaiter, install
from .sysfs import ADC, PWM, read_text, write_text

# What termios of MicroPython does not name (asm-generic/termbits-common.h).
BAUDS = {1200: 9, 2400: 11, 4800: 12, 9600: 13, 19200: 14, 38400: 15, 57600: 0o10001,
         115200: 0o10002, 230400: 0o10003}
_CS8_CREAD_CLOCAL = 0o60 | 0o200 | 0o4000
_READ_MAX = 256
REOPEN_MS = 1000
# A line with bytes to send that are not taken, or one that is gone, is tried again after this.
_RETRY_MS = 5
# On a bus a turn begins at a moment.
_TURN_MS = 1
# WDIOC_SETTIMEOUT, and WDIOF_CARDRESET in the boot status (linux/watchdog.h).
_SET_TIMEOUT = 0xC0045706
_CARD_RESET = 0x20
_SAMPLES = 4

_ENABLE = 1
_PRECHARGE = 2
_HEARTBEAT = 4
_LED = 8


class TTYLine(BufferedUART):
    """A tty in raw mode, 8N1. One that goes away is opened again every REOPEN_MS."""

    def __init__(self, path: str, baud: int, poll):
        super().__init__()
        self._path = path
        self._baud = BAUDS[baud]
        self._poll = poll
        self._closed_at = time.ticks_ms()
        self.file = None
        self._open()

    def _open(self) -> None:
        fd = open_fd(self._path)
        termios.setraw(fd)
        attributes = termios.tcgetattr(fd)
        attributes[0] = 0
        attributes[2] = _CS8_CREAD_CLOCAL
        attributes[4] = attributes[5] = self._baud
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
        self.file = open(fd, "r+b")
        self._poll.register(self.file, select.POLLIN)

    def _close(self) -> None:
        self._poll.unregister(self.file)
        self.file.close()
        self.file = None
        self._closed_at = time.ticks_ms()

    def flush(self) -> None:
        """Send what fits, without waiting; open a line again that is gone."""
        try:
            if self.file is None:
                if time.ticks_diff(time.ticks_ms(), self._closed_at) < REOPEN_MS:
                    return
                self._closed_at = time.ticks_ms()
                self._open()
            if self.tx:
                sent = self.file.write(self.tx)
                self.tx = self.tx[sent or 0:]
        except OSError:
            if self.file is not None:
                self._close()

    def take(self, event: int) -> None:
        """Read after poll's event; an end or an error closes the line."""
        try:
            data = self.file.read(_READ_MAX)
        except OSError:
            data = b""
        if data:
            self.received(data)
        elif data is not None or event & (select.POLLHUP | select.POLLERR):
            self._close()


class Outputs:
    """Every output of the board, low and at zero duty from the moment it is made."""

    def __init__(self, board):
        lines = []
        self._bits = {}
        for name, pin in ((_ENABLE, board.ENABLE), (_PRECHARGE, board.PRECHARGE),
                          (_HEARTBEAT, board.HEARTBEAT), (_LED, board.STATUS_LED)):
            if pin is not None:
                self._bits[name] = 1 << len(lines)
                lines.append(pin)
        self._lines = Lines(board.DEVICES["gpio"], lines, FLAG_OUTPUT)
        self._pwms = []
        if board.PWM_DISCHARGE is not None:
            for channel in board.DEVICES["pwm_channels"]:
                self._pwms.append(PWM(board.DEVICES["pwm"], channel, board.PWM_HZ))

    def set(self, name: int, on: bool) -> None:
        """Drive one output; nothing for one that the board has not."""
        bit = self._bits.get(name)
        if bit is not None:
            self._lines.set(bit if on else 0, bit)

    def is_on(self, name: int) -> bool:
        """Return the level at the pin."""
        return self._lines.get() & self._bits[name] != 0

    def duty(self, permille: int) -> None:
        """Set the signed duty; the side that ends goes first."""
        if self._pwms:
            discharge, charge = self._pwms
            if permille > 0:
                charge.set(0)
                discharge.set(min(permille, 1000))
            else:
                discharge.set(0)
                charge.set(min(-permille, 1000))


class LinuxHAL(HAL):
    """A Linux machine's pins and lines."""

    def __init__(self, board, outputs: Outputs):
        self._outputs = outputs
        self._board = board
        self._devices = devices = board.DEVICES
        self._watchdog = None
        self._beat = False
        self._interlock = Lines(
            devices["gpio"], [board.INTERLOCK], FLAG_INPUT | FLAG_BIAS_PULL_UP)
        self._adc = adc = ADC(board.SENSE_ADC)
        self._sense = CurrentSense(board, adc.uv_num, adc.uv_den * _SAMPLES)
        self._link = None
        if board.DC_LINK_ADC is not None:
            self._link = adc = ADC(board.DC_LINK_ADC)
            self._link_gain = gain_of(
                board.DC_LINK_RATIO * adc.uv_num, adc.uv_den * 1000, 1 << 16)
        self._poll = select.poll()
        self.bms_uart = TTYLine(board.BMS_UART, board.BMS_BAUD, self._poll)
        self._ttys = [self.bms_uart]
        self._network = None
        self._retry_ms = _RETRY_MS
        if board.LINK == "uart":
            self.link_uart = TTYLine(board.LINK_UART, board.LINK_BAUD, self._poll)
            self._ttys.append(self.link_uart)
        elif board.LINK == "bus":
            from ..link.lines import open_bus

            pair = TTYLine(board.LINK_UART, board.LINK_BAUD, self._poll)
            self._ttys.append(pair)
            self._retry_ms = _TURN_MS
            self.link_uart = self._network = open_bus(self, pair, board.LINK_BAUD)
        else:
            from ..link.lines import open_line

            self.link_uart = self._network = open_line(board, self, self._poll)
        if board.STAGE == "sunspec":
            self.stage_uart = TTYLine(board.STAGE_UART, board.STAGE_BAUD, self._poll)
            self._ttys.append(self.stage_uart)
        self._random = Entropy(os.urandom)
        self._random.start()
        self._reset_cause = self._why()
        install(self._wait)

    # ---- time ----

    def ticks_ms(self) -> int:
        return time.ticks_ms()

    def ticks_diff(self, later: int, earlier: int) -> int:
        return time.ticks_diff(later, earlier)

    def ticks_add(self, ticks: int, delta_ms: int) -> int:
        return time.ticks_add(ticks, delta_ms)

    def sleep_ms(self, duration_ms: int):
        return core.sleep_ms(duration_ms)

    def relax(self):
        # while slices of long work are due the loop never idles: look at the lines here
        self._wait(0)
        return core.sleep_ms(0)

    def waiter(self):
        return LoopWaiter()

    def _wait(self, dt_ms: int) -> None:
        """Wait in poll for dt_ms at most (-1: without limit) and take in what came."""
        waiting = False
        network = self._network
        if network is not None:
            if network.look():
                dt_ms = 0
            waiting = network.busy
        for tty in self._ttys:
            tty.flush()
            waiting = waiting or tty.tx or tty.file is None
        if waiting and not 0 <= dt_ms <= self._retry_ms:
            dt_ms = self._retry_ms  # a line that is full or gone is tried again
        for event in self._poll.poll(dt_ms):
            for tty in self._ttys:
                if event[0] is tty.file:
                    tty.take(event[1])
        if network is not None:
            network.look()

    # ---- outputs ----

    def enable_set(self, on: bool) -> None:
        if on and self._watchdog is None:
            self.watchdog_start()
        self._outputs.set(_ENABLE, on)
        self._outputs.set(_LED, on)

    def enable_is(self) -> bool:
        return self._outputs.is_on(_ENABLE)

    def precharge_set(self, on: bool) -> None:
        self._outputs.set(_PRECHARGE, on)

    def duty_set(self, duty_permille: int) -> None:
        self._outputs.duty(duty_permille)

    # ---- inputs ----

    def sense_ma(self) -> int:
        try:
            count = 0
            for _ in range(_SAMPLES):
                count += self._adc.count()
        except (OSError, ValueError):
            return BROKEN_MA
        return self._sense.ma(count)

    def sense_age_ms(self) -> int:
        return 0

    def dc_link_mv(self) -> int:
        if self._link is None:
            return -1
        gain, shift = self._link_gain
        try:
            return self._link.count() * gain >> shift
        except (OSError, ValueError):
            return 0  # no voltage that was ever seen: the pre-charge does not end

    def interlock_ok(self) -> bool:
        return self._interlock.get() == 0

    # ---- the machine ----

    def watchdog_start(self) -> None:
        if self._watchdog is not None:
            return
        self._mark("armed")
        path = self._devices["watchdog"]
        if path is None:
            self._watchdog = False
            return
        self._watchdog = open(path, "wb")
        seconds = struct.pack("<i", (self._board.WATCHDOG_MS + 999) // 1000)
        ioctl(self._watchdog.fileno(), _SET_TIMEOUT, bytearray(seconds))

    def watchdog_feed(self) -> None:
        if self._watchdog is None:
            self.watchdog_start()
        if self._watchdog:
            self._watchdog.write(b"\0")  # never 'V': closing must not stop it
        self._beat = not self._beat
        self._outputs.set(_HEARTBEAT, self._beat)

    def unique_id(self) -> bytes:
        return hashlib.sha256(read_text(self._devices["id"])).digest()[:8]

    def entropy(self, size: int) -> bytes:
        return self._random.draw(size)

    def reset_cause(self) -> int:
        return self._reset_cause

    def reset(self) -> None:
        """End the process, outputs off; the service manager starts it again."""
        try:
            self.enable_set(False)
            self.precharge_set(False)
            self.duty_set(0)
            for tty in self._ttys:
                tty.flush()
            self._mark("reset")
        finally:
            raise SystemExit(3)

    def _mark(self, word: str) -> None:
        """Leave word for the next start; the folder goes with the machine's power."""
        write_text(self._devices["state"], word)

    def _why(self) -> int:
        """Return codes.RESET_*: what the last process left, or the machine's own boot status."""
        try:
            word = read_text(self._devices["state"])
        except OSError:
            return self._boot_cause()
        self._mark("")
        if word == "armed":
            return codes.RESET_WATCHDOG  # it died while it may have been conducting
        return codes.RESET_SOFTWARE if word == "reset" else codes.RESET_UNKNOWN

    def _boot_cause(self) -> int:
        try:
            if int(read_text(self._devices["boot_status"])) & _CARD_RESET:
                return codes.RESET_WATCHDOG
        except (OSError, ValueError):
            pass  # this machine's watchdog does not tell
        return codes.RESET_POWER_ON


def outputs_off(board) -> Outputs:
    """Drive every output low; `off.py` does this after a process has died."""
    return Outputs(board)


def open_board(board) -> HAL:
    """Return the HAL of a Linux board; its outputs are off before anything else happens."""
    return LinuxHAL(board, outputs_off(board))
