"""Judge a run on a rig: the bench's judge on the rig's books, what nobody measured left out."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from element.protocol import schema
from hil.bench.provenance import Provenance
from hil.bench.run import RunResult
from hil.metrics.judge import judge
from hil.rig.books import Books, RigRecording
from hil.rig.model import MeterModel, RigModel
from host_tools import codec
from host_tools.attest.archive import STATEMENTS_FILE, read_entries

CLOCK_SOURCE = (
    "largest lateness of a row's close on the bench's monotonic clock, and the period of the "
    "rig's meter: a reading is at most that old when its row closes; 1 ms for the clock's "
    "resolution")


@dataclass(frozen=True)
class Seen:
    """What the aggregator knows at the end of one element. restarts: None where nobody knows."""

    element_id: bytes | None
    accepted_count: int
    refusals: dict[int, int]
    restarts: int | None


@dataclass
class JudgedRun:
    """A run on a rig under the names that the judge uses."""

    scenario: Any
    seed: int
    signal_name: str
    recording: Any
    events: Any
    site: Any
    aggregator: Any
    aborted: bool
    simulated_s: int
    baseline_w: float
    start_unix_ms: int
    clock_name: str = "real"
    records: dict[bytes, list[dict[str, Any]]] = field(default_factory=dict)


def records_of(folder: Path, from_unix_ms: int) -> dict[bytes, list[dict[str, Any]]]:
    """Return the execution records of this run in its statements, by signer.

    A board may still hold records of an earlier run; they are verified, and are not this run's.
    """
    records: dict[bytes, list[dict[str, Any]]] = {}
    for kind, _, statement in read_entries(folder / STATEMENTS_FILE):
        if kind == schema.EXECUTION_RECORD:
            _, signer, payload = codec.peek(statement)
            fields = codec.decode_statement(kind, payload)
            if fields["start_unix_ms"] >= from_unix_ms:
                records.setdefault(signer, []).append(fields)
    return records


def seen_as_dict(seen: dict[str, Seen]) -> dict[str, Any]:
    """Return it for the journal."""
    return {name: [one.element_id.hex() if one.element_id else None, one.accepted_count,
                   sorted(one.refusals.items()), one.restarts] for name, one in seen.items()}


def _seen(data: dict[str, Any]) -> dict[str, Seen]:
    return {name: Seen(bytes.fromhex(one[0]) if one[0] else None, one[1], dict(one[2]), one[3])
            for name, one in data.items()}


def results_of(books: Books, header: dict[str, Any], rig: RigModel, statements: dict[str, Any],
               records: dict[bytes, list[dict[str, Any]]], wall_s: float) -> dict[str, Any]:
    """Return results.json of a run, from its books and the header of its journal.

    statements: the outcome of the offline verification.
    """
    seen = _seen(books.end["seen"])
    # of the pack nobody knows more than telemetry says
    plant = SimpleNamespace(pack=SimpleNamespace(throughput_ah=math.nan, health=math.nan))
    rigs = [SimpleNamespace(name=one.name, kind=one.kind, zone=one.zone, plant=plant,
                            board=SimpleNamespace(restart_count=seen[one.name].restarts or 0))
            for one in books.seated]
    models = {name: model for model in books.scenario.elements for name in model.names()}
    views = {one.element_id: SimpleNamespace(
        accepted_count=one.accepted_count, refusals=one.refusals) for one in seen.values()}
    run = JudgedRun(
        books.scenario, header["seed"], header["signal"], _without_holes(books.recording),
        books.events,
        SimpleNamespace(rigs=rigs, models=models),
        SimpleNamespace(ports={name: SimpleNamespace(element_id=one.element_id)
                               for name, one in seen.items()}, inventory=views),
        books.end["aborted"], books.end["simulated_s"], books.baseline_w,
        header["start_unix_ms"], records=records)
    made_with = Provenance(header["commit"], header["firmware_sha256"], header["rig"],
                           [_calibration(one) for one in rig.meters])
    results = judge(cast(RunResult, run), statements, made_with, wall_s)
    results["simulation"] = rig.emulated
    period_ms = next(one.period_ms for one in rig.meters if one.name == rig.meter)
    if results["clock_error_ms"] is not None:
        results["clock_error_ms"] += period_ms
    results["clock_error_source"] = CLOCK_SOURCE
    results["rig"] = header["rig"] | {"losses": [
        {"name": one.name, "why": one.why, "lost_s": round(one.lost_ms / 1000, 3),
         "back_s": None if one.back_ms is None else round(one.back_ms / 1000, 3),
         "stopped": one.stopped} for one in books.losses]}
    _leave_out(results, books, seen)
    return results


def _without_holes(recording: RigRecording) -> RigRecording:
    """Return the rows with 0 for an element's unknown power, which the judge cannot add up.

    `_leave_out` then puts null for every figure that such a zero went into.
    """
    return replace(recording, elements={
        name: replace(trace, power_w=[0.0 if math.isnan(one) else one for one in trace.power_w])
        for name, trace in recording.elements.items()})


def _leave_out(results: dict[str, Any], books: Books, seen: dict[str, Seen]) -> None:
    """Put null where no instrument has measured what the bench knows from its models."""
    unknown = False
    for element in results["elements"]:
        name = element["name"]
        for key, value in element.items():
            if isinstance(value, float) and math.isnan(value):
                element[key] = None
        element["restarts"] = seen[name].restarts
        unknown = unknown or seen[name].restarts is None
        power_w = books.recording.elements[name].power_w
        if not books.metered(name) or any(map(math.isnan, power_w)):
            element["metered_mwh"] = None
            for part in element["segments"]:
                part.update(dict.fromkeys(("e1_pct", "e2_pct", "rmse_pct")))
    if any(one["metered_mwh"] is None for one in results["elements"]):
        results["energy"] |= dict.fromkeys(("metered_mwh", "throughput_mwh", "difference_pct"))
    for limit in results["limits"] if unknown else ():
        if limit["name"] == "boards.restarts":
            limit |= {"value": None, "margin": None, "met": False}
    results["passed"] = not results["aborted"] and all(
        one["met"] for one in results["limits"])


def _calibration(meter: MeterModel) -> dict[str, Any]:
    return {"instrument": meter.name, "what": f"active power{meter.accuracy and ', '}"
            f"{meter.accuracy}", "date": meter.calibrated,
            "note": meter.note or ("as rig.yaml says" if meter.calibrated else
                                   "rig.yaml names no calibration")}
