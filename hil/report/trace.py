"""Read trace.csv, one row a second, into arrays for the charts."""

import csv
import itertools
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

TRACE_FILE = "trace.csv"
BUILDING_COLUMNS = ("target_w", "response_w")
ELEMENT_COLUMNS = ("asked_w", "power_w")


class TraceError(ValueError):
    """A trace that cannot be read; the text names the line and the column."""


@dataclass(frozen=True)
class PhaseRun:
    """A phase in the trace: rows start (from 0) to end, end excluded."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Trace:
    """Hold the columns; `time_s` is the middle of each row's second."""

    time_s: FloatArray
    phases: list[PhaseRun]
    columns: dict[str, FloatArray]

    @property
    def count(self) -> int:
        """How many rows, seconds, there are."""
        return int(self.time_s.size)

    def service_start(self) -> int:
        """Return the index of the first row after the first phase, `count` when there is none.

        The baseline is declared at the end of the first phase: before, the response column is
        the raw meter.
        """
        return self.phases[0].end if self.phases else 0

    def between(self, start_s: float, end_s: float) -> slice:
        """Return the rows whose seconds lie within start_s and end_s."""
        first, last = np.searchsorted(self.time_s, (start_s, end_s))
        return slice(int(first), int(last))


def read_trace(path: Path, elements: list[str]) -> Trace:
    """Return the trace of a run with these elements.

    An empty cell of an element is NaN. Raises TraceError when it cannot be read, lacks a column,
    or holds another value that is no finite number.
    """
    wanted = ["t_s", *BUILDING_COLUMNS]
    wanted += [f"{name}_{column}" for name in elements for column in ELEMENT_COLUMNS]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            missing = [name for name in ("phase", *wanted) if name not in header]
            if missing:
                raise TraceError(f"line 1: no column {missing[0]}")
            phases, data = _read_rows(reader, header, wanted)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"cannot be read: {error}") from error
    columns = {name: np.array(values, dtype=np.float64) for name, values in data.items()}
    time_s = columns.pop("t_s") + 0.5
    if np.any(np.diff(time_s) <= 0):
        raise TraceError("t_s does not rise")
    return Trace(time_s, phases, columns)


def _read_rows(
    reader: Iterable[list[str]], header: list[str], wanted: list[str]
) -> tuple[list[PhaseRun], dict[str, "array[float]"]]:
    places = [(name, header.index(name)) for name in wanted]
    phase_at = header.index("phase")
    data: dict[str, array[float]] = {name: array("d") for name in wanted}
    names: list[str] = []
    for line, row in enumerate(reader, start=2):
        if len(row) != len(header):
            raise TraceError(f"line {line}: {len(row)} cells, not {len(header)}")
        names.append(row[phase_at])
        for name, place in places:
            try:
                value = float(row[place])
            except ValueError:
                value = np.nan
            # an empty cell: on a rig nobody has measured this element in that second
            if not np.isfinite(value) and (row[place] or name in BUILDING_COLUMNS):
                raise TraceError(f"line {line}, {name}: {row[place]!r} is no finite number")
            data[name].append(value)
    phases, start = [], 0
    for name, group in itertools.groupby(names):
        end = start + len(list(group))
        phases.append(PhaseRun(name, start, end))
        start = end
    return phases, data
