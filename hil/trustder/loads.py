"""Model a home's loads behind smart switches: heater with fan, lights, and the switch itself.

Each load knows its contact (`contact`), steps in whole milliseconds, and keeps its power now
(`power_w`) and what it took (`energy_j`), both as consumption: never negative. The refrigerator
has its own module.
"""

from collections import deque
from collections.abc import Callable
from math import exp

from .fleet import HEATER_FAN_W, HEATER_W, LIGHTS_W


class Load:
    """A load behind a contact. Subclasses give their power after each step."""

    name = "load"
    SUB_STEP_MS = 10

    def __init__(self, start_ms: int = 0) -> None:
        self.contact = False
        self.power_w = 0.0
        self.energy_j = 0.0
        self._now_ms = start_ms

    def advance(self, now_ms: int) -> None:
        """Simulate up to now_ms, the contact as it is. Raises ValueError when time runs back."""
        if now_ms < self._now_ms:
            raise ValueError(f"load time ran backwards by {self._now_ms - now_ms} ms")
        while self._now_ms < now_ms:
            part_ms = min(self.SUB_STEP_MS, now_ms - self._now_ms)
            self._now_ms += part_ms
            self.power_w = self._power_w(part_ms)
            self.energy_j += self.power_w * part_ms * 0.001

    def _power_w(self, part_ms: int) -> float:
        """Return the mean power of the part_ms that follow."""
        raise NotImplementedError


class Heater(Load):
    """A space heater: a fan, a sail switch in its air, a wire element; a fan that runs on.

    The fan is a small induction motor: three times its power at first. When it has run up the
    sail switch lets the element on, cold: nickel-chromium 80/20 has 7 % more resistance at
    1100 C than at 20 C (alloy makers' temperature-resistance factor 1.071), in some ten seconds.
    After the contact opens the element is off at once; the fan runs on to cool it.
    """

    name = "heater"
    FAN_W = HEATER_FAN_W
    FAN_START_FACTOR = 3.0
    FAN_TAU_MS = 300.0
    SAIL_MS = 800  # The air carries the sail after this: 93 % of the speed.
    COLD_FACTOR = 1.07
    WARM_TAU_MS = 8000.0
    RUN_ON_MS = 10_000

    def __init__(self, element_w: float = HEATER_W, start_ms: int = 0) -> None:
        """element_w: of the warm element."""
        super().__init__(start_ms)
        self.element_w = element_w
        self._speed = 0.0
        self._fan_ms = 0
        self._warmth = 0.0
        self._run_on_ms = 0

    def _power_w(self, part_ms: int) -> float:
        if self.contact:
            self._run_on_ms = self.RUN_ON_MS
        else:
            self._run_on_ms = max(0, self._run_on_ms - part_ms)
        fan_on = self.contact or self._run_on_ms > 0
        self._speed += ((1.0 if fan_on else 0.0) - self._speed) * (
            1.0 - exp(-part_ms / self.FAN_TAU_MS))
        self._fan_ms = self._fan_ms + part_ms if fan_on else 0
        heats = self.contact and self._fan_ms > self.SAIL_MS
        self._warmth += ((1.0 if heats else 0.0) - self._warmth) * (
            1.0 - exp(-part_ms / self.WARM_TAU_MS))
        fan_w = self.FAN_W * (1.0 + (self.FAN_START_FACTOR - 1.0) * (1.0 - self._speed))
        # at constant voltage the power falls as the resistance rises
        element_w = self.element_w * self.COLD_FACTOR / (
            1.0 + (self.COLD_FACTOR - 1.0) * self._warmth)
        return (fan_w if fan_on else 0.0) + (element_w if heats else 0.0)


class Lights(Load):
    """Large incandescent lights: 14 times their power at first, near it after a second.

    Ref: lamptech.co.uk, Incandescent lamps, Starting characteristics: cold current typically 14
    times the normal one; near it after 0.05 s for 100 W, not quite there after a second for 500 W.
    Of two exponentials the fast one is the filament, and for lamps of 300 W half as fast again as
    for 100 W; the slow one is its leads and supports.
    """

    name = "lights"
    FAST_FACTOR, FAST_TAU_MS = 12.5, 20.0
    SLOW_FACTOR, SLOW_TAU_MS = 0.5, 300.0
    COOL_TAU_MS = 1000.0

    def __init__(self, rated_w: float = LIGHTS_W, start_ms: int = 0) -> None:
        super().__init__(start_ms)
        self.rated_w = rated_w
        self._fast = self._slow = 1.0  # 1: cold

    def _power_w(self, part_ms: int) -> float:
        if not self.contact:
            keep = exp(-part_ms / self.COOL_TAU_MS)
            self._fast, self._slow = 1.0 - (1.0 - self._fast) * keep, \
                1.0 - (1.0 - self._slow) * keep
            return 0.0
        before_fast, before_slow = self._fast, self._slow
        self._fast *= exp(-part_ms / self.FAST_TAU_MS)
        self._slow *= exp(-part_ms / self.SLOW_TAU_MS)
        # the exact mean of an exponential over the part
        fast = (before_fast - self._fast) * self.FAST_TAU_MS / part_ms
        slow = (before_slow - self._slow) * self.SLOW_TAU_MS / part_ms
        return self.rated_w * (1.0 + self.FAST_FACTOR * fast + self.SLOW_FACTOR * slow)


class SmartSwitch:
    """Move a load's contact some time after the command; commands keep their order."""

    def __init__(self, load: Load, delay_s: Callable[[], float]) -> None:
        """delay_s: draws the delay of one command, s."""
        self.load = load
        self._delay_s = delay_s
        self._queue: deque[tuple[int, bool]] = deque()
        self._last_ms = 0

    def command(self, on: bool, now_ms: int) -> int:
        """Send a command; returns when the contact will move, ms."""
        at_ms = max(now_ms + round(self._delay_s() * 1000.0), self._last_ms)
        self._last_ms = at_ms
        self._queue.append((at_ms, on))
        return at_ms

    def advance(self, now_ms: int) -> None:
        """Bring the load to now_ms, the contact moving on the way."""
        while self._queue and self._queue[0][0] <= now_ms:
            at_ms, on = self._queue.popleft()
            self.load.advance(at_ms)
            self.load.contact = on
        self.load.advance(now_ms)
