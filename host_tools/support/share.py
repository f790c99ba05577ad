"""Who responds to a grid event: who is near it, and healthy. Pure.

A place in the grid is a path, from the substation down: "north/feeder-3/transformer-12". Two
places are as near as the length of the path that they share. Those who respond share what is
required in proportion to their available headroom, as `dispatch` does by its proportional rule;
what an owner keeps for himself (Placement.backup_mwh) is no headroom.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from host_tools.envelope.policy import Among


def nearness(place: str, event: str) -> int:
    """Return how many steps of their paths two places share."""
    count = 0
    for ours, theirs in zip(steps(place), steps(event), strict=False):
        if ours != theirs:
            break
        count += 1
    return count


def steps(place: str) -> list[str]:
    """Return the steps of a path, none for a place that nobody has said."""
    return place.split("/") if place else []


@dataclass(frozen=True)
class Responders:
    """Who responds. places: all that the site knows, numbered by their order, the building's own
    first. nearness_min: steps to be shared with the event, 0 for any. soh_bp_min: least health.
    """

    places: tuple[str, ...] = ("",)
    nearness_min: int = 0
    soh_bp_min: int = 0

    @classmethod
    def of(cls, own: str, others: Iterable[str], nearness_min: int, soh_bp_min: int
           ) -> "Responders":
        """Return the rule for a building at `own` with elements at these other places."""
        return cls((own, *sorted({one for one in others if one} - {own})), nearness_min,
                   soh_bp_min)

    def number(self, place: str) -> int:
        """Return a place's number; the building's own for "". Raises ValueError."""
        if place and place not in self._numbers:
            raise ValueError(f"no such place: {place}")
        return self._numbers.get(place, 0)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {place: at for at, place in enumerate(self.places)}

    def to(self, event: str) -> Among:
        """Return who responds to an event at a place, "" for the building's own."""
        if not self.nearness_min:
            return Among(None, self.soh_bp_min)
        where = event or self.places[0]
        near = (at for at, place in enumerate(self.places)
                if nearness(place, where) >= self.nearness_min)
        return Among(frozenset(near), self.soh_bp_min)

    @property
    def whole_building(self) -> Among:
        """Who carries an island: the healthy, wherever they are."""
        return Among(None, self.soh_bp_min)


ANYBODY = Responders()
