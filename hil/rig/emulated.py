"""A whole rig without hardware: real firmware in processes, instruments that speak real protocols.

Boards are on pseudo-terminals with stable names, their BMS and plants are modelled in real time;
meters, switches, load and watchdog relay read and move the same plants. Everything can be
unplugged and plugged in again by name. Nothing here knows whether, or by what, it is used.
"""

import contextlib
import queue
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from hil.bench.realtime import RealClock
from hil.bench.rig import Rig
from hil.bench.run import START_UNIX_MS
from hil.bench.session import find_micropython
from hil.bench.site import Paths, Seeds, build_site
from hil.devices.endpoint import Endpoint, PtyEndpoint, TCPEndpoint
from hil.devices.scpi_load import EmulatedLoad
from hil.devices.shelly import Contact, HTTPShelly, MQTTShelly
from hil.devices.sunspec_meter import SunSpecMeter
from hil.devices.usb_relay import EmulatedUSBRelay
from hil.plant.meter import Meter
from hil.rig.board_port import BoardPort
from hil.scenarios.model import ScenarioModel
from host_tools.aggregator import Aggregator

STEP_MS = 5
METER_MS = 100
TURN_MS = 200
BY_ID = "by-id"


def _power_of(rig: Rig) -> float:
    return rig.plant.pcc_w


class _Wiring:
    """Be the aggregator of a `RealClock`: what comes from a board goes to its port, and back.

    It is stepped every few ms, which is also when plants and instruments are brought together.
    """

    def __init__(self, rig: "EmulatedRig") -> None:
        self.due_ms = 0
        self._rig = rig

    def step(self, unix_ms: int) -> None:
        self.due_ms = unix_ms + STEP_MS
        self._rig.step()

    def receive(self, name: str, data: bytes, unix_ms: int) -> None:
        self._rig.ports[name].write(data)


class EmulatedRig:
    """The rig of a scenario in a folder. `parts` can be unplugged, by the names of rig.yaml."""

    def __init__(self, folder: Path, scenario: ScenarioModel, seed: int = 1,
                 place_meters: int = 1, usb_relay: bool = False,
                 broker: tuple[str, int] | None = None) -> None:
        """place_meters: how many of the places, from the first, have a meter of their own.

        usb_relay: the watchdog relay is one; broker: the switches of the places are behind it.
        """
        self.folder = folder
        self._broker = broker
        folder.mkdir(parents=True, exist_ok=True)
        paths = Paths.of_checkout(find_micropython())
        self.site = build_site(scenario, seed, "unix", paths, folder / "boards")
        seeds = Seeds(seed)
        rigs = self.site.rigs
        self.ports = {rig.name: BoardPort(folder / BY_ID / f"board-{rig.name}") for rig in rigs}
        self.watchdog: Contact | EmulatedUSBRelay = EmulatedUSBRelay(
            folder / BY_ID / "watchdog") if usb_relay else Contact("shellyplus1-watchdog")
        self.power = {rig.name: Contact(f"shellyplus1pm-{rig.name}", partial(_power_of, rig))
                      for rig in rigs}
        self.bms_break = Contact("shellyplus1-bms")
        self.load = EmulatedLoad()
        self._readings_w: dict[str, float] = {"pcc": 0.0} | {rig.name: 0.0 for rig in rigs}
        rating_w = scenario.building.meter_rating_kw * 1000
        self._meters = {name: Meter(seeds.stream(f"rig/{name}"), rating_w,
                                    scenario.building.meter_class_pct)
                        for name in self._readings_w}
        self._metered = [rig.name for rig in rigs[:place_meters]]
        self.parts: dict[str, Endpoint] = self._make_parts(rigs)
        self.commands: queue.Queue[Callable[[], None]] = queue.Queue()
        self._metered_ms = 0
        self.clock = RealClock(rigs, cast(Aggregator, _Wiring(self)), START_UNIX_MS)
        self._to_board = {rig.name: self.clock.sender(rig) for rig in rigs}

    def _make_parts(self, rigs: list[Rig]) -> dict[str, Endpoint]:
        pcc = SunSpecMeter(lambda: self._readings_w["pcc"], "PCC-1")
        parts: dict[str, Endpoint] = {
            "watchdog": HTTPShelly(self.watchdog) if isinstance(self.watchdog, Contact)
            else self.watchdog, "pcc": TCPEndpoint(pcc.over_tcp),
            "bank": TCPEndpoint(self.load.session), "bms-break": HTTPShelly(self.bms_break)}
        for index, rig in enumerate(rigs, 1):
            parts[f"place-{index}"] = self.ports[rig.name]
            contact = self.power[rig.name]
            parts[f"power-{index}"] = HTTPShelly(contact) if self._broker is None else MQTTShelly(
                contact, *self._broker, contact.serial)
            if rig.name in self._metered:
                meter = SunSpecMeter(partial(self._readings_w.__getitem__, rig.name),
                                     f"PLACE-{index}")
                parts[f"meter-{index}"] = PtyEndpoint(
                    self.folder / BY_ID / f"meter-{index}", partial(meter.over_rtu, 19200))
        return parts

    # what is served

    def start(self) -> None:
        """Plug everything in and start the boards."""
        for part in self.parts.values():
            part.replug()
        self.clock.start()

    def turn(self) -> None:
        """Serve for a moment of wall time."""
        self.clock.run_until(self.clock.now_ms + TURN_MS)

    def close(self) -> None:
        """Stop the boards and take everything away."""
        self.clock.stop()
        for part in self.parts.values():
            part.unplug()

    def plug(self, name: str, plugged: bool) -> None:
        """Unplug a part or plug it in; may be called from any thread. Raises KeyError."""
        part = self.parts[name]
        self.commands.put(part.replug if plugged else part.unplug)

    def step(self) -> None:
        """Bring contacts, plants, meters and ports together."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.commands.get_nowait()()
        supplied = self.watchdog.on
        first = self.site.rigs[0]
        first.bms.silent = self.bms_break.on
        for rig in self.site.rigs:
            rig.plant.dead = not (supplied and self.power[rig.name].on)
            data = self.ports[rig.name].read()
            if data:
                self._to_board[rig.name](data)
        now_ms = self.clock.now_ms
        if now_ms - self._metered_ms >= METER_MS:
            self._metered_ms = now_ms
            self._measure(now_ms, self.load.power_w if supplied else 0.0)

    def _measure(self, now_ms: int, load_w: float) -> None:
        total_w = -load_w
        for rig in self.site.rigs:
            rig.plant.advance(now_ms)
            total_w += rig.plant.pcc_w
            self._read(rig.name, now_ms, rig.plant.pcc_w)
        self._read("pcc", now_ms, total_w)

    def _read(self, name: str, now_ms: int, power_w: float) -> None:
        meter = self._meters[name]
        meter.sample(now_ms, power_w)
        self._readings_w[name] = meter.window_mw() / 1000

    @property
    def true_w(self) -> float:
        """The sum of what the elements deliver and the load draws, both as magnitudes, W."""
        return sum(abs(rig.plant.pcc_w) for rig in self.site.rigs) + (
            self.load.power_w if self.watchdog.on else 0.0)

    def state(self) -> dict[str, Any]:
        """Return what is so, for a test or a person; not what an instrument says."""
        return {"true_w": round(self.true_w, 1), "watchdog": self.watchdog.on,
                "load_w": self.load.power_w, "input": self.load.input_on,
                "unprotected": self.load.on_without_protection_count,
                "power": {name: one.on for name, one in self.power.items()},
                "elements": {rig.name: round(rig.plant.pcc_w, 1) for rig in self.site.rigs},
                "plugged": {name: one.plugged for name, one in self.parts.items()}}

    # rig.yaml

    def rig_yaml(self) -> dict[str, Any]:
        """Return what rig.yaml says of this rig."""
        rated = sum(rig.rating_w for rig in self.site.rigs)
        places: list[dict[str, Any]] = []
        switches: list[dict[str, Any]] = []
        meters = [self._meter_entry("pcc", {"grace_s": 3.0})]
        for index, rig in enumerate(self.site.rigs, 1):
            model = self.site.models[rig.name]
            place = {"name": f"place-{index}", "port": self.ports[rig.name].address,
                     "board": "virtual", "element": rig.name, "power": f"power-{index}",
                     "rated": {"power_w": rig.rating_w, "current_a": model.current_a_max},
                     "grace_s": 6.0}
            switches.append({"name": f"power-{index}",
                             "kind": "shelly_mqtt" if self._broker else "shelly_http",
                             "address": self.parts[f"power-{index}"].address})
            if rig.name in self._metered:
                place["meter"] = f"meter-{index}"
                meters.append(self._meter_entry(f"meter-{index}", {"baud": 19200}))
            if index == 1:
                place["bms_break"] = "bms-break"
            places.append(place)
        switches.append({"name": "bms-break", "kind": "shelly_http",
                         "address": self.parts["bms-break"].address, "grace_s": 6.0})
        return {
            "rig": "demo", "description": "Emulated: nothing of it is hardware.",
            "emulated": True, "site": "site", "rated": {"power_w": rated}, "meter": "pcc",
            "watchdog": {"name": "watchdog", "hold_s": 2.0, "kind": "usb_relay" if isinstance(
                self.watchdog, EmulatedUSBRelay) else "shelly_http",
                         "address": self.parts["watchdog"].address},
            "places": places, "meters": meters, "switches": switches,
            "loads": [{"name": "bank", "address": self.parts["bank"].address,
                       "rated": {"power_w": 1000, "current_a": 20, "voltage_v": 60}}]}

    def _meter_entry(self, name: str, more: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "address": self.parts[name].address, "accuracy": "class 0.5 %",
                "note": "modelled: nothing was calibrated", **more}
