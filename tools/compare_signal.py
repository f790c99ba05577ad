#!/usr/bin/env python3
"""Compare a recorded regulation signal with the generated one, statistic by statistic.

    tools/compare_signal.py FILE.csv

FILE.csv is laid out as the files of SynAS: time in seconds, then one column a day in percent
of full power, at 4 s. Prints the table of docs/signal-model.md in Markdown.
"""

import argparse
import sys
from math import exp
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Run from a fresh clone: the packages lie one directory above this file.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hil.metrics.pjm import pjm_score
from hil.signals.csv_source import SignalError, csv_columns, load_csv
from hil.signals.regulation import regulation_signal
from hil.signals.statistics import STEP_S, signal_statistics

Series = NDArray[np.float64]
HOUR_S = 3600
LAG_ROOM_S = 300
SEEDS_PER_SET = 1000


def lagged_composite(series_pct: list[Series], dead_s: int, tau_s: float) -> float:
    """Return the mean score of a response that is dead for dead_s and then lags by tau_s.

    It asks whether the generated signal is as hard to follow as the recorded one. 1 s grid,
    every complete hour with its lag room, normaliser window_floor.
    """
    keep = exp(-1.0 / tau_s)
    scores = []
    for series in series_pct:
        signal = np.repeat(series / 100.0, STEP_S)
        response = np.empty_like(signal)
        power = float(signal[0])
        for index in range(signal.size):
            target = float(signal[max(0, index - dead_s)])
            response[index] = power
            power = target + (power - target) * keep
        for start in range(0, signal.size - HOUR_S - LAG_ROOM_S + 1, HOUR_S):
            part = slice(start, start + HOUR_S + LAG_ROOM_S, 10)
            score = pjm_score(signal[part], response[part], "window_floor")
            if score is not None:
                scores.append(score.composite)
    return float(np.mean(scores)) if scores else float("nan")


def figures(series_pct: list[Series]) -> dict[str, float]:
    """Return every row of the table for one set of series."""
    rows = signal_statistics(series_pct)
    rows["score when 1 s dead and 1 s lag"] = lagged_composite(series_pct, 1, 1.0)
    rows["score when 4 s dead and 2 s lag"] = lagged_composite(series_pct, 4, 2.0)
    return rows


def generated_set(number: int, days_count: int, steps_count: int) -> list[Series]:
    """Return days_count generated series in percent; another number is another set."""
    days = []
    for day in range(days_count):
        seed = number * SEEDS_PER_SET + day
        values = regulation_signal(seed, steps_count * STEP_S * 1000).values
        days.append(np.round(np.array(values) * 100.0, 6))
    return days


def recorded_set(path: Path) -> list[Series]:
    """Return all columns of a file in percent. Raises SignalError, also for another step."""
    days = []
    for column in csv_columns(path):
        signal = load_csv(path, column)
        if signal.step_ms != STEP_S * 1000:
            raise SignalError(
                str(path),
                f"the step is {signal.step_ms} ms",
                f"Give a signal at {STEP_S} s.",
                column=column,
            )
        days.append(np.round(np.array(signal.values) * 100.0, 6))
    return days


def main(argv: list[str] | None = None) -> int:
    """Print the table; return 0, or 2 when the file cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, help="CSV: time in s, then percent, one column a day")
    parser.add_argument("--sets", type=int, default=5, help="generated sets (default 5)")
    options = parser.parse_args(argv)
    if options.sets < 1:
        parser.error("--sets must be 1 or more")
    try:
        recorded = recorded_set(options.file)
        real = figures(recorded)
    except SignalError as error:
        print(error.diagnostics(), file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 2
    size = (len(recorded), len(recorded[0]))
    sets = [figures(generated_set(number, *size)) for number in range(options.sets)]
    print(f"| Statistic | Recorded | Generated | Lowest..highest of {len(sets)} sets |")
    print("|---|---|---|---|")
    for name, value in real.items():
        made = [one[name] for one in sets]
        print(f"| {name} | {value:.3f} | {np.mean(made):.3f} | {min(made):.3f}..{max(made):.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
