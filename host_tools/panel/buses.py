"""Shared pairs in the service's loop: each is opened when it is there, and given its turns."""

import asyncio
import os
import time
from collections.abc import Callable

from element.protocol.errors import BusError
from host_tools.aggregator import Aggregator
from host_tools.links.bus_link import BusLink

RETRY_S = 2.0


class Bus:
    """One pair. error: why it is not open, "" while it is.

    on_state(name, error): it has opened, or could not be. on_jabber(element id, why): somebody on
    it speaks without being asked. after: called when the aggregator may have something to do.
    """

    def __init__(self, name: str, aggregator: Aggregator, on_state: Callable[[str, str], None],
                 on_jabber: Callable[[bytes, str], None], after: Callable[[], None]) -> None:
        self.name = name
        self.error = "not opened yet"
        self.link: BusLink | None = None
        self._aggregator = aggregator
        self._on_state, self._on_jabber, self._after = on_state, on_jabber, after
        self._told: dict[bytes, int] = {}

    def hurry(self, now_ms: int) -> None:
        """Let what is sent now go before everything: there is an alarm."""
        if self.link is not None:
            self.link.ports.master.hurry(now_ms)

    async def run(self) -> None:
        """Keep the pair open and take turns on it, until cancelled."""
        try:
            while True:
                if self.link is None:
                    await self._open()
                else:
                    await self._turn(self.link)
        finally:
            if self.link is not None:
                self.link.close()
                self.link = None

    async def _open(self) -> None:
        try:
            self.link = await asyncio.to_thread(
                BusLink, self.name, self._aggregator, None, os.urandom)
            error = ""
        except BusError as problem:
            error = f"{problem.code}: {str(problem.value).splitlines()[0]}"
            await asyncio.sleep(RETRY_S)
        if error != self.error:
            self.error = error
            self._on_state(self.name, error)

    async def _turn(self, link: BusLink) -> None:
        now_ms = time.time_ns() // 1_000_000
        wait_ms = link.turn(now_ms)
        for finding in link.ports.master.watch.findings.values():
            if self._told.get(finding.element_id) != finding.at_ms:
                self._told[finding.element_id] = finding.at_ms
                self._on_jabber(finding.element_id, finding.why)
        self._after()
        # answers come in pieces: never away for longer than a turn-around
        await asyncio.sleep(min(max(wait_ms, 1), 2) / 1000)
