"""Run a scenario on a clock: phases, events, sampling, release, a clean end whatever happens."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from element.protocol import schema
from element.protocol.errors import BusError
from hil.bench.faults import FIRE_POLL_MS, EventResult, Watcher, above_safe
from hil.bench.recording import ROW_MS, Recording, Sampler
from hil.bench.site import Seeds, Site
from hil.scenarios.model import EventModel, PhaseModel, ScenarioModel
from hil.signals.energy import arbitrage_signal, cycling_signal
from hil.signals.ramps import ramp_signal
from hil.signals.regulation import regulation_signal
from hil.signals.signal import Signal
from host_tools import codec
from host_tools.aggregator import Aggregator
from host_tools.identity.issuer import Authorities
from host_tools.ledger.store import Ledger

# Simulated time begins here, in either clock: 2026-01-01T00:00:00Z.
START_UNIX_MS = 1_767_225_600_000
BASELINE_S = 20
# After Ctrl-C the elements get this long to be at zero, and more where one is not: leases end.
SAFE_STOP_MS = 3000
SAFE_STOP_MS_MAX = 15_000
# The run looks at its stop flag this often.
CHUNK_MS = 1000


class Clock(Protocol):
    """What a run needs of a clock; virtual and real time offer the same."""

    @property
    def now_ms(self) -> int:
        """Milliseconds since the run began."""
        ...

    @property
    def unix_ms(self) -> int:
        """The time of day of the run."""
        ...

    def call_at(self, at_ms: int, call: Callable[[], None]) -> None:
        """Run call at at_ms."""
        ...

    def start(self) -> None:
        """Start the boards."""
        ...

    def run_until(self, end_ms: int) -> None:
        """Advance to end_ms."""
        ...

    def stop(self) -> None:
        """Stop the boards."""
        ...


@dataclass
class RunResult:
    """Everything a run produced, before any judgement."""

    scenario: ScenarioModel
    seed: int
    clock_name: str
    signal_name: str
    recording: Recording
    events: list[EventResult]
    aggregator: Aggregator
    site: Site
    authorities: Authorities
    aborted: bool = False
    simulated_s: int = 0
    baseline_w: float = 0.0
    start_unix_ms: int = START_UNIX_MS
    records: dict[bytes, list[dict[str, Any]]] = field(default_factory=dict)


def phase_signal(phase: PhaseModel, seed: int, override: Signal | None) -> Signal | None:
    """Return the signal of a phase; override replaces the generated regulation signal."""
    if phase.signal == "ramp":
        return ramp_signal(phase.duration_s * 1000)
    if phase.signal == "regulation":
        return override or regulation_signal(seed, phase.duration_s * 1000)
    if phase.signal == "arbitrage":
        return arbitrage_signal(phase.duration_s * 1000)
    if phase.signal == "cycling":
        return cycling_signal(phase.duration_s * 1000)
    return None


class Run:
    """One run of a scenario on a built site."""

    def __init__(
        self, scenario: ScenarioModel, seed: int, site: Site, ledger_path: Path,
        signal: Signal | None, make_clock: "Callable[[Site, Aggregator], Clock]",
        clock_name: str, progress: Callable[[int, int, str], None],
        export: Callable[[Ledger], None] | None = None,
    ) -> None:
        """progress(done s, total s, phase name) is called every simulated second.

        export: called with the ledger at the end, before it is closed.
        """
        self._scenario = scenario
        self._progress = progress
        self._export = export
        self._stop_asked = threading.Event()
        seeds = Seeds(seed)
        authorities = Authorities.make(seeds.stream("authorities").randbytes)
        aggregator = Aggregator(
            authorities, Ledger.at(ledger_path), seeds.stream("panel").randbytes,
            site.enrolment("tenant-1"),
            scenario.record_interval_s * 1000)
        self._sampler = Sampler(site, aggregator)
        self._clock = make_clock(site, aggregator)
        self._signals = [phase_signal(phase, seed, signal) for phase in scenario.phases]
        self._events: list[EventResult] = []
        self._index = 0
        self._phase_start_ms = 0
        self._row_target: tuple[str, float] = (scenario.phases[0].name, 0.0)
        self._watcher = Watcher(self._clock.call_at, lambda: self._clock.now_ms)
        used = [one for one in self._signals if one is not None]
        self.result = RunResult(
            scenario, seed, clock_name, used[-1].name if used else "none",
            self._sampler.recording, self._events, aggregator, site, authorities)

    def stop(self) -> None:
        """Ask for a safe stop; may be called from a signal handler."""
        self._stop_asked.set()

    def execute(self) -> RunResult:
        """Run all phases, or until `stop`; elements are at zero and processes gone afterwards."""
        result = self.result
        total_s = sum(phase.duration_s for phase in self._scenario.phases)
        aggregator = result.aggregator
        aggregator.target = self._target_mw
        aggregator.response = self._sampler.response_mw
        try:
            self._clock.start()
            self._clock.call_at(ROW_MS, self._sample)
            for index, phase in enumerate(self._scenario.phases):
                self._begin_phase(index, phase)
                end_ms = self._phase_start_ms + phase.duration_s * 1000
                while self._clock.now_ms < end_ms and not self._stop_asked.is_set():
                    self._clock.run_until(min(self._clock.now_ms + CHUNK_MS, end_ms))
                    self._progress(self._clock.now_ms // 1000, total_s, phase.name)
                if self._stop_asked.is_set():
                    break
            result.aborted = self._stop_asked.is_set()
            if result.aborted:
                self._make_safe()
        finally:
            self._clock.stop()
            result.simulated_s = self._clock.now_ms // 1000
            result.baseline_w = self._sampler.baseline_w
            last_ms = self._clock.unix_ms
            aggregator.commit_interval(last_ms)
            self._collect_records()
            if self._export is not None:
                self._export(aggregator.ledger)
            aggregator.ledger.close()
        return result

    def _collect_records(self) -> None:
        """Put the execution records that the panel accepted beside the trace."""
        for kind, signer, _, _, statement in self.result.aggregator.ledger.statements():
            if kind == schema.EXECUTION_RECORD:
                fields = codec.decode_statement(kind, codec.peek(statement)[2])
                self.result.records.setdefault(signer, []).append(fields)

    def _make_safe(self) -> None:
        """Send zero until all are there; leases end by themselves where even that is lost.

        An on/off element that has just switched on may stay on for its shortest time.
        """
        self._index = -1
        clock = self._clock
        self.result.aggregator.stop(clock.unix_ms)
        end_ms = clock.now_ms + SAFE_STOP_MS_MAX
        clock.run_until(clock.now_ms + SAFE_STOP_MS)
        while clock.now_ms < end_ms and any(map(above_safe, self.result.site.rigs)):
            clock.run_until(clock.now_ms + CHUNK_MS)
        # a row is the mean of its second: the last one tells of zero alone
        clock.run_until(clock.now_ms + 2 * ROW_MS)

    def _begin_phase(self, index: int, phase: PhaseModel) -> None:
        """Enter a phase: its signal, its events; the baseline is declared before the second."""
        if index == 1:
            self._require_discovery()
            self._sampler.set_baseline(BASELINE_S)
        self._index = index
        self._phase_start_ms = self._clock.now_ms
        for event in self._scenario.events:
            if event.phase == phase.name:
                at_ms = self._phase_start_ms + round(event.at_s * 1000)
                self._clock.call_at(at_ms, partial(self._happen, event))

    def _require_discovery(self) -> None:
        """Check that discovery has found every element. Raises BusError naming those missing."""
        missing = [f"{name} ({port.enrol_error or 'no answer'})"
                   for name, port in self.result.aggregator.ports.items() if not port.has_session]
        if missing:
            raise BusError("discovery did not find", ", ".join(missing))

    def _target_w(self, now_ms: int) -> float:
        """Return the power wanted at the meter relative to the baseline, W."""
        signal = self._signals[self._index] if self._index >= 0 else None
        if signal is None:
            return 0.0
        peak_w = self._scenario.phases[self._index].power_kw * 1000
        return signal.at(now_ms - self._phase_start_ms) * peak_w

    def _target_mw(self, unix_ms: int) -> int | None:
        """Return what the aggregator must reach, None while there is no service."""
        if self._index < 0 or self._signals[self._index] is None:
            return None
        return round(self._target_w(self._clock.now_ms) * 1000)

    def _sample(self) -> None:
        now_ms = self._clock.now_ms
        self._sampler.sample(now_ms, *self._row_target)
        name = self._scenario.phases[self._index].name if self._index >= 0 else "stop"
        self._row_target = (name, self._target_w(now_ms))
        self._clock.call_at(now_ms - now_ms % ROW_MS + ROW_MS, self._sample)

    def _happen(self, event: EventModel) -> None:
        """Let an event begin now."""
        now_ms = self._clock.now_ms
        result = EventResult(event, now_ms)
        self._events.append(result)
        site = self.result.site
        duration_ms = event.duration_ms
        if event.kind == "bms_silent":
            rig = site.rig(str(event.element))
            rig.bms.silent = True
            self._clock.call_at(now_ms + duration_ms, lambda: setattr(rig.bms, "silent", False))
            self._watcher.start(result, [rig], duration_ms)
        elif event.kind in ("link_lost", "host_lost"):
            # to an element a dead panel and a cut line are the same: no setpoint renews its lease
            cut = site.rigs if event.element is None else [site.rig(event.element)]
            for rig in cut:
                rig.set_link_cut(True)
                self._clock.call_at(now_ms + duration_ms, partial(rig.set_link_cut, False))
            self._watcher.start(result, cut, duration_ms)
        elif event.kind == "fire_alarm":
            zone = int(event.zone or 0)
            self._clock.call_at(now_ms + FIRE_POLL_MS, lambda: self.result.aggregator.fire_alarm(
                zone, self._clock.unix_ms))
            rigs = [rig for rig in site.rigs if rig.zone == zone]
            self._watcher.start(result, rigs, duration_ms)
        elif event.kind == "release":
            result.released = self.result.aggregator.release(self._clock.unix_ms)
            result.finished = True
