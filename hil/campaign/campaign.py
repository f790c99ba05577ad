"""A whole campaign: seeds run, violations shrunk and written down, the summary."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hil.bench.provenance import commit_of, firmware_sha256, interpreter_version
from hil.bench.session import fast_micropython
from hil.bench.site import Paths
from hil.campaign.case import Case, draw_case
from hil.campaign.catalogue import KINDS
from hil.campaign.pool import run_here
from hil.campaign.shrink import shrink
from hil.campaign.trial import Outcome
from hil.report.files import write_whole
from hil.scenarios.model import ScenarioModel

CAMPAIGN_FILE = "campaign.json"
JUNIT_FILE = "junit.xml"
VIOLATION_FILE = "violation-{seed}.json"
VERSION = 1
KEEP_S = 30.0
INVARIANTS = {
    "energised_before_first_reading": "no power before the BMS has said something",
    "enabled_without_lease": "the enable pin is off without a live lease",
    "enabled_after_trip": "the enable pin is off after a trip until a release",
    "power_without_lease": "no power without a live lease",
    "power_after_trip": "no power after a trip without a release",
    "power_on_stale_reading": "no power on a reading older than 2 s",
    "cell_outside_limits": "no cell outside its limits because of us",
    "current_above_limit": "no current above the credential's",
    "conservation": "parts add up to the instruction, the meter to its plants",
    "record_is_not_the_meter": "records equal the meter within the element's class",
    "acknowledged_is_lost": "nothing acknowledged is lost",
    "chain_is_broken": "every element's statements are one chain",
    "tripped_by_nobody": "a stranger's word trips nobody",
    "board_keeps_restarting": "a board comes up again",
}


@dataclass
class Campaign:
    """What is run and what came of it. shrink: look for the shortest schedule of a violation."""

    scenario: ScenarioModel
    seeds: range
    out: Path
    shrink: bool = True
    outcomes: list[Outcome] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    wall_s: float = 0.0
    stopped: bool = False

    def run(self, outcomes: Iterator[Outcome],
            told: Callable[[Outcome], None], shrinking: Callable[[int, int], None]) -> None:
        """Take outcomes as they come and write down what is violated.

        told: called with every outcome. shrinking(runs, faults left): while one is made smaller.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        for old in self.out.glob(VIOLATION_FILE.format(seed="*")):
            old.unlink()
        began_s, kept_s = time.monotonic(), 0.0
        for outcome in outcomes:
            self.outcomes.append(outcome)
            self.wall_s = time.monotonic() - began_s
            if outcome.violation is not None:
                self._write_violation(outcome, shrinking)
            told(outcome)
            if self.wall_s - kept_s >= KEEP_S:
                kept_s = self.wall_s
                self._keep()
        self._keep()
        write_whole(self.out / JUNIT_FILE, self._junit())

    def _keep(self) -> None:
        """Write the summary as it is now: a campaign that is killed leaves what it has done."""
        self.stopped = len(self.outcomes) < len(self.seeds)
        write_whole(self.out / CAMPAIGN_FILE, json.dumps(self.summary(), indent=1) + "\n")

    @property
    def violated(self) -> list[Outcome]:
        """Those that broke an invariant."""
        return [one for one in self.outcomes if one.violation is not None]

    @property
    def passed(self) -> bool:
        """True when every seed was run and broke nothing."""
        return not self.stopped and not self.violated

    def _write_violation(self, outcome: Outcome, shrinking: Callable[[int, int], None]) -> None:
        case = draw_case(self.scenario, outcome.seed)
        drawn, found = case, outcome
        if self.shrink:
            case, found = shrink(case, outcome, run_here, shrinking)
        path = self.out / VIOLATION_FILE.format(seed=outcome.seed)
        path.write_text(json.dumps(violation_document(case, found, drawn), indent=1) + "\n",
                        encoding="utf-8")
        self.files.append(path)

    def summary(self) -> dict[str, Any]:
        """Return campaign.json. Only what ends in _wall differs between two runs of it."""
        outcomes = self.outcomes
        simulated_s = sum(one.simulated_s for one in outcomes)
        hits: dict[str, int] = dict.fromkeys(KINDS, 0)
        for one in outcomes:
            for kind, count in one.hits.items():
                hits[kind] = hits.get(kind, 0) + count
        return {
            "version": VERSION, "scenario": self.scenario.scenario,
            "first_seed": self.seeds.start, "seeds": len(outcomes),
            "seeds_wanted": len(self.seeds), **made_with(), "passed": self.passed,
            "stopped": self.stopped,
            "elements": len(self.scenario.element_names()),
            "simulated_s": round(simulated_s, 3),
            "looks": sum(one.looks for one in outcomes),
            "setpoints": sum(one.setpoints for one in outcomes),
            "records": sum(one.records for one in outcomes),
            "trips": sum(one.trips for one in outcomes),
            "panel_deaths": sum(one.panel_deaths for one in outcomes),
            "faults": hits, "invariants": INVARIANTS,
            "violations": [{"seed": one.seed, **one.violation.as_dict()}
                           for one in self.violated if one.violation is not None],
            "s_wall": round(self.wall_s, 2),
            "simulated_s_per_s_wall": round(simulated_s / self.wall_s, 2) if self.wall_s else 0.0,
        }

    def _junit(self) -> str:
        """Return one case an invariant, failed with the seeds that broke it."""
        broken: dict[str, list[str]] = {}
        for one in self.violated:
            if one.violation is not None:
                broken.setdefault(one.violation.invariant, []).append(
                    f"seed {one.seed}: {one.violation.text}")
        suite = ElementTree.Element("testsuite", {
            "name": f"campaign.{self.scenario.scenario}", "tests": str(len(INVARIANTS)),
            "failures": str(len(broken)), "time": f"{self.wall_s:.2f}"})
        for name, text in INVARIANTS.items():
            case = ElementTree.SubElement(suite, "testcase", {
                "classname": f"campaign.{self.scenario.scenario}", "name": name})
            if name in broken:
                failure = ElementTree.SubElement(case, "failure", {"message": f"not: {text}"})
                failure.text = "\n".join(broken[name])
        ElementTree.indent(suite)
        return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def made_with() -> dict[str, str]:
    """Return commit and hash of the firmware that runs here, and what it runs on."""
    paths = Paths.of_checkout(fast_micropython())
    return {"commit": commit_of(paths.firmware),
            "firmware_sha256": firmware_sha256(paths.firmware, paths.board),
            "interpreter": interpreter_version(paths.micropython)}


def violation_document(case: Case, outcome: Outcome, drawn: Case) -> dict[str, Any]:
    """Return what `cellwall hil replay` needs. drawn: the case before it was made smaller."""
    assert outcome.violation is not None
    return {
        "cellwall": "campaign violation", **made_with(),
        "violation": outcome.violation.as_dict(),
        "faults_drawn": [fault.as_dict() for fault in drawn.faults], "case": case.as_dict()}
