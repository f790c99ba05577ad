"""Keep the books of a run on a rig, from what was seen: rows, events, losses. No I/O.

The same entries give the same books, whether they come from a rig or from a recording. What no
instrument has said is missing: a second without a reading of the meter is no row, and an element
without a meter of its own has the power that its telemetry says, or none.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from element.protocol import codes
from hil.bench.console import Said
from hil.bench.faults import SAFE_SHARE, WATCH_MS_MAX
from hil.bench.recording import ElementTrace, Recording
from hil.instruments.power_meter import PowerMeter
from hil.plant.cell import CHEMISTRIES
from hil.rig.journal import Entry
from hil.rig.load import Seat
from hil.rig.losses import Loss
from hil.scenarios.model import ElementModel, EventModel, ScenarioModel

BASELINE_S = 20
# Telemetry comes once a second; older than this it says nothing of now.
TELEMETRY_MS_MAX = 2500
CONSOLE_LINES_MAX = 1_000_000


class RigRecording(Recording):
    """Rows of a rig; those without a reading of the meter are in no phase and not written."""

    def rows(self, name: str) -> NDArray[np.int64]:
        """Return the indexes of the rows of a phase that the meter has told of."""
        known = ~np.isnan(np.array(self.response_w, dtype=np.float64))
        return np.flatnonzero((np.array(self.phase) == name) & known)


@dataclass
class Watched:
    """An element at a place, under the names that the judge uses for the bench's rigs."""

    name: str
    kind: str
    zone: int
    rating_w: float
    current_a_nominal: float


@dataclass
class SeatWatch:
    """One element after an event: what was measured of it, and when."""

    rig: Watched
    was_active: bool
    detected_ms: int | None = None
    last_above_ms: int | None = None
    safe_ms: int | None = None
    power_after_w: float = 0.0


@dataclass
class RigEvent:
    """What an event did, as far as anything has measured it. Times count from the event."""

    event: EventModel
    at_ms: int
    end_ms: int
    watches: list[SeatWatch] = field(default_factory=list)
    released: int | None = None

    def safe_after_ms(self) -> int | None:
        """Return when the last element was measured to be safe for good, None when one was not."""
        if not self.watches or any(one.safe_ms is None for one in self.watches):
            return None
        return max(one.safe_ms - self.at_ms for one in self.watches if one.safe_ms is not None)

    def detected_after_ms(self) -> int | None:
        """Return when the last of those that delivered said that it does not any more."""
        times = [one.detected_ms for one in self.watches if one.was_active]
        if any(time is None for time in times):
            return None
        return max((time - self.at_ms for time in times if time is not None), default=0)


@dataclass
class _Element:
    """What was last said of one element."""

    watched: Watched
    meter: str | None
    telemetry: dict[str, Any] | None = None
    telemetry_ms: int = 0
    readings_w: list[float] = field(default_factory=list)
    energy_j: float = 0.0
    asked_w: float = 0.0
    last_w: float | None = None


class Books:
    """Take entries in order; `recording`, `events` and `losses` are what came of them."""

    def __init__(self, scenario: ScenarioModel, seats: list[Seat], rig_meter: str,
                 decoders: dict[str, PowerMeter]) -> None:
        """decoders: meters by name, opened or not."""
        self.scenario = scenario
        self.recording = RigRecording(elements={one.name: ElementTrace() for one in seats})
        self.events: list[RigEvent] = []
        self.losses: list[Loss] = []
        self.console: list[Said] = []
        self.baseline_w = 0.0
        self.end: dict[str, Any] = {}
        self._meter = rig_meter
        self._decoders = decoders
        self._readings_w: list[float] = []
        self._shortfall_w = 0.0
        self._last_mw: int | None = None
        self._elements = {one.name: _Element(
            Watched(one.name, one.model.kind, one.zone, one.model.rating_w,
                    one.model.rating_w / _nominal_v(one.model)), one.place.meter)
            for one in seats}
        self._of_meter = {one.meter: one for one in self._elements.values() if one.meter}

    @property
    def seated(self) -> list[Watched]:
        """Every element, in the scenario's order."""
        return [one.watched for one in self._elements.values()]

    def metered(self, name: str) -> bool:
        """Return True for an element with a meter of its own."""
        return self._elements[name].meter is not None

    def last_w(self, name: str) -> float | None:
        """Return the last reading of an element's own meter, W; None without one."""
        return self._elements[name].last_w

    def response_mw(self) -> int | None:
        """Return the last second's metered export relative to the baseline, mW."""
        return None if self._last_mw is None else self._last_mw + round(self.baseline_w * 1000)

    def take(self, entry: Entry) -> None:
        """Take one entry; kinds that concern nobody here are passed over."""
        call = getattr(self, f"_on_{entry.kind}", None)
        if call is not None:
            call(entry)

    def _on_console(self, entry: Entry) -> None:
        if len(self.console) < CONSOLE_LINES_MAX:
            self.console.append(Said(entry.at_ms, entry.name, entry.data))

    def _on_meter(self, entry: Entry) -> None:
        power_w = self._decoders[entry.name].decode(tuple(entry.data)) / 1000
        if entry.name == self._meter:
            self._readings_w.append(power_w)
        element = self._of_meter.get(entry.name)
        if element is not None:
            element.readings_w.append(power_w)
            element.last_w = power_w
            self._watch(element, entry.at_ms, power_w,
                        abs(power_w) > SAFE_SHARE * element.watched.rating_w)

    def _on_telemetry(self, entry: Entry) -> None:
        element = self._elements[entry.name]
        element.telemetry, element.telemetry_ms = entry.data, entry.at_ms
        current_a = abs(entry.data["current_ma"]) / 1000
        watched = element.watched
        for event in self.events:
            for watch in event.watches:
                if watch.rig is watched and watch.detected_ms is None \
                        and entry.at_ms <= event.end_ms and not _delivers(entry.data):
                    watch.detected_ms = entry.at_ms
        if element.meter is None:
            power_w = entry.data["power_mw"] / 1000
            self._watch(element, entry.at_ms, power_w,
                        abs(power_w) > SAFE_SHARE * watched.rating_w
                        or current_a > SAFE_SHARE * watched.current_a_nominal)

    def _watch(self, element: _Element, at_ms: int, power_w: float, above: bool) -> None:
        """Let a measurement count for the events that are watched. Unsafe again is unsafe."""
        for event in self.events:
            if not event.at_ms <= at_ms <= event.end_ms:
                continue
            for watch in event.watches:
                if watch.rig is element.watched:
                    watch.power_after_w = power_w
                    if above:
                        watch.last_above_ms, watch.safe_ms = at_ms, None
                    elif watch.safe_ms is None:
                        watch.safe_ms = at_ms

    def _on_asked(self, entry: Entry) -> None:
        self._shortfall_w = entry.data["shortfall_mw"] / 1000
        for name, element in self._elements.items():
            element.asked_w = entry.data["parts_mw"].get(name, 0) / 1000

    def _on_row(self, entry: Entry) -> None:
        recording = self.recording
        late_ms = entry.at_ms - 1000 * (len(recording.phase) + 1)
        recording.late_ms_max = max(recording.late_ms_max, late_ms)
        readings, self._readings_w = self._readings_w, []
        mean_w = float(np.mean(readings)) if readings else math.nan
        self._last_mw = round(mean_w * 1000) if readings else None
        recording.phase.append(entry.name)
        recording.target_w.append(entry.data["target_w"])
        recording.response_w.append(mean_w + self.baseline_w)
        recording.load_w.append(entry.data["load_w"])
        recording.shortfall_w.append(self._shortfall_w)
        for name, element in self._elements.items():
            self._element_row(element, recording.elements[name], entry.at_ms)

    def _element_row(self, element: _Element, trace: ElementTrace, at_ms: int) -> None:
        said = element.telemetry
        fresh = said is not None and at_ms - element.telemetry_ms <= TELEMETRY_MS_MAX
        readings, element.readings_w = element.readings_w, []
        power_w = math.nan
        if element.meter is not None:
            power_w = float(np.mean(readings)) if readings else math.nan
        elif fresh and said is not None:
            power_w = said["power_mw"] / 1000
        element.energy_j += 0.0 if math.isnan(power_w) else power_w
        soc_bp = said["soc_bp"] if fresh and said is not None else None
        trace.asked_w.append(element.asked_w)
        trace.power_w.append(power_w)
        trace.soc_pct.append(math.nan if soc_bp is None else soc_bp / 100)
        trace.energy_j.append(element.energy_j)

    def _on_baseline(self, entry: Entry) -> None:
        last = np.array(self.recording.response_w[-BASELINE_S:])
        if last.size and not np.all(np.isnan(last)):
            self.baseline_w -= float(np.nanmean(last))

    def _on_event(self, entry: Entry) -> None:
        model = next(one for one in self.scenario.events if one.name == entry.name)
        event = RigEvent(model, entry.at_ms, entry.at_ms + min(model.duration_ms, WATCH_MS_MAX))
        for name in entry.data["elements"]:
            element = self._elements[name]
            active = element.telemetry is not None and _delivers(element.telemetry)
            event.watches.append(SeatWatch(element.watched, active))
        event.released = entry.data.get("orders")
        self.events.append(event)

    def _on_lost(self, entry: Entry) -> None:
        self.losses.append(Loss(entry.name, entry.data, entry.at_ms))

    def _on_back(self, entry: Entry) -> None:
        for loss in self.losses:
            if loss.name == entry.name and loss.back_ms is None:
                loss.back_ms = entry.at_ms

    def _on_stopped(self, entry: Entry) -> None:
        for loss in self.losses:
            if loss.name == entry.name and loss.back_ms is None:
                loss.stopped = True

    def _on_end(self, entry: Entry) -> None:
        self.end = entry.data


def _nominal_v(model: ElementModel) -> float:
    return CHEMISTRIES[model.chemistry].nominal_v * model.series_count


def _delivers(telemetry: dict[str, Any]) -> bool:
    """Return True while an element says that its power stage is on."""
    return bool(telemetry["state"] == codes.STATE_ACTIVE)
