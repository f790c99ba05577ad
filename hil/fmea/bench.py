"""Make the one-element scenario of a fault, run its trials, judge them."""

from dataclasses import dataclass
from pathlib import Path

from hil.fmea.faults import Fault
from hil.fmea.trial import Outcome, Trial
from hil.scenarios.model import ElementModel, PhaseModel, ScenarioModel

# A fault meets the element at different moments of its tick, of its polls, of the pattern.
PHASES_MS = (0, 230, 1310)
SEED = 7


def scenario_for(fault: Fault) -> ScenarioModel:
    """Return a scenario with the one element that a fault is for."""
    on_off = fault.kind in ("bms_fets", "relay")
    element = ElementModel(
        name="wall", kind=fault.kind, chemistry="LFP", series_count=15, capacity_ah=100,
        rating_w=500 if on_off else 2500, current_a_max=20 if on_off else 60,
        cell_mv_min=2800, cell_mv_max=3600, bms=fault.bms)
    return ScenarioModel(
        scenario="fmea", description="One element, one fault.", elements=[element],
        phases=[PhaseModel(name="discovery", signal="idle", duration_s=20),
                PhaseModel(name="power", signal="ramp", duration_s=60, power_kw=2)])


@dataclass(frozen=True)
class Verdict:
    """The outcomes of a fault's trials and what is wrong with them."""

    fault: Fault
    outcomes: tuple[Outcome, ...]
    problems: tuple[str, ...]

    @property
    def safe_ms(self) -> int | None:
        """The longest time to safe, None when one never was."""
        times = [outcome.safe_ms for outcome in self.outcomes]
        return None if None in times else max(time for time in times if time is not None)

    @property
    def reported(self) -> str:
        """What the element said of it: trips and inhibits, each once."""
        said: list[str] = []
        for outcome in self.outcomes:
            for word in ([outcome.trip] if outcome.trip else outcome.inhibits):
                if word not in said:
                    said.append(word)
        return ", ".join(said) or "nothing latched"


def _problems(fault: Fault, outcome: Outcome) -> list[str]:
    out: list[str] = []
    if abs(outcome.was_w) < 100:
        out.append(f"no power before the fault: {outcome.was_w:.0f} W")
    if fault.rides:
        if outcome.trip:
            out.append(f"tripped: {outcome.trip}")
        return out
    if outcome.safe_ms is None or outcome.safe_ms > fault.limit_ms:
        out.append(f"safe after {outcome.safe_ms} ms, limit {fault.limit_ms}")
    said = [outcome.trip, *outcome.inhibits]
    if fault.expect and not any(word in said for word in fault.expect):
        out.append(f"reported {said}, expected one of {fault.expect}")
    return out


def judge(fault: Fault, folder: Path) -> Verdict:
    """Run a fault at every phase and judge what came of it."""
    outcomes: list[Outcome] = []
    problems: list[str] = []
    for phase_ms in PHASES_MS:
        trial = Trial(scenario_for(fault), SEED, folder / f"{fault.name}-{phase_ms}")
        if fault.pattern is not None:
            trial.pattern = fault.pattern
        outcome = trial.run(fault.inject, phase_ms, fault.watch_ms)
        outcomes.append(outcome)
        problems += [f"at +{phase_ms} ms: {problem}" for problem in _problems(fault, outcome)]
    return Verdict(fault, tuple(outcomes), tuple(problems))
