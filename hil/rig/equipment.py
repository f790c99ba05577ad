"""The instruments of a rig as objects, made from rig.yaml; nothing is opened here."""

from collections.abc import Iterator

from hil.instruments.base import Instrument, Setup, Tap
from hil.instruments.electronic_load import ElectronicLoad, LoadLimits
from hil.instruments.modbus_meter import ModbusMeter, RegisterMap
from hil.instruments.power_meter import PowerMeter
from hil.instruments.scpi_load import SCPILoad
from hil.instruments.shelly_http import ShellyHTTP
from hil.instruments.shelly_mqtt import ShellyMQTT
from hil.instruments.switch import Switch
from hil.instruments.usb_relay import USBRelayWatchdog
from hil.instruments.watchdog_relay import SwitchWatchdog, WatchdogRelay
from hil.rig.model import (
    InstrumentModel,
    LoadModel,
    MeterModel,
    RigModel,
    SwitchModel,
    WatchdogModel,
)


class Equipment:
    """Every instrument of a rig by name."""

    def __init__(self, rig: RigModel) -> None:
        self.rig = rig
        self.watchdog: WatchdogRelay = _watchdog(rig.watchdog)
        self.meters: dict[str, PowerMeter] = {one.name: make_meter(one) for one in rig.meters}
        self.switches: dict[str, Switch] = {one.name: _switch(one) for one in rig.switches}
        self.loads: dict[str, ElectronicLoad] = {one.name: SCPILoad(_setup(one), one.baud)
                                                 for one in rig.loads}

    def all(self) -> Iterator[tuple[InstrumentModel, Instrument]]:
        """Yield every instrument with what rig.yaml says of it, the watchdog first."""
        yield self.rig.watchdog, self.watchdog
        groups: tuple[tuple[list[InstrumentModel], dict[str, Instrument]], ...] = (
            (list(self.rig.meters), dict(self.meters)),
            (list(self.rig.switches), dict(self.switches)),
            (list(self.rig.loads), dict(self.loads)))
        for models, made in groups:
            for model in models:
                yield model, made[model.name]

    def set_tap(self, tap: Tap) -> None:
        """Let every instrument tell what goes over its line."""
        for _, one in self.all():
            one.tap = tap

    def close(self) -> None:
        """Give every line up."""
        for _, one in self.all():
            one.close()


def _setup(model: InstrumentModel) -> Setup:
    return Setup(model.name, model.address)


def make_meter(model: MeterModel) -> PowerMeter:
    """Return the driver of a meter, not opened: a recording is decoded with it too."""
    where = model.registers
    registers = None if where is None else RegisterMap(
        where.address, where.table, where.format, where.scale_w, where.low_word_first)
    return ModbusMeter(_setup(model), model.unit, model.baud, model.parity, model.positive_is,
                       registers)


def _switch(model: SwitchModel | WatchdogModel) -> Switch:
    made = ShellyHTTP if model.kind == "shelly_http" else ShellyMQTT
    return made(_setup(model), model.output)


def _watchdog(model: WatchdogModel) -> WatchdogRelay:
    if model.kind == "usb_relay":
        return USBRelayWatchdog(_setup(model), model.hold_s, model.channel)
    return SwitchWatchdog(_switch(model), model.hold_s)


def limits_of(model: LoadModel) -> LoadLimits:
    """Return the protections that a load gets."""
    rated = model.rated
    assert rated.current_a is not None and rated.voltage_v is not None  # the model checks it
    return LoadLimits(rated.current_a, rated.voltage_v, rated.power_w)
