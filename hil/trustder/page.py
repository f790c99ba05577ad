"""Write results.json and trustder.html: one file, tables and charts, no script, no request."""

import json
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from hil.report.page import page_assets
from hil.report.svg import Chart, Line, render

from .control import FloatArray
from .study import Tracked

ROWS = (("simulation, network", "simulation", "network"), ("simulation, home", "simulation",
        "home"), ("bench, home at its meter", "bench", "home"), ("bench, network with that home",
        "bench", "network"), ("bench, extrapolated to the network", "bench", "extrapolated"))


def write(results: dict[str, Any], tracked: list[Tracked], folder: Path) -> None:
    """Leave results and page in a folder."""
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "trustder.html").write_text(render_page(results, tracked), encoding="utf-8")


def render_page(results: dict[str, Any], tracked: list[Tracked]) -> str:
    """Return the document. Every text in it is escaped."""
    assets = page_assets()
    style_hash = b64encode(sha256(str(assets["style"]).encode()).digest()).decode()
    parts = [Markup(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'sha256-{0}'\">\n<title>{1}</title><style>{2}</style></head><body>\n"
    ).format(style_hash, f"TrustDER's bench, seed {results['seed']}", assets["style"])]
    parts.append(Markup(
        "<header><h1>TrustDER's bench</h1><p>{0} simulated devices, {1:g} h, seed {2}, {3}. "
        "Commit {4}, firmware {5}.</p><p class=\"note\">Network and home in simulation: models "
        "alone. Bench: the home's battery is real element firmware in lockstep time; its pack, "
        "its inverter, the loads, switches and meters are modelled.</p></header><main>\n").format(
        results["devices"], results["hours"], results["seed"], results["signal"],
        results["commit"][:12], results["firmware_sha256"][:16]))
    for one, course in zip(results["signals"], tracked, strict=True):
        parts.append(Markup("<section><h2>{}</h2>").format(one["name"].capitalize()))
        parts.append(_table(one))
        parts += [Markup("<figure>{}</figure>").format(render(chart))
                  for chart in _charts(one["name"], course)]
        parts.append(Markup("</section>\n"))
    parts.append(Markup("</main></body></html>\n"))
    return str(Markup("").join(parts))


def _table(one: dict[str, Any]) -> Markup:
    rows = [Markup("<tr><th scope=\"row\">{}</th><td>{:.3f}</td><td>{:.3f}</td><td>{:.3f}</td>"
                   "</tr>").format(label, *(one[part][key][name] for name in (
                       "e1_pct", "e2_pct", "e1_step_pct"))) for label, part, key in ROWS]
    rows += [Markup("<tr><th scope=\"row\">reference, {}</th><td>{}</td><td></td><td></td></tr>"
                    ).format(key, value["pct"]) for key, value in one["reference"].items()]
    return Markup(
        '<div class="scroll" tabindex="0"><table><thead><tr><th>What</th><th>e1, %</th>'
        "<th>e2, %</th><th>e1 of 5 s means, %</th></tr></thead><tbody>{}</tbody></table></div>"
    ).format(Markup("").join(rows))


def _charts(name: str, one: Tracked) -> list[Chart]:
    power_w, reference_w = one.network.means(1)
    pairs = (("home", "the home on the bench", "W", 1.0, one.bench.meter_w,
              one.bench.references(1)),
             ("network", "the network in simulation", "MW", 1e6, power_w, reference_w))
    return [_chart(f"{name}-{key}", f"{name.capitalize()}: {title}", unit, power / scale,
                   wanted / scale) for key, title, unit, scale, power, wanted in pairs]


def _chart(key: str, title: str, unit: str, power: FloatArray, wanted: FloatArray) -> Chart:
    minutes = np.arange(power.size) / 60.0
    return Chart(
        re.sub(r"[^a-z-]", "", key), title,
        f"{title}: setpoint and power, relative to the baseline, means of one second",
        "minutes", f"{title}, {unit}", unit,
        (Line("setpoint", "target", minutes, wanted), Line("power", "response", minutes, power)),
        (0.0, float(minutes[-1])))
