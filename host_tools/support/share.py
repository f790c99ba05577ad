"""Who responds to an event, and with how much: near it, healthy, in proportion to headroom. Pure.

A place in the grid is a path, from the substation down: "north/feeder-3/transformer-12". Two
places are as near as the length of the path that they share. Each owner's backup need comes
first: what is below it is not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from host_tools.dispatch.split import by_weight


@dataclass(frozen=True)
class Unit:
    """What may respond: an element, or a building of a district.

    power_mw: what it does now, positive discharges. discharge_mw_max, charge_mw_max: its limits.
    energy_mwh: that it could give, room_mwh: that it could take. backup_mwh: of its energy, what
    its owner keeps.
    """

    name: str
    place: str
    discharge_mw_max: int
    charge_mw_max: int
    power_mw: int = 0
    soh_bp: int = 10000
    energy_mwh: int = 0
    room_mwh: int = 0
    backup_mwh: int = 0

    def headroom_mw(self, sign: int, duration_ms: int) -> int:
        """Return how much more it could do in a direction, for duration_ms, never negative."""
        seconds = max(1, -(-duration_ms // 1000))
        if sign > 0:
            limit_mw, mwh = self.discharge_mw_max, max(0, self.energy_mwh - self.backup_mwh)
        else:
            limit_mw, mwh = self.charge_mw_max, self.room_mwh
        lasting_mw = min(limit_mw, mwh * 3600 // seconds)
        return max(0, lasting_mw - self.power_mw * sign)


def nearness(place: str, event: str) -> int:
    """Return how many steps of their paths two places share."""
    count = 0
    for ours, theirs in zip(place.split("/"), event.split("/"), strict=False):
        if ours != theirs:
            break
        count += 1
    return count


def responsive(units: Sequence[Unit], event: str, nearness_min: int, soh_bp_min: int
               ) -> list[Unit]:
    """Return who is near enough and healthy enough, the nearest first, then by name."""
    near = [unit for unit in units
            if nearness(unit.place, event) >= nearness_min and unit.soh_bp >= soh_bp_min]
    return sorted(near, key=lambda unit: (-nearness(unit.place, event), unit.name))


def shares_mw(units: Sequence[Unit], required_mw: int, duration_ms: int
              ) -> tuple[dict[str, int], int]:
    """Return (the change of each unit's power in mW, what nobody could give).

    In proportion to available headroom, exact in sum, nobody beyond its own.
    """
    sign = 1 if required_mw >= 0 else -1
    room = np.array([unit.headroom_mw(sign, duration_ms) for unit in units], dtype=np.int64)
    given_mw = min(abs(required_mw), int(room.sum()))
    parts = by_weight(given_mw, room, room) if len(units) else room
    return ({unit.name: sign * int(part) for unit, part in zip(units, parts, strict=True)},
            abs(required_mw) - given_mw)
