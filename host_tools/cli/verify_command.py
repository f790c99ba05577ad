"""`cellwall verify`: check a run's statements, or a bundle, offline against trusted keys."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from element.protocol.errors import DecodeError
from host_tools.attest import bundle, words
from host_tools.attest.archive import STATEMENTS_FILE, Verification, verify_folder
from host_tools.attest.audit_check import check_audit
from host_tools.attest.log import Equivocation, find_equivocation
from host_tools.attest.primitives import Refused
from host_tools.attest.standing import Trust, parts_of_file
from host_tools.attest.verifier import BUNDLE_SIZE_MAX, Outcome, verify_bundle

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall verify build/hil/default-1\n\n"
    "cellwall verify build/hil/default-1/statements --json\n\n"
    "cellwall verify RUN --trust roots/   (roots from elsewhere)\n\n"
    "cellwall verify bundle.cbor --trust roots/\n\n"
    "cellwall verify bundle.cbor --trust roots/ --revocations issuer.cborseq   (a newer list)\n\n"
    "cellwall verify mine.cbor --against yours.cbor --trust roots/   (told us both the same?)"
)
SHOWN_MAX = 20


def verify(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR_OR_BUNDLE",
                             help="A run's folder, its statements/, or a bundle.")],
    trust: Annotated[
        Path | None, typer.Option(
            "--trust", help="Whom to believe, instead of the run's own roots: a site's roots/ "
                            "with revocations/ in or beside it, or a trust.json.")] = None,
    revocations: Annotated[
        list[Path] | None, typer.Option(
            "--revocations", help="A signed list more, as `cellwall pki` keeps it.")] = None,
    against: Annotated[
        list[Path] | None, typer.Option(
            "--against", help="Another bundle of the same aggregator, to compare.")] = None,
    extract: Annotated[
        Path | None, typer.Option(
            "--extract", help="Write a bundle's records and RFC 9942 receipts here.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Machine-readable result on stdout.")] = False,
) -> None:
    """Check every signed statement of a run, or a bundle, offline, against trusted keys.

    Says which statement fails and why; of a bundle, what it proves and what it
    does not. Exit 0 when all hold, 1 when one does not, 2 when there is no run
    and no bundle.
    """
    if folder.is_file():
        if trust is None:
            raise typer.BadParameter("a bundle has no keys of its own: name those you trust",
                                     param_hint="--trust")
        _verify_bundle([folder, *(against or [])], trust, revocations or [], extract, as_json)
        return
    if not folder.is_dir():
        raise typer.BadParameter(f"{folder} is not a folder", param_hint="DIR_OR_BUNDLE")
    inner = folder if (folder / STATEMENTS_FILE).exists() else folder / "statements"
    if not (inner / STATEMENTS_FILE).exists():
        raise typer.BadParameter(
            f"{folder} holds no {STATEMENTS_FILE}: give the folder that `cellwall hil run` named",
            param_hint="DIR_OR_BUNDLE")
    outcome = verify_folder(inner, trust, _lists(revocations or []))
    if as_json:
        typer.echo(json.dumps({**outcome.as_dict(), "not_checked": outcome.not_checked},
                              indent=1))
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
    for sentence in outcome.not_checked:
        console.print(f"not checked: {escape(sentence)}", soft_wrap=True)


def _read_bundle(path: Path) -> bytes:
    if path.stat().st_size > BUNDLE_SIZE_MAX:
        raise Refused("size", path.stat().st_size)
    return path.read_bytes()


def _lists(paths: list[Path]) -> list[list[bytes]]:
    """Return lists from files. Raises DecodeError for one that is none."""
    try:
        return [parts_of_file(_read_bundle(path), str(path)) for path in paths]
    except (Refused, OSError) as error:
        raise DecodeError("revocation list", str(error)) from error


def _verify_bundle(paths: list[Path], trust_path: Path, list_paths: list[Path],
                   extract: Path | None, as_json: bool) -> None:
    """Verify bundles, show the first, and compare what all of them say. Exit 1 on a failure."""
    try:
        trust = Trust.load(trust_path)
    except Refused as error:
        raise DecodeError(error.code, error.value) from error
    lists, outcomes = _lists(list_paths), list[Outcome]()
    at = paths[0]
    try:
        for at in paths:
            outcomes.append(verify_bundle(
                _read_bundle(at), trust, lists, check_audit))
        if extract is not None:
            _extract(_read_bundle(paths[0]), extract)
        found = find_equivocation([one for outcome in outcomes for one in outcome.signed],
                                  {kid: key for outcome in outcomes
                                   for kid, key in outcome.aggregators.items()})
    except Refused as error:
        value = error.value.hex() if isinstance(error.value, bytes) else error.value
        said = error.code + ("" if value is None else f": {value}")
        if as_json:
            typer.echo(json.dumps({"holds": False, "bundle": str(at), "error": said}))
        else:
            Console(highlight=False).print(f"[red]REFUSED[/] {at}: {escape(said)}")
        raise typer.Exit(1) from error
    if as_json:
        shown = words.as_dict(outcomes[0])
        typer.echo(json.dumps({**shown, "equivocations": [one.as_dict() for one in found]},
                              indent=1))
    else:
        _show_bundle(outcomes[0], found)
    if found:
        raise typer.Exit(1)


def _extract(data: bytes, folder: Path) -> None:
    """Write every record and its receipt as files that other people's tools read."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, (statement, receipt) in enumerate(bundle.receipts_of(data)):
        (folder / f"{index:05}.statement.cose").write_bytes(statement)
        (folder / f"{index:05}.receipt.cose").write_bytes(receipt)


def _show_bundle(outcome: Outcome, found: list[Equivocation]) -> None:
    console = Console(highlight=False)
    said = words.as_dict(outcome)
    if said["elements"]:
        table = Table(title="Elements shown", title_justify="left")
        for name in ("element", "tenant", "chemistry", "role", "records", "counters", "mWh"):
            table.add_column(name, justify="right" if name in ("records", "mWh") else "left")
        for one in said["elements"]:
            table.add_row(one["element"], one["tenant"], one["chemistry"], one["role"],
                          str(one["shown"]), f"{one['first']}..{one['last']}",
                          str(one["energy_mwh"]))
        console.print(table)
    table = Table(title="Intervals", title_justify="left")
    for name in ("number", "from", "s", "shown", "of", "declared mWh", "shortfall"):
        table.add_column(name, justify="left" if name == "from" else "right", no_wrap=True)
    for one in said["intervals"][:SHOWN_MAX]:
        table.add_row(str(one["number"]), words.iso(one["start_unix_ms"]),
                      str((one["end_unix_ms"] - one["start_unix_ms"]) // 1000), str(one["shown"]),
                      str(one["leaf_count"]), str(one["realized_mwh"]),
                      str(one["shortfall_mwh"]))
    console.print(table)
    if len(said["intervals"]) > SHOWN_MAX:
        console.print(f"... and {len(said['intervals']) - SHOWN_MAX} more")
    for title, sentences in (("[green]Proven[/]", said["proven"]),
                             ("[yellow]Not proven[/]", said["not_proven"])):
        console.print(title)
        for sentence in sentences:
            console.print(f"  - {escape(sentence)}", soft_wrap=True)
    for case in found:
        console.print(f"[red]EQUIVOCATION[/] {case.name}; --json has both signed statements")
