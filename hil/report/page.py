"""Render report.html: one file, no request to anywhere, readable without JavaScript."""

import re
from base64 import b64encode
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from hil.report.charts import building_chart, element_charts, error_charts, event_charts
from hil.report.text import (
    MISSING,
    allowed,
    fixed,
    minutes,
    number,
    unit_of,
    where_of,
)
from hil.report.trace import Trace

FOLDER = Path(__file__).parent
FAILURES_SHOWN_MAX = 200

CLOCKS = {
    "virtual": ("SIMULATION", "The plant (cells, converters, meter, building load) is modelled; "
                "the firmware is the real element firmware, in lockstep virtual time."),
    "real": ("REAL TIME, MODELLED PLANT", "The real element firmware ran against the wall clock "
             "over serial lines; cells, converters, meter and building load are modelled."),
}
NORMALISERS = {
    "window": "mean |signal| of each window",
    "window_floor": "mean |signal| of each window; windows where it is 1 % of full power or "
                    "less are left out",
    "hour": "mean |signal| over all windows",
}


def render_page(results: dict[str, Any], trace: Trace | None, signer: bytes | None = None) -> str:
    """Return the document. results: checked against the schema; trace: None for no charts.

    signer: id of the key that signs the folder, None when nothing does.
    """
    charts: dict[str, Any] = {"building": None, "errors": [], "elements": [], "events": []}
    if trace is not None:
        charts = {
            "building": building_chart(results, trace), "errors": error_charts(results, trace),
            "elements": element_charts(results, trace), "events": event_charts(results, trace),
        }
    failures = results["statements"]["failures"]
    return environment().get_template("report.html.j2").render(
        r=results, charts=charts, verdict=_verdict(results), tiles=_tiles(results),
        **_badge(results),
        restarts=sum(one["restarts"] or 0 for one in results["elements"]),
        restarts_unknown=sum(one["restarts"] is None for one in results["elements"]),
        first_phase=_first_phase(trace), limits=[_limit_row(one) for one in results["limits"]],
        events=[_event_row(one) for one in results["events"]],
        phases=_element_phases(results), elements=[_element_row(one) for one in
                                                   results["elements"]],
        normalisers=_normalisers(results), failures=failures[:FAILURES_SHOWN_MAX],
        failures_hidden=max(0, len(failures) - FAILURES_SHOWN_MAX), missing=MISSING,
        rig=_rig(results["rig"]), signer=signer.hex() if signer else None,
        **page_assets())


def _badge(results: dict[str, Any]) -> dict[str, str]:
    """Return what kind of run it was, in a word or two and in a sentence."""
    badge, text = CLOCKS[results["clock"]]
    if results["rig"]["instruments"]:
        emulated = results["simulation"]
        badge = f"RIG {results['rig']['kind']}" + (", EMULATED" if emulated else "")
        text = ("Boards and instruments of a rig, over their own lines, against the wall clock; "
                + ("all of them are emulated and the plant is modelled." if emulated else
                   "what is judged was measured.")
                + " An element without a meter of its own is drawn as its telemetry says.")
    return {"badge": badge, "clock_text": text}


def environment() -> Environment:
    """Return where the pages' templates are, escaping on, with the filters for figures."""
    made = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"num": number, "fixed": fixed, "minutes": minutes, "kwh": _kwh,
                     "breakable": _breakable}
    return made


def page_assets() -> dict[str, Markup]:
    """Return style and script, and the policy that lets a browser run these and load nothing.

    Both go between their tags as they are; their hashes are over exactly what stands there.
    """
    texts = {name: "\n" + (FOLDER / f"report.{end}").read_text(encoding="utf-8")
             for name, end in (("style", "css"), ("script", "js"))}
    rules = "; ".join(
        f"{name}-src 'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
        for name, text in texts.items())
    policy = f"default-src 'none'; {rules}; img-src data:; base-uri 'none'; form-action 'none'"
    return {name: Markup(text) for name, text in texts.items()} | {"policy": Markup(policy)}


def _rig(rig: dict[str, Any]) -> dict[str, Any]:
    """Return the rig's words: boards of one kind together."""
    kinds = Counter((one["board"], one["interpreter"]) for one in rig["boards"])
    boards = [f"{count} x {board}, {version or 'interpreter unknown'}"
              for (board, version), count in kinds.items()]
    host = rig["host"]
    return {"kind": rig["kind"], "boards": boards,
            "host": f"{host['model'] or 'unknown machine'}, {host['machine']}, "
                    f"Python {host['python']}, {host['scheduling']} scheduling"}


def _kwh(energy_mwh: int | None) -> str:
    return fixed(None if energy_mwh is None else energy_mwh / 1e6, 4)


def _breakable(name: str) -> Markup:
    """Return a name that may be broken after its dots and underscores, for narrow pages."""
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(name))))


def _first_phase(trace: Trace | None) -> str | None:
    """Return the name of the phase whose response is not drawn."""
    return trace.phases[0].name if trace is not None and trace.phases else None


def _verdict(results: dict[str, Any]) -> dict[str, str]:
    """Return the verdict as a word, a sign and a sentence; colour only repeats it."""
    limits = results["limits"]
    missed = [one["name"] for one in limits if not one["met"]]
    if results["aborted"]:
        return {"word": "STOPPED", "sign": "\u25a0", "css": "stopped", "text":
                f"Stopped after {results['simulated_s']} s, before the end of the scenario. "
                "The elements went to zero first."}
    if results["passed"]:
        text = "The scenario sets no limits." if not limits else f"All {len(limits)} limits met."
        return {"word": "PASSED", "sign": "\u2713", "css": "passed", "text": text}
    return {"word": "FAILED", "sign": "\u2717", "css": "failed", "text":
            f"{len(missed)} of {len(limits)} limits missed: {', '.join(missed)}."}


def _tiles(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the few figures that a reader looks for first: label, value, what it is."""
    tiles = []
    for one in results["segments"]:
        label = one["name"].replace("_outside_faults", " outside faults")
        tiles.append((f"e1, {label}", fixed(one["e1_pct"]) + ("" if one["e1_pct"] is None
                      else " %"), "tracking error at the meter"))
    scores = [one["pjm"] for one in results["segments"] if one["pjm"]]
    tiles += [("PJM composite", fixed(score["composite"], 3),
               f"1 is perfect; {score['windows']} windows in {len(score['hours'])} h; worst hour "
               f"{fixed(min(hour['composite'] for hour in score['hours']), 3)}")
              for score in scores]
    watched = [one for one in results["events"] if one["elements"]]
    if watched:
        times = [one["safe_after_ms"] for one in watched]
        worst = "not safe" if None in times else f"{max(times)} ms"
        tiles.append(("Slowest to safe", worst, f"{len(watched)} events with elements"))
    nearest = _nearest_limit(results["limits"])
    if nearest is not None:
        tiles.append(("Smallest margin", number(nearest["margin"]) + unit_of(nearest["name"]),
                      f"{nearest['name']}, {allowed(nearest)}"))
    statements = results["statements"]
    tiles.append(("Statements", f"{statements['verified']} verified",
                  f"{statements['failed']} failed"))
    return tiles


def _nearest_limit(limits: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the limit whose margin is the smallest part of what it allows, None for none.

    Limits of zero are left out: there is no part of zero, and they are met or are not.
    """
    with_part = [one for one in limits if one["margin"] is not None and one["limit"]]
    return min(with_part, key=lambda one: one["margin"] / abs(one["limit"]), default=None)


def _limit_row(limit: dict[str, Any]) -> dict[str, Any]:
    unit = unit_of(limit["name"])
    return {
        "name": limit["name"], "met": limit["met"], "allowed": allowed(limit),
        "value": MISSING if limit["value"] is None else number(limit["value"]) + unit,
        "margin": MISSING if limit["margin"] is None else number(limit["margin"]) + unit,
    }


def _event_row(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event's cells. Without elements nothing was watched, so nothing is known."""
    row = {key: event[key] for key in ("name", "kind", "at_s", "elements", "orders")}
    row["where"] = where_of(event)
    within, safe = event["safe_within_ms"], event["safe_after_ms"]
    row["allowed"] = "no limit" if within is None else f"{within} ms"
    row["late"] = within is not None and (safe is None or safe > within)
    if not event["elements"]:
        return row | {"detected": MISSING, "safe": MISSING, "after": MISSING}
    found = event["detected_after_ms"]
    row["detected"] = {None: "not detected", 0: "none was on"}.get(found, f"{found} ms")
    row["safe"] = "not safe" if safe is None else f"{safe} ms"
    return row | {"after": f"{number(event['power_after_w'], 1)} W"}


def _element_phases(results: dict[str, Any]) -> list[str]:
    names = [part["name"] for one in results["elements"] for part in one["segments"]]
    return list(dict.fromkeys(names))


def _element_row(element: dict[str, Any]) -> dict[str, Any]:
    refused = element["setpoints_refused"]
    return element | {
        "errors": {one["name"]: one["e1_pct"] for one in element["segments"]},
        "refused_count": sum(refused.values()),
        "reasons": ", ".join(f"{reason} {count}" for reason, count in refused.items()),
    }


def _normalisers(results: dict[str, Any]) -> list[tuple[str, str]]:
    names = {one["pjm"]["normaliser"] for one in results["segments"] if one["pjm"]}
    return [(name, NORMALISERS[name]) for name in sorted(names)]
