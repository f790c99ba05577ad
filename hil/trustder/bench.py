"""The home on the bench: modelled loads behind slow switches, a battery of real firmware.

The battery is one element: the real firmware on MicroPython in lockstep, a modelled pack, an
emulated BMS, an emulated inverter that speaks SunSpec Modbus. It is driven by the real aggregator
over an encrypted session, whenever the home's controller has a new power for it. Loads, switches
and meters are models. Time is the bench's virtual time: a run depends on its seed alone.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from element.protocol.errors import BusError
from hil.bench.faults import above_safe
from hil.bench.run import START_UNIX_MS
from hil.bench.session import fast_micropython
from hil.bench.site import Paths, Seeds, build_site
from hil.bench.virtual import VirtualClock
from hil.plant.meter import Meter
from hil.scenarios.model import ElementModel, PhaseModel, ScenarioModel
from host_tools.aggregator import Aggregator
from host_tools.dispatch.orders import Order
from host_tools.identity.issuer import Authorities
from host_tools.ledger.store import Ledger

from .control import FloatArray
from .delay import SWITCH, Delay
from .fleet import BATTERY_W, HOME_PATIENCE, Fleet, home_fleet
from .home import METER_MS, HomeController, HomeSeen
from .loads import Heater, Lights, Load, SmartSwitch
from .reference import STEP_MS
from .refrigerator import Refrigerator

# Enrolled, clock set, BMS read; then the loads find their ways at a setpoint of zero.
READY_MS = 15_000
BEGIN_MS = 60_000
# What the controller's computation costs; a Raspberry Pi's share of the reference's 30 ms.
COMPUTE_MS = 10
# The battery is told anew when it should move by this, and once a second anyway.
MOVE_W = 5.0
METER_RATING_W = 6000.0
ROW_MS = 1000
STOP_MS_MAX = 10_000


@dataclass(frozen=True)
class HomeCourse:
    """What a bench run left, W relative to the declared baseline.

    meter_w: the home's meter, a mean of each second. true_w: the models' power, a mean of every
    METER_MS; battery_w is the battery's part, circuits_w the loads'. reference_w: the setpoint,
    one value a step. step_s: what each computation of the controller took, wall time.
    setpoint_count: times that the battery was told to move, its leases' renewals not counted.
    switched_count: commands to the switches. refused_count: setpoints the element refused.
    """

    reference_w: FloatArray
    meter_w: FloatArray
    true_w: FloatArray
    battery_w: FloatArray
    circuits_w: FloatArray
    step_s: FloatArray
    setpoint_count: int
    switched_count: int
    refused_count: int
    wall_s: float
    stopped: bool = False

    def references(self, seconds: int) -> FloatArray:
        """Return the reference as means over whole numbers of seconds that divide a step."""
        return np.repeat(self.reference_w, STEP_MS // 1000 // seconds)


def scenario() -> ScenarioModel:
    """Return the one element behind the home's inverter."""
    battery = ElementModel(
        name="home", kind="sunspec", chemistry="LFP", series_count=16, capacity_ah=100,
        rating_w=BATTERY_W, current_a_max=65, cell_mv_min=2800, cell_mv_max=3600, soc_pct=50)
    return ScenarioModel(
        scenario="trustder", description="One home's battery.", elements=[battery],
        phases=[PhaseModel(name="discovery", signal="idle", duration_s=20),
                PhaseModel(name="tracking", signal="ramp", duration_s=60, power_kw=2)])


class HomeBench:
    """One home and its controller. `run(reference)` follows a reference, W a step."""

    def __init__(self, seed: int, folder: Path, paths: Paths | None = None,
                 switch: Delay = SWITCH, anticipate: bool = True,
                 patience: float = HOME_PATIENCE) -> None:
        """folder: for the board's flash and the ledger; emptied.

        Raises BusError when MicroPython is missing.
        """
        paths = paths or Paths.of_checkout(fast_micropython())
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        seeds = Seeds(seed)
        site = build_site(scenario(), seed, "lockstep", paths, folder / "boards")
        self.rig = site.rigs[0]
        rng = np.random.default_rng([seed, 5])
        self.refrigerator = Refrigerator(inside_c=float(rng.uniform(3.5, 4.5)))
        self.loads: tuple[Load, ...] = (Heater(), Lights(), self.refrigerator)
        self.switches = [SmartSwitch(load, lambda: float(switch.draw(rng, 1)[0]))
                         for load in self.loads]
        self.fleet: Fleet = home_fleet(self.refrigerator.baseline_w, self.refrigerator.store_wh)
        self.controller = HomeController(self.fleet, seed, time.perf_counter,
                                         anticipate=anticipate, patience=patience)
        self.aggregator = Aggregator(
            Authorities.make(seeds.stream("authorities").randbytes),
            Ledger.at(folder / "ledger.db"), seeds.stream("panel").randbytes,
            site.enrolment("home"))
        self.clock = VirtualClock(site.rigs, self.aggregator, START_UNIX_MS)
        self.aggregator.add_port(self.rig.name, self.clock.sender(self.rig))
        self.aggregator.order = self._order
        self._meter = Meter(seeds.stream("meter"), METER_RATING_W)
        circuit = seeds.stream("circuits")
        self._gains = np.array([1.0 + circuit.uniform(-0.005, 0.005) for _ in self.loads])
        self._ordered_w = self._wanted_battery_w = 0.0
        self._circuits_w = np.zeros(len(self.loads))
        self._energy_j = np.zeros(len(self.loads) + 1)
        self._true: list[float] = []
        self._battery: list[float] = []
        self._circuits: list[FloatArray] = []
        self._metered: list[float] = []
        self._reference: FloatArray = np.zeros(0)
        self._end_ms = 0
        self._setpoint_count = self._switched_count = 0

    def run(self, reference_w: FloatArray,
            progress: Callable[[int], None] = lambda _: None,
            stopped: Callable[[], bool] = lambda: False) -> HomeCourse:
        """Follow reference_w; progress is told the steps done, stopped is asked every second.

        Stopped, the battery goes to zero before its board is ended. Raises BusError when the
        element was not discovered.
        """
        began_s = time.monotonic()
        self._reference = reference_w
        self._end_ms = BEGIN_MS + reference_w.size * STEP_MS
        clock = self.clock
        stop = False
        try:
            clock.start()
            clock.call_at(METER_MS, self._measure)
            while clock.now_ms < self._end_ms and not stop:
                clock.run_until(min(clock.now_ms + ROW_MS, self._end_ms))
                progress(max(0, (clock.now_ms - BEGIN_MS) // STEP_MS))
                stop = stopped()
            if stop:
                self._make_safe()
            else:
                clock.run_until(self._end_ms + 1)  # the last window closes
        finally:
            clock.stop()
            self.aggregator.ledger.close()
        return self._course(time.monotonic() - began_s, stop)

    def _course(self, wall_s: float, stop: bool) -> HomeCourse:
        views = self.aggregator.inventory.views()
        refused = sum(views[0].refusals.values()) if views else 0
        return HomeCourse(
            self._reference, np.array(self._metered), np.array(self._true),
            np.array(self._battery), np.array(self._circuits),
            np.array(self.controller.step_s[-self._reference.size:]),
            self._setpoint_count, self._switched_count, refused, wall_s, stop)

    def _make_safe(self) -> None:
        self.aggregator.stop(self.clock.unix_ms)
        end_ms = self.clock.now_ms + STOP_MS_MAX
        self._end_ms = 0  # no measurement, no step any more
        while self.clock.now_ms < end_ms and above_safe(self.rig):
            self.clock.run_until(self.clock.now_ms + METER_MS)

    def _order(self, unix_ms: int) -> Order | None:
        if unix_ms - START_UNIX_MS < READY_MS:
            return None
        self._ordered_w = self._wanted_battery_w
        return Order(round(self._ordered_w * 1000.0), metered=False)

    def _measure(self) -> None:
        """Close a window of the meters and let the battery follow."""
        now_ms = self.clock.now_ms
        if self._end_ms == 0:
            return
        for switch in self.switches:
            switch.advance(now_ms)
        self.rig.plant.advance(now_ms)
        energy_j = np.array([*(load.energy_j for load in self.loads),
                             self.rig.plant.energy_pcc_j])
        means_w = (energy_j - self._energy_j) * 1000.0 / METER_MS
        self._energy_j = energy_j
        loads_w = means_w[:-1]
        self._circuits_w = loads_w * self._gains
        if now_ms > BEGIN_MS:
            self._close_window(now_ms, float(means_w[-1]), loads_w)
        elif now_ms == BEGIN_MS:
            self._meter.sample(now_ms, 0.0)
            self._meter.window_mw()
        self._follow(now_ms)
        if now_ms < self._end_ms:
            self.clock.call_at(now_ms + METER_MS, self._measure)
            if now_ms % STEP_MS == 0:
                self._step()  # with what was measured until now, and not sooner

    def _close_window(self, now_ms: int, battery_w: float, loads_w: FloatArray) -> None:
        power_w = battery_w - float(loads_w.sum())
        baseline_w = self.fleet.baseline_sum_w
        self._true.append(power_w + baseline_w)
        self._battery.append(battery_w)
        self._circuits.append(loads_w)
        self._meter.sample(now_ms - METER_MS, power_w)
        self._meter.sample(now_ms, power_w)
        if (now_ms - BEGIN_MS) % ROW_MS == 0:
            metered_w = self._meter.window_mw() / 1000.0
            self._metered.append(metered_w + baseline_w)
            self.controller.metered(now_ms, metered_w)

    def _follow(self, now_ms: int) -> None:
        """Tell the battery its power when that has moved."""
        self._wanted_battery_w = self.controller.battery_w(now_ms, self._circuits_w)
        if abs(self._wanted_battery_w - self._ordered_w) >= MOVE_W and now_ms >= READY_MS:
            self._setpoint_count += now_ms >= BEGIN_MS
            self.aggregator.wake()

    def _wanted_w(self, now_ms: int) -> float:
        index = (now_ms - BEGIN_MS) // STEP_MS
        return float(self._reference[index]) if index >= 0 else 0.0

    def _step(self) -> None:
        """Decide for the step that begins now; commands leave when the computation is done."""
        now_ms = self.clock.now_ms
        low_w, high_w, soc = self._battery_seen()
        refrigerator = self.refrigerator
        seen = HomeSeen(
            self._circuits_w, (True, True, refrigerator.may_run),
            (True, True, refrigerator.may_rest), refrigerator.store, soc, low_w, high_w)
        commands = self.controller.step(now_ms, self._wanted_w(now_ms), seen)
        if now_ms == BEGIN_MS:
            self._require_session()
        self.clock.call_at(now_ms + COMPUTE_MS, lambda: self._send(commands))

    def _send(self, commands: list[tuple[int, bool]]) -> None:
        now_ms = self.clock.now_ms
        for index, on in commands:
            self.switches[index].command(on, now_ms)
            self._switched_count += now_ms >= BEGIN_MS
        self._follow(now_ms)

    def _battery_seen(self) -> tuple[float, float, float]:
        """Return what the element says of itself: lowest and highest power, SoC."""
        views = self.aggregator.inventory.views()
        said = views[0].telemetry if views else None
        if not said:
            return 0.0, 0.0, 0.5
        soc_bp = said["soc_bp"]
        return (-said["power_mw_charge_ready"] / 1000.0, said["power_mw_discharge_ready"] / 1000.0,
                0.5 if soc_bp is None else soc_bp / 10_000)

    def _require_session(self) -> None:
        port = self.aggregator.ports[self.rig.name]
        if not port.has_session:
            raise BusError("the home's element was not discovered",
                           port.enrol_error or "no answer")
