"""Render a comparison of runs as one HTML file, in the same dress as the report of one."""

from typing import Any

from hil.report.compare import GONE, LOWER, NEITHER, WORSE, Comparison, Metric, Row
from hil.report.page import environment, page_assets
from hil.report.text import MISSING, number

BETTER_IS = {LOWER: "lower", NEITHER: "either"}


def render_comparison(comparison: Comparison) -> str:
    """Return the document."""
    rows = [(row, _row(row)) for row in comparison.rows]
    parts = [("Figures of the building", [shown for row, shown in rows if not row.of_an_element]),
             ("Figures of the elements", [shown for row, shown in rows if row.of_an_element])]
    return environment().get_template("compare.html.j2").render(
        c=comparison, parts=parts, verdict=_verdict(comparison), **page_assets())


def _verdict(comparison: Comparison) -> dict[str, str]:
    """Return the verdict as a word, a sign and a sentence; colour only repeats it."""
    worse = [f"{label}: {', '.join(names)}" for index, label in enumerate(comparison.labels)
             if index and (names := comparison.regressions(index))]
    if worse:
        return {"word": "WORSE", "sign": "\u2717", "css": "failed", "text": "; ".join(worse) + "."}
    return {"word": "NOT WORSE", "sign": "\u2713", "css": "passed", "text":
            f"Nothing is worse than in {comparison.labels[0]} by more than "
            f"{number(comparison.tolerance_pct)} %."}


def shown_value(metric: Metric | None, unit: str) -> str:
    """Return a figure with its unit; 'never' for what was not reached."""
    if metric is None:
        return MISSING
    return "never" if metric.value is None else number(metric.value, 4) + unit


def signed(value: float | None, decimals: int = 4, unit: str = "") -> str:
    """Return a difference with its sign, '' for None."""
    if value is None:
        return ""
    text = number(value, decimals)
    return ("+" if value > 0 and text != "0" else "") + text + unit


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name, "better": BETTER_IS.get(row.better, "higher"),
        "first": shown_value(row.metrics[0], row.unit),
        "others": [{
            "value": shown_value(metric, row.unit), "verdict": change.verdict,
            "absolute": signed(change.absolute), "pct": signed(change.pct, 1),
            "bad": change.verdict == WORSE or (change.verdict == GONE and row.better != NEITHER),
        } for metric, change in zip(row.metrics[1:], row.changes, strict=True)],
    }
