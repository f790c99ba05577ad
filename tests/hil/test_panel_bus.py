"""A real panel on one RS-485 pair behind a serial port: found, dispatched, tripped at once.

The pair and the elements are emulated in real time, the elements' line is the firmware's own.
"""

import os
import pty
import random
import threading
import time
import tty
from pathlib import Path

from hil.devices.rs485_bus import RS485Bus
from hil.swarm.element import SimulatedElement
from hil.swarm.population import Population
from hil.swarm.site import enrol_into
from tests.host.bus_bench import BusBench, Node

from .panel_process import Panel, until

KW = 1_000_000
COUNT = 6
PANEL = "panel"


class Pair:
    """Elements on a pair in real time, the panel's end being a serial port."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self._ours, self._theirs = ours, theirs
        self.port = os.ttyname(theirs)
        self._began_s = time.monotonic()
        # the bench's clock and transceivers; its own master never speaks
        self.bench = BusBench(1)
        self.pair: RS485Bus = self.bench.pair
        self.elements: list[tuple[Node, SimulatedElement]] = []
        population = Population.make(COUNT, now_ms=0)
        for element in population.elements.values():
            node = self.bench.add(element.element_id)
            element._send = node.line.write
            self.elements.append((node, element))
        enrol_into(folder / "site", [(one, f"bus:{self.port}") for _, one in self.elements])
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def power_mw(self) -> int:
        """What all elements give."""
        return sum(one.body.realized_mw for _, one in self.elements)

    def _run(self) -> None:
        while not self._ended.is_set():
            self.bench.now_ms = now_ms = int((time.monotonic() - self._began_s) * 1000)
            try:
                data = os.read(self._ours, 4096)
                self.pair.send(PANEL, data, now_ms)
            except BlockingIOError:
                pass
            for node, element in self.elements:
                node.line.look()
                heard = node.line.read()
                if heard:
                    element.receive(bytes(heard), now_ms)
                element.step(now_ms)
            said = self.pair.take(PANEL, now_ms)
            if said:
                os.write(self._ours, said)
            time.sleep(0.0005)

    def close(self) -> None:
        """Stop, and give the port back."""
        self._ended.set()
        self._thread.join(5)
        os.close(self._ours)
        os.close(self._theirs)


def test_a_panel_on_one_pair(tmp_path: Path) -> None:
    random.seed(1)
    pair = Pair(tmp_path)
    panel = Panel(tmp_path, [f"bus:{pair.port}"])
    try:
        panel.start()
        until(lambda: panel.counted() == COUNT, 40)
        ask = {"key": "bus", "power_mw": 5 * KW, "duration_s": 120, "partial": True}
        assert panel.request("POST", "/v1/dispatches", **ask).status_code == 201
        until(lambda: abs(pair.power_mw - 5 * KW) < 10, 20)
        assert {one["line"] for one in panel.get("/v1/elements")} \
            == {one.element_id.hex() for _, one in pair.elements}
        assert panel.request("POST", "/v1/alarms", zone=0).status_code == 201
        until(lambda: all(one.body.interlock.tripped for _, one in pair.elements), 3)
        assert pair.power_mw == 0
        assert panel.stop() == 0
    finally:
        panel.kill()
        pair.close()
