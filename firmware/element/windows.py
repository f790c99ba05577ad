"""Sliding windows over the past: sums of energy, and the extremes of a value. Pure.

A window is cut into BUCKETS parts and remembers one part more than it is long: what it reports
is never less than what any stretch of that length has seen. Nothing here allocates after the
constructor, so control may call it in every tick.
"""

from array import array

BUCKETS = 24
# The most that may be counted at once: with an hour of 100 kW on top it still fits 32 bits. More
# than that would wrap on a board, and what wrapped would never leave the window again.
BUCKET_MWH_MAX = 4_000_000_000
# A window of no length is one that no profile has asked for: it turns this seldom.
_UNUSED_MS = 60_000
# A value that no measurement has: the bucket is empty.
_LOW = -1_000_000_000
_HIGH = 1_000_000_000


class _Ring:
    """The clock of a window: which bucket the present belongs to."""

    def __init__(self, window_s: int):
        self._bucket_ms = -(-window_s * 1000 // BUCKETS) or _UNUSED_MS
        self._into_ms = 0
        self._index = 0

    def advance(self, dt_ms: int) -> None:
        """Let dt_ms go by; buckets that begin are emptied. Bounded: once round empties all."""
        self._into_ms += dt_ms
        turns = self._into_ms // self._bucket_ms
        if not turns:
            return
        self._into_ms %= self._bucket_ms
        for _ in range(min(turns, BUCKETS + 1)):
            self._index = (self._index + 1) % (BUCKETS + 1)
            self._empty(self._index)
        self._changed()


class EnergyWindow(_Ring):
    """Energy in mWh that went either way in the last window_s seconds."""

    def __init__(self, window_s: int):
        super().__init__(window_s)
        self._mwh = array("I", bytes(4 * (BUCKETS + 1)))
        self._mj = 0
        self.total_mwh = 0

    def _empty(self, index: int) -> None:
        self.total_mwh -= self._mwh[index]
        self._mwh[index] = 0

    def _changed(self) -> None:
        pass

    def add(self, power_mw: int, dt_ms: int) -> None:
        """Count the size of power_mw over dt_ms. Resolution 100 mW: 100 kW stays small."""
        self._mj += (abs(power_mw) + 99) // 100 * dt_ms // 10
        if self._mj >= 3600:
            self.add_mwh(self._mj // 3600)
            self._mj %= 3600

    def add_mwh(self, energy_mwh: int) -> None:
        """Count energy in the present bucket. energy_mwh: 0..BUCKET_MWH_MAX, once a bucket."""
        self._mwh[self._index] += energy_mwh
        self.total_mwh += energy_mwh


class ExtremesWindow(_Ring):
    """Lowest and highest of a value in the last window_s seconds; equal before the first."""

    def __init__(self, window_s: int):
        super().__init__(window_s)
        self._low = array("i", [_HIGH] * (BUCKETS + 1))
        self._high = array("i", [_LOW] * (BUCKETS + 1))
        self.low = 0
        self.high = 0
        self._seen = False

    def _empty(self, index: int) -> None:
        self._low[index] = _HIGH
        self._high[index] = _LOW

    def _changed(self) -> None:
        low = _HIGH
        high = _LOW
        for index in range(BUCKETS + 1):
            if self._low[index] < low:
                low = self._low[index]
            if self._high[index] > high:
                high = self._high[index]
        if low <= high:
            self.low = low
            self.high = high

    def add(self, value: int) -> None:
        """Take the present value."""
        index = self._index
        if value < self._low[index]:
            self._low[index] = value
        if value > self._high[index]:
            self._high[index] = value
        if not self._seen:
            self._seen = True
            self.low = self.high = value
        elif value < self.low:
            self.low = value
        elif value > self.high:
            self.high = value
