"""Zones in alarm: what holds their elements in the safe state, and what may end it. Pure.

An alarm begins at once and is never ended by its input alone: a release by the life-safety key
ends it, and only when the input is quiet again. Zone 0 is the whole building.
"""

from dataclasses import dataclass

from element.protocol import codes

BUILDING = 0
ZONES_MAX = 4096


@dataclass(frozen=True)
class Alarm:
    """One zone. input_on: its input still says so; a message that comes once has none."""

    zone: int
    cause: int
    source: str
    since_ms: int
    input_on: bool


class Alarms:
    """The zones in alarm."""

    def __init__(self) -> None:
        self._by_zone: dict[int, Alarm] = {}

    def begin(self, zone: int, now_ms: int, source: str, cause: int = codes.TRIP_FIRE,
              input_on: bool = False) -> bool:
        """Put a zone into alarm; the first cause is kept. True when it was not in alarm."""
        before = self._by_zone.get(zone)
        if before is None:
            # with no room for another zone, the building is one
            if len(self._by_zone) >= ZONES_MAX:
                zone = BUILDING
            self._by_zone[zone] = Alarm(zone, cause, source, now_ms, input_on)
            return True
        if input_on and not before.input_on:
            self._by_zone[zone] = Alarm(zone, before.cause, before.source, before.since_ms, True)
        return False

    def quiet(self, zone: int) -> None:
        """Take note that a zone's input is quiet. The zone stays in alarm until its release."""
        before = self._by_zone.get(zone)
        if before is not None:
            self._by_zone[zone] = Alarm(zone, before.cause, before.source, before.since_ms, False)

    def of(self, zone: int) -> Alarm | None:
        """Return the alarm that holds a zone: the building's or its own."""
        return self._by_zone.get(BUILDING) or self._by_zone.get(zone)

    def in_alarm(self, zone: int) -> bool:
        """Return True for a zone that is in alarm itself."""
        return zone in self._by_zone

    def release(self, zone: int | None = None) -> list[Alarm]:
        """End the alarms of a zone, all for None, whose input is quiet; return the others."""
        kept = []
        for number in list(self._by_zone):
            if zone is not None and number != zone:
                continue
            if self._by_zone[number].input_on:
                kept.append(self._by_zone[number])
            else:
                del self._by_zone[number]
        return kept

    def all(self) -> list[Alarm]:
        """Return all, in the order of zones."""
        return [self._by_zone[zone] for zone in sorted(self._by_zone)]
