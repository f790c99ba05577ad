"""`cellwall hil campaign` and `cellwall hil replay`: many seeds with faults, and one again."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from host_tools.cli import hil_rig_commands
from host_tools.cli.hil_arguments import SAY_S, scenario_of
from host_tools.cli.safe_stop import safe_stop

if TYPE_CHECKING:
    from hil.campaign.campaign import Campaign
    from hil.campaign.trial import Outcome

EXIT_FAILED = 1
EXIT_STOPPED = 4
SEEDS_MAX = 10_000_000

CAMPAIGN_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall hil campaign --seeds 100\n\n"
    "cellwall hil campaign my-building.yaml --seeds 1000 --first 5000 --jobs 8\n\n"
    "cellwall hil campaign --seeds 100000 --cluster tcp://bench-1:8786 --json"
)
REPLAY_EXAMPLES = (
    "[bold]Example[/]\n\n"
    "cellwall hil replay build/campaign/campaign/violation-17.json"
)


def hil_campaign(
    scenario: Annotated[
        str, typer.Argument(metavar="SCENARIO", help="A scenario's name or YAML file."),
    ] = "campaign",
    seeds: Annotated[
        int, typer.Option(min=1, max=SEEDS_MAX, help="How many seeds.")] = 100,
    first: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="The first seed.")] = 1,
    jobs: Annotated[
        int | None, typer.Option(
            min=1, max=1024, help="Processes on this machine; default: its cores.",
            envvar="CELLWALL_JOBS")] = None,
    cluster: Annotated[
        str | None, typer.Option(
            metavar="ADDRESS", help="Run on the workers of this Dask scheduler instead.",
            envvar="CELLWALL_CLUSTER")] = None,
    out: Annotated[
        Path | None, typer.Option(
            help="Folder for the results; default build/campaign/SCENARIO.")] = None,
    shrink: Annotated[
        bool, typer.Option(help="Look for the shortest schedule that still fails.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print campaign.json on stdout.")] = False,
) -> None:
    """Run seeded campaigns: each seed draws plant, latencies and faults; invariants must hold.

    The real firmware runs in virtual time; plants, devices and lines are simulated. Whatever
    breaks an invariant is written to violation-SEED.json, as short as it could be made.

    Exit 0 when nothing was violated, 1 when something was, 3 when the bench or the cluster
    fails, 4 after Ctrl-C.
    """
    from hil.bench.session import find_micropython
    from hil.campaign.campaign import Campaign
    from hil.campaign.case import draw_case
    from hil.campaign.pool import in_processes, on_cluster

    if jobs is not None and cluster is not None:
        raise typer.BadParameter("--jobs is for this machine, --cluster for others: give one",
                                 param_hint="--cluster")
    loaded = scenario_of(scenario)
    try:
        draw_case(loaded, first)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="SCENARIO") from error
    folder = out or Path("build") / "campaign" / loaded.scenario
    if folder.exists() and not folder.is_dir():
        raise typer.BadParameter(f"{folder} is a file", param_hint="--out")
    find_micropython()
    wanted = range(first, first + seeds)
    campaign = Campaign(loaded, wanted, folder, shrink)
    console = Console(stderr=True, highlight=False)
    stopped = threading.Event()
    with safe_stop(partial(_stop, stopped), console, "stopping; what is done so far is kept"), \
            _bar(console, seeds) as (told, shrinking):
        if cluster is not None:
            outcomes = on_cluster(loaded, wanted, cluster, stopped.is_set)
        else:
            outcomes = in_processes(loaded, wanted, jobs or len(os.sched_getaffinity(0)),
                                    stopped.is_set)
        campaign.run(outcomes, told, shrinking)
    if as_json:
        typer.echo(json.dumps(campaign.summary(), indent=1))
    else:
        _show(campaign, Console(highlight=False))
    if campaign.stopped:
        raise typer.Exit(EXIT_STOPPED)
    if campaign.violated:
        raise typer.Exit(EXIT_FAILED)


def _stop(stopped: threading.Event) -> None:
    """Stop after what is under way; asked again, at once."""
    if stopped.is_set():
        raise KeyboardInterrupt
    stopped.set()


@contextmanager
def _bar(console: Console, total: int) -> Iterator[tuple[Any, Any]]:
    """Yield (told, shrinking) for a campaign: a line for every violation, and a bar on a terminal,
    or elsewhere a line a tenth and a minute.
    """
    columns = (TextColumn("{task.description:<24}"), BarColumn(),
               TextColumn("{task.completed:.0f} of {task.total:.0f} seeds"),
               TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True,
                  disable=not console.is_terminal) as bar:
        task = bar.add_task("running", total=total)
        done = violated = 0
        said_s = time.monotonic()

        def told(outcome: "Outcome") -> None:
            nonlocal done, violated, said_s
            done += 1
            if outcome.violation is not None:
                violated += 1
                one = outcome.violation
                where = f" ({one.element})" if one.element else ""
                console.print(f"seed {outcome.seed}: {one.invariant}{where} at "
                              f"{one.at_ms / 1000:.3f} s: {one.text}")
            bar.update(task, completed=done,
                       description=f"{violated} violated" if violated else "nothing violated")
            if not console.is_terminal and (done % max(1, total // 10) == 0
                                            or time.monotonic() - said_s >= SAY_S):
                said_s = time.monotonic()
                console.print(f"{done} of {total} seeds, {violated} violated")

        def shrinking(runs: int, faults: int) -> None:
            bar.update(task, description=f"shortening: run {runs}, {faults} left")

        yield told, shrinking


def _show(campaign: "Campaign", console: Console) -> None:
    """Print the summary: verdict first."""
    summary = campaign.summary()
    word = "STOPPED" if campaign.stopped else "PASSED" if campaign.passed else "FAILED"
    console.print(f"{word}  campaign {summary['scenario']}, {summary['seeds']} of "
                  f"{summary['seeds_wanted']} seeds from {summary['first_seed']}: "
                  f"{len(summary['violations'])} violated", style="bold")
    console.print(
        f"SIMULATION: real firmware, modelled plants. {summary['simulated_s']:.0f} s simulated "
        f"with {summary['elements']} elements in {summary['s_wall']:.0f} s "
        f"({summary['simulated_s_per_s_wall']:.1f} times real time), {summary['looks']} looks, "
        f"{summary['setpoints']} setpoints, {summary['records']} records, {summary['trips']} "
        "trips.")
    table = Table("fault", "happened", title="faults", title_justify="left")
    for kind, count in summary["faults"].items():
        table.add_row(kind, str(count))
    console.print(table)
    for path in campaign.files:
        document = json.loads(path.read_text(encoding="utf-8"))
        violation = document["violation"]
        console.print(f"\nseed {document['case']['seed']}: {violation['invariant']}: "
                      f"{violation['text']}", style="bold")
        console.print(f"  commit {document['commit']}; the shortest schedule that still fails:")
        for line in _lines(document):
            console.print(f"  {line}")
        console.print(f"  again: cellwall hil replay {path}", soft_wrap=True)
    console.print(f"\nresults: {campaign.out}", soft_wrap=True)


def _lines(document: dict[str, Any]) -> list[str]:
    from hil.campaign.catalogue import Fault

    return [Fault.from_dict(one).text() for one in document["case"]["faults"]] or ["no fault"]


def hil_replay(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="A violation-SEED.json of a campaign, or the "
                             "folder of a rig's recording.")],
    out: Annotated[
        Path | None, typer.Option(help="Keep the boards' consoles and the ledger here.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the outcome on stdout.")] = False,
) -> None:
    """Run a violation of a campaign again, exactly; or compute a recording's numbers again.

    Exit 0 when the invariant holds now, 1 when it is still violated.
    """
    from hil.campaign.campaign import made_with
    from hil.campaign.case import load_case
    from hil.campaign.pool import run_here
    from hil.campaign.trial import run_case

    if path.is_dir():
        hil_rig_commands.replay_folder(path, out, as_json)
        return
    try:
        case, document = load_case(path)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="FILE") from error
    outcome = run_here(case) if out is None else run_case(case, out)
    found = None if outcome.violation is None else outcome.violation.as_dict()
    same = found == document.get("violation")
    if as_json:
        typer.echo(json.dumps({"recorded": document.get("violation"), "found": found,
                               "same": same, "commit": made_with()["commit"],
                               "recorded_commit": document.get("commit")}, indent=1))
    else:
        _tell(document, found, same, made_with()["commit"])
    if found is not None:
        raise typer.Exit(EXIT_FAILED)


def _tell(document: dict[str, Any], found: dict[str, Any] | None, same: bool,
          commit: str) -> None:
    """Print what was found, beside what was recorded."""
    console = Console(highlight=False)
    for line in _lines(document):
        console.print(line)
    recorded = document.get("violation")
    if found is None:
        console.print("NOT REPRODUCED: nothing is violated", style="bold")
    else:
        console.print(f"{'REPRODUCED exactly' if same else 'VIOLATED, but not as recorded'}: "
                      f"{found['invariant']} at {found['at_ms'] / 1000:.3f} s: {found['text']}",
                      style="bold")
    if not same and recorded is not None:
        console.print(f"recorded: {recorded['invariant']} at {recorded['at_ms'] / 1000:.3f} s: "
                      f"{recorded['text']}")
    if commit != document.get("commit"):
        console.print(f"recorded at commit {document.get('commit')}, this is {commit}")
