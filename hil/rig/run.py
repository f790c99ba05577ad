"""Run a scenario on a rig: phases, events, the aggregator over real lines, losses. Wall time.

One thread: it takes what boards and instruments said, puts it into the journal and decides. It
shows the watchdog's feeder that it turns; when it does not, the watchdog relay opens.
"""

import heapq
import queue
import select
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from element.protocol.errors import BusError
from element.protocol.wire import Wire
from hil.bench.run import BASELINE_S, SAFE_STOP_MS, SAFE_STOP_MS_MAX
from hil.rig.boards import BoardLine
from hil.rig.books import Books
from hil.rig.journal import Journal
from hil.rig.load import Seat
from hil.rig.losses import Loss, Losses
from hil.rig.outputs import Outputs
from hil.rig.workers import Workers
from hil.scenarios.model import EventModel, PhaseModel, ScenarioModel
from hil.signals.signal import Signal
from host_tools.aggregator import Aggregator
from host_tools.links.text_lines import TextLines, pieces

ROW_MS = 1000
TURN_S_MAX = 0.02
# A board that is there and says nothing for so long is gone; telemetry comes once a second.
SILENT_MS_MAX = 3000
FIRE_POLL_MS = 50
# Told and read back over a network.
SWITCH_MS_MAX = 1500


class RigRun:
    """One run. Everything is up and on before `execute`, and is switched off by whoever called."""

    def __init__(self, scenario: ScenarioModel, signals: list[Signal | None],
                 seats: list[Seat], lines: dict[str, BoardLine], aggregator: Aggregator,
                 books: Books, journal: Journal, workers: Workers, outputs: Outputs,
                 losses: Losses, zero_s: float, load_w: float,
                 progress: Callable[[int, int, str], None], breaks: dict[str, str]) -> None:
        """zero_s: monotonic time at which the run's clock begins.

        breaks: by place, the switch that interrupts the line of its BMS.
        """
        self.stop_asked = self.hurried = False
        self.aborted = False
        self.fatal: Loss | None = None
        self._scenario, self._seats, self._lines = scenario, seats, lines
        self._aggregator, self._books, self._journal = aggregator, books, journal
        self._workers, self._outputs, self._losses = workers, outputs, losses
        self._zero_s, self._load_w = zero_s, load_w
        self._progress, self._breaks = progress, breaks
        # zero_s is on a whole second of the day, as well as two clocks can be read together
        self._unix_zero_ms = round((time.time_ns() // 1_000_000 - self.now_ms) / 1000) * 1000
        self._calls: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._signals = signals
        self.signal_name = next((one.name for one in reversed(signals) if one), "none")
        self._index, self._phase_start_ms = 0, 0
        self._row_target: tuple[str, float] = (scenario.phases[0].name, 0.0)
        self._panel_dead = False
        self._discovered = False
        # events by the switch that has yet to move for them
        self._waiting: dict[str, list[EventModel]] = {}
        self._telemetry: dict[str, int] = {}
        self._split: object = None
        self._words = {seat.name: (Wire(), TextLines()) for seat in seats}
        self._seat_of_place = {seat.place.name: seat for seat in seats}

    @property
    def now_ms(self) -> int:
        """Milliseconds since the run began."""
        return int((time.monotonic() - self._zero_s) * 1000)

    @property
    def unix_ms(self) -> int:
        """The time of day, from the start on the monotonic clock: a step of it does not show."""
        return self._unix_zero_ms + self.now_ms

    @property
    def start_unix_ms(self) -> int:
        """The time of day at which the run began."""
        return self._unix_zero_ms

    def attach(self) -> None:
        """Give the aggregator its lines."""
        for seat in self._seats:
            self._aggregator.add_port(seat.name, partial(self._send, seat.place.name))

    def turn(self, seconds: float) -> None:
        """Serve everything for a while; for those who run no phases."""
        self._run_until(self.now_ms + round(seconds * 1000))

    def execute(self) -> None:
        """Run all phases, until a stop is asked for, or until a critical loss."""
        self.attach()
        self._aggregator.target = self._target_mw
        self._aggregator.response = self._books.response_mw
        self._call_at(ROW_MS, self._close_row)
        total_s = sum(phase.duration_s for phase in self._scenario.phases)
        for index, phase in enumerate(self._scenario.phases):
            self._begin_phase(index, phase)
            end_ms = self._phase_start_ms + phase.duration_s * 1000
            while self.now_ms < end_ms and not self._ended:
                self._run_until(min(self.now_ms + ROW_MS, end_ms))
                self._progress(self.now_ms // 1000, total_s, phase.name)
            self._require_happened(phase)
            if self._ended:
                break
        self.aborted = self._ended
        if self.aborted and self.fatal is None:
            self._make_safe()

    @property
    def _ended(self) -> bool:
        return self.stop_asked or self.fatal is not None

    def _begin_phase(self, index: int, phase: PhaseModel) -> None:
        if index == 1:
            self._require_discovery()
            self._journal.put(self.now_ms, "baseline", "", BASELINE_S)
        # on the whole second: steps of a signal and the ends of rows coincide
        self._index = index
        self._phase_start_ms = 1000 * sum(
            one.duration_s for one in self._scenario.phases[:index])
        for event in self._scenario.events:
            if event.phase == phase.name:
                self._call_at(self._phase_start_ms + round(event.at_s * 1000),
                              partial(self._happen, event))

    def _require_discovery(self) -> None:
        """Check that every element has a session. Raises BusError naming those that have none."""
        missing = [f"{seat.name} at {seat.place.name} ({port.enrol_error or 'no answer'})"
                   for seat in self._seats
                   if not (port := self._aggregator.ports[seat.name]).has_session]
        if missing:
            raise BusError("discovery did not find", ", ".join(missing)
                           + "\n  next: cellwall hil doctor; a slow board needs a longer first "
                             "phase")
        self._discovered = True

    def _make_safe(self) -> None:
        """Ask for zero and wait until every element says that it is there."""
        self._index = -1
        self._aggregator.stop(self.unix_ms)
        end_ms = self.now_ms + SAFE_STOP_MS_MAX
        self._run_until(self.now_ms + SAFE_STOP_MS)
        while self.now_ms < end_ms and not self._at_zero() \
                and self.fatal is None and not self.hurried:
            self._run_until(self.now_ms + ROW_MS)

    def _at_zero(self) -> bool:
        views = list(self._aggregator.inventory.views())
        return all(view.telemetry is not None and abs(view.telemetry["power_mw"]) < 1000
                   * 0.01 * seat.model.rating_w
                   for seat in self._seats for view in views
                   if view.element_id == self._aggregator.ports[seat.name].element_id)

    # turns

    def _call_at(self, at_ms: int, call: Callable[[], None]) -> None:
        heapq.heappush(self._calls, (at_ms, next(self._order), call))

    def _run_until(self, end_ms: int) -> None:
        while self.now_ms < end_ms and self.fatal is None and not self.hurried:
            self._outputs.feeder.beat()
            self._take_heard()
            now_ms = self.now_ms
            while self._calls and self._calls[0][0] <= now_ms:
                heapq.heappop(self._calls)[2]()
            if not self._panel_dead and self._aggregator.due_ms <= self.unix_ms:
                self._aggregator.step(self.unix_ms)
                self._note_split()
            self._serve_lines()
            self._look_for_losses()

    def _serve_lines(self) -> None:
        fds = [line.fileno() for line in self._lines.values()]
        due_s = self._zero_s + (self._calls[0][0] / 1000 if self._calls else 0) - time.monotonic()
        wait_s = max(0.0, min(TURN_S_MAX, due_s if self._calls else TURN_S_MAX))
        try:
            select.select([fd for fd in fds if fd >= 0], [], [], wait_s)
        except (OSError, ValueError):
            time.sleep(wait_s)  # a port went away this moment: `receive` finds out
        for seat in self._seats:
            data = self._lines[seat.place.name].receive()
            if data:
                self._journal.raw(seat.place.name, "rx", data.hex())
                self._hear(seat.name, data)
            if data and not self._panel_dead:
                self._aggregator.receive(seat.name, data, self.unix_ms)
                self._note_telemetry(seat)

    def _hear(self, name: str, data: bytes) -> None:
        """Keep what a board says in words, whether a panel lives or not."""
        wire, lines = self._words[name]
        for _, text in pieces(wire, data):
            for line in lines.take(text):
                self._journal.put(self.now_ms, "console", name, line)

    def _send(self, place: str, data: bytes) -> None:
        self._journal.raw(place, "tx", data.hex())
        self._lines[place].send(data)

    def _note_telemetry(self, seat: Seat) -> None:
        """Put an element's telemetry into the journal when it is a new one."""
        element_id = self._aggregator.ports[seat.name].element_id
        view = self._aggregator.inventory.get(element_id) if element_id else None
        if view is None or view.telemetry is None \
                or self._telemetry.get(seat.name) == id(view.telemetry):
            return
        self._telemetry[seat.name] = id(view.telemetry)
        self._journal.put(self.now_ms, "telemetry", seat.name, view.telemetry)

    def _note_split(self) -> None:
        split = self._aggregator.last_split
        if split is self._split:
            return
        self._split = split
        parts: dict[str, int] = {}
        if split is not None:
            for seat in self._seats:
                element_id = self._aggregator.ports[seat.name].element_id
                parts[seat.name] = split.parts_mw.get(element_id, 0) if element_id else 0
        self._journal.put(self.now_ms, "asked", "", {
            "parts_mw": parts, "shortfall_mw": split.shortfall_mw if split else 0})

    def _close_row(self) -> None:
        now_ms = self.now_ms
        self._take_heard()
        name, target_w = self._row_target
        self._journal.put(now_ms, "row", name, {"target_w": target_w, "load_w": self._load_w})
        name = self._scenario.phases[self._index].name if self._index >= 0 else "stop"
        self._row_target = (name, self._target_w(now_ms))
        self._call_at(now_ms - now_ms % ROW_MS + ROW_MS, self._close_row)

    def _target_w(self, now_ms: int) -> float:
        signal = self._signals[self._index] if self._index >= 0 else None
        if signal is None:
            return 0.0
        return signal.at(now_ms - self._phase_start_ms) \
            * self._scenario.phases[self._index].power_kw * 1000

    def _target_mw(self, unix_ms: int) -> int | None:
        if self._index < 0 or self._signals[self._index] is None:
            return None
        return round(self._target_w(self.now_ms) * 1000)

    # losses

    def _take_heard(self) -> None:
        while True:
            try:
                heard = self._workers.heard.get_nowait()
            except queue.Empty:
                return
            if heard.kind == "gone":
                self._gone(heard.name, heard.data)
                continue
            if heard.kind == "meter":
                self._journal.put(heard.at_ms, "meter", heard.name, heard.data)
            elif heard.kind == "moved":
                self._moved(heard.name, heard.data, heard.at_ms)
            self._back(heard.name)

    def _gone(self, name: str, why: str) -> None:
        if self._losses.gone(name, why, self.now_ms) is not None:
            self._journal.put(self.now_ms, "lost", name, why)

    def _back(self, name: str) -> None:
        if self._losses.back(name, self.now_ms) is not None:
            self._journal.put(self.now_ms, "back", name, None)

    def _look_for_losses(self) -> None:
        for seat in self._seats:
            line = self._lines[seat.place.name]
            if line.cut or self._panel_dead or not self._discovered:
                continue
            heard_ms = self._aggregator.ports[seat.name].last_heard_ms
            if not line.is_open:
                self._gone(seat.place.name, f"place {seat.place.name}: {line.place.port} is gone")
            elif heard_ms is None or self.unix_ms - heard_ms > SILENT_MS_MAX:
                self._gone(seat.place.name, f"place {seat.place.name}: its board is silent")
            else:
                self._back(seat.place.name)
        fatal = self._losses.fatal(self.now_ms)
        if fatal is not None and self.fatal is None:
            self.fatal = fatal
            self._outputs.hard_stop(fatal.why)
            self._journal.put(self.now_ms, "stopped", fatal.name, None)

    # events

    def _happen(self, event: EventModel) -> None:
        if event.kind == "bms_silent":
            # it has happened when the switch has moved, which may be gone at this moment
            switch = self._breaks[self._place_of(event)]
            self._waiting.setdefault(switch, []).append(event)
            self._workers.move(switch, True)
            return
        now_ms = self.now_ms
        data: dict[str, Any] = {"elements": [
            seat.name for seat in self._seats if event.kind != "release"
            and event.element in (None, seat.name)
            and (event.kind != "fire_alarm" or seat.zone == event.zone)]}
        if event.kind == "release":
            data["orders"] = self._aggregator.release(self.unix_ms)
        self._journal.put(now_ms, "event", event.name, data)
        end_ms = now_ms + event.duration_ms
        if event.kind == "fire_alarm":
            self._call_at(now_ms + FIRE_POLL_MS, lambda: self._aggregator.fire_alarm(
                int(event.zone or 0), self.unix_ms))
        elif event.kind == "host_lost":
            self._panel_dead = True
            self._call_at(end_ms, self._panel_lives)
        elif event.kind == "link_lost":
            place = self._place_of(event)
            self._lines[place].set_cut(True)
            self._call_at(end_ms, partial(self._join_line, place))

    def _place_of(self, event: EventModel) -> str:
        return next(one.place for one in self._seats if one.name == event.element).name

    def _moved(self, switch: str, on: bool, at_ms: int) -> None:
        """Go on with the events that a switch has moved for."""
        for event in self._waiting.pop(switch, ()) if on else ():
            self._journal.put(at_ms, "event", event.name, {"elements": [event.element]})
            self._call_at(at_ms + event.duration_ms, partial(self._workers.move, switch, False))
        for place, name in self._breaks.items():
            if name == switch and not on:
                self._forgive(self._seat_of_place[place].name)

    def _require_happened(self, phase: PhaseModel) -> None:
        """Check that no event of a phase still waits. Raises BusError naming those that do.

        One that was due in its last moment gets the time that a switch may take.
        """
        end_ms = self.now_ms + SWITCH_MS_MAX
        while self._waiting and self.now_ms < end_ms and not self._ended:
            self._run_until(self.now_ms + FIRE_POLL_MS)
        late = [f"{event.name} (switch {switch})"
                for switch, events in self._waiting.items() for event in events]
        if late and not self._ended:
            raise BusError("events did not happen", f"{', '.join(late)}, until the end of phase "
                           f"{phase.name}\n  next: cellwall hil doctor, then run again")

    def _panel_lives(self) -> None:
        self._panel_dead = False
        for seat in self._seats:
            self._forgive(seat.name)

    def _join_line(self, place: str) -> None:
        self._lines[place].set_cut(False)
        self._forgive(self._seat_of_place[place].name)

    def _forgive(self, name: str) -> None:
        """Give a board that was silent on purpose its time to be heard again."""
        port = self._aggregator.ports[name]
        if port.last_heard_ms is not None:
            port.last_heard_ms = max(port.last_heard_ms, self.unix_ms - SILENT_MS_MAX // 2)
