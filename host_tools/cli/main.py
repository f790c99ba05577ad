"""The command `cellwall`: subcommands, exit codes, nothing else.

Exit codes: 0 done, 1 failed or a limit missed, 2 wrong usage, 3 rig or device fault, 4 stopped
safe.
"""

import errno
import json
import re
import sys
import traceback
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from element.protocol.errors import BusError, Error
from host_tools.cli import (
    aggregator_commands,
    bms_commands,
    board_commands,
    console_command,
    disclose_command,
    hil_commands,
    pki_commands,
    release_command,
    statement_command,
    verify_command,
)
from host_tools.provision.cable import RefusedError
from host_tools.provision.stopped import StoppedError, stoppable

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_RIG = 3
EXIT_STOPPED = 4
_NEXT = re.compile(r"(?:\n\s*|; )next: ")
# A write that fails so names no file.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class StoppableGroup(TyperGroup):
    """The commands. Ctrl-C in one that has no words of its own for it is a StoppedError too.

    typer itself would leave with 130.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with stoppable("", ""):
            return super().invoke(ctx)


app = typer.Typer(
    name="cellwall", cls=StoppableGroup,
    help="Batteries in walls, columns and cabinets as one dispatchable resource.",
    no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.add_typer(hil_commands.app, name="hil")
app.add_typer(aggregator_commands.app, name="aggregator")
app.add_typer(bms_commands.app, name="bms")
app.add_typer(pki_commands.app, name="pki")
app.command(
    "verify", epilog=verify_command.EXAMPLES, no_args_is_help=True,
)(verify_command.verify)
for _name, _examples, _command in (
    ("flash", board_commands.FLASH_EXAMPLES, board_commands.flash_command),
    ("enrol", board_commands.ENROL_EXAMPLES, board_commands.enrol_command),
    ("doctor", board_commands.DOCTOR_EXAMPLES, board_commands.doctor_command),
    ("console", console_command.EXAMPLES, console_command.console_command),
    ("update", board_commands.UPDATE_EXAMPLES, board_commands.update_command),
    ("release", release_command.EXAMPLES, release_command.release_command),
    ("statement", statement_command.EXAMPLES, statement_command.statement_command),
    ("disclose", disclose_command.EXAMPLES, disclose_command.disclose_command),
):
    app.command(_name, epilog=_examples, no_args_is_help=True)(_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cellwall {version('cellwall')}")
        raise typer.Exit


@app.callback()
def _root(
    show: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.",
                           callback=_show_version, is_eager=True)] = False,
) -> None:
    """Batteries in walls, columns and cabinets as one dispatchable resource."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code and never raises for a user's mistake.

    With --json an error is an object on stdout too: `error` in words, and `next`, what to do.
    """
    as_json = "--json" in (sys.argv[1:] if argv is None else argv)
    try:
        outcome = app(args=argv, standalone_mode=False)
        return outcome if isinstance(outcome, int) else EXIT_DONE
    except typer.TyperException as error:  # wrong usage of every kind, with its own words
        show = getattr(error, "show", None)
        if callable(show):
            show()
        if as_json:
            words = getattr(error, "format_message", error.__str__)()
            typer.echo(json.dumps({"error": words, "next": "the same with --help"}))
        return EXIT_USAGE
    except (typer.Abort, KeyboardInterrupt):
        return _tell(StoppedError(), "stopped", as_json, EXIT_STOPPED)
    except StoppedError as error:
        return _tell(error, "stopped", as_json, EXIT_STOPPED)
    except typer.Exit as error:
        return error.exit_code
    except RefusedError as error:
        return _tell(error, "refused", as_json, EXIT_RIG)
    except BusError as error:
        return _tell(error, "rig fault", as_json, EXIT_RIG)
    except Error as error:
        return _tell(error, "error", as_json, EXIT_FAILED)
    except Exception as error:
        if isinstance(error, OSError) and (error.filename or error.errno in _NO_ROOM):
            return _tell(_of_a_file(error), "error", as_json, EXIT_RIG)
        traceback.print_exc()
        return _tell(Error(type(error).__name__), "this is a defect of cellwall", as_json,
                     EXIT_FAILED)


def _of_a_file(error: OSError) -> Error:
    """Return the error for a file of the user's that cannot be used."""
    return Error("a file cannot be used", f"{error.filename or 'a write'}: {error.strerror}\n"
                 "  next: see who may read and write it; --site names another folder for the "
                 "site, XDG_CACHE_HOME for the cache")


def _tell(error: Error, label: str, as_json: bool, code: int) -> int:
    """Say what went wrong and what to do next, on stderr and for programs; returns the code."""
    if isinstance(error, StoppedError):
        text, next_step = error.code, str(error.value or "")
        shown = text + (f"; next: {next_step}" if next_step else "")
    else:
        shown = error.code + ("" if error.value in (None, "") else f": {error.value}")
        text, next_step = (*_NEXT.split(shown, maxsplit=1), "")[:2]
    Console(stderr=True, highlight=False).print(
        f"[red]{label}{':' if shown else ''}[/] {escape(shown)}".rstrip(), soft_wrap=True)
    if as_json:
        words = f"{label}: {text}" if text else label
        typer.echo(json.dumps({"error": "; ".join(map(str.strip, words.splitlines())),
                               "next": " ".join(next_step.split())}))
    return code


def run() -> None:
    """Exit with the code of `main`; the console script's entry."""
    sys.exit(main())


if __name__ == "__main__":
    run()
