"""`cellwall hil`: run the bench, show its reports.

The bench is imported when a command runs: a panel without it still has the other commands.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from host_tools.cli import (
    hil_campaign_commands,
    hil_frequency_command,
    hil_report_commands,
    hil_rig_commands,
    hil_trustder_command,
)
from host_tools.cli.hil_arguments import SAY_S, check_clock, scenario_of, signal_of

if TYPE_CHECKING:
    from hil.bench.session import Options

app = typer.Typer(help="The hardware-in-the-loop bench.", no_args_is_help=True)

RUN_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall hil run\n\n"
    "cellwall hil run --signal agc.csv:2016-04-16 --hours 1 --seed 7\n\n"
    "cellwall hil run my-building.yaml --clock real --hours 0.05 --json\n\n"
    "cellwall hil run short --rig rig.yaml --record build/record --count 5\n\n"
    "cellwall hil run short --rig rig.yaml --flash\n\n"
    "cellwall hil run --replay build/record"
)


@app.command("run", epilog=RUN_EXAMPLES)
def hil_run(
    scenario: Annotated[
        str, typer.Argument(
            metavar="SCENARIO", help="A scenario's name or YAML file.")] = "default",
    signal: Annotated[
        str | None, typer.Option(
            help="Regulation from a CSV: first column seconds, others percent of full power.",
            metavar="FILE.csv[:COLUMN]", envvar="CELLWALL_SIGNAL")] = None,
    seed: Annotated[
        int | None, typer.Option(
            min=0, max=2**32 - 1, help="Seed of plant, noise and generated signal; default: "
            "the scenario's.", envvar="CELLWALL_SEED")] = None,
    clock: Annotated[
        str | None, typer.Option(
            help="virtual (as fast as possible, repeatable) or real (wall time).",
            metavar="[virtual|real]", envvar="CELLWALL_CLOCK")] = None,
    hours: Annotated[
        float | None, typer.Option(
            min=0.02, max=240, help="Hours of regulation instead of the scenario's.")] = None,
    out: Annotated[
        Path | None, typer.Option(
            help="Folder for the results; default build/hil/SCENARIO-SEED.")] = None,
    rig: Annotated[
        Path | None, typer.Option(
            metavar="RIG.yaml", help="Run on this rig.", envvar="CELLWALL_RIG")] = None,
    record: Annotated[
        Path | None, typer.Option(
            metavar="DIR", help="Write down every line of the rig, to be replayed.")] = None,
    flash: Annotated[
        bool, typer.Option("--flash", help="Bring this checkout's firmware onto the rig's boards "
                           "first, and check that they run it.")] = False,
    replay: Annotated[
        Path | None, typer.Option(
            metavar="DIR", help="Compute a recording's numbers again, without a rig.")] = None,
    count: Annotated[
        int, typer.Option(min=1, max=hil_rig_commands.COUNT_MAX,
                          help="Run so many times; show what is flaky.")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    """Run a scenario with the real element firmware and judge it.

    Exit 0 when every limit is met, 1 when one is missed, 3 when the rig fails,
    4 after Ctrl-C (the elements go to zero first).
    """
    from hil.rig.options import RigOptions

    if replay is not None:
        hil_rig_commands.replay_folder(replay, out, as_json)
        return
    if record is not None and rig is None:
        raise typer.BadParameter("only a rig is recorded: give --rig", param_hint="--record")
    if flash and rig is None:
        raise typer.BadParameter("there is no board to flash: give --rig", param_hint="--flash")
    options = _options(scenario, signal, seed, clock, hours, out)
    on_rig = None if rig is None else RigOptions(options, rig, record, flash)
    if count == 1:
        hil_rig_commands.run_once(options, on_rig, as_json, _progress)
    else:
        hil_rig_commands.run_many(options, on_rig, count, as_json, _progress)


@app.command("parity", epilog=hil_rig_commands.PARITY_EXAMPLES)
def hil_parity(
    scenario: Annotated[str, typer.Argument(
        metavar="SCENARIO", help="A scenario's name or YAML file.")],
    rig: Annotated[Path, typer.Option(metavar="RIG.yaml", help="The rig.",
                                      envvar="CELLWALL_RIG")],
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the three runs.")] = None,
    html: Annotated[Path | None, typer.Option(
        metavar="FILE", help="The page; default parity.html among the runs.")] = None,
    tolerance_pct: Annotated[float, typer.Option(min=0, max=1000)] = (
        hil_rig_commands.TOLERANCE_PCT),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Run the same case in virtual time, in real time and on a rig; the difference per metric."""
    options = _options(scenario, None, seed, None, None,
                       out or Path("build") / "hil" / f"parity-{Path(scenario).stem}")
    hil_rig_commands.compare_three(options, rig, html, tolerance_pct, as_json, _progress)


def _options(
    scenario: str, signal: str | None, seed: int | None, clock: str | None, hours: float | None,
    out: Path | None,
) -> "Options":
    """Return the checked options. Raises BadParameter for whatever cannot be run."""
    from hil.bench.session import Options

    loaded = scenario_of(scenario)
    series = signal_of(signal)
    clock = check_clock(clock or loaded.clock)
    chosen = loaded.seed if seed is None else seed
    folder = out or Path("build") / "hil" / f"{loaded.scenario}-{chosen}"
    if folder.exists() and not folder.is_dir():
        raise typer.BadParameter(f"{folder} is a file", param_hint="--out")
    return Options(loaded, chosen, clock, folder, series, hours)


@contextmanager
def _progress(console: Console) -> "Iterator[Any]":
    """Yield a function (done s, total s, phase) that moves a progress bar on stderr."""
    if not console.is_terminal:
        yield _PhaseLines(console)
        return
    columns = (TextColumn("{task.description:<12}"), BarColumn(),
               TextColumn("{task.completed:.0f} of {task.total:.0f} s simulated"),
               TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=1)

        def update(done_s: int, total_s: int, phase: str) -> None:
            bar.update(task, completed=done_s, total=total_s, description=phase)

        yield update


class _PhaseLines:
    """Progress for a log file: a line for every phase, and one a minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase = ""
        self._said_s = 0.0

    def __call__(self, done_s: int, total_s: int, phase: str) -> None:
        """Say when a new phase has begun, and how far a long one is."""
        if phase != self._phase:
            self._phase = phase
            self._console.print(f"{phase}: from {done_s - 1} s of {total_s} s")
        elif time.monotonic() - self._said_s >= SAY_S:
            self._console.print(f"{phase}: {done_s} s of {total_s} s")
        else:
            return
        self._said_s = time.monotonic()


for _name, _examples, _command in (
    ("campaign", hil_campaign_commands.CAMPAIGN_EXAMPLES, hil_campaign_commands.hil_campaign),
    ("replay", hil_campaign_commands.REPLAY_EXAMPLES, hil_campaign_commands.hil_replay),
    ("frequency", hil_frequency_command.FREQUENCY_EXAMPLES, hil_frequency_command.hil_frequency),
    ("report", hil_report_commands.REPORT_EXAMPLES, hil_report_commands.hil_report),
    ("verify", hil_report_commands.VERIFY_EXAMPLES, hil_report_commands.hil_verify),
    ("key", hil_report_commands.KEY_EXAMPLES, hil_report_commands.hil_key),
    ("compare", hil_report_commands.COMPARE_EXAMPLES, hil_report_commands.hil_compare),
    ("trend", hil_report_commands.TREND_EXAMPLES, hil_report_commands.hil_trend),
    ("doctor", hil_rig_commands.DOCTOR_EXAMPLES, hil_rig_commands.hil_doctor),
    ("locks", hil_rig_commands.LOCKS_EXAMPLES, hil_rig_commands.hil_locks),
    ("demo-rig", hil_rig_commands.DEMO_EXAMPLES, hil_rig_commands.hil_demo_rig),
    ("trustder", hil_trustder_command.TRUSTDER_EXAMPLES, hil_trustder_command.hil_trustder),
):
    app.command(_name, epilog=_examples)(_command)
