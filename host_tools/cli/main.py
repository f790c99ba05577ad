"""The command `cellwall`: subcommands, exit codes, nothing else.

Exit codes: 0 done, 1 failed or a limit missed, 2 wrong usage, 3 rig or device fault, 4 stopped
safe.
"""

import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console

from element.protocol.errors import BusError, Error
from host_tools.cli import (
    bms_commands,
    board_commands,
    console_command,
    hil_commands,
    release_command,
    verify_command,
)

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_RIG = 3
EXIT_STOPPED = 4

app = typer.Typer(
    name="cellwall",
    help="Batteries in walls, columns and cabinets as one dispatchable resource.",
    no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.add_typer(hil_commands.app, name="hil")
app.add_typer(bms_commands.app, name="bms")
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
    """Run the command line; returns the exit code and never raises for a user's mistake."""
    errors = Console(stderr=True, highlight=False)
    try:
        outcome = app(args=argv, standalone_mode=False)
        return outcome if isinstance(outcome, int) else EXIT_DONE
    except typer.TyperException as error:  # wrong usage of every kind, with its own words
        show = getattr(error, "show", None)
        if callable(show):
            show()
        return EXIT_USAGE
    except (typer.Abort, KeyboardInterrupt):
        errors.print("stopped")
        return EXIT_STOPPED
    except typer.Exit as error:
        return error.exit_code
    except BusError as error:
        errors.print(f"[red]rig fault:[/] {error.code}: {error.value}", soft_wrap=True)
        return EXIT_RIG
    except Error as error:
        errors.print(f"[red]error:[/] {error.code}: {error.value}", soft_wrap=True)
        return EXIT_FAILED
    except Exception as error:
        traceback.print_exc()
        errors.print(f"[red]this is a defect of cellwall:[/] {type(error).__name__}")
        return EXIT_FAILED


def run() -> None:
    """Exit with the code of `main`; the console script's entry."""
    sys.exit(main())


if __name__ == "__main__":
    run()
