"""`cellwall verify`: check every signed statement of a run offline against its trust root."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from host_tools.attest.archive import STATEMENTS_FILE, Verification, verify_folder

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall verify build/hil/default-1\n\n"
    "cellwall verify build/hil/default-1/statements --json\n\n"
    "cellwall verify RUN --trust site/trust.json   (keys from elsewhere)"
)
SHOWN_MAX = 20


def verify(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A run's folder, or its statements/.")],
    trust: Annotated[
        Path | None, typer.Option(
            "--trust", help="Trust root to check against, instead of the run's own.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Machine-readable result on stdout.")] = False,
) -> None:
    """Check every signed statement of a run, offline, against the trust root.

    Says which statement fails and why. Exit 0 when all hold, 1 when one does
    not, 2 when DIR holds no run.
    """
    if not folder.is_dir():
        raise typer.BadParameter(f"{folder} is not a folder", param_hint="DIR")
    inner = folder if (folder / STATEMENTS_FILE).exists() else folder / "statements"
    if not (inner / STATEMENTS_FILE).exists():
        raise typer.BadParameter(
            f"{folder} holds no {STATEMENTS_FILE}: give the folder that `cellwall hil run` named",
            param_hint="DIR")
    outcome = verify_folder(inner, trust)
    if as_json:
        typer.echo(json.dumps(outcome.as_dict(), indent=1))
    else:
        _show(outcome, inner)
    if outcome.failed or not outcome.verified:
        raise typer.Exit(1)


def _show(outcome: Verification, folder: Path) -> None:
    console = Console(highlight=False)
    table = Table(title=f"Statements in {folder}", title_justify="left")
    table.add_column("kind")
    table.add_column("verified", justify="right")
    for kind, count in sorted(outcome.by_kind.items()):
        table.add_row(kind, str(count))
    console.print(table)
    for failure in outcome.failures[:SHOWN_MAX]:
        where = f"statement {failure.index}" if failure.index >= 0 else "archive"
        console.print(f"[red]FAILED[/] {where}, {failure.what}: {failure.why}")
    if outcome.failed > SHOWN_MAX:
        console.print(f"... and {outcome.failed - SHOWN_MAX} more")
    verdict = "[red]NOT all hold[/]" if outcome.failed else "[green]all hold[/]"
    console.print(f"{outcome.verified} verified, {outcome.failed} failed: {verdict}")
