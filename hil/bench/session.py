"""One run from its options to its folder of results."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from element.protocol.errors import BusError
from hil.bench.bench_key import bench_key
from hil.bench.console import write_bench_console
from hil.bench.provenance import provenance_of
from hil.bench.realtime import RealClock
from hil.bench.run import START_UNIX_MS, Clock, Run, RunResult
from hil.bench.site import Paths, Site, build_site
from hil.bench.virtual import VirtualClock
from hil.metrics.judge import judge
from hil.report.signature import SIGNATURE_FILE, SUMS_FILE, sign_run
from hil.report.write import write_report
from hil.scenarios.model import ScenarioModel
from hil.signals.signal import Signal
from host_tools.aggregator import Aggregator
from host_tools.attest.archive import ROOTS_FOLDER, export, verify_folder
from host_tools.ledger.store import Ledger

STATEMENTS_FOLDER = "statements"
# One scoring window and its lag room: five minutes each.
SCORE_S_MIN = 600
# Signals that have no end of their own: `--hours` says how long they last.
LONG_SIGNALS = ("regulation", "arbitrage", "cycling")


@dataclass(frozen=True)
class Options:
    """What a user may choose for a run."""

    scenario: ScenarioModel
    seed: int
    clock: str
    out: Path
    signal: Signal | None = None
    hours: float | None = None


def _build_folder() -> Path:
    return Paths.of_checkout(Path()).firmware.parent / "build"


def find_micropython() -> Path:
    """Return the unix port: CELLWALL_MICROPYTHON, the checkout's build folder, or PATH.

    Raises BusError saying what to do when there is none.
    """
    named = os.environ.get("CELLWALL_MICROPYTHON")
    if named and not Path(named).is_file():
        raise BusError("CELLWALL_MICROPYTHON names no file", named)
    checkout = _build_folder() / "bin" / "micropython"
    for candidate in (named, str(checkout), shutil.which("micropython")):
        if candidate and Path(candidate).exists():
            return Path(candidate).resolve() if candidate != str(checkout) else Path(candidate)
    raise BusError("no MicroPython found", "run `make setup`, or set CELLWALL_MICROPYTHON")


def fast_micropython() -> Path:
    """Return what boards in virtual time run on; raises as `find_micropython` does.

    It is the unix port that `make fast` compiled on this machine, where it did and
    CELLWALL_MICROPYTHON names no other. A run is the same on either, only sooner done.
    """
    fast = _build_folder() / "fast" / "micropython"
    if os.environ.get("CELLWALL_MICROPYTHON") or not fast.exists():
        return find_micropython()
    return fast


def boards_of(clock: str) -> tuple[str, Paths]:
    """Return the boards' port and what they run on, for the clock called 'virtual' or 'real'."""
    if clock == "real":
        return "unix", Paths.of_checkout(find_micropython())
    return "lockstep", Paths.of_checkout(fast_micropython())


def with_hours(scenario: ScenarioModel, hours: float) -> ScenarioModel:
    """Return the scenario with its phases of regulation, arbitrage and cycling lasting hours.

    Events that would then lie after the end of their phase are left out, and so are limits on a
    PJM-style score when the regulation is too short to have one.
    """
    duration_s = max(60, round(hours * 3600))
    phases = [
        phase.model_copy(update={"duration_s": duration_s})
        if phase.signal in LONG_SIGNALS else phase for phase in scenario.phases]
    ends = {phase.name: phase.duration_s for phase in phases}
    events = [event for event in scenario.events if event.at_s < ends[event.phase]]
    limits = [limit for limit in scenario.limits
              if duration_s >= SCORE_S_MIN or ".pjm." not in limit.value]
    return scenario.model_copy(update={"phases": phases, "events": events, "limits": limits})


def make_clock(name: str) -> Callable[[Site, Aggregator], Clock]:
    """Return what makes the clock called 'virtual' or 'real', ports connected."""
    def make(site: Site, aggregator: Aggregator) -> Clock:
        if name == "real":
            real = RealClock(site.rigs, aggregator, START_UNIX_MS)
            for rig in site.rigs:
                aggregator.add_port(rig.name, real.sender(rig))
            return real
        virtual = VirtualClock(site.rigs, aggregator, START_UNIX_MS)
        for rig in site.rigs:
            aggregator.add_port(rig.name, virtual.sender(rig))
        return virtual

    return make


def clear_results(out: Path) -> None:
    """Make the folder of a run, without what an earlier one left there."""
    out.mkdir(parents=True, exist_ok=True)
    for old in ("ledger.db", "boards", STATEMENTS_FOLDER, SUMS_FILE, SIGNATURE_FILE):
        path = out / old
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()


class Session:
    """Build, run, verify, judge and report. `stop` may be called from a signal handler."""

    def __init__(self, options: Options, progress: Callable[[int, int, str], None]) -> None:
        """Raises BusError when MicroPython is missing, or the bench's key cannot be used."""
        scenario = options.scenario
        if options.hours is not None:
            scenario = with_hours(scenario, options.hours)
        self._options = options
        out = options.out
        self._key = bench_key()  # a run that could not be signed does not begin
        clear_results(out)
        port, self._paths = boards_of(options.clock)
        site = build_site(scenario, options.seed, port, self._paths, out / "boards")
        self._run = Run(
            scenario, options.seed, site, out / "ledger.db", options.signal,
            make_clock(options.clock), options.clock, progress, self._export)

    def stop(self) -> None:
        """Ask for a safe stop."""
        self._run.stop()

    def _export(self, ledger: Ledger) -> None:
        authorities, folder = self._run.result.authorities, self._options.out / STATEMENTS_FOLDER
        export(ledger, authorities.trust_root, folder)
        authorities.roots.save(folder / ROOTS_FOLDER)

    def execute(self) -> tuple[RunResult, dict[str, Any]]:
        """Run, and leave every file in the output folder; returns the run and its results."""
        planned = self._run.result
        made_with = provenance_of(  # before the run: of what the boards will load
            planned.clock_name, [rig.name for rig in planned.site.rigs],
            planned.scenario.building, self._paths)
        began_s, began_unix_ms = time.monotonic(), time.time_ns() // 1_000_000
        result = self._run.execute()
        wall_s = time.monotonic() - began_s
        out = self._options.out
        verification = verify_folder(out / STATEMENTS_FOLDER)
        results = judge(result, verification.as_dict(), made_with, wall_s)
        result.recording.write_csv(out / "trace.csv")
        write_bench_console(out, result.site.rigs)
        write_report(results, out, self._key.key_id)
        sign_run(out, results, self._key, began_unix_ms, time.time_ns() // 1_000_000)
        return result, results
