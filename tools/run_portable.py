"""Run the portable tests under MicroPython: one process a file, or one start of a board a file.

Every tests/portable/test_*.py, or the files named. With --rp2040 they run on the emulated
Raspberry Pi Pico, from its flash and in its heap; what cannot run there is listed below with the
reason, and printed. The last line is `N passed, N failed`; exit 1 on any failure, or when a file
has no tests: an empty file passes nothing.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "portable"
RUNNER = ROOT / "tests" / "portable_runner.py"
HEAP = "4m"
FILE_S_MAX = 300
BOARD_FILE_S_MAX = 900

# What does not run on the board, and why: a whole file, or one test of it.
_BOOKS = "its record of every tick is larger than the heap"
_COUNTS = "what it counts needs 3000 ticks; on the board there are 1200"
_PANEL = "the simulated panel keeps every message: element and panel outgrow the one heap"
NOT_ON_BOARD: dict[str, str] = {
    "test_console.test_a_maintenance_file_that_cannot_be_read_is_maintenance":
        "littlefs removes an empty folder like a file, and the test wants that to fail",
    "test_console.test_a_zone_file_that_cannot_be_read_obeys_every_zone": _PANEL,
    "test_console.test_a_zone_is_obeyed_as_well_and_never_instead": _PANEL,
    "test_console.test_cells_and_thermometers_with_their_age": _PANEL,
    "test_console.test_maintenance_outlasts_a_restart_and_a_message_does_not_end_it": _PANEL,
    "test_console.test_what_comes_in_as_noise_fails_nothing_and_stops_no_tick": _PANEL,
    "test_network_line": "the image for a board without a radio has no sockets",
    "test_power_cut": "a life runs inside a flash operation of another: too deep for the C stack",
    "test_agent.test_an_order_is_spent_over_a_restart":
        "three lives, each with its simulated panel, outgrow the one heap",
    "test_agent.test_an_expired_credential_admits_nothing_but_zero": _PANEL,
    "test_agent.test_statements_are_repeated_until_they_are_acknowledged": _PANEL,
    "test_signer.test_an_element_catches_up_with_its_host": _PANEL,
    "test_sunspec.test_a_refused_setpoint_is_a_fault_with_its_reason":
        "makes six inverters of 500 registers each",
    "test_trial.test_a_firmware_that_is_not_healthy_restarts_and_is_given_up": _PANEL,
    "test_trial.test_a_healthy_firmware_is_confirmed_once_and_told_of": _PANEL,
    "test_properties.test_backup_reserve": _BOOKS,
    "test_properties.test_energy_and_depth_of_discharge": _BOOKS,
    "test_properties.test_minimum_on_and_off_times": _COUNTS,
    "test_properties.test_power": _COUNTS,
    "test_properties.test_power_against_soc": _BOOKS,
    "test_relay.test_no_hour_has_more_closings_than_the_contacts_life_allows": _BOOKS,
}
# Files whose bytecode leaves too little heap for their own tests run in this many starts.
PARTS: dict[str, int] = {
    "test_agent": 14, "test_console": 26, "test_properties": 2, "test_sunspec": 2,
    "test_trial": 11}
# A board is a hundred times slower than a PC: these globals say how much a test does.
SETTINGS: dict[str, dict[str, int]] = {
    "test_properties": {"TICKS": 1200}, "test_trust_desk": {"BITS": 1, "BYTE_STEP": 8}}
# The longest first, so that the two boards end together.
LONG_FIRST = (
    "test_agent", "test_console", "test_control", "test_trial", "test_properties", "test_log",
    "test_windows")


@dataclass(frozen=True)
class Result:
    """What one file, or a part of one, did."""

    name: str
    passed: int
    failed: int
    output: str
    taken_s: float = 0.0
    remark: str = ""


@dataclass(frozen=True)
class Job:
    """One start of the board."""

    path: Path
    part: tuple[int, int] = (0, 1)
    skip: tuple[str, ...] = ()
    settings: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file, and which part of it."""
        index, count = self.part
        return self.path.stem if count == 1 else f"{self.path.stem} {index + 1}/{count}"


def run_file(micropython: Path, path: Path) -> Result:
    """Return the result of one test file in a process; a crash or a hang is a failure."""
    started_s = time.monotonic()
    passed, failed, output = run_process(micropython, path)
    return Result(path.stem, passed, failed, output, time.monotonic() - started_s)


def run_process(micropython: Path, path: Path) -> tuple[int, int, str]:
    """Return (passed, failed, output) of one test file in a process."""
    environment = {
        "MICROPYPATH": os.pathsep.join((str(ROOT / "firmware"), str(path.parent), ".frozen")),
        "PATH": os.environ.get("PATH", os.defpath),
    }
    command = [str(micropython), "-X", f"heapsize={HEAP}", str(RUNNER), path.stem]
    try:
        result = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=FILE_S_MAX,
            check=False)
    except subprocess.TimeoutExpired:
        return 0, 1, f"no end after {FILE_S_MAX} s"
    lines = result.stdout.rstrip().splitlines()
    words = lines[-1].split() if lines else []
    if len(words) != 3 or words[0] != "RESULT":
        return 0, 1, f"{result.stdout}\nended with code {result.returncode} and no result"
    passed, failed = int(words[1]), int(words[2])
    if passed + failed == 0:
        return 0, 1, "no tests in this file"
    if failed == 0 and result.returncode != 0:
        return passed, 1, f"{result.stdout}\nended with code {result.returncode}"
    return passed, failed, "\n".join(lines[:-1])


def jobs_of(files: list[Path]) -> tuple[list[Job], list[str]]:
    """Return the starts of the board that these files need, and what is left out."""
    jobs: list[Job] = []
    left_out: list[str] = []
    order = {name: place for place, name in enumerate(LONG_FIRST)}
    for path in sorted(files, key=lambda one: order.get(one.stem, len(order))):
        if path.stem in NOT_ON_BOARD:
            left_out.append(f"{path.stem}: {NOT_ON_BOARD[path.stem]}")
            continue
        skip = tuple(name.partition(".")[2] for name in NOT_ON_BOARD
                     if name.startswith(f"{path.stem}."))
        left_out += [f"{path.stem}.{name}: {NOT_ON_BOARD[f'{path.stem}.{name}']}"
                     for name in skip]
        count = PARTS.get(path.stem, 1)
        jobs += [Job(path, (index, count), skip, SETTINGS.get(path.stem, {}))
                 for index in range(count)]
    return jobs, left_out


def run_on_boards(jobs: list[Job], board_count: int) -> Iterator[Result]:
    """Run the jobs on board_count emulated boards at a time; yield results as they come."""
    from hil.bench.rp2040.portable import PortableBoard  # only this target needs the emulator

    waiting: SimpleQueue[Job] = SimpleQueue()
    results: SimpleQueue[Result | BaseException] = SimpleQueue()
    for job in jobs:
        waiting.put(job)

    def work(folder: Path) -> None:
        try:
            board = PortableBoard(ROOT, folder)
            try:
                while True:
                    job = waiting.get_nowait()
                    started_s = time.monotonic()
                    verdict = board.run_file(job.path, BOARD_FILE_S_MAX, job.skip, job.part,
                                             job.settings)
                    remark = f", {verdict.emulated_s:.0f} s on the board, {verdict.free} B free"
                    results.put(Result(job.name, verdict.passed, verdict.failed, verdict.output,
                                       time.monotonic() - started_s, remark))
            except Empty:
                pass
            finally:
                board.close()
        except Exception as error:  # handed to the main thread, which raises it
            results.put(error)

    with tempfile.TemporaryDirectory(prefix="cellwall-portable-") as folder:
        for number in range(board_count):
            threading.Thread(target=work, args=(Path(folder) / str(number),), daemon=True).start()
        for _ in jobs:
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield result


def report(results: Iterator[Result]) -> tuple[int, int]:
    """Print results as they come; return the sums of passed and failed."""
    passed = failed = 0
    for result in results:
        passed += result.passed
        failed += result.failed
        print(f"{result.name}: {result.passed} passed, {result.failed} failed, "
              f"{result.taken_s:.1f} s{result.remark}", flush=True)
        if result.failed:
            print(result.output, flush=True)
    return passed, failed


def main(argv: list[str] | None = None) -> int:
    """Run the files and print what failed; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--micropython", type=Path, help="the unix port's binary")
    target.add_argument("--rp2040", action="store_true", help="the emulated Raspberry Pi Pico")
    parser.add_argument("--boards", type=int, default=2, help="emulated boards at a time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1,
                        help="files at a time under the unix port")
    parser.add_argument("files", nargs="*", type=Path, help="default: all of tests/portable")
    arguments = parser.parse_args(argv)
    files = [path.absolute() for path in arguments.files or sorted(FOLDER.glob("test_*.py"))]
    if not files:
        print("there are no portable tests", file=sys.stderr)
        return 2
    left_out: list[str] = []
    if arguments.rp2040:
        jobs, left_out = jobs_of(files)
        passed, failed = report(run_on_boards(jobs, max(1, arguments.boards)))
    else:
        micropython = arguments.micropython.absolute()
        with ThreadPoolExecutor(max(1, arguments.jobs)) as pool:
            passed, failed = report(pool.map(lambda path: run_file(micropython, path), files))
    for line in left_out:
        print(f"not on the board: {line}")
    print(f"{passed} passed, {failed} failed"
          + (f", {len(left_out)} not on the board" if left_out else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
