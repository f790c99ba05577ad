"""Run one case: real firmware in lockstep, the real aggregator, faults, and the watch.

A run ends at its first violation. It is a pure function of the case and the commit.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from element.protocol.errors import BusError
from hil.bench.rig import Rig
from hil.bench.run import START_UNIX_MS, phase_signal
from hil.bench.site import LEASE_MS_MAX, Paths, Seeds, Site, build_site
from hil.bench.virtual import VirtualClock
from hil.campaign.books import Books
from hil.campaign.case import Case
from hil.campaign.image import image_paths, own_image
from hil.campaign.inject import Injector
from hil.campaign.invariants import Violation, Watch
from hil.campaign.panel import CampaignPanel
from hil.campaign.wires import DisturbedWire
from host_tools.identity.issuer import Authorities

LOOK_MS = 200
CHUNK_MS = 1000
# firmware/element/clock.py: how far a clock may be corrected without counting as a step
CLOCK_ROOM_MS = 500
# With one of these the element's clock is not the panel's: a lease ends within its longest time.
_CLOCKS_DIFFER = {"clock_step", "link_delay", "link_reorders", "stale", "broker_gone",
                  "link_duplicates", "link_corrupts", "replayed"}
HARMLESS = (None, "split", "echo", "late", "noise", "stuck")


@dataclass
class Outcome:
    """What came of a case. hits: how often each fault happened."""

    seed: int
    simulated_s: float = 0.0
    violation: Violation | None = None
    looks: int = 0
    records: int = 0
    trips: int = 0
    setpoints: int = 0
    panel_deaths: int = 0
    hits: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it for a JSON document."""
        fields = dict(self.__dict__)
        fields["violation"] = None if self.violation is None else self.violation.as_dict()
        return fields


class Trial:
    """One case and its world, in a folder that is emptied first."""

    def __init__(self, case: Case, folder: Path, paths: Paths | None = None) -> None:
        """paths: another firmware than the checkout's own, compiled. Raises BusError without
        MicroPython.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.case = case
        self.outcome = Outcome(case.seed)
        seeds = Seeds(case.seed)
        self.site: Site = build_site(case.scenario, case.seed, "lockstep",
                                     paths or image_paths(own_image()), folder / "boards")
        for rig in self.site.rigs:
            self._wire(rig, seeds)
        exact = not any(fault.kind in _CLOCKS_DIFFER for fault in case.faults)
        self.watch = Watch(self.site, LEASE_MS_MAX + CLOCK_ROOM_MS, exact, self._violated)
        authorities = Authorities.make(seeds.stream("authorities").randbytes)
        self.books = Books(self.site, START_UNIX_MS)
        self.panel = CampaignPanel(
            self.site, authorities, seeds.stream("panel"), folder / "ledger.db",
            case.scenario.record_interval_s * 1000, self._target_mw, self.books.response_mw)
        self.clock = VirtualClock(self.site.rigs, self.panel, START_UNIX_MS)
        self.clock.observer = self
        self.panel.clock_ms = lambda: self.clock.now_ms
        self._injector = Injector(self.site, self.clock, self.panel, self.watch,
                                  seeds.stream("campaign/inject"))
        self._phases = self._signals()
        self._stopped = False

    def _wire(self, rig: Rig, seeds: Seeds) -> None:
        """Give an element's line its latency, and see what arrives and what its BMS says."""
        latency_ms = self.case.latencies_ms[rig.name]
        stream = seeds.stream(f"campaign/wire/{rig.name}")
        rig.to_board = DisturbedWire(stream, latency_ms)
        rig.to_host = DisturbedWire(stream, latency_ms)
        rig.to_board.on_arrival = lambda tag, now_ms: self.watch.arrived(
            rig.name, tag, now_ms, START_UNIX_MS + now_ms + self.panel.clock_step_ms)
        take = rig.take_bms

        def tapped(now_ms: int) -> bytes:
            data = take(now_ms)
            if data and (rig.bms.fault_mode in HARMLESS or rig.bms.fault_probability < 1.0):
                self.watch.heard(rig.name, now_ms)
            return data

        rig.take_bms = tapped  # type: ignore[method-assign]

    def _signals(self) -> list[tuple[int, int, Any, float]]:
        """Return (begin, end, signal, peak in mW) of every phase."""
        out, at_ms = [], 0
        for phase in self.case.scenario.phases:
            signal = phase_signal(phase, self.case.seed, None)
            end_ms = at_ms + phase.duration_s * 1000
            out.append((at_ms, end_ms, signal, phase.power_kw * 1e6))
            at_ms = end_ms
        return out

    def _target_mw(self, unix_ms: int) -> int | None:
        now_ms = unix_ms - START_UNIX_MS
        for begin_ms, end_ms, signal, peak_mw in self._phases:
            if begin_ms <= now_ms < end_ms:
                return None if signal is None else round(signal.at(now_ms - begin_ms) * peak_mw)
        return None

    # what the clock tells

    def started(self, rig: Rig, now_ms: int) -> None:
        """A board has been started."""
        self.watch.started(rig.name, now_ms)

    def answered(self, rig: Rig, now_ms: int) -> None:
        """A board has answered: judge it."""
        if rig.name in self._injector.cuts:
            self._injector.look_for_cut(rig)
        self.watch.look(rig, now_ms)

    def _violated(self, violation: Violation) -> None:
        if self.outcome.violation is None:
            self.outcome.violation = violation
            self._stopped = True

    # the run

    def run(self) -> Outcome:
        """Run to the end, or to the first violation; nothing is left running."""
        outcome = self.outcome
        try:
            self.clock.start()
            self.clock.call_at(CHUNK_MS, self._each_second)
            self.clock.call_at(LOOK_MS, self._look)
            self._injector.schedule(self.case.faults)
            while self.clock.now_ms < self.case.end_ms and not self._stopped:
                self.clock.run_until(min(self.clock.now_ms + CHUNK_MS, self.case.end_ms))
        except BusError as error:
            self._violated(Violation("board_keeps_restarting", None, self.clock.now_ms,
                                     str(error)))
        finally:
            self.clock.stop()
            self.panel.close()
        if not self._stopped:
            self._settle()
        outcome.simulated_s = self.clock.now_ms / 1000
        outcome.looks = self.watch.looks_count
        outcome.setpoints = self.panel.setpoints_sent
        outcome.panel_deaths = len(self.panel.deaths)
        outcome.hits = dict(sorted(self._injector.hits.items()))
        return outcome

    def _look(self) -> None:
        """Judge every element now and then as well: one whose board is dead answers nothing."""
        now_ms = self.clock.now_ms
        for rig in self.site.rigs:
            rig.plant.advance(now_ms)
            self.watch.look(rig, now_ms)
        aggregator = self.panel.aggregator
        if aggregator is not None:
            for name, port in aggregator.ports.items():
                view = aggregator.inventory.get(port.element_id) if port.element_id else None
                if view is not None and view.telemetry is not None \
                        and view.telemetry["trip_cause"]:
                    self.watch.told_trip(name, now_ms)
        self.clock.call_at(now_ms + LOOK_MS, self._look)

    def _each_second(self) -> None:
        now_ms = self.clock.now_ms
        problem = self.books.close_second(now_ms, self.panel.aggregator)
        if problem is not None:
            self._violated(Violation("conservation", None, now_ms, problem))
        self.clock.call_at(now_ms + CHUNK_MS, self._each_second)

    def _settle(self) -> None:
        """Judge what is on paper when all is over."""
        found = self.books.settle(self.panel, self.case, self.clock.now_ms)
        self.outcome.records, self.outcome.trips = self.books.records_count, self.books.trips_count
        if found is not None:
            self._violated(found)


def run_case(case: Case, folder: Path, image: Path | None = None) -> Outcome:
    """Run a case in a folder of its own. image: compiled firmware that is there already."""
    return Trial(case, folder, None if image is None else image_paths(image)).run()


