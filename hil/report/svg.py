"""Draw line charts as inline SVG whose text keeps its size at every width.

The plot is a nested SVG with a viewBox that stretches to the page's width; strokes do not
scale. Axes, ticks and marks are placed in percent beside it, so that a chart of 1200 px and one
of 300 px show the same lines under labels of the same, readable size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, floor, log10

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

VIEW_WIDTH = 1000
TITLE_PX, LANE_PX, AXIS_PX = 26, 16, 36
LANES_MAX = 4
TIME_TICKS_MAX = 8
TICK_PX = 30
# Labels are laid out for the narrowest page, a phone's; on a wider one they have room to spare.
NARROW_PX, CHAR_PX = 290, 6.8


@dataclass(frozen=True)
class Line:
    """One line; css is its class, name and unit are what a reader is shown."""

    name: str
    css: str
    x: FloatArray
    y: FloatArray


@dataclass(frozen=True)
class Mark:
    """A vertical line with a label in a lane above the plot; short replaces it without room."""

    x: float
    label: str
    short: str = ""


@dataclass(frozen=True)
class Span:
    """A stretch of the x axis: a shaded fault window, or a phase with its name."""

    x0: float
    x1: float
    label: str


@dataclass(frozen=True)
class Chart:
    """What to draw. key is unique in the page. decimals: of a value read off the line.
    y_decimals: of the points, in px, where a value is to be read more exactly than it is drawn.

    link: charts of one name have the same x axis and are zoomed together. x_step_min: the finest
    step of the x axis, 1 for what is counted. zero: whether the y axis reaches it.
    """

    key: str
    title: str
    description: str
    x_label: str
    y_label: str
    unit: str
    lines: Sequence[Line]
    x_range: tuple[float, float]
    marks: Sequence[Mark] = field(default=())
    bands: Sequence[Span] = field(default=())
    phases: Sequence[Span] = field(default=())
    height_px: int = 240
    points_max: int = 1500
    decimals: int = 2
    link: str = ""
    x_step_min: float = 0.0
    zero: bool = True
    y_decimals: int = 1


def decimate(x: FloatArray, y: FloatArray, points_max: int) -> tuple[FloatArray, FloatArray]:
    """Return at most points_max points with the lowest and highest of every bucket, in order.

    The first and last point stay too, when points_max is 4 or more.
    """
    if x.size <= points_max:
        return x, y
    buckets = max(1, (points_max - 2) // 2)
    edges = np.linspace(0, x.size, buckets + 1).astype(np.int64)
    keep = {0, int(x.size) - 1}
    for begin, end in pairwise(edges):
        part = y[begin:end]
        keep.add(int(begin + part.argmin()))
        keep.add(int(begin + part.argmax()))
    chosen = np.array(sorted(keep))
    return x[chosen], y[chosen]


def nice_step(span: float, count_max: int) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that cuts span into count_max parts."""
    rough = span / count_max
    power = 10.0 ** floor(log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough * (1 - 1e-9))


def nice_ticks(low: float, high: float, step: float) -> list[float]:
    """Return the multiples of step within low and high."""
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_text(value: float, step: float) -> str:
    """Return a tick's label with as many decimals as its step needs."""
    decimals = max(0, -floor(log10(step) + 1e-9))
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def y_axis(
    lines: Sequence[Line], count_max: int, zero: bool = True
) -> tuple[float, float, float]:
    """Return round bounds (low, high) that hold all lines, and zero, and the step of the ticks."""
    tops = [float(line.y.max()) for line in lines if line.y.size]
    bottoms = [float(line.y.min()) for line in lines if line.y.size]
    reach = [0.0] if zero or not tops else []
    low, high = min(reach + bottoms), max(reach + tops)
    if high == low == 0:
        return -1.0, 1.0, 1.0
    if high == low:
        low, high = low - abs(low) / 10, high + abs(high) / 10
    step = nice_step(high - low, count_max)
    return floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step, step


def render(chart: Chart) -> Markup:
    """Return the chart as one SVG element. Every text in it is escaped."""
    x0, x1 = chart.x_range
    if x1 <= x0:
        x1 = x0 + 1.0
    y0, y1, y_step = y_axis(chart.lines, max(3, chart.height_px // TICK_PX), chart.zero)
    placed, lanes = _lanes([(mark, _percent(mark.x, x0, x1)) for mark in chart.marks])
    top = TITLE_PX + LANE_PX * (lanes + bool(chart.phases))
    bottom = top + chart.height_px
    parts = [
        Markup('<svg class="chart" role="img" aria-labelledby="{0}-t {0}-d" height="{1}" '
               'data-x0="{2:.6g}" data-x1="{3:.6g}" data-y0="{4:.6g}" data-y1="{5:.6g}" '
               'data-unit="{6}" data-x="{7}" data-decimals="{8}"{9}{10}>').format(
            chart.key, bottom + AXIS_PX, x0, x1, y0, y1, chart.unit, chart.x_label,
            chart.decimals,
            Markup(' data-link="{}"').format(chart.link) if chart.link else "",
            Markup(' data-step="{:g}"').format(chart.x_step_min) if chart.x_step_min else ""),
        Markup('<title id="{0}-t">{1}</title><desc id="{0}-d">{2}</desc>').format(
            chart.key, chart.title, chart.description),
        Markup('<text class="axis" x="-46" y="12">{}</text>').format(chart.y_label),
        *_spans(chart, x0, x1, top, bottom),
        *_axes(chart, (x0, x1), (y0, y1, y_step), top, bottom),
        *_plot(chart, (x0, x1), (y0, y1), top),
        *_marks(placed, top, bottom, LANE_PX if chart.phases else 0),
        Markup('<line class="cursor" x1="0" x2="0" y1="{}" y2="{}"/></svg>').format(top, bottom),
    ]
    return Markup("").join(parts)


def _percent(x: float, x0: float, x1: float) -> float:
    return 100.0 * (x - x0) / (x1 - x0)


def _spans(chart: Chart, x0: float, x1: float, top: int, bottom: int) -> list[Markup]:
    """Return fault windows as shaded stretches and phases as named ones."""
    parts = []
    for span in chart.bands:
        left = max(0.0, _percent(span.x0, x0, x1))
        right = min(100.0, _percent(span.x1, x0, x1))
        if right > left:
            parts.append(Markup(
                '<rect class="band" x="{:.3f}%" y="{}" width="{:.3f}%" height="{}"><title>{}'
                "</title></rect>").format(left, top, right - left, bottom - top, span.label))
    for span in chart.phases:
        left, right = _percent(span.x0, x0, x1), _percent(span.x1, x0, x1)
        parts.append(Markup(
            '<line class="phase" x1="{0:.3f}%" x2="{0:.3f}%" y1="{1}" y2="{2}"/>').format(
            left, TITLE_PX + 2, bottom))
        if (right - left) / 100 * NARROW_PX >= len(span.label) * CHAR_PX:
            parts.append(Markup(
                '<text class="phase" x="{:.3f}%" y="{}">{}</text>').format(
                (left + right) / 2, TITLE_PX + 11, span.label))
    return parts


def _axes(
    chart: Chart, x_bounds: tuple[float, float], y_bounds: tuple[float, float, float], top: int,
    bottom: int,
) -> list[Markup]:
    """Return grid, tick labels and the name of the x axis."""
    parts = []
    low, high, step = y_bounds
    for value in nice_ticks(low, high, step):
        y = bottom - (value - low) / (high - low) * chart.height_px
        kind = "zero" if abs(value) < step / 2 else "grid"
        parts.append(Markup(
            '<line class="{0}" x1="0" x2="100%" y1="{1:.1f}" y2="{1:.1f}"/>'
            '<text class="ytick" x="-6" y="{2:.1f}">{3}</text>').format(
            kind, y, y + 4, tick_text(value, step)))
    left, right = x_bounds
    step = max(chart.x_step_min, nice_step(right - left, TIME_TICKS_MAX))
    for value in nice_ticks(left, right, step):
        parts.append(Markup(
            '<line class="grid xgrid" x1="{0:.3f}%" x2="{0:.3f}%" y1="{1}" y2="{2}"/>'
            '<text class="xtick" x="{0:.3f}%" y="{3}">{4}</text>').format(
            _percent(value, left, right), top, bottom + 4, bottom + 17, tick_text(value, step)))
    parts.append(Markup('<text class="axis end" x="100%" y="{}">{}</text>').format(
        bottom + 32, chart.x_label))
    return parts


def _plot(
    chart: Chart, x_bounds: tuple[float, float], y_bounds: tuple[float, float], top: int
) -> list[Markup]:
    """Return the lines in a nested SVG that stretches to the width of the page."""
    height = chart.height_px
    parts = [Markup(
        '<svg y="{0}" width="100%" height="{1}" viewBox="0 0 {2} {1}" '
        'preserveAspectRatio="none">').format(top, height, VIEW_WIDTH)]
    for line in chart.lines:
        x, y = decimate(line.x, line.y, chart.points_max)
        across = (x - x_bounds[0]) / (x_bounds[1] - x_bounds[0]) * VIEW_WIDTH
        down = (y_bounds[1] - y) / (y_bounds[1] - y_bounds[0]) * height
        # across there is room to zoom in, down there is none
        points = [f"{f'{a:.2f}'.rstrip('0').rstrip('.')},{b:.{chart.y_decimals}f}"
                  for a, b in zip(across, down, strict=True)]
        # A line of one point is not drawn; twice the same point is a dot.
        points = points * 2 if len(points) == 1 else points
        if points:
            parts.append(Markup('<polyline class="{}" data-name="{}" points="{}"/>').format(
                line.css, line.name, " ".join(points)))
    parts.append(Markup("</svg>"))
    if not any(line.x.size for line in chart.lines):
        parts.append(Markup('<text class="empty" x="50%" y="{}">no data</text>').format(
            top + height // 2 - 8))
    return parts


def _lanes(marks: list[tuple[Mark, float]]) -> tuple[list[tuple[float, str, bool, int]], int]:
    """Return (percent, label, label lies to the left, lane) of each mark, and the lanes used.

    A label goes into the first lane where it touches no other at phone width; the short one
    where the long one has no room; none (lane -1) where neither has.
    """
    taken: list[list[tuple[float, float]]] = [[] for _ in range(LANES_MAX)]
    placed = []
    for mark, at in marks:
        choice = (at, "", False, -1)
        for label in (mark.label, mark.short):
            width = 100 * (len(label) * CHAR_PX + 12) / NARROW_PX
            left = at + width > 104
            begin, end = (at - width, at) if left else (at, at + width)
            free = [lane for lane, used in enumerate(taken)
                    if all(end <= other[0] or begin >= other[1] for other in used)]
            if label and free and begin > -16:
                taken[free[0]].append((begin, end))
                choice = (at, label, left, free[0])
                break
        placed.append(choice)
    return placed, 1 + max((one[3] for one in placed), default=-1)


def _marks(
    placed: list[tuple[float, str, bool, int]], top: int, bottom: int, offset: int
) -> list[Markup]:
    lines, labels = [], []
    for at, label, left, lane in placed:
        y = TITLE_PX + offset + LANE_PX * lane if lane >= 0 else top
        lines.append(Markup(
            '<line class="mark" x1="{0:.3f}%" x2="{0:.3f}%" y1="{1}" y2="{2}"/>').format(
            at, y, bottom))
        if label:
            labels.append(Markup(
                '<text class="mark{}" x="{:.3f}%" dx="{}" y="{}">{}</text>').format(
                " end" if left else "", at, -4 if left else 4, y + 11, label))
    return lines + labels  # labels last: no line crosses them
