"""A bench or a rig for tests: stepped by hand, each element with what a test wants to do to it.

The same test runs in virtual time and on a rig. `run` lets time pass; on a rig the watchdog relay
opens when a test does not come back to it for two seconds, which ends what it has begun.
"""

import os
import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from element.protocol import codes, schema
from element.protocol.errors import BusError
from hil.bench.session import Options, fast_micropython, make_clock
from hil.bench.site import Paths, Seeds, Site, build_site
from hil.rig.books import Books
from hil.scenarios.model import ScenarioModel
from host_tools.aggregator import Aggregator
from host_tools.identity.issuer import Authorities
from host_tools.inventory.elements import ElementView
from host_tools.ledger.store import Ledger
from host_tools.provision.console import telemetry_text

STEP_S = 0.1
RENEW_S = 1.0
LEASE_MS = 3000
DISCOVERY_S_MAX = 60.0
START_STEP_S = 1.0


@dataclass
class Held:
    """A setpoint that is renewed until it is taken back."""

    power_mw: int
    due_s: float = 0.0


class Board:
    """One element, as a test has it in hand."""

    def __init__(self, bench: "LiveBench", name: str) -> None:
        self.name = name
        self._bench = bench

    @property
    def view(self) -> ElementView:
        """What the panel knows of it. Raises BusError before it was found."""
        element_id = self._bench.aggregator.ports[self.name].element_id
        view = self._bench.aggregator.inventory.get(element_id) if element_id else None
        if view is None:
            raise BusError("element not found", self.name)
        return view

    @property
    def telemetry(self) -> dict[str, Any]:
        """The newest telemetry, as `messages.cddl` names its fields."""
        return self.view.telemetry or {}

    @property
    def power_w(self) -> float:
        """Its power, W: of the plant on the bench, else of its meter, else of telemetry."""
        return self._bench.power_w(self.name)

    def setpoint(self, power_w: float) -> None:
        """Ask for a power, positive = discharge, and keep asking; 0 ends that."""
        held = Held(round(power_w * 1000))
        self._bench.held[self.name] = held
        self._bench.renew()
        if not held.power_mw:
            del self._bench.held[self.name]

    def trip(self, cause: int = codes.TRIP_FIRE) -> None:
        """Send a trip; it latches until `release`."""
        self._bench.aggregator.ports[self.name].send(
            schema.TRIP, {"cause": cause, "zone": self.view.zone})

    def release(self) -> int:
        """Send signed releases to every tripped element; returns how many went out."""
        return self._bench.aggregator.release(self._bench.unix_ms)

    def wait_until(self, condition: Callable[["Board"], bool], within_s: float,
                   what: str = "") -> None:
        """Let time pass until condition(board). Raises AssertionError, saying what it waited for.

        what: that in words; else the condition's own name.
        """
        end_s = self._bench.now_s + within_s
        while not condition(self):
            if self._bench.now_s >= end_s:
                said = {name: self.telemetry.get(name) for name in (
                    "state", "power_mw", "instructed_mw", "trip_cause", "inhibits")}
                raise AssertionError(
                    f"{self.name}: {what or getattr(condition, '__name__', 'it')} did not come in "
                    f"{within_s:g} s; power {self.power_w:.0f} W, telemetry {said}")
            self._bench.run(STEP_S)


class LiveBench:
    """The contract of both: `run` lets time pass, `boards` has every element by name."""

    aggregator: Aggregator
    now_s = 0.0

    def __init__(self, scenario: ScenarioModel) -> None:
        self.scenario = scenario
        self.held: dict[str, Held] = {}
        self.boards = {name: Board(self, name) for name in scenario.element_names()}

    @property
    def unix_ms(self) -> int:
        """The time of day of the bench."""
        raise NotImplementedError

    def power_w(self, name: str) -> float:
        """Return an element's power as well as anything here knows it."""
        raise NotImplementedError

    def close(self) -> None:
        """Everything off; twice is fine."""
        raise NotImplementedError

    def _pass(self, seconds: float) -> None:
        raise NotImplementedError

    def run(self, seconds: float) -> None:
        """Let time pass; setpoints that a test holds are renewed."""
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-9:
            self.renew()
            self._pass(min(STEP_S, end_s - self.now_s))

    def renew(self) -> None:
        """Send every setpoint that is due again."""
        for name, held in self.held.items():
            if self.now_s < held.due_s:
                continue
            held.due_s = self.now_s + RENEW_S
            view = self.boards[name].view
            view.sequence += 1
            self.aggregator.ports[name].send(schema.SETPOINT, {
                "dispatch_id": 1, "sequence": view.sequence, "power_mw": held.power_mw,
                "service": codes.SERVICE_REGULATION, "start_unix_ms": self.unix_ms,
                "lease_ms": min(LEASE_MS, view.profile["lease_ms_max"])})

    def discover(self) -> None:
        """Let time pass until every element has a session and says that it is ready.

        Raises BusError naming those that are not, and what they say.
        """
        def ready(board: Board) -> bool:
            try:
                return bool(board.telemetry.get("power_mw_discharge_ready"))
            except BusError:
                return False

        end_s = self.now_s + DISCOVERY_S_MAX
        while not all(map(ready, self.boards.values())):
            if self.now_s >= end_s:
                missing = [f"{name}: {self._words_of(board)}"
                           for name, board in self.boards.items() if not ready(board)]
                raise BusError("elements are not ready", "\n  ".join(missing))
            self.run(START_STEP_S)

    def _words_of(self, board: Board) -> str:
        """Return what an element that is not ready says of itself."""
        try:
            telemetry = board.telemetry
        except BusError:
            return self.aggregator.ports[board.name].enrol_error or "no answer"
        return telemetry_text(telemetry) if telemetry else "no telemetry"


class VirtualLive(LiveBench):
    """The bench in virtual time."""

    def __init__(self, scenario: ScenarioModel, seed: int) -> None:
        super().__init__(scenario)
        self._folder = Path(tempfile.mkdtemp(prefix="cellwall-bench-"))
        seeds = Seeds(seed)
        self.site: Site = build_site(
            scenario, seed, "lockstep", Paths.of_checkout(fast_micropython()),
            self._folder / "boards")
        site = self.site
        self.aggregator = Aggregator(
            Authorities.make(seeds.stream("authorities").randbytes),
            Ledger.at(self._folder / "ledger.db"), seeds.stream("panel").randbytes,
            site.enrolment("tenant-1"),
            scenario.record_interval_s * 1000)
        self._clock = make_clock("virtual")(site, self.aggregator)
        self._clock.start()
        self._open = True

    @property
    def unix_ms(self) -> int:
        return self._clock.unix_ms

    def power_w(self, name: str) -> float:
        return float(self.site.rig(name).plant.pcc_w)

    def _pass(self, seconds: float) -> None:
        self._clock.run_until(self._clock.now_ms + max(1, round(seconds * 1000)))
        self.now_s = self._clock.now_ms / 1000

    def close(self) -> None:
        if self._open:
            self._open = False
            self._clock.stop()
            self.aggregator.ledger.close()
            shutil.rmtree(self._folder, ignore_errors=True)


class RigLive(LiveBench):
    """A rig: brought up in order, everything off when it is closed."""

    def __init__(self, scenario: ScenarioModel, seed: int, rig: Path) -> None:
        super().__init__(scenario)
        from hil.rig.options import RigOptions
        from hil.rig.session import RigSession

        out = Path(tempfile.gettempdir()) / f"cellwall-{os.getpid()}-{random.randbytes(4).hex()}"
        self.session = RigSession(RigOptions(Options(scenario, seed, "real", out), rig),
                                  lambda *_: None, lambda line: None)
        self._run, self.aggregator = self.session.open()

    @property
    def _books(self) -> Books:
        return self.session.books

    @property
    def unix_ms(self) -> int:
        return self._run.unix_ms

    def power_w(self, name: str) -> float:
        measured_w = self._books.last_w(name)
        if measured_w is not None:
            return measured_w
        return float(self.boards[name].telemetry.get("power_mw", 0)) / 1000

    def _pass(self, seconds: float) -> None:
        self._run.turn(seconds)
        self.now_s = self._run.now_ms / 1000
        if self._run.fatal is not None:
            raise BusError("the rig has lost a part", self._run.fatal.why)

    def close(self) -> None:
        self.session.close()


def open_live(scenario: ScenarioModel, seed: int, rig: Path | None) -> LiveBench:
    """Return a bench in virtual time, or on a rig, with every element ready.

    Raises BusError, with everything off, when it does not come up.
    """
    bench = VirtualLive(scenario, seed) if rig is None else RigLive(scenario, seed, rig)
    with ExitStack() as undo:
        undo.callback(bench.close)
        bench.discover()
        undo.pop_all()
    return bench
