"""Turn results into JUnit XML: one suite a run, one case a limit, an event, the statements.

Only the `time` of the suite differs between two runs of the same scenario, seed and commit.
"""

import re
import xml.etree.ElementTree as ET
from typing import Any

from hil.report.text import allowed, number, unit_of, where_of

FAILURES_SHOWN_MAX = 20
# Characters that XML 1.0 cannot carry, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


class _Suite:
    """Collect cases and count what failed."""

    def __init__(self, name: str) -> None:
        self.element = ET.Element("testsuite", {"name": _clean(name)})
        self.properties = ET.SubElement(self.element, "properties")
        self._name = name
        self.tests = self.failures = self.errors = 0

    def case(self, group: str, name: str, said: str, failed: str | None,
             kind: str = "failure") -> None:
        """Add a case. said: what was measured; failed: why it failed, None when it passed."""
        case = ET.SubElement(self.element, "testcase", {
            "classname": _clean(f"{self._name}.{group}"), "name": _clean(name), "time": "0"})
        self.tests += 1
        if failed is not None:
            ET.SubElement(case, kind, {"message": _clean(failed), "type": group}).text = _clean(
                said)
            self.failures += kind == "failure"
            self.errors += kind == "error"
        ET.SubElement(case, "system-out").text = _clean(said)

    def counts(self, wall_s: float) -> dict[str, str]:
        """Return the attributes that suite and root share."""
        return {"tests": str(self.tests), "failures": str(self.failures),
                "errors": str(self.errors), "skipped": "0", "time": f"{wall_s:.2f}"}


def junit_xml(results: dict[str, Any]) -> str:
    """Return the document. results: checked against the schema."""
    suite = _Suite(f"cellwall.{results['scenario']}")
    for key in ("scenario", "seed", "commit", "firmware_sha256", "clock", "clock_error_ms",
                "signal", "simulated_s"):
        ET.SubElement(suite.properties, "property", {
            "name": key, "value": _clean(str(results[key]))})
    ET.SubElement(suite.properties, "property", {
        "name": "rig", "value": _clean(results["rig"]["kind"])})
    stopped = "stopped before its end; the elements are at zero" if results["aborted"] else None
    suite.case("run", "completed", f"{results['simulated_s']} s of the scenario", stopped, "error")
    for limit in results["limits"]:
        said = _limit_text(limit)
        suite.case("limits", limit["name"], said, None if limit["met"] else said)
    for event in results["events"]:
        said, failed = _event_text(event)
        suite.case("events", event["name"], said, said if failed else None)
    said, failed = _statements_text(results["statements"])
    suite.case("statements", "verified", said, said.splitlines()[0] if failed else None)
    counts = suite.counts(results["wall_s"])
    suite.element.attrib.update(counts)
    root = ET.Element("testsuites", {"name": "cellwall hil", **counts})
    root.append(suite.element)
    ET.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _limit_text(limit: dict[str, Any]) -> str:
    unit = unit_of(limit["name"])
    if limit["value"] is None:
        return f"no value, allowed {allowed(limit)}: there is no such figure in this run"
    return (f"value {number(limit['value'])}{unit}, allowed {allowed(limit)}, margin "
            f"{number(limit['margin'])}{unit}")


def _event_text(event: dict[str, Any]) -> tuple[str, bool]:
    """Return what an event did, and whether it broke its limit."""
    said = f"{event['kind']} at {where_of(event)}, {number(event['at_s'])} s after the start"
    if not event["elements"]:
        return said, False
    allowed_ms, safe_ms = event["safe_within_ms"], event["safe_after_ms"]
    safe = "never safe" if safe_ms is None else f"safe after {safe_ms} ms"
    found = event["detected_after_ms"]
    said += f": {'not detected' if found is None else f'detected after {found} ms'}, {safe}"
    if allowed_ms is None:
        return f"{said}, no limit, {number(event['power_after_w'])} W after", False
    failed = safe_ms is None or safe_ms > allowed_ms
    margin = "" if safe_ms is None else f", margin {allowed_ms - safe_ms} ms"
    said += f", allowed {allowed_ms} ms{margin}, {number(event['power_after_w'])} W after"
    return said, failed


def _statements_text(statements: dict[str, Any]) -> tuple[str, bool]:
    """Return the outcome of the verification; nothing to verify is a failure too."""
    lines = [f"{statements['verified']} verified, {statements['failed']} failed"]
    failures = statements["failures"]
    lines += [f"statement {one['index']}, {one['what']}: {one['why']}"
              for one in failures[:FAILURES_SHOWN_MAX]]
    if len(failures) > FAILURES_SHOWN_MAX:
        lines.append(f"and {len(failures) - FAILURES_SHOWN_MAX} more")
    return "\n".join(lines), bool(statements["failed"] or not statements["verified"])
