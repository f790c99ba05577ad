"""The port for MicroPython's unix port in real time: UARTs are descriptors handed in.

The BMS line and the link are descriptors that the board file names, non-blocking (a pty or a
tty in raw mode; a panel's service unit or the bench opens them). The pins are an emulated header
behind descriptor 0 (frames: `header.py`), without waiting: the board sends
its outputs when they change or are due, the header sends inputs whenever it has new ones. Inputs
older than INPUT_AGE_MS_MAX count as an open interlock: the wire to the header is cut.
"""

import os
import select
import struct
import time
from asyncio import core

from .base import HAL
from .header import FED, FIRST_SIZE, IN, IN_SIZE, OUT, RESET, HeaderHAL
from .health import Entropy
from .scheduler import install

INPUT_AGE_MS_MAX = 500
_READ_MAX = 256


class UnixHAL(HeaderHAL):
    """A board process in real time."""

    def __init__(self, channel_fd: int, bms_fd: int, link_fd: int, stage_fd: int):
        """stage_fd: -1 for a power stage that has no line."""
        self._channel = open(channel_fd, "r+b")
        super().__init__(self._channel.read(FIRST_SIZE))
        self._lines = [
            (open(bms_fd, "r+b"), self.bms_uart), (open(link_fd, "r+b"), self.link_uart)
        ]
        if stage_fd >= 0:
            self._lines.append((open(stage_fd, "r+b"), self.stage_uart))
        self._poll = select.poll()
        self._poll.register(self._channel, select.POLLIN)
        for line, _ in self._lines:
            self._poll.register(line, select.POLLIN)
        self._random = Entropy(os.urandom)
        self._random.start()
        self._sent = None
        self._input_at = time.ticks_ms()
        install(self._wait)
        # pins can be read from the first instruction on: wait for the header's first frame
        self._say_clock(time.ticks_ms(), self._read_header(select.POLLIN))

    def ticks_ms(self) -> int:
        return time.ticks_ms()

    def ticks_diff(self, later: int, earlier: int) -> int:
        return time.ticks_diff(later, earlier)

    def ticks_add(self, ticks: int, delta_ms: int) -> int:
        return time.ticks_add(ticks, delta_ms)

    def relax(self):
        # while slices of long work are due the loop never idles: without this look at the lines
        # the inputs would age until a signature counts as an open interlock; and boards that share
        # a core would wait for a round robin's whole turn, were there no moment for them here
        self._wait(1)
        return core.sleep_ms(0)

    def _off_now(self) -> None:
        self._flush()

    def sense_age_ms(self) -> int:
        return time.ticks_diff(time.ticks_ms(), self._input_at)

    def interlock_ok(self) -> bool:
        return super().interlock_ok() and self.sense_age_ms() <= INPUT_AGE_MS_MAX

    def entropy(self, size: int) -> bytes:
        return self._random.draw(size)

    def reset(self) -> None:
        self._outputs = RESET
        self._duty = 0
        self._flush()
        raise SystemExit(3)

    def _flush(self) -> None:
        """Send what the tasks wrote: bytes to the lines, outputs to the header."""
        for line, uart in self._lines:
            if uart.tx:
                sent = line.write(uart.tx)
                uart.tx = uart.tx[sent:] if sent else uart.tx
        if self._outputs & (FED | RESET) or (self._outputs, self._duty) != self._sent:
            self._channel.write(struct.pack(OUT, 0, self._outputs, self._duty, 0, 0, 0))
            self._outputs &= ~FED
            self._sent = (self._outputs, self._duty)

    def _wait(self, dt_ms: int) -> None:
        """Wait in poll for dt_ms at most (-1: without limit) and take in what came."""
        self._flush()
        for stream, event in self._poll.poll(dt_ms):
            if stream is self._channel:
                self._read_header(event)
                continue
            for line, uart in self._lines:
                if stream is line:
                    data = line.read(_READ_MAX)
                    if data:
                        uart.received(data)

    def _read_header(self, event: int) -> int:
        """Take one frame of inputs and return its time on the bench.

        A closed header ends the process with its outputs off.
        """
        frame = self._channel.read(IN_SIZE)
        if not frame or len(frame) != IN_SIZE:
            raise SystemExit(0)
        bench_ms, self._sense_ma, self._dc_link_mv, self._inputs, _, _, _ = struct.unpack(
            IN, frame)
        self._input_at = time.ticks_ms()
        return bench_ms


def open_board(board) -> HAL:
    """Return the HAL of a unix board: the header is descriptor 0, the lines are the board's."""
    return UnixHAL(0, board.BMS_FD, board.LINK_FD, board.STAGE_FD)
