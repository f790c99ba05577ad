"""What the building can do now, as one resource. Pure; fast enough for every change of state.

The figures of every class come from the same `ceilings` that a dispatch is held against, summed
by kind of element instead of class by class, so none is ever more than can be dispatched.
"""

from dataclasses import dataclass, field

import numpy as np

from element.protocol import codes
from host_tools.envelope.ceilings import (
    GROUPS,
    able_mw,
    capped_mw,
    ladder_of,
    response_ms_max,
    way_of,
)
from host_tools.envelope.policy import Policy
from host_tools.envelope.population import HOLD_MARGIN_MS, Ints, Population, Rows

SERVICES = (codes.SERVICE_REGULATION, codes.SERVICE_ENERGY, codes.SERVICE_FREQUENCY,
            codes.SERVICE_BACKUP, codes.SERVICE_CAPACITY, codes.SERVICE_TEST)
SERVICE_NAMES = {
    codes.SERVICE_REGULATION: "regulation", codes.SERVICE_ENERGY: "energy",
    codes.SERVICE_TEST: "test", codes.SERVICE_FREQUENCY: "frequency",
    codes.SERVICE_BACKUP: "backup", codes.SERVICE_CAPACITY: "capacity",
}
SERVICE_NUMBERS = {name: number for number, name in SERVICE_NAMES.items()}
# For how long a power is said to last.
HORIZONS_MS = (300_000, 900_000, 3_600_000, 14_400_000)
# What is advertised without a duration is good for this long.
NOW_MS = 2000
# When one in so many rows has changed, all are summed anew.
FULL_SHARE = 4


@dataclass(frozen=True)
class Direction:
    """One direction of one class. power_mw: now. energy_mwh: each envelope's room, less the
    reserve. sustained_mw: the largest power for each of HORIZONS_MS. expected_mw, expected_mwh: of
    the credentialed population in good health under the same policy."""

    power_mw: int
    energy_mwh: int
    sustained_mw: tuple[int, ...]
    expected_mw: int
    expected_mwh: int


@dataclass(frozen=True)
class ServiceCapability:
    """One class of service. response_ms: of the slowest element in it, 0 for none."""

    service: int
    discharge: Direction
    charge: Direction
    response_ms: int
    element_count: int


@dataclass(frozen=True)
class Capability:
    """What the building advertises. by_service: of every class in SERVICES."""

    by_service: dict[int, ServiceCapability] = field(default_factory=dict)

    def __getitem__(self, service: int) -> ServiceCapability:
        return self.by_service[service]


class CapabilityBook:
    """Computes capabilities of one population; kinds of elements are told apart once.

    Elements of one kind have the same services, response and phase.
    """

    def __init__(self, population: Population, policy: Policy) -> None:
        self._population = population
        self._policy = policy
        column = population.column
        key = np.stack([column("services"), column("response_ms"), column("phase")])
        kinds, self._kind = np.unique(key, axis=1, return_inverse=True)
        self._kind = self._kind.reshape(-1)
        self._count = kinds.shape[1]
        self._responses = kinds[1]
        takes = np.stack([
            (kinds[0] & service == service) & (kinds[1] <= response_ms_max(service))
            for service in SERVICES])
        self._takes = takes
        # (service, group) by kind: one product sums every class and phase at once
        self._members = (takes[:, None, :] & (kinds[2] == np.array(GROUPS)[:, None])).reshape(
            len(SERVICES) * len(GROUPS), self._count).astype(np.int64)
        self._expected = {sign: self._expected_side(sign) for sign in (1, -1)}
        self._stepped = np.flatnonzero(column("step_mw"))
        self._rest_ms = column("off_ms_min")[self._stepped] + HOLD_MARGIN_MS
        # which of them might not be had a moment ago, for having switched
        self._resting = self._stepped
        self._lease_ms = -1
        self._added: dict[int, Ints] = {}
        self._by_kind: dict[int, Ints] = {}

    def _sums(self, columns: Ints, at: Ints) -> Ints:
        """Return [kind][column] sums of [column][row], rows being those at `at`."""
        sums = np.zeros((self._count, len(columns)), dtype=np.int64)
        np.add.at(sums, self._kind[at], columns.T)
        return sums

    def _by_service(self, sums: Ints) -> list[list[list[int]]]:
        """Return [service][column][group] of sums by kind, one column each."""
        wide: list[list[list[int]]] = (self._members @ sums).reshape(
            len(SERVICES), len(GROUPS), sums.shape[1]).transpose(0, 2, 1).tolist()
        return wide

    def compute(self, now_ms: int, lease_ms: int = 1500) -> Capability:
        """Return the capability for setpoints with this lease at this moment."""
        self._refresh(now_ms, lease_ms)
        sides = self._by_kind
        counts = np.maximum(sides[1][:, -1], sides[-1][:, -1])
        wide = {sign: self._by_service(sides[sign]) for sign in (1, -1)}
        out = {}
        for at, service in enumerate(SERVICES):
            there = self._takes[at] & (counts > 0)
            out[service] = ServiceCapability(
                service, self._direction(at, 1, wide[1][at]),
                self._direction(at, -1, wide[-1][at]),
                int(self._responses[there].max(initial=0)), int(counts[there].sum()))
        return Capability(out)

    def _refresh(self, now_ms: int, lease_ms: int) -> None:
        """Bring what each element adds up to date: those that changed, and those that rest.

        The sums follow by difference; in integers that is exact.
        """
        changed = np.union1d(self._population.changed(), self._resting)
        held = now_ms - self._population.column("since_ms")[self._stepped] < self._rest_ms
        self._resting = self._stepped[held]
        if lease_ms != self._lease_ms or len(changed) * FULL_SHARE > len(self._population):
            self._lease_ms = lease_ms
            everybody = np.arange(len(self._population))
            for sign in (1, -1):
                self._added[sign] = self._adds(self._population, sign, now_ms, lease_ms)
                self._by_kind[sign] = self._sums(self._added[sign], everybody)
            return
        if not len(changed):
            return
        rows = self._population.rows(changed)
        for sign in (1, -1):
            new = self._adds(rows, sign, now_ms, lease_ms)
            self._by_kind[sign] += self._sums(new - self._added[sign][:, changed], changed)
            self._added[sign][:, changed] = new

    @staticmethod
    def _adds(rows: Rows, sign: int, now_ms: int, lease_ms: int) -> Ints:
        """Return what rows add: ready, room, caps for now and each horizon, 1 for who is ready."""
        ready = able_mw(rows, sign, lease_ms, now_ms)
        room = np.where(ready > 0, rows.column(f"{way_of(sign)}_mwh"), 0)
        caps = [capped_mw(rows, ready, room, duration_ms)
                for duration_ms in (NOW_MS, *HORIZONS_MS)]
        return np.stack([ready, room, *caps, (ready > 0).astype(np.int64)])

    def _expected_side(self, sign: int) -> list[tuple[int, int]]:
        """Return (power, energy) of each service for the whole population in good health."""
        power = self._population.column(f"nameplate_{way_of(sign)}_mw")
        energy = np.where(power > 0, self._population.column("nameplate_mwh"), 0)
        if sign > 0:
            energy = np.maximum(0, energy - self._population.column("backup_mwh"))
        wide = self._by_service(
            self._sums(np.stack([power, energy]), np.arange(len(self._population))))
        return [(self._total(sign, sum(powers), tuple(powers), sum(energies), NOW_MS),
                 self._spare_mwh(sign, sum(energies))) for powers, energies in wide]

    def _total(self, sign: int, ready_mw: int, groups_mw: tuple[int, ...], room_mwh: int,
               duration_ms: int) -> int:
        return ladder_of(ready_mw, groups_mw, self._policy, sign, room_mwh, duration_ms)[-1][1]

    def _spare_mwh(self, sign: int, room_mwh: int) -> int:
        return max(0, room_mwh - (self._policy.reserve_mwh if sign > 0 else 0))

    def _direction(self, at: int, sign: int, columns: list[list[int]]) -> Direction:
        """Return one direction of a service from its columns of `_side`, by group each."""
        ready_mw, room_mwh = sum(columns[0]), sum(columns[1])
        totals = [self._total(sign, ready_mw, tuple(groups), room_mwh, duration_ms)
                  for groups, duration_ms in zip(columns[2:-1], (NOW_MS, *HORIZONS_MS),
                                                 strict=True)]
        return Direction(totals[0], self._spare_mwh(sign, room_mwh), tuple(totals[1:]),
                         *self._expected[sign][at])
