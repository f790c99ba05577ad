"""Write the files of a run: results.json, junit.xml, report.html; read the first back.

results.json comes first: whatever happens to the report, the figures are on disk.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from hil.report.files import JUNIT_FILE, PAGE_FILE, RESULTS_FILE, write_whole
from hil.report.junit import junit_xml
from hil.report.page import render_page
from hil.report.trace import TRACE_FILE, TraceError, read_trace

SCHEMA_PATH = Path(__file__).parent / "results.schema.json"
RESULTS_SIZE_MAX = 64_000_000
SHOWN_MAX = 80


class ResultsError(ValueError):
    """Results that cannot be used; the text says which field and what to do."""


def load_results(folder: Path) -> dict[str, Any]:
    """Return the checked results.json of a run's folder. Raises ResultsError."""
    path = folder / RESULTS_FILE
    try:
        if path.stat().st_size > RESULTS_SIZE_MAX:
            raise ResultsError(f"{path}: larger than {RESULTS_SIZE_MAX} bytes; that is no run's")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ResultsError(
            f"{folder} holds no {RESULTS_FILE}: give the folder that `cellwall hil run` named"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path} cannot be read: {error}") from error
    try:
        results = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ResultsError(
            f"{path} is not JSON ({error}); it was changed or cut short: run again") from error
    _check(results)
    return dict(results)


def write_report(results: dict[str, Any], folder: Path, signer: bytes | None = None) -> None:
    """Check results and write results.json, junit.xml and report.html to an existing folder.

    signer: id of the key that signs the folder afterwards, for the page to name; None for none.
    The charts come from the folder's trace.csv; without one the report says so. Each file
    appears whole or not at all. Raises ResultsError; when it is about trace.csv, results.json
    and junit.xml are already written.
    """
    _check(results)
    try:
        text = json.dumps(results, indent=1, allow_nan=False)
    except ValueError as error:
        raise ResultsError(f"a figure is not finite ({error}): the run is not valid") from error
    write_whole(folder / RESULTS_FILE, text + "\n")
    write_whole(folder / JUNIT_FILE, junit_xml(results))
    trace = None
    path = folder / TRACE_FILE
    if path.exists():
        try:
            trace = read_trace(path, [one["name"] for one in results["elements"]])
        except TraceError as error:
            raise ResultsError(
                f"{path}: {error}; run again, or move the file away for a report without charts"
            ) from error
    write_whole(folder / PAGE_FILE, render_page(results, trace, signer))


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))


def _check(results: Any) -> None:
    """Raise ResultsError for the first field, from the top, that is not as in the schema."""
    errors = sorted(_validator().iter_errors(results), key=lambda one: one.json_path)
    if errors:
        error = errors[0]
        while error.context:  # the branch of an anyOf that came nearest says more
            error = max(error.context, key=lambda one: len(one.absolute_path))
        raise ResultsError(
            f"{RESULTS_FILE}: {_problem(error)}. It must come unchanged from `cellwall hil run` "
            "of this version: run again; docs/results.md lists the fields")


def _problem(error: ValidationError) -> str:
    """Return what is wrong, with the field's place first."""
    where = error.json_path.removeprefix("$").removeprefix(".") or "top level"
    schema: Any = error.schema
    found: Any = error.instance
    if error.validator == "required":
        missing = [name for name in schema["required"] if name not in found]
        return f"{where}: field {missing[0]!r} is missing"
    if error.validator == "additionalProperties" and error.validator_value is False:
        extra = [name for name in found if name not in schema["properties"]]
        return f"{where}: unknown field {extra[0]!r}"
    shown = json.dumps(found)
    if len(shown) > SHOWN_MAX:
        shown = shown[:SHOWN_MAX] + "..."
    return f"{where}: {shown} breaks {error.validator} {json.dumps(error.validator_value)}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")
