"""Comparisons and trends of runs on a terminal of 80 columns."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from hil.report.compare import Comparison
    from hil.report.trend import Group, Trend

RUNS_SHOWN_MAX = 20
_COLOURS = {"better": "green", "worse": "red", "gone": "red", "passed": "green", "failed": "red",
            "stopped": "yellow"}


def _table(title: str, *columns: str) -> Table:
    """Return a table whose first column is left, as the last, and the others right."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False,
                  pad_edge=False, collapse_padding=True)
    for index, name in enumerate(columns):
        ends = index in (0, len(columns) - 1)
        table.add_column(name, justify="left" if ends else "right", overflow="fold")
    return table


def _coloured(word: str) -> str:
    colour = _COLOURS.get(word)
    return f"[{colour}]{word}[/]" if colour else word


def show_comparison(comparison: "Comparison", console: Console) -> None:
    """Print a comparison of two runs; of the elements only what differs; the verdict last."""
    from hil.report.compare import SAME
    from hil.report.compare_page import shown_value, signed

    first, second = map(escape, comparison.labels[:2])
    table = _table("Figures", "figure", first, second, "difference", "%", "that is")
    hidden = 0
    for row in comparison.rows:
        change = row.changes[0]
        if row.of_an_element and change.verdict == SAME:
            hidden += 1
            continue
        table.add_row(row.name, *(shown_value(one, row.unit) for one in row.metrics[:2]),
                      signed(change.absolute), signed(change.pct, 1), _coloured(change.verdict))
    console.print(table)
    if hidden:
        console.print(f"and {hidden} figures of single elements that are the same")
    for limit in comparison.limits:
        if limit.met[0] != limit.met[1]:
            words = {True: "met", False: "missed", None: "no such limit"}
            console.print(f"limit {limit.name}: {words[limit.met[0]]} before, "
                          f"{words[limit.met[1]]} after", soft_wrap=True)
    for warning in comparison.warnings:
        console.print(f"[yellow]note[/]: {escape(warning)}", soft_wrap=True)
    worse = comparison.regressions()
    if worse:
        console.print(f"[red]WORSE[/]: {', '.join(worse)}", soft_wrap=True)
    else:
        console.print(f"[green]NOT WORSE[/] by more than {comparison.tolerance_pct:g} %")


def show_trend(trend: "Trend", wanted: Sequence[str], console: Console) -> None:
    """Print runs and metrics of every group."""
    for group in trend.groups:
        _show_runs(group, console)
        _show_metrics(group, wanted, console)


def _show_runs(group: "Group", console: Console) -> None:
    from hil.report.trend import verdict_of

    title = f"{group.scenario}, {group.clock} time: {len(group.runs)} runs"
    table = _table(title, "run", "start, UTC", "seed", "commit", "signed", "verdict")
    skipped = max(0, len(group.runs) - RUNS_SHOWN_MAX)
    for run in group.runs[skipped:]:
        at = datetime.fromtimestamp(run.at_unix_ms / 1000, UTC)
        mark = "" if run.time_is_signed else "?"
        table.add_row(escape(run.folder), f"{at:%Y-%m-%d %H:%M}{mark}", str(run.results["seed"]),
                      run.results["commit"][:8], run.signed, _coloured(verdict_of(run.results)))
    console.print(table)
    if skipped:
        console.print(f"and {skipped} older ones")
    if any(not run.time_is_signed for run in group.runs):
        console.print("?: time of the file, for there is no signature with the start of the run")


def _show_metrics(group: "Group", wanted: Sequence[str], console: Console) -> None:
    from hil.report.text import number, unit_of
    from hil.report.trend import SPARK_SIZE_MAX, sparkline

    names = group.names(wanted)
    if not names:
        console.print("none of these runs has such a figure")
        return
    table = _table("Figures, oldest to newest", "figure", "first", "last", "lowest", "highest",
                   f"last {SPARK_SIZE_MAX}")
    for name in names:
        values = group.values(name)
        known = [one for one in values if one is not None]
        shown = [number(one, 4) for one in (
            *(known[index] for index in (0, -1)), min(known), max(known))] if known else ["-"] * 4
        table.add_row(f"{name},{unit_of(name)}".rstrip(","), *shown, sparkline(values))
    console.print(table)
