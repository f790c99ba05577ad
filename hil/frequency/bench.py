"""Run a frequency trace against the real firmware under the panel's own support controller.

The meter, packs and stages are modelled; firmware, sessions, dispatch and the controller are
real, on either clock. Power is recorded every 10 ms for the times, and every 50 ms for the record
that performance monitoring wants.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from element.protocol import codes
from element.protocol.errors import BusError
from hil.bench.run import Clock
from hil.bench.session import boards_of, make_clock
from hil.bench.site import Seeds, Site, build_site
from hil.frequency.judge import StepResult, judge_step, judge_trace, limits_of
from hil.frequency.meter import FrequencyMeter, MeterModel
from hil.frequency.products import Product
from hil.frequency.traces import Trace
from hil.scenarios.model import ScenarioModel
from host_tools.aggregator import Aggregator
from host_tools.dispatch.orders import Order
from host_tools.envelope.policy import Policy
from host_tools.identity.issuer import Authorities
from host_tools.ledger.dispatches import Dispatch
from host_tools.ledger.store import Ledger
from host_tools.panel.config import ARMED_START_MS
from host_tools.provision.stopped import StoppedError
from host_tools.support.controller import Support
from host_tools.support.modes import Measurement, Nominal

FINE_MS = 10
RECORD_MS = 50
# From the start of the boards to the start of the trace: enrolled, clocks set, at zero.
READY_MS = 20_000
VOLTAGE_MV = 230_000
# This long before the first step everything is at rest.
REST_MS = 1000
# The share of the elements' power that is contracted: the rest is room for losses and limits.
CONTRACT_SHARE = 0.8


@dataclass
class Response:
    """What came of a trace. record columns: time ms, deviation mHz, asked W, power W."""

    product: Product
    trace: Trace
    clock_name: str
    seed: int
    contract_w: float
    meter: MeterModel
    steps: list[StepResult] = field(default_factory=list)
    limits: list[dict[str, Any]] = field(default_factory=list)
    tracking: dict[str, float | None] = field(default_factory=dict)
    record: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    clock_error_ms: float = 0.0

    @property
    def passed(self) -> bool:
        """True when every limit of the product is met; a trace without steps has none."""
        return all(one["met"] for one in self.limits)


class FrequencyBench:
    """One run. `stop` may be called from a signal handler."""

    def __init__(self, scenario: ScenarioModel, product: Product, trace: Trace, folder: Path,
                 seed: int = 1, clock: str = "virtual", meter: MeterModel | None = None) -> None:
        """folder: for flash and ledger, emptied. Raises BusError without MicroPython."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        seeds = Seeds(seed)
        self._site = self._built(scenario, seed, clock, folder)
        self._product, self._trace = product, trace
        model = meter or MeterModel()
        self._meter = FrequencyMeter(trace, model, seeds.stream("frequency/meter"))
        self._model = model
        authorities = Authorities.make(seeds.stream("authorities").randbytes)
        site = self._site
        self._aggregator = Aggregator(
            authorities, Ledger.at(folder / "ledger.db"), seeds.stream("panel").randbytes,
            site.enrolment("frequency"), 60_000,
            policy=Policy(ramp_bp_per_s=(
                (codes.SERVICE_FREQUENCY, product.ramp_pct_per_s * 100),)))
        self._clock: Clock = make_clock(clock)(site, self._aggregator)
        contract_w = CONTRACT_SHARE * sum(rig.rating_w for rig in site.rigs)
        self._support = Support(
            product.curve, round(contract_w * 1000), Nominal(product.nominal_mhz, VOLTAGE_MV),
            None, self._lend, self._extend, self._finish, lambda kind, now_ms, **fields: None,
            armed=product.start_ms <= ARMED_START_MS)
        self._aggregator.order = self._order
        self._power_mw: int | None = None
        self._end_ms = 0
        self._stopped = False
        self._begin_ms, self._energy_j = READY_MS, 0.0  # of the sample under way
        self._fine: list[tuple[int, float]] = []
        self._late_ms = 0
        self.response = Response(product, trace, clock, seed, contract_w, model)

    @staticmethod
    def _built(scenario: ScenarioModel, seed: int, clock: str, folder: Path) -> Site:
        """Return the site; who can modulate is credentialed for frequency response too."""
        site = build_site(scenario, seed, *boards_of(clock), folder / "boards")
        for profile in site.profiles.values():
            if not profile["step_mw"]:
                profile["services"] |= codes.SERVICE_FREQUENCY
        return site

    # the controller's instructions: one at a time, as the building keeps them

    def _lend(self, source: str, power_mw: int, service: int, now_ms: int, end_ms: int,
              among: Any) -> Dispatch:
        self._set(power_mw, end_ms)
        return Dispatch("frequency", source, power_mw, service, now_ms, end_ms, False, "running",
                        power_mw, "", now_ms, 1)

    def _extend(self, number: int, power_mw: int, service: int, end_ms: int, now_ms: int,
                among: Any) -> bool:
        self._set(power_mw, end_ms)
        return True

    def _finish(self, number: int, now_ms: int) -> None:
        self._set(0, 0)

    def _set(self, power_mw: int, end_ms: int) -> None:
        if power_mw != self._power_mw:
            self._power_mw = power_mw
            self._aggregator.wake()
        self._end_ms = end_ms

    def _order(self, now_ms: int) -> Order | None:
        if self._power_mw is None or now_ms >= self._end_ms:
            return None
        return Order(self._power_mw, codes.SERVICE_FREQUENCY, metered=False)

    # time

    def stop(self) -> None:
        """Ask for a safe stop."""
        self._stopped = True

    def run(self, progress: Callable[[int, int], None] = lambda done_s, total_s: None) -> Response:
        """Run the trace and judge it; the elements are at zero and gone afterwards.

        Raises BusError when an element was not found, StoppedError when it was stopped.
        """
        clock = self._clock
        end_ms = READY_MS + self._trace.duration_ms
        try:
            clock.start()
            clock.run_until(READY_MS)
            self._require_sessions()
            for rig in self._site.rigs:
                rig.plant.advance(clock.now_ms)
            self._begin_ms = READY_MS
            self._energy_j = self._energy()
            clock.call_at(READY_MS + FINE_MS, partial(self._sample, READY_MS + FINE_MS))
            clock.call_at(READY_MS, partial(self._measure, READY_MS))
            while clock.now_ms < end_ms and not self._stopped:
                clock.run_until(min(end_ms, clock.now_ms + 1000))
                progress((clock.now_ms - READY_MS) // 1000, self._trace.duration_ms // 1000)
            self._aggregator.stop(clock.unix_ms)
            clock.run_until(clock.now_ms + 1000)
        finally:
            clock.stop()
            self._aggregator.ledger.close()
        if self._stopped:
            raise StoppedError("the elements went to zero first", "run again")
        self._judge()
        return self.response

    def _require_sessions(self) -> None:
        missing = [name for name, port in self._aggregator.ports.items() if not port.has_session]
        if missing:
            raise BusError("discovery did not find", ", ".join(missing))

    def _measure(self, due_ms: int) -> None:
        """Measure now; the panel hears of it when the meter has put it out."""
        at_ms = self._clock.now_ms - READY_MS
        deviation = self._meter.deviation_mhz(at_ms)
        measured_ms = self._clock.unix_ms
        self._clock.call_at(self._clock.now_ms + self._model.output_ms,
                            partial(self._hear, deviation, measured_ms))
        self._clock.call_at(due_ms + self._model.period_ms,
                            partial(self._measure, due_ms + self._model.period_ms))

    def _hear(self, deviation_mhz: int, measured_ms: int) -> None:
        now_ms = self._clock.unix_ms
        self._support.measure(Measurement(
            measured_ms, self._product.nominal_mhz + deviation_mhz, VOLTAGE_MV))
        ready = self._aggregator.capability(now_ms)[codes.SERVICE_FREQUENCY]
        self._support.step(now_ms, 0, ready.discharge.power_mw, False)

    def _energy(self) -> float:
        return sum(rig.plant.energy_pcc_j for rig in self._site.rigs)

    def _sample(self, due_ms: int) -> None:
        """Take the mean power since the last sample, and note how late this one is."""
        now_ms = self._clock.now_ms
        for rig in self._site.rigs:
            rig.plant.advance(now_ms)
        energy_j = self._energy()
        dt_ms = now_ms - self._begin_ms
        self._late_ms = max(self._late_ms, now_ms - due_ms)
        if dt_ms > 0:
            self._fine.append((now_ms - READY_MS, (energy_j - self._energy_j) * 1000 / dt_ms))
            self._begin_ms, self._energy_j = now_ms, energy_j
        # a clock that was late goes on with the grid, and misses no time
        following_ms = max(due_ms + FINE_MS, now_ms - now_ms % FINE_MS + FINE_MS)
        self._clock.call_at(following_ms, partial(self._sample, following_ms))

    # judgement

    def _judge(self) -> None:
        response, trace = self.response, self._trace
        fine = np.array(self._fine)
        time_ms, power_w = fine[:, 0], fine[:, 1]
        if trace.steps:  # what the stages live off is no response: steps begin at rest
            rest = time_ms < trace.steps[0].at_ms - REST_MS
            power_w = power_w - float(np.median(power_w[rest]))
        for step in trace.steps:
            asked_w = self._asked_at(step.deviation_mhz)
            response.steps.append(judge_step(
                time_ms, power_w, step, asked_w, response.contract_w))
        if response.steps:
            response.limits = limits_of(self._product, response.steps)
        grid_ms = np.arange(RECORD_MS, trace.duration_ms, RECORD_MS, dtype=np.float64)
        cumulative = np.concatenate(([0.0], np.cumsum(power_w * np.diff(time_ms, prepend=0.0))))
        energy = np.interp(np.concatenate(([0.0], grid_ms)), np.concatenate(([0.0], time_ms)),
                           cumulative)
        mean_w = np.diff(energy) / RECORD_MS
        deviation = np.array([trace.at(at_ms - RECORD_MS / 2) for at_ms in grid_ms])
        wanted_w = np.array([self._asked_at(one) for one in deviation])
        response.record = np.column_stack((grid_ms, deviation, wanted_w, mean_w))
        response.tracking = judge_trace(mean_w, wanted_w, RECORD_MS, self._product.full_ms)
        response.clock_error_ms = float(self._late_ms)

    def _asked_at(self, deviation_mhz: float) -> float:
        """Return what the curve asks for, W."""
        return self.response.contract_w * self._product.curve.share_bp(round(deviation_mhz)) \
            / 10000
