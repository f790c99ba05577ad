"""What the panel knows of each element: identity, profile, the last words, their age."""

from dataclasses import dataclass, field
from typing import Any

from element.protocol import codes
from host_tools.dispatch.split import Capability
from host_tools.identity.keyring import Enrolled

# An element whose last telemetry is older is not planned with: its lease has run out anyway.
TELEMETRY_AGE_MS_MAX = 2000


@dataclass
class ElementView:
    """One element as the panel sees it. Telemetry is what the element read back, never ours."""

    enrolled: Enrolled
    telemetry: dict[str, Any] | None = None
    telemetry_at_ms: int = 0
    announced: bool = False
    sequence: int = 0
    instructed_mw: int = 0
    accepted_count: int = 0
    refusals: dict[int, int] = field(default_factory=dict)
    last_counter: int = 0
    last_hash: bytes = bytes(32)
    gap_since_ms: int | None = None
    gap_counter: int = 0
    late_ms_counts: dict[int, int] = field(default_factory=dict)

    @property
    def element_id(self) -> bytes:
        """The 8-byte id."""
        return self.enrolled.element_id

    @property
    def profile(self) -> dict[str, Any]:
        """The admissibility profile of its credential."""
        profile: dict[str, Any] = self.enrolled.claims["profile"]
        return profile

    @property
    def zone(self) -> int:
        """Its fire zone."""
        return int(self.enrolled.claims["zone"])

    def available(self, now_ms: int) -> bool:
        """Return True while recent telemetry says that the element could take a setpoint."""
        if self.telemetry is None or now_ms - self.telemetry_at_ms > TELEMETRY_AGE_MS_MAX:
            return False
        return self.telemetry["state"] in (codes.STATE_IDLE, codes.STATE_ACTIVE)

    def capability(self, now_ms: int) -> Capability | None:
        """Return what may be planned with now, or None."""
        if not self.available(now_ms) or self.telemetry is None:
            return None
        soc_bp = self.telemetry["soc_bp"]
        return Capability(
            self.element_id,
            self.telemetry["power_mw_discharge_ready"],
            self.telemetry["power_mw_charge_ready"],
            self.profile["step_mw"],
            5000 if soc_bp is None else soc_bp,
        )


class Inventory:
    """All enrolled elements, in the order of their ids; `delta` names what changed."""

    def __init__(self) -> None:
        self._elements: dict[bytes, ElementView] = {}
        self._reported: frozenset[bytes] = frozenset()

    def add(self, enrolled: Enrolled) -> ElementView:
        """Return the view of an element, made at its first appearance."""
        view = self._elements.get(enrolled.element_id)
        if view is None:
            view = self._elements[enrolled.element_id] = ElementView(enrolled)
        return view

    def get(self, element_id: bytes) -> ElementView | None:
        """Return the view of an element, or None for a stranger."""
        return self._elements.get(element_id)

    def views(self) -> list[ElementView]:
        """Return all views in the order of their ids."""
        return [self._elements[key] for key in sorted(self._elements)]

    def delta(self) -> tuple[list[bytes], list[bytes]]:
        """Return (added, removed) announced elements since the last call. Idempotent."""
        present = frozenset(key for key, view in self._elements.items() if view.announced)
        added = sorted(present - self._reported)
        removed = sorted(self._reported - present)
        self._reported = present
        return added, removed
