"""One element on the bench at power, one fault, and how long it takes to be safe.

Real firmware on a virtual board, lockstep time, the real wire protocols; no report and no
score. Safe means below 1 % of rated power and current for SAFE_FOR_MS and more.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from element.protocol import codes, schema, texts
from hil.bench.faults import above_safe
from hil.bench.rig import Rig
from hil.bench.run import START_UNIX_MS
from hil.bench.session import fast_micropython
from hil.bench.site import Paths, Seeds, build_site
from hil.bench.virtual import VirtualClock
from hil.scenarios.model import ScenarioModel
from host_tools import codec
from host_tools.aggregator import Aggregator
from host_tools.identity.issuer import Authorities
from host_tools.ledger.store import Ledger

# Enrolled, clock set, BMS read, and some seconds at power.
READY_MS = 16_000
FAULT_MS = 24_000
WATCH_MS = 10_000
LOOK_MS = 10
STEP_MS = 1500
# Zero for this long is safe; a fault that heals lets power be asked for anew after it.
SAFE_FOR_MS = 1000
# The host asks for these in turn, as shares of the rating: every step moves the current.
PATTERN = (0.8, 0.3, 0.7, -0.5, -0.9, 0.6)


@dataclass
class Outcome:
    """What a fault did. Times count from the fault; safe_ms None: it never got safe."""

    was_w: float = 0.0
    safe_ms: int | None = None
    off_ms: int | None = None
    telemetry: dict[str, Any] = field(default_factory=dict)
    causes: list[int] = field(default_factory=list)
    restarts: int = 0
    current_a_max: float = 0.0

    @property
    def trip(self) -> str:
        """The latched cause by name, empty when nothing is latched."""
        cause = self.telemetry.get("trip_cause", codes.TRIP_NONE)
        return texts.cause_name(cause) if cause else ""

    @property
    def inhibits(self) -> list[str]:
        """What holds the element at zero, by name, the lease and limits of the moment left out."""
        bits = self.telemetry.get("inhibits", 0)
        return [name for bit, name in texts.INHIBIT_NAMES
                if bits & bit and bit not in (codes.INHIBIT_LEASE, codes.INHIBIT_LIMIT)]


class Trial:
    """One element; `run(inject)` gives the outcome of a fault injected at FAULT_MS + phase."""

    def __init__(self, scenario: ScenarioModel, seed: int, folder: Path,
                 paths: Paths | None = None, heap: str | None = None,
                 record_every_ms: int = 60_000) -> None:
        """folder: for the board's flash and the ledger; emptied. The scenario has one element.

        paths, heap: another firmware folder or interpreter, and the size of its heap.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        site = build_site(scenario, seed, "lockstep",
                          paths or Paths.of_checkout(fast_micropython()), folder / "boards")
        if heap is not None:
            site.rigs[0].board.spec.heap = heap
        seeds = Seeds(seed)
        self.rig: Rig = site.rigs[0]
        self.authorities = Authorities.make(seeds.stream("authorities").randbytes)
        self.aggregator = Aggregator(
            self.authorities,
            Ledger.at(folder / "ledger.db"), seeds.stream("panel").randbytes,
            site.enrolment("trial"), record_every_ms)
        self.clock = VirtualClock(site.rigs, self.aggregator, START_UNIX_MS)
        self.aggregator.add_port(self.rig.name, self.clock.sender(self.rig))
        self._rating_mw = round(self.rig.rating_w * 1000)
        self.aggregator.target = self._target_mw
        self.aggregator.response = lambda: round(self.rig.plant.pcc_w * 1000)
        self.pattern: tuple[float, ...] = PATTERN
        self._outcome = Outcome()
        self._fault_ms = 0
        self._safe_since_ms: int | None = None

    def _target_mw(self, unix_ms: int) -> int | None:
        now_ms = unix_ms - START_UNIX_MS
        if now_ms < READY_MS:
            return None
        share = self.pattern[(now_ms - READY_MS) // STEP_MS % len(self.pattern)]
        return round(share * self._rating_mw)

    def run(self, inject: Callable[["Trial"], None], phase_ms: int,
            watch_ms: int = WATCH_MS, then: Callable[["Trial"], None] | None = None) -> Outcome:
        """Inject a fault at FAULT_MS + phase_ms and watch; then: called when the watch is over."""
        self._fault_ms = FAULT_MS + phase_ms
        end_ms = self._fault_ms + watch_ms
        try:
            self.clock.start()
            self.clock.call_at(self._fault_ms, lambda: self._begin(inject, end_ms))
            self.clock.run_until(end_ms)
            self._conclude()
            if then is not None:
                then(self)
        finally:
            self.clock.stop()
            self.aggregator.ledger.close()
        return self._outcome

    def _begin(self, inject: Callable[["Trial"], None], end_ms: int) -> None:
        self.rig.plant.advance(self.clock.now_ms)
        self._outcome.was_w = self.rig.plant.pcc_w
        inject(self)
        self._look(end_ms)

    def _look(self, end_ms: int) -> None:
        """Look at the true power and current every LOOK_MS."""
        rig, now_ms, outcome = self.rig, self.clock.now_ms, self._outcome
        rig.plant.advance(now_ms)
        outcome.current_a_max = max(outcome.current_a_max, abs(rig.plant.pack.current_a))
        if above_safe(rig):
            self._safe_since_ms = None
        elif self._safe_since_ms is None:
            self._safe_since_ms = now_ms
        elif outcome.safe_ms is None and now_ms - self._safe_since_ms >= SAFE_FOR_MS:
            outcome.safe_ms = self._safe_since_ms - self._fault_ms
        if outcome.off_ms is None and not rig.outputs.enable:
            outcome.off_ms = now_ms - self._fault_ms
        if now_ms + LOOK_MS < end_ms:
            self.clock.call_at(now_ms + LOOK_MS, lambda: self._look(end_ms))

    def _conclude(self) -> None:
        outcome = self._outcome
        outcome.restarts = self.rig.board.restart_count
        views = self.aggregator.inventory.views()
        outcome.telemetry = dict(views[0].telemetry or {}) if views else {}
        for kind, _, _, _, statement in self.aggregator.ledger.statements():
            if kind != schema.SAFETY_EVENT:
                continue
            payload = codec.peek(statement)[2]
            cause = codec.decode_statement(schema.SAFETY_EVENT, payload)["cause"]
            if cause < codes.NOTICE_BOOT:
                outcome.causes.append(cause)
