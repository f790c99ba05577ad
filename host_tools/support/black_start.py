"""A black start, step by step: what is done, what must be true, what is asked of a person. Pure.

A step is begun only when all that it needs is a confirmed fact, and is over when its own fact is
confirmed. A step that takes too long, a fact that ceases to be true and an alarm end the whole:
the building goes to zero and a person begins again. Nothing here closes a switch by itself.
docs/black-start.md is the same for people, and a test compares both.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One step. needs: facts that must hold all the while. done: the fact that ends it.

    by: who does it: "panel" or "person". minutes_max: how long it may take.
    """

    name: str
    what: str
    by: str
    needs: tuple[str, ...]
    done: str
    minutes_max: int


STEPS = (
    Step("confirm", "Confirm that the grid is gone and not only our fuse", "person",
         ("no voltage at the PCC",), "outage confirmed", 60),
    Step("zero", "Bring every element to zero and hold it there", "panel",
         ("outage confirmed",), "all elements at zero", 1),
    Step("open", "Open the switch at the PCC, lock it, and look at it", "person",
         ("outage confirmed", "all elements at zero"), "PCC switch seen open", 30),
    Step("shed", "Switch off every load but life safety", "person",
         ("PCC switch seen open",), "loads shed", 30),
    Step("former", "Start the one inverter that forms the island's voltage", "person",
         ("PCC switch seen open", "loads shed"), "island voltage good", 10),
    Step("support", "Let the elements support it, at a tenth of their power at first", "panel",
         ("PCC switch seen open", "island voltage good"), "elements follow", 2),
    Step("loads", "Switch loads on, one by one, life safety first", "person",
         ("PCC switch seen open", "island voltage good", "elements follow"), "loads back", 240),
    Step("grid back", "Wait until the grid has been good for five minutes", "panel",
         ("PCC switch seen open",), "grid good for five minutes", 10_080),
    Step("return", "Stop the island, then close the switch at the PCC", "person",
         ("grid good for five minutes",), "PCC switch closed", 30),
)
WAITING, RUNNING, DONE, ABORTED = "waiting", "running", "done", "aborted"


@dataclass(frozen=True)
class BlackStart:
    """Where a black start stands. index: of the step in STEPS; why: what ended it."""

    state: str = WAITING
    index: int = 0
    since_ms: int = 0
    why: str = ""

    @property
    def step(self) -> Step | None:
        """The step that is to be done now."""
        return STEPS[self.index] if self.state == RUNNING else None

    @property
    def share_bp(self) -> int:
        """The share of their power that elements may be asked for now."""
        if self.state != RUNNING:
            return 0
        name = STEPS[self.index].name
        return {"support": 1000, "loads": 10000, "grid back": 10000}.get(name, 0)


def begin(facts: Iterable[str], now_ms: int) -> BlackStart:
    """Begin when the bus is dark; refused, with the reason, when it is not."""
    missing = [one for one in STEPS[0].needs if one not in set(facts)]
    if missing:
        return BlackStart(ABORTED, 0, now_ms, f"not confirmed: {', '.join(missing)}")
    return BlackStart(RUNNING, 0, now_ms)


def go_on(at: BlackStart, facts: Iterable[str], now_ms: int, alarm: bool = False) -> BlackStart:
    """Return where it stands with these facts: one step further, still there, or ended."""
    if at.state != RUNNING:
        return at
    known, step = set(facts), STEPS[at.index]
    if alarm:
        return BlackStart(ABORTED, at.index, now_ms, "alarm")
    lost = [one for one in step.needs if one not in known]
    if lost:
        return BlackStart(ABORTED, at.index, now_ms, f"no longer true: {', '.join(lost)}")
    if step.done in known:
        if at.index + 1 == len(STEPS):
            return BlackStart(DONE, at.index, now_ms)
        return BlackStart(RUNNING, at.index + 1, now_ms)
    if now_ms - at.since_ms > step.minutes_max * 60_000:
        return BlackStart(ABORTED, at.index, now_ms,
                          f"{step.name} took more than {step.minutes_max} min")
    return at
