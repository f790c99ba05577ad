"""A USB relay (LCUS type) as a watchdog, behind a supervisor of its own.

The relay itself knows no time: it stays as it was told. So a small process, `relay_guard`, holds
its port and opens it when it was not fed in time, or when its pipe to the host's process ends. It
outlives a killed or hung process, and not a host without power: the relay of that host loses its
USB supply then and drops, unless the hub has another one. Frames: A0 CHANNEL STATE SUM.
"""

import contextlib
import select
import subprocess
import sys
import time

from .base import Identity, Setup
from .watchdog_relay import WatchdogRelay

FED, LOST, OFF = b"fed\n", b"lost\n", b"off\n"
START_S_MAX = 10.0


def frame(channel: int, on: bool) -> bytes:
    """Return the frame that moves a channel, from 1: A0 01 01 A2 closes the first."""
    return bytes((0xA0, channel, int(on), (0xA0 + channel + int(on)) & 0xFF))


class USBRelayWatchdog(WatchdogRelay):
    """Feed a relay through its supervisor. address: the serial port."""

    survives = "process"
    next_step = "plug it in again; `lsusb` shows a CH340 or the like"

    def __init__(self, setup: Setup, hold_s: float, channel: int = 1) -> None:
        super().__init__(setup, hold_s)
        self._channel = channel
        self._guard: subprocess.Popen[bytes] | None = None

    def identify(self) -> Identity:
        """Start the supervisor; it opens the port and the contact."""
        with self.lock:
            self._running()
        return Identity("LCUS", "USB relay")

    def feed(self) -> None:
        with self.lock:
            self._say(b"feed\n", FED)

    def make_safe(self) -> None:
        with self.lock:
            self._say(b"off\n", OFF)

    def close(self) -> None:
        """End the supervisor, which opens the contact first."""
        with self.lock:
            guard, self._guard = self._guard, None
            if guard is None:
                return
            for pipe in (guard.stdin, guard.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            try:
                guard.wait(START_S_MAX)
            except subprocess.TimeoutExpired:
                guard.kill()
                guard.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._guard is not None and self._guard.poll() is None:
            return self._guard
        if self._guard is not None:
            self.close()
        # a session of its own: Ctrl-C at the terminal is for the host's process
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "hil.instruments.relay_guard", self.setup.address,
             f"{self.hold_s:g}", str(self._channel)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        answer = self._answer(self._guard, START_S_MAX)
        if answer != OFF:
            self.close()
            raise self.gone("the relay's supervisor cannot open its port")
        return self._guard

    def _say(self, word: bytes, wanted: bytes) -> None:
        guard = self._running()
        assert guard.stdin is not None
        try:
            guard.stdin.write(word)
            guard.stdin.flush()
        except OSError as error:
            raise self.gone("its supervisor has ended") from error
        answer = self._answer(guard, self.setup.timeout_s)
        self.tap(self.name, "relay", [word.decode().strip(), answer.decode().strip()])
        if answer != wanted:
            raise self.gone("its port is lost" if answer == LOST else "its supervisor is silent")

    def _answer(self, guard: subprocess.Popen[bytes], limit_s: float) -> bytes:
        """Return the supervisor's next line, b"" when none comes in time."""
        assert guard.stdout is not None
        fd = guard.stdout.fileno()
        line, end_s = b"", time.monotonic() + limit_s
        while not line.endswith(b"\n"):
            left_s = end_s - time.monotonic()
            if left_s <= 0 or not select.select([fd], [], [], left_s)[0]:
                return b""
            piece = guard.stdout.read1(1)  # type: ignore[attr-defined]
            if not piece:
                return b""
            line += piece
        return line
