"""What happened in an interval: instructed and realized power, energy, SoC, flags.

Called once a tick with the values of that tick; all numbers stay below 2**30 for intervals of a
minute at 10 kW and grow onto the heap, still exact, beyond that.
"""

from ..protocol import codes

INTERVAL_MS_DEFAULT = 60000


class Recorder:
    """Accumulate one interval at a time, aligned to whole intervals of Unix time."""

    def __init__(self, hal, clock):
        self._hal = hal
        self._clock = clock
        self.interval_ms = INTERVAL_MS_DEFAULT
        self._open = False
        self._end_ms = 0

    def tick(self, now_ms: int, dt_ms: int, control, dispatch_id: int, soc_bp):
        """Account one tick. Returns the fields of a finished interval, else None.

        control: gives instructed_mw, realized_mw and the flags of this tick. soc_bp: None when
        the reading is not fresh. The caller adds element, counter and hash.
        """
        if not self._clock.is_set:
            return None
        if not self._open:
            self._begin(now_ms, soc_bp)
            return None
        # the tick tells of the time since the last one: it belongs to the interval that ends now
        self._account(dt_ms, control)
        if dispatch_id:
            self._dispatch_id = dispatch_id
        if self._hal.ticks_diff(now_ms, self._end_ms) < 0:
            return None
        finished = self._close(now_ms, soc_bp)
        self._begin(now_ms, soc_bp)
        return finished

    def _account(self, dt_ms: int, control) -> None:
        """Add one tick to the open interval; what the division leaves over is carried along."""
        self._instructed_uj += control.instructed_mw * dt_ms
        self._instructed_mj += self._instructed_uj // 1000
        self._instructed_uj %= 1000
        power_mw = control.realized_mw
        self._realized_uj += power_mw * dt_ms
        self._realized_mj += self._realized_uj // 1000
        self._realized_uj %= 1000
        self._active_ms += dt_ms
        self._min_mw = min(self._min_mw, power_mw)
        self._max_mw = max(self._max_mw, power_mw)
        if control.state == codes.STATE_TRIPPED:
            self._quality |= codes.QUALITY_TRIPPED
        if control.inhibits & codes.INHIBIT_STALE:
            self._quality |= codes.QUALITY_STALE

    def flag(self, quality: int) -> None:
        """Add a quality flag to the open interval."""
        if self._open:
            self._quality |= quality

    def _begin(self, now_ms: int, soc_bp) -> None:
        """Open an interval that ends at the next whole one of Unix time."""
        unix_ms = self._clock.unix_ms(now_ms)
        into_ms = unix_ms % self.interval_ms
        self._start_unix_ms = unix_ms
        self._start_ms = now_ms
        self._end_ms = self._hal.ticks_add(now_ms, self.interval_ms - into_ms)
        self._steps_seen = self._clock.step_count
        self._soc_bp_start = soc_bp
        # a tick may begin late; only a start clearly inside an interval makes it a partial one
        self._quality = codes.QUALITY_PARTIAL if into_ms > 1000 else 0
        self._instructed_mj = self._instructed_uj = 0
        self._realized_mj = self._realized_uj = 0
        self._active_ms = 0
        self._min_mw = 100_000_000
        self._max_mw = -100_000_000
        self._dispatch_id = 0
        self._open = True

    def _close(self, now_ms: int, soc_bp) -> dict:
        """Return the finished interval as the fields of an ExecutionRecord."""
        self._open = False
        if self._clock.step_count != self._steps_seen:
            self._quality |= codes.QUALITY_CLOCK_STEPPED
        duration_ms = max(1, self._active_ms)
        return {
            "dispatch_id": self._dispatch_id,
            "start_unix_ms": self._start_unix_ms,
            "end_unix_ms": self._start_unix_ms + self._hal.ticks_diff(now_ms, self._start_ms),
            "instructed_mw_mean": self._instructed_mj * 1000 // duration_ms,
            "realized_mw_mean": self._realized_mj * 1000 // duration_ms,
            "realized_mw_min": self._min_mw,
            "realized_mw_max": self._max_mw,
            "energy_mwh": (self._realized_mj + 1800) // 3600,
            "soc_bp_start": self._soc_bp_start,
            "soc_bp_end": soc_bp,
            "quality": self._quality,
        }
