"""One element on the bench: board, BMS, pack and power stage, wired; and its line to the host."""

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from element.protocol import codes
from element.protocol.errors import BusError
from hil.bench.board_process import BoardProcess, Outputs
from hil.devices.base import EmulatedBMS
from hil.plant.element import ElementPlant

LINK_BAUD = 115200
# USB-serial adapters and drivers hold a frame for about this long.
LINK_LATENCY_MS = 2
BMS_UPDATE_MS = 100
# An open fire-alarm contact or a missing watchdog feed is judged against this.
WATCHDOG_MS = 1000
BOOT_MS = 1500
RESTART_COUNT_MAX = 10


class Wire:
    """One direction of a serial line in virtual time: bytes in, the same bytes later.

    Frames queue behind each other at LINK_BAUD. Cut, it loses what is put in and in flight.
    """

    def __init__(self) -> None:
        self.cut = False
        self._queue: deque[tuple[int, bytes]] = deque()
        self._free_ms = 0.0

    def put(self, data: bytes, now_ms: int) -> None:
        """Send data at now_ms."""
        if self.cut:
            return
        begin_ms = max(self._free_ms, float(now_ms))
        self._free_ms = begin_ms + len(data) * 10_000.0 / LINK_BAUD
        self._queue.append((int(self._free_ms) + 1 + LINK_LATENCY_MS, data))

    def due_ms(self) -> int | None:
        """Return when the next bytes arrive."""
        return self._queue[0][0] if self._queue else None

    def take(self, now_ms: int) -> bytes:
        """Return what has arrived by now_ms."""
        data = b""
        while self._queue and self._queue[0][0] <= now_ms:
            data += self._queue.popleft()[1]
        return data

    def set_cut(self, cut: bool) -> None:
        """Cut or join the wire."""
        self.cut = cut
        if cut:
            self._queue.clear()


class StageDevice(Protocol):
    """Be what answers on a power stage's line: bytes and time in, bytes out, as a BMS does."""

    def feed(self, data: bytes, now_ms: int) -> None:
        """Take bytes that the board hands to its UART at now_ms."""

    def due_ms(self) -> int | None:
        """Return when `take` should be called next, None when nothing is under way."""

    def take(self, now_ms: int) -> bytes:
        """Return the bytes that have completely left the device by now_ms."""


@dataclass
class Rig:
    """One element. `name` is the scenario's, `element_id` becomes known at enrolment."""

    name: str
    board: BoardProcess
    plant: ElementPlant
    bms: EmulatedBMS
    rating_w: float
    kind: str
    zone: int
    stage: StageDevice | None = None
    to_board: Wire = field(default_factory=Wire)
    to_host: Wire = field(default_factory=Wire)
    outputs: Outputs = field(default_factory=Outputs)
    wake_ms: int = 0
    fed_ms: int = 0
    bms_updated_ms: int = 0
    restart_at_ms: int | None = None
    bms_due_ms: int | None = None
    stage_due_ms: int | None = None
    interlock_ok: bool = True
    hung: bool = False
    reset_cause: int = codes.RESET_POWER_ON
    element_id: bytes | None = None

    def apply(self, outputs: Outputs, now_ms: int) -> None:
        """Take the board's outputs: pins to the stage, bytes to BMS and host."""
        self.outputs = outputs
        self.wake_ms = max(outputs.wake_ms, now_ms + 1)
        if outputs.fed:
            self.fed_ms = now_ms
        self.plant.set_outputs(outputs.enable, outputs.duty_permille, outputs.precharge)
        if outputs.bms_tx:
            self.bms.feed(outputs.bms_tx, now_ms)
            self.bms_due_ms = self.bms.due_ms()
        if outputs.stage_tx:
            self.feed_stage(outputs.stage_tx, now_ms)
        if outputs.link_tx:
            self.to_host.put(outputs.link_tx, now_ms)

    def advance(self, now_ms: int) -> None:
        """Bring pack, stage and BMS to now_ms."""
        self.plant.advance(now_ms)
        if now_ms - self.bms_updated_ms >= BMS_UPDATE_MS:
            self.bms_updated_ms = now_ms
            self.bms.update(now_ms)
            self.bms_due_ms = self.bms.due_ms()

    def take_bms(self, now_ms: int) -> bytes:
        """Return the bytes that have left the BMS by now_ms."""
        if self.bms_due_ms is None or self.bms_due_ms > now_ms:
            return b""
        data = self.bms.take(now_ms)
        self.bms_due_ms = self.bms.due_ms()
        return data

    def take_stage(self, now_ms: int) -> bytes:
        """Return the bytes that have left the stage's device by now_ms."""
        if self.stage is None or self.stage_due_ms is None or self.stage_due_ms > now_ms:
            return b""
        data = self.stage.take(now_ms)
        self.stage_due_ms = self.stage.due_ms()
        return data

    def feed_stage(self, data: bytes, now_ms: int) -> None:
        """Hand bytes to the stage's device; without one they are lost on an open line."""
        if self.stage is not None:
            self.stage.feed(data, now_ms)
            self.stage_due_ms = self.stage.due_ms()

    def set_link_cut(self, cut: bool) -> None:
        """Cut or join the line to the host, both directions."""
        self.to_board.set_cut(cut)
        self.to_host.set_cut(cut)

    def power_off(self, now_ms: int, cause: int = codes.RESET_POWER_ON) -> None:
        """The board is dead or in reset: its pins are off; it starts again after BOOT_MS.

        cause: what its reset register will say.

        Raises BusError with the last words of its console when it never stays up.
        """
        self.plant.set_outputs(False, 0)
        self.outputs = Outputs()
        self.board.stop()
        self.board.restart_count += 1
        if self.board.restart_count > RESTART_COUNT_MAX:
            raise BusError("board keeps restarting", f"{self.name}: {self.board.last_words()}")
        self.hung = False
        self.reset_cause = cause
        self.restart_at_ms = now_ms + BOOT_MS
        self.wake_ms = self.restart_at_ms
