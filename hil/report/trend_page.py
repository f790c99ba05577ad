"""Render many runs as one HTML file: a line for each metric, a row for each run."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from markupsafe import Markup

from hil.report.page import environment, page_assets
from hil.report.svg import Chart, Line, Mark, render
from hil.report.text import number, unit_of
from hil.report.trend import Group, Trend, TrendRun, verdict_of

DECIMALS = 4
WORDS = {"passed": ("\u2713", "yes"), "failed": ("\u2717", "no"), "stopped": ("\u25a0", "no")}


def render_trend(title: str, trend: Trend, wanted: Sequence[str] = ()) -> str:
    """Return the document. title: what the runs are of. wanted: names of metrics, or patterns."""
    groups = [{
        "title": f"{group.scenario}, {group.clock} time", "count": len(group.runs),
        "failed": sum(verdict_of(run.results) != "passed" for run in group.runs),
        "charts": [_chart(group, index, place, name)
                   for place, name in enumerate(group.names(wanted))],
        "runs": [_run(run) for run in group.runs],
    } for index, group in enumerate(trend.groups)]
    return environment().get_template("trend.html.j2").render(
        title=title, groups=groups, broken=trend.broken, **page_assets())


def _chart(group: Group, index: int, place: int, name: str) -> dict[str, Any]:
    """Draw a metric over the number of the run, its limit dashed, lines at runs that failed."""
    values, unit = group.values(name), unit_of(name).strip()
    lines = [_line("value", "response", values)]
    bounds = [next((one["limit"] for one in run.results["limits"] if one["name"] == name), None)
              for run in group.runs]
    if any(bound is not None for bound in bounds):
        lines.append(_line("limit", "target", bounds))
    known = [one for one in values if one is not None]
    text = "no value" if not known else (
        f"last {number(known[-1], DECIMALS)}, lowest {number(min(known), DECIMALS)}, highest "
        f"{number(max(known), DECIMALS)}{' ' if unit else ''}{unit}")
    svg = render(Chart(
        f"trend-{index}-{place}", name, f"{name} of {len(values)} runs: {text}.",
        "Run, oldest first", f"{unit or 'value'}", unit, lines, (0.5, len(values) + 0.5),
        [Mark(count + 1, "") for count, run in enumerate(group.runs)
         if verdict_of(run.results) != "passed"],
        height_px=130, decimals=DECIMALS, link=f"trend-{index}", x_step_min=1.0, zero=False,
        y_decimals=DECIMALS))
    return {"name": name, "text": text, "svg": svg, "limited": len(lines) > 1}


def _line(name: str, css: str, values: Sequence[float | None]) -> Line:
    """Return the line through the runs that have a value."""
    points = [(count + 1, one) for count, one in enumerate(values) if one is not None]
    x, y = zip(*points, strict=True) if points else ((), ())
    return Line(name, css, np.array(x, dtype=np.float64), np.array(y, dtype=np.float64))


def _run(run: TrendRun) -> dict[str, Any]:
    word = verdict_of(run.results)
    sign, css = WORDS[word]
    at = datetime.fromtimestamp(run.at_unix_ms / 1000, UTC)
    return {
        "folder": run.folder, "at": f"{at:%Y-%m-%d %H:%M}",
        "time": "" if run.time_is_signed else " (of the file)", "signed": run.signed,
        "seed": run.results["seed"], "commit": run.results["commit"][:12],
        "firmware": run.results["firmware_sha256"][:12],
        "verdict": Markup('<span class="{}">{} {}</span>').format(css, sign, word),
    }
