"""What rig.yaml may say: every key, its unit in its name, its range. docs/rigs.md has an example.

A rig is places, each with a board and what is wired to it, and the instruments around them.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from host_tools.yaml_model import Strict

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
# YAML makes a date of what looks like one
_TEXT = BeforeValidator(lambda one: one.isoformat() if isinstance(one, date) else one)
Day = Annotated[str, _TEXT, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Seconds = Annotated[float, Field(gt=0, le=600)]


class RatedModel(Strict):
    """What a place, a load or the whole rig is built for; nothing is asked beyond it."""

    power_w: float = Field(gt=0, le=1_000_000)
    current_a: float | None = Field(None, gt=0, le=10_000)
    voltage_v: float | None = Field(None, gt=0, le=2000)


class RegistersModel(Strict):
    """Where a meter without SunSpec has its power; `scale_w` is W for one count."""

    address: int = Field(ge=0, le=65535)
    table: Literal["holding", "input"] = "holding"
    format: Literal["int16", "uint16", "int32", "uint32", "float32"] = "int32"
    scale_w: float = Field(1.0, gt=0)
    low_word_first: bool = False


class InstrumentModel(Strict):
    """What all instruments have. A loss longer than grace_s stops the rig, where critical."""

    name: Name
    address: str = Field(min_length=1, max_length=200)
    critical: bool = True
    grace_s: Seconds = 3.0
    calibrated: Day | None = None
    note: str = Field("", max_length=200)


class MeterModel(InstrumentModel):
    """A power meter. address: HOST:PORT for Modbus TCP, or a serial port for RTU."""

    unit: int = Field(1, ge=1, le=247)
    baud: int = Field(9600, ge=1200, le=921600)
    parity: Literal["N", "E", "O"] = "N"
    positive_is: Literal["import", "export"] = "import"
    registers: RegistersModel | None = None
    period_ms: int = Field(200, ge=50, le=1000)
    accuracy: str = Field("", max_length=80)


class SwitchModel(InstrumentModel):
    """A Shelly switch. address: HOST[:PORT], or HOST:PORT/PREFIX for one behind a broker."""

    kind: Literal["shelly_http", "shelly_mqtt"]
    output: int = Field(0, ge=0, le=7)


class LoadModel(InstrumentModel):
    """An electronic load. address: HOST:PORT, or a serial port.

    follows: 'building' draws what the scenario says that the building does; 'nothing' stays off.
    """

    baud: int = Field(9600, ge=1200, le=921600)
    rated: RatedModel
    follows: Literal["building", "nothing"] = "building"

    @model_validator(mode="after")
    def _consistent(self) -> "LoadModel":
        if self.rated.current_a is None or self.rated.voltage_v is None:
            raise ValueError("rated of a load needs power_w, current_a and voltage_v: they are "
                             "loaded as its protections")
        return self


class WatchdogModel(InstrumentModel):
    """The relay through which all energy flows; it opens hold_s after the last feed."""

    kind: Literal["shelly_http", "shelly_mqtt", "usb_relay"]
    output: int = Field(0, ge=0, le=7)
    channel: int = Field(1, ge=1, le=8)
    hold_s: float = Field(3.0, ge=1.0, le=30.0)


class PlaceModel(Strict):
    """A board on a stable port, and what is wired to it.

    match: begin of the element's id, so that no other board is taken for it. element: the
    scenario's name of what stands here; places without one are filled in order. power: switch
    of its power stage. meter: one at this place alone. bms_break: a switch whose normally closed
    contact is in the BMS line; on breaks the line.
    """

    name: Name
    port: str = Field(min_length=1, max_length=200)
    board: str | None = Field(None, max_length=40)
    match: Annotated[str, Field(pattern=r"^[0-9a-f]{2,16}$")] | None = None
    element: Name | None = None
    rated: RatedModel
    power: Name | None = None
    meter: Name | None = None
    bms_break: Name | None = None
    critical: bool = True
    grace_s: Seconds = 5.0

    @model_validator(mode="after")
    def _consistent(self) -> "PlaceModel":
        if self.rated.current_a is None:
            raise ValueError("rated of a place needs power_w and current_a")
        return self


class RigModel(Strict):
    """A whole rig. site: folder with the site's keys; elements are enrolled there."""

    rig: Name
    description: str = ""
    emulated: bool = False
    site: str
    rated: RatedModel
    meter: Name
    watchdog: WatchdogModel
    places: list[PlaceModel] = Field(min_length=1, max_length=64)
    meters: list[MeterModel] = Field(min_length=1, max_length=65)
    switches: list[SwitchModel] = Field(default=[], max_length=130)
    loads: list[LoadModel] = Field(default=[], max_length=16)

    def instruments(self) -> list[InstrumentModel]:
        """Return every instrument, the watchdog first."""
        return [self.watchdog, *self.meters, *self.switches, *self.loads]
