"""The serial console: lines of text beside the frames, for a person with a cable.

Every command but three only looks. `maintenance` holds power at zero, `set-zone` adds a zone whose
trips the element obeys, `maintenance off` ends what a person at this cable began. None moves
energy, widens a limit or releases a trip. Over a network those three are refused. A reply ends
with a line `ok`, or `refused: why`.

Loaded when the first text arrives.
"""

from . import version
from .keeper import FAILURE_FILE, FAILURE_SIZE_MAX, read_file
from .maintenance import REPL
from .power.base import FAULT_NAMES
from .protocol import codes, schema, texts

LINE_SIZE_MAX = 80

_HELP = (
    "status                what the element does and why",
    "cells                 every cell and thermometer",
    "limits                what the credential permits",
    "trips                 the latch with its first cause, last events, last failure",
    "log                   the last lines of the log",
    "set-zone N            obey the trips of zone N too; 0: only the credential's",
    "maintenance           hold power at zero, over resets, until `maintenance off`",
    "maintenance repl      in maintenance: restart into the REPL, without agent",
    "maintenance off       end maintenance",
)


class Console:
    """One person's lines. write(bytes) sends; agent is what is looked at."""

    def __init__(self, agent, write):
        self._agent = agent
        self._write = write
        self._line = bytearray()
        self._too_long = False
        self._commands = {
            "help": self._help, "status": self._status, "cells": self._cells,
            "limits": self._limits, "trips": self._trips, "log": self._log,
            "set-zone": self._set_zone, "maintenance": self._maintenance,
        }

    def feed(self, text: bytes) -> None:
        """Take what was typed. What comes key by key is echoed, a whole line at once is not."""
        typed = text[-1] not in b"\r\n" or len(self._line) > 0
        for byte in text:
            if byte in b"\r\n":
                line = bytes(self._line).decode()
                too_long = self._too_long
                self._clear()
                if typed:
                    self._write(b"\r\n\x00")
                if too_long:
                    # its begin could be a command that nobody meant
                    self._say("refused: longer than %d characters" % LINE_SIZE_MAX)
                else:
                    self._run(line.split())
            elif byte in (8, 127):
                if self._line:
                    self._line = self._line[:-1]
                    self._write(b"\b \b\x00")
            elif byte == 3:
                self._clear()
                self._say("the element is at work; `maintenance`, then `maintenance repl` "
                          "reaches the REPL")
            elif 32 <= byte < 127:
                if len(self._line) >= LINE_SIZE_MAX:
                    self._too_long = True
                    continue
                self._line.append(byte)
                if typed:
                    self._write(bytes([byte, 0]))

    def _clear(self) -> None:
        self._line = bytearray()
        self._too_long = False

    def _say(self, line: str) -> None:
        # the zero ends the text, so that a frame may follow at once
        self._write(line.encode() + b"\r\n\x00")

    def _run(self, words: list) -> None:
        if not words:
            return
        command = self._commands.get(words[0])
        if command is None:
            self._say("refused: no command '%s'; `help` lists them" % words[0])
            return
        if words[0] in ("set-zone", "maintenance") and not self._agent.service.at_cable:
            # text proves nothing: over a network anybody may be typing
            self._say("refused: only at a cable")
            return
        refusal = command(words[1:])
        if refusal is None:
            self._say("ok")
        elif refusal:
            self._say("refused: " + refusal)

    def _help(self, words: list):
        for line in _HELP:
            self._say(line)

    def _status(self, words: list):
        agent = self._agent
        control = agent.control
        hal = agent.hal
        now = hal.ticks_ms()
        inhibits = [name for bit, name in texts.INHIBIT_NAMES if control.inhibits & bit]
        for name, value in (
            ("board", "%s, firmware %s" % (agent.board.NAME, version.TEXT)),
            ("hardware", _hex(hal.unique_id())),
            ("element", _hex(agent.enrolment.element_id)),
            ("enrolled", self._enrolled()),
            ("state", texts.name_of(texts.STATE_NAMES, control.state)),
            ("held by", ", ".join(inhibits) or "nothing"),
            ("trip", texts.cause_name(agent.interlock.cause)),
            ("power mW", "%d, told %d" % (control.realized_mw, control.instructed_mw)),
            ("sensor mA", "%d" % control.sense_ma),
            ("enable", "on" if hal.enable_is() else "off"),
            ("interlock", "closed" if hal.interlock_ok() else "OPEN"),
            ("bms", self._bms(now)),
            ("clock", "%d" % agent.clock.unix_ms(now) if agent.clock.is_set else "not set"),
            ("link", "%s, %d dropped" % ("session" if agent.port.has_session else "no session",
                                         agent.port.dropped_count)),
            ("boot", "%d, by %s" % (agent.keeper.boot_count,
                                    texts.name_of(texts.RESET_NAMES, hal.reset_cause()))),
            ("slot", agent.service.slot_text()),
        ):
            self._say("%-10s%s" % (name, value))

    def _enrolled(self) -> str:
        """Return the zone, and whether the stored credential has been verified since the boot."""
        enrolment = self._agent.enrolment
        if not enrolment.enrolled:
            return "no"
        return "zone %d%s" % (enrolment.zone,
                              "" if enrolment.proven else ", the credential is being checked")

    def _bms(self, now: int) -> str:
        """Return the BMS's line: its values, or why there are none."""
        agent = self._agent
        driver = agent.driver
        reading = driver.reading
        age_ms = reading.age_ms(agent.hal, now)
        if age_ms is None:
            return "%s, nothing heard: %s" % (agent.board.BMS, driver.last_error or "no answer")
        return "%s, %d ms old, %d mV, %d mA, SoC %d bp, FETs %d, errors %s" % (
            agent.board.BMS, age_ms, reading.pack_mv, reading.current_ma, reading.soc_bp,
            reading.fets, ", ".join(driver.error_names()) or "none")

    def _cells(self, words: list):
        hal = self._agent.hal
        reading = self._agent.driver.reading
        now = hal.ticks_ms()
        age_ms = reading.cells_age_ms(hal, now)
        if age_ms is None:
            return "the BMS has not said"
        for index in range(reading.cell_count):
            mark = "  lowest" if index == reading.cell_index_min else ""
            if index == reading.cell_index_max:
                mark = "  highest"
            if reading.balancing >> index & 1:
                mark += "  balancing"
            self._say("cell %-3d %5d mV%s" % (index + 1, reading.cell_mv[index], mark))
        self._say("%d ms old" % age_ms)
        age_ms = reading.age_ms(hal, now)
        if age_ms is not None:
            self._say("thermometers %d, %d to %d mdegC, %d ms old" % (
                reading.ntc_count, reading.temperature_mdegc_min, reading.temperature_mdegc_max,
                age_ms))

    def _limits(self, words: list):
        profile = self._agent.control.profile
        if profile is None:
            return "not enrolled: nothing is permitted"
        fields = profile.__dict__
        for name in sorted(fields):
            self._say("%-34s%s" % (name, fields[name]))

    def _trips(self, words: list):
        agent = self._agent
        latch = agent.interlock
        if latch.tripped:
            self._say("latched: " + texts.cause_text(
                latch.cause, latch.value, latch.limit, latch.index))
        else:
            self._say("latched: nothing")
        fault = agent.control.stage.fault
        if fault:
            self._say("stage: " + texts.name_of(FAULT_NAMES, fault))
        for at_ms, cause, value, limit, index, released in agent.journal.events:
            self._say("%d %s%s" % (at_ms, "released: " if released else "",
                                   texts.cause_text(cause, value, limit, index)))
        for line in last_failure():
            if line:
                self._say("  " + line)

    def _log(self, words: list):
        for line in self._agent.journal.lines:
            # indented: a program at the other end tells it from a line that is logged now
            self._say("  " + line)

    def _set_zone(self, words: list):
        if len(words) != 1 or not words[0].isdigit() or int(words[0]) > 0xFFFF:
            return "set-zone N with N from 0 to 65535"
        agent = self._agent
        if not agent.enrolment.enrolled:
            return "not enrolled: the credential names the zone"
        before = agent.service.zones.local
        try:
            agent.service.zones.set(int(words[0]))
        except OSError as error:
            return "flash error %s" % error.errno
        agent.notice(codes.NOTICE_ZONE, agent.service.zones.local, before)

    def _maintenance(self, words: list):
        agent = self._agent
        try:
            if not words:
                agent.service.maintenance.begin()
            elif words == ["off"]:
                agent.service.maintenance.end()
            elif words == ["repl"]:
                return self._repl()
            else:
                return "maintenance, maintenance off or maintenance repl"
        except OSError as error:
            return "flash error %s" % error.errno

    def _repl(self):
        """Record the way to the REPL, then restart into it; the reply comes after the record."""
        agent = self._agent
        if not agent.service.maintenance.on:
            return "say `maintenance` first: it goes to zero power"
        if agent.control.enabled_mw or agent.hal.enable_is():
            return "power is not at zero yet"
        if not agent.signer.has_room(schema.SAFETY_EVENT):
            return "it cannot be recorded: the ledger is full until a panel has fetched it"

        def recorded(statement: bytes) -> None:
            if not agent.service.maintenance.on:
                self._say("refused: maintenance has ended meanwhile")
                return
            if not agent.signer.storage_ok:
                self._say("refused: the record is not on flash")
                return
            try:
                agent.service.maintenance.want_repl()
            except OSError as error:
                self._say("refused: flash error %s" % error.errno)
                return
            self._say("ok")
            agent.service.restart_soon()

        if not agent.notice(codes.NOTICE_MAINTENANCE, REPL, 0, recorded):
            return "it cannot be recorded: the queue of signatures is full"
        return ""


def last_failure() -> list:
    """Return the lines of what ended the last task that ended, none without one."""
    try:
        data = read_file(FAILURE_FILE) or b""
    except OSError:
        data = b"(not readable)"
    return "".join([chr(byte) if 32 <= byte < 127 or byte == 10 else "?"
                    for byte in data[:FAILURE_SIZE_MAX]]).split("\n")


def _hex(data: bytes) -> str:
    return "".join(["%02x" % byte for byte in data])
