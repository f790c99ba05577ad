"""What the panel knows of each element: identity, profile, the last words, their age."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from element.protocol import codes
from host_tools.dispatch.circuit import Circuit
from host_tools.envelope.population import SOH_BP_UNKNOWN, THREE_PHASE, Row
from host_tools.envelope.wear import Chemistry, wear_of
from host_tools.identity.keyring import Enrolled

# An element whose last telemetry is older is not planned with: its lease has run out anyway.
TELEMETRY_AGE_MS_MAX = 2000
# What an element is believed to be charged to while it does not say.
SOC_BP_UNKNOWN = 5000
_NOTHING = (0, 0, 0, 0)
# The structural role of an aggregate, with the number of levels behind it: aggregate-2.
AGGREGATE_ROLE = "aggregate-"


@dataclass(frozen=True)
class Placement:
    """What the site says of an element: where it is connected, which on/off ones go first.

    place: number of its place in the grid (support/share.py). backup_mwh: what its owner keeps
    of its energy, beyond the reserve in its own profile.
    """

    phase: int = THREE_PHASE
    priority: int = 0
    place: int = 0
    backup_mwh: int = 0


@dataclass
class ElementView:
    """One element as the panel sees it. Telemetry is what the element read back, never ours.

    confirmed_ms: when it last proved who it is. hold: why it may not be planned with although it
    is ready ("" for nothing): quarantine, an alarm in its zone. commitment: of an aggregate, its
    newest: number, SHA-256, and the end of its interval.
    """

    enrolled: Enrolled
    placement: Placement = Placement()
    telemetry: dict[str, Any] | None = None
    telemetry_at_ms: int = 0
    announced: bool = False
    announcement: dict[str, Any] | None = None
    confirmed_ms: int = 0
    hold: str = ""
    sequence: int = 0
    instructed_mw: int = 0
    accepted_count: int = 0
    refusals: dict[int, int] = field(default_factory=dict)
    circuit: Circuit = field(default_factory=Circuit)
    last_counter: int = 0
    last_hash: bytes = bytes(32)
    last_record_end_ms: int = 0
    gap_since_ms: int | None = None
    gap_counter: int = 0
    commitment: tuple[int, bytes, int] = (0, b"", 0)
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

    @property
    def depth(self) -> int:
        """How many levels of aggregators it is; 0 for an element."""
        return depth_of(self.profile)

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return str(self.enrolled.claims["tenant"])

    def fresh(self, now_ms: int, age_ms_max: int = TELEMETRY_AGE_MS_MAX) -> bool:
        """Return True while its telemetry is recent."""
        return self.telemetry is not None and now_ms - self.telemetry_at_ms <= age_ms_max

    def available(self, now_ms: int, age_ms_max: int = TELEMETRY_AGE_MS_MAX) -> bool:
        """Return True while recent telemetry says that the element could take a setpoint."""
        if self.telemetry is None or now_ms - self.telemetry_at_ms > age_ms_max:
            return False
        return self.telemetry["state"] in (codes.STATE_IDLE, codes.STATE_ACTIVE)

    def plannable(self, now_ms: int, age_ms_max: int = TELEMETRY_AGE_MS_MAX) -> bool:
        """Return True when an instruction may count on it."""
        return not self.hold and self.circuit.is_closed and self.available(now_ms, age_ms_max)

    def state(self, plannable: bool) -> tuple[int, ...]:
        """Return its state as `Population.set` takes it; nothing it could do unless plannable."""
        told = self.telemetry
        if told is None:
            return (*_NOTHING, 0, SOC_BP_UNKNOWN, SOH_BP_UNKNOWN)
        able = (told["power_mw_discharge_ready"], told["power_mw_charge_ready"],
                max(0, told["room_mwh_discharge"] - self.placement.backup_mwh),
                told["room_mwh_charge"]) if plannable else _NOTHING
        soc_bp = told["soc_bp"]
        return (*able, told["instructed_mw"], SOC_BP_UNKNOWN if soc_bp is None else soc_bp,
                self.soh_bp)

    @property
    def soh_bp(self) -> int:
        """Its state of health as it last announced it."""
        said = None if self.announcement is None else self.announcement["soh_bp"]
        return SOH_BP_UNKNOWN if said is None else int(said)

    def row(self, chemistries: dict[str, Chemistry] | None = None) -> Row:
        """Return what does not change while it is here; nothing it could do yet."""
        profile = self.profile
        window_bp = profile["soc_bp_max"] - max(profile["soc_bp_min"], profile["reserve_soc_bp"])
        step_mw = profile["step_mw"]
        return Row(
            soh_bp=self.soh_bp, step_mw=step_mw, on_ms_min=profile["on_ms_min"],
            off_ms_min=profile["off_ms_min"],
            services=0 if profile["monitor_only"] else profile["services"],
            response_ms=profile["response_ms"], ramp_mw_per_s=profile["ramp_mw_per_s"],
            phase=self.placement.phase, priority=self.placement.priority, zone=self.zone,
            place=self.placement.place, backup_mwh=self.placement.backup_mwh,
            wear=wear_of(profile["chemistry"], self.soh_bp, chemistries),
            nameplate_discharge_mw=step_mw or profile["power_mw_discharge_max"],
            nameplate_charge_mw=step_mw or profile["power_mw_charge_max"],
            nameplate_mwh=profile["energy_mwh_rated"] * max(0, window_bp) // 10000)


def depth_of(profile: dict[str, Any]) -> int:
    """Return how many levels of aggregators a profile is credentialed for; 0 for an element."""
    if profile["kind"] != codes.KIND_AGGREGATE:
        return 0
    digits = str(profile["role"]).removeprefix(AGGREGATE_ROLE)
    return int(digits) if digits.isdecimal() else 1


class Inventory:
    """All enrolled elements, in the order of their ids; `delta` names what changed.

    version: rises with every change of who is here and what the inventory says of him.
    """

    def __init__(self) -> None:
        self._elements: dict[bytes, ElementView] = {}
        self._reported: frozenset[bytes] = frozenset()
        self.version = 0

    def add(self, enrolled: Enrolled, placement: Placement | None = None) -> ElementView:
        """Return the view of an element, made at its first appearance.

        A renewed credential takes the place of the one before.
        """
        view = self._elements.get(enrolled.element_id)
        if view is None:
            view = self._elements[enrolled.element_id] = ElementView(
                enrolled, placement or Placement())
        if view.enrolled.credential != enrolled.credential:
            view.enrolled = enrolled
            self.version += 1
        return view

    def announce(self, view: ElementView, fields: dict[str, Any]) -> None:
        """Take what an element has announced of itself."""
        before = view.announcement or {}
        if any(before.get(name) != fields[name] for name in ("board", "firmware")):
            self.version += 1
        view.announced, view.announcement = True, fields

    def get(self, element_id: bytes) -> ElementView | None:
        """Return the view of an element, or None for a stranger."""
        return self._elements.get(element_id)

    def remove(self, element_ids: Iterable[bytes]) -> None:
        """Forget elements that are not here any more."""
        for element_id in element_ids:
            if self._elements.pop(element_id, None) is not None:
                self.version += 1

    def __len__(self) -> int:
        return len(self._elements)

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
