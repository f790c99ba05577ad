"""The virtual clock: boards, plant and host advance in lockstep, as fast as the machine allows.

Time is integer milliseconds since the run began. All boards that are due at one moment are
woken together and run in parallel; their answers are taken in the order of the rigs, so a run
does not depend on which was faster.
"""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Protocol

from element.protocol import codes
from hil.bench.rig import WATCHDOG_MS, Rig

# Bytes from BMS and stage wake a board at whole multiples of this, as an idle-line interrupt does.
RX_GRID_MS = 5


class Panel(Protocol):
    """What the clock drives besides boards: the aggregator, or one with a bus before it."""

    @property
    def due_ms(self) -> int:
        """When `step` is wanted next, Unix ms."""
        ...

    def step(self, now_ms: int) -> None:
        """Do what is due."""
        ...

    def receive(self, name: str, data: bytes, now_ms: int) -> None:
        """Take bytes from a line."""
        ...


class Observer(Protocol):
    """Whoever wants to see every answer of every board."""

    def started(self, rig: Rig, now_ms: int) -> None:
        """A board has been started; it has not answered yet."""
        ...

    def answered(self, rig: Rig, now_ms: int) -> None:
        """A board's outputs have been taken."""
        ...


class VirtualClock:
    """Run rigs, aggregator and timed calls in virtual time."""

    def __init__(self, rigs: list[Rig], aggregator: Panel, start_unix_ms: int) -> None:
        self.now_ms = 0
        self.start_unix_ms = start_unix_ms
        self.exchange_count = 0
        self.observer: Observer | None = None
        self._rigs = rigs
        self._aggregator = aggregator
        self._calls: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._host_due_ms = 0
        self._dues_ms: list[int] = []

    @property
    def unix_ms(self) -> int:
        """The time of day of the simulated world."""
        return self.start_unix_ms + self.now_ms

    def sender(self, rig: Rig) -> Callable[[bytes], None]:
        """Return the function by which the host sends on this rig's line."""
        return lambda data: rig.to_board.put(data, self.now_ms)

    def call_at(self, at_ms: int, call: Callable[[], None]) -> None:
        """Run call at at_ms, before the boards of that moment; ties in the order of asking."""
        heapq.heappush(self._calls, (at_ms, next(self._order), call))

    def start(self) -> None:
        """Start every board at the present moment."""
        for rig in self._rigs:
            self._start(rig)

    def _start(self, rig: Rig) -> None:
        rig.board.start(self.now_ms, reset_cause=rig.reset_cause)
        rig.restart_at_ms = None
        rig.fed_ms = self.now_ms
        if self.observer is not None:
            self.observer.started(rig, self.now_ms)
        self._answer(rig)

    def stop(self) -> None:
        """Stop every board."""
        for rig in self._rigs:
            rig.board.stop()

    def run_until(self, end_ms: int) -> None:
        """Advance to end_ms, doing everything that is due on the way."""
        while True:
            now_ms = self._next_ms(end_ms)
            if now_ms is None:
                self.now_ms = end_ms
                return
            self.now_ms = now_ms
            if self._calls and self._calls[0][0] <= now_ms:
                while self._calls and self._calls[0][0] <= now_ms:
                    heapq.heappop(self._calls)[2]()
                self._dues_ms = [self._due_ms(rig) for rig in self._rigs]
            self._run_host()
            self._run_boards()

    def _next_ms(self, end_ms: int) -> int | None:
        """Return the next moment at which anything is due, or None when that is after end_ms.

        When every board is due is kept for `_run_boards`: what the host sends meanwhile arrives
        later, and only a timed call changes it.
        """
        next_ms = self._host_due_ms
        if self._calls and self._calls[0][0] < next_ms:
            next_ms = self._calls[0][0]
        dues_ms = self._dues_ms = []
        for rig in self._rigs:
            due_ms = self._due_ms(rig)
            dues_ms.append(due_ms)
            if due_ms < next_ms:
                next_ms = due_ms
            to_host_ms = rig.to_host.due_ms()
            if to_host_ms is not None and to_host_ms < next_ms:
                next_ms = to_host_ms
        if next_ms >= end_ms:
            return None
        return max(next_ms, self.now_ms)

    @staticmethod
    def _due_ms(rig: Rig) -> int:
        """Return when the board must run: its own wake-up, or bytes for it."""
        due_ms = rig.wake_ms
        if rig.restart_at_ms is not None:
            return due_ms
        if rig.hung:
            return rig.fed_ms + WATCHDOG_MS
        line_ms = rig.bms_due_ms
        if line_ms is not None:
            line_ms += -line_ms % RX_GRID_MS
            if line_ms < due_ms:
                due_ms = line_ms
        line_ms = rig.stage_due_ms
        if line_ms is not None:
            line_ms += -line_ms % RX_GRID_MS
            if line_ms < due_ms:
                due_ms = line_ms
        link_ms = rig.to_board.due_ms()
        if link_ms is not None and link_ms < due_ms:
            due_ms = link_ms
        return due_ms

    def _run_host(self) -> None:
        """Deliver what arrived at the host, then let it do what is due."""
        for rig in self._rigs:
            to_host_ms = rig.to_host.due_ms()
            if to_host_ms is not None and to_host_ms <= self.now_ms:
                self._aggregator.receive(rig.name, rig.to_host.take(self.now_ms), self.unix_ms)
        if self._aggregator.due_ms <= self.unix_ms:
            self._aggregator.step(self.unix_ms)
        self._host_due_ms = max(self._aggregator.due_ms - self.start_unix_ms, self.now_ms + 1)

    def _run_boards(self) -> None:
        """Wake the boards that are due, all at once, and take their answers in order."""
        now_ms = self.now_ms
        woken: list[Rig] = []
        for due_ms, rig in zip(self._dues_ms, self._rigs, strict=True):
            if due_ms > now_ms:
                continue
            rig.advance(now_ms)
            if rig.restart_at_ms is not None:
                self._start(rig)
                continue
            if rig.hung:
                rig.power_off(now_ms, codes.RESET_WATCHDOG)
                continue
            bms_rx = rig.take_bms(now_ms)
            link_rx = rig.to_board.take(now_ms)
            stage_rx = rig.take_stage(now_ms)
            if not (bms_rx or link_rx or stage_rx) and rig.wake_ms > now_ms:
                continue  # something moved inside the BMS that its board cannot see
            if rig.board.send(now_ms, rig.plant.sense_ma(), rig.plant.dc_link_mv(),
                              rig.interlock_ok, bms_rx, link_rx, stage_rx):
                woken.append(rig)
            else:
                rig.power_off(now_ms)
        for rig in woken:
            self._answer(rig)

    def _answer(self, rig: Rig) -> None:
        """Take a board's answer; one that is dead, resets or starves its watchdog restarts."""
        outputs = rig.board.receive()
        self.exchange_count += 1
        if outputs is None or outputs.reset:
            rig.power_off(self.now_ms, codes.RESET_POWER_ON if outputs is None
                          else codes.RESET_SOFTWARE)
            return
        rig.apply(outputs, self.now_ms)
        if self.now_ms - rig.fed_ms > WATCHDOG_MS:
            rig.power_off(self.now_ms, codes.RESET_WATCHDOG)
        if self.observer is not None:
            self.observer.answered(rig, self.now_ms)
