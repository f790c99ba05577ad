"""Benchmarks of the building aggregator: plans, capability, a whole cycle, an alarm, growth."""

import gc
import math
import random
import resource
import time
from collections.abc import Callable, Iterator

from element.protocol import codes
from hil.benchmarks.population import Building
from hil.benchmarks.registry import Context, Measure, benchmark
from host_tools.dispatch.plan import dispatch
from host_tools.envelope.capability import CapabilityBook
from host_tools.envelope.ceilings import ceilings
from host_tools.envelope.policy import ECONOMIC, RULES, Instruction, Policy
from host_tools.envelope.population import STATE_COLUMNS, Population, Row

COUNT = 10_000
PLANS = 400
ALARM_COUNT = 1000
GROWTH = (1000, 10_000, 100_000)
START_MS = 1_000_000


def random_rows(count: int, seed: int = 1) -> dict[bytes, Row]:
    """Return a mixed building: a fifth on/off, three quarters on single phases."""
    rng = random.Random(seed)
    rows = {}
    for _ in range(count):
        power_mw = rng.randrange(500_000, 10_000_000)
        rows[rng.randbytes(8)] = Row(
            discharge_mw=power_mw if rng.random() < 0.9 else 0, charge_mw=power_mw,
            discharge_mwh=rng.randrange(10_000_000), charge_mwh=rng.randrange(10_000_000),
            soc_bp=rng.randrange(10_000), soh_bp=rng.randrange(7000, 10_001),
            step_mw=power_mw if rng.random() < 0.2 else 0, on_ms_min=3000, off_ms_min=2000,
            services=0x3F, response_ms=500, phase=rng.randrange(4),
            wear=rng.randrange(10_000, 90_000), nameplate_discharge_mw=power_mw,
            nameplate_charge_mw=power_mw, nameplate_mwh=10_000_000)
    return rows


def _plan_times_ms(population: Population, policy: Policy, times: int, seed: int) -> list[float]:
    """Return how long each of so many instructions took, sorted; on/off state goes along."""
    rng = random.Random(seed)
    able_mw = ceilings(population, policy, 1, Instruction(0, now_ms=START_MS)).total_mw
    spent, cursor = [], b""
    for turn in range(times):
        now_ms = START_MS + turn * 1000
        asked = Instruction(rng.randrange(-able_mw, able_mw), now_ms=now_ms, cursor=cursor)
        began = time.perf_counter()
        plan = dispatch(population, policy, asked)
        spent.append((time.perf_counter() - began) * 1000)
        if int(plan.parts_mw.sum()) != plan.admitted_mw:
            raise AssertionError("the parts do not sum to what was admitted")
        population.take(plan.levels, now_ms)
        cursor = plan.cursor
    return sorted(spent)


def _p99(values: list[float]) -> float:
    return values[math.ceil(len(values) * 0.99) - 1]


@benchmark("decompose")
def decompose(context: Context) -> Iterator[Measure]:
    """One instruction over 10,000 elements, by every rule; and how that grows."""
    _settled()
    for rule in RULES:
        spent = _plan_times_ms(Population(random_rows(COUNT)), Policy(rule), PLANS, 1)
        yield Measure(f"decompose.{rule}.p99_ms", round(_p99(spent), 2), "ms",
                      "<= 25" if rule == ECONOMIC else "<= 5")
        yield Measure(f"decompose.{rule}.median_ms", round(spent[len(spent) // 2], 2), "ms", "")
    medians = []
    for count in GROWTH:
        spent = _plan_times_ms(Population(random_rows(count)), Policy(), 40, 2)
        medians.append(spent[len(spent) // 2])
        yield Measure(f"decompose.growth_{count}_ms", round(medians[-1], 2), "ms", "")
    least, most = GROWTH[0], GROWTH[-1]
    allowed = most * math.log(most) / (least * math.log(least))
    yield Measure("decompose.growth_over_n_log_n", round(medians[-1] / medians[0] / allowed, 3),
                  "", "<= 1")


@benchmark("capability")
def capability(context: Context) -> Iterator[Measure]:
    """The capability of 10,000 elements after one of them has changed."""
    _settled()
    population = Population(random_rows(COUNT))
    book = CapabilityBook(population, Policy(reserve_mwh=1_000_000, headroom_bp=500))
    book.compute(START_MS)
    rng, spent = random.Random(3), []
    for turn in range(1000):
        state = [rng.randrange(10_000) for _ in STATE_COLUMNS]
        began = time.perf_counter()
        population.set(population.ids[rng.randrange(COUNT)], state)
        book.compute(START_MS + turn)
        spent.append((time.perf_counter() - began) * 1000)
    spent.sort()
    yield Measure("capability.one_change_p99_ms", round(_p99(spent), 2), "ms", "<= 2")
    yield Measure("capability.one_change_median_ms", round(spent[500], 2), "ms", "")


def _settled() -> None:
    """Take what is there out of the collector's way, as the service does when it has settled."""
    gc.collect()
    gc.freeze()


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


Said = list[tuple[str, bytes, int]]


class Round:
    """One second of a building: telemetry in, a turn, and then the answers to its setpoints."""

    def __init__(self, building: Building) -> None:
        population, aggregator = building.population, building.aggregator
        now_ms = population.now_ms - population.now_ms % 1000 + 1000
        population.advance(now_ms)
        telemetry: Said = []
        population.pump(lambda *what: telemetry.append(what))
        before = aggregator.counters.dispatches
        gc.collect()
        self.telemetry_count = len(telemetry)
        self.telemetry_s = _timed(lambda: self._hear(building, telemetry))
        self.turn_s = _timed(lambda: aggregator.step(now_ms))
        if aggregator.counters.dispatches == before:
            raise AssertionError("nothing was dispatched")
        answers: Said = []
        population.pump(lambda *what: answers.append(what))
        self.answer_count = len(answers)
        self.answers_s = _timed(lambda: self._hear(building, answers))

    @staticmethod
    def _hear(building: Building, said: Said) -> None:
        receive = building.aggregator.receive
        for name, data, at_ms in said:
            receive(name, data, at_ms)

    @property
    def cycle_s(self) -> float:
        """From the first telemetry to the last protected setpoint."""
        return self.telemetry_s + self.turn_s


@benchmark("cycle")
def cycle(context: Context) -> Iterator[Measure]:
    """Telemetry of 10,000 elements in, a plan, 10,000 protected setpoints out, in one process.

    The elements make their telemetry, and take their setpoints, outside of the time.
    """
    building = Building(COUNT)
    while building.known() < COUNT:
        building.turn()
    building.turn()
    _settled()
    aggregator = building.aggregator
    able = aggregator.capability(building.population.now_ms)[codes.SERVICE_REGULATION]
    rng, rounds = random.Random(4), []
    for _ in range(9):
        target_mw = rng.randrange(-able.charge.power_mw // 2, able.discharge.power_mw // 2)
        aggregator.target = lambda _, target_mw=target_mw: target_mw  # type: ignore[misc]
        rounds.append(Round(building))
    rounds = sorted(rounds[2:], key=lambda one: one.cycle_s)
    middle = rounds[len(rounds) // 2]
    yield Measure("cycle.total_s", round(middle.cycle_s, 3), "s", "<= 1")
    yield Measure("cycle.total_s_most", round(rounds[-1].cycle_s, 3), "s", "")
    yield Measure("cycle.telemetry_s", round(middle.telemetry_s, 3), "s", "")
    yield Measure("cycle.plan_and_setpoints_s", round(middle.turn_s, 3), "s", "")
    yield Measure("cycle.answers_s", round(middle.answers_s, 3), "s", "")
    yield Measure("cycle.telemetry_count", middle.telemetry_count, "", f">= {COUNT}")
    yield Measure("cycle.answer_count", middle.answer_count, "", f">= {COUNT}")
    yield Measure("cycle.elements_counted", aggregator.fleet.counted, "", f">= {COUNT // 2}")
    # this process holds the simulated elements too, which a panel does not
    yield Measure("cycle.memory_mb",
                  round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024), "MB", "<= 500")


@benchmark("alarm")
def alarm(context: Context) -> Iterator[Measure]:
    """An alarm for a building of 1,000: until the last protected trip is on its line."""
    building = Building(ALARM_COUNT)
    while building.known() < ALARM_COUNT:
        building.turn()
    building.turn()
    aggregator, now_ms = building.aggregator, building.population.now_ms
    told = 0

    def begin() -> None:
        nonlocal told
        told = aggregator.alarm(0, now_ms, "benchmark")

    gc.collect()
    spent_s = _timed(begin)
    left_mw = aggregator.capability(now_ms)[codes.SERVICE_REGULATION].discharge.power_mw
    yield Measure("alarm.sent_ms", round(spent_s * 1000, 1), "ms", "<= 100")
    yield Measure("alarm.told", told, "", f"== {ALARM_COUNT}")
    yield Measure("alarm.capability_left_mw", left_mw, "mW", "== 0")
    building.turn()
    tripped = sum(one.body.interlock.tripped for one in building.population.elements.values())
    yield Measure("alarm.tripped", tripped, "", f"== {ALARM_COUNT}")
