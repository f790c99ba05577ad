"""Threads that ask the instruments, so that none of them can hold up the run.

Each asks one instrument at its own period and puts what it hears into one queue; the run takes it
from there and is the only one that decides. A failed question is asked again at the next turn:
that is how an instrument that was plugged in again comes back. A switch that the run wants to be
moved is moved by the thread that looks at it, again at every turn until it has moved.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from element.protocol.errors import BusError
from hil.rig.equipment import Equipment

LOOK_S = 0.5
QUEUE_MAX = 10_000
JOIN_S_MAX = 3.0


class Heard(NamedTuple):
    """What a worker has heard.

    kind: 'meter' with registers, 'up', 'gone' with why, or 'moved' with a switch's new state; the
    time of that is when the switch was told, never after its contact moved.
    """

    at_ms: int
    kind: str
    name: str
    data: Any


class Workers:
    """All of them."""

    def __init__(self, equipment: Equipment, now_ms: Callable[[], int],
                 switch: Callable[[str, bool], None]) -> None:
        """switch(name, on): moves a switch, or raises BusError."""
        self.heard: queue.Queue[Heard] = queue.Queue(QUEUE_MAX)
        self._equipment = equipment
        self._now_ms = now_ms
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []
        self._outputs: dict[str, bool] = {}  # what each switch and load should be
        self._to_move: set[str] = set()  # switches that have yet to be told so
        self._wake: dict[str, threading.Event] = {}
        self._switch = switch

    def start(self, outputs_on: dict[str, bool]) -> None:
        """Begin to ask. outputs_on: what switches and loads should say of themselves."""
        self._outputs = dict(outputs_on)
        for model in self._equipment.rig.meters:
            self._begin(model.name, model.period_ms / 1000, self._read_meter)
        for name in (*self._equipment.switches, *self._equipment.loads):
            self._begin(name, LOOK_S, self._look)

    def move(self, name: str, on: bool) -> None:
        """Have a switch moved, soon, or once it answers; 'moved' is heard then.

        Another `move` takes the place of one that has not come to its end.
        """
        self._outputs[name] = on
        self._to_move.add(name)
        self._wake[name].set()

    def stop(self) -> None:
        """End all of them; twice is fine."""
        self._end.set()
        for wake in self._wake.values():
            wake.set()
        for thread in self._threads:
            thread.join(JOIN_S_MAX)

    def _begin(self, name: str, period_s: float, ask: Callable[[str], None]) -> None:
        wake = self._wake[name] = threading.Event()

        def run() -> None:
            due_s = time.monotonic()
            while not self._end.is_set():
                wake.wait(max(0.0, due_s - time.monotonic()))
                wake.clear()
                if self._end.is_set():
                    return
                due_s = max(due_s + period_s, time.monotonic())
                try:
                    ask(name)
                except BusError as error:
                    self.tell("gone", name, f"{error.code}: {error.value}".splitlines()[0])

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def tell(self, kind: str, name: str, data: Any = None, at_ms: int | None = None) -> None:
        """Put something into the queue; a full one means that the run does not take it out."""
        try:
            self.heard.put_nowait(
                Heard(self._now_ms() if at_ms is None else at_ms, kind, name, data))
        except queue.Full:
            pass  # the run hangs: the watchdog is not fed any more either

    def _read_meter(self, name: str) -> None:
        reading = self._equipment.meters[name].read()
        self.tell("meter", name, list(reading.words))

    def _look(self, name: str) -> None:
        if name in self._to_move:
            self._move(name)
            return
        wanted = self._outputs.get(name)
        switch = self._equipment.switches.get(name)
        if switch is not None:
            on = switch.state().on
            # it may have been told otherwise while it was asked
            if wanted is not None and on != wanted and self._outputs.get(name) == wanted:
                self.tell("gone", name, f"switch {name} is {'on' if on else 'off'} by itself")
                return
        else:
            self._equipment.loads[name].measure_w()
        self.tell("up", name)

    def _move(self, name: str) -> None:
        at_ms = self._now_ms()
        self._to_move.discard(name)
        on = self._outputs[name]  # read after that: whoever changes it adds the name again
        try:
            self._switch(name, on)
        except BusError:
            self._to_move.add(name)
            raise
        if name not in self._to_move:
            self.tell("moved", name, on, at_ms)
