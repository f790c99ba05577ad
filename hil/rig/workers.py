"""Threads that ask the instruments, so that none of them can hold up the run.

Each asks one instrument at its own period and puts what it hears into one queue; the run takes it
from there and is the only one that decides. A failed question is asked again at the next turn:
that is how an instrument that was plugged in again comes back.
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
    """What a worker has heard. kind: 'meter' with registers, 'up', or 'gone' with why."""

    at_ms: int
    kind: str
    name: str
    data: Any


class Workers:
    """All of them."""

    def __init__(self, equipment: Equipment, now_ms: Callable[[], int]) -> None:
        self.heard: queue.Queue[Heard] = queue.Queue(QUEUE_MAX)
        self._equipment = equipment
        self._now_ms = now_ms
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []
        self._outputs: dict[str, bool] = {}  # what each switch and load should be

    def start(self, outputs_on: dict[str, bool]) -> None:
        """Begin to ask. outputs_on: what switches and loads should say of themselves."""
        self._outputs = dict(outputs_on)
        for model in self._equipment.rig.meters:
            self._begin(model.name, model.period_ms / 1000, self._read_meter)
        for name in (*self._equipment.switches, *self._equipment.loads):
            self._begin(name, LOOK_S, self._look)

    def expect(self, name: str, on: bool) -> None:
        """Say what a switch should be from now on: it was told so."""
        self._outputs[name] = on

    def stop(self) -> None:
        """End all of them; twice is fine."""
        self._end.set()
        for thread in self._threads:
            thread.join(JOIN_S_MAX)

    def _begin(self, name: str, period_s: float, ask: Callable[[str], None]) -> None:
        def run() -> None:
            due_s = time.monotonic()
            while not self._end.wait(max(0.0, due_s - time.monotonic())):
                due_s = max(due_s + period_s, time.monotonic())
                try:
                    ask(name)
                except BusError as error:
                    self.tell("gone", name, f"{error.code}: {error.value}".splitlines()[0])

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def tell(self, kind: str, name: str, data: Any = None) -> None:
        """Put something into the queue; a full one means that the run does not take it out."""
        try:
            self.heard.put_nowait(Heard(self._now_ms(), kind, name, data))
        except queue.Full:
            pass  # the run hangs: the watchdog is not fed any more either

    def _read_meter(self, name: str) -> None:
        reading = self._equipment.meters[name].read()
        self.tell("meter", name, list(reading.words))

    def _look(self, name: str) -> None:
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
