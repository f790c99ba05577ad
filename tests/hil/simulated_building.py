"""A building in service with simulated elements on lines in memory, in virtual time."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hil.swarm.element import SimulatedElement
from hil.swarm.population import START_MS, Population
from hil.swarm.specs import Maker, converters
from host_tools.aggregator import Aggregator
from host_tools.envelope.policy import Policy
from host_tools.identity.issuer import Authorities
from host_tools.identity.keyring import Keyring
from host_tools.inventory.discovery import Discovery
from host_tools.inventory.elements import Placement
from host_tools.ledger.store import Ledger
from host_tools.panel.building import Building, Event

STEP_MS = 100


class SimulatedBuilding:
    """Elements, an aggregator, and time that passes when it is told to.

    ledger_path None: in memory, and no `restart`.
    """

    def __init__(self, count: int = 4, maker: Maker | None = None, seed: int = 1,
                 policy: Policy | None = None, ledger_path: Path | None = None,
                 ride_through_ms: int = 0, latency_ms: int = 0,
                 placements: Sequence[Placement] = (), **discovery: int) -> None:
        """placements: of the first elements."""
        rng = random.Random(seed)
        self.authorities = Authorities.make(rng.randbytes)
        self.population = Population.make(
            count, seed, self.authorities, maker=maker or converters(5000),
            latency_ms=latency_ms)
        self.now_ms = START_MS
        self.events: list[Event] = []
        self._rng, self._policy, self._path = rng, policy, ledger_path
        self._ride_through_ms, self._discovery = ride_through_ms, discovery
        self.known = {one.element_id: one for one in self.population.enrolled}
        self._placements = {one.element_id: placement for one, placement in
                            zip(self.population.enrolled, placements, strict=False)}
        self._begin()

    def _begin(self) -> None:
        ledger = Ledger() if self._path is None else Ledger.at(self._path)
        self.aggregator = Aggregator(
            self.authorities, ledger, self._rng.randbytes, None, policy=self._policy,
            keyring=Keyring(self.authorities.party, self.known),
            placement_of=lambda one: self._placements.get(one, Placement()),
            ride_through_ms=self._ride_through_ms)
        self.building = Building(self.aggregator, Discovery(**self._discovery),
                                 self.events.append)
        for name in self.population.elements:
            self.plug(name)

    def plug(self, name: str) -> None:
        """Bring a line to an element."""
        self.aggregator.add_port(name, self.population.line(name))

    def restart(self) -> None:
        """Kill the panel and start another one on the same ledger."""
        self.aggregator.ledger.connection.rollback()
        self.aggregator.ledger.connection.close()
        self._begin()

    def run(self, duration_ms: int) -> "SimulatedBuilding":
        """Let time pass for everybody."""
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.now_ms += STEP_MS
            self.population.advance(self.now_ms)
            self._pump()
            for _ in range(20):
                if self.building.due_ms > self.now_ms:
                    break
                self.building.step(self.now_ms)
                self._pump()
        return self

    def _pump(self) -> None:
        self.population.pump(self._receive, self.now_ms)

    def _receive(self, name: str, data: bytes, now_ms: int) -> None:
        if name in self.aggregator.ports:
            self.aggregator.receive(name, data, now_ms)

    def submit(self, power_mw: int, duration_ms: int = 60_000, key: str = "", **changes: Any
               ) -> Any:
        """Instruct the building for duration_ms from now."""
        asked = {"source": "api", "service": 1, "partial": None} | changes
        key = key or f"key-{self._rng.randrange(10**12)}"
        return self.building.submit(
            key, asked["source"], power_mw, asked["service"], self.now_ms,
            self.now_ms + duration_ms, asked["partial"], self.now_ms)

    def element(self, index: int) -> SimulatedElement:
        """Return an element by its place."""
        return list(self.population.elements.values())[index]

    @property
    def power_mw(self) -> int:
        """What all elements give together at this moment."""
        for one in self.population.elements.values():
            one.step(self.now_ms)
        return sum(one.body.realized_mw for one in self.population.elements.values())

    def told(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of a kind."""
        return [one.fields for one in self.events if one.kind == kind]
