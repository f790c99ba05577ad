"""What a building is to do, and what became of it in one turn. Pure."""

from dataclasses import dataclass
from typing import Any

from element.protocol import codes
from host_tools.dispatch.plan import Plan


@dataclass(frozen=True)
class Order:
    """What the building is to do now.

    duration_ms: for how long from now, the envelopes must have room for all of it; None: as long
    as it is ordered anew. dispatch_id: 0 for one of the aggregator's own numbers. metered: the
    meter's reading corrects what is asked.
    """

    power_mw: int
    service: int = codes.SERVICE_REGULATION
    duration_ms: int | None = None
    partial: bool | None = None
    dispatch_id: int = 0
    metered: bool = True


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


def switched(before: Dispatched | None, after: Dispatched, population: Any) -> bool:
    """Return True when an on/off element changed its state or an element came or went."""
    if before is None or before.ids != after.ids:
        return True
    changed = before.plan.parts_mw != after.plan.parts_mw
    return bool((changed & (population.column("step_mw") > 0)).any())
