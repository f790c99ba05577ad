"""Aggregators above aggregators, and simulated elements below, on lines in memory."""

import random
from collections import deque
from pathlib import Path

from hil.swarm.population import START_MS, Population
from hil.swarm.specs import Maker, converters
from host_tools.aggregator import Aggregator
from host_tools.envelope.policy import Policy
from host_tools.identity.aggregate import admit, make_request, profile_of, read_grant, read_request
from host_tools.identity.issuer import Authorities, Issuer
from host_tools.identity.keyring import Enrolled, Keyring
from host_tools.identity.keys import make_key_pair
from host_tools.inventory.discovery import Discovery
from host_tools.ledger.store import Ledger
from host_tools.panel.building import Building
from host_tools.panel.parent import ParentEnd

STEP_MS = 100
INTERVAL_MS = 10_000


class Level:
    """One aggregator with what is below it: other levels, or a population of elements."""

    def __init__(self, name: str, folder: Path, below: "list[Level] | None" = None,
                 count: int = 2, maker: Maker | None = None, zone: int = 1, seed: int = 1,
                 policy: Policy | None = None, ride_through_ms: int = 0) -> None:
        rng = self._rng = random.Random(f"{name} {seed}")
        self.name, self.path, self.zone, self.policy = name, folder / f"{name}.db", zone, policy
        self.authorities = Authorities.make(rng.randbytes)
        self.agree = make_key_pair(rng.randbytes)
        self.ride_through_ms = ride_through_ms
        self.grant = b""
        self.below = below or []
        self.now_ms = START_MS
        self.population = Population.make(
            0 if below else count, seed, self.authorities, maker=maker or converters(5000))
        self.known: dict[bytes, Enrolled] = {
            one.element_id: one for one in self.population.enrolled}
        self._to_parent: deque[bytes] = deque()
        self._from_parent: deque[bytes] = deque()
        self.alive = True
        for one in self.below:
            self._admit(one)
        self._begin()

    def _admit(self, child: "Level") -> None:
        """Admit a level below, as by the files of the command line."""
        request = read_request(make_request(
            child.name, child.authorities.aggregator, child.agree,
            profile_of([one.claims["profile"] for one in child.known.values()])))
        enrolled, child.grant = admit(request, Issuer(self.authorities), child.zone, child.name,
                                      START_MS // 1000)
        self.known[enrolled.element_id] = enrolled
        child.attach()

    def _begin(self) -> None:
        self.aggregator = Aggregator(
            self.authorities, Ledger.at(self.path), self._rng.randbytes, None, INTERVAL_MS,
            keyring=Keyring(self.authorities.party, self.known), policy=self.policy,
            ride_through_ms=self.ride_through_ms)
        self.building = Building(self.aggregator, Discovery())
        for name in self.population.elements:
            self.aggregator.add_port(name, self.population.line(name))
        for one in self.below:
            self.aggregator.add_port(one.name, one._from_parent.append)
        self.end: ParentEnd | None = None
        if self.grant:
            self.attach()

    def attach(self) -> None:
        """Take up the grant."""
        self.end = ParentEnd(
            self.building, self.authorities.aggregator, self.agree, read_grant(self.grant),
            self._to_parent.append, self._rng.randbytes, now_ms=self.now_ms)

    def kill(self) -> None:
        """End the process; what was not on the medium is lost."""
        self.aggregator.ledger.connection.rollback()
        self.aggregator.ledger.connection.close()
        self.alive = False

    def restart(self) -> None:
        """Start it again on its ledger."""
        self._from_parent.clear()
        self._to_parent.clear()
        self._begin()
        self.alive = True

    def _levels(self) -> "list[Level]":
        """Return the levels from the lowest to this one."""
        return [one for child in self.below for one in child._levels()] + [self]

    def run(self, duration_ms: int) -> "Level":
        """Let time pass for everybody at and below this level."""
        levels = self._levels()
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            at_ms = self.now_ms + STEP_MS
            for one in levels:
                one.now_ms = at_ms
                one.population.advance(at_ms)
            for _ in range(4 * len(levels)):
                moved = [one._turn() for one in levels]  # everybody has a turn
                if not any(moved):
                    break
        return self

    def _turn(self) -> bool:
        """Take what has come and do what is due; False when there was nothing."""
        if not self.alive:
            self._from_parent.clear()
            return False
        moved = self.population.pump(self._receive, self.now_ms) > 0
        for one in self.below:
            while one._to_parent:
                self._receive(one.name, one._to_parent.popleft(), self.now_ms)
                moved = True
        while self._from_parent and self.end is not None:
            self.end.receive(self._from_parent.popleft(), self.now_ms)
            moved = True
        while self.building.due_ms <= self.now_ms:
            self.building.step(self.now_ms)
            moved = True
        if self.end is not None:
            self.end.step(self.now_ms)
        return moved

    def _receive(self, name: str, data: bytes, now_ms: int) -> None:
        if self.alive and name in self.aggregator.ports:
            self.aggregator.receive(name, data, now_ms)

    def submit(self, power_mw: int, duration_ms: int = 60_000, partial: bool = False):
        """Instruct this level for duration_ms from now."""
        return self.building.submit(f"key-{self._rng.randrange(10**12)}", "api", power_mw, 1,
                                    self.now_ms, self.now_ms + duration_ms, partial, self.now_ms)

    @property
    def power_mw(self) -> int:
        """What all elements at the bottom give together at this moment."""
        elements = self.population.elements.values()
        for one in elements:
            one.step(self.now_ms)
        return sum(one.body.realized_mw for one in elements) \
            + sum(one.power_mw for one in self.below)

    @property
    def ready_mw(self) -> int:
        """What this level advertises for discharge."""
        return self.aggregator.capability(self.now_ms)[1].discharge.power_mw
