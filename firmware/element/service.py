"""What people do to an element besides using it: maintenance, the console, updates, restarts.

Each of them can hold power at zero and none can make any flow. What is rarely used is loaded when
it is asked for: a board has little memory.
"""

import gc

from . import version
from .maintenance import Maintenance
from .protocol import codes, schema
from .zones import Zones

# From the decision to restart to the restart: the answer leaves, the last tick has run.
RESTART_MS = 500


class Service:
    """The service side of one agent. slots: the loader's module, None where it has none.

    trial: the watch over a firmware that has not yet proven itself, else None.
    """

    def __init__(self, agent, slots):
        self._agent = agent
        self._hal = agent.hal
        self._slots = slots
        self.zones = Zones(agent.enrolment)
        self.maintenance = Maintenance(agent.notice)
        self.trial = None
        self._console = None
        self._updater = None
        self._restart_at = None
        self._rolled_back = False

    @property
    def at_cable(self) -> bool:
        """True when only who stands before the element can be at the other end of its line."""
        return getattr(self._hal.link_uart, "is_cable", True)

    def begin_link(self) -> None:
        """Start a line that needs the element's name, as one through a broker does."""
        begin = getattr(self._hal.link_uart, "begin", None)
        if begin is not None:
            begin(self._agent.enrolment.element_id)

    @property
    def holds(self) -> bool:
        """True while power must stay at zero for a person's or an update's sake."""
        return self.maintenance.on or self.trial is not None or self._restart_at is not None

    @property
    def on_trial(self) -> bool:
        """True while this firmware has not proven itself: it holds power at zero."""
        return self.trial is not None

    def load(self) -> bool:
        """Read the flash at boot. Returns True when the boot before this one was on trial.

        A firmware on trial holds power at zero, so whatever ended that boot was no hazard.
        """
        self.maintenance.load()
        self.zones.load()
        state = None if self._slots is None else self._slots.read()
        if state is None:
            return False
        if state[1] != "-":
            from .trial import Trial

            self.trial = Trial(self._hal, self._agent.enrolment, self._slots)
            return state[2] > 1
        self._rolled_back = state[3] == "r"
        return self._rolled_back

    def tick(self, now: int) -> None:
        """Take one tick: end a trial that is decided, restart when that is due."""
        trial = self.trial
        if trial is not None and not trial.over:
            control = self._agent.control
            if not trial.tick(now, control.passed, control.is_fresh):
                self._agent.log("the new firmware is not healthy: going back")
                self._hal.reset()
            if trial.over:
                self._agent.worker.submit(trial, self._confirmed)
        if self._restart_at is not None and self._hal.ticks_diff(now, self._restart_at) >= 0:
            self._hal.reset()

    def _confirmed(self, trial) -> None:
        if trial.over:
            self.trial = None
            self._agent.log("firmware %s is healthy and stays" % version.TEXT)
            if self._agent.clock.is_set:
                self.tell_update()

    def tell_update(self) -> None:
        """Put the outcome of an update into the chain, once; called when the clock is set."""
        if self._slots is not None and self.trial is None:
            self._agent.worker.submit(_NoteJob(self._slots), self._told)

    def _told(self, job) -> None:
        if job.note != ".":
            cause = codes.NOTICE_UPDATE if job.note == "u" else codes.NOTICE_ROLLBACK
            self._agent.notice(cause, version.NUMBER)

    def slot_text(self) -> str:
        """Return which slot runs and how its last update went, in words."""
        state = None if self._slots is None else self._slots.read()
        if state is None:
            return "none"
        if state[1] != "-":
            return "%s, on trial" % state[1]
        return state[0] + (", an update was rolled back" if self._rolled_back else "")

    def restart_soon(self) -> None:
        """Hold power at zero and restart when the answers have left."""
        self._restart_at = self._hal.ticks_add(self._hal.ticks_ms(), RESTART_MS)

    def _at_rest(self) -> bool:
        control = self._agent.control
        return not (control.conducting or control.enabled_mw or self._hal.enable_is())

    def on_update(self, fields: dict) -> None:
        """Hand a piece of a new firmware to the updater."""
        if self._updater is None:
            state = None if self._slots is None else self._slots.read()
            if state is None:
                self._answer({"index": 0, "offset": 0, "code": "this board has no slots"})
                return
            from .update import Updater

            agent = self._agent
            self._updater = Updater(
                self._slots, self._slots.other(state[0]), agent.enrolment.issuer_key,
                agent.worker, self._at_rest, self._answer, agent.log)
            self._updater.on_commit = self.restart_soon
        # the root may have gone on to its next key since the last piece
        self._updater.issuer_key = self._agent.enrolment.issuer_key
        self._updater.on_message(fields)

    def _answer(self, fields: dict) -> None:
        self._agent.port.send(schema.UPDATE_ANSWER, fields)

    def on_text(self, text: bytes, write) -> None:
        """Hand text from a line to its console. Text may be noise: it must not cost the link."""
        try:
            if self._console is None:
                from .console import Console

                self._console = Console(self._agent, write)
            self._console.feed(text)
        except MemoryError:
            self._console = None
            gc.collect()
            write(b"refused: no memory now\r\n\x00")


class _NoteJob:
    """Take the note that the loader left of the last update; what is not taken is told again."""

    writes = True

    def __init__(self, slots):
        self._slots = slots
        self.note = "."

    def step(self) -> bool:
        """Read the note and write that it is told; a flash that refuses leaves it for later."""
        try:
            self.note = self._slots.taken_note()
        except OSError:
            pass  # the next boot tells it
        return True
