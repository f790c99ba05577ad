"""Who is in the building: rounds of interrogation, the inventory as a document, its changes. Pure.

A full round asks everybody; who has not answered when it ends is not here any more. A delta round
asks those that are new, have a new session or have been silent. A small population is asked at
every dispatch. Without answers the last population stands, and is called stale with its age.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from host_tools import codec
from host_tools.inventory.elements import ElementView

FULL_PERIOD_MS = 3_600_000
DELTA_PERIOD_MS = 60_000
ANSWER_MS = 10_000
AT_DISPATCH_COUNT_MAX = 16


@dataclass(frozen=True)
class Delta:
    """What changed between two inventories, by id; of what changed, the names of its fields."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """True when nothing changed."""
        return not (self.added or self.removed or self.changed)


def entry(view: ElementView) -> dict[str, Any]:
    """Return what the inventory says of an element: nothing that moves by itself."""
    announcement = view.announcement or {}
    profile = view.profile
    return {
        "board": announcement.get("board", ""), "firmware": announcement.get("firmware", ""),
        "chemistry": profile["chemistry"], "role": profile["role"], "zone": view.zone,
        "tenant": view.tenant, "manufacturer": view.enrolled.claims["manufacturer"],
        "services": profile["services"], "power_mw_discharge_max":
        profile["power_mw_discharge_max"], "power_mw_charge_max": profile["power_mw_charge_max"],
        "energy_mwh_rated": profile["energy_mwh_rated"],
        "credential_sha256": hashlib.sha256(view.enrolled.credential).hexdigest(),
    }


def document(views: Iterable[ElementView]) -> bytes:
    """Return the inventory of those that have announced themselves: deterministic CBOR.

    The same population gives the same bytes, whoever answered first.
    """
    return b"".join(
        codec.dumps([view.element_id.hex(), entry(view)])
        for view in sorted((one for one in views if one.announced),
                           key=lambda one: one.element_id))


def difference(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> Delta:
    """Return what changed from one inventory, by id, to another."""
    changed = {
        name: tuple(sorted(key for key in after[name]
                           if before[name].get(key) != after[name][key]))
        for name in sorted(before.keys() & after.keys()) if before[name] != after[name]}
    return Delta(tuple(sorted(after.keys() - before.keys())),
                 tuple(sorted(before.keys() - after.keys())), changed)


class Discovery:
    """When to ask whom. Times in Unix ms."""

    def __init__(self, full_period_ms: int = FULL_PERIOD_MS,
                 delta_period_ms: int = DELTA_PERIOD_MS, answer_ms: int = ANSWER_MS,
                 at_dispatch_count_max: int = AT_DISPATCH_COUNT_MAX) -> None:
        self._full_period_ms = full_period_ms
        self._delta_period_ms = delta_period_ms
        self._answer_ms = answer_ms
        self._at_dispatch_max = at_dispatch_count_max
        self._full_began_ms: int | None = None  # of the round that is under way
        self._full_ms: int | None = None  # when the last one began
        self._delta_ms: int | None = None
        self.full_count = 0

    def due(self, views: list[ElementView], now_ms: int) -> list[ElementView]:
        """Return whom to interrogate now, and count that as done."""
        if self._full_ms is None or now_ms - self._full_ms >= self._full_period_ms:
            self.begin_full(now_ms)
            return list(views)
        if self._delta_ms is None or now_ms - self._delta_ms >= self._delta_period_ms:
            self._delta_ms = now_ms
            return [view for view in views if not view.announced
                    or now_ms - view.confirmed_ms >= self._delta_period_ms]
        return []

    def begin_full(self, now_ms: int) -> None:
        """Begin a full round now, whenever the next one would be."""
        self._full_ms = self._full_began_ms = self._delta_ms = now_ms

    def at_dispatch(self, views: list[ElementView]) -> list[ElementView]:
        """Return whom to interrogate because an instruction has come."""
        return list(views) if len(views) <= self._at_dispatch_max else []

    def ended(self, views: list[ElementView], now_ms: int) -> list[ElementView] | None:
        """Return who is not here any more when a full round ends now, None while none does.

        When nobody at all answers it is the bus: nobody is given up.
        """
        began_ms = self._full_began_ms
        if began_ms is None:
            return None
        silent = [view for view in views if view.confirmed_ms < began_ms]
        # the first round has its whole time: who was here before a restart is not known yet
        if (silent or not self.full_count) and now_ms - began_ms < self._answer_ms:
            return None
        self._full_began_ms = None
        if not views:
            return []
        self.full_count += 1
        return silent if len(silent) < len(views) else []

    def age_ms(self, views: list[ElementView], now_ms: int) -> int:
        """Return how long ago the least recently confirmed element has proven who it is."""
        return max((now_ms - view.confirmed_ms for view in views), default=0)

    def is_stale(self, views: list[ElementView], now_ms: int) -> bool:
        """Return True when the population was not confirmed in time."""
        return self.age_ms(views, now_ms) > self._delta_period_ms + self._answer_ms
