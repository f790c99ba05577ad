"""What a building is to do, and what became of it in one turn. Pure."""

from dataclasses import dataclass
from typing import Any

from element.protocol import codes
from host_tools.dispatch.plan import Plan
from host_tools.envelope.policy import EVERYBODY, Among


@dataclass(frozen=True)
class Order:
    """What the building is to do now.

    duration_ms: for how long from now, the envelopes must have room for all of it; None: as long
    as it is ordered anew. dispatch_id: 0 for one of the aggregator's own numbers. metered: the
    meter's reading corrects what is asked. among, rule: as of an Instruction.
    """

    power_mw: int
    service: int = codes.SERVICE_REGULATION
    duration_ms: int | None = None
    partial: bool | None = None
    dispatch_id: int = 0
    metered: bool = True
    among: Among = EVERYBODY
    rule: str = ""


@dataclass(frozen=True)
class Dispatched:
    """One turn: the plan and whose its rows are."""

    plan: Plan
    ids: list[bytes]
    order: Order

    @property
    def asked_mw(self) -> int:
        """What was asked of the elements."""
        return self.plan.asked_mw

    @property
    def admitted_mw(self) -> int:
        """What they were told in sum."""
        return self.plan.admitted_mw

    @property
    def shortfall_mw(self) -> int:
        """What was asked and could not be admitted, non-negative."""
        return self.plan.shortfall_mw

    @property
    def parts_mw(self) -> dict[bytes, int]:
        """Each element's part."""
        return dict(zip(self.ids, self.plan.parts_mw.tolist(), strict=True))


class Turn:
    """Which instruction is served: its number, and where its round-robin turn begins.

    The turn of an instruction begins behind the last element of the one before, and stays for as
    long as the instruction lasts.
    """

    def __init__(self, cursor: bytes = b"") -> None:
        self.number = 0
        self.cursor = cursor
        self._end = cursor
        self._serving = False

    def serve(self, order: Order) -> bool:
        """Go on with an instruction, or begin one, which gets a number of its own. True: begun."""
        before = self.number
        if order.dispatch_id:
            self.number = order.dispatch_id
        elif not self._serving:
            self.number += 1
        self._serving = True
        begun = self.number != before
        if begun:
            self.cursor = self._end
        return begun

    def took(self, plan: Plan) -> None:
        """Take note of a plan that goes out."""
        if plan.admitted_mw:
            self._end = plan.cursor

    def rest(self) -> bool:
        """Serve nothing any more. True: something has ended, and with it its turn."""
        ended, self._serving = self._serving, False
        self.cursor = self._end
        return ended


def switched(before: Dispatched | None, after: Dispatched, population: Any) -> bool:
    """Return True when an on/off element changed its state or an element came or went."""
    if before is None or before.ids != after.ids:
        return True
    changed = before.plan.parts_mw != after.plan.parts_mw
    return bool((changed & (population.column("step_mw") > 0)).any())
