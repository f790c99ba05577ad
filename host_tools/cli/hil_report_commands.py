"""`cellwall hil report|verify|key|compare|trend`: what is done with runs that are over.

The bench is imported when a command runs: a panel without it still has the other commands.
"""

import difflib
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from element.protocol.errors import BusError
from host_tools.cli.compare_table import show_comparison, show_trend
from host_tools.cli.result_table import show_results

if TYPE_CHECKING:
    from hil.report.signature import Verified

EXIT_FAILED = 1
PROBLEMS_SHOWN_MAX = 50
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]

REPORT_EXAMPLES = "[bold]Example[/]\n\ncellwall hil report build/hil/default-1"
VERIFY_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall hil verify build/hil/default-1\n\n"
    "cellwall hil verify build/hil/default-1 --key their-bench.pem --json"
)
KEY_EXAMPLES = "[bold]Example[/]\n\ncellwall hil key > our-bench.pem"


def hil_report(
    folder: Folder,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    """Show a run's results and write its report files again from results.json and trace.csv.

    The folder is signed again when nothing else in it was changed since the run. Exit 1 when a
    limit is missed, or when the folder is not what was signed.
    """
    from hil.bench.bench_key import existing_key
    from hil.report.remake import remake
    from hil.report.write import ResultsError

    try:
        made = remake(folder, existing_key(), time.time_ns() // 1_000_000)
    except ResultsError as error:
        raise typer.BadParameter(str(error), param_hint="DIR") from error
    if as_json:
        typer.echo(json.dumps(made.results, indent=1))
    else:
        show_results(made.results, folder, Console(highlight=False))
    console = Console(stderr=True, highlight=False)
    if made.foreign_signer is not None:
        console.print(f"signed by another bench, key {made.foreign_signer.hex()}: not signed "
                      "again; its signature holds on where the files came out the same",
                      soft_wrap=True)
    if made.problems:
        console.print("[red]NOT signed again[/]: the folder is not what was signed",
                      soft_wrap=True)
        _show_problems(made.problems, console)
        console.print("next: run the scenario again for results that are signed")
    if made.problems or not made.results["passed"]:
        raise typer.Exit(EXIT_FAILED)


def hil_verify(
    folder: Folder,
    key: Annotated[
        Path | None, typer.Option(
            metavar="PUBLIC", help="The signer's public key, PEM; default: this bench's own. "
            "`cellwall hil key` prints one.", exists=True, dir_okay=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Check the signature of a run's folder, and every file in it.

    Exit 0 when all of it is what was signed, 1 when anything is not.
    """
    from hil.bench.bench_key import read_public
    from hil.report.signature import verify_run

    if not folder.is_dir():
        raise typer.BadParameter(f"{folder} is no folder: give the one that `cellwall hil run` "
                                 "named", param_hint="DIR")
    try:
        public = _own_public() if key is None else read_public(key)
    except BusError as error:
        raise typer.BadParameter(f"{error.code}: {error.value}", param_hint="--key") from error
    found = verify_run(folder, public)
    if as_json:
        typer.echo(json.dumps(_as_dict(found), indent=1))
    else:
        _show_verified(found, folder, Console(highlight=False))
    if not found.holds:
        raise typer.Exit(EXIT_FAILED)


def _own_public() -> bytes:
    """Return this bench's public key. Raises BusError when it has none."""
    from hil.bench.bench_key import existing_key

    own = existing_key()
    if own is None:
        raise BusError("this bench has no key yet", "\n  next: give the public key of the bench "
                       "that signed, which `cellwall hil key` prints there")
    return own.public


def _as_dict(found: "Verified") -> dict[str, Any]:
    """Return the outcome for programs; what run.cose says stands only where it holds."""
    said = found.signature
    signed = None if said is None or not found.holds else {
        "key_id": said.key_id.hex(), "scenario": said.scenario, "seed": said.seed,
        "commit": said.commit, "firmware_sha256": said.firmware_sha256,
        "began_unix_ms": said.began_unix_ms, "signed_unix_ms": said.signed_unix_ms}
    return {"holds": found.holds, "signed": signed, "files": found.checked,
            "problems": [{"file": name, "why": why} for name, why in found.problems],
            "not_signed": found.unlisted}


def _show_problems(problems: list[tuple[str, str]], console: Console) -> None:
    for name, why in problems[:PROBLEMS_SHOWN_MAX]:
        console.print(f"  {escape(name)}: {escape(why)}", soft_wrap=True)
    if len(problems) > PROBLEMS_SHOWN_MAX:
        console.print(f"  and {len(problems) - PROBLEMS_SHOWN_MAX} more")


def _show_verified(found: "Verified", folder: Path, console: Console) -> None:
    if not found.holds:
        console.print(f"[red]DOES NOT HOLD[/]: {escape(str(folder))}", soft_wrap=True)
        _show_problems(found.problems, console)
        if found.foreign:
            console.print("next: --key with that bench's public key; `cellwall hil key` prints "
                          "it there", soft_wrap=True)
        return
    said = found.signature
    if said is not None:
        began = datetime.fromtimestamp(said.began_unix_ms / 1000, UTC)
        console.print(f"scenario {escape(said.scenario)}, seed {said.seed}, commit "
                      f"{escape(said.commit)}, firmware {said.firmware_sha256[:16]}",
                      soft_wrap=True)
        console.print(f"run on {began:%Y-%m-%d %H:%M:%S} UTC by the clock of the bench, key "
                      f"{said.key_id.hex()}", soft_wrap=True)
    for name in found.unlisted:
        console.print(f"not signed, added later: {escape(name)}", soft_wrap=True)
    console.print(f"{found.checked} files: [green]all are what was signed[/]")


def hil_key() -> None:
    """Print this bench's public key, PEM, for those who verify its runs; its id on stderr."""
    from hil.bench.bench_key import bench_key, public_pem

    pair = bench_key()
    Console(stderr=True, highlight=False).print(f"key {pair.key_id.hex()}")
    typer.echo(public_pem(pair.public), nl=False)


COMPARE_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall hil compare build/hil/before build/hil/after\n\n"
    "cellwall hil compare before after --tolerance-pct 1 --html compare.html --json"
)
TREND_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall hil trend build/hil\n\n"
    "cellwall hil trend runs --metric regulation.e1_pct --metric '*.pjm.*' --html trend.html"
)


def hil_compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="The folder of the run before.")],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="The folder of the run after.")],
    tolerance_pct: Annotated[
        float, typer.Option(min=0, max=1000, help="What may be worse without being a "
                            "regression, in percent of RUN_A's figure.")] = 5.0,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the comparison as a page.",
                                  dir_okay=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two runs figure by figure, and say which got worse in the direction that matters.

    Exit 0 when nothing is worse by more than the tolerance, 1 when something is.
    """
    from hil.report import compare as core
    from hil.report.compare_page import render_comparison
    from hil.report.write import ResultsError, load_results

    folders = [first, second]
    runs = []
    for folder, place in zip(folders, ("RUN_A", "RUN_B"), strict=True):
        try:
            runs.append(load_results(folder))
        except ResultsError as error:
            raise typer.BadParameter(str(error), param_hint=place) from error
    labels = core.labels_of([str(one) for one in folders])
    comparison = core.compare(list(zip(labels, runs, strict=True)), tolerance_pct)
    if html is not None:
        _write_page(html, render_comparison(comparison))
    if as_json:
        typer.echo(json.dumps(core.as_dict(comparison), indent=1))
    else:
        show_comparison(comparison, Console(highlight=False))
    if comparison.regressions():
        raise typer.Exit(EXIT_FAILED)


def _write_page(path: Path, text: str) -> None:
    """Write a page where the user wants it. Raises BadParameter when it cannot be."""
    from hil.report.files import write_whole

    try:
        write_whole(path, text)
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror}",
                                 param_hint="--html") from error


def hil_trend(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the runs are, at any "
                                           "depth.")],
    metric: Annotated[
        list[str] | None, typer.Option(
            metavar="NAME", help="A figure as `hil compare --json` names it, or a pattern with "
            "*; may be given again. Default: tracking, scores, time to safe, energy.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the trend as a page.",
                                  dir_okay=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Show how runs have done over time: verdicts, and each figure from the oldest to the newest.

    Folders that cannot be read are named and stop nothing.
    """
    from hil.bench.bench_key import existing_key
    from hil.report import trend as core
    from hil.report.trend_page import render_trend

    own = existing_key()
    found = core.read_trend(folder, own.public if own else b"")
    wanted = metric or []
    if not found.groups:
        raise typer.BadParameter(f"{folder} holds no run that can be read"
                                 + "".join(f"\n{name}: {why}" for name, why in found.broken[:5]),
                                 param_hint="DIR")
    known = {name for group in found.groups for run in group.runs for name in run.metrics}
    for one in wanted:
        if not any(group.names([one]) for group in found.groups):
            near = difflib.get_close_matches(one, known, 5, 0.4) or sorted(known)[:5]
            raise typer.BadParameter(f"no run has {one}; there are {', '.join(near)} ..",
                                     param_hint="--metric")
    if html is not None:
        _write_page(html, render_trend(folder.resolve().name, found, wanted))
    if as_json:
        typer.echo(json.dumps(core.as_dict(found, wanted), indent=1))
    else:
        show_trend(found, wanted, Console(highlight=False))
    console = Console(stderr=True, highlight=False)
    for name, why in found.broken:
        console.print(f"[red]not read[/] {escape(name)}: {escape(why)}", soft_wrap=True)
