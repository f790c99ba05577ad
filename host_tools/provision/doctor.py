"""Check an installed element from the cable's end: every line passes, fails, or says why not.

Nothing here has a way of its own into the element: text commands look, and the one check that
moves energy is a setpoint of the service `test` like any other, a small one, with a short lease.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from element.protocol import codes, schema, texts
from element.protocol.errors import BusError
from host_tools.identity.site import Site, default_folder
from host_tools.provision.cable import Cable

BMS_AGE_MS_MAX = 2000
CELLS_S_MAX = 5.0
# An answer to WHO: in so long, and asked for again when its line has damaged a frame.
WHO_S_MAX = 5
WHO_COUNT_MAX = 3
# The sensor and the BMS must agree at rest as closely as either can be wrong.
REST_MA_MAX = 2000
CELL_MV = (1000, 4500)
CLOCK_MS_MAX = 2000
READY_S_MAX = 10.0
TEST_SHARE_PCT = 2
TEST_LEASE_MS = 1500
TEST_S_MAX = 8.0
LATE = f"; setpoints came after the end of their lease of {TEST_LEASE_MS} ms"
LATE_STEP = "this machine, or its line to the element, is too busy: end other work, run again"
PASSED, FAILED, SKIPPED = "pass", "fail", "skip"
_BMS_AT_REST = re.compile(r"(\d+) ms old, (\d+) mV, (-?\d+) mA, SoC (\d+) bp, FETs (\d)")


_CELL = re.compile(r"^cell (\d+) +(\d+) mV")


def _cells_of(lines: list[str]) -> list[int]:
    """Return every cell's mV from the lines of `cells`."""
    return [int(found[2]) for found in map(_CELL.match, lines) if found]


def _has_all_cells(lines: list[str]) -> bool:
    """Return True when no line is missing before the one that ends the cells."""
    numbers = [int(found[1]) for found in map(_CELL.match, lines) if found]
    return numbers == list(range(1, len(numbers) + 1)) \
        and len(lines) > len(numbers) and lines[len(numbers)].endswith("ms old")


def _is_step(line: str) -> bool:
    return line.startswith("step_mw ")


@dataclass(frozen=True)
class Check:
    """One line of the doctor's. next_step: what a person should do; "" when it passed."""

    name: str
    verdict: str
    detail: str
    next_step: str = ""


class Doctor:
    """The checks of one element. wait_interlock_s: how long a person may take to open it, 0: not
    asked. power: whether the FETs may be moved."""

    def __init__(self, cable: Cable, site: Site, power: bool, wait_interlock_s: float,
                 say: Callable[[str], None]) -> None:
        self._cable = cable
        self._site = site
        self._power = power
        self._wait_interlock_s = wait_interlock_s
        self._say = say
        self._telemetry: dict[str, Any] = {}
        self._ack: dict[str, Any] | None = None
        self._sequence = 0
        cable.on_message = self._on_message

    def _on_message(self, kind: int, fields: dict[str, Any]) -> None:
        if kind == schema.TELEMETRY:
            self._telemetry = fields
        elif kind == schema.ACK:
            self._ack = fields

    def run(self) -> Iterator[Check]:
        """Yield one check after the other. Raises BusError when no element answers at all."""
        status = self._cable.status()
        yield Check("console answers", PASSED, status["board"])
        yield from self._bms(status)
        yield self._sensor(status)
        yield self._interlock(status)
        yield self._link()
        session = self._session(status)
        yield session
        if session.verdict == PASSED:
            yield self._clock()
            yield self._fets()
        else:
            yield Check("clock set", SKIPPED, "needs a session", session.next_step)
            yield Check("FETs move", SKIPPED, "needs a session", session.next_step)

    def _bms(self, status: dict[str, str]) -> Iterator[Check]:
        found = _BMS_AT_REST.search(status["bms"])
        if found is None:
            yield Check("BMS, both ways", FAILED, status["bms"],
                        "is the BMS awake? swap its RX and TX; check ground and BMS in board.py")
            yield Check("cells plausible", SKIPPED, "needs the BMS")
            return
        fresh = int(found[1]) <= BMS_AGE_MS_MAX
        yield Check("BMS, both ways", PASSED if fresh else FAILED, status["bms"],
                    "" if fresh else "it answered and stopped: look for a loose wire")
        cells = self._cells()
        bad = [index + 1 for index, cell in enumerate(cells)
               if not CELL_MV[0] <= cell <= CELL_MV[1]]
        difference_mv = abs(sum(cells) - int(found[2]))
        if not cells:
            yield Check("cells plausible", FAILED, "the BMS tells of no cells",
                        "is this the BMS's master, and its family the one in board.py?")
            return
        good = not bad and difference_mv <= int(found[2]) // 50
        yield Check("cells plausible", PASSED if good else FAILED,
                    f"{len(cells)} cells, {min(cells)} to {max(cells)} mV, "
                    f"sum {difference_mv} mV from the pack",
                    "" if good else f"cells {bad or 'and pack disagree'}: check the sense wires")

    def _cells(self) -> list[int]:
        """Return every cell's mV; they come a little later than the rest. Empty: none came."""
        end = time.monotonic() + CELLS_S_MAX
        while True:
            try:
                return _cells_of(self._cable.ask("cells", _has_all_cells))
            except BusError:
                if time.monotonic() > end:
                    return []
                self._cable.until(lambda: False, 0.5)

    def _sensor(self, status: dict[str, str]) -> Check:
        found = _BMS_AT_REST.search(status["bms"])
        bms_ma = int(found[3]) if found else 0
        sense_ma = int(status["sensor mA"])
        good = abs(sense_ma - bms_ma) <= REST_MA_MAX
        return Check("current sensor plausible", PASSED if good else FAILED,
                     f"{sense_ma} mA, the BMS says {bms_ma} mA" if found
                     else f"{sense_ma} mA, no BMS to compare",
                     "" if good else "check the sensor's supply, its zero (SENSE_ZERO_MV) and "
                                     "its direction (+ is discharge)")

    def _interlock(self, status: dict[str, str]) -> Check:
        name = "interlock input toggles"
        if status["interlock"] != "closed":
            return Check(name, FAILED, "open", "close the loop: alarm contact to ground")
        if not self._wait_interlock_s:
            return Check(name, SKIPPED, "closed; nobody was asked to open it",
                         "run again with --interlock and open the contact")
        self._say("open the interlock loop now; the element will trip, and stay tripped")
        opened = self._wait_for("OPEN")
        if not opened:
            return Check(name, FAILED, f"still closed after {self._wait_interlock_s:.0f} s",
                         "the input is bridged, or the wrong pin: boards/*/README.md")
        self._say("close it again")
        closed = self._wait_for("closed")
        return Check(name, PASSED if closed else FAILED,
                     "opened and closed" if closed else "it stays open",
                     f"cellwall release {self._cable.name} (it needs the life-safety key)"
                     if closed
                     else "close the loop: alarm contact to ground")

    def _wait_for(self, state: str) -> bool:
        end = time.monotonic() + self._wait_interlock_s
        while time.monotonic() < end:
            if self._cable.status().get("interlock") == state:
                return True
            self._cable.until(lambda: False, 0.3)
        return False

    def _link(self) -> Check:
        """Frames out and in, whether enrolled or not: WHO is answered by HERE.

        A board drops what its host is late to take: where a frame was damaged it is asked again,
        and noise will show again.
        """
        answered, bad, damaged = False, 0, 0
        for _ in range(WHO_COUNT_MAX):
            answered, bad = self._who()
            damaged += bad
            if not bad:
                break
        self._cable.seeks_session = True
        good = answered and not bad
        again = ", none when asked again" if good and damaged else ""
        return Check("link, both ways", PASSED if good else FAILED,
                     f"WHO answered by HERE, {damaged} frames damaged{again}" if answered
                     else f"WHO was not answered, {damaged} frames damaged",
                     "" if good else "text passes and frames do not: noise, or a program between")

    def _who(self) -> tuple[bool, int]:
        """Ask who is there; returns whether that was answered, and frames damaged meanwhile."""
        element = self._cable.element
        here, bad = element.here_count, element.damaged_frames
        for _ in range(WHO_S_MAX):
            element.who(time.time_ns() // 1_000_000)
            if self._cable.until(lambda: element.here_count > here, 1.0):
                break
        return element.here_count > here, element.damaged_frames - bad

    def _session(self, status: dict[str, str]) -> Check:
        name = "enrolled with this site"
        if status["enrolled"] == "no":
            folder = self._site.folder
            step = f"cellwall enrol {self._cable.name} --zone N"
            return Check(name, FAILED, "not enrolled",
                         step if folder == default_folder() else f"{step} --site {folder}")
        if not self._site.exists:
            return Check(name, FAILED, f"no site keys: {self._site.folder}",
                         "name the folder of the site that enrolled it with --site")
        try:
            self._cable.session()
        except BusError as error:
            return Check(name, FAILED, str(error.value), "name the site's folder with --site")
        return Check(name, PASSED, f"{status['enrolled']}, session open")

    def _clock(self) -> Check:
        self._cable.set_clock()
        self._cable.until(lambda: False, 0.5)
        says = self._cable.status().get("clock", "not set")
        now_ms = time.time_ns() // 1_000_000
        good = says.isdigit() and abs(int(says) - now_ms) <= CLOCK_MS_MAX
        return Check("clock set", PASSED if good else FAILED,
                     f"{int(says) - now_ms:+d} ms from this machine's" if says.isdigit() else says,
                     "" if good else "set this machine's clock (NTP), then run again")

    # power

    def _fets(self) -> Check:
        name = "FETs move"
        if not self._power:
            return Check(name, SKIPPED, "not asked for", "run again with --power")
        self._telemetry = {}
        # an element that has just started verifies its credential first
        self._cable.until(lambda: bool(self._ready_mw() or self._telemetry.get("trip_cause")),
                          READY_S_MAX)
        ready_mw = self._ready_mw()
        if not ready_mw:
            inhibits = self._telemetry.get("inhibits", 0) & ~codes.INHIBIT_LEASE
            why = [text for bit, text in texts.INHIBIT_NAMES if inhibits & bit]
            cause = self._telemetry.get("trip_cause", codes.TRIP_NONE)
            if cause:
                why.append("tripped: " + texts.cause_name(cause))
            step = "console: status, trips, limits"
            if cause:
                step = ("console: trips; when the cause is ended: "
                        f"cellwall release {self._cable.name}")
            elif inhibits == codes.INHIBIT_MAINTENANCE:
                step = "console: maintenance off"
            return Check(name, FAILED, f"no power is permitted: {', '.join(why) or 'SoC'}", step)
        return self._moved(name, self._test_power_mw(ready_mw))

    def _ready_mw(self) -> int:
        return int(self._telemetry.get("power_mw_discharge_ready", 0))

    def _test_power_mw(self, ready_mw: int) -> int:
        """Return a small power that the stage can follow; an on/off stage has one only."""
        step_mw = 0
        for line in self._cable.ask("limits", lambda lines: any(map(_is_step, lines))):
            if _is_step(line):
                step_mw = int(line.split()[1])
        return step_mw or ready_mw * TEST_SHARE_PCT // 100

    def _moved(self, name: str, power_mw: int) -> Check:
        closed = moved = False
        tripped = late = ""
        end = time.monotonic() + TEST_S_MAX
        current_ma = 0
        while time.monotonic() < end and not (closed and moved):
            self._setpoint(power_mw)
            self._cable.until(lambda: self._ack is not None, 1.0)
            if self._ack is not None and not self._ack["accepted"]:
                if self._ack["reason"] == codes.REASON_TRIPPED:
                    tripped = texts.cause_name(self._ack["limit"])
                    break
                if self._ack["reason"] == codes.REASON_LEASE:
                    late = LATE  # on a busy machine the next one may come in time
                    self._cable.until(lambda: False, 0.2)
                    continue
                reason = texts.name_of(texts.REASON_NAMES, self._ack["reason"])
                return Check(name, FAILED, f"{power_mw} mW was refused: {reason}",
                             "the credential must permit the service `test`"
                             if self._ack["reason"] == codes.REASON_SERVICE else
                             "console: status, limits")
            self._cable.until(lambda: False, 0.7)
            closed = closed or self._telemetry.get("fets") == 3
            current_ma = max(current_ma, self._telemetry.get("current_ma", 0))
            moved = current_ma > power_mw // 200
        if moved:
            late = ""
        self._setpoint(0)
        opened = self._cable.until(
            lambda: not self._telemetry.get("fets", 3) and self._telemetry.get("power_mw", 1) == 0,
            TEST_S_MAX)
        good = closed and moved and opened and not tripped
        step = "" if good else (LATE_STEP if late else
                                "the BMS does not switch: is it locked, or in protection?"
                                if not closed else "no current: converter, fuse, pre-charge"
                                if not moved else "they stay closed: do not use this element")
        return Check(name, PASSED if good else FAILED,
                     f"{power_mw // 1000} W: {'closed' if closed else 'stayed open'}, "
                     f"{current_ma} mA, {'opened again' if opened else 'STILL CLOSED'}"
                     + (f"; tripped: {tripped}" if tripped else late), step)

    def _setpoint(self, power_mw: int) -> None:
        self._ack = None
        self._sequence += 1
        self._cable.send(schema.SETPOINT, {
            "dispatch_id": 1, "sequence": self._sequence, "power_mw": power_mw,
            "service": codes.SERVICE_TEST, "start_unix_ms": time.time_ns() // 1_000_000,
            "lease_ms": TEST_LEASE_MS})
