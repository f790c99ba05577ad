"""Whole elements at the end of each line through a network, enrolled at a cable before.

TCP and MQTT: the real firmware with hal/linux.py on MicroPython (`linux_machine.py`). Bluetooth
LE: the whole agent in CPython behind the real `ble_line.py`, over a stand-in radio.
"""

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from element.link.ble_line import BLELine
from host_tools.identity.site import Site
from host_tools.links.base import Link
from host_tools.provision.enrol import enrol, load_profile
from tests.hil.line_process import UMQTT, free_port
from tests.hil.linux_machine import Machine
from tests.host.ble_air import Air
from tests.host.memory_element import MemoryElement

INTERLOCK = 24


class Recorded(Link):
    """A link that keeps what was sent over it."""

    def __init__(self, link: Link) -> None:
        self.name = link.name
        self.sent: list[bytes] = []
        self.link = link

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        self.link.send(data)

    def receive(self) -> bytes:
        return self.link.receive()

    def fileno(self) -> int:
        """Return the link's descriptor."""
        return self.link.fileno()

    def close(self) -> None:
        self.link.close()


def enrolled_at(port: str, site: Site) -> str:
    """Enrol the element at a cable; return its id."""
    profile = load_profile("lfp_16s_2500w", "wall")
    return enrol(port, site, profile, 1, "tenant", lambda text: None).element_id


class NetworkElement:
    """The real firmware as a process; `use` starts it with another line."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._process: subprocess.Popen[str] | None = None
        self._said = ""
        machine.connect(INTERLOCK, 0)

    def use(self, kind: str, settings: dict[str, Any]) -> None:
        """Start with this line, on the flash that is there."""
        self.end()
        self._machine.write_board(f"\nLINK = {kind!r}\nNETWORK = {settings!r}\n")
        self.start()

    def start(self) -> None:
        """Start, as after a power cut."""
        self._process = self._machine.start(
            "-c", f"import sys\nsys.path.append({str(UMQTT)!r})\nimport board\n"
            "from element import agent\nagent.main(board)\n")
        threading.Thread(target=self._drain, args=(self._process,), daemon=True).start()

    def _drain(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._said = (self._said + line)[-4000:]

    def restart(self) -> None:
        """Cut the power and start again."""
        self.end()
        self.start()

    def end(self) -> None:
        """Kill the process."""
        if self._process is not None:
            assert self._process.poll() is None, self._said
            self._process.kill()
            self._process.wait(10)
            self._machine.forget_owners()
            (self._machine.folder / "state").unlink(missing_ok=True)  # goes with the power
            self._process = None

    def enrol(self, site: Site) -> str:
        """Enrol it over TCP on the loopback, which is as good as a cable; return its id."""
        port = free_port()
        self.use("tcp", {"address": "127.0.0.1", "port": port})
        return _once_there(lambda: enrolled_at(f"tcp:127.0.0.1:{port}", site))


def _once_there(work: Callable[[], str]) -> str:
    """Return work(), tried again while the element does not listen yet."""
    import time

    from element.protocol.errors import BusError
    end_s = time.monotonic() + 20
    while True:
        try:
            return work()
        except BusError as error:
            if error.code != "tcp" or time.monotonic() > end_s:
                raise
            time.sleep(0.05)


class BLEElement(MemoryElement):
    """A whole element in memory. Its line is the pty until `on_air` is set, then the radio."""

    def __init__(self, folder: Path, air: Air) -> None:
        self._home = os.getcwd()
        os.chdir(folder)  # its flash
        self._air = air
        self._line: Any = None
        super().__init__()

    def on_air(self) -> None:
        """Use the radio from now on."""
        with self.lock:
            self._line = self._begun()

    def _begun(self) -> BLELine:
        """Return a line as a boot makes it."""
        line = BLELine(self.element.hal, self._air.module)
        line.begin(self.element.agent.enrolment.element_id)
        return line

    def _step(self, duration_ms: int) -> None:
        line = self._line
        if line is None:
            super()._step(duration_ms)
            return
        line.look()
        uart = self.element.hal.link_uart
        uart.put(line.read())
        self.element.run(duration_ms)
        sent, uart.sent = b"".join(uart.sent), []
        if sent:
            line.write(sent)

    def restart(self) -> None:
        """Cut the power: the radio loses its connection, memory is gone, flash stays."""
        with self.lock:
            self.element = self.element.restart()
            self._quiet()
            self._line = self._begun()

    def end(self) -> None:
        """Stop serving."""
        self.close()
        os.chdir(self._home)


