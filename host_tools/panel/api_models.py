"""What the API takes and gives: OpenAPI follows from these. Powers in mW, positive discharges."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from element.protocol import schema
from host_tools.panel.config import Place, ServiceName


def _whole(value: Any) -> Any:
    """Return 5 for 5.0: in JSON they are the same number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# behind the range, or the schema would not have it
_WHOLE = BeforeValidator(_whole)
Power = Annotated[int, Field(ge=-schema.POWER, le=schema.POWER), _WHOLE]
Time = Annotated[int, Field(ge=0, le=schema.TIME), _WHOLE]
Seconds = Annotated[int, Field(ge=1, le=7 * 86_400), _WHOLE]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,48}$")]
Zone = Annotated[int, Field(ge=0, le=0xFFFF), _WHOLE]


class Given(BaseModel):
    """A request's body: no unknown keys, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Problem(BaseModel):
    """What is wrong, and what to do next."""

    detail: str


class DispatchRequest(Given):
    """An instruction. key: chosen by the sender; the same key is the same instruction, so a
    request may be repeated. start_unix_ms: now when not given. partial: as the policy says."""

    key: Key
    power_mw: Power
    service: ServiceName = "regulation"
    start_unix_ms: Time | None = None
    duration_s: Seconds
    partial: bool | None = None


class DispatchReply(BaseModel):
    """An instruction as it was filed."""

    id: int
    key: str
    source: str
    state: str
    power_mw: int
    admitted_mw: int
    shortfall_mw: int
    reason: str
    service: str
    start_unix_ms: int
    end_unix_ms: int
    partial: bool
    received_unix_ms: int


class Direction(BaseModel):
    """One direction of a class. sustained: seconds to the largest power for that long."""

    power_mw: int
    energy_mwh: int
    sustained_mw: dict[str, int]
    expected_mw: int
    expected_mwh: int


class ServiceCapability(BaseModel):
    """What the building can do in one class of service."""

    discharge: Direction
    charge: Direction
    response_ms: int
    element_count: int


class CapabilityReply(BaseModel):
    """What the building can do now. stale: not confirmed in time; age_ms says since when."""

    at_unix_ms: int
    stale: bool
    age_ms: int
    elements_known: int
    elements_counted: int
    zones_in_alarm: list[int]
    services: dict[str, ServiceCapability]


class ElementReply(BaseModel):
    """One element as the panel sees it; what it has not said is null."""

    id: str
    line: str | None
    zone: int
    tenant: str
    chemistry: str
    role: str
    phase: int
    place: str
    backup_mwh: int
    state: str
    hold: str
    circuit: str
    circuit_why: str
    answer_ms: int | None
    late_link: bool
    announced: bool
    telemetry_age_ms: int | None
    power_mw: int | None
    instructed_mw: int | None
    soc_bp: int | None
    soh_bp: int
    trip: str | None
    last_counter: int
    missing_statements: int


class AlarmRequest(Given):
    """Put a zone, 0 for the building, into the safe state."""

    zone: Zone
    source: str = Field("api", min_length=1, max_length=64)


class AlarmReply(BaseModel):
    """One zone in alarm."""

    zone: int
    source: str
    since_unix_ms: int
    input_on: bool


class ReleaseRequest(Given):
    """Release a zone, every zone when none is named. Only what is quiet is released."""

    zone: Zone | None = None


class ReleaseReply(BaseModel):
    """How many signed orders went out, and which zones are still in alarm."""

    orders: int
    still_in_alarm: list[int]


class PointValue(Given):
    """The present value of a BACnet binary input: "active" is alarm."""

    present_value: Annotated[str, StringConstraints(pattern="^(active|inactive)$")]


class PointReply(BaseModel):
    """A point that a building-management system writes; properties as BACnet names them."""

    object_identifier: str
    object_name: str
    present_value: str
    event_state: str
    zone: int


class QuarantineReply(BaseModel):
    """Who may not take part, and why."""

    what: str
    why: str
    since_unix_ms: int


class InventoryReply(BaseModel):
    """Who is in the building, and what the last change was. sha256: of the document."""

    sha256: str
    elements: dict[str, dict[str, Any]]
    added: list[str]
    removed: list[str]
    changed: dict[str, list[str]]
    full_rounds: int
    stale: bool
    age_ms: int


class HealthReply(BaseModel):
    """Is the service well? problems: what is not."""

    status: str
    problems: list[str]
    uptime_s: int


class MeasurementRequest(Given):
    """What a meter reads. voltage_mv: to neutral, the lowest phase. demand_mw: of the building
    without its elements. at_unix_ms: now when not given. place: where in the grid, as in
    north/feeder-3, the building's PCC when not given."""

    frequency_mhz: Annotated[int, Field(ge=0, le=100_000), _WHOLE]
    voltage_mv: Annotated[int, Field(ge=0, le=1_000_000), _WHOLE]
    demand_mw: Power = 0
    at_unix_ms: Time | None = None
    place: Place = ""


class SupportReply(BaseModel):
    """The mode, why, what the grid asks for, and where a black start stands."""

    mode: str
    since_unix_ms: int
    why: str
    curve: str | None
    required_mw: int
    responders: int
    measurement_age_ms: int | None
    black_start: str
    black_start_step: str
    black_start_asks: str
    black_start_why: str


class FactRequest(Given):
    """What a person has seen; holds: whether it is so, false to withdraw it."""

    fact: str = Field(min_length=1, max_length=64)
    holds: bool = True
