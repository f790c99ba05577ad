"""A whole element in memory at the end of a pty: the real firmware, its plant, in wall time."""

import os
import pty
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from element.protocol.framing import cobs_decode

PORTABLE = Path(__file__).resolve().parents[1] / "portable"
STEP_MS = 10
# The first byte of a session's messages: COSE_Encrypt0's tag.
SEALED = 0xD0


class MemoryElement:
    """Serve an element of tests/portable/element_bench.py. `element` is that; use `lock` on it.

    Its files are in the working folder. silent: the cable is cut. to_host: all that it has sent.
    to_lose: texts that a host too slow to take them loses, each once. frames_to_damage: of the
    next ones that belong to no session.
    """

    def __init__(self, speed: float = 1.0) -> None:
        sys.path.insert(0, str(PORTABLE))
        try:
            from element_bench import Element  # type: ignore[import-not-found]
        finally:
            sys.path.remove(str(PORTABLE))
        self.lock = threading.RLock()
        self.element: Any = Element()
        self._quiet()
        self.silent = False
        self.to_host = bytearray()
        self.to_lose: list[bytes] = []
        self.frames_to_damage = 0
        self.resets = 0
        self._speed = speed
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self.port = os.ttyname(self._theirs)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _quiet(self) -> None:
        """Keep the bench's own host from reading what is for the pty; log to the line."""
        element = self.element
        element.host.received = list
        element.agent.log = element.agent.journal.log
        element.hal.log = lambda line: element.hal.link_uart.write(line.encode() + b"\r\n\x00")
        element.hal.reset = self._reset

    def _reset(self) -> None:
        """Count a restart and begin the next life at the end of this step."""
        self.resets += 1

    def _run(self) -> None:
        began = time.monotonic()
        served_ms = 0
        while not self._ended.is_set():
            due_ms = int((time.monotonic() - began) * 1000 * self._speed)
            if due_ms - served_ms < STEP_MS:
                time.sleep(STEP_MS / 2000)
                continue
            with self.lock:
                self._step(due_ms - served_ms)
            served_ms = due_ms

    def _step(self, duration_ms: int) -> None:
        before = self.resets
        uart = self.element.hal.link_uart
        try:
            data = os.read(self._ours, 4096)
            if not self.silent:
                uart.put(data)
        except BlockingIOError:
            pass
        self.element.run(duration_ms)
        sent, uart.sent = b"".join(uart.sent), []
        for text in {text for text in self.to_lose if text in sent}:
            self.to_lose.remove(text)
            sent = sent.replace(text, b"", 1)
        pieces = sent.split(b"\x00")
        for at, piece in enumerate(pieces):
            plain = cobs_decode(piece) if len(piece) > 20 and piece[1] >= 0x80 else None
            if self.frames_to_damage and plain and plain[0] != SEALED:
                self.frames_to_damage -= 1
                pieces[at] = piece[:10] + bytes([piece[10] ^ 1 or 2]) + piece[11:]
        sent = b"\x00".join(pieces)
        if sent and not self.silent:
            self.to_host += sent
            os.write(self._ours, sent)
        if self.resets != before:
            self.element = self.element.restart()
            self._quiet()

    def happens(self, what: Callable[[], Any], limit_s: float = 10.0) -> bool:
        """Wait until what() is true; False when limit_s are over before."""
        end_s = time.monotonic() + limit_s
        while not what():
            if time.monotonic() > end_s:
                return False
            time.sleep(0.02)
        return True

    def close(self) -> None:
        """Stop serving and close the port."""
        self._ended.set()
        self._thread.join(10)
        os.close(self._ours)
        os.close(self._theirs)


@contextmanager
def on_a_pty(folder: Path) -> Iterator[MemoryElement]:
    """Serve an element whose files are in folder, which is the working folder meanwhile."""
    home = os.getcwd()
    os.chdir(folder)
    served = MemoryElement()
    try:
        yield served
    finally:
        served.close()
        os.chdir(home)
