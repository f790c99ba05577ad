"""Compute a run's numbers again from its recording, without the rig.

The meters' registers are decoded and the books kept by the same code as in the run; the statements
are verified again. What was judged is in `record.jsonl` and `statements/` alone.
"""

import json
from pathlib import Path
from typing import Any

from hil.bench.console import write_console
from hil.bench.session import STATEMENTS_FOLDER
from hil.report.files import RESULTS_FILE
from hil.report.write import write_report
from hil.rig.books import Books
from hil.rig.equipment import make_meter
from hil.rig.journal import read_record
from hil.rig.load import seats_of
from hil.rig.model import RigModel
from hil.rig.results import records_of, results_of
from hil.scenarios.model import ScenarioModel
from host_tools.attest.archive import verify_folder


def replay(folder: Path, out: Path | None = None) -> dict[str, Any]:
    """Return results.json of a recording; out: a folder for report and trace, too.

    Raises BusError for a recording that is damaged or not whole.
    """
    header, entries = read_record(folder)
    scenario = ScenarioModel.model_validate(header["scenario"])
    rig = RigModel.model_validate(header["rig_yaml"])
    seats = seats_of(folder, rig, scenario)
    meters = {one.name: make_meter(one) for one in rig.meters}
    for name, layout in header["layouts"].items():
        meters[name].restore(layout)
    books = Books(scenario, seats, rig.meter, meters)
    last_ms = 0
    for entry in entries:
        books.take(entry)
        last_ms = entry.at_ms
    statements = folder / STATEMENTS_FOLDER
    results = results_of(books, header, rig, verify_folder(statements).as_dict(),
                         records_of(statements, header["start_unix_ms"]), last_ms / 1000)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        books.recording.write_csv(out / "trace.csv")
        write_console(out, books.console)
        write_report(results, out)
    return results


def differences(recorded: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """Return the fields of results.json that came out otherwise, but for the time it took."""
    return sorted(name for name in recorded.keys() | again.keys()
                  if name != "wall_s" and recorded.get(name) != again.get(name))


def recorded_results(folder: Path) -> dict[str, Any] | None:
    """Return the results that the run itself came to, None where they are not kept here."""
    path = folder / RESULTS_FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
