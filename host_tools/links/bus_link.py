"""A bus and the panel behind it: each element that is found becomes a port of the aggregator."""

import os
import time
from collections.abc import Callable
from typing import Protocol

from element.protocol.errors import BusError
from host_tools.links.base import Link
from host_tools.links.bus import BusMaster
from host_tools.links.element_port import ElementPort
from host_tools.links.serial_link import SerialLink

SCHEME = "bus:"
FORM = "bus:/dev/ttyUSB0?baud=115200"
BAUD = 115200
BAUDS = (9600, 19200, 38400, 57600, 115200, 230400, 460800)


class Panel(Protocol):
    """What an aggregator offers to lines."""

    ports: dict[str, ElementPort]

    def add_port(self, name: str, send: Callable[[bytes], None]) -> ElementPort:
        """Return the port of a new line."""
        ...

    def receive(self, name: str, data: bytes, now_ms: int) -> None:
        """Take bytes from a line."""
        ...


class BusPorts:
    """The master of a bus, its elements as ports named by their ids. No I/O; Unix ms."""

    def __init__(self, baud: int, random_bytes: Callable[[int], bytes], panel: Panel) -> None:
        self.master = BusMaster(baud, random_bytes, self._found)
        self._panel = panel
        self._now_ms = 0

    def _found(self, element_id: bytes) -> Callable[[bytes], None]:
        """Make the element's port, once, and let it ask at once who is there."""
        name = element_id.hex()
        port = self._panel.ports.get(name)
        if port is None:
            port = self._panel.add_port(name, self.master.sender(element_id))
        port.tick(self._now_ms)
        return lambda data: self._panel.receive(name, data, self._now_ms)

    @property
    def due_ms(self) -> int:
        """When `step` is wanted next."""
        return self.master.due_ms

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take bytes from the pair."""
        self._now_ms = now_ms
        self.master.receive(data, now_ms)

    def step(self, now_ms: int) -> bytes:
        """Do what is due; return what is to be sent at once."""
        self._now_ms = now_ms
        return self.master.step(now_ms)


def port_and_baud(name: str) -> tuple[str, int]:
    """Return port and baud rate of `bus:PORT[?baud=N]`. Raises BusError, saying what to write."""
    port, mark, setting = name.removeprefix(SCHEME).partition("?")
    key, _, text = setting.partition("=")
    baud = int(text) if key == "baud" and text.isdecimal() else BAUD
    if not name.startswith(SCHEME) or not port or baud not in BAUDS \
            or (mark and (key != "baud" or not text.isdecimal())):
        raise BusError("not a bus", f"{name}\n  next: write {FORM}, with one of the rates "
                                    + ", ".join(map(str, BAUDS)))
    return port, baud


class BusLink:
    """A bus behind a serial port: call `turn` often, and again after the ms that it returns."""

    def __init__(self, name: str, panel: Panel, link: Link | None = None,
                 random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        """name: `bus:PORT[?baud=N]`. link: used instead of opening PORT. Raises BusError."""
        port, baud = port_and_baud(name)
        self.link = link or SerialLink(port, baud)
        self.ports = BusPorts(baud, random_bytes, panel)

    def turn(self, now_ms: int | None = None) -> int:
        """Take what came and send what is due; return the ms until the next turn, 0 and more."""
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        data = self.link.receive()
        if data:
            self.ports.receive(data, now_ms)
        if self.ports.due_ms <= now_ms:
            out = self.ports.step(now_ms)
            if out:
                self.link.send(out)
        return max(0, self.ports.due_ms - now_ms)

    def close(self) -> None:
        """Give the port up."""
        self.link.close()
