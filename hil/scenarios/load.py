"""Load a scenario file; whatever is wrong with it is one error that names the line."""

import difflib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hil.scenarios.model import (
    BuildingModel,
    ElementModel,
    EventModel,
    LimitModel,
    PhaseModel,
    ScenarioModel,
)

SIZE_MAX = 1_000_000
FOLDER = Path(__file__).parent
_KEYS = sorted({
    key for model in (BuildingModel, ElementModel, EventModel, LimitModel, PhaseModel,
                      ScenarioModel) for key in model.model_fields})


class ScenarioError(ValueError):
    """A scenario that cannot be run. `line` counts from 1; None when it concerns the file."""

    def __init__(self, path: Path, line: int | None, problem: str) -> None:
        self.path = path
        self.line = line
        self.problem = problem
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{where}: {problem}")


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
        if path.stat().st_size > SIZE_MAX:
            raise ScenarioError(path, None, f"larger than {SIZE_MAX} bytes")
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(path, None, f"cannot be read: {error}") from error
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ScenarioError(path, mark.line + 1 if mark else None, str(problem)) from error
    if not isinstance(document, dict):
        raise ScenarioError(path, 1, "a scenario is a mapping of keys")
    try:
        scenario = ScenarioModel.model_validate(_plain(document))
    except ValidationError as error:
        # a key with the wrong unit is unknown and another one missing: the unknown one explains
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        location = first["loc"]
        line = _line_of(document, location)
        raise ScenarioError(path, line, _problem(location, first)) from error
    _check_references(path, document, scenario)
    return scenario


def _plain(node: Any) -> Any:
    """Return the document without ruamel's own types, which pydantic's strict mode refuses."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for plain in (bool, int, float, str):
        if isinstance(node, plain):
            return plain(node)
    return node


def _line_of(document: Any, location: tuple[int | str, ...]) -> int | None:
    """Return the line, from 1, of the deepest part of location that the document has."""
    node, line = document, 1
    for step in location:
        marks = getattr(node, "lc", None)
        if marks is None:
            break
        try:
            if isinstance(node, dict) and step in node:
                line = marks.key(step)[0] + 1
            elif isinstance(node, list) and isinstance(step, int) and step < len(node):
                line = marks.item(step)[0] + 1
            else:
                break
            node = node[step]
        except (KeyError, IndexError, TypeError):
            break
    return line


def _problem(location: tuple[int | str, ...], error: Any) -> str:
    """Return what is wrong in a sentence, with the nearest known key for an unknown one."""
    name = ".".join(str(step) for step in location) or "scenario"
    if error["type"] == "extra_forbidden":
        key = str(location[-1])
        stem = key.split("_")[0]
        near = [known for known in _KEYS if known.split("_")[0] == stem]
        near = near or difflib.get_close_matches(key, _KEYS, 3)
        hint = f"; did you mean {' or '.join(near)}? (the unit is in the name)" if near else ""
        return f"unknown key {key!r}{hint}"
    if error["type"] == "missing":
        return f"{name} is missing"
    message = error["msg"].removeprefix("Value error, ")
    shown = error.get("input")
    if isinstance(shown, (int, float, str, bool)):
        return f"{name}: {message}, not {shown!r}"
    return f"{name}: {message}"


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
        raise ScenarioError(path, _line_of(document, (*at, key)), problem)
