"""`cellwall hil doctor|locks|demo-rig|parity`, and `hil run` on a rig, again, or many times.

The bench is imported when a command runs: a panel without it still has the other commands.
"""

import json
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from element.protocol.errors import BusError
from host_tools.cli.hil_arguments import scenario_of
from host_tools.cli.result_table import show_results
from host_tools.cli.safe_stop import safe_stop

if TYPE_CHECKING:
    from hil.bench.session import Options
    from hil.rig.model import RigModel
    from hil.rig.options import RigOptions

EXIT_FAILED, EXIT_RIG, EXIT_STOPPED = 1, 3, 4
COUNT_MAX = 10_000
TOLERANCE_PCT = 5.0
RigFile = Annotated[Path, typer.Argument(metavar="RIG.yaml", help="The rig.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
# the context of the progress bar of `hil run`
Bar = Callable[[Console], AbstractContextManager[Any]]

DOCTOR_EXAMPLES = "[bold]Example[/]\n\ncellwall hil doctor rig.yaml --json"
LOCKS_EXAMPLES = "[bold]Example[/]\n\ncellwall hil locks"
DEMO_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall hil demo-rig build/demo\n\n"
    "cellwall hil doctor build/demo/rig.yaml     # in another terminal\n\n"
    "cellwall hil run short --rig build/demo/rig.yaml"
)
PARITY_EXAMPLES = "[bold]Example[/]\n\ncellwall hil parity short --rig rig.yaml --html parity.html"


def load_rig_of(path: Path) -> "RigModel":
    """Return a checked rig. Raises BadParameter naming the line of what is wrong."""
    try:
        from hil.rig.load import RigError, load_rig
    except ModuleNotFoundError as error:
        raise BusError("a rig needs more packages", f"{error.name} is missing\n"
                       "  next: pip install 'cellwall[rig]'") from error
    try:
        return load_rig(path)
    except RigError as error:
        raise typer.BadParameter(str(error), param_hint="RIG") from error


def _site_of(path: Path, rig: "RigModel") -> Any:
    from host_tools.identity.site import Site

    return Site(path.resolve().parent / rig.site)


def hil_doctor(rig: RigFile, as_json: AsJson = False) -> None:
    """Check every port of a rig: there, both ways, who it is, how fast; nothing is switched on.

    Exit 0 when all are well, 3 when one is not.
    """
    loaded = load_rig_of(rig)
    from hil.rig.doctor import check_rig
    from host_tools.provision.doctor import FAILED

    checks = []
    console = Console(highlight=False)
    for check in check_rig(loaded, _site_of(rig, loaded)):
        checks.append(check)
        if not as_json:
            colour = "red" if check.verdict == FAILED else "green"
            took = "" if check.round_trip_ms is None else f", {check.round_trip_ms} ms"
            console.print(f"[{colour}]{check.verdict}[/] {check.kind} {check.name}: "
                          f"{escape(check.identity or check.port)}{took}: "
                          f"{escape(check.detail)}", soft_wrap=True)
            if check.next_step:
                console.print(f"  next: {escape(check.next_step)}", soft_wrap=True)
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=1))
    if any(check.verdict == FAILED for check in checks):
        raise typer.Exit(EXIT_RIG)


def hil_locks(as_json: AsJson = False) -> None:
    """Show who holds which port of this machine's rigs, and for how long."""
    from hil.rig.locks import owners

    found = owners()
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=1))
        return
    for one in found:
        left = "" if one.held else " (left by a dead process: the next one takes it over)"
        typer.echo(f"{one.resource}: {one.text()}{left}")
    if not found:
        typer.echo("nothing is locked")


def hil_demo_rig(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the rig is kept.")],
    scenario: Annotated[
        str, typer.Option(help="Whose elements stand on it.")] = "short",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 1,
    usb_relay: Annotated[bool, typer.Option(
        "--usb-relay", help="A USB relay as the watchdog, instead of a Shelly.")] = False,
    broker: Annotated[str | None, typer.Option(
        metavar="HOST:PORT", help="Shellies behind this MQTT broker, not over HTTP.")] = None,
) -> None:
    """Serve an emulated rig until Ctrl-C, and write its rig.yaml: everything can be tried on it.

    Lines on stdin: {"unplug": NAME}, {"replug": NAME}, {"state": true}, {"end": true}.
    """
    from hil.rig.serve import serve

    loaded = scenario_of(scenario, "--scenario")
    address = None
    if broker is not None:
        host, _, port = broker.rpartition(":")
        if not host or not port.isdigit():
            raise typer.BadParameter(f"{broker!r} is not HOST:PORT", param_hint="--broker")
        address = (host, int(port))
    stopped = threading.Event()
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, lambda *_: stopped.set())
    serve(folder, loaded, seed, stopped, sys.stdin, usb_relay, address)


# runs

def run_on_rig(asked: "RigOptions", bar: Bar) -> tuple[dict[str, Any], BusError | None]:
    """Run on a rig; returns results and the rig's fault that ended it, None for none."""
    load_rig_of(asked.rig)
    from hil.rig.load import RigError
    from hil.rig.session import RigSession

    console = Console(stderr=True, highlight=False)
    with bar(console) as update:
        try:
            session = RigSession(asked, update,
                                 lambda line: console.print(escape(line), soft_wrap=True))
        except RigError as error:
            raise typer.BadParameter(str(error), param_hint="--rig") from error
        with safe_stop(session.stop, console):
            return session.execute()


def _run_bench(options: "Options", bar: Bar) -> tuple[dict[str, Any], BusError | None]:
    """Run on the bench, in the clock of the options."""
    from hil.bench.session import Session

    console = Console(stderr=True, highlight=False)
    with bar(console) as update:
        session = Session(options, update)
        with safe_stop(session.stop, console):
            _, results = session.execute()
    return results, None


def run_once(options: "Options", on_rig: "RigOptions | None", as_json: bool, bar: Bar) -> None:
    """Run on the bench or, with on_rig, on a rig, show the results, and end with the exit code."""
    results, fault = _run_bench(options, bar) if on_rig is None else run_on_rig(on_rig, bar)
    if as_json:
        typer.echo(json.dumps(results, indent=1))
    else:
        show_results(results, options.out, Console(highlight=False))
    if fault is not None:
        if as_json:  # stdout has its document already
            Console(stderr=True, highlight=False).print(f"rig fault: {escape(str(fault))}")
            raise typer.Exit(EXIT_RIG)
        raise fault
    if results["aborted"]:
        raise typer.Exit(EXIT_STOPPED)
    if not results["passed"]:
        raise typer.Exit(EXIT_FAILED)


def run_many(options: "Options", on_rig: "RigOptions | None", count: int, as_json: bool,
             bar: Bar) -> None:
    """Run count times into run-N, show case by case what came out, and merge the JUnit files."""
    from hil.report.files import JUNIT_FILE, write_whole
    from hil.rig.flakes import cases_of, merged_junit

    out, runs, fault = options.out, [], None
    for number in range(1, count + 1):
        folder = out / f"run-{number}"
        here = replace(options, out=folder)
        if on_rig is None:
            results, fault = _run_bench(here, bar)
        else:
            record = on_rig.record / f"run-{number}" if on_rig.record else None
            results, fault = run_on_rig(replace(on_rig, options=here, record=record,
                                                flash=on_rig.flash and number == 1), bar)
        runs.append(results)
        if fault is not None or results["aborted"]:
            break
    cases = cases_of(runs)
    write_whole(out / JUNIT_FILE, merged_junit([
        (out / f"run-{number}" / JUNIT_FILE).read_text(encoding="utf-8")
        for number in range(1, len(runs) + 1)]))
    if as_json:
        typer.echo(json.dumps({"runs": len(runs), "cases": [
            asdict(one) | {"verdict": one.verdict} for one in cases]}, indent=1))
    else:
        _show_cases(cases, len(runs), out)
    if fault is not None:
        raise fault
    if runs[-1]["aborted"]:
        raise typer.Exit(EXIT_STOPPED)
    if not all(one["passed"] for one in runs):
        raise typer.Exit(EXIT_FAILED)


def _show_cases(cases: list[Any], count: int, out: Path) -> None:
    console = Console(highlight=False)
    table = Table(title=f"{count} runs", title_justify="left")
    for name in ("case", "passed", "min", "median", "max", "failed in", "that is"):
        table.add_column(name, justify="left" if name in ("case", "that is") else "right")
    for one in cases:
        values = ["-" if value is None else f"{value:.3f}"
                  for value in (one.value_min, one.value_median, one.value_max)]
        colour = {"pass": "green"}.get(one.verdict, "red")
        table.add_row(one.name, f"{one.count - len(one.failed)}/{one.count}", *values,
                      ", ".join(map(str, one.failed)), f"[{colour}]{one.verdict}[/]")
    console.print(table)
    console.print(f"results: {out}", soft_wrap=True)


def replay_folder(folder: Path, out: Path | None, as_json: bool) -> None:
    """Compute a recording's numbers again; exit 1 when they are not those of the run."""
    from hil.rig.load import RigError
    from hil.rig.replay import differences, recorded_results, replay

    try:
        results = replay(folder, out)
    except RigError as error:
        raise typer.BadParameter(str(error), param_hint="DIR") from error
    recorded = recorded_results(folder)
    changed = [] if recorded is None else differences(recorded, results)
    if as_json:
        typer.echo(json.dumps(results, indent=1))
    else:
        show_results(results, out or folder, Console(highlight=False))
        typer.echo("the run itself kept no results here" if recorded is None else
                   f"NOT the run's numbers: {', '.join(changed)}" if changed else
                   "the same numbers as in the run")
    if changed or not results["passed"]:
        raise typer.Exit(EXIT_FAILED)


def compare_three(options: "Options", rig: Path, html: Path | None, tolerance_pct: float,
                  as_json: bool, bar: Bar) -> None:
    """Run in virtual time, in real time and on the rig; show the difference of every metric."""
    from hil.report import compare as core
    from hil.report.compare_page import render_comparison, shown_value, signed
    from hil.report.files import write_whole
    from hil.rig.options import RigOptions

    load_rig_of(rig)
    out, runs = options.out, []
    for label in ("virtual", "real", "rig"):
        here = replace(options, out=out / label, clock="virtual" if label == "virtual" else "real")
        results, fault = (run_on_rig(RigOptions(here, rig), bar) if label == "rig"
                          else _run_bench(here, bar))
        if fault is not None:
            raise fault
        if results["aborted"]:
            raise typer.Exit(EXIT_STOPPED)
        runs.append((label, results))
    comparison = core.compare(runs, tolerance_pct)
    write_whole(html or out / "parity.html", render_comparison(comparison))
    if as_json:
        typer.echo(json.dumps(core.as_dict(comparison), indent=1))
    else:
        table = Table(title="Parity: each against virtual time", title_justify="left")
        for name in ("figure", "virtual", "real", "differs", "rig", "differs"):
            table.add_column(name, justify="left" if name == "figure" else "right")
        for row in comparison.rows:
            values = [shown_value(one, row.unit) for one in row.metrics]
            real, on_rig = (signed(one.absolute) or one.verdict for one in row.changes)
            table.add_row(row.name, values[0], values[1], real, values[2], on_rig)
        console = Console(highlight=False)
        console.print(table)
        console.print(f"page: {html or out / 'parity.html'}", soft_wrap=True)
    if not all(results["passed"] for _, results in runs):
        raise typer.Exit(EXIT_FAILED)
