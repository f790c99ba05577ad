"""`cellwall release`: open an element's latch with the site's life-safety key."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from host_tools.cli.board_commands import AsJson, SiteFolder, site_of
from host_tools.provision.release import release

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall release /dev/ttyACM0\n\n"
    "cellwall release 3fa94c --yes --json (an element of the site, by the begin of its id)"
)


def release_command(
    element: Annotated[str, typer.Argument(help="Serial port, or the begin of an element's id.")],
    site: SiteFolder = None,
    yes: Annotated[bool, typer.Option(
        "--yes", help="Do not ask: the cause has been found and ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Release a latched trip, signed with the site's life-safety key; kept in its folder.

    The element opens its latch only when it sees itself that the cause is gone.
    """
    where = site_of(site)
    port = where.port_of(element)

    def confirm(cause: str) -> bool:
        return yes or typer.confirm(
            f"latched: {cause}\nIs the cause found and ended, and nobody in danger?", err=True)

    outcome = release(port, where, confirm)
    if as_json:
        typer.echo(json.dumps(asdict(outcome), indent=1))
    elif not outcome.cause:
        Console(highlight=False).print(f"element {outcome.element_id}: nothing is latched")
    elif outcome.released:
        Console(highlight=False).print(f"element {outcome.element_id} released: {outcome.cause}")
    if outcome.cause and not outcome.released:
        raise typer.Exit(1)
