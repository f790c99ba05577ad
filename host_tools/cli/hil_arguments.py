"""What several `cellwall hil` commands share: a scenario, a signal, a clock, a line a minute.

The bench is imported when a command runs.
"""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from hil.scenarios.model import ScenarioModel
    from hil.signals.signal import Signal

# Where there is no terminal, work that goes on for longer says this often how far it is.
SAY_S = 60.0


def scenario_of(name: str, hint: str = "SCENARIO") -> "ScenarioModel":
    """Return a scenario by its name or file. Raises BadParameter naming the line."""
    from hil.scenarios.load import ScenarioError, find_scenario, load_scenario

    try:
        return load_scenario(find_scenario(name))
    except ScenarioError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from error


def signal_of(spec: str | None) -> "Signal | None":
    """Return the signal of FILE.csv[:COLUMN], None for None. Raises BadParameter."""
    from hil.signals.csv_source import SignalError, load_csv, parse_signal_spec

    if spec is None:
        return None
    try:
        return load_csv(*parse_signal_spec(spec))
    except SignalError as error:
        raise typer.BadParameter(error.diagnostics(), param_hint="--signal") from error


def check_clock(clock: str) -> str:
    """Return the name of a clock of the bench. Raises BadParameter for another."""
    if clock not in ("virtual", "real"):
        raise typer.BadParameter(f"{clock!r} is neither virtual nor real", param_hint="--clock")
    return clock
