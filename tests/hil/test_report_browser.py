"""The report in a real browser: quiet, readable, zoomed and read, light and dark, on paper."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FloatRect, Locator, Page

from hil.report.compare import compare, metrics_of
from hil.report.compare_page import render_comparison
from hil.report.trend import Group, Trend, TrendRun
from hil.report.trend_page import render_trend
from hil.report.write import write_report

from .browser import Opened, chromium
from .report_example import example, write_trace

# one browser for all of it, in one worker
pytestmark = pytest.mark.xdist_group("browser")

BACKGROUND = "getComputedStyle(document.body).backgroundColor"
PAPER_PX = 703  # A4 without its margins, at 96 dpi
TICKS = "(svg) => [...svg.querySelectorAll('.xtick')].map((one) => +one.textContent)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the example run."""
    folder = tmp_path_factory.mktemp("run")
    write_trace(folder, 240)
    write_report(example(), folder, bytes(range(8)))
    return folder / "report.html"


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Opened]:
    """The report on a wide, light screen."""
    page = Opened(browser, report)
    yield page
    page.close()


def chart(page: Page, key: str) -> Locator:
    """Return a chart by the first part of its id."""
    return page.locator(f"svg.chart[aria-labelledby^='{key}-t']")


def box_of(page: Page, key: str) -> FloatRect:
    """Return where a chart is, when it has been scrolled to."""
    chart(page, key).scroll_into_view_if_needed()
    box = chart(page, key).bounding_box()
    assert box is not None
    return box


def drag(page: Page, key: str, begin: float, end: float) -> None:
    """Drag over a chart from a part of its width to another."""
    box = box_of(page, key)
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + begin * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], y, steps=4)
    page.mouse.up()


def stretch(page: Page, key: str) -> tuple[float, float]:
    """Return the stretch that a chart shows, as parts of all of it."""
    left, _, width, _ = map(float, str(
        chart(page, key).locator("svg").get_attribute("viewBox")).split())
    return left / 1000, (left + width) / 1000


def readout(page: Page, key: str) -> str:
    """Return what stands below a chart."""
    return chart(page, key).locator("xpath=following-sibling::div[1]/p").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_readable_and_quiet(browser: Browser, report: Path, width: int,
                                  scheme: str) -> None:
    """No error, no request, no sideways scrolling, no small and no faint text."""
    opened = Opened(browser, report, width, color_scheme=scheme)
    opened.check_readable()
    opened.check_quiet()
    page = opened.page
    channels = [int(one) for one in re.findall(r"\d+", page.evaluate(BACKGROUND))[:3]]
    assert max(channels) < 50 if scheme == "dark" else min(channels) > 240
    # the verdict is seen without scrolling
    box = page.locator(".verdict").bounding_box()
    assert box is not None and box["y"] + box["height"] < 844
    opened.close()


def test_limits_show_their_margins_on_a_phone(browser: Browser, report: Path) -> None:
    """Where tables scroll sideways, this one must not: its last column is the margin."""
    opened = Opened(browser, report, 390)
    box = opened.page.locator("td[data-label=Margin]").nth(1).bounding_box()
    assert box is not None and box["x"] + box["width"] <= 390
    opened.close()


def test_a_drag_zooms_all_charts_of_the_run(opened: Opened) -> None:
    """Ticks, lines, marks and shades move; the chart around an event has its own time."""
    page = opened.page
    before = chart(page, "building").evaluate(TICKS)
    assert not page.get_by_role("button", name="Show all").first.is_visible()
    drag(page, "building", 0.25, 0.5)
    for key in ("building", "element-0", "element-1"):
        assert stretch(page, key) == pytest.approx((0.25, 0.5), abs=0.003)
    assert stretch(page, "event-0") == (0, 1)
    ticks = chart(page, "building").evaluate(TICKS)
    assert before == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]
    assert ticks[0] >= 1 and ticks[-1] <= 2.0 and len(ticks) >= 4
    # the event at 90 s of 240 is in the middle of the stretch, and its release is outside of it
    marks = chart(page, "building").locator("line.mark")
    assert float(str(marks.nth(0).get_attribute("x1")).rstrip("%")) == pytest.approx(50, abs=1.5)
    assert marks.evaluate_all("(all) => all.map((one) => getComputedStyle(one).display)") == [
        "inline", "none"]
    # the ramp from 60 to 180 s shows what of it lies within, 60 to 120 s
    ramp = stretch(page, "error-0")
    assert ramp == pytest.approx((0, 0.5), abs=0.01)
    assert stretch(page, "error-1") == pytest.approx((0, 1))


def test_all_is_shown_again(opened: Opened) -> None:
    """By the button, which then goes, and by a double click on any chart of the run."""
    page = opened.page
    before = chart(page, "building").inner_html()
    for act in ("button", "double click"):
        drag(page, "building", 0.6, 0.2)  # from right to left is as good
        assert stretch(page, "element-1") == pytest.approx((0.2, 0.6), abs=0.003)
        if act == "button":
            page.get_by_role("button", name="Show all").first.click()
        else:
            chart(page, "element-1").dblclick()
        assert stretch(page, "building") == stretch(page, "element-1") == (0, 1)
        assert not page.get_by_role("button", name="Show all").first.is_visible()
    page.mouse.move(0, 0)
    ticks = chart(page, "building").evaluate(TICKS)
    assert ticks == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]
    again = chart(page, "building").inner_html()
    places = re.compile(r'class="(?:mark|band|phase)[^>]*? x1?="([0-9.]+)')
    assert [float(one) for one in places.findall(again)] == pytest.approx(
        [float(one) for one in places.findall(before)], abs=0.001)


def test_a_click_is_no_zoom(opened: Opened) -> None:
    drag(opened.page, "building", 0.4, 0.401)
    assert stretch(opened.page, "building") == (0, 1)


def test_hover_reads_values(opened: Opened) -> None:
    """At 150 s the target is 20 W a second since 60 s, the response 1.5 W less."""
    page = opened.page
    box = box_of(page, "building")
    page.mouse.move(box["x"] + box["width"] * 150.5 / 240, box["y"] + box["height"] / 2)
    found = re.fullmatch(r"Time since the start of the run, min: ([0-9.]+); "
                         r"response ([0-9.]+) kW, target ([0-9.]+) kW", readout(page, "building"))
    assert found is not None
    assert float(found[1]) == pytest.approx(150.5 / 60, abs=0.02)
    assert float(found[2]) == pytest.approx(1.80, abs=0.03)
    assert float(found[3]) == pytest.approx(1.80, abs=0.03)
    # the same moment in the element's chart, which was asked for half of it
    assert "delivered 9" in readout(page, "element-0") and readout(page, "event-0") == ""
    seen = "(line) => getComputedStyle(line).visibility"
    assert chart(page, "element-0").locator(".cursor").evaluate(seen) == "visible"
    page.mouse.move(0, 0)
    assert readout(page, "building") == readout(page, "element-0") == ""


def test_values_are_right_in_a_zoomed_chart(opened: Opened) -> None:
    page = opened.page
    drag(page, "building", 0.5, 0.75)
    box = box_of(page, "building")
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 100)
    assert "min: 2.50; response 1.7" in readout(page, "building").replace("1.8", "1.7")


def test_the_keyboard_does_all_of_it(opened: Opened) -> None:
    page = opened.page
    chart(page, "building").focus()
    page.keyboard.press("ArrowRight")
    assert "response" in readout(page, "building")
    for key, wanted in (("+", (0.25, 0.75)), ("+", (0.375, 0.625)),
                        ("Shift+ArrowRight", (0.4375, 0.6875)), ("-", (0.3125, 0.8125)),
                        ("0", (0, 1))):
        chart(page, "building").press(key)
        middle = sum(stretch(page, "building")) / 2
        assert stretch(page, "building") == pytest.approx(wanted, abs=0.03), key
        assert middle == pytest.approx(sum(wanted) / 2, abs=0.03)
    page.get_by_role("button", name="Zoom into Target").press("Enter")
    assert stretch(page, "building")[1] < 1


def test_two_fingers_zoom_and_one_reads(browser: Browser, report: Path) -> None:
    """And one finger up and down still scrolls the page."""
    opened = Opened(browser, report, 390, has_touch=True)
    page = opened.page
    box = box_of(page, "building")
    client = opened.context.new_cdp_session(page)

    def touch(kind: str, *parts: float) -> None:
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [
            {"x": box["x"] + part * box["width"], "y": box["y"] + 150, "id": index}
            for index, part in enumerate(parts)]})

    touch("touchStart", 0.4, 0.6)
    for step in range(1, 6):
        touch("touchMove", 0.4 - 0.04 * step, 0.6 + 0.04 * step)
    touch("touchEnd")
    # what was from 0.4 to 0.6 lies from 0.2 to 0.8 now: a third of all is seen
    assert stretch(page, "building") == pytest.approx((1 / 3, 2 / 3), abs=0.03)
    touch("touchStart", 0.5)
    touch("touchMove", 0.55)
    assert "response" in readout(page, "building")
    touch("touchEnd")
    assert stretch(page, "building") == pytest.approx((1 / 3, 2 / 3), abs=0.03)
    assert chart(page, "building").evaluate("(s) => getComputedStyle(s).touchAction") == "pan-y"
    opened.close()


def test_paper_shows_it_all_and_no_buttons(browser: Browser, report: Path) -> None:
    """In a dark browser too: white paper, every section, nothing that only a screen can use."""
    opened = Opened(browser, report, color_scheme="dark")
    page = opened.page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    assert page.locator(".bar:visible, .hint:visible, button:visible").count() == 0
    assert page.locator("h2:visible").count() == page.locator("h2").count() > 8
    assert page.locator("svg.chart:visible").count() == page.locator("svg.chart").count()
    page.set_viewport_size({"width": PAPER_PX, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER_PX
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12
    opened.close()


def test_without_scripts_all_is_still_said(browser: Browser, report: Path) -> None:
    opened = Opened(browser, report, java_script_enabled=False)
    page = opened.page
    text = page.locator("body").inner_text()
    for said in ("FAILED", "regulation.e1_pct", "silent_bms", "ab" * 32, "0001020304050607"):
        assert said in text
    assert page.locator("button").count() == 0 and "Drag" not in text
    assert page.locator("svg.chart polyline").count() >= 8
    assert page.locator("svg.chart .xtick").count() > 20
    opened.close()


def test_a_script_that_was_slipped_in_does_not_run(browser: Browser, report: Path,
                                                   tmp_path: Path) -> None:
    """The page's own policy refuses it, and an image from anywhere."""
    evil = tmp_path / "evil.html"
    evil.write_text(report.read_text().replace(
        "</main>", "<script>document.title = 'owned'</script><img src='file:///x.png'></main>"))
    opened = Opened(browser, evil)
    assert "owned" not in opened.page.title()
    assert len([one for one in opened.said if "Content Security Policy" in one]) == 2
    opened.context.close()


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A comparison of three runs, and a trend of six of which the third failed."""
    folder = tmp_path_factory.mktemp("pages")
    runs = []
    for index in range(6):
        results = example() | {"passed": index != 2}
        results["segments"][0]["e1_pct"] = (0.5, 0.6, 2.5, 0.4, 0.5, 0.55)[index]
        results["limits"][0] |= {"met": index != 2, "margin": 1.0}
        runs.append(results)
    labels = ["virtual", "real", "a rig with a long name"]
    (folder / "compare.html").write_text(render_comparison(compare(
        list(zip(labels, runs[:3], strict=True)), 5.0)))
    group = Group("small", "virtual", [
        TrendRun(f"run-{index}", one, metrics_of(one), 1_790_000_000_000 + index, True, "yes")
        for index, one in enumerate(runs)])
    trend = Trend([group], [("run-x", "results.json is not JSON: run again")])
    (folder / "trend.html").write_text(render_trend("runs", trend))
    return {name: folder / f"{name}.html" for name in ("compare", "trend")}


@pytest.mark.parametrize("name", ["compare", "trend"])
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (390, "light"), (1280, "dark")])
def test_comparisons_and_trends_are_readable_and_quiet(
        browser: Browser, others: dict[str, Path], name: str, width: int, scheme: str) -> None:
    opened = Opened(browser, others[name], width, color_scheme=scheme)
    opened.check_readable()
    page = opened.page
    bad = "WORSE" if name == "compare" else "1 did not pass"
    assert bad in page.locator("body").inner_text()
    if width == 390:  # nothing that matters is beside the screen
        for cell in page.locator(".stack td").all()[:12]:
            box = cell.bounding_box()
            assert box is not None and box["x"] + box["width"] <= 390
    page.emulate_media(media="print")
    page.set_viewport_size({"width": PAPER_PX, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER_PX
    assert page.locator(".bar:visible, button:visible").count() == 0
    opened.close()


def test_a_trend_is_zoomed_and_read_by_whole_runs(browser: Browser,
                                                  others: dict[str, Path]) -> None:
    opened = Opened(browser, others["trend"])
    page = opened.page
    assert chart(page, "trend-0-0").evaluate(TICKS) == [1, 2, 3, 4, 5, 6]
    box = box_of(page, "trend-0-0")
    page.mouse.move(box["x"] + box["width"] * 2.5 / 6, box["y"] + 60)
    assert "oldest first: 3; value 2.5" in readout(page, "trend-0-0")
    assert "limit 2.0" in readout(page, "trend-0-0")
    drag(page, "trend-0-0", 0.0, 0.5)
    assert chart(page, "trend-0-0").evaluate(TICKS) == [1, 2, 3]
    assert stretch(page, "trend-0-1") == pytest.approx((0, 0.5), abs=0.01)
    opened.close()
