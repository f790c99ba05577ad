"""What boards printed, all of them on the run's one clock: console.csv.

A board stamps its log with its own ticks. At each start a bench board also prints which tick is
which moment of the bench (firmware/element/hal/header.py); on a rig a line counts from when it
arrived.
"""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from hil.bench.board_process import LOG_FILE
from hil.bench.rig import Rig

CONSOLE_FILE = "console.csv"
HEADER = ("t_s", "element", "text")
LOG_SIZE_MAX = 64_000_000
_CLOCK = re.compile(r"^bench: tick (\d+) is (\d+) ms$")
_STAMP = re.compile(r"^\[(\d+)\] (.*)$")


class Said(NamedTuple):
    """One line. at_ms: on the run's clock, None where nothing tells."""

    at_ms: int | None
    element: str
    text: str


def said_by(element: str, path: Path) -> list[Said]:
    """Return the lines of a bench board's log, each with its time; none without a file.

    A line without a stamp came with the one before it.
    """
    if not path.is_file():
        return []
    with path.open("rb") as file:
        text = file.read(LOG_SIZE_MAX).decode("utf-8", "replace")
    said: list[Said] = []
    zero: int | None = None  # the tick of the run's begin
    at_ms: int | None = None
    for line in text.splitlines():
        clock, stamp = _CLOCK.match(line), _STAMP.match(line)
        words = line
        if clock is not None:
            at_ms, words = int(clock[2]), "start"
            zero = int(clock[1]) - at_ms
        elif stamp is not None and zero is not None:
            at_ms, words = int(stamp[1]) - zero, stamp[2]
        if words:
            said.append(Said(at_ms, element, words))
    return said


def write_console(out: Path, said: Iterable[Said]) -> None:
    """Write console.csv of a run's folder in the order of time; lines without one come first, in
    the order given.
    """
    ordered = sorted(said, key=lambda one: -1 if one.at_ms is None else one.at_ms)
    with (out / CONSOLE_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for one in ordered:
            writer.writerow(("" if one.at_ms is None else f"{one.at_ms / 1000:.3f}",
                             one.element, one.text))


def write_bench_console(out: Path, rigs: Iterable[Rig]) -> None:
    """Write console.csv of a bench run's folder from the logs of its boards."""
    write_console(out, [
        one for rig in rigs for one in said_by(rig.name, rig.board.spec.flash / LOG_FILE)])
