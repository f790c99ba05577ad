"""Check report.html and its charts: complete, escaped, self-contained, whatever the run did."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil.report.svg import (
    Chart,
    Line,
    Mark,
    Span,
    decimate,
    nice_step,
    nice_ticks,
    render,
    tick_text,
    y_axis,
)
from hil.report.write import write_report

from .report_example import element, event, example, write_trace

VOID = {"meta", "link", "br", "wbr"}
SIZE_MAX = 1_500_000


class Page(HTMLParser):
    """Parse a page strictly: every tag closed in order; collect attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that closes itself, as in SVG."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Check that it closes the last open one."""
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        """Collect what a reader sees."""
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data

    def values(self, tag: str, name: str) -> list[str]:
        """Return an attribute of all tags of a kind that have it."""
        return [str(attrs[name]) for one, attrs in self.tags if one == tag and name in attrs]


def page_of(results: dict[str, Any], folder: Path, rows: int | None = 240) -> tuple[str, Page]:
    """Return report.html of results with a trace of so many rows, None for no trace."""
    if rows is not None:
        write_trace(folder, rows)
    write_report(results, folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    return text, Page(text)


def polylines(page: Page, css: str) -> list[list[tuple[float, float]]]:
    """Return the points of all lines of a class."""
    return [[(float(x), float(y)) for x, y in (pair.split(",") for pair in
                                               str(attrs["points"]).split())]
            for tag, attrs in page.tags if tag == "polyline" and attrs["class"] == css]


def test_page_says_everything(tmp_path: Path) -> None:
    """Verdict, simulation, limits, events, elements, energy, statements, formulas, command."""
    _, page = page_of(example(), tmp_path)
    words = " ".join(page.text.split())
    for said in (
        "FAILED", "1 of 3 limits missed: regulation.e1_pct.",
        "Smallest margin", "regulation.e1_pct, at most 3 %", "SIMULATION", "Two walls.",
        "0123456789abcdef0123456789abcdef01234567-dirty", "regulation seed 7", "3001.5 W",
        "ramp.e1_pct", "1.5 %", "-0.25 %", "at most 3 %", "1230 ms", "770 ms", "1 silent_bms",
        "2 release", "release orders: 1", "1:30", "e1 = mean|P \u2212 R| / max|R|", "window_floor",
        "0.950", "23 windows in 2 h; worst hour 0.941", "Hours of regulation", "63:00", "0.850",
        "wall-1", "wall-2", "LFP", "0000000000000001", "1.2345", "-1.2500",
        "50.00 → 48.21", "soc low 2, tripped 1", "2.4690 kWh", "2.5000 kWh that went",
        "21 verified, 0 failed",
        "record 14, interval 7", "cellwall verify DIR", "Power, kW", "Error, W",
        "ab" * 32, "virtual bench", "2 x virtual, 3.4.0; MicroPython v1.25.0 on 2025-05-04",
        "Some machine, x86_64, Python 3.11.2", "0 ms: one simulated clock", "not signed",
        "meter at the PCC", "active power, class 0.5 % of 20 kW", "nothing was calibrated",
        "Time since the start of the run, min", "phase discovery",
    ):
        assert said in words, said
    assert page.text.count("✗ NO") == 1 and page.text.count("✓ yes") == 2


def test_page_asks_nobody(tmp_path: Path) -> None:
    """No address, no font, no import: the file is whole, and forbids itself the network."""
    text, page = page_of(example(), tmp_path)
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert "url(" not in text and "@font-face" not in text
    links = [value for tag in ("a", "link", "script", "img", "use", "image")
             for name in ("href", "src", "xlink:href") for value in page.values(tag, name)]
    assert links == ["data:,"]
    policy = [one for one in page.values("meta", "content") if "default-src" in one]
    assert len(policy) == 1 and policy[0].startswith("default-src 'none';")
    # the policy runs what stands between the tags and nothing else: a changed byte runs no more
    for tag in ("style", "script"):
        inner = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner[0].encode()).digest()).decode()
        assert len(inner) == 1 and f"{tag}-src 'sha256-{digest}'" in policy[0]
    assert "unsafe" not in policy[0]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    """Descriptions, names, reasons and failures cannot become markup or leave the title."""
    evil = "</title><script>alert(1)</script><img src=x onerror=y> {{ 7*7 }} \" ' &amp;"
    results = example() | {"description": evil, "scenario": evil, "signal": evil}
    results["events"][0]["name"] = evil
    results["limits"][0]["name"] = evil
    results["fault_windows"][0]["name"] = evil
    results["elements"][0]["setpoints_refused"] = {evil: 1}
    results["statements"] |= {"failed": 1, "failures": [{"index": 0, "what": evil, "why": evil}]}
    text, page = page_of(results, tmp_path)
    assert "<script>alert" not in text and "<img" not in text and "49" not in page.text[:400]
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert page.text.count("{{ 7*7 }} \" ' &amp;") >= 8


def test_charts_draw_the_trace(tmp_path: Path) -> None:
    """The response starts after discovery, the error is -1.5 W, and phases have charts."""
    _, page = page_of(example(), tmp_path)
    charts = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("class") == "chart"]
    # building, two errors, one watched event, two elements
    assert len(charts) == 1 + 2 + 1 + 2
    assert all(attrs["role"] == "img" for attrs in charts)
    labels = [name for attrs in charts for name in str(attrs["aria-labelledby"]).split()]
    identities = [str(attrs["id"]) for _, attrs in page.tags if "id" in attrs]
    assert sorted(labels) == sorted(identities) and len(set(labels)) == len(labels)
    response, target = polylines(page, "response")[0], polylines(page, "target")[0]
    assert len(response) == 180 and len(target) == 240
    assert response[0][0] == pytest.approx(1000 * 60.5 / 240, abs=0.06)
    errors = polylines(page, "error")
    assert [len(one) for one in errors] == [120, 50]
    low, high = float(str(charts[1]["data-y0"])), float(str(charts[1]["data-y1"]))
    assert high - errors[0][0][1] / 170 * (high - low) == pytest.approx(-1.5, abs=0.01)
    assert "mean of |error| 1.5 W, largest 1.5 W" in page.text


def test_events_are_marked_with_their_numbers(tmp_path: Path) -> None:
    """Each event has its line and its label in the building's chart, and faults are shaded."""
    text, _ = page_of(example(), tmp_path)
    chart = text[text.index('aria-labelledby="building-t'):text.index("Tracking error: response")]
    assert re.findall(r'<text class="mark[^>]*>([^<]*)<', chart) == ["1 silent_bms", "2 release"]
    assert re.findall(r'<line class="mark" x1="([0-9.]+)%"', chart) == ["37.500", "96.875"]
    assert re.findall(r'<rect class="band" x="([0-9.]+)%" y="\d+" width="([0-9.]+)%"', chart) == [
        ("37.500", "16.667")]
    assert re.findall(r'<text class="phase"[^>]*>([^<]*)<', chart) == [
        "discovery", "ramp"]  # the others are too short for a name on a phone


@pytest.mark.parametrize("rows", [None, 0, 1, 2, 61])
def test_short_traces(rows: int | None, tmp_path: Path) -> None:
    """No file, no row, one, two, and one after discovery: a page each time."""
    _, page = page_of(example(), tmp_path, rows)
    assert "FAILED" in page.text
    assert ("no charts" in page.text) == (rows is None)
    # the event at 90 s is in none of these traces
    assert ("no data" in page.text) == (rows is not None)
    for points in (one for css in ("target", "response", "error") for one in polylines(page, css)):
        assert len(points) >= 2 and np.isfinite(points).all()


def test_stopped_run(tmp_path: Path) -> None:
    """A stop in discovery: no segments, no events, no energy, unknown elements."""
    results = example() | {
        "aborted": True, "simulated_s": 12, "segments": [], "events": [], "limits": [],
        "fault_windows": [], "signal": "none", "baseline_w": 0.0}
    results["energy"] = {
        "realized_mwh": 0, "metered_mwh": 0, "throughput_mwh": 0, "difference_pct": None}
    results["elements"] = [element("wall-1", 1) | {
        "id": None, "segments": [], "soc_start_pct": None, "soc_end_pct": None}]
    results["statements"] = {"verified": 0, "failed": 0, "by_kind": {}, "failures": []}
    _, page = page_of(results, tmp_path, 12)
    for said in ("STOPPED", "Stopped after 12 s", "sets no limits", "Nothing was made to go",
                 "No phase with a signal", "never announced", "n/a → n/a", "No energy moved"):
        assert said in page.text, said
    assert "PASSED" not in page.text and "FAILED" not in page.text


def test_passed_run_and_unsafe_event(tmp_path: Path) -> None:
    """The verdict is the judge's; an element that never became safe is said in words."""
    results = example() | {"passed": True, "clock": "real", "simulation": False}
    for limit in results["limits"]:
        limit["met"] = True
    results["events"][0] |= {"safe_after_ms": None, "detected_after_ms": None}
    results["elements"][0]["restarts"] = 3
    results["events"][1] |= {"elements": ["wall-2"]}
    _, page = page_of(results, tmp_path)
    for said in ("PASSED", "All 3 limits met.", "REAL TIME", "✗ not safe", "not detected",
                 "none was on", "✗ 3"):
        assert said in page.text, said
    assert "SIMULATION" not in page.text


def test_restarts_that_nobody_counted_are_not_none(tmp_path: Path) -> None:
    results = example()
    assert "Restarts of boardsnone\n" in page_of(results, tmp_path)[1].text
    results["elements"][0]["restarts"] = None
    _, page = page_of(results, tmp_path)
    assert "Restarts of boardsnone, 1 did not say\n" in page.text
    results["elements"][1]["restarts"] = 3
    _, page = page_of(results, tmp_path)
    assert "Restarts of boards✗ 3, 1 did not say\n" in page.text


def test_long_run_stays_small(tmp_path: Path) -> None:
    """75 minutes of 8 noisy elements fit the promised size."""
    names = tuple(f"wall-{index}" for index in range(1, 9))
    random = np.random.default_rng(1)
    header = "t_s,phase,target_w,response_w," + ",".join(
        f"{name}_asked_w,{name}_power_w" for name in names)
    rows = [header] + [
        f"{row},{'discovery' if row < 60 else 'regulation'}," + ",".join(
            f"{value:.1f}" for value in random.normal(0, 2000, 18)) for row in range(4650)]
    (tmp_path / "trace.csv").write_text("\n".join(rows))
    results = example() | {"simulated_s": 4650}
    results["elements"] = [element(name, index) for index, name in enumerate(names)]
    results["segments"][1] |= {"from_s": 60, "to_s": 4650}
    text, page = page_of(results, tmp_path, None)
    assert 100_000 < len(text.encode()) < SIZE_MAX
    assert max(len(one) for one in polylines(page, "response")) <= 5000


def test_decimation_keeps_peaks() -> None:
    """One sample's spike survives 100-fold decimation, as do the ends and the order."""
    x = np.arange(100_000, dtype=np.float64)
    y = np.sin(x / 5000)
    y[54_321], y[77_777] = 9.0, -9.0
    y[1:3] = y[-3:-1] = (-2.0, 2.0)  # so that the ends are no extremes of their buckets
    few_x, few_y = decimate(x, y, 1000)
    assert 500 < few_x.size <= 1000 and (np.diff(few_x) > 0).all()
    assert few_x[0] == 0 and few_x[-1] == 99_999
    assert few_y.max() == 9.0 and few_y.min() == -9.0
    assert float(few_x[few_y.argmax()]) == 54_321
    same_x, same_y = decimate(x[:1000], y[:1000], 1000)
    assert same_x.size == 1000 and (same_y == y[:1000]).all()


@pytest.mark.parametrize(("span", "count", "step"), [
    (10, 5, 2), (10, 10, 1), (77.5, 8, 10), (0.037, 5, 0.01), (12_345, 6, 5000), (1, 1, 1)])
def test_nice_steps(span: float, count: int, step: float) -> None:
    """Steps are 1, 2 or 5 times a power of ten and never too many."""
    assert nice_step(span, count) == pytest.approx(step)
    assert len(nice_ticks(0, span, step)) <= count + 1


def test_axis_holds_lines_and_zero() -> None:
    """Bounds are round and hold every value; nothing to draw gives a plain axis."""
    x = np.array([0.0, 1.0])
    assert y_axis([Line("a", "a", x, np.array([3.0, 11.0]))], 4) == (0.0, 15.0, 5.0)
    low, high, step = y_axis([Line("a", "a", x, np.array([-6213.0, 6050.0]))], 7)
    assert (low, high, step) == (-8000.0, 8000.0, 2000.0)
    flat = y_axis([Line("a", "a", x, np.array([0.95, 0.96]))], 4, zero=False)
    assert flat == pytest.approx((0.95, 0.96, 0.005))
    level = y_axis([Line("a", "a", x, np.array([0.9, 0.9]))], 4, zero=False)
    assert 0.7 < level[0] < 0.9 < level[1] < 1.1
    assert y_axis([], 4) == y_axis([Line("a", "a", x, x * 0)], 4) == (-1.0, 1.0, 1.0)
    assert [tick_text(value, 0.05) for value in (-0.0, 0.1)] == ["0.00", "0.10"]
    assert tick_text(2000.0, 1000.0) == "2000"


def test_crowded_events_do_not_overlap(tmp_path: Path) -> None:
    """Of 60 events at once each has its line; labels share four lanes without touching."""
    results = example()
    results["events"] = [event(f"fault_{index}", 90.0 + index / 10) for index in range(60)]
    text, page = page_of(results, tmp_path)
    chart = text[text.index('aria-labelledby="building-t'):text.index("Tracking error: response")]
    labels = re.findall(r'<text class="mark[^>]*y="(\d+)">([^<]*)<', chart)
    assert 1 <= len(labels) <= 8 and len({y for y, _ in labels}) <= 4
    assert chart.count('<line class="mark"') == 60
    for index in range(60):
        assert f"{index + 1} fault_{index}" in page.text
    assert sum(str(one).startswith("event-") for one in page.values("desc", "id")) == 24


def test_chart_texts_are_escaped() -> None:
    """Titles, units and labels are text wherever they stand."""
    evil = '"><script>'
    chart = Chart("k", evil, evil, evil, evil, evil,
                  [Line(evil, "target", np.array([0.0]), np.array([1.0]))], (0.0, 0.0),
                  [Mark(0.0, evil)], [Span(0.0, 1.0, evil)], [Span(0.0, 1.0, evil)])
    text = str(render(chart))
    assert "<script" not in text
    assert [tag for tag, _ in Page(text).tags].count("polyline") == 1
