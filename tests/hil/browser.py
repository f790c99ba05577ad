"""A real headless browser for the tests of what people open: Chromium, driven by Playwright."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

ENV_FILE = Path(__file__).parents[2] / "build" / "browser" / "env"
# Nothing of a browser's own business: no updates, no accounts, no look for other addresses.
FLAGS = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-default-apps")
FONT_PX_MIN = 12
CONTRAST_MIN = 4.5  # WCAG 2.2, success criterion 1.4.3

# Each text that is seen: its words, size, and contrast of its colour against what is behind it.
TEXTS = """() => {
  const parse = (text) => {
    const [r, g, b, a] = text.match(/[0-9.]+/g).map(Number);
    return [r, g, b, a === undefined ? 1 : a];
  };
  const light = ([r, g, b]) => [r, g, b].map((one) => one / 255)
    .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, index) => sum + one * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0) return colour;
    }
    return [255, 255, 255, 1];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const words = [...node.childNodes].filter((one) => one.nodeType === 3)
      .map((one) => one.textContent.trim()).join(" ").trim();
    const style = getComputedStyle(node);
    if (!words || ["SCRIPT", "STYLE", "title", "desc"].includes(node.tagName)) continue;
    if (!node.checkVisibility({checkVisibilityCSS: true})) continue;
    const colour = parse(node instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(colour), light(behind(node))].sort((p, q) => q - p);
    found.push({words, px: parseFloat(style.fontSize), contrast: (a + 0.05) / (b + 0.05)});
  }
  return found;
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield the browser that tools/get_browser.sh has found."""
    if not ENV_FILE.exists():
        raise AssertionError("no browser: run tools/get_browser.sh, which make test does")
    named = dict(line.split("=", 1) for line in ENV_FILE.read_text().splitlines())
    program = named.pop("CHROMIUM")
    # root, as in a container, has no sandbox; nothing but our own files is opened
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=program, args=flags,
            env={**os.environ, **{name: value for name, value in named.items() if value}})
        try:
            yield browser
        finally:
            browser.close()


class Opened:
    """A page of a file, and all that it said and asked for."""

    def __init__(self, browser: Browser, file: Path, width: int = 1280, **context: Any) -> None:
        self.file = file.as_uri()
        self.context = browser.new_context(
            viewport={"width": width, "height": 844}, **context)
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda one: self.said.append(f"{one.type}: {one.text}"))
        self.page.on("pageerror", lambda one: self.said.append(str(one)))
        self.page.on("request", lambda one: self.asked.append(one.url))
        self.page.goto(self.file)

    def check_quiet(self) -> None:
        """Check that the page has said nothing and asked for nothing but itself."""
        assert self.said == []
        assert [one for one in self.asked if not one.startswith("data:")] == [self.file]

    def check_readable(self) -> None:
        """Check sizes and contrast of every text, and that nothing is wider than the page."""
        wide = self.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide[0] <= wide[1], wide
        texts = self.page.evaluate(TEXTS)
        assert len(texts) > 10
        small = [one for one in texts if one["px"] < FONT_PX_MIN]
        faint = [one for one in texts if one["contrast"] < CONTRAST_MIN]
        assert small == []
        assert faint == []

    def close(self) -> None:
        """Close the page, and check once more that it was quiet to its end."""
        self.check_quiet()
        self.context.close()
