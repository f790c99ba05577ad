"""A MicroPython process with one of the element's network lines, and a broker; both are ours."""

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SERVICES = ROOT / "build" / "services" / "env"
UMQTT = ROOT / "build" / "umqtt"
ID_HEX = "0011223344556677"
WAIT_S_MAX = 20.0


def until(what: Callable[[], Any], limit_s: float = WAIT_S_MAX) -> Any:
    """Return what() once it is true; fails when it never is. The machine may be busy."""
    end_s = time.monotonic() + limit_s
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.01)


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class LineElement:
    """`line_element.py` in a process; called with an expression it returns its value's repr."""

    def __init__(self, micropython: Path, folder: Path, kind: str,
                 settings: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [str(micropython), "-X", "heapsize=1m", str(HERE / "line_element.py"), kind,
             repr(settings)],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={"MICROPYPATH": f"{ROOT / 'firmware'}:{UMQTT}:.frozen", "PATH": "/usr/bin:/bin"},
            text=True, bufsize=1)
        assert self._answer() == "ready"

    def _answer(self) -> str:
        process = self._process
        assert process.stdout is not None
        killer = threading.Timer(WAIT_S_MAX, process.kill)  # no answer is a failure, no hang
        killer.start()
        said = ""
        try:
            for line in process.stdout:
                if line.startswith("= "):
                    return line[2:].strip()
                said += line
        finally:
            killer.cancel()
        raise AssertionError(f"the element ended: {said}")

    def __call__(self, expression: str) -> str:
        """Evaluate an expression in the process."""
        assert self._process.stdin is not None
        self._process.stdin.write(expression + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        assert not answer.startswith("! "), answer
        return answer

    def number(self, expression: str) -> int:
        """Evaluate an expression that is a number."""
        return int(self(expression))

    def is_up(self) -> bool:
        """Return True while the line can carry bytes."""
        return self("line.is_up") == "True"

    def kept(self) -> bytes:
        """Return the end of what the line has received."""
        value = eval(self("kept"))
        assert isinstance(value, bytes)
        return value

    def memory(self) -> int:
        """Return the heap in use after a collection, in bytes."""
        self("__import__('gc').collect()")
        return self.number("__import__('gc').mem_alloc()")

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate(timeout=10)


class Broker:
    """A real Mosquitto on the loopback. settings: more lines of its file."""

    def __init__(self, folder: Path, settings: str = "", port: int = 0) -> None:
        self.port = port or free_port()
        self._folder = folder
        self._file = folder / f"mosquitto-{self.port}.conf"
        self._file.write_text(
            f"listener {self.port} 127.0.0.1\npersistence false\nlog_type all\n"
            # started as root it would become somebody who cannot read our files
            f"user {pwd.getpwuid(os.getuid()).pw_name}\n"
            + (settings or "allow_anonymous true\n"), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        services = dict(one.split("=", 1) for one in SERVICES.read_text().split())
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [services["MOSQUITTO"], "-c", str(self._file)], stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, "LD_LIBRARY_PATH": services["LD_LIBRARY_PATH"]})
        until(self._listens)

    def _listens(self) -> bool:
        assert self._process is not None and self._process.poll() is None, \
            (self._folder / "mosquitto.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(
                ("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def freeze(self, frozen: bool) -> None:
        """Stop or continue it with its connections open: who waits for it waits for nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def stop(self) -> None:
        """Kill it, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
