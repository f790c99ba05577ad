"""Build a scenario's site: rigs with boards, packs, BMS and stages, the meter, the load."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import element
from element.protocol import codes
from hil.bench.board_process import BoardProcess, BoardSpec
from hil.bench.rig import Rig, StageDevice
from hil.devices import BMS_FAMILIES
from hil.devices.base import EmulatedBMS
from hil.plant.cell import CHEMISTRIES
from hil.plant.converter import ConverterPlant
from hil.plant.element import ElementPlant
from hil.plant.fixed_power import FixedPowerPlant
from hil.plant.inverter import InverterPlant
from hil.plant.load import BuildingLoad
from hil.plant.meter import Meter
from hil.plant.pack import Imbalance, Pack
from hil.plant.relay import RelayPlant
from hil.scenarios.model import ElementModel, ScenarioModel

# The on/off stage's own minimum times, as its board's ratings say (boards/virtual/board.py).
ON_MS_MIN = 3000
OFF_MS_MIN = 2000
LEASE_MS_MAX = 5000
ON_OFF_KINDS = ("bms_fets", "relay")


class Seeds:
    """Independent streams of one seed: each user names its own, so that adding one moves none."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def stream(self, name: str) -> Random:
        """Return the generator called name."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return Random(int.from_bytes(digest, "big"))


@dataclass(frozen=True)
class Paths:
    """Where the interpreter and the files of a board are."""

    micropython: Path
    firmware: Path
    board: Path

    @classmethod
    def of_checkout(cls, micropython: Path) -> "Paths":
        """Return the firmware and the virtual board of the checkout this package runs from."""
        firmware = Path(str(element.__file__)).resolve().parent.parent
        return cls(micropython, firmware, firmware.parent / "boards" / "virtual")


def profile_of(model: ElementModel) -> dict[str, Any]:
    """Return the admissibility profile that the test issuer gives an element of this model."""
    on_off = model.kind in ON_OFF_KINDS
    power_mw = round(model.rating_w * 1000)
    current_ma = round(model.current_a_max * 1000)
    nominal_v = CHEMISTRIES[model.chemistry].nominal_v * model.series_count
    return {
        "kind": codes.KIND_NAMES.index(model.kind),
        "power_mw_discharge_max": power_mw,
        "power_mw_charge_max": power_mw,
        "current_ma_discharge_max": current_ma,
        "current_ma_charge_max": current_ma,
        "soc_bp_min": round(model.soc_min_pct * 100),
        "soc_bp_max": round(model.soc_max_pct * 100),
        "cell_mv_min": model.cell_mv_min,
        "cell_mv_max": model.cell_mv_max,
        "temperature_mdegc_discharge_min": 0,
        "temperature_mdegc_discharge_max": 50000,
        "temperature_mdegc_charge_min": 0,
        "temperature_mdegc_charge_max": 45000,
        "ramp_mw_per_s": round(model.ramp_kw_per_s * 1_000_000),
        "lease_ms_max": LEASE_MS_MAX,
        "reading_age_ms_max": model.reading_age_ms_max,
        "energy_mwh_rated": round(nominal_v * model.capacity_ah * 1000),
        "step_mw": power_mw if on_off else 0,
        "on_ms_min": ON_MS_MIN if on_off else 0,
        "off_ms_min": OFF_MS_MIN if on_off else 0,
        "services": codes.SERVICE_REGULATION | codes.SERVICE_ENERGY,
        "chemistry": model.chemistry,
        "role": "cabinet" if on_off else "wall",
        "capacity_mah": round(model.capacity_ah * 1000),
        **model.envelope.model_dump(),
    }


@dataclass
class Site:
    """Everything physical of a run, and what the issuer will say of each element."""

    rigs: list[Rig]
    models: dict[str, ElementModel]
    profiles: dict[str, dict[str, Any]]
    meter: Meter
    load: BuildingLoad

    def rig(self, name: str) -> Rig:
        """Return the rig called name. Raises KeyError when there is none."""
        for rig in self.rigs:
            if rig.name == name:
                return rig
        raise KeyError(name)

    def enrolment(self, tenant: str) -> Callable[[str, bytes], tuple[dict[str, Any], int, str]]:
        """Return what tells an aggregator with which profile, zone and tenant to enrol."""
        return lambda name, _: (self.profiles[name], self.rig(name).zone, tenant)

    def read_meter(self, begin_ms: int, end_ms: int, moved_j: float) -> tuple[float, int]:
        """Return (load in W, metered mean in mW) of a stretch in which elements gave moved_j.

        The meter gets the exact mean of the plant's power over it, as a static meter that
        integrates would see it.
        """
        load_w = self.load.power_w(begin_ms)
        mean_w = moved_j * 1000 / (end_ms - begin_ms) - load_w
        self.meter.sample(begin_ms, mean_w)
        self.meter.sample(end_ms, mean_w)
        return load_w, self.meter.window_mw()


def _bms(model: ElementModel, pack: Pack, rng: Random) -> EmulatedBMS:
    """Return the emulated BMS of an element, its FETs closed as after a start by hand."""
    return BMS_FAMILIES[model.bms](
        pack, rng, model.series_count, capacity_ah=model.capacity_ah, start_closed=True,
        soc_drift_pct_per_month=model.bms_soc_drift_pct_per_month,
        soc_error=model.bms_soc_error_pct / 100)


def _plant(model: ElementModel, seeds: Seeds, name: str) -> tuple[ElementPlant, EmulatedBMS]:
    """Return the power side of one element: pack, BMS and stage, each with its own spread."""
    pack = Pack(CHEMISTRIES[model.chemistry], model.series_count, model.capacity_ah,
                seeds.stream(f"{name}/pack"), soc=model.soc_pct / 100,
                imbalance=Imbalance(soc=model.cells_soc_spread_pct / 100))
    pack.wear_acceleration = model.wear_acceleration
    bms = _bms(model, pack, seeds.stream(f"{name}/bms"))
    stage = seeds.stream(f"{name}/stage")
    if model.kind == "converter":
        return ConverterPlant(pack, bms, stage, rating_w=model.rating_w), bms
    if model.kind == "sunspec":
        return InverterPlant(pack, bms, stage, rating_w=model.rating_w), bms
    if model.kind == "relay":
        return RelayPlant(pack, bms, stage, rating_w=model.rating_w), bms
    return FixedPowerPlant(pack, bms, stage, rating_w=model.rating_w), bms


def _stage_line(plant: ElementPlant, seeds: Seeds, name: str) -> StageDevice | None:
    """Return what answers on the stage's line, None for a stage without one."""
    if not isinstance(plant, InverterPlant):
        return None
    # pymodbus and pysunspec2 are for those who have an inverter on their bench
    from hil.devices.sunspec_inverter import SunSpecInverter

    return SunSpecInverter(plant, seeds.stream(f"{name}/stage-line"))


def build_site(scenario: ScenarioModel, seed: int, port: str, paths: Paths, flash: Path) -> Site:
    """Return the site of a scenario, boards not started.

    port: the firmware's HAL port, 'lockstep' or 'unix'. flash: folder of the boards' files.
    """
    seeds = Seeds(seed)
    rigs: list[Rig] = []
    models: dict[str, ElementModel] = {}
    profiles: dict[str, dict[str, Any]] = {}
    for model in scenario.elements:
        for index, name in enumerate(model.names()):
            plant, bms = _plant(model, seeds, name)
            draw = seeds.stream(f"{name}/board")
            spec = BoardSpec(
                name, paths.micropython, paths.firmware, paths.board, flash / name, model.kind,
                model.bms, draw.randbytes(8), draw.randbytes(32), scenario.sign_slice_ms)
            rigs.append(Rig(name, BoardProcess(spec, port), plant, bms, model.rating_w,
                            model.kind, model.zone_of(index), _stage_line(plant, seeds, name)))
            models[name] = model
            profiles[name] = profile_of(model)
    building = scenario.building
    meter = Meter(seeds.stream("meter"), building.meter_rating_kw * 1000,
                  building.meter_class_pct)
    load = BuildingLoad(seeds.stream("load"), building.load_w)
    return Site(rigs, models, profiles, meter, load)
