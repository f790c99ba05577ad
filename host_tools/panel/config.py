"""The site's configuration: every key of site.yaml, its unit in its name, its range.

The schema for editors: `cellwall aggregator check --schema`.
"""

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from host_tools.envelope.capability import SERVICE_NUMBERS
from host_tools.envelope.policy import RULES, Policy
from host_tools.envelope.wear import CHEMISTRIES, Chemistry
from host_tools.support.droop import CURVES, Curve, droop
from host_tools.support.share import Responders, steps
from host_tools.yaml_model import Strict

Share = Annotated[float, Field(ge=0, le=100)]
FileName = Annotated[Path, Field(strict=False)]  # YAML has no paths
# A path in the grid, from the substation down: north/feeder-3/transformer-12.
Place = Annotated[str, Field(
    max_length=256, pattern=r"^([^/\x00-\x20]+(/[^/\x00-\x20]+)*)?$")]
ServiceName = Literal["regulation", "energy", "test", "frequency", "backup", "capacity"]


class LineModel(Strict):
    """One line to elements: a serial port, tcp:HOST:PORT, mqtt:HOST/SITE/ELEMENT, ble:ADDRESS,
    or bus:PORT[?baud=N], a shared RS-485 pair."""

    line: str = Field(min_length=1, max_length=256)


class BrokerModel(Strict):
    """An MQTT broker as the building's bus: every known element is reached through it."""

    host: str = Field(min_length=1, max_length=253)
    port: int = Field(1883, ge=1, le=65535)
    site: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    tls: bool = False


class ElementModel(Strict):
    """What the site says of one element, by the begin of its id. place: where in the grid, the
    building's when not given. backup_kwh: what its owner keeps, beyond the profile's reserve."""

    id: str = Field(pattern=r"^[0-9a-f]{4,16}$")
    phase: Literal[0, 1, 2, 3] = 0
    priority: int = Field(0, ge=-1000, le=1000)
    place: Place = ""
    backup_kwh: float = Field(0, ge=0, le=1_000_000)


class WearModel(Strict):
    """What packs of a chemistry cost and last."""

    price_per_kwh: float = Field(gt=0, le=100_000)
    cycle_count: int = Field(ge=1, le=1_000_000)
    depth_pct: float = Field(80, gt=0, le=100)


class PolicyModel(Strict):
    """How instructions are decomposed."""

    rule: Literal["proportional", "round_robin", "soh_weighted", "soc_balancing",
                  "economic"] = "proportional"
    partial: bool = False
    headroom_pct: Share = 0
    reserve_kwh: float = Field(0, ge=0, le=1_000_000)
    deadband_kw: float = Field(0, ge=0, le=1_000_000)
    ramp_pct_per_s: dict[ServiceName, Annotated[float, Field(gt=0, le=10_000)]] = Field(
        default_factory=lambda: {"frequency": 30.0})  # type: ignore[arg-type]
    phase_spread_pct: Share = 20
    unbalance_pct: Share = 3
    phase_v: float = Field(230, gt=50, le=1000)
    source_ohm: float = Field(0, ge=0, le=10)
    wear_rise_pct: float = Field(100, ge=0, le=10_000)
    wear: dict[str, WearModel] = Field(default_factory=dict)

    def policy(self) -> Policy:
        """Return it in the units of decisions."""
        assert self.rule in RULES
        return Policy(
            self.rule, self.partial, round(self.headroom_pct * 100),
            round(self.reserve_kwh * 1_000_000), round(self.deadband_kw * 1_000_000),
            tuple(sorted((SERVICE_NUMBERS[name], round(share * 100))
                         for name, share in self.ramp_pct_per_s.items())),
            round(self.phase_spread_pct * 100), round(self.unbalance_pct * 100),
            round(self.phase_v * 1000), round(self.source_ohm * 1000),
            round(self.wear_rise_pct * 100))

    def chemistries(self) -> dict[str, Chemistry]:
        """Return the wear of every chemistry, the site's own words first."""
        own = {name.upper(): Chemistry(round(one.price_per_kwh * 1000), one.cycle_count,
                                       round(one.depth_pct * 100))
               for name, one in self.wear.items()}
        return CHEMISTRIES | own


class DiscoveryModel(Strict):
    """How often who is asked who they are."""

    full_period_s: int = Field(3600, ge=10, le=86_400)
    delta_period_s: int = Field(60, ge=1, le=3600)
    at_dispatch_count_max: int = Field(16, ge=0, le=1000)
    answer_s: int = Field(10, ge=1, le=120)
    ride_through_s: int = Field(15, ge=0, le=300)

    @model_validator(mode="after")
    def _in_order(self) -> "DiscoveryModel":
        if self.delta_period_s > self.full_period_s:
            raise ValueError("delta_period_s must not be above full_period_s")
        return self


class InputModel(Strict):
    """A hardware alarm input: a file that reads 0 or 1, as /sys/class/gpio gives."""

    path: FileName
    zone: int = Field(ge=0, le=65535)
    alarm_at: Literal[0, 1] = 0
    name: str = Field("fire input", min_length=1, max_length=64)


class PointModel(Strict):
    """A point that a building-management system writes, named as BACnet names binary inputs."""

    instance: int = Field(ge=0, le=4_194_302)
    zone: int = Field(ge=0, le=65535)
    name: str = Field(min_length=1, max_length=64)


class InterlockModel(Strict):
    """Where alarms come from. A hardware input that cannot be read is an alarm."""

    inputs: list[InputModel] = Field(default_factory=list, max_length=256)
    points: list[PointModel] = Field(default_factory=list, max_length=1024)
    poll_ms: int = Field(50, ge=10, le=100)


class ApiModel(Strict):
    """The REST API. Tokens are read from files, one role each, and never from this one."""

    host: str = "127.0.0.1"
    port: int = Field(8480, ge=0, le=65535)
    token_files: dict[Literal["read", "dispatch", "life-safety", "admin"], FileName] = Field(
        default_factory=dict)

    @field_validator("host")
    @classmethod
    def _address(cls, host: str) -> str:
        if host != "localhost":
            ipaddress.ip_address(host)
        return host


# A product that wants its response to begin within this long keeps elements armed.
ARMED_START_MS = 500


class SupportModel(Strict):
    """Grid support by measurements that a meter sends to the API: the curve and its size.

    place: the building's in the grid. nearness_steps: how many steps of their paths an element
    and the measurement must share for it to respond. soh_pct_min: the least health. armed: hold
    elements at zero, ready to begin at once, while the grid is well; by default for products that
    want a start within half a second.
    """

    curve: Literal["none", "dynamic-containment", "dynamic-moderation", "dynamic-regulation",
                   "fcr", "fcr-gb", "droop"] = "none"
    power_kw: float = Field(0, ge=0, le=1_000_000)
    dead_band_mhz: int = Field(15, ge=0, le=500)
    full_mhz: int = Field(500, ge=1, le=5000)
    lead_ms: int = Field(0, ge=0, le=2000)
    nominal_hz: Literal[50, 60] = 50
    nominal_v: float = Field(230, gt=50, le=1000)
    demand_limit_kw: float | None = Field(None, ge=0, le=1_000_000)
    place: Place = ""
    nearness_steps: int = Field(0, ge=0, le=64)
    soh_pct_min: Share = 0
    armed: bool | None = None

    @model_validator(mode="after")
    def _a_curve(self) -> "SupportModel":
        if self.dead_band_mhz >= self.full_mhz:
            raise ValueError("dead_band_mhz must be below full_mhz")
        if self.curve != "none" and not self.power_kw:
            raise ValueError("power_kw says how much the building gives and takes")
        if self.nearness_steps > len(steps(self.place)):
            raise ValueError(f"nearness_steps is more than the {len(steps(self.place))} steps of "
                             "place: nobody would respond")
        return self

    def shape(self) -> Curve | None:
        """Return the curve, None for no support."""
        if self.curve == "droop":
            return droop("droop", self.dead_band_mhz, self.full_mhz)
        return CURVES.get(self.curve)

    @property
    def is_armed(self) -> bool:
        """True when elements are to be kept ready."""
        curve = self.shape()
        if self.armed is None:
            return curve is not None and 0 < curve.start_ms <= ARMED_START_MS
        return self.armed

    def responders(self, places: Iterable[str]) -> Responders:
        """Return who responds. places: the elements' own."""
        return Responders.of(self.place, places, self.nearness_steps,
                             round(self.soh_pct_min * 100))


class ParentModel(Strict):
    """The aggregator above: this one is an element to it. listen: HOST:PORT of its line."""

    listen: str = Field(pattern=r"^[^\s]+:[0-9]{1,5}$")
    folder: FileName = Path("parent")


class SiteConfig(Strict):
    """One building. Relative paths are relative to the file."""

    name: str = Field(min_length=1, max_length=64)
    site: FileName | None = None
    ledger: str = "sqlite:///aggregator.db"
    record_interval_s: int = Field(60, ge=10, le=900)
    lease_ms: int = Field(1500, ge=500, le=60_000)
    lines: list[LineModel] = Field(default_factory=list, max_length=4096)
    broker: BrokerModel | None = None
    elements: list[ElementModel] = Field(default_factory=list, max_length=100_000)
    policy: PolicyModel = PolicyModel()
    discovery: DiscoveryModel = DiscoveryModel()
    interlock: InterlockModel = InterlockModel()
    api: ApiModel = ApiModel()
    support: SupportModel = SupportModel()
    parent: ParentModel | None = None


PARTS = (LineModel, BrokerModel, ElementModel, WearModel, PolicyModel, DiscoveryModel, InputModel,
         PointModel, InterlockModel, ApiModel, SupportModel, ParentModel)
