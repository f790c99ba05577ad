"""What must hold at every step of a campaign, whatever has failed.

The watch looks at the plant and at the pins, never at what an element says of itself, but for
two things: that it has tripped, and what it has signed. Bounds are the firmware's own times
(docs/campaigns.md has each with its reason); a fault may widen a bound, never remove a check, but
where two faults together leave no way to stop: then the enable pin alone is judged.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from element.protocol import schema
from hil.bench.faults import SAFE_SHARE
from hil.bench.rig import Rig
from hil.bench.site import Site

TICK_MS = 120  # a control tick and its lateness
RAMP_MS = 200  # from the end of a lease to zero
# firmware/element/admission.py: how far ahead a setpoint may begin
START_OFFSET_MS_MAX = 5000
# Frames that were held back come together, and a board takes one every 10 ms or so.
BACKLOG_MS = 500
# From zero on the pins to less than 1 % of current and power: contacts, soft stop, Modbus polls.
STOP_MS = {"converter": 60, "bms_fets": 150, "relay": 150, "sunspec": 900}
STALE_MS_MAX = 2000
ALARM_MS_MAX = 300
# An element whose stop path is faulty has the other one, and this long to find out (issue 3).
OTHER_PATH_MS = 2000
# A sensor or BMS that lies is found out by the other measurement (docs/fmea.md).
LIE_MS_MAX = 3000
LIES = {"sensor_frozen", "sensor_offset", "bms_stuck", "bms_late", "bms_corrupt", "bms_silent"}
CELL_TOLERANCE_V = 0.025
CELL_MS_MAX = 2500
CURRENT_SHARE_MAX = 1.2
CURRENT_ROOM_A = 2.0
CURRENT_MS_MAX = 500
SLOW_LOOK_MS = 500
# Telemetry that was under way while a release arrived still tells of the trip.
UNDER_WAY_MS = 10_000


@dataclass(frozen=True)
class Violation:
    """One invariant that did not hold. at_ms counts from the start of the run."""

    invariant: str
    element: str | None
    at_ms: int
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Return it for a JSON document."""
        return {"invariant": self.invariant, "element": self.element, "at_ms": self.at_ms,
                "text": self.text}


@dataclass
class ElementState:
    """What the watch knows of one element. Times are of the bench, None for never."""

    lent_until_ms: int = -1  # a setpoint of zero lends the enable pin, and no power
    power_until_ms: int = -1
    off_by_ms: int | None = None  # from then on it must be off, until a release
    off_why: str = ""
    released_ms: int | None = None
    heard_ms: int | None = None  # when its BMS last said something
    started_ms: int = 0
    heard_since_start: bool = False
    cells_since_ms: int | None = None
    current_since_ms: int | None = None
    slow_ms: int = 0
    faults: set[str] = field(default_factory=set)  # those that are on
    hung_until_ms: int = -1
    safe_w: float = 0.0  # below both it counts as off (hil.bench.faults)
    safe_a: float = 0.0
    current_a_max: float = 0.0
    lied_ms: int = -(1 << 40)  # when the last lie of a measurement ended
    on_ms_min: int = 0

    @property
    def has_no_way_to_stop(self) -> bool:
        """True while neither FETs nor stage can be relied on to open."""
        return "fets_welded" in self.faults and "contacts_welded" in self.faults


class Watch:
    """Judge every answer of every board. `violated` is called with the first violation."""

    def __init__(self, site: Site, lease_ms_max: int, exact_leases: bool,
                 violated: Callable[[Violation], None]) -> None:
        """exact_leases: clocks and lines are such that a lease ends when the panel says.

        lease_ms_max: how long after its arrival a setpoint may be in force in any case.
        """
        self.states = {rig.name: ElementState() for rig in site.rigs}
        self.limits_v = {name: (profile["cell_mv_min"] / 1000, profile["cell_mv_max"] / 1000)
                         for name, profile in site.profiles.items()}
        for rig in site.rigs:
            state, pack = self.states[rig.name], rig.plant.pack
            rated_a = rig.rating_w / (pack.chemistry.nominal_v * pack.series_count)
            state.safe_w, state.safe_a = SAFE_SHARE * rig.rating_w, SAFE_SHARE * rated_a
            limit_a = site.profiles[rig.name]["current_ma_discharge_max"] / 1000
            state.on_ms_min = site.profiles[rig.name]["on_ms_min"]
            state.current_a_max = CURRENT_SHARE_MAX * limit_a + CURRENT_ROOM_A
        self.looks_count = 0
        self._lease_ms_max = lease_ms_max
        self._exact = exact_leases
        self._violated = violated

    # what happens

    def arrived(self, name: str, tag: tuple[int, dict[str, Any]], now_ms: int,
                unix_ms: int) -> None:
        """A genuine frame of the panel has arrived at an element. unix_ms: the panel's time."""
        kind, fields = tag
        state = self.states[name]
        if kind == schema.SETPOINT:
            end_ms = now_ms + self._lease_ms_max + BACKLOG_MS
            if not fields["power_mw"]:
                # zero is taken whatever its start is, and moves nothing: it may begin later
                end_ms = now_ms + START_OFFSET_MS_MAX + fields["lease_ms"] + BACKLOG_MS
            if self._exact:
                end_ms = now_ms + fields["start_unix_ms"] - unix_ms + fields["lease_ms"]
            state.lent_until_ms = max(state.lent_until_ms, end_ms)
            if fields["power_mw"]:
                state.power_until_ms = max(state.power_until_ms, end_ms)
        elif kind == schema.RELEASE:
            state.off_by_ms, state.released_ms = None, now_ms

    def must_be_off(self, name: str, by_ms: int, why: str) -> None:
        """From by_ms on an element must be off, until it is released."""
        state = self.states[name]
        if state.off_by_ms is None or by_ms < state.off_by_ms:
            state.off_by_ms, state.off_why = by_ms, why

    def told_trip(self, name: str, now_ms: int) -> None:
        """An element says that it has tripped."""
        released_ms = self.states[name].released_ms
        if released_ms is None or now_ms - released_ms > UNDER_WAY_MS:
            self.must_be_off(name, now_ms, "it said that it has tripped")

    def heard(self, name: str, now_ms: int) -> None:
        """The BMS of an element has delivered something that may be good."""
        state = self.states[name]
        state.heard_ms, state.heard_since_start = now_ms, True

    def started(self, name: str, now_ms: int) -> None:
        """A board has started again."""
        state = self.states[name]
        state.started_ms, state.heard_since_start = now_ms, False

    # what must hold

    def look(self, rig: Rig, now_ms: int) -> None:
        """Judge one element at this moment."""
        self.looks_count += 1
        state = self.states[rig.name]
        enabled = rig.outputs.enable
        plant = rig.plant
        current_a = abs(plant.pack.current_a)
        flows = abs(plant.pcc_w) > state.safe_w or current_a > state.safe_a
        if enabled and not rig.hung:
            self._look_at_enabled(rig, state, now_ms)
        if flows:
            self._look_at_power(rig, state, now_ms)
            if now_ms - state.slow_ms >= SLOW_LOOK_MS:
                state.slow_ms = now_ms
                self._look_at_cells(rig, state, now_ms)
        else:
            state.cells_since_ms = None
        if current_a > state.current_a_max:
            self._look_at_current(rig, state, now_ms)
        else:
            state.current_since_ms = None

    def _say(self, invariant: str, rig: Rig, now_ms: int, text: str) -> None:
        self._violated(Violation(invariant, rig.name, now_ms, text))

    def _look_at_enabled(self, rig: Rig, state: ElementState, now_ms: int) -> None:
        """Judge the enable pin, which nothing but the firmware moves."""
        if not state.heard_since_start:
            self._say("energised_before_first_reading", rig, now_ms,
                      f"enabled {now_ms - state.started_ms} ms after its start, before its BMS "
                      "had said anything")
        if state.off_by_ms is not None and now_ms > state.off_by_ms + TICK_MS:
            self._say("enabled_after_trip", rig, now_ms,
                      f"enabled {now_ms - state.off_by_ms} ms after it had to be off: "
                      f"{state.off_why}")
        if now_ms > state.lent_until_ms + RAMP_MS + TICK_MS:
            self._say("enabled_without_lease", rig, now_ms,
                      f"enabled {now_ms - state.lent_until_ms} ms after its last lease")

    def _look_at_power(self, rig: Rig, state: ElementState, now_ms: int) -> None:
        """Judge what truly flows."""
        if state.has_no_way_to_stop:
            return
        room_ms = TICK_MS + STOP_MS[rig.kind]
        if rig.hung or now_ms <= state.hung_until_ms + room_ms:
            return  # its watchdog is what stops it, in a second
        if state.faults & {"fets_welded", "contacts_welded"}:
            room_ms = OTHER_PATH_MS
        flows = abs(rig.plant.pcc_w) > state.safe_w
        until_ms = state.lent_until_ms
        if flows:  # a stage that only switches stays on for its shortest time at a zero that lives
            until_ms = max(state.power_until_ms,
                           min(until_ms, state.power_until_ms + state.on_ms_min))
        if now_ms > until_ms + RAMP_MS + room_ms:
            self._say("power_without_lease", rig, now_ms,
                      f"{_power(rig)} {now_ms - until_ms} ms after its last lease")
        if state.off_by_ms is not None and now_ms > state.off_by_ms + room_ms:
            self._say("power_after_trip", rig, now_ms,
                      f"{_power(rig)} {now_ms - state.off_by_ms} ms after it had to be off: "
                      f"{state.off_why}")
        heard_ms = state.heard_ms
        if heard_ms is None or now_ms > heard_ms + STALE_MS_MAX + room_ms:
            silent = "ever" if heard_ms is None else f"for {now_ms - heard_ms} ms"
            self._say("power_on_stale_reading", rig, now_ms,
                      f"{_power(rig)} although its BMS has said nothing {silent}")

    def _look_at_cells(self, rig: Rig, state: ElementState, now_ms: int) -> None:
        """Judge every cell: beyond a limit, and driven further by us."""
        cells_v = rig.plant.pack.cell_voltages_v()
        low_v, high_v = self.limits_v[rig.name]
        current_a = rig.plant.pack.current_a
        beyond = ((current_a > 0 and min(cells_v) < low_v - CELL_TOLERANCE_V)
                  or (current_a < 0 and max(cells_v) > high_v + CELL_TOLERANCE_V))
        if not beyond:
            state.cells_since_ms = None
            return
        if state.cells_since_ms is None:
            state.cells_since_ms = now_ms
        if self._for_too_long(state, state.cells_since_ms, CELL_MS_MAX, now_ms):
            self._say("cell_outside_limits", rig, now_ms,
                      f"cells at {min(cells_v):.3f} to {max(cells_v):.3f} V, limits {low_v:.3f} "
                      f"to {high_v:.3f} V, at {current_a:.1f} A for "
                      f"{now_ms - state.cells_since_ms} ms")

    def _look_at_current(self, rig: Rig, state: ElementState, now_ms: int) -> None:
        """Judge a true pack current that is above the credential's."""
        if state.current_since_ms is None:
            state.current_since_ms = now_ms
        if self._for_too_long(state, state.current_since_ms, CURRENT_MS_MAX, now_ms):
            self._say("current_above_limit", rig, now_ms,
                      f"{rig.plant.pack.current_a:.1f} A, limit {state.current_a_max:.1f} A, for "
                      f"{now_ms - state.current_since_ms} ms")

    @staticmethod
    def _for_too_long(state: ElementState, since_ms: int, limit_ms: int, now_ms: int) -> bool:
        """Return True when an element could, and should, have ended what began at since_ms."""
        lied = bool(state.faults & LIES) or now_ms - state.lied_ms < LIE_MS_MAX
        return (now_ms - since_ms > limit_ms + (LIE_MS_MAX if lied else 0)
                and not state.has_no_way_to_stop)


def _power(rig: Rig) -> str:
    return f"{rig.plant.pcc_w:.0f} W, {rig.plant.pack.current_a:.2f} A"
