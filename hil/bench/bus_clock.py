"""Boards on one RS-485 pair, in virtual time: enrolled over cables, then moved to the bus.

The clock is `virtual.VirtualClock` as it is; a rig's two wires become its place on the pair, and
the panel gets the bus's master before it. A board hears every byte on the pair, as a real one.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

from element.protocol.errors import BusError
from hil.bench.board_process import BoardProcess
from hil.bench.rig import Rig, Wire
from hil.bench.site import Site
from hil.bench.virtual import VirtualClock
from hil.devices.rs485_bus import RS485Bus
from host_tools.aggregator import Aggregator
from host_tools.links.bus_link import BusPorts

PANEL = "panel"
ENROL_MS_MAX = 180_000
LOOK_MS = 1000


class _Ear(Wire):
    """What a rig hears on the pair, in place of its wire from the host."""

    def __init__(self, pair: RS485Bus, name: str, board: BoardProcess) -> None:
        super().__init__()
        self._pair, self._name, self._board = pair, name, board

    def due_ms(self) -> int | None:
        """Return when there is something to hear; a board that is off hears nothing."""
        return self._pair.due_ms(self._name) if self._board.running else None

    def take(self, now_ms: int) -> bytes:
        """Return what was heard by now_ms."""
        return self._pair.take(self._name, now_ms)

    def set_cut(self, cut: bool) -> None:
        """Break or mend the stub."""
        self._pair.cut(self._name, cut)


class _Mouth(Wire):
    """What a rig says on the pair, in place of its wire to the host."""

    def __init__(self, pair: RS485Bus, name: str) -> None:
        super().__init__()
        self._pair, self._name = pair, name

    def put(self, data: bytes, now_ms: int) -> None:
        """Send from now_ms on."""
        self._pair.send(self._name, data, now_ms)

    def set_cut(self, cut: bool) -> None:
        """Break or mend the stub."""
        self._pair.cut(self._name, cut)


class BusPanel:
    """The aggregator with the bus before it, as the clock drives it."""

    def __init__(self, aggregator: Aggregator, pair: RS485Bus, baud: int, start_unix_ms: int,
                 random_bytes: Callable[[int], bytes]) -> None:
        self.aggregator = aggregator
        self.ports = BusPorts(baud, random_bytes, aggregator)
        self._pair = pair
        self._start_unix_ms = start_unix_ms
        self.is_on = False
        pair.attach(PANEL, in_pieces=True)

    @property
    def due_ms(self) -> int:
        """When `step` is wanted next, Unix ms."""
        if not self.is_on:
            return self.aggregator.due_ms
        heard_ms = self._pair.due_ms(PANEL)
        due_ms = min(self.aggregator.due_ms, self.ports.due_ms)
        return due_ms if heard_ms is None else min(due_ms, heard_ms + self._start_unix_ms)

    def step(self, now_ms: int) -> None:
        """Listen, speak, and let the aggregator do what is due."""
        if self.is_on:
            at_ms = now_ms - self._start_unix_ms
            heard = self._pair.take(PANEL, at_ms)
            if heard:
                self.ports.receive(heard, now_ms)
        if self.aggregator.due_ms <= now_ms:
            self.aggregator.step(now_ms)
        if self.is_on and self.ports.due_ms <= now_ms:
            self._pair.send(PANEL, self.ports.step(now_ms), at_ms)

    def receive(self, name: str, data: bytes, now_ms: int) -> None:
        """Take bytes from a cable."""
        self.aggregator.receive(name, data, now_ms)


class BusBench:
    """A site whose elements share a pair. `ids`: the id of each rig, by name."""

    def __init__(self, site: Site, aggregator: Aggregator, start_unix_ms: int, baud: int,
                 folder: Path, seed: int) -> None:
        """folder: where the board's file for the bus is made."""
        rng = Random(f"{seed}/bus")
        self.pair = RS485Bus(baud, rng)
        self.panel = BusPanel(aggregator, self.pair, baud, start_unix_ms, rng.randbytes)
        self.clock = VirtualClock([], self.panel, start_unix_ms)
        self.ids: dict[str, bytes] = {}
        self.aggregator = aggregator
        self.master = self.panel.ports.master
        self._site = site
        self._rigs = self.clock._rigs
        self._board = folder / "bus_board"
        self._board.mkdir(parents=True, exist_ok=True)
        text = (site.rigs[0].board.spec.board / "board.py").read_text(encoding="utf-8")
        for before, after in (('LINK = "socket"', 'LINK = "bus"'),
                              ("LINK_BAUD = 115200", f"LINK_BAUD = {baud}")):
            if text.count(before) != 1:
                raise BusError("board.py has changed", before)
            text = text.replace(before, after)
        (self._board / "board.py").write_text(text, encoding="utf-8")

    def enrol(self) -> None:
        """Enrol every element over a cable of its own, as a person does, then switch all off.

        Raises BusError when one does not come.
        """
        for rig in self._site.rigs:
            self.aggregator.add_port(rig.name, self.clock.sender(rig))
            self._rigs.append(rig)
        self.clock.start()
        end_ms = self.clock.now_ms + ENROL_MS_MAX
        while not all(port.has_session for port in self.aggregator.ports.values()):
            if self.clock.now_ms >= end_ms:
                raise BusError("not enrolled", [port.name for port in
                               self.aggregator.ports.values() if not port.has_session])
            self.clock.run_until(self.clock.now_ms + LOOK_MS)
        for rig in self._site.rigs:
            element_id = self.aggregator.ports[rig.name].element_id
            assert element_id is not None
            self.ids[rig.name] = rig.element_id = element_id
            self.aggregator.remove_port(rig.name)
            rig.plant.set_outputs(False, 0)
            rig.board.stop()
        self._rigs.clear()

    def connect(self, name: str) -> Rig:
        """Put an element on the pair and switch it on; returns its rig."""
        rig = self._site.rig(name)
        rig.board = BoardProcess(replace(rig.board.spec, board=self._board), "lockstep")
        self.pair.attach(name)
        rig.to_board = _Ear(self.pair, name, rig.board)
        rig.to_host = _Mouth(self.pair, name)
        rig.bms_due_ms = rig.stage_due_ms = None
        self._rigs.append(rig)
        self.clock._start(rig)
        return rig

    def begin(self) -> None:
        """Switch the master on."""
        self.panel.is_on = True
        self.clock._host_due_ms = self.clock.now_ms

    def until(self, holds: Callable[[], bool], limit_ms: int, look_ms: int = 10) -> int | None:
        """Run until something holds; return how long that took, None when it never did."""
        began_ms = self.clock.now_ms
        while self.clock.now_ms - began_ms < limit_ms:
            if holds():
                return self.clock.now_ms - began_ms
            self.clock.run_until(self.clock.now_ms + look_ms)
        return None

    @property
    def rigs(self) -> list[Rig]:
        """Those that are switched on."""
        return self._rigs

    def has_session(self, name: str) -> bool:
        """Return True while the panel has a session with this element, over the bus."""
        port = self.aggregator.ports.get(self.ids[name].hex())
        return port is not None and port.has_session

    def stop(self) -> None:
        """Switch everything off."""
        self.clock.stop()
