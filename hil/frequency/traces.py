"""What the grid's frequency does: steps of a test, a generated day, or a measured CSV."""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from hil.frequency.products import Product
from hil.signals.csv_source import SignalError, header_of, number_in, read_text, rows_of

HOLD_MS = 12_000
# Steps come at different moments of the meter's, the panel's and the elements' cycles.
PHASES_MS = (0, 37, 71, 13, 94, 53)
LEAD_IN_MS = 5000
# A day at 20 Hz, as performance monitoring keeps it, and no more.
ROWS_MAX = 2_000_000
FILE_BYTES_MAX = 256 * 1024 * 1024
HZ_MIN, HZ_MAX = 40.0, 70.0
# The generated trace: a wandering mean with the spread of a large grid's frequency (60 mHz of
# standard deviation, correlation of minutes), and now and then a loss of generation.
SIGMA_MHZ = 60.0
TAU_S = 120.0
EVENT_MHZ = (-450.0, 300.0)
EVENT_FALL_S = 6.0
EVENT_BACK_S = 90.0


@dataclass(frozen=True)
class Step:
    """One step of a test: at_ms, from the nominal frequency by deviation_mhz."""

    at_ms: int
    end_ms: int
    deviation_mhz: int


@dataclass(frozen=True)
class Trace:
    """Deviation from nominal in mHz over time; between points a straight line, or held."""

    name: str
    at_ms: NDArray[np.float64] = field(repr=False)
    deviation_mhz: NDArray[np.float64] = field(repr=False)
    held: bool = False
    steps: tuple[Step, ...] = ()

    @property
    def duration_ms(self) -> int:
        """How long it lasts."""
        return int(self.at_ms[-1])

    def at(self, now_ms: float) -> float:
        """Return the deviation at a time; before and after, the end's."""
        if self.held:
            index = int(np.searchsorted(self.at_ms, now_ms, side="right")) - 1
            return float(self.deviation_mhz[max(0, index)])
        return float(np.interp(now_ms, self.at_ms, self.deviation_mhz))


def step_trace(product: Product) -> Trace:
    """Return the step test of a product: each deviation down and up, nominal between."""
    at_ms, values = [0], [0]
    steps: list[Step] = []
    now_ms = LEAD_IN_MS
    hold_ms = max(HOLD_MS, 2 * product.full_ms + 4000)
    for size in product.steps_mhz:
        for deviation in (-size, size):
            begin_ms = now_ms + PHASES_MS[len(steps) % len(PHASES_MS)]
            steps.append(Step(begin_ms, begin_ms + hold_ms, deviation))
            at_ms += [begin_ms, begin_ms + hold_ms]
            values += [deviation, 0]
            now_ms += 2 * hold_ms
    at_ms.append(now_ms)
    values.append(0)
    return Trace(f"steps of {product.name}", np.array(at_ms, dtype=np.float64),
                 np.array(values, dtype=np.float64), True, tuple(steps))


def generated_trace(seed: int, duration_ms: int) -> Trace:
    """Return a trace of the kind that large grids show, with one event. Simulation."""
    rng = Random(f"frequency/{seed}")
    count = duration_ms // 1000 + 1
    keep = np.exp(-1.0 / TAU_S)
    value, values = rng.gauss(0, SIGMA_MHZ), []
    event_s = rng.uniform(0.2, 0.6) * duration_ms / 1000
    depth = rng.uniform(*sorted((EVENT_MHZ[0], EVENT_MHZ[0] / 2)))
    for second in range(count):
        value = value * keep + rng.gauss(0, SIGMA_MHZ) * float(np.sqrt(1 - keep * keep))
        after_s = second - event_s
        event = 0.0
        if after_s > 0:
            event = depth * min(1.0, after_s / EVENT_FALL_S) * float(
                np.exp(-max(0.0, after_s - EVENT_FALL_S) / EVENT_BACK_S))
        values.append(value + event)
    return Trace(f"generated, seed {seed}", np.arange(count, dtype=np.float64) * 1000,
                 np.array(values))


def load_trace(path: Path, column: str | None, nominal_mhz: int) -> Trace:
    """Return a measured trace: first column seconds, one column Hz.

    column: its name; without one the first whose values are all between 40 and 70. Raises
    SignalError saying what is wrong and what to do.
    """
    name = str(path)
    numbered = rows_of(name, read_text(path, FILE_BYTES_MAX), ROWS_MAX)
    header = header_of(name, numbered)
    rows = list(numbered)
    if len(header) < 2 or len(rows) < 2:
        raise SignalError(name, "no trace in it", "Give a header, and rows of seconds and Hz.")
    index = _column(name, header, rows, column)
    times, values = _numbers(name, rows, header, index)
    return Trace(f"{path.name}:{header[index]}", (times - times[0]) * 1000,
                 values * 1000 - nominal_mhz)


def _column(name: str, header: list[str], rows: list[tuple[int, list[str]]],
            wanted: str | None) -> int:
    if wanted is not None:
        if wanted not in header[1:]:
            raise SignalError(name, f"no column {wanted!r}",
                              f"There are: {', '.join(header[1:9])}.")
        return header.index(wanted)
    for index in range(1, len(header)):
        sample = rows[:: max(1, len(rows) // 100)]
        try:
            if all(HZ_MIN < float(cells[index]) < HZ_MAX for _, cells in sample):
                return index
        except (ValueError, IndexError):
            continue
    raise SignalError(name, "no column looks like a frequency in Hz",
                      "Name it: FILE.csv:COLUMN.")


def _numbers(name: str, rows: list[tuple[int, list[str]]], header: list[str], index: int
             ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times in s and values in Hz. Raises SignalError naming the row."""
    times, values = np.empty(len(rows)), np.empty(len(rows))
    for number, (row, cells) in enumerate(rows):
        times[number] = number_in(name, row, header[0], cells, 0)
        values[number] = value = number_in(name, row, header[index], cells, index)
        if not HZ_MIN < value < HZ_MAX:
            raise SignalError(name, f"{value:g} is no grid frequency in Hz",
                              "Check the column and its unit.", row, header[index])
        if number and times[number] <= times[number - 1]:
            raise SignalError(name, "time does not rise", "Sort the rows.", row, header[0])
    return times, values
