"""A person's console at an element: one thread owns the cable, others ask it for replies.

What comes without being asked for (the element's log, a start's words) is handed on as it comes.
Where the element's keys are known a session shows live status; it only looks: the one message it
sends acknowledges nothing, and proves the session so that telemetry comes.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from element.protocol import codes, schema, texts
from element.protocol.errors import BusError
from host_tools.provision.cable import Cable, RefusedError

COMMANDS: dict[str, tuple[str, ...]] = {
    "help": (), "status": (), "cells": (), "limits": (), "trips": (), "log": (), "set-zone": (),
    "maintenance": ("repl", "off"),
}
ENDS = ("quit", "exit")
TO_REPL = "maintenance repl"
# The REPL's reply comes when the event has been signed and is on flash.
REPLY_S_MAX = 20.0
STALE_S = 3.0
_FIRST_S_MAX = 2.0


@dataclass(frozen=True)
class Reply:
    """What the element answered. refused: why it did not do it, "" when it did."""

    command: str
    lines: list[str]
    refused: str


class ElementConsole:
    """The element behind a cable, for a person. Use as a context; `ask` from any thread.

    on_text(line) is called from the cable's thread.
    """

    def __init__(self, cable: Cable, on_text: Callable[[str], None]) -> None:
        self._cable = cable
        self._on_text = on_text
        self._jobs: queue.SimpleQueue[tuple[str, Future[Reply]]] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="element-console", daemon=True)
        self._telemetry: dict[str, Any] | None = None
        self._telemetry_at_s = 0.0
        self._had_session = False
        self.status: dict[str, str] = {}
        self.no_session = ""

    def __enter__(self) -> "ElementConsole":
        """Find the element. Raises BusError, saying what is there instead, when none answers."""
        self.status = find_element(self._cable)
        self._cable.on_text = self._on_text
        self._cable.on_message = self._on_message
        self.no_session = why_no_session(self.status, self._cable)
        self._cable.seeks_session = not self.no_session
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(REPLY_S_MAX + 5.0)

    def ask(self, command: str) -> Reply:
        """Send a command and wait for its reply. Raises BusError when none comes."""
        if not self._thread.is_alive():
            raise BusError("the console has ended", self._cable.name)
        future: Future[Reply] = Future()
        self._jobs.put((command, future))
        return future.result(REPLY_S_MAX + 5.0)

    def _on_message(self, kind: int, fields: dict[str, Any]) -> None:
        if kind == schema.TELEMETRY:
            self._telemetry = fields
            self._telemetry_at_s = time.monotonic()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._cable.step()
            self._prove_session()
            try:
                command, future = self._jobs.get_nowait()
            except queue.Empty:
                continue
            try:
                future.set_result(ask(self._cable, command))
            except BusError as error:
                future.set_exception(error)

    def _prove_session(self) -> None:
        """Say one word in a new session: with it the element knows that it is one."""
        has_session = self._cable.element.has_session
        silent = time.monotonic() - self._telemetry_at_s > STALE_S
        if has_session and (not self._had_session or silent):
            self._telemetry_at_s = time.monotonic()
            self._cable.send(schema.STATEMENT_ACK, {"counter": 0})
        self._had_session = has_session

    def toolbar(self, width: int) -> str:
        """Return the live status as one line of at most width columns."""
        fields = self._telemetry
        if self.no_session:
            text = f"no session: {self.no_session}"
        elif fields is None:
            text = "no session yet"
        elif time.monotonic() - self._telemetry_at_s > STALE_S:
            text = "no telemetry: the element is silent"
        else:
            text = telemetry_text(fields)
        return f" {text}"[:width]


def ask(cable: Cable, command: str) -> Reply:
    """Send a command and return its reply. Raises BusError when none comes."""
    try:
        return Reply(command, cable.command(command, REPLY_S_MAX), "")
    except RefusedError as error:
        return Reply(command, [], str(error.value))


def find_element(cable: Cable) -> dict[str, str]:
    """Return an element's status. Raises BusError, saying what to do, when there is none."""
    try:
        return cable.status(_FIRST_S_MAX)
    except BusError as error:
        if not cable.interrupted() and cable.repl_seen:
            raise BusError("MicroPython's REPL answers, not an element", (
                f"{cable.name}\n  next: mpremote connect {cable.name} reset starts the element;\n"
                "        cellwall flash brings the firmware")) from error
    return cable.status()  # it was busy, or has just started


def why_no_session(status: dict[str, str], cable: Cable) -> str:
    """Return why there will be no session with an element, "" when there can be one."""
    if status.get("enrolled", "no") == "no":
        return "the element is not enrolled"
    if not cable.knows(bytes.fromhex(status.get("element", ""))):
        return "its keys are not here (--site)"
    return ""


def telemetry_text(fields: dict[str, Any]) -> str:
    """Return a Telemetry in a few words: state, power, SoC, the BMS's age, what holds it."""
    soc_bp, age_ms = fields["soc_bp"], fields["bms_age_ms"]
    words = [
        texts.name_of(texts.STATE_NAMES, fields["state"]),
        f"{fields['power_mw'] / 1000:+.0f} W" if fields["power_mw"] else "0 W",
        "SoC ?" if soc_bp is None else f"SoC {soc_bp / 100:.1f} %",
        "BMS silent" if age_ms is None else f"BMS {age_ms / 1000:.1f} s",
    ]
    if fields["trip_cause"] != codes.TRIP_NONE:
        words.append("TRIP " + texts.cause_name(fields["trip_cause"]))
    else:
        held = [name for bit, name in texts.INHIBIT_NAMES if fields["inhibits"] & bit]
        words.append("held: " + ", ".join(held) if held else "no trip")
    return " | ".join(words)


def repl_hint(port: str) -> str:
    """Return how to reach the REPL that the element has just restarted into, and the way back."""
    return (f"the element restarts into MicroPython's REPL, and this console ends:\n"
            f"  mpremote connect {port}          reach it (Ctrl-X leaves mpremote)\n"
            f"  mpremote connect {port} reset    back to the element, still in maintenance\n"
            f"  then here: maintenance off")
