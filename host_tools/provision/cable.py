"""One element at the end of a cable: frames, sessions and console text on one serial port."""

import os
import re
import select
import time
from collections.abc import Callable
from typing import Any

from element.protocol import schema
from element.protocol.errors import BusError
from element.protocol.wire import Wire
from host_tools.identity.keyring import Enrolled, Keyring
from host_tools.links.element_port import ElementPort
from host_tools.links.open_line import open_line
from host_tools.links.text_lines import TextLines, pieces

STEP_S = 0.02
COMMAND_S_MAX = 5.0
# An RP2040 computes for a quarter of a minute until there is one.
SESSION_S_MAX = 60.0
RECORD_EVERY_MS = 300_000
INTERRUPT_S_MAX = 1.5
# Before the first command: an answer to whoever had the cable before may still be on its way.
QUIET_S = 0.15
QUIET_S_MAX = 2.0
# A board drops text that its host is late to take, lines out of the middle too: ask so often.
ASK_COUNT_MAX = 8
# The lines of `status` that the tools here read.
_USED = {"board", "hardware", "element", "enrolled", "sensor mA", "interlock", "bms", "slot"}
_NAME_SIZE = 10
# What an element's console answers to Ctrl-C.
AT_WORK = "the element is at work"
_LOG = re.compile(r"^\[\d+\] ")

Grant = Callable[[bytes, bytes], tuple[Enrolled, dict[str, Any]]]


def _name_of(line: str) -> str:
    """Return the name in front of a line of `status`."""
    return line[:_NAME_SIZE].strip()


def _is_end(line: str) -> bool:
    """Return True for the line that ends a reply."""
    return line == "ok" or line.startswith("refused: ")


class RefusedError(BusError):
    """The element refuses what it was asked for; `value` is why."""


class Cable:
    """A line with an element behind it: a serial port, or another that `open_line` knows.

    Messages go to `on_message`, log lines to `log`.
    on_text(line) gets every line of text that answers no command: the log, a start's words.

    keyring: our party and the elements it knows; with it `session` opens a session. grant: makes
    a credential for an element that asks; None never enrols.
    """

    def __init__(self, port: str, keyring: Keyring | None = None,
                 grant: Grant | None = None) -> None:
        """Raises BusError, saying what to do, when the port does not open."""
        self._link = open_line(port)
        self.name = port
        self.log: list[str] = []
        self.on_message: Callable[[int, dict[str, Any]], None] = lambda kind, fields: None
        self.on_text: Callable[[str], None] = lambda line: None
        self._lines: list[str] = []
        self._text = TextLines()
        self._asked = False
        self._wire = Wire()
        self.element = ElementPort(
            port, self._link.send, keyring, grant, os.urandom,
            self._take_message, lambda element_id: None)
        self.seeks_session = False
        self.repl_seen = False
        self._text_at_s = 0.0
        self._settled = False

    def close(self) -> None:
        """Give the port back."""
        self._link.close()

    def __enter__(self) -> "Cable":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_message(self, kind: int, fields: dict[str, Any]) -> None:
        self.on_message(kind, fields)

    def knows(self, element_id: bytes) -> bool:
        """Return True when the keys of an element are here."""
        keyring = self.element.keyring
        return keyring is not None and element_id in keyring.known

    def step(self, wait_s: float = STEP_S) -> None:
        """Take in what comes within wait_s at most."""
        fd = self._link.fileno()
        if fd < 0:
            time.sleep(wait_s)
        else:
            select.select([fd], [], [], wait_s)
        now_ms = time.time_ns() // 1_000_000
        data = self._link.receive()
        for frames, text in pieces(self._wire, data):
            if frames:
                self.element.receive(frames, now_ms)
            if text:
                self._take_text(text)
        if self.seeks_session:
            self.element.tick(now_ms)

    def _take_text(self, text: bytes) -> None:
        self._text_at_s = time.monotonic()
        for line in self._text.take(text):
            self._take_line(line)

    def _take_line(self, line: str) -> None:
        is_log = _LOG.match(line) is not None
        if is_log:
            self.log.append(line)
            del self.log[:-200]
        else:
            self._lines.append(line)
            del self._lines[:-1000]
        if is_log or not self._asked:
            self.on_text(line)

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

        Raises RefusedError when it is refused, BusError when no element answers in limit_s.
        """
        self._settle()
        self._lines.clear()
        # the zero ends whatever stood on the line; frames behind the text begin with one too
        self._link.send(b"\x00" + line.encode("ascii") + b"\r\x00")
        self._asked = True
        found = False
        try:
            found = self.until(lambda: any(map(_is_end, self._lines)), limit_s)
        finally:  # after Ctrl-C too the answer to this one may still come
            self._asked = False
            self._settled = found
        lines = [one for one in self._lines if one != line]  # without its echo
        if not found:
            raise BusError("no answer from the element's console",
                           f"{self.name}\n  next: check that this is the element's port and that "
                           "firmware is on it (cellwall flash)")
        end = next(index for index, one in enumerate(lines) if _is_end(one))
        if lines[end] != "ok":
            raise RefusedError(f"{line} was refused", lines[end].removeprefix("refused: "))
        return lines[:end]

    def _settle(self) -> None:
        """Wait until no text has come for a moment."""
        if not self._settled:
            self._text_at_s = time.monotonic()
            self.until(lambda: time.monotonic() - self._text_at_s > QUIET_S, QUIET_S_MAX)
            self._settled = True

    def interrupted(self, limit_s: float = INTERRUPT_S_MAX) -> bool:
        """Send Ctrl-C; True when an element says that it is at work.

        Anything else leaves it False; `repl_seen` says whether a REPL answered with its prompt.
        """
        self._lines.clear()
        self._link.send(b"\r\x03\r")

        def answered() -> bool:
            self.repl_seen = self._text.rest.rstrip().endswith(b">>>")
            return self.repl_seen or any(AT_WORK in line for line in self._lines)

        return self.until(answered, limit_s) and not self.repl_seen

    def ask(self, line: str, is_whole: Callable[[list[str]], bool],
            limit_s: float = COMMAND_S_MAX) -> list[str]:
        """Send a console command that only tells, again until its reply is whole; return that.

        Raises as `command` does, and BusError when a part of the reply is lost each time.
        """
        for _ in range(ASK_COUNT_MAX):
            lines = self.command(line, limit_s)
            if is_whole(lines):
                return lines
            self._settled = False
        raise BusError("a part of the element's answer was lost", f"{self.name}\n  next: this "
                       "machine reads too late, or the cable is bad: end other work, run again")

    def status(self, limit_s: float = COMMAND_S_MAX) -> dict[str, str]:
        """Return the console's `status` by name. Raises BusError for a reply that is not whole."""
        lines = self.ask("status", lambda lines: _USED.issubset(map(_name_of, lines)), limit_s)
        return {_name_of(line): line[_NAME_SIZE:].strip() for line in lines}

    def session(self, limit_s: float = SESSION_S_MAX) -> bytes:
        """Open a session and return the element's id.

        Raises BusError when nobody answers, or an element whose keys are not here.
        """
        self.seeks_session = True
        element = self.element
        if self.until(lambda: element.has_session or bool(element.enrol_error), limit_s) \
                and element.element_id is not None:
            return element.element_id
        reason = self.element.enrol_error or "no answer to WHO"
        raise BusError("no session with the element", f"{self.name}: {reason}")

    def send(self, kind: int, fields: dict[str, Any]) -> None:
        """Send a session message. Raises BusError without a session."""
        if not self.element.send(kind, fields):
            raise BusError("no session with the element", self.name)

    def set_clock(self) -> None:
        """Set the element's clock by this machine's, which begins its side of the session too."""
        self.send(schema.TIME_SYNC, {"unix_ms": time.time_ns() // 1_000_000,
                                     "record_interval_ms": RECORD_EVERY_MS})
