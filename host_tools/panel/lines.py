"""The building's lines, open or not: each is tried again until it is there, whatever the order in
which panel, adapters, brokers and elements start."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from element.protocol.errors import BusError
from host_tools.links.base import Link
from host_tools.links.mqtt_link import MQTTHub, Secrets
from host_tools.links.open_line import open_line
from host_tools.panel.config import BrokerModel

RETRY_S = 2.0
# A line that is opened waits for its peer: in a thread, and never for longer than the line says.
LOOK_S = 0.1


@dataclass
class Line:
    """One line. error: why it is not open, "" while it is."""

    name: str
    open: Callable[[], Link]
    link: Link | None = None
    error: str = "not opened yet"
    fd: int = -1
    retry_at: float = 0.0
    opening: bool = False


class Lines:
    """All lines of a building in one event loop.

    on_data(name, data): bytes that have come. on_state(name, error): a line opened (error "") or
    could not be opened. Both are called in the loop.
    """

    def __init__(self, on_data: Callable[[str, bytes], None],
                 on_state: Callable[[str, str], None]) -> None:
        self.lines: dict[str, Line] = {}
        self._on_data = on_data
        self._on_state = on_state
        self._hub: MQTTHub | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, name: str, open_link: Callable[[], Link] | None = None) -> None:
        """Take a line in; it is opened from the loop."""
        self.lines[name] = Line(name, open_link or (lambda: open_line(name)))

    def add_broker(self, broker: BrokerModel, elements: list[str]) -> list[str]:
        """Take in the lines to elements through a broker; returns their names."""
        hub = self._hub = MQTTHub(broker.host, broker.port, broker.site,
                                  Secrets.of_environment(), broker.tls)
        names = [f"{hub.name}/{one}" for one in elements]
        for name, one in zip(names, elements, strict=True):
            self.add(name, lambda one=one: hub.link(one))  # type: ignore[misc]
        return names

    def send(self, name: str, data: bytes) -> None:
        """Send on a line; what a line that is not open cannot take is lost, as on a cut one."""
        link = self.lines[name].link
        if link is not None:
            link.send(data)

    async def run(self) -> None:
        """Keep lines open and hand on what comes, until cancelled."""
        try:
            while True:
                self._look()
                await asyncio.sleep(LOOK_S)
        finally:
            self.close()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        for line in self.lines.values():
            if line.link is None:
                if not line.opening and loop.time() >= line.retry_at:
                    line.opening = True
                    task = loop.create_task(self._open(line))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                continue
            fd = line.link.fileno()
            if fd != line.fd:
                if line.fd >= 0:
                    loop.remove_reader(line.fd)
                if fd >= 0:
                    loop.add_reader(fd, self._readable, line)
                line.fd = fd
            # a port that has vanished, and a connection under way, are looked after by `receive`
            self._readable(line)

    async def _open(self, line: Line) -> None:
        loop = asyncio.get_running_loop()
        try:
            line.link = await asyncio.to_thread(line.open)
            error = ""
        except BusError as problem:
            error = f"{problem.code}: {str(problem.value).splitlines()[0]}"
        line.opening = False
        line.retry_at = loop.time() + RETRY_S
        if error != line.error:
            line.error = error
            self._on_state(line.name, error)

    def _readable(self, line: Line) -> None:
        link = line.link
        data = link.receive() if link is not None else b""
        if data:
            self._on_data(line.name, data)

    def close(self) -> None:
        """Give all lines up."""
        loop = asyncio.get_running_loop()
        for line in self.lines.values():
            if line.fd >= 0:
                loop.remove_reader(line.fd)
                line.fd = -1
            if line.link is not None:
                line.link.close()
                line.link = None
        if self._hub is not None:
            self._hub.close()
            self._hub = None
