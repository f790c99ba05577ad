"""A building bus in memory: the real master, the firmware's own line, the emulated pair."""

import random
from dataclasses import dataclass, field

from element.link.bus_line import BusLine
from hil.devices.rs485_bus import RS485Bus
from host_tools.links.bus import BusMaster

MASTER = "panel"


class _Waiter:
    def kick(self) -> None:
        pass


class _HAL:
    """The clock of a board, wrapping as a 32-bit board's does."""

    WRAP = 1 << 28

    def __init__(self, bench: "BusBench") -> None:
        self._bench = bench

    def ticks_ms(self) -> int:
        return (self._bench.now_ms + self.WRAP - 2000) % self.WRAP

    def ticks_diff(self, later: int, earlier: int) -> int:
        half = self.WRAP // 2
        return (later - earlier + half) % self.WRAP - half

    def ticks_add(self, ticks: int, delta_ms: int) -> int:
        return (ticks + delta_ms) % self.WRAP

    def waiter(self) -> _Waiter:
        return _Waiter()

    def log(self, text: str) -> None:
        pass


class _UART:
    """A transceiver on the pair."""

    def __init__(self, bench: "BusBench", name: str) -> None:
        self._bench, self._name = bench, name

    def write(self, data: bytes) -> None:
        self._bench.pair.send(self._name, data, self._bench.now_ms)

    def read(self) -> bytes:
        return self._bench.pair.take(self._name, self._bench.now_ms)


@dataclass
class Node:
    """An element: its line, what it got, and whether it says everything twice (an echo)."""

    element_id: bytes
    line: BusLine
    got: bytearray = field(default_factory=bytearray)
    late_ms: int = 0  # it looks at its line only every so often


class BusBench:
    """Everything on one pair, a ms at a time."""

    def __init__(self, seed: int, baud: int = 115200, echo: bool = False) -> None:
        self.rng = random.Random(seed)
        self.now_ms = 0
        self.pair = RS485Bus(baud, self.rng, echo)
        self.pair.attach(MASTER, in_pieces=True)
        self.nodes: dict[bytes, Node] = {}
        self.found: list[tuple[int, bytes]] = []
        self.lost: list[bytes] = []
        self.upward: dict[bytes, bytearray] = {}
        self.master = BusMaster(baud, self.rng.randbytes, self._on_found, self.lost.append)
        self.baud = baud

    def _on_found(self, element_id: bytes):  # type: ignore[no-untyped-def]
        self.found.append((self.now_ms, element_id))
        return self.upward.setdefault(element_id, bytearray()).extend

    def add(self, element_id: bytes | None = None, name: str = "") -> Node:
        """Put an element on the pair."""
        element_id = element_id or self.rng.randbytes(8)
        name = name or element_id.hex()
        self.pair.attach(name)
        node = Node(element_id, BusLine(_HAL(self), _UART(self, name), self.baud))
        node.line.begin(element_id)
        self.nodes[name.encode()] = node
        return node

    def run(self, duration_ms: int) -> None:
        """Go on for so long."""
        for _ in range(duration_ms):
            self.now_ms += 1
            heard = self.pair.take(MASTER, self.now_ms)
            if heard:
                self.master.receive(heard, self.now_ms)
            if self.master.due_ms <= self.now_ms:
                self.pair.send(MASTER, self.master.step(self.now_ms), self.now_ms)
            for name, node in self.nodes.items():
                if node.late_ms and self.now_ms % node.late_ms:
                    continue
                if not (node.line.busy or self.pair.has_news(name.decode())
                        or self.now_ms % 50 == 0):
                    continue  # nothing to look at
                node.line.look()
                node.got += node.line.read()

    def all_found(self) -> bool:
        """Return True when each element is known, and each address is one element's."""
        known = self.master.elements
        addresses = [node.line.address for node in self.nodes.values()]
        return all(node.element_id in known and known[node.element_id].confirmed
                   for node in self.nodes.values()) and len(set(addresses)) == len(addresses)

    def run_until_found(self, limit_ms: int) -> int:
        """Go on until all are found; return when that was."""
        end_ms = self.now_ms + limit_ms
        while self.now_ms < end_ms:
            self.run(10)
            if self.all_found():
                return self.now_ms
        raise AssertionError(f"{len(self.found)} of {len(self.nodes)} after {limit_ms} ms")
