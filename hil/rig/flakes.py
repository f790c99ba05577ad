"""How a scenario came out over several runs: case by case, with the spread. Pure."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

RUN_CASE = "completed"


@dataclass(frozen=True)
class Case:
    """One limit or event over all runs. failed: numbers of runs, from 1. Values may be none."""

    name: str
    count: int
    failed: tuple[int, ...]
    value_min: float | None
    value_median: float | None
    value_max: float | None

    @property
    def verdict(self) -> str:
        """Return 'pass', 'fail', or 'FLAKY' for what did both."""
        return "pass" if not self.failed else "fail" if len(self.failed) == self.count else "FLAKY"


def cases_of(runs: Sequence[dict[str, Any]]) -> list[Case]:
    """Return every case of all runs, in the order in which they first appear."""
    outcomes: dict[str, dict[int, tuple[bool, float | None]]] = {}
    for number, results in enumerate(runs, 1):
        outcomes.setdefault(RUN_CASE, {})[number] = (not results["aborted"], None)
        for limit in results["limits"]:
            outcomes.setdefault(limit["name"], {})[number] = (limit["met"], limit["value"])
        for event in results["events"]:
            if event["elements"] and event["safe_within_ms"] is None:
                safe_ms = event["safe_after_ms"]
                outcomes.setdefault(f"{event['name']}.safe_after_ms", {})[number] = (
                    safe_ms is not None, safe_ms)
        statements = results["statements"]
        outcomes.setdefault("statements", {})[number] = (
            statements["failed"] == 0 and statements["verified"] > 0, statements["failed"])
    return [_case(name, seen, len(runs)) for name, seen in outcomes.items()]


def _case(name: str, seen: dict[int, tuple[bool, float | None]], count: int) -> Case:
    """Return a case; a run that has no such figure has failed it."""
    failed = tuple(number for number in range(1, count + 1)
                   if not seen.get(number, (False, None))[0])
    values = [value for _, value in seen.values() if value is not None]
    spread = (min(values), float(median(values)), max(values)) if values else (None, None, None)
    return Case(name, count, failed, *spread)


def merged_junit(documents: Sequence[str]) -> str:
    """Return one JUnit document with the suite of every run, its number in the suite's name."""
    root = ET.Element("testsuites", {"name": "cellwall hil"})
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    time_s = 0.0
    for number, text in enumerate(documents, 1):
        for suite in ET.fromstring(text).iter("testsuite"):
            suite.set("name", f"{suite.get('name')}.run-{number}")
            for case in suite.iter("testcase"):
                case.set("classname", f"{case.get('classname')}.run-{number}")
            for key in totals:
                totals[key] += int(suite.get(key, "0"))
            time_s += float(suite.get("time", "0"))
            root.append(suite)
    root.attrib.update({key: str(value) for key, value in totals.items()})
    root.set("time", f"{time_s:.2f}")
    ET.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "unicode") + "\n"
