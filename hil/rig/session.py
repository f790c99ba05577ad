"""One run on a rig from its options to its folder of results, everything off in every way out.

Order: lock every port; connect and identify everything; load the rated limits; arm the watchdog
relay; only then outputs. Each step ends the run when it fails, and the way out is always the same.
"""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from element.protocol.errors import BusError, Error
from hil.bench.bench_key import bench_key
from hil.bench.console import write_console
from hil.bench.provenance import commit_of, firmware_sha256, host_of
from hil.bench.run import phase_signal
from hil.bench.session import STATEMENTS_FOLDER, clear_results, with_hours
from hil.bench.site import Paths
from hil.report.files import RESULTS_FILE
from hil.report.signature import sign_run
from hil.report.write import write_report
from hil.rig.boards import (
    BoardIdentity,
    BoardLine,
    check_credential,
    check_latch,
    enrol_seat,
    identify,
)
from hil.rig.books import Books
from hil.rig.equipment import Equipment
from hil.rig.flashing import check_can_flash, check_flashed, flash_place
from hil.rig.journal import Journal
from hil.rig.load import check_events, check_loads, load_rig, seats_of
from hil.rig.locks import Locks
from hil.rig.losses import Losses, Rule
from hil.rig.options import RigOptions
from hil.rig.outputs import Outputs
from hil.rig.results import Seen, records_of, results_of, seen_as_dict
from hil.rig.run import RigRun
from hil.rig.workers import Workers
from host_tools.aggregator import Aggregator
from host_tools.attest.archive import export, verify_folder
from host_tools.identity.site import Site
from host_tools.ledger.store import Ledger
from host_tools.provision.stopped import StoppedError

LEDGER = "ledger.db"


class RigSession:
    """Bring a rig up, run, judge, report; `stop` may be called from a signal handler."""

    def __init__(self, asked: RigOptions, progress: Callable[[int, int, str], None],
                 say: Callable[[str], None]) -> None:
        """say(line): told what happens, for stderr. Raises RigError, BusError."""
        options = asked.options
        self._asked, self._out = asked, options.out
        self._scenario = options.scenario if options.hours is None else with_hours(
            options.scenario, options.hours)
        self._seed = options.seed
        self._progress, self._say = progress, say
        self.rig = load_rig(asked.rig)
        self._seats = seats_of(asked.rig, self.rig, self._scenario)
        if asked.flash:
            check_can_flash(asked.rig, self._seats)
        check_events(asked.rig, self.rig, self._scenario, self._seats)
        self._powers_w = check_loads(asked.rig, self.rig, self._scenario)
        self._site = Site(asked.rig.resolve().parent / self.rig.site)
        self._key = bench_key()  # a run that could not be signed does not begin
        self._signals = [phase_signal(phase, self._seed, options.signal)
                         for phase in self._scenario.phases]
        self._stop_asked = False
        self._run: RigRun | None = None
        self._zero_s = time.monotonic()
        self.equipment = Equipment(self.rig)
        self.outputs = Outputs(self.equipment, self._watchdog_said, say)
        self._workers = Workers(self.equipment, self._now_ms, self.outputs.switch)
        self._lines = {seat.place.name: BoardLine(seat.place) for seat in self._seats}
        self.books = Books(self._scenario, self._seats, self.rig.meter, self.equipment.meters)
        self.unconfirmed: list[str] = []
        self._locks = Locks()
        self._journal: Journal | None = None
        self._aggregator: Aggregator | None = None
        self._boots: dict[str, int | None] = {}
        self._interpreters: dict[str, str] = {}

    def _now_ms(self) -> int:
        return int((time.monotonic() - self._zero_s) * 1000)

    def stop(self) -> None:
        """Ask for a safe stop: elements to zero, then outputs off; a second time: off at once."""
        if self._run is not None:
            self._run.hurried = self._stop_asked
            self._run.stop_asked = True
        self._stop_asked = True

    def _watchdog_said(self, error: BusError | None) -> None:
        name = self.rig.watchdog.name
        if error is None:
            self._workers.tell("up", name)
        else:
            self._workers.tell("gone", name, f"{error.code}: {error.value}".splitlines()[0])

    def execute(self) -> tuple[dict[str, Any], BusError | None]:
        """Run; returns results.json and the rig's fault that ended it, None for none.

        Raises BusError when the rig does not come up, StoppedError when it was stopped before.
        """
        journal = self._begin()
        try:
            header = self._bring_up()
            return self._run_and_judge(header, journal)
        finally:
            self._end(journal)

    def open(self) -> tuple[RigRun, Aggregator]:
        """Bring the rig up for whoever runs it step by step, and closes it with `close`.

        Raises BusError, with everything off, when it does not come up.
        """
        self._journal = self._begin()
        with ExitStack() as undo:
            undo.callback(self.close)
            self._bring_up()
            run, self._aggregator = self._make_run(self._journal)
            run.attach()
            undo.pop_all()
        return run, self._aggregator

    def close(self) -> None:
        """Switch everything off and give the rig back; twice is fine."""
        if self._journal is not None:
            self._end(self._journal)
        if self._aggregator is not None:
            self._aggregator.ledger.close()
        self._journal = self._aggregator = None

    def _begin(self) -> Journal:
        """Lock every port; returns the journal of what is seen."""
        self._locks.take([str(self._site.folder), *(seat.place.port for seat in self._seats),
                    *(one.address for one in self.rig.instruments())],
                   f"hil run {self._scenario.scenario}")
        for left in self._locks.taken_over:
            self._say(f"lock taken over: {left}")
        journal = Journal(self.books.take, self._asked.record, self._now_ms)
        self.equipment.set_tap(journal.raw)
        return journal

    def _end(self, journal: Journal) -> None:
        """Everything off, every line closed, every lock given back."""
        try:
            self._switch_off("the run is over")
        finally:
            journal.close()
            self._locks.release()

    def _switch_off(self, why: str) -> None:
        """Everything off, every line closed; twice is fine."""
        for problem in self.outputs.hard_stop(why):
            self.unconfirmed.append(problem)
            self._say(f"NOT CONFIRMED OFF: {problem}")
        self._workers.stop()
        for line in self._lines.values():
            line.close()
        self.equipment.close()

    # up

    def _bring_up(self) -> dict[str, Any]:
        """Identify, limit, arm and switch on; returns the journal's header."""
        instruments = []
        for model, one in self.equipment.all():
            self._check_stop()
            identity = one.identify()
            self._say(f"{one.kind} {model.name}: {identity.text()}")
            instruments.append({"name": model.name, "kind": one.kind, "address": model.address,
                                **asdict(identity), "calibrated": model.calibrated})
        boards = {}
        for seat in self._seats:
            self._check_stop()
            boards[seat.name] = self._board(seat)
        header = self._header(boards, instruments)
        self._check_stop()
        self.outputs.load_limits()
        self._check_stop()
        self.outputs.arm()
        self.outputs.on(self._powers_w)
        return header

    def _check_stop(self) -> None:
        if self._stop_asked:
            raise StoppedError("nothing was switched on", "run again")

    def _board(self, seat: Any) -> BoardIdentity:
        """Identify a board, enrol it where it is new, and see that it may do what is asked."""
        flashed = flash_place(seat.place, self._say) if self._asked.flash else None
        found = identify(seat.place)
        if flashed is not None:
            check_flashed(seat.place, found, flashed)
            self._interpreters[seat.name] = flashed.interpreter
        if not found.enrolled:
            enrol_seat(seat, self._site, self._say)
            found = identify(seat.place)
        check_credential(seat, found.element_id, self._site)
        check_latch(seat.place, found, self._site)
        self._boots[seat.name] = found.boot_count
        self._say(f"place {seat.place.name}: {seat.name} is element {found.element_id}, "
                  f"{found.board}, firmware {found.firmware}")
        return found

    def _header(self, boards: dict[str, BoardIdentity],
                instruments: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what the run is made with, for the journal and the results."""
        paths = Paths.of_checkout(Path())
        first = next(iter(boards.values()))
        folder = paths.board.parent / first.board
        listed = [{
            "element": seat.name, "board": boards[seat.name].board,
            "interpreter": self._interpreters.get(seat.name),
            "place": {
                "name": seat.place.name, "port": seat.place.port,
                "element_id": boards[seat.name].element_id,
                "firmware": boards[seat.name].firmware, "hardware": boards[seat.name].hardware,
                "power_from": f"meter {seat.place.meter}" if seat.place.meter else "telemetry"}}
            for seat in self._seats]
        return {
            "scenario": self._scenario.model_dump(), "seed": self._seed,
            "commit": commit_of(paths.firmware),
            "firmware_sha256": firmware_sha256(
                paths.firmware, folder if folder.is_dir() else paths.board),
            "rig": {"kind": self.rig.rig, "boards": listed, "host": host_of(),
                    "instruments": instruments},
            "rig_yaml": self.rig.model_dump(),
            "layouts": {name: one.layout() for name, one in self.equipment.meters.items()},
        }

    # the run

    def _run_and_judge(self, header: dict[str, Any], journal: Journal
                       ) -> tuple[dict[str, Any], BusError | None]:
        out = self._out
        clear_results(out)
        began_unix_ms = time.time_ns() // 1_000_000
        run, aggregator = self._make_run(journal)
        header |= {"start_unix_ms": run.start_unix_ms, "signal": run.signal_name}
        journal.header(header)
        statements, fault = out / STATEMENTS_FOLDER, None
        try:
            run.execute()
        except BusError as error:
            fault = error
        finally:
            self._switch_off("the run is over" if run.fatal is None else run.fatal.why)
            aggregator.commit_interval(run.unix_ms)
            export(aggregator.ledger, self._site.authorities().trust_root, statements,
                   self._site.folder)
            aggregator.ledger.close()
        simulated_s = run.now_ms // 1000
        journal.put(run.now_ms, "end", "", {
            "simulated_s": simulated_s, "aborted": run.aborted or fault is not None,
            "seen": seen_as_dict(self._see(aggregator))})
        if self._asked.record is not None:
            shutil.copytree(statements, self._asked.record / STATEMENTS_FOLDER,
                            dirs_exist_ok=True)
        results = results_of(self.books, header, self.rig, verify_folder(statements).as_dict(),
                             records_of(statements, run.start_unix_ms), run.now_ms / 1000)
        self.books.recording.write_csv(out / "trace.csv")
        write_console(out, self.books.console)
        write_report(results, out, self._key.key_id)
        if self._asked.record is not None:
            shutil.copy(out / RESULTS_FILE, self._asked.record / RESULTS_FILE)
        sign_run(out, results, self._key, began_unix_ms, time.time_ns() // 1_000_000)
        if run.fatal is not None:
            fault = BusError("the rig has lost a part", f"{run.fatal.why}\n  next: plug it in "
                             "again, then cellwall hil doctor")
        if self.unconfirmed and fault is None:
            fault = BusError("outputs are not confirmed to be off", "; ".join(self.unconfirmed)
                             + "\n  next: cut the rig's supply by hand, then look for why")
        return results, fault

    def _make_run(self, journal: Journal) -> tuple[RigRun, Aggregator]:
        """Return the run and its aggregator, lines open, instruments asked.

        The ledger is the site's, for all runs of the rig: elements chain what they sign, so that
        what this run brings can be verified only behind what was before.
        """
        aggregator = Aggregator(
            self._site.authorities(), Ledger.at(self._site.folder / LEDGER), os.urandom, None,
            self._scenario.record_interval_s * 1000, keyring=self._site.keyring())
        rules = {one.name: Rule(one.critical, round(one.grace_s * 1000))
                 for one in self.rig.instruments()}
        rules |= {one.name: Rule(one.critical, round(one.grace_s * 1000))
                  for one in self.rig.places}
        for line in self._lines.values():
            line.open()
        self.outputs.feeder.beat()
        # the panel takes its turns on whole seconds of the day: rows close there too, and what
        # is asked in a second is measured in it
        self._zero_s = time.monotonic() - time.time() % 1
        on = {place.power: True for place in self.rig.places if place.power}
        self._workers.start({**dict.fromkeys(self.equipment.switches, False), **on})
        breaks = {place.name: place.bms_break for place in self.rig.places if place.bms_break}
        self._run = RigRun(
            self._scenario, self._signals, self._seats, self._lines, aggregator,
            self.books, journal, self._workers, self.outputs, Losses(rules),
            self._zero_s, sum(self._powers_w.values()), self._progress, breaks)
        self._run.stop_asked = self._stop_asked
        return self._run, aggregator

    def _see(self, aggregator: Aggregator) -> dict[str, Seen]:
        """Return what is known of each element at the end; its boot count tells of restarts."""
        seen = {}
        for seat in self._seats:
            element_id = aggregator.ports[seat.name].element_id
            view = aggregator.inventory.get(element_id) if element_id else None
            seen[seat.name] = Seen(element_id, view.accepted_count if view else 0,
                                   dict(view.refusals) if view else {}, self._restarts(seat))
        return seen

    def _restarts(self, seat: Any) -> int | None:
        before = self._boots.get(seat.name)
        try:
            after = identify(seat.place).boot_count
        except Error:
            return None
        return None if before is None or after is None else after - before
