"""The port of the virtual bench: time stands still until the bench moves it.

The board's one line to the bench is its standard input, a socket. When no task is due the port
sends its outputs and the time until which it has nothing to do, and blocks; the bench advances
the modelled plant and answers with the time, the inputs and the received bytes. A run is
therefore a pure function of what the bench sends. Never flashed to hardware: it has no pins.

The frames are those of `header.py`; the work slice is section "Time on the bench" of
docs/architecture.md.
"""

import hashlib
import struct
import time
from asyncio import core

from .base import HAL
from .header import FED, FIRST, FIRST_SIZE, IN, IN_SIZE, OUT, OUT_SIZE, RESET, HeaderHAL
from .scheduler import install

_FOREVER = 0xFFFFFFFF
# Half a control tick: a task that does slice upon slice pays for so much of them at once.
CHARGE_MS = 50


class LockstepHAL(HeaderHAL):
    """A board inside the bench's virtual time."""

    paced = False  # time stands still meanwhile: it collects when its heap is full

    def __init__(self, channel_fd: int = 0, bus_baud: int = 0):
        """bus_baud: of the bus that the link is, 0 for a link of its own."""
        self._channel_in = open(channel_fd, "rb")
        self._channel_out = open(channel_fd, "wb")
        first = self._channel_in.read(FIRST_SIZE)
        super().__init__(first)
        self._seed = first[8:40]
        self._slice_ms, self._now_ms, _ = struct.unpack(FIRST, first[40:FIRST_SIZE])
        # asyncio's C task queue stamps fresh tasks with the real counter: ours starts well ahead
        self._base = time.ticks_ms() + 100_000_000
        self._in = bytearray(IN_SIZE)
        self._out = bytearray(OUT_SIZE)
        self._drawn = 0
        self._charges = {}
        self._link_raw = self.link_uart
        self._bus = None
        if bus_baud:
            from ..link.lines import open_bus

            self.link_uart = self._bus = open_bus(self, self._link_raw, bus_baud)
        install(self._wait, self.ticks_ms)
        # pins can be read from the first instruction on: take the inputs before anything runs
        self._say_clock(self.ticks_ms(), self._now_ms)
        self._exchange(self._now_ms)

    def ticks_ms(self) -> int:
        return self._base + self._now_ms

    def ticks_diff(self, later: int, earlier: int) -> int:
        return later - earlier

    def ticks_add(self, ticks: int, delta_ms: int) -> int:
        return ticks + delta_ms

    def relax(self):
        # The board model charges what a slice costs on a real board: the clock moves by it. A task
        # that did nothing but its slice since it last paid pays for several together, as each
        # payment is an exchange with the bench; what it owes when it is done, it pays next time.
        task = id(core.cur_task)
        paid_until_ms, owed_ms = self._charges.get(task, (-1, 0))
        owed_ms += self._slice_ms
        if self._now_ms == paid_until_ms and owed_ms < CHARGE_MS:
            self._charges[task] = (paid_until_ms, owed_ms)
            return core.sleep_ms(0)
        self._charges[task] = (self._now_ms + owed_ms, 0)
        return core.sleep_ms(owed_ms)

    def sense_age_ms(self) -> int:
        return 0

    def entropy(self, size: int) -> bytes:
        out = b""
        while len(out) < size:
            self._drawn += 1
            out += hashlib.sha256(self._seed + struct.pack("<I", self._drawn)).digest()
        return out[:size]

    def reset(self) -> None:
        self._outputs = RESET
        self._duty = 0
        self._exchange(_FOREVER)
        raise SystemExit(3)

    def _wait(self, dt_ms: int) -> None:
        if self._bus is not None:
            dt_ms = self._bus.wait_ms(dt_ms)
        self._exchange(_FOREVER if dt_ms < 0 else self._now_ms + dt_ms)

    def _exchange(self, until_ms: int) -> None:
        """Tell the bench that nothing is due before until_ms and take what it answers."""
        bms = self.bms_uart
        link = self._link_raw
        stage = self.stage_uart
        bms_tx = bms.tx
        link_tx = link.tx
        stage_tx = stage.tx
        out = self._out
        struct.pack_into(OUT, out, 0, until_ms, self._outputs, self._duty,
                         len(bms_tx), len(link_tx), len(stage_tx))
        if bms_tx or link_tx or stage_tx:
            self._channel_out.write(out + bms_tx + link_tx + stage_tx)
            bms.tx = bytearray()
            link.tx = bytearray()
            stage.tx = bytearray()
        else:
            self._channel_out.write(out)
        self._outputs &= ~FED
        if self._channel_in.readinto(self._in) != IN_SIZE:
            raise SystemExit(0)  # the bench is gone
        (now_ms, self._sense_ma, self._dc_link_mv, self._inputs, bms_size, link_size,
         stage_size) = struct.unpack(IN, self._in)
        self._now_ms = now_ms
        if bms_size:
            bms.received(self._channel_in.read(bms_size))
        if link_size:
            link.received(self._channel_in.read(link_size))
        if stage_size:
            stage.received(self._channel_in.read(stage_size))
        if self._bus is not None:
            self._bus.look()


def open_board(board) -> HAL:
    """Return the HAL of a virtual board; its line to the bench is descriptor 0."""
    return LockstepHAL(0, board.LINK_BAUD if board.LINK == "bus" else 0)
