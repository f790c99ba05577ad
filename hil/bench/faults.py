"""Events of a scenario: what happens to the site, and how soon the elements are safe."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hil.bench.rig import Rig
from hil.scenarios.model import EventModel

# The panel polls the fire relay's contact; an alarm waits for half of it on average, all at worst.
FIRE_POLL_MS = 50
WATCH_STEP_MS = 10
WATCH_MS_MAX = 10000
# An element counts as safe when its current and its power are below this share of its rating.
SAFE_SHARE = 0.01


def above_safe(rig: Rig) -> bool:
    """Return True while the true power or current of an element is above the safe share."""
    pack = rig.plant.pack
    rated_a = rig.rating_w / (pack.chemistry.nominal_v * pack.series_count)
    return (abs(rig.plant.pcc_w) > SAFE_SHARE * rig.rating_w
            or abs(pack.current_a) > SAFE_SHARE * rated_a)


@dataclass
class RigWatch:
    """One element after an event: until when it was above the safe share."""

    rig: Rig
    was_active: bool = False
    detected_ms: int | None = None
    last_above_ms: int | None = None
    power_after_w: float = 0.0


@dataclass
class EventResult:
    """What an event did. Times count from the event."""

    event: EventModel
    at_ms: int
    watches: list[RigWatch] = field(default_factory=list)
    finished: bool = False
    end_ms: int = 0
    released: int | None = None

    def safe_after_ms(self) -> int | None:
        """Return when the last of the elements was safe for good, None when one was not."""
        if not self.finished or not self.watches:
            return None
        worst = 0
        for watch in self.watches:
            if watch.last_above_ms is None:
                continue
            if watch.last_above_ms >= self.end_ms - WATCH_STEP_MS:
                return None
            worst = max(worst, watch.last_above_ms + WATCH_STEP_MS - self.at_ms)
        return worst

    def detected_after_ms(self) -> int | None:
        """Return when the last of the elements had switched off, None when one had not."""
        times = [watch.detected_ms for watch in self.watches if watch.was_active]
        if any(time is None for time in times):
            return None
        return max((time - self.at_ms for time in times if time is not None), default=0)


class Watcher:
    """Watch rigs after an event in small steps of bench time."""

    def __init__(self, call_at: Callable[[int, Callable[[], None]], None],
                 now_ms: Callable[[], int]) -> None:
        self._call_at = call_at
        self._now_ms = now_ms

    def start(self, result: EventResult, rigs: list[Rig], duration_ms: int) -> None:
        """Begin at the moment of the event; it ends by itself after duration_ms."""
        result.watches = [RigWatch(rig, rig.outputs.enable) for rig in rigs]
        result.end_ms = result.at_ms + min(duration_ms, WATCH_MS_MAX)
        self._look(result)

    def _look(self, result: EventResult) -> None:
        now_ms = self._now_ms()
        for watch in result.watches:
            rig = watch.rig
            rig.plant.advance(now_ms)
            if above_safe(rig):
                watch.last_above_ms = now_ms
            if watch.detected_ms is None and not rig.outputs.enable:
                watch.detected_ms = now_ms
            watch.power_after_w = rig.plant.pcc_w
        if now_ms >= result.end_ms:
            result.finished = True
            return
        self._call_at(now_ms + WATCH_STEP_MS, lambda: self._look(result))
