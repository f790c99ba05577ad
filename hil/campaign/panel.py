"""The panel of a campaign: the real aggregator on a real ledger, which can be killed.

A panel that is killed loses what it had in memory and what its database had not committed. One
whose disk is full dies of it, as the service does, and is started again every RESTART_MS, as its
supervisor would; a restart needs the disk too.
"""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from element.protocol import schema
from element.protocol.errors import BusError
from hil.bench.site import Site
from hil.campaign.wires import DisturbedWire
from host_tools.aggregator import Aggregator
from host_tools.identity.issuer import Authorities
from host_tools.identity.keyring import Keyring
from host_tools.ledger.store import Ledger

RESTART_MS = 5000
NEVER_MS = 1 << 60
# A database page more than it has is what a full disk leaves.
PAGES_MAX = "PRAGMA max_page_count"
PAGES_UNBOUNDED = 1_073_741_823


class CampaignPanel:
    """What the clock drives. `aggregator` is None while it is dead.

    clock_step_ms: how far its clock is from the world's. acknowledged: what every element may
    forget, by element id: the highest counter that was acknowledged to it. orders_sent: how often
    a setpoint other than zero went out.
    """

    def __init__(self, site: Site, authorities: Authorities, rng: Random, ledger_path: Path,
                 record_interval_ms: int, target: Callable[[int], int | None],
                 response: Callable[[], int | None]) -> None:
        self.site = site
        self.authorities = authorities
        self.ledger_path = ledger_path
        self.clock_step_ms = 0
        self.acknowledged: dict[bytes, int] = {}
        self.deaths: list[str] = []
        self.setpoints_sent = 0
        self.aggregator: Aggregator | None = None
        self._rng = rng
        self._interval_ms = record_interval_ms
        self._target = target
        self._response = response
        self._known: dict[bytes, Any] = {}
        self._disk_full = False
        self._down = False
        self._restart_ms: int | None = None
        self.start()

    # what the clock wants

    @property
    def due_ms(self) -> int:
        """When `step` is wanted next, Unix ms of the world."""
        if self.aggregator is not None:
            return self.aggregator.due_ms - self.clock_step_ms
        return NEVER_MS if self._restart_ms is None else self._restart_ms

    def step(self, now_ms: int) -> None:
        """Do what is due."""
        if self.aggregator is None:
            if self._restart_ms is not None and now_ms >= self._restart_ms:
                self._restart_ms = None
                self._try_start(now_ms)
            return
        try:
            self.aggregator.step(now_ms + self.clock_step_ms)
        except BusError as error:
            self._die(str(error), now_ms)

    def receive(self, name: str, data: bytes, now_ms: int) -> None:
        """Take bytes from a line."""
        if self.aggregator is None:
            return
        try:
            self.aggregator.receive(name, data, now_ms + self.clock_step_ms)
        except BusError as error:
            self._die(str(error), now_ms)

    # what happens to it

    def start(self) -> None:
        """Start on the ledger that is there. Raises BusError when that cannot be had."""
        ledger = Ledger.at(self.ledger_path)
        self._limit_disk(ledger)
        site = self.site
        self.aggregator = aggregator = Aggregator(
            self.authorities, ledger, self._rng.randbytes,
            site.enrolment("campaign"),
            self._interval_ms, keyring=Keyring(self.authorities.party, self._known, None))
        aggregator.target = lambda unix_ms: self._target(unix_ms - self.clock_step_ms)
        aggregator.response = self._response
        for rig in site.rigs:
            self._add_port(aggregator, rig.name, rig.to_board)

    def kill(self) -> None:
        """End it as SIGKILL would; it stays down until `revive`."""
        self._down = True
        self._restart_ms = None
        self._drop()

    def revive(self, now_ms: int) -> None:
        """Start it again."""
        self._down = False
        if self.aggregator is None:
            self._try_start(now_ms)

    def set_disk_full(self, full: bool) -> None:
        """Leave its database no room, or room again."""
        self._disk_full = full
        if self.aggregator is not None:
            self._limit_disk(self.aggregator.ledger)

    def close(self) -> None:
        """End it in an orderly way, everything written; a ledger that cannot be is left as it is.
        """
        self.set_disk_full(False)
        if self.aggregator is not None:
            self.aggregator.ledger.close()
            self.aggregator = None

    # inside

    def _add_port(self, aggregator: Aggregator, name: str, wire: Any) -> None:
        """Join a line, and see what is said on it before it is sealed."""
        assert isinstance(wire, DisturbedWire)
        clock = self.clock_ms
        port = aggregator.add_port(name, lambda data: wire.put(data, clock()))
        send = port.send

        def tapped(kind: int, fields: dict[str, Any]) -> bool:
            wire.tag = (kind, fields)
            sent = send(kind, fields)
            wire.tag = None
            if sent and kind == schema.STATEMENT_ACK and port.element_id is not None:
                before = self.acknowledged.get(port.element_id, 0)
                self.acknowledged[port.element_id] = max(before, fields["counter"])
            elif sent and kind == schema.SETPOINT and fields["power_mw"]:
                self.setpoints_sent += 1
            return sent

        port.send = tapped  # type: ignore[method-assign]

    clock_ms: Callable[[], int] = staticmethod(lambda: 0)

    def _try_start(self, now_ms: int) -> None:
        try:
            self.start()
        except BusError as error:
            self._die(str(error), now_ms)

    def _die(self, why: str, now_ms: int) -> None:
        self.deaths.append(why)
        self._drop()
        if not self._down:
            self._restart_ms = now_ms + RESTART_MS

    def _drop(self) -> None:
        """Forget the process and what its connection has not committed."""
        if self.aggregator is None:
            return
        # its keys and its elements are files, which are there again
        ledger = self.aggregator.ledger
        ledger._only.invalidate()
        ledger._engine.dispose()
        self.aggregator = None

    def _limit_disk(self, ledger: Ledger) -> None:
        pages = 1 if self._disk_full else PAGES_UNBOUNDED  # never fewer than it has
        ledger._only.exec_driver_sql(f"{PAGES_MAX}={pages}")
