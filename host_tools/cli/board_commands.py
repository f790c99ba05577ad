"""`cellwall flash|enrol|doctor|update`: an element at the end of a cable."""

import difflib
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from element.protocol.errors import BusError
from host_tools.identity.site import Site, default_folder, is_port
from host_tools.provision.build import build_firmware
from host_tools.provision.cable import Cable
from host_tools.provision.doctor import FAILED, PASSED, Check, Doctor
from host_tools.provision.enrol import Role, enrol, load_profile
from host_tools.provision.flash import CHIPS, flash
from host_tools.provision.stopped import stoppable
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
DOCTOR_STOPPED = "the element decides for itself again: a test's power ends in two seconds"
CHECKOUT = Path(__file__).resolve().parents[2]

Move = Callable[[int, int, str], None]
Port = Annotated[str, typer.Argument(metavar="PORT", help="Serial port of the element.")]
SiteFolder = Annotated[Path | None, typer.Option(
    "--site", metavar="DIR", help="Folder of the site's keys and elements.",
    show_default="~/.local/share/...")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
Checkout = Annotated[Path, typer.Option(metavar="DIR", help="Folder with firmware/ and boards/.",
                                        show_default="this installation")]


def site_of(folder: Path | None) -> Site:
    """Return the site in a folder, or the user's own."""
    return Site(folder or default_folder())


@contextmanager
def _bar(first: str) -> Iterator[Move]:
    """Show a progress bar that fits 80 columns, on a terminal only; it leaves nothing behind.

    Yields a function (done, total, what) that moves it.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total, what: None
        return
    with Progress(TextColumn("{task.description:<48.48}"), BarColumn(bar_width=12),
                  TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
                  console=console, transient=True) as bar:
        task = bar.add_task(first, total=None)
        yield lambda done, total, what: bar.update(
            task, completed=done, total=total or None, description=what)


def checked_board(board: str, boards: Iterable[str], hint: str = "") -> str:
    """Return a board that is one of boards. Raises BadParameter with them, and the nearest."""
    names = list(boards)
    if board in names:
        return board
    near = difflib.get_close_matches(board, names, 1)
    raise typer.BadParameter(
        f"unknown board {board!r}" + (f"; did you mean {near[0]}?" if near else ".")
        + f" There are {', '.join(names)}{hint}", param_hint="--board")


def boards_of(checkout: Path) -> list[str]:
    """Return the boards of a checkout. Raises BadParameter for a folder that is none."""
    boards = sorted(path.parent.name for path in (checkout / "boards").glob("*/board.py"))
    if not boards or not (checkout / "firmware" / "element").is_dir():
        raise typer.BadParameter(f"{checkout} is no checkout of Cellwall: it needs firmware/ and "
                                 "boards/", param_hint="--checkout")
    return boards


def flash_command(
    port: Port,
    board: Annotated[str, typer.Option(
        metavar="BOARD", help=f"Board: {', '.join(CHIPS)}.")],
    checkout: Checkout = CHECKOUT,
    as_json: AsJson = False,
) -> None:
    """Copy the firmware onto a board: what differs, verified by SHA-256, then restarted."""
    boards_of(checkout)
    checked_board(board, CHIPS,
                  ". A Raspberry Pi is not flashed over a port: boards/linux/README.md")
    with _bar("compiling") as move:
        outcome = flash(port, board, checkout, move)
    if as_json:
        typer.echo(json.dumps(asdict(outcome), indent=1))
        return
    out = Console(highlight=False)
    out.print(f"{outcome.interpreter}")
    out.print(f"{len(outcome.copied)} files copied, {outcome.unchanged_count} unchanged, "
              f"{len(outcome.removed)} removed; every SHA-256 verified on the board")
    before = outcome.version_before
    change = f"{before} -> " if before not in ("", outcome.version) else ""
    out.print(f"element {outcome.element_id}, firmware {change}{outcome.version}"
              f"{': older' if outcome.is_older else ''}, {outcome.seconds} s")
    if outcome.maintenance:
        out.print("it was in maintenance before, and still is; next: "
                  f"cellwall console {port} -c 'maintenance off'", soft_wrap=True)


def enrol_command(
    port: Port,
    zone: Annotated[int, typer.Option(
        metavar="N", min=1, max=65535, help="Zone whose trips it obeys.")],
    profile: Annotated[str, typer.Option(
        metavar="FILE|NAME",
        help="Limits: a YAML file, or the name of one that comes with Cellwall.",
    )] = "lfp_16s_2500w",
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Whose records these are.")] = "",
    role: Annotated[Role, typer.Option(help="What part of the building it is in.")] = Role.WALL,
    manufacturer: Annotated[str, typer.Option(metavar="NAME", help="Who made it.")] = "",
    site: SiteFolder = None,
    as_json: AsJson = False,
) -> None:
    """Give an element its credential. It makes its keys itself; private ones never leave it."""
    fields = load_profile(profile, role.value)
    where = site_of(site)
    with _bar("asking the element") as move:
        entry = enrol(port, where, fields, zone, tenant, lambda what: move(0, 0, what),
                      manufacturer)
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
    verdict = check.verdict.upper() if check.verdict == FAILED else check.verdict
    text = Text(verdict, style=colour)
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
    with stoppable(DOCTOR_STOPPED, "doctor again"), \
            Cable(port, where.keyring() if where.exists else None) as cable:
        for check in Doctor(cable, where, power, interlock, errors.print).run():
            checks.append(check)
            if as_json:
                continue
            out.print(shown(check))
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=1))
    if any(check.verdict == FAILED for check in checks):
        raise typer.Exit(1)


def _port_and_board(element: str, where: Site, board: str | None) -> tuple[str, str]:
    """Return where an element is, and its board: what is asked for, or what it says it is."""
    if not is_port(element):
        try:
            entry = where.element(element)
        except BusError as error:
            raise BusError(error.code, f"{error.value}\n  next: name its port, enrol it, or name "
                                       "its site's folder with --site") from error
        return entry.port, board or entry.board
    if board is None:
        with Cable(element) as cable:
            board = cable.status()["board"].partition(",")[0]
    return element, board


def update_command(
    element: Annotated[str, typer.Argument(
        metavar="ELEMENT", help="Serial port, or the begin of an element's id.")],
    board: Annotated[str | None, typer.Option(
        metavar="BOARD", help="Board whose firmware is built.",
        show_default="the one that the element says")] = None,
    checkout: Checkout = CHECKOUT,
    site: SiteFolder = None,
    as_json: AsJson = False,
) -> None:
    """Update an element over its link: signed, resumable, undone if it does not prove healthy."""
    where = site_of(site)
    boards = [name for name in boards_of(checkout) if name != "virtual"]
    if board is not None:
        checked_board(board, boards)
    port, board = _port_and_board(element, where, board)
    checked_board(board, boards)
    with _bar("compiling") as move:
        outcome = update(port, where, build_firmware(checkout, board), move)
    if as_json:
        typer.echo(json.dumps(asdict(outcome), indent=1))
        return
    out = Console(highlight=False)
    if not outcome.updated:
        out.print(f"element {outcome.element_id}: {outcome.version} runs already; nothing to do")
        return
    out.print(
        f"element {outcome.element_id}: {outcome.version_before} to {outcome.version}, "
        f"{outcome.sent_bytes} bytes, {outcome.seconds} s\n"
        "its control loop has proven healthy: it stays")
