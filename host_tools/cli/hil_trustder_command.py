"""`cellwall hil trustder`: a home's loads and battery follow a signal, alone and among thousands.

The bench is imported when the command runs: a panel without it still has the other commands.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from host_tools.cli.hil_arguments import signal_of
from host_tools.cli.safe_stop import safe_stop

if TYPE_CHECKING:
    from hil.trustder.study import Plan

EXIT_STOPPED = 4
DEVICES_MAX = 1_000_000
TRUSTDER_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall hil trustder\n\n"
    "cellwall hil trustder --signal agc.csv:2016-04-16 --hours 0.5 --seed 7 --json"
)
ROWS = (
    ("simulation: network", "simulation", "network"),
    ("simulation: one home", "simulation", "home"),
    ("bench: that home at its meter", "bench", "home"),
    ("bench: network with that home", "bench", "network"),
    ("bench: extrapolated to the network", "bench", "extrapolated"),
)


def hil_trustder(
    devices: Annotated[
        int, typer.Option(min=20, max=DEVICES_MAX, help="Devices of the simulated network.")
    ] = 13_000,
    hours: Annotated[
        float, typer.Option(min=0.02, max=24, help="Hours of each signal, ramp and regulation.")
    ] = 1.0,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of devices, delays, plant and "
                          "generated signal.", envvar="CELLWALL_SEED")] = 1,
    signal: Annotated[
        str | None, typer.Option(
            help="Regulation from a CSV: first column seconds, others percent of full power.",
            metavar="FILE.csv[:COLUMN]", envvar="CELLWALL_SIGNAL")] = None,
    out: Annotated[
        Path | None, typer.Option(
            help="Folder for the results; default build/trustder/SEED.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    """Follow ramp and regulation with on/off loads and a battery of real firmware.

    A heater, lights and a refrigerator behind slow switches, a battery inverter under the element
    firmware; the same home and a network of thousands in simulation beside it. Exit 0 when done,
    2 for wrong input, 3 when the rig fails, 4 after Ctrl-C (the battery goes to zero first).
    """
    from hil.trustder.page import write
    from hil.trustder.study import StudyStopped, run_study

    plan = _plan(devices, hours, seed, signal, out or Path("build") / "trustder" / str(seed))
    console = Console(stderr=True, highlight=False)
    stop = threading.Event()
    try:
        with safe_stop(stop.set, console, "stopping: the battery goes to zero first"), \
                _progress(console) as update:
            results, tracked = run_study(plan, update, stop.is_set)
    except StudyStopped as error:
        console.print("stopped: the battery is at zero; there are no results")
        raise typer.Exit(EXIT_STOPPED) from error
    write(results, tracked, plan.folder)
    if as_json:
        typer.echo(json.dumps(results, indent=1))
    else:
        _show(results, plan.folder)


def _plan(devices: int, hours: float, seed: int, signal: str | None, folder: Path) -> "Plan":
    """Return the checked plan, its folder made. Raises BadParameter for what cannot be run."""
    from hil.trustder.study import Plan

    series = signal_of(signal)
    plan = Plan(folder, devices, hours, seed, series)
    try:
        plan.references()
    except ValueError as error:
        hint = "--hours" if series is None else "--signal"
        raise typer.BadParameter(str(error), param_hint=hint) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{folder} cannot be made ({error.strerror}): give another "
                                 "folder", param_hint="--out") from error
    return plan


@contextmanager
def _progress(console: Console) -> Iterator[Any]:
    """Yield a function (what, steps done, steps in all): a bar, or a line for each new thing."""
    if not console.is_terminal:
        last = [""]

        def say(what: str, done: int, total: int) -> None:
            if what != last[0]:
                last[0] = what
                console.print(f"{what}: {total} steps of 5 s")

        yield say
        return
    columns = (TextColumn("{task.description:<24}"), BarColumn(),
               TextColumn("{task.completed:.0f} of {task.total:.0f} steps"),
               TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=1)

        def update(what: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield update


def _show(results: dict[str, Any], folder: Path) -> None:
    """Print the tables, and what stands out of them."""
    console = Console(highlight=False)
    console.print(f"{results['devices']} simulated devices, {results['hours']:g} h of each "
                  f"signal, seed {results['seed']}, {results['signal']}", soft_wrap=True)
    for one in results["signals"]:
        table = Table(title=one["name"].capitalize(), title_justify="left")
        table.add_column("tracking error, means of 1 s")
        for column in ("e1 %", "e2 %", "e1 % of 5 s means", "reference %"):
            table.add_column(column, justify="right")
        for label, part, key in ROWS:
            errors = one[part][key]
            reference = one["reference"][part]["pct"] if key in ("network", "extrapolated") \
                and (part, key) != ("bench", "network") else None
            table.add_row(label, *(f"{errors[name]:.3f}" for name in (
                "e1_pct", "e2_pct", "e1_step_pct")), "" if reference is None else f"{reference:g}")
        console.print(table)
        variants = one["simulation"]["variants"]
        console.print(
            f"network without residual on batteries {variants['no_residual']['e1_pct']:.2f} %; "
            f"loads alone {variants['loads_alone_random']['e1_pct']:.2f} %, with equal remainders "
            f"{variants['loads_alone_synchronised']['e1_pct']:.1f} % (e1)", soft_wrap=True)
        console.print(
            f"controller {one['bench']['compute_ms_median']:.2f} ms a step, at most "
            f"{one['bench']['compute_ms_max']:.2f} ms on this machine (reference: under "
            f"{results['reference_compute_ms_max']:g} ms on a Raspberry Pi)", soft_wrap=True)
    console.print("simulation: models alone. bench: the battery is real firmware in lockstep "
                  "time; pack, inverter, loads, switches and meters are modelled", soft_wrap=True)
    console.print(f"[bold]{folder / 'trustder.html'}[/], {folder / 'results.json'}",
                  soft_wrap=True)
