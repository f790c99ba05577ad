"""What a scenario may say: every key, its unit in its name, its range.

Times in a phase or event are seconds; powers of the building are kW, of an element W.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hil.plant.cell import CHEMISTRIES
from host_tools.yaml_model import Strict

ElementName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]

Curve = Annotated[list[Annotated[int, Field(ge=0, le=10000)]], Field(max_length=16)]


class EnvelopeModel(Strict):
    """The rest of a credential's profile, in the contract's names; the defaults bound nothing."""

    discharge_bp_at_soc: Curve = Field(default_factory=list)
    charge_bp_at_soc: Curve = Field(default_factory=list)
    reserve_soc_bp: int = Field(0, ge=0, le=10000)
    response_ms: int = Field(1000, ge=1, le=600_000)
    thermal_window_s: int = Field(0, ge=0, le=86400)
    thermal_mwh_max: int = Field(0, ge=0, le=1_000_000_000)
    thermal_rise_mdegc_max: int = Field(0, ge=0, le=100_000)
    swing_window_s: int = Field(0, ge=0, le=604_800)
    swing_bp_max: int = Field(0, ge=0, le=10000)
    day_cycles_milli_max: int = Field(0, ge=0, le=100_000)
    monitor_only: bool = False


class ElementModel(Strict):
    """One element, or `count` equal ones named NAME-1, NAME-2 and so on."""

    name: ElementName
    count: int = Field(1, ge=1, le=64)
    kind: Literal["converter", "bms_fets", "relay", "sunspec"]
    chemistry: str
    series_count: int = Field(ge=1, le=32)
    capacity_ah: float = Field(gt=0.5, le=600)
    rating_w: float = Field(gt=0, le=20000)
    zone: int | list[int] = 1
    soc_pct: float = Field(50, ge=0, le=100)
    soc_min_pct: float = Field(10, ge=0, le=100)
    soc_max_pct: float = Field(90, ge=0, le=100)
    cell_mv_min: int = Field(ge=1500, le=4500)
    cell_mv_max: int = Field(ge=1500, le=4500)
    current_a_max: float = Field(gt=0, le=84)  # boards/virtual: CURRENT_MA_MAX
    ramp_kw_per_s: float = Field(25, gt=0, le=1000)
    reading_age_ms_max: int = Field(1500, ge=600, le=2000)
    envelope: EnvelopeModel = EnvelopeModel()
    bms: Literal["jbd", "daly", "jk", "pylontech"] = "jbd"
    bms_soc_error_pct: float = Field(0, ge=-100, le=100)
    bms_soc_drift_pct_per_month: float = Field(0, ge=-100, le=100)
    cells_soc_spread_pct: float = Field(0.5, ge=0, lt=40)
    wear_acceleration: float = Field(0, ge=0, le=100_000)  # 0: cells do not age; 1: as they do

    @model_validator(mode="after")
    def _consistent(self) -> "ElementModel":
        if self.chemistry not in CHEMISTRIES:
            raise ValueError(f"chemistry {self.chemistry!r} is not one of {sorted(CHEMISTRIES)}")
        if self.soc_min_pct >= self.soc_max_pct:
            raise ValueError("soc_min_pct must be below soc_max_pct")
        if self.cell_mv_min >= self.cell_mv_max:
            raise ValueError("cell_mv_min must be below cell_mv_max")
        if self.bms == "pylontech" and self.kind == "bms_fets":
            raise ValueError("a pylontech has no FETs that anybody else may switch")
        zones = self.zone if isinstance(self.zone, list) else [self.zone]
        if isinstance(self.zone, list) and len(zones) != self.count:
            raise ValueError(f"zone lists {len(zones)} zones for {self.count} elements")
        if not all(1 <= zone <= 65535 for zone in zones):
            raise ValueError("zones are numbered 1 to 65535")
        return self

    def names(self) -> list[str]:
        """Return the names of the elements that this entry stands for."""
        if self.count == 1:
            return [self.name]
        return [f"{self.name}-{number}" for number in range(1, self.count + 1)]

    def zone_of(self, index: int) -> int:
        """Return the zone of the index-th element of this entry."""
        return self.zone[index] if isinstance(self.zone, list) else self.zone


class PhaseModel(Strict):
    """A stretch of the run with one signal. Phases follow each other."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    signal: Literal["idle", "ramp", "regulation", "arbitrage", "cycling"]
    duration_s: int = Field(ge=10, le=31 * 86400)
    power_kw: float = Field(0, ge=0, le=1000)

    @model_validator(mode="after")
    def _consistent(self) -> "PhaseModel":
        if (self.signal == "idle") != (self.power_kw == 0):
            raise ValueError("power_kw is the signal's peak: above 0, or left out for idle")
        return self


class EventModel(Strict):
    """Something that happens at_s seconds into a phase."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    kind: Literal["bms_silent", "link_lost", "host_lost", "fire_alarm", "release"]
    phase: str
    at_s: float = Field(ge=0)
    duration_s: float | None = Field(None, gt=0)
    element: str | None = None
    zone: int | None = Field(None, ge=1, le=65535)
    settle_s: float = Field(10, ge=0, le=600)
    safe_within_ms: int | None = Field(None, ge=1, le=60000)

    @property
    def duration_ms(self) -> int:
        """How long it lasts, or is looked at where it has no end."""
        return round((self.duration_s or 10.0) * 1000)

    @model_validator(mode="after")
    def _consistent(self) -> "EventModel":
        element_event = self.kind in ("bms_silent", "link_lost")
        if element_event and (self.element is None or self.duration_s is None):
            raise ValueError(f"{self.kind} needs element and duration_s")
        if self.kind == "host_lost" and self.duration_s is None:
            raise ValueError("host_lost needs duration_s")
        if self.kind == "fire_alarm" and self.zone is None:
            raise ValueError("fire_alarm needs zone")
        if not element_event and self.element is not None:
            raise ValueError(f"{self.kind} is not for one element")
        return self


class LimitModel(Strict):
    """A figure that the run must reach: `value` names it, e.g. ramp.e1_pct."""

    value: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$")]
    max: float | None = None
    min: float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "LimitModel":
        if (self.max is None) == (self.min is None):
            raise ValueError("give exactly one of max and min")
        return self


class BuildingModel(Strict):
    """The building around the elements."""

    load_w: float = Field(3000, ge=0, le=1_000_000)
    meter_rating_kw: float = Field(20, gt=0, le=10000)
    meter_class_pct: float = Field(0.5, gt=0, le=2)


class ScenarioModel(Strict):
    """A whole scenario."""

    scenario: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")]
    description: str
    seed: int = Field(1, ge=0, le=2**32 - 1)
    clock: Literal["virtual", "real"] = "virtual"
    record_interval_s: int = Field(60, ge=10, le=900)
    sign_slice_ms: int = Field(10, ge=1, le=100)
    building: BuildingModel = BuildingModel()
    elements: list[ElementModel] = Field(min_length=1, max_length=64)
    phases: list[PhaseModel] = Field(min_length=2, max_length=32)
    events: list[EventModel] = Field(default=[], max_length=256)
    limits: list[LimitModel] = Field(default=[], max_length=64)

    def element_names(self) -> list[str]:
        """Return the names of all elements in order."""
        return [name for element in self.elements for name in element.names()]

    @model_validator(mode="after")
    def _consistent(self) -> "ScenarioModel":
        names = self.element_names()
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            raise ValueError(f"element names appear twice: {', '.join(doubles)}")
        phases = [phase.name for phase in self.phases]
        if len(set(phases)) != len(phases):
            raise ValueError("phase names appear twice")
        if self.phases[0].signal != "idle":
            raise ValueError("the first phase must be idle: discovery and baseline happen in it")
        return self
