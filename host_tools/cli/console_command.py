"""`cellwall console`: an element's own console, with the comforts of this machine."""

import json
import re
import sys
import textwrap
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import NestedCompleter
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout

from element.protocol.errors import BusError
from host_tools.cli.board_commands import AsJson, Port, SiteFolder, site_of
from host_tools.provision.cable import Cable
from host_tools.provision.console import (
    COMMANDS,
    ENDS,
    TO_REPL,
    ElementConsole,
    Reply,
    ask,
    find_element,
    repl_hint,
)
from host_tools.provision.marks import cache_folder, unmark

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "cellwall console /dev/ttyACM0\n\n"
    "cellwall console /dev/ttyACM0 -c status -c trips\n\n"
    "cellwall console /dev/ttyACM0 -c status --json"
)
REFRESH_S = 0.5
COLUMNS_MAX = 80
COMMAND_SIZE_MAX = 80
# What a person says of maintenance: it is theirs from then on, and no flash ends it.
TAKE_OVER = ("maintenance", "maintenance off")
HOST_HELP = "quit, exit, Ctrl-D    end this console"
_CLOCK = re.compile(r"^(clock +)(\d{1,15})$")


def history() -> History:
    """Return what was typed before, kept in the user's cache where that can be written."""
    path = cache_folder() / "console_history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


def with_time(line: str) -> str:
    """Return a line of a reply, a clock in ms with its date and time behind it."""
    found = _CLOCK.match(line)
    if not found:
        return line
    at = datetime.fromtimestamp(int(found[2]) // 1000, UTC)
    return f"{line}, {at:%Y-%m-%dT%H:%M:%SZ}"


def shown(reply: Reply, width: int = COLUMNS_MAX) -> str:
    """Return a reply as text of at most width columns; what is longer goes on indented."""
    indent = " " * (10 if reply.command == "status" else 4)
    lines = [part for line in reply.lines
             for part in textwrap.wrap(with_time(line), width, subsequent_indent=indent,
                                       drop_whitespace=True) or [""]]
    if reply.refused:
        lines += textwrap.wrap(f"refused: {reply.refused}", width, subsequent_indent="    ")
    return "\n".join(lines or ["ok"])


def _interactive(element: ElementConsole, port: str) -> None:
    """Prompt until the person leaves, or the element restarts into its REPL."""
    words: dict[str, Any] = {name: dict.fromkeys(more) if more else None
                             for name, more in COMMANDS.items()}
    words.update(dict.fromkeys(ENDS))
    session: PromptSession[str] = PromptSession(
        history=history(),
        completer=NestedCompleter.from_nested_dict(words),
        complete_while_typing=False, reserve_space_for_menu=4,
        bottom_toolbar=lambda: element.toolbar(COLUMNS_MAX), refresh_interval=REFRESH_S)
    name = element.status["element"][:8]
    print(f"element {element.status['element']}, {element.status['board']}\n"
          "Tab completes, `help` lists the commands, Ctrl-D ends")
    while True:
        try:
            line = session.prompt(f"{name}> ").strip()
        except KeyboardInterrupt:
            continue  # the line is cleared
        except EOFError:
            return
        if line in ENDS:
            return
        if not line:
            continue
        try:
            reply = element.ask(checked(line))
        except BusError as error:
            print(f"{error.code}: {error.value}")
            continue
        print(shown(reply))
        note(element.status["hardware"], reply)
        if line == "help":
            print(HOST_HELP)
        if reply.command == TO_REPL and not reply.refused:
            print(repl_hint(port))
            return


def checked(line: str) -> str:
    """Return a line as the element takes it. Raises BusError for one that it cannot take."""
    line = " ".join(line.split())
    if len(line) > COMMAND_SIZE_MAX or not line.isascii() or not line.isprintable():
        raise BusError("no command", "printable ASCII, 80 characters at most")
    return line


def note(hardware_id: str, reply: Reply) -> None:
    """Keep that maintenance is a person's own, when the reply is to what one said of it."""
    if reply.command in TAKE_OVER and not reply.refused:
        unmark(hardware_id)


def _batch(cable: Cable, hardware_id: str, lines: list[str], as_json: bool) -> bool:
    """Run commands one after the other, also behind a refused one; True when none was."""
    replies = []
    for line in lines:
        if not line.split():
            continue
        reply = ask(cable, checked(line))
        replies.append(reply)
        note(hardware_id, reply)
        if not as_json:
            for one in reply.lines or ([] if reply.refused else ["ok"]):
                typer.echo(with_time(one))
            if reply.refused:
                typer.echo(f"{reply.command}: refused: {reply.refused}", err=True)
            elif reply.command == TO_REPL:
                typer.echo(repl_hint(cable.name), err=True)
    if as_json:
        typer.echo(json.dumps([asdict(reply) for reply in replies], indent=1))
    return not any(reply.refused for reply in replies)


def console_command(
    port: Port,
    commands: Annotated[list[str] | None, typer.Option(
        "--command", "-c", metavar="LINE", help="Run this and end; may be given again.")] = None,
    site: SiteFolder = None,
    as_json: AsJson = False,
) -> None:
    """Talk to an element: live status, its log as it comes, and its own commands.

    Nothing here widens a limit or releases a trip.

    With -c, or when stdin is no terminal, replies go to stdout; exit 1 when one was refused.
    """
    where = site_of(site)
    batch = list(commands or [])
    if not batch and (as_json or not sys.stdin.isatty()):
        batch = [line.strip() for line in sys.stdin.read().splitlines()]
        batch = batch[:batch.index("quit")] if "quit" in batch else batch
    elif not batch:
        keyring = where.keyring() if where.exists else None
        with Cable(port, keyring) as cable, patch_stdout(), \
                ElementConsole(cable, print) as element:
            _interactive(element, port)
        return
    with Cable(port) as cable:
        status = find_element(cable)
        if not _batch(cable, status["hardware"], batch, as_json):
            raise typer.Exit(1)
