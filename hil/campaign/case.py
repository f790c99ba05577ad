"""One case of a campaign: a scenario, a seed and a schedule; drawn, and as a JSON document."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from hil.bench.site import Seeds
from hil.campaign.catalogue import Fault, draw_faults
from hil.scenarios.model import ElementModel, ScenarioModel

# Some seeds begin near an end of the permitted range, where cells meet their limits.
NEAR_AN_END = 0.25
LATENCY_MS = (1, 25)
# From the last fault's begin to the end of the run, so that what it does can be seen.
TAIL_MS = 12_000
VERSION = 1


@dataclass(frozen=True)
class Case:
    """What is run. Everything else follows from it and from the commit.

    scenario: with the drawn plant in it. latencies_ms: of each element's line, one way.
    """

    scenario: ScenarioModel
    seed: int
    faults: tuple[Fault, ...]
    latencies_ms: dict[str, int]

    @property
    def end_ms(self) -> int:
        """How long it lasts."""
        return sum(phase.duration_s for phase in self.scenario.phases) * 1000

    def with_faults(self, faults: tuple[Fault, ...]) -> "Case":
        """Return the same case with another schedule."""
        return replace(self, faults=faults)

    def as_dict(self) -> dict[str, Any]:
        """Return it for a JSON document."""
        return {
            "version": VERSION, "seed": self.seed,
            "scenario": self.scenario.model_dump(mode="json"),
            "latencies_ms": self.latencies_ms,
            "faults": [fault.as_dict() for fault in self.faults]}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Case":
        """Return the case of a document. Raises ValueError for one that is none."""
        try:
            if fields["version"] != VERSION:
                raise ValueError(f"a case of version {fields['version']}, not {VERSION}")
            faults = tuple(Fault.from_dict(one) for one in fields["faults"])
            scenario = ScenarioModel.model_validate(fields["scenario"])
            case = cls(scenario, int(fields["seed"]), faults, dict(fields["latencies_ms"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a case: {error!r}") from error
        names = set(scenario.element_names())
        strangers = {fault.element for fault in faults if fault.element} - names
        if strangers or set(case.latencies_ms) != names:
            raise ValueError(f"elements of the case differ: {sorted(strangers) or 'latencies'}")
        return case


def draw_case(scenario: ScenarioModel, seed: int) -> Case:
    """Return the case of a seed: plant, latencies and faults, each from a stream of its own."""
    seeds = Seeds(seed)
    drawn = scenario.model_copy(update={
        "seed": seed, "events": [], "limits": [],
        "elements": _elements(scenario, seeds.stream("campaign/plant"))})
    rng = seeds.stream("campaign/latency")
    latencies = {name: rng.randint(*LATENCY_MS) for name in drawn.element_names()}
    begin_ms = drawn.phases[0].duration_s * 1000
    end_ms = sum(phase.duration_s for phase in drawn.phases) * 1000 - TAIL_MS
    if end_ms <= begin_ms:
        raise ValueError(f"scenario {scenario.scenario}: too short for faults; it needs "
                         f"{TAIL_MS // 1000} s and more after its first phase")
    kinds = {model.name: model.kind for model in drawn.elements}
    faults = draw_faults(seeds.stream("campaign/faults"), dict(kinds), begin_ms, end_ms)
    return Case(drawn, seed, faults, latencies)


def _elements(scenario: ScenarioModel, rng: Random) -> list[ElementModel]:
    """Return every element of a scenario as an entry of its own, with drawn parameters."""
    out: list[ElementModel] = []
    for model in scenario.elements:
        for index, name in enumerate(model.names()):
            near = rng.random() < NEAR_AN_END
            low = rng.random() < 0.5
            soc_pct = rng.uniform(model.soc_min_pct + 8, model.soc_max_pct - 8)
            if near:
                soc_pct = (model.soc_min_pct + rng.uniform(-1, 3) if low
                           else model.soc_max_pct + rng.uniform(-3, 1))
            out.append(model.model_copy(update={
                "name": name, "count": 1, "zone": model.zone_of(index),
                "soc_pct": round(min(100.0, max(0.0, soc_pct)), 2),
                "capacity_ah": round(model.capacity_ah * rng.uniform(0.85, 1.05), 2),
                "cells_soc_spread_pct": round(rng.uniform(0.1, 2.5), 2),
                "bms_soc_error_pct": round(rng.uniform(-3, 3), 2)}))
    return out


def load_case(path: Path) -> tuple[Case, dict[str, Any]]:
    """Return the case in a file and the whole document. Raises ValueError saying what is wrong."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("case"), dict):
        raise ValueError(f"{path} holds no case; `cellwall hil campaign` writes such files")
    return Case.from_dict(document["case"]), document
