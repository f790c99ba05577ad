"""The real clock: the same boards as processes on ptys, the same emulated devices, wall time.

Each board has a pty to its emulated BMS, paced at 9600 baud, one to its power stage where that has
a line, and a pty to the host, which opens it through pyserial as it would a USB adapter. Its pins
are a socket: inputs are sent every INPUT_MS, outputs come when they change. One thread and one
`select` serve all of it.
"""

import contextlib
import heapq
import os
import pty
import select
import time
import tty
from collections.abc import Callable
from functools import partial
from itertools import count

from element.protocol import codes
from hil.bench.board_process import IN, OUT
from hil.bench.rig import BOOT_MS, WATCHDOG_MS, Rig
from hil.bench.scheduling import RealTimeClass
from host_tools.aggregator import Aggregator
from host_tools.links.serial_link import SerialLink

INPUT_MS = 10
READ_SIZE = 4096
WAIT_S_MAX = 0.5


class _Lines:
    """The ptys of one rig: the board's ends are handed to its process."""

    def __init__(self) -> None:
        self.bms_fd, self.bms_board_fd = pty.openpty()
        self.stage_fd, self.stage_board_fd = pty.openpty()
        self.link_board_fd, self._link_fd = pty.openpty()
        for fd in (self.bms_board_fd, self.stage_board_fd, self._link_fd):
            tty.setraw(fd)
        for fd in (self.bms_fd, self.bms_board_fd, self.stage_fd, self.stage_board_fd,
                   self.link_board_fd):
            os.set_blocking(fd, False)
        self.link = SerialLink(os.ttyname(self._link_fd))

    def close(self) -> None:
        """Close every descriptor."""
        self.link.close()
        for fd in (self.bms_fd, self.bms_board_fd, self.stage_fd, self.stage_board_fd,
                   self.link_board_fd, self._link_fd):
            os.close(fd)


class RealClock:
    """Run rigs, aggregator and timed calls in wall time."""

    def __init__(self, rigs: list[Rig], aggregator: Aggregator, start_unix_ms: int) -> None:
        self.start_unix_ms = start_unix_ms
        self._rigs = rigs
        self._aggregator = aggregator
        self._zero_s = time.monotonic()
        self._calls: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._lines = {rig.name: _Lines() for rig in rigs}
        self._pins: dict[str, bytes] = {rig.name: b"" for rig in rigs}
        self._inputs_due_ms = 0
        self._stopped_ms: int | None = None
        self._class = RealTimeClass()

    @property
    def now_ms(self) -> int:
        """Milliseconds of wall time since the run began; stands still after `stop`."""
        if self._stopped_ms is not None:
            return self._stopped_ms
        return int((time.monotonic() - self._zero_s) * 1000)

    @property
    def unix_ms(self) -> int:
        """The time of day of the simulated world."""
        return self.start_unix_ms + self.now_ms

    def sender(self, rig: Rig) -> Callable[[bytes], None]:
        """Return the function by which the host sends on this rig's line."""
        link = self._lines[rig.name].link

        def send(data: bytes) -> None:
            if not rig.to_board.cut:
                link.send(data)

        return send

    def call_at(self, at_ms: int, call: Callable[[], None]) -> None:
        """Run call at at_ms; ties in the order of asking."""
        heapq.heappush(self._calls, (at_ms, next(self._order), call))

    def start(self) -> None:
        """Start every board; time begins when the last one has been started.

        Until `stop`, this thread and the boards are in the kernel's real-time class if permitted.
        """
        self._class.take()
        for rig in self._rigs:
            self._start(rig)
        self._zero_s = time.monotonic()

    def _start(self, rig: Rig) -> None:
        lines = self._lines[rig.name]
        fds = (lines.bms_board_fd, lines.link_board_fd)
        rig.board.start(0, fds if rig.stage is None else (*fds, lines.stage_board_fd),
                        rig.reset_cause)
        rig.board.channel.setblocking(False)
        rig.restart_at_ms = None
        rig.fed_ms = self.now_ms + BOOT_MS
        self._pins[rig.name] = b""

    def stop(self) -> None:
        """Stop every board and close every line."""
        self._stopped_ms = self.now_ms
        self._class.give_back()
        for rig in self._rigs:
            rig.board.stop()
        for lines in self._lines.values():
            lines.close()

    def run_until(self, end_ms: int) -> None:
        """Serve everything until end_ms of wall time."""
        while self.now_ms < end_ms:
            now_ms = self.now_ms
            while self._calls and self._calls[0][0] <= now_ms:
                heapq.heappop(self._calls)[2]()
            if self._aggregator.due_ms <= self.unix_ms:
                self._aggregator.step(self.unix_ms)
            if now_ms >= self._inputs_due_ms:
                self._inputs_due_ms = now_ms + INPUT_MS
                self._send_inputs()
            self._serve_lines()
            self._wait(end_ms)

    def _send_inputs(self) -> None:
        """Advance the plants, send every board its inputs, watch its watchdog."""
        for rig in self._rigs:
            now_ms = self.now_ms
            rig.advance(now_ms)
            if rig.restart_at_ms is not None:
                if now_ms >= rig.restart_at_ms:
                    self._start(rig)
                continue
            frame = IN.pack(now_ms, rig.plant.sense_ma(), rig.plant.dc_link_mv(),
                            rig.interlock_ok, 0, 0, 0)
            try:
                rig.board.channel.send(frame)
            except BlockingIOError:
                pass  # the board is behind; it will see a later reading
            except OSError:
                rig.power_off(now_ms)
                continue
            if now_ms - rig.fed_ms > WATCHDOG_MS:
                rig.power_off(now_ms, codes.RESET_WATCHDOG)

    def _serve_lines(self) -> None:
        """Hand the bytes that have left a BMS or a stage by now to its board."""
        for rig in self._rigs:
            lines = self._lines[rig.name]
            for fd, data in ((lines.bms_fd, rig.take_bms(self.now_ms)),
                             (lines.stage_fd, rig.take_stage(self.now_ms))):
                if data:
                    with contextlib.suppress(BlockingIOError):  # a full pty: the wire loses them
                        os.write(fd, data)

    def _wait(self, end_ms: int) -> None:
        """Sleep until something is readable or due, and read what there is."""
        due_ms = min(end_ms, self._inputs_due_ms)
        if self._calls:
            due_ms = min(due_ms, self._calls[0][0])
        for rig in self._rigs:
            for line_ms in (rig.bms_due_ms, rig.stage_due_ms):
                if line_ms is not None:
                    due_ms = min(due_ms, line_ms)
        due_ms = min(due_ms, self._aggregator.due_ms - self.start_unix_ms)
        wait_s = min(WAIT_S_MAX, max(0.0, due_ms / 1000 - (time.monotonic() - self._zero_s)))
        readers: dict[int, Callable[[], None]] = {}
        for rig in self._rigs:
            lines = self._lines[rig.name]
            readers[lines.bms_fd] = partial(self._read_bms, rig)
            if rig.stage is not None:
                readers[lines.stage_fd] = partial(self._read_stage, rig)
            readers[lines.link.fileno()] = partial(self._read_link, rig)
            if rig.board.running:
                readers[rig.board.channel.fileno()] = partial(self._read_pins, rig)
        readable, _, _ = select.select(list(readers), [], [], wait_s)
        for fd in readable:
            readers[fd]()

    def _read_bms(self, rig: Rig) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._lines[rig.name].bms_fd, READ_SIZE)
            rig.plant.advance(self.now_ms)
            rig.bms.feed(data, self.now_ms)
            rig.bms_due_ms = rig.bms.due_ms()

    def _read_stage(self, rig: Rig) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._lines[rig.name].stage_fd, READ_SIZE)
            rig.plant.advance(self.now_ms)
            rig.feed_stage(data, self.now_ms)

    def _read_link(self, rig: Rig) -> None:
        data = self._lines[rig.name].link.receive()
        if data and not rig.to_host.cut:
            self._aggregator.receive(rig.name, data, self.unix_ms)

    def _read_pins(self, rig: Rig) -> None:
        """Apply every complete frame of outputs; a closed socket means a dead board."""
        now_ms = self.now_ms
        try:
            data = rig.board.channel.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            rig.power_off(now_ms)
            return
        data = self._pins[rig.name] + data
        rig.plant.advance(now_ms)
        while len(data) >= OUT.size:
            _, bits, duty, _, _, _ = OUT.unpack_from(data)
            data = data[OUT.size:]
            rig.outputs.enable = bool(bits & 1)
            rig.outputs.precharge = bool(bits & 8)
            rig.plant.set_outputs(rig.outputs.enable, duty, rig.outputs.precharge)
            if bits & 2:
                rig.fed_ms = now_ms
            if bits & 4:
                rig.power_off(now_ms, codes.RESET_SOFTWARE)
                return
        self._pins[rig.name] = data
