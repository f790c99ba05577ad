"""Judge a run: from its recording, events and statements to `results.json`.

The tracked response is the metered export plus the declared baseline. Rounding is to fixed
decimals, so that the same run gives the same bytes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from element.protocol import texts
from hil.bench.faults import EventResult
from hil.bench.provenance import Provenance
from hil.bench.run import RunResult
from hil.metrics.pjm import LAG_SAMPLES_MAX, SAMPLE_S, pjm_score
from hil.metrics.tracking import e1_pct, e2_pct, rmse_pct

SCHEMA_VERSION = 2
# Manual 12 divides by the hour's mean signal; windows without any signal then count as they are.
PJM_NORMALISER = "hour"
DECIMALS = 4
HOUR_SAMPLES = 3600 // SAMPLE_S
SCORED_SAMPLES = HOUR_SAMPLES + LAG_SAMPLES_MAX
HOUR_KEYS = ("composite", "accuracy", "delay", "precision", "composite_window",
             "precision_window")

FloatArray = NDArray[np.float64]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), DECIMALS)


def tracking(power_w: FloatArray, target_w: FloatArray) -> dict[str, float | None]:
    """Return e1, e2 and RMSE in percent; None each when there was nothing to follow."""
    if power_w.size == 0 or not np.any(target_w):
        return {"e1_pct": None, "e2_pct": None, "rmse_pct": None}
    return {
        "e1_pct": _rounded(e1_pct(power_w, target_w)),
        "e2_pct": _rounded(e2_pct(power_w, target_w)),
        "rmse_pct": _rounded(rmse_pct(power_w, target_w)),
    }


def pjm(power_w: FloatArray, target_w: FloatArray, full_w: float, from_s: int = 0
        ) -> dict[str, Any] | None:
    """Return the PJM-style score of one-second rows, or None when they are too short for one.

    from_s: of the first row. Every hour is scored by itself, with five minutes of the next one as
    room for the lag; the last one on as many windows as have that room.
    """
    count = power_w.size // SAMPLE_S
    if count == 0 or full_w <= 0:
        return None
    shape = (count, SAMPLE_S)
    signal = target_w[: count * SAMPLE_S].reshape(shape).mean(axis=1) / full_w
    response = power_w[: count * SAMPLE_S].reshape(shape).mean(axis=1) / full_w
    hours = []
    for at in range(0, count, HOUR_SAMPLES):
        hour = _hour(signal[at : at + SCORED_SAMPLES], response[at : at + SCORED_SAMPLES])
        if hour is not None:
            hours.append({"from_s": from_s + at * SAMPLE_S, **hour})
    if not hours:
        return None
    composites = [hour["composite"] for hour in hours]
    return {
        **{key: _rounded(float(np.mean([hour[key] for hour in hours]))) for key in HOUR_KEYS},
        "composite_p5": _rounded(float(np.percentile(composites, 5))),
        "normaliser": PJM_NORMALISER,
        "windows": sum(hour["windows"] for hour in hours),
        "hours": hours,
    }


def _hour(signal: FloatArray, response: FloatArray) -> dict[str, Any] | None:
    """Return an hour's score by both usual normalisers, None where no window is complete."""
    score = pjm_score(signal, response, PJM_NORMALISER)
    window = pjm_score(signal, response, "window")
    if score is None or window is None:
        return None
    return {
        "composite": _rounded(score.composite),
        "accuracy": _rounded(score.accuracy),
        "delay": _rounded(score.delay),
        "precision": _rounded(score.precision),
        "composite_window": _rounded(window.composite),
        "precision_window": _rounded(window.precision),
        "windows": score.windows_count,
    }


def fault_windows(events: list[EventResult]) -> list[tuple[float, float, str]]:
    """Return (from s, to s, event name) of the stretches that a fault and its settling take.

    An alarm's window ends with its settling: what stays tripped is from then on a smaller
    building, not a fault. A release is no fault.
    """
    windows = []
    for result in events:
        event = result.event
        if event.kind == "release":
            continue
        lasting_s = event.duration_s if event.kind != "fire_alarm" else 0.0
        start_s = result.at_ms / 1000
        windows.append((start_s, start_s + (lasting_s or 0.0) + event.settle_s, event.name))
    return windows


def _outside(rows: NDArray[np.int64], windows: list[tuple[float, float, str]]) -> FloatArray:
    keep = np.ones(rows.size, dtype=bool)
    for start_s, end_s, _ in windows:
        keep &= ~((rows + 1 > start_s) & (rows < end_s))
    return rows[keep].astype(np.float64)


def segments_of(result: RunResult) -> list[dict[str, Any]]:
    """Return the building's segments: each phase with a signal, and it without fault windows."""
    recording = result.recording
    power = np.array(recording.response_w)
    target = np.array(recording.target_w)
    windows = fault_windows(result.events)
    segments = []
    for phase in result.scenario.phases:
        rows = recording.rows(phase.name)
        if phase.signal == "idle" or rows.size == 0:
            continue
        parts = [(phase.name, rows)]
        clear = _outside(rows, windows).astype(np.int64)
        if phase.signal == "regulation":
            parts.append((f"{phase.name}_outside_faults", clear))
        for name, chosen in parts:
            score = None
            if phase.signal == "regulation" and name == phase.name:
                score = pjm(power[chosen], target[chosen], phase.power_kw * 1000,
                            int(rows[0]))
            segments.append(
                {
                    "name": name,
                    "from_s": int(rows[0]),
                    "to_s": int(rows[-1]) + 1,
                    "seconds": int(chosen.size),
                    **tracking(power[chosen], target[chosen]),
                    "pjm": score,
                }
            )
    return segments


def _element_energy(
    records: list[dict[str, Any]], energy_j: list[float], start_unix_ms: int
) -> tuple[int, int]:
    """Return (realized, metered) mWh: the records' sum, and the plant's over the same seconds."""
    realized = sum(record["energy_mwh"] for record in records)
    # the energy register, J: rows close at full seconds, between is a line
    register = np.concatenate(([0.0], np.array(energy_j)))
    seconds = np.arange(register.size, dtype=np.float64)
    begin_s, end_s = (
        np.array([record[key] - start_unix_ms for record in records], dtype=np.float64) / 1000
        for key in ("start_unix_ms", "end_unix_ms")
    )
    metered_j = np.interp(end_s, seconds, register) - np.interp(begin_s, seconds, register)
    return realized, round(float(metered_j.sum()) / 3.6)


def elements_of(result: RunResult) -> list[dict[str, Any]]:
    """Return each element's identity, tracking against its own setpoints, energy and counts."""
    rows_of = {
        phase.name: result.recording.rows(phase.name)
        for phase in result.scenario.phases
        if phase.signal != "idle"
    }
    elements = []
    for rig in result.site.rigs:
        trace = result.recording.elements[rig.name]
        power, asked = np.array(trace.power_w), np.array(trace.asked_w)
        element_id = result.aggregator.ports[rig.name].element_id
        view = result.aggregator.inventory.get(element_id) if element_id else None
        records = result.records.get(element_id or b"", [])
        realized, metered = _element_energy(records, trace.energy_j, result.start_unix_ms)
        model = result.site.models[rig.name]
        elements.append(
            {
                "id": element_id.hex() if element_id else None,
                "name": rig.name,
                "kind": rig.kind,
                "chemistry": model.chemistry,
                "zone": rig.zone,
                "segments": [
                    {"name": name, **tracking(power[rows], asked[rows])}
                    for name, rows in rows_of.items()
                    if rows.size
                ],
                "realized_mwh": realized,
                "metered_mwh": metered,
                "records": len(records),
                "soc_start_pct": round(trace.soc_pct[0], 2) if trace.soc_pct else None,
                "soc_end_pct": round(trace.soc_pct[-1], 2) if trace.soc_pct else None,
                "setpoints_accepted": view.accepted_count if view else 0,
                "setpoints_refused": {
                    texts.name_of(texts.REASON_NAMES, reason): count
                    for reason, count in sorted(view.refusals.items())
                }
                if view
                else {},
                "cycles": round(rig.plant.pack.throughput_ah / 2 / model.capacity_ah, 4),
                "capacity_end_pct": round(rig.plant.pack.health * 100, 3),
                "restarts": rig.board.restart_count,
            }
        )
    return elements


def events_of(result: RunResult) -> list[dict[str, Any]]:
    """Return what each event did and how soon it was safe."""
    return [
        {
            "name": one.event.name,
            "kind": one.event.kind,
            "element": one.event.element,
            "zone": one.event.zone,
            "at_s": round(one.at_ms / 1000, 3),
            "detected_after_ms": one.detected_after_ms(),
            "safe_after_ms": one.safe_after_ms(),
            "safe_within_ms": one.event.safe_within_ms,
            "power_after_w": round(sum(watch.power_after_w for watch in one.watches), 1),
            "elements": [watch.rig.name for watch in one.watches],
            "orders": one.released,
        }
        for one in result.events
    ]


def _value_of(results: dict[str, Any], name: str) -> float | None:
    """Return the figure a limit names: SEGMENT.field, SEGMENT.pjm.field, statements.field."""
    head, *rest = name.split(".")
    node: Any = next((one for one in results["segments"] if one["name"] == head), None)
    if node is None:
        node = results.get(head)
    for step in rest:
        node = node.get(step) if isinstance(node, dict) else None
    return float(node) if isinstance(node, (int, float)) else None


def limit_of(name: str, value: float | None, bound: float, kind: str) -> dict[str, Any]:
    """Return a judged limit. kind: 'max' or 'min'; the margin is negative when it is missed.

    A missing value is not met and has no margin.
    """
    margin, met = None, False
    if value is not None:
        margin = bound - value if kind == "max" else value - bound
        met = margin >= 0  # before it is rounded
    return {"name": name, "value": value, "limit": bound, "kind": kind,
            "margin": _rounded(margin), "met": met}


def limits_of(result: RunResult, results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every limit with its value and whether it was met; a missing figure is not met."""
    limits = [
        limit_of(limit.value, _value_of(results, limit.value),
                 limit.max if limit.max is not None else float(limit.min or 0.0),
                 "max" if limit.max is not None else "min")
        for limit in result.scenario.limits]
    limits += [
        limit_of(f"{event['name']}.safe_after_ms", event["safe_after_ms"],
                 event["safe_within_ms"], "max")
        for event in results["events"] if event["safe_within_ms"] is not None]
    restarts = sum(rig.board.restart_count for rig in result.site.rigs)
    limits.append(limit_of("boards.restarts", restarts, 0, "max"))
    planned = len(result.scenario.events)
    if not result.aborted and len(result.events) != planned:
        limits.append(limit_of("events.happened", len(result.events), planned, "min"))
    return limits


def clock_error_of(result: RunResult) -> tuple[int | None, str]:
    """Return how far the time of a row may be wrong, ms, and how that is known."""
    late_ms = result.recording.late_ms_max if result.recording.phase else None
    if result.clock_name == "virtual":
        return late_ms, ("rows, events and boards share one simulated clock: the bench wakes all "
                         "that is due at a moment, and a row closes at its whole second")
    # the clock is read in whole milliseconds, so what it says may be one behind
    return (None if late_ms is None else late_ms + 1), (
        "largest lateness of a row's close against its whole second on the bench's monotonic "
        "clock, and 1 ms for its resolution; event times are taken on the same clock")


def judge(
    result: RunResult, statements: dict[str, Any], made_with: Provenance, wall_s: float
) -> dict[str, Any]:
    """Return results.json. statements: the outcome of the offline verification of the run."""
    clock_error_ms, clock_error_source = clock_error_of(result)
    recording = result.recording
    elements = elements_of(result)
    realized = sum(one["realized_mwh"] for one in elements)
    metered = sum(one["metered_mwh"] for one in elements)
    moved = sum(float(np.abs(trace.power_w).sum()) for trace in recording.elements.values())
    moved_mwh = round(moved / 3.6)
    results: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "scenario": result.scenario.scenario,
        "description": result.scenario.description,
        "seed": result.seed,
        "commit": made_with.commit,
        "firmware_sha256": made_with.firmware_sha256,
        "rig": made_with.rig,
        "calibration": made_with.calibration,
        "clock": result.clock_name,
        "clock_error_ms": clock_error_ms,
        "clock_error_source": clock_error_source,
        "signal": result.signal_name,
        "simulation": True,  # the plant is modelled on either clock; `clock` says the rest
        "passed": False,
        "aborted": result.aborted,
        "simulated_s": result.simulated_s,
        "wall_s": round(wall_s, 2),
        "baseline_w": round(result.baseline_w, 1),
        "segments": segments_of(result),
        "elements": elements,
        "events": events_of(result),
        "fault_windows": [
            {"from_s": round(start, 3), "to_s": round(end, 3), "name": name}
            for start, end, name in fault_windows(result.events)
        ],
        "energy": {
            "realized_mwh": realized,
            "metered_mwh": metered,
            "throughput_mwh": moved_mwh,
            "difference_pct":
                _rounded(100 * abs(realized - metered) / moved_mwh) if moved_mwh else None,
        },
        "statements": statements,
        "shortfall_s": int(np.count_nonzero(np.array(recording.shortfall_w) > 0)),
    }
    results["limits"] = limits_of(result, results)
    results["passed"] = not result.aborted and all(one["met"] for one in results["limits"])
    return results
