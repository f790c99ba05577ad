"""Trips on their way: sent at once, and again until each element says that it has tripped. Pure.

Sending is handed in, and time with every call.
"""

from collections.abc import Callable, Iterable

from element.protocol import schema
from host_tools.interlock.alarms import BUILDING, Alarm, Alarms
from host_tools.interlock.panel import trip_message
from host_tools.inventory.elements import ElementView, Inventory

# A trip is sent again until the element says that it has tripped.
TRIP_REPEAT_MS = 250


class Trips:
    """Who is to trip. send(view, kind, fields) -> False without a session."""

    def __init__(self, alarms: Alarms, send: Callable[[ElementView, int, dict[str, int]], bool]
                 ) -> None:
        self._alarms = alarms
        self._send = send
        self._untripped: dict[bytes, int] = {}  # elements to trip, and when that was sent

    @property
    def waits(self) -> bool:
        """True while somebody has not said that it has tripped."""
        return bool(self._untripped)

    def forget(self, element_id: bytes) -> None:
        """An element has tripped, or is not here any more."""
        self._untripped.pop(element_id, None)

    def trip(self, view: ElementView, alarm: Alarm, now_ms: int) -> bool:
        """Send a trip unless the element has tripped or was told a moment ago."""
        telemetry = view.telemetry
        if telemetry is not None and telemetry["trip_cause"]:
            return False
        sent_ms = self._untripped.get(view.element_id, now_ms - TRIP_REPEAT_MS)
        if now_ms - sent_ms < TRIP_REPEAT_MS:
            return False
        self._untripped[view.element_id] = now_ms
        return self._send(view, schema.TRIP, trip_message(alarm.cause, alarm.zone or view.zone))

    def repeat(self, inventory: Inventory, now_ms: int) -> None:
        """Send again what is due; whose alarm has ended need not trip any more."""
        for element_id, sent_ms in list(self._untripped.items()):
            view = inventory.get(element_id)
            alarm = self._alarms.of(view.zone) if view is not None else None
            if view is None or alarm is None:
                del self._untripped[element_id]
            elif now_ms - sent_ms >= TRIP_REPEAT_MS:
                self.trip(view, alarm, now_ms)


def concerned(views: Iterable[ElementView], zone: int | None) -> list[ElementView]:
    """Return whom a zone concerns; BUILDING, or None, is everybody."""
    return [view for view in views if zone in (None, BUILDING, view.zone)]
