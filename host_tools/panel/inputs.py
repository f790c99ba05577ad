"""Alarm inputs: contacts read as files, and points that a building-management system writes.

A contact that cannot be read is an alarm. No input ever ends an alarm, it only becomes quiet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from host_tools.panel.api_models import PointReply
from host_tools.panel.building import Building
from host_tools.panel.config import InputModel, PointModel


@dataclass
class Input:
    """One contact. is_on: what it said when it was last looked at; None before."""

    model: InputModel
    path: Path
    is_on: bool | None = None

    def look(self) -> bool:
        """Read it; True when that changed anything."""
        try:
            text = self.path.read_bytes()[:8].strip()
            on = text != (b"0" if self.model.alarm_at == 1 else b"1")
        except OSError:
            on = True
        changed, self.is_on = on != self.is_on, on
        return changed


class Points:
    """The points of a site, BACnet binary inputs by instance; written through the API."""

    def __init__(self, models: list[PointModel], building: Building,
                 on_quiet: Callable[[int, int], None]) -> None:
        """on_quiet(zone, now_ms): a point of the zone is not active any more."""
        self._on_quiet = on_quiet
        self.by_instance = {one.instance: one for one in models}
        self._active: set[int] = set()
        self._building = building
        for alarm in building.aggregator.alarms.all():
            # what was active before a restart is, until it is written again
            self._active |= {one.instance for one in models
                             if one.zone == alarm.zone and alarm.input_on}

    def is_active(self, zone: int) -> bool:
        """Return True while a point of a zone is active."""
        return any(self.by_instance[one].zone == zone for one in self._active)

    def write(self, instance: int, active: bool, now_ms: int) -> None:
        """Take a present value; instance must be in by_instance."""
        point = self.by_instance[instance]
        if active:
            self._active.add(instance)
            self._building.alarm(point.zone, now_ms, point.name, input_on=True)
            return
        self._active.discard(instance)
        self._on_quiet(point.zone, now_ms)

    def reply(self, instance: int) -> PointReply:
        """Return a point's properties."""
        point = self.by_instance[instance]
        active = instance in self._active
        return PointReply(
            object_identifier=f"binary-input,{instance}", object_name=point.name,
            present_value="active" if active else "inactive",
            event_state="offnormal" if active else "normal", zone=point.zone)
