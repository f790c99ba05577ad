"""When an interval is closed: its end, its grace, and who is told what was committed. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from host_tools.attest.commitment import Leaf
from host_tools.inventory.elements import ElementView
from host_tools.ledger.intake import Intake

# Records of an interval are awaited this long after its end, for each level below.
INTERVAL_GRACE_MS = 8000


@dataclass(frozen=True)
class Committed:
    """One commitment as signed, its fields, and the statements that it is over."""

    statement: bytes
    fields: dict[str, Any]
    leaves: list[Leaf]


class Intervals:
    """Closes one interval after the other. end_ms: of the next one, None before the first.

    early: an interval is closed as soon as nobody's record is missing, as whoever reports to an
    aggregator above wants it. told: gets every commitment, once it is on the medium.
    """

    def __init__(self, intake: Intake, interval_ms: int) -> None:
        self._intake = intake
        self.interval_ms = interval_ms
        self.end_ms: int | None = None
        self.early = False
        self.told: Callable[[Committed], None] = lambda _: None

    def look(self, views: Callable[[], list[ElementView]], now_ms: int) -> None:
        """Close an interval whose time has come."""
        if self.end_ms is None:
            self.end_ms = now_ms - now_ms % self.interval_ms + self.interval_ms
        if now_ms < self.end_ms:
            return
        here = views()
        depth = max((view.depth for view in here), default=0)
        complete = self.early and bool(here) and all(
            view.last_record_end_ms >= self.end_ms for view in here)
        if complete or now_ms >= self.end_ms + INTERVAL_GRACE_MS * (1 + depth):
            end_ms, self.end_ms = self.end_ms, self.end_ms + self.interval_ms
            self.commit(end_ms, here, now_ms)

    def commit(self, end_ms: int, views: list[ElementView], now_ms: int) -> None:
        """Sign a commitment over every statement that came since the last one."""
        self.told(Committed(*self._intake.commit_interval(
            end_ms - self.interval_ms, end_ms, views, now_ms)))
