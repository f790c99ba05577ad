"""The result of a run on a terminal of 80 columns: verdict, limits, tracking, events."""

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def _number(value: Any, decimals: int = 2) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def show_results(results: dict[str, Any], folder: Path, console: Console) -> None:
    """Print results.json as tables, the verdict last."""
    _show_segments(results, console)
    if results["events"]:
        _show_events(results, console)
    if results["limits"]:
        _show_limits(results, console)
    statements = results["statements"]
    energy = results["energy"]
    console.print(
        f"statements: {statements['verified']} verified, {statements['failed']} failed;  "
        f"realized {energy['realized_mwh'] / 1e6:.3f} kWh, metered "
        + ("nowhere" if energy["metered_mwh"] is None
           else f"{energy['metered_mwh'] / 1e6:.3f} kWh"))
    kind = "simulated" if results["clock"] == "virtual" else "in real time, modelled plant,"
    if results["rig"]["instruments"]:
        kind = f"on rig {results['rig']['kind']}" + (
            ", which is emulated," if results["simulation"] else "")
    for loss in results["rig"]["losses"]:
        back = "it stayed away" if loss["back_s"] is None else f"back at {loss['back_s']:.1f} s"
        console.print(f"lost at {loss['lost_s']:.1f} s: {loss['why']}; {back}", soft_wrap=True)
    console.print(f"{results['simulated_s']} s {kind} in {results['wall_s']:.1f} s, seed "
                  f"{results['seed']}, signal {results['signal']}")
    console.print(f"report: {folder / 'report.html'}", soft_wrap=True)
    if results["aborted"]:
        console.print("[yellow]STOPPED[/] before the end; the elements are at zero")
    elif results["passed"]:
        console.print("[green]PASSED[/]")
    else:
        missed = [one["name"] for one in results["limits"] if not one["met"]]
        console.print(f"[red]FAILED[/]: {', '.join(missed)}")


def _show_segments(results: dict[str, Any], console: Console) -> None:
    # without lines between columns the longest name of a segment fits 80 of them
    table = Table(title="Tracking at the meter", title_justify="left", box=SIMPLE_HEAD,
                  show_edge=False, pad_edge=False, collapse_padding=True)
    for name in ("segment", "e1 %", "e2 %", "RMSE %", "composite", "delay", "precision"):
        table.add_column(name, justify="left" if name == "segment" else "right",
                         overflow="fold")
    for one in results["segments"]:
        score = one["pjm"] or {}
        table.add_row(
            one["name"], _number(one["e1_pct"]), _number(one["e2_pct"]),
            _number(one["rmse_pct"]), _number(score.get("composite"), 3),
            _number(score.get("delay"), 3), _number(score.get("precision"), 3))
    console.print(table)


def _show_events(results: dict[str, Any], console: Console) -> None:
    table = Table(title="Events", title_justify="left")
    for name in ("event", "where", "at s", "detected ms", "safe ms", "power after W"):
        table.add_column(name, justify="left" if name in ("event", "where") else "right")
    for one in results["events"]:
        where = one["element"] or (f"zone {one['zone']}" if one["zone"] else "building")
        watched = bool(one["elements"])
        safe = "-" if not watched else _number(one["safe_after_ms"], 0)
        found = "-" if not watched else _number(one["detected_after_ms"], 0)
        after = "-" if not watched else _number(one["power_after_w"], 0)
        table.add_row(one["name"], where, _number(one["at_s"], 1), found, safe, after)
    console.print(table)


def _show_limits(results: dict[str, Any], console: Console) -> None:
    table = Table(title="Limits", title_justify="left")
    for name in ("limit", "value", "allowed", "margin", "met"):
        table.add_column(name, justify="left" if name == "limit" else "right")
    for one in results["limits"]:
        sign = "<=" if one["kind"] == "max" else ">="
        met = "[green]yes[/]" if one["met"] else "[red]NO[/]"
        table.add_row(one["name"], _number(one["value"], 3), f"{sign} {one['limit']:g}",
                      _number(one["margin"], 3), met)
    console.print(table)
