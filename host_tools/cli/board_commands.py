"""`cellwall flash|enrol|doctor|update`: an element at the end of a cable."""

import json
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from host_tools.identity.site import Site, default_folder
from host_tools.provision.build import build_firmware
from host_tools.provision.cable import Cable
from host_tools.provision.doctor import FAILED, PASSED, Check, Doctor
from host_tools.provision.enrol import enrol, load_profile
from host_tools.provision.flash import CHIPS, flash
from host_tools.provision.update import update

FLASH_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall flash /dev/serial/by-id/usb-MicroPython_Board_in_FS_mode-if00 --board rpi_pico\n\n"
    "make flash BOARD=rpi_pico PORT=/dev/ttyACM0"
)
ENROL_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall enrol /dev/ttyACM0 --zone 3 --tenant acme --role wall\n\n"
    "cellwall enrol /dev/ttyACM0 --zone 3 --profile my_limits.yaml --json"
)
DOCTOR_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall doctor /dev/ttyACM0\n\n"
    "cellwall doctor /dev/ttyACM0 --power --interlock 30"
)
UPDATE_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall update /dev/ttyACM0\n\n"
    "cellwall update 3fa94c (an element of the site, by the begin of its id)"
)
COLUMNS_MAX = 80
CHECKOUT = Path(__file__).resolve().parents[2]

Port = Annotated[str, typer.Argument(help="Serial port of the element.")]
SiteFolder = Annotated[Path | None, typer.Option(
    "--site", help="Folder of the site's keys and elements.", show_default="~/.local/share/...")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
Checkout = Annotated[Path, typer.Option(help="Folder with firmware/ and boards/.",
                                        show_default="this installation")]


def site_of(folder: Path | None) -> Site:
    """Return the site in a folder, or the user's own."""
    return Site(folder or default_folder())


@contextmanager
def _bar(first: str) -> Iterator[Progress]:
    """Show a progress bar that fits 80 columns and leaves nothing behind."""
    with Progress(TextColumn("{task.description:<40.40}"), BarColumn(bar_width=20),
                  TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
                  console=Console(stderr=True), transient=True) as shown:
        shown.add_task(first, total=None)
        yield shown


def _moves(shown: Progress):  # type: ignore[no-untyped-def]
    """Return a function (done, total, what) that moves the bar."""
    task = shown.task_ids[0]
    return lambda done, total, what: shown.update(
        task, completed=done, total=total or None, description=what)


def flash_command(
    port: Port,
    board: Annotated[str, typer.Option(help=f"Board: {', '.join(CHIPS)}.")],
    checkout: Checkout = CHECKOUT,
    as_json: AsJson = False,
) -> None:
    """Copy the firmware onto a board: what differs, verified by SHA-256, then restarted."""
    with _bar("compiling") as shown:
        outcome = flash(port, board, checkout, _moves(shown))
    if as_json:
        typer.echo(json.dumps(asdict(outcome), indent=1))
        return
    out = Console(highlight=False)
    out.print(f"{outcome.interpreter}")
    out.print(f"{len(outcome.copied)} files copied, {outcome.unchanged_count} unchanged, "
              f"{len(outcome.removed)} removed; every SHA-256 verified on the board")
    out.print(f"element {outcome.element_id}, firmware {outcome.version}, {outcome.seconds} s")


def enrol_command(
    port: Port,
    zone: Annotated[int, typer.Option(min=1, max=65535, help="Zone whose trips it obeys.")],
    profile: Annotated[str, typer.Option(
        help="Limits: a YAML file, or the name of one that comes with Cellwall.",
    )] = "lfp_16s_2500w",
    tenant: Annotated[str, typer.Option(help="Whose records these are.")] = "",
    role: Annotated[str, typer.Option(help="wall, column, floor or cabinet.")] = "wall",
    site: SiteFolder = None,
    as_json: AsJson = False,
) -> None:
    """Give an element its credential. It makes its keys itself; private ones never leave it."""
    fields = load_profile(profile, role)
    where = site_of(site)
    with _bar("asking the element") as shown:
        moves = _moves(shown)
        entry = enrol(port, where, fields, zone, tenant, lambda what: moves(0, 0, what))
    if as_json:
        typer.echo(json.dumps(asdict(entry), indent=1))
        return
    out = Console(highlight=False)
    out.print(f"element {entry.element_id}: {entry.role} in zone {entry.zone}"
              + (f", tenant {entry.tenant}" if entry.tenant else ""))
    out.print(f"kept in {where.folder}/elements; the site's keys are in {where.folder}/keys",
              soft_wrap=True)


def shown(check: Check) -> Text:
    """Return a check as lines of at most 80 columns, its verdict before it."""
    colour = {PASSED: "green", FAILED: "red"}.get(check.verdict, "yellow")
    lines = textwrap.wrap(f"{check.name}: {check.detail}", COLUMNS_MAX - 6)
    if check.next_step and check.verdict != PASSED:
        lines += textwrap.wrap(f"next: {check.next_step}", COLUMNS_MAX - 6,
                               subsequent_indent=" " * 6)
    text = Text(check.verdict, style=colour)
    return text.append("  " + "\n      ".join(lines), style="none")


def doctor_command(
    port: Port,
    power: Annotated[bool, typer.Option(
        "--power", help="Let 2 % of its power flow for seconds, to see the FETs move.")] = False,
    interlock: Annotated[float, typer.Option(
        min=0, max=600, help="Wait so many seconds for a person to open the interlock loop.",
    )] = 0.0,
    site: SiteFolder = None,
    as_json: AsJson = False,
) -> None:
    """Check an installed element, line by line, with the next step for what fails."""
    out = Console(highlight=False)
    errors = Console(stderr=True, highlight=False)
    where = site_of(site)
    checks: list[Check] = []
    with Cable(port, where.known() if where.exists else {}) as cable:
        for check in Doctor(cable, where, power, interlock, errors.print).run():
            checks.append(check)
            if as_json:
                continue
            out.print(shown(check))
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=1))
    if any(check.verdict == FAILED for check in checks):
        raise typer.Exit(1)


def update_command(
    element: Annotated[str, typer.Argument(help="Serial port, or the begin of an element's id.")],
    board: Annotated[str, typer.Option(help="Board whose firmware is built.")] = "rpi_pico",
    checkout: Checkout = CHECKOUT,
    site: SiteFolder = None,
    as_json: AsJson = False,
) -> None:
    """Update an element over its link: signed, resumable, undone if it does not prove healthy."""
    where = site_of(site)
    port = element
    if "/" not in element and not element.upper().startswith("COM"):
        entry = where.element(element)
        port, board = entry.port, entry.board
    with _bar("compiling") as shown:
        outcome = update(port, where, build_firmware(checkout, board), _moves(shown))
    if as_json:
        typer.echo(json.dumps(asdict(outcome), indent=1))
        return
    Console(highlight=False).print(
        f"element {outcome.element_id}: {outcome.version_before} to {outcome.version}, "
        f"{outcome.sent_bytes} bytes, {outcome.seconds} s\n"
        "its control loop has proven healthy: it stays")
