"""The population as it stands: rows that follow the elements' words, capability, ageing. No I/O.

Telemetry changes one row; who is silent, held or does not answer can do nothing. When most of the
population falls silent at once it is the bus and not the elements: for ride_through_ms they are
planned with as they last were, and everything that says so is flagged stale.
"""

from host_tools.envelope.capability import Capability, CapabilityBook
from host_tools.envelope.ceilings import eligible
from host_tools.envelope.policy import Among, Policy
from host_tools.envelope.population import Population, Row
from host_tools.envelope.wear import Chemistry
from host_tools.inventory.elements import TELEMETRY_AGE_MS_MAX, ElementView, Inventory

LEASE_MS = 1500
_NEVER_MS = -(10**15)


class Fleet:
    """Rows of an inventory. lease_ms: of the setpoints that are planned for."""

    def __init__(self, inventory: Inventory, policy: Policy, lease_ms: int = LEASE_MS,
                 ride_through_ms: int = 0) -> None:
        self.lease_ms = lease_ms
        self.disturbed_since_ms: int | None = None
        self.chemistries: dict[str, Chemistry] | None = None  # what their packs cost and last
        self._inventory = inventory
        self._policy = policy
        self._ride_through_ms = ride_through_ms
        self._counted: dict[bytes, ElementView] = {}  # those that are planned with
        self._rows: dict[bytes, Row] = {}
        self._anew = False
        self.population = Population({})
        self._book = CapabilityBook(self.population, policy)
        self._known: tuple[int, Capability] | None = None

    @property
    def policy(self) -> Policy:
        """The policy that capability and plans follow."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = policy
        self._book = CapabilityBook(self.population, policy)
        self._known = None

    def add(self, view: ElementView) -> None:
        """Take an element in, or take note that its credential or announcement has changed."""
        row = view.row(self.chemistries)
        if self._rows.get(view.element_id) != row:
            self._rows[view.element_id] = row
            self._anew = True

    def remove(self, element_id: bytes) -> None:
        """Forget an element."""
        if self._rows.pop(element_id, None) is not None:
            self._counted.pop(element_id, None)
            self._anew = True

    def update(self, view: ElementView, now_ms: int) -> bool:
        """Take what an element has said or what has become of it. True when who counts changed."""
        counts = view.plannable(now_ms, self._age_ms_max(now_ms))
        if counts != (view.element_id in self._counted):
            if counts:
                self._counted[view.element_id] = view
            else:
                del self._counted[view.element_id]
            changed = True
        else:
            changed = False
        if not self._anew and self.population.index(view.element_id) is not None:
            self.population.set(view.element_id, view.state(counts))
            self._known = None
        return changed

    def age(self, now_ms: int) -> bool:
        """Look who has not been heard for too long. True when who counts has changed."""
        silent = [view for view in self._counted.values()
                  if not view.fresh(now_ms, TELEMETRY_AGE_MS_MAX)]
        if 2 * len(silent) > len(self._counted) and self._ride_through_ms:
            if self.disturbed_since_ms is None:
                self.disturbed_since_ms = now_ms
        else:
            self.disturbed_since_ms = None
        age_ms_max = self._age_ms_max(now_ms)
        gone = [view for view in silent if not view.fresh(now_ms, age_ms_max)]
        for view in gone:
            self.update(view, now_ms)
        return bool(gone)

    def rides_through(self, now_ms: int) -> bool:
        """Return True while a silent population is planned with as it last was."""
        return self.disturbed_since_ms is not None \
            and now_ms - self.disturbed_since_ms <= self._ride_through_ms

    def _age_ms_max(self, now_ms: int) -> int:
        if self.rides_through(now_ms):
            return TELEMETRY_AGE_MS_MAX + self._ride_through_ms
        return TELEMETRY_AGE_MS_MAX

    def renew(self, now_ms: int) -> None:
        """Make the rows anew when elements came, went or have new limits."""
        if not self._anew:
            return
        self._anew = False
        self.population = self.population.replaced(self._rows)
        self._book = CapabilityBook(self.population, self._policy)
        self._known = None
        for element_id in self.population.ids:
            view = self._inventory.get(element_id)
            if view is not None:
                self.population.set(element_id, view.state(element_id in self._counted))

    def capability(self, now_ms: int) -> Capability:
        """Return what the building can do at this moment."""
        self.renew(now_ms)
        if self._known is None or self._known[0] != now_ms:
            self._known = (now_ms, self._book.compute(now_ms, self.lease_ms))
        return self._known[1]

    def count(self, service: int, among: Among) -> int:
        """Return how many that may be planned with take part in a service among these."""
        takes_part = eligible(self.population, service, among)
        return sum(element_id in self._counted for element_id, part in
                   zip(self.population.ids, takes_part.tolist(), strict=True) if part)

    def counts(self, element_id: bytes) -> bool:
        """Return True when an element may be planned with."""
        return element_id in self._counted

    @property
    def counted(self) -> int:
        """How many elements may be planned with."""
        return len(self._counted)
