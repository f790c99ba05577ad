"""Load a scenario file; whatever is wrong with it is one error that names the line."""

import difflib
from pathlib import Path
from typing import Any

from hil.scenarios.model import (
    BuildingModel,
    ElementModel,
    EventModel,
    LimitModel,
    PhaseModel,
    ScenarioModel,
)
from host_tools.yaml_model import FileError, line_of, load_model

FOLDER = Path(__file__).parent
_PARTS = (BuildingModel, ElementModel, EventModel, LimitModel, PhaseModel)


class ScenarioError(FileError):
    """A scenario that cannot be run."""


def find_scenario(name: str) -> Path:
    """Return the file of a scenario: a path, or the name of one that comes with the project.

    Raises ScenarioError listing the names when there is no such scenario.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.exists():
        if not path.is_file():
            raise ScenarioError(path, None, "no such file")
        return path
    packaged = FOLDER / f"{name}.yaml"
    if packaged.is_file():
        return packaged
    known = sorted(one.stem for one in FOLDER.glob("*.yaml"))
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ScenarioError(path, None, f"no such scenario{hint} (there are: {', '.join(known)})")


def load_scenario(path: Path) -> ScenarioModel:
    """Return the checked scenario in a YAML file. Raises ScenarioError."""
    try:
        scenario, document = load_model(path, ScenarioModel, "a scenario", _PARTS)
    except FileError as error:
        raise ScenarioError(error.path, error.line, error.problem) from error
    _check_references(path, document, scenario)
    return scenario


def _check_references(path: Path, document: Any, scenario: ScenarioModel) -> None:
    """Check that events and limits name phases, elements and zones that exist."""
    names = set(scenario.element_names())
    durations = {phase.name: phase.duration_s for phase in scenario.phases}
    zones = {element.zone_of(index) for element in scenario.elements
             for index in range(element.count)}
    for index, event in enumerate(scenario.events):
        at: tuple[str, int] = ("events", index)
        if event.phase not in durations:
            problem, key = f"no phase is called {event.phase!r}", "phase"
        elif event.at_s >= durations[event.phase]:
            problem = f"at_s {event.at_s:g} is after the end of {event.phase}"
            key = "at_s"
        elif event.element is not None and event.element not in names:
            near = difflib.get_close_matches(event.element, sorted(names), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            problem, key = f"no element is called {event.element!r}{hint}", "element"
        elif event.zone is not None and event.zone not in zones:
            problem, key = f"no element is in zone {event.zone}", "zone"
        else:
            continue
        raise ScenarioError(path, line_of(document, (*at, key)), problem)
