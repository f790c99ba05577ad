"""Thousands of simulated elements in one process, their lines, their time.

A line is in memory: what the host sends is delivered by `pump`, after the line's latency, as is
what the elements say. Nothing here knows the host: a line is a function that the host sends with,
and `pump` is given one that receives.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable

from element.protocol.errors import SignatureError
from hil.swarm.element import SimulatedElement, Spec
from hil.swarm.keys import light_pair
from hil.swarm.specs import Maker, mixed
from host_tools.identity.issuer import Authorities, Issuer
from host_tools.identity.keyring import Enrolled
from host_tools.identity.keys import KeyPair

START_MS = 1_767_225_600_000
ROUNDS_MAX = 1000

Receive = Callable[[str, bytes, int], None]


class Population:
    """Elements by name, and the lines between them and a host.

    now_ms: the present, as `advance` or `pump` were last told. enrolled: what a host's keyring
    needs of those that were enrolled here. latency_ms: one way, of every line.
    """

    def __init__(self, seed: int = 1, now_ms: int = START_MS, latency_ms: int = 0) -> None:
        self.rng = random.Random(seed)
        self.now_ms = now_ms
        self.latency_ms = latency_ms
        self.elements: dict[str, SimulatedElement] = {}
        self.enrolled: list[Enrolled] = []
        self._to_element: deque[tuple[int, str, bytes]] = deque()
        self._to_host: deque[tuple[int, str, bytes]] = deque()
        self._due: list[tuple[int, str]] = []
        self._queued: dict[str, int] = {}

    # elements

    @classmethod
    def make(cls, count: int, seed: int = 1, authorities: Authorities | None = None,
             now_ms: int = START_MS, maker: Maker = mixed, latency_ms: int = 0) -> "Population":
        """Make count elements; with authorities they are enrolled, without a line."""
        population = cls(seed, now_ms, latency_ms)
        for index in range(count):
            population.add(maker(index, population.rng), authorities)
        return population

    def add(self, spec: Spec, authorities: Authorities | None = None,
            pairs: tuple[KeyPair, KeyPair] | None = None) -> SimulatedElement:
        """Add one element, enrolled by these authorities if there are any.

        pairs: its keys for signing and for agreement, None to make them.
        """
        if spec.name in self.elements:
            raise ValueError(f"two elements are called {spec.name}")
        sign, agree = pairs or (light_pair(self.rng.randbytes),
                                light_pair(self.rng.randbytes))
        name = spec.name
        element = SimulatedElement(
            spec, sign, agree, self.rng, lambda data: self._say(name, data), self.now_ms)
        self.elements[name] = element
        if authorities is not None:
            self.enrolled.append(self._enrol(element, authorities))
        self._queue(name)
        return element

    def _enrol(self, element: SimulatedElement, authorities: Authorities) -> Enrolled:
        """Enrol an element as a line would: signed request, credential, checked grant."""
        spec = element.spec
        challenge = self.rng.randbytes(16)
        request = element.end.identity.request(challenge, spec.name.encode()[:16], "simulated",
                                               "swarm")
        enrolled, grant = Issuer(authorities).enrol(
            request, challenge, spec.profile, spec.zone, spec.tenant, self.now_ms // 1000)
        code = element.end.identity.grant(grant)
        if code:
            raise SignatureError("grant", code)
        element.on_enrolled()
        return enrolled

    def clone(self, name: str, as_name: str) -> SimulatedElement:
        """Add an element with the keys and the credential of another one, on a line of its own."""
        original = self.elements[name]
        identity = original.end.identity
        spec = Spec(as_name, original.spec.profile, original.spec.zone, original.spec.tenant,
                    original.spec.cell_count, original.spec.soc_bp)
        twin = self.add(spec, pairs=(identity.sign, identity.agree))
        twin.restore(original.state())
        return twin

    def remove(self, name: str) -> SimulatedElement:
        """Take an element off its line."""
        self._queued.pop(name, None)
        return self.elements.pop(name)

    # lines

    def line(self, name: str) -> Callable[[bytes], None]:
        """Return what a host sends through to an element."""
        return lambda data: self._to_element.append((self.now_ms + self.latency_ms, name, data))

    def _say(self, name: str, data: bytes) -> None:
        self._to_host.append((self.now_ms + self.latency_ms, name, data))

    def pump(self, receive: Receive, now_ms: int | None = None) -> int:
        """Deliver what has arrived, both ways, until nothing more does; returns how many pieces.

        receive(name, data, now_ms) is the host's. Raises RuntimeError when that never ends.
        """
        if now_ms is not None:
            self.now_ms = now_ms
        count = 0
        for _ in range(ROUNDS_MAX):
            moved = self._deliver(receive)
            if not moved:
                return count
            count += moved
        raise RuntimeError(f"the lines do not fall silent after {ROUNDS_MAX} rounds")

    def _deliver(self, receive: Receive) -> int:
        now_ms = self.now_ms
        moved = 0
        for _ in range(len(self._to_element)):
            if self._to_element[0][0] > now_ms:
                break
            _, name, data = self._to_element.popleft()
            element = self.elements.get(name)
            moved += 1
            if element is not None:
                element.receive(data, now_ms)
                self._queue(name)
        for _ in range(len(self._to_host)):
            if self._to_host[0][0] > now_ms:
                break
            _, name, data = self._to_host.popleft()
            moved += 1
            receive(name, data, now_ms)
        return moved

    # time

    def _queue(self, name: str) -> None:
        due_ms = self.elements[name].due_ms
        if due_ms < self._queued.get(name, due_ms + 1):
            self._queued[name] = due_ms
            heapq.heappush(self._due, (due_ms, name))

    def advance(self, now_ms: int) -> None:
        """Let time pass: every element says what is due by then, at its own moment."""
        while self._due and self._due[0][0] <= now_ms:
            due_ms, name = heapq.heappop(self._due)
            if self._queued.get(name) != due_ms:
                continue  # an earlier one has been served, or it has gone
            del self._queued[name]
            self.now_ms = max(self.now_ms, due_ms)
            self.elements[name].step(self.now_ms)
            self._queue(name)
        self.now_ms = now_ms

    @property
    def due_ms(self) -> int | None:
        """When something is due next: an element's word, or a message on a line."""
        times = [queue[0][0] for queue in (self._to_element, self._to_host) if queue]
        times += [self._due[0][0]] if self._due else []
        return min(times) if times else None
