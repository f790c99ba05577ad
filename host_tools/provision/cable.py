"""One element at the end of a cable: frames, sessions and console text on one serial port."""

import os
import re
import select
import time
from collections.abc import Callable
from typing import Any

from element.protocol.errors import BusError
from element.protocol.wire import Wire
from host_tools.identity.issuer import Enrolled
from host_tools.links.element_port import ElementPort
from host_tools.links.serial_link import SerialLink
from host_tools.provision.ports import busy, check_port

STEP_S = 0.02
COMMAND_S_MAX = 5.0
SESSION_S_MAX = 10.0
TEXT_SIZE_MAX = 65536
INTERRUPT_S_MAX = 1.5
# What an element's console answers to Ctrl-C.
AT_WORK = "the element is at work"
_LOG = re.compile(r"^\[\d+\] ")
_PRINTABLE = re.compile(r"[^\x20-\x7e]")

Grant = Callable[[bytes, bytes], tuple[Enrolled, dict[str, Any]]]


class Cable:
    """A serial port with an element behind it. Messages go to `on_message`, log lines to `log`.

    known: element id to what enrolment left here; with it `session` opens a session. grant: makes
    a credential for an element that asks; None never enrols.
    """

    def __init__(self, port: str, known: dict[bytes, Enrolled] | None = None,
                 grant: Grant | None = None) -> None:
        """Raises BusError, saying what to do, when the port does not open."""
        check_port(port)
        try:
            self._link = SerialLink(port)
        except BusError as error:
            raise busy(port) from error
        self.name = port
        self.log: list[str] = []
        self.on_message: Callable[[int, dict[str, Any]], None] = lambda kind, fields: None
        self._lines: list[str] = []
        self._text = b""
        self._wire = Wire()
        self.element = ElementPort(
            port, self._link.send, {} if known is None else known, grant, os.urandom,
            lambda kind, fields: self.on_message(kind, fields), lambda element_id: None)
        self.seeks_session = False
        self.repl_seen = False

    def close(self) -> None:
        """Give the port back."""
        self._link.close()

    def __enter__(self) -> "Cable":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, wait_s: float = STEP_S) -> None:
        """Take in what comes within wait_s at most."""
        fd = self._link.fileno()
        if fd < 0:
            time.sleep(wait_s)
        else:
            select.select([fd], [], [], wait_s)
        now_ms = time.time_ns() // 1_000_000
        data = self._link.receive()
        # a line of text may be longer than what a board takes: take it out piece by piece
        for start in range(0, len(data), 64):
            frames = self._wire.feed(data[start:start + 64])
            if frames:
                self.element.receive(frames, now_ms)
            if self._wire.text:
                self._take_text(bytes(self._wire.text))
                self._wire.text = bytearray()
        if self.seeks_session:
            self.element.tick(now_ms)

    def _take_text(self, text: bytes) -> None:
        self._text = (self._text + text)[-TEXT_SIZE_MAX:]
        # the wire swallows the line feed behind a carriage return
        *lines, self._text = self._text.replace(b"\n", b"\r").split(b"\r")
        for line in lines:
            self._take_line(_PRINTABLE.sub("", line.decode("ascii", "replace")))

    def _take_line(self, line: str) -> None:
        if _LOG.match(line):
            self.log.append(line)
            del self.log[:-200]
        elif line:
            self._lines.append(line)
            del self._lines[:-1000]

    def until(self, what: Callable[[], bool], limit_s: float) -> bool:
        """Step until what() is true; False when limit_s are over before."""
        end = time.monotonic() + limit_s
        while not what():
            if time.monotonic() > end:
                return False
            self.step()
        return True

    def command(self, line: str, limit_s: float = COMMAND_S_MAX) -> list[str]:
        """Send a console command and return its lines.

        Raises BusError when it is refused, or when no element answers in limit_s.
        """
        self._lines.clear()
        # the zero ends whatever stood on the line; frames behind the text begin with one too
        self._link.send(b"\x00" + line.encode("ascii") + b"\r\x00")
        found = self.until(
            lambda: any(one == "ok" or one.startswith("refused: ") for one in self._lines), limit_s)
        lines = [one for one in self._lines if one != line]  # without its echo
        if not found:
            raise BusError("no answer from the element's console",
                           f"{self.name}\n  next: check that this is the element's port and that "
                           "firmware is on it (cellwall flash)")
        end = next(index for index, one in enumerate(lines)
                   if one == "ok" or one.startswith("refused: "))
        if lines[end] != "ok":
            raise BusError(f"{line} was refused", lines[end].removeprefix("refused: "))
        return lines[:end]

    def interrupted(self, limit_s: float = INTERRUPT_S_MAX) -> bool:
        """Send Ctrl-C; True when an element says that it is at work.

        Anything else leaves it False; `repl_seen` says whether a REPL answered with its prompt.
        """
        self._lines.clear()
        self._link.send(b"\r\x03\r")

        def answered() -> bool:
            self.repl_seen = self._text.rstrip().endswith(b">>>")
            return self.repl_seen or any(AT_WORK in line for line in self._lines)

        return self.until(answered, limit_s) and not self.repl_seen

    def status(self, limit_s: float = COMMAND_S_MAX) -> dict[str, str]:
        """Return the console's `status` by name."""
        return {line[:10].strip(): line[10:].strip() for line in self.command("status", limit_s)}

    def session(self, limit_s: float = SESSION_S_MAX) -> bytes:
        """Open a session and return the element's id.

        Raises BusError when nobody answers, or an element whose keys are not here.
        """
        self.seeks_session = True
        if self.until(lambda: self.element.has_session or bool(self.element.enrol_error), limit_s) \
                and self.element.element_id is not None:
            return self.element.element_id
        reason = self.element.enrol_error or "no answer to WHO"
        raise BusError("no session with the element", f"{self.name}: {reason}")

    def send(self, kind: int, fields: dict[str, Any]) -> None:
        """Send a session message. Raises BusError without a session."""
        if not self.element.send(kind, fields):
            raise BusError("no session with the element", self.name)
