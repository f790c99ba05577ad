"""Find the shortest schedule that still breaks the same invariant.

First whole faults are left out, as delta debugging does (Zeller and Hildebrandt, IEEE TSE 28
(2002) 183), then what is left is made shorter. Every trial is a whole run of the case, so the
number of them is bounded.
"""

from collections.abc import Callable
from dataclasses import replace

from hil.campaign.case import Case
from hil.campaign.catalogue import Fault
from hil.campaign.trial import Outcome

RUNS_MAX = 60
DURATION_MS_MIN = 100

Runner = Callable[[Case], Outcome]


def shrink(case: Case, outcome: Outcome, run: Runner,
           progress: Callable[[int, int], None] = lambda runs, faults: None
           ) -> tuple[Case, Outcome]:
    """Return the smallest case found that breaks what outcome broke, and its outcome.

    run: runs a case. progress(runs so far, faults left).
    """
    violation = outcome.violation
    if violation is None:
        raise ValueError("nothing to shrink: the case breaks no invariant")
    runs = 0
    best, best_outcome = case, outcome

    def fails(faults: tuple[Fault, ...]) -> bool:
        nonlocal runs, best, best_outcome
        if runs >= RUNS_MAX:
            return False
        runs += 1
        trial = case.with_faults(faults)
        found = run(trial)
        progress(runs, len(best.faults))
        same = found.violation is not None and violation is not None \
            and found.violation.invariant == violation.invariant
        if same:
            best, best_outcome = trial, found
        return same

    # what happens after the violation has no part in it
    before = tuple(one for one in case.faults if one.at_ms <= violation.at_ms)
    if len(before) < len(case.faults):
        fails(before)
    _without(lambda: best.faults, fails)
    _shorter(lambda: best.faults, fails)
    return best, best_outcome


def _without(present: Callable[[], tuple[Fault, ...]],
             fails: Callable[[tuple[Fault, ...]], bool]) -> None:
    """Leave out halves, quarters and single faults while that still fails."""
    size = max(1, len(present()) // 2)
    while True:
        faults, index = present(), 0
        while index < len(faults):
            if fails(faults[:index] + faults[index + size:]):
                faults = present()
            else:
                index += size
        if size == 1:
            return
        size //= 2


def _shorter(present: Callable[[], tuple[Fault, ...]],
             fails: Callable[[tuple[Fault, ...]], bool]) -> None:
    """Halve the durations while that still fails."""
    for index in range(len(present())):
        while True:
            faults = present()
            half_ms = faults[index].duration_ms // 2
            if half_ms < DURATION_MS_MIN:
                break
            shorter = replace(faults[index], duration_ms=half_ms)
            if not fails((*faults[:index], shorter, *faults[index + 1:])):
                break
