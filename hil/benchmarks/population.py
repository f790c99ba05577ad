"""Benchmarks of a panel with thousands of simulated elements: how long until it knows them."""

import random
import time
from collections.abc import Iterator

from hil.benchmarks.registry import Context, Measure, benchmark
from hil.swarm.population import Population
from hil.swarm.specs import mixed
from host_tools.aggregator import Aggregator
from host_tools.identity.issuer import Authorities
from host_tools.ledger.store import Ledger

COUNT = 10_000
DELTA_COUNT = COUNT // 100
TURNS_MAX = 20


class Building:
    """An aggregator and a population; elements and host share one core."""

    def __init__(self, count: int, seed: int = 1) -> None:
        rng = random.Random(seed)
        self.authorities = Authorities.make(rng.randbytes)
        self.population = Population.make(count, seed, self.authorities)
        self.aggregator = Aggregator(
            self.authorities, Ledger(), rng.randbytes,
            lambda name, request: (self.population.elements[name].spec.profile, 1, ""))
        for name in self.population.elements:
            self._plug(name)

    def _plug(self, name: str) -> None:
        port = self.aggregator.add_port(name, self.population.line(name))
        keyring = port.keyring
        if keyring is not None:
            while self.population.enrolled:
                one = self.population.enrolled.pop()
                keyring.known[one.element_id] = one

    def replace(self, count: int) -> set[bytes]:
        """Take count elements off their lines and put new ones on new lines."""
        names = list(self.population.elements)[:count]
        for name in names:
            self.population.remove(name)
        new = set()
        for index in range(count):
            spec = mixed(COUNT + index, self.population.rng)
            new.add(self.population.add(spec, self.authorities).element_id)
            self._plug(spec.name)
        return new

    def known(self) -> int:
        """Return how many elements the inventory names after a verified announcement."""
        return sum(view.announced for view in self.aggregator.inventory.views())

    def turn(self) -> float:
        """Let a second pass and both ends talk until nothing more is said; returns s spent.

        What the elements compute to make their telemetry is not in it; what they answer is.
        """
        population = self.population
        population.advance(population.now_ms + 1000)
        began = time.perf_counter()
        self.aggregator.step(population.now_ms)
        population.pump(self.aggregator.receive)
        return time.perf_counter() - began


def memory_mib() -> float:
    """Return the process's resident memory in MiB; 0 where the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmRSS"):
                    return int(line.split()[1]) / 1024
    except OSError:
        return 0.0
    return 0.0


@benchmark("discovery")
def discovery(context: Context) -> Iterator[Measure]:
    """Find 10,000 elements from nothing, then a hundred new ones beside the telemetry of all.

    Credentials are there; each element is asked WHO, greeted (EDHOC, with the work of both ends),
    interrogated, and its announcement verified. What they compute is timed, not a line.
    """
    building = Building(COUNT)
    spent_s = 0.0
    for _ in range(TURNS_MAX):
        spent_s += building.turn()
        if building.known() == COUNT:
            break
    yield Measure("discovery.found", building.known(), "", f"== {COUNT}")
    yield Measure("discovery.full_s", round(spent_s, 2), "s", "<= 60")
    yield Measure("discovery.memory_mib", round(memory_mib()), "MiB", "<= 500")
    building.turn()
    new = building.replace(DELTA_COUNT)
    views = building.aggregator.inventory
    spent_s = building.turn()
    found = 0
    for element_id in new:
        view = views.get(element_id)
        found += view is not None and view.announced
    yield Measure("discovery.delta_found", found, "", f"== {DELTA_COUNT}")
    yield Measure("discovery.delta_s", round(spent_s, 2), "s", "<= 2")
