"""Make the charts of a report from the results and the trace of a run."""

from typing import Any

import numpy as np
from markupsafe import Markup

from hil.report.svg import Chart, Line, Mark, Span, render
from hil.report.text import fixed, minutes, number, where_of
from hil.report.trace import FloatArray, Trace

# Points of all element charts together, for a file that a browser opens at once.
ELEMENT_POINTS = 20_000
ELEMENT_POINTS_MAX, ELEMENT_POINTS_MIN = 500, 100
# The building's lines keep every second of 80 minutes, so that zooming in shows more.
BUILDING_POINTS = 5000
# Charts over minutes of the run are zoomed together.
RUN = "run"
DETAIL_BEFORE_S, DETAIL_AFTER_S = 10, 20
DETAILS_MAX = 24
MINUTES = "Time since the start of the run, min"


def building_chart(results: dict[str, Any], trace: Trace) -> Markup:
    """Draw target and response at the meter over the whole run, kW over minutes."""
    served = slice(trace.service_start(), trace.count)
    time_min = trace.time_s / 60
    end_min = max(results["simulated_s"], trace.count) / 60
    faults = ", ".join(f"{one['name']} at {minutes(one['at_s'])}" for one in results["events"])
    return render(Chart(
        "building", "Target and response at the meter",
        f"Power in kW over {number(end_min, 1)} minutes. Events: {faults or 'none'}.",
        MINUTES, "Power, kW", "kW",
        [Line("response", "response", time_min[served],
              trace.columns["response_w"][served] / 1000),
         Line("target", "target", time_min, trace.columns["target_w"] / 1000)],
        (0.0, end_min), _marks(results, 0.0, end_min), _bands(results),
        [Span(one.start / 60, one.end / 60, one.name) for one in trace.phases],
        height_px=300, points_max=BUILDING_POINTS, link=RUN))


def error_charts(results: dict[str, Any], trace: Trace) -> list[dict[str, Any]]:
    """Draw response minus target, W, for each phase with a signal that the trace holds."""
    charts = []
    phases = {one.name for one in trace.phases}
    for index, segment in enumerate(results["segments"]):
        if segment["name"] not in phases:
            continue  # a part of the phase before, without its faults
        rows = trace.between(segment["from_s"], segment["to_s"])
        error_w = trace.columns["response_w"][rows] - trace.columns["target_w"][rows]
        start, end = segment["from_s"] / 60, segment["to_s"] / 60
        size = np.abs(error_w)
        text = ("no rows" if not size.size else
                f"mean of |error| {fixed(float(size.mean()), 1)} W, "
                f"largest {fixed(float(size.max()), 1)} W")
        charts.append({"name": segment["name"], "text": text, "svg": render(Chart(
            f"error-{index}", f"Tracking error, {segment['name']}",
            f"Response minus target in W over time in minutes: {text}.",
            MINUTES, "Error, W", "W",
            [Line("error", "error", trace.time_s[rows] / 60, error_w)], (start, end),
            _marks(results, start, end), _bands(results), height_px=170, decimals=0,
            points_max=BUILDING_POINTS, link=RUN))})
    return charts


def element_charts(results: dict[str, Any], trace: Trace) -> list[dict[str, Any]]:
    """Draw what each element was asked and what it delivered, W."""
    elements = results["elements"]
    points = min(ELEMENT_POINTS_MAX,
                 max(ELEMENT_POINTS_MIN, ELEMENT_POINTS // (2 * max(1, len(elements)))))
    end_min = max(results["simulated_s"], trace.count) / 60
    charts = []
    for index, element in enumerate(elements):
        name = element["name"]
        charts.append({"name": name, "svg": render(Chart(
            f"element-{index}", f"{name}: asked and delivered",
            "Power in W that the panel asked of the element and that it delivered, over minutes.",
            "Time, min", "Power, W", "W",
            _asked_and_delivered(trace, [name], slice(0, trace.count), trace.time_s / 60),
            (0.0, end_min), bands=_bands(results), height_px=120, points_max=points,
            decimals=0, link=RUN))})
    return charts


def event_charts(results: dict[str, Any], trace: Trace) -> list[dict[str, Any]]:
    """Draw the elements of each event around it, W over seconds from the event."""
    ends = {one["name"]: one["to_s"] for one in results["fault_windows"]}
    charts: list[dict[str, Any]] = []
    for index, event in enumerate(results["events"]):
        if not event["elements"] or len(charts) == DETAILS_MAX:
            continue
        at_s = event["at_s"]
        after_s = ends.get(event["name"], at_s) - at_s + DETAIL_AFTER_S
        rows = trace.between(at_s - DETAIL_BEFORE_S, at_s + after_s)
        names = ", ".join(event["elements"])
        where = where_of(event)
        title = f"{index + 1} {event['name']}, {where}"
        charts.append({
            "title": title if names == where else f"{title}: {names}",
            "svg": render(Chart(
                f"event-{index}", f"Around {event['name']}",
                f"Power in W asked of and delivered by {names}, by seconds from the event.",
                "Time from the event, s", "Power, W", "W",
                _asked_and_delivered(trace, event["elements"], rows, trace.time_s[rows] - at_s),
                (-DETAIL_BEFORE_S, after_s), [Mark(0.0, event["name"], str(index + 1))],
                [Span(0.0, ends[event["name"]] - at_s, "fault and settling")]
                if event["name"] in ends else (), height_px=120, decimals=0))})
    return charts


def _asked_and_delivered(
    trace: Trace, names: list[str], rows: slice, x: FloatArray
) -> list[Line]:
    """Return the two lines of some elements together; elements without columns count as none."""
    lines = []
    kinds = (("delivered", "response", "power_w"), ("asked", "target", "asked_w"))
    for name, css, column in kinds:
        total = np.zeros(x.size)
        for element in names:
            values = trace.columns.get(f"{element}_{column}")
            if values is not None:
                total = total + values[rows]
        known = np.isfinite(total)
        lines.append(Line(name, css, x[known], total[known]))
    return lines


def _marks(results: dict[str, Any], start_min: float, end_min: float) -> list[Mark]:
    """Return the events within a stretch, with the numbers that the table gives them."""
    return [Mark(one["at_s"] / 60, f"{index + 1} {one['name']}", str(index + 1))
            for index, one in enumerate(results["events"])
            if start_min <= one["at_s"] / 60 <= end_min]


def _bands(results: dict[str, Any]) -> list[Span]:
    return [Span(one["from_s"] / 60, one["to_s"] / 60,
                 f"{one['name']}: fault and settling, {minutes(one['from_s'])} to "
                 f"{minutes(one['to_s'])}")
            for one in results["fault_windows"]]
