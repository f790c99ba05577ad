"""Load a YAML file into a checked model; whatever is wrong is one error that names the line."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

SIZE_MAX = 1_000_000


class Strict(BaseModel):
    """No unknown keys, no conversion of text into numbers, nothing changed after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


class FileError(ValueError):
    """A file that cannot be used. `line` counts from 1; None when it concerns the whole file."""

    def __init__(self, path: Path, line: int | None, problem: str) -> None:
        self.path = path
        self.line = line
        self.problem = problem
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{where}: {problem}")


def load_model(path: Path, model: type[Model], what: str,
               parts: Iterable[type[BaseModel]] = ()) -> tuple[Model, Any]:
    """Return (the checked model, the document with its line numbers) of a YAML file.

    what: the file's name for people, as in "a scenario". parts: the models inside, whose keys are
    suggested for an unknown one. Raises FileError.
    """
    try:
        if path.stat().st_size > SIZE_MAX:
            raise FileError(path, None, f"larger than {SIZE_MAX} bytes")
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(path, None, f"cannot be read: {error}") from error
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise FileError(path, mark.line + 1 if mark else None, str(problem)) from error
    if not isinstance(document, dict):
        raise FileError(path, 1, f"{what} is a mapping of keys")
    try:
        return model.model_validate(_plain(document)), document
    except ValidationError as error:
        # a key with the wrong unit is unknown and another one missing: the unknown one explains
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        models: tuple[type[BaseModel], ...] = (model, *parts)
        keys = sorted({key for one in models for key in one.model_fields})
        location = first["loc"]
        raise FileError(path, line_of(document, location),
                        _problem(location, first, keys, what)) from error


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


def line_of(document: Any, location: tuple[int | str, ...]) -> int | None:
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


def _problem(location: tuple[int | str, ...], error: Any, keys: list[str], what: str) -> str:
    """Return what is wrong in a sentence, with the nearest known key for an unknown one."""
    name = ".".join(str(step) for step in location) or what.split()[-1]
    if error["type"] == "extra_forbidden":
        key = str(location[-1])
        stem = key.split("_")[0]
        near = [known for known in keys if known.split("_")[0] == stem]
        near = near or difflib.get_close_matches(key, keys, 3)
        hint = f"; did you mean {' or '.join(near)}? (the unit is in the name)" if near else ""
        return f"unknown key {key!r}{hint}"
    if error["type"] == "missing":
        return f"{name} is missing"
    message = error["msg"].removeprefix("Value error, ")
    shown = error.get("input")
    if isinstance(shown, (int, float, str, bool)):
        return f"{name}: {message}, not {shown!r}"
    return f"{name}: {message}"
