"""Unix time on an element without a battery-backed clock: an offset to the ticks counter.

Only an authenticated TimeSync sets it. Small corrections are taken silently; a step is counted
so that the records of that interval carry the flag.
"""

STEP_MS_MAX = 500
# A TimeSync outside these is a host that does not know the time: 2020-01-01, and a day before
# the contract's last time, so that a clock left alone does not run out of the field's range.
UNIX_MS_MIN = 1_577_836_800_000
UNIX_MS_MAX = 4_102_358_400_000
_TIME_MAX = 4_102_444_800_000
# The ticks counter wraps: the offset is renewed this often, long before it could be half round.
REBASE_MS = 60000


class Clock:
    """Unix milliseconds from `hal.ticks_ms`. Not for the control step: these are large numbers."""

    def __init__(self, hal):
        self._hal = hal
        self._base_unix_ms = None
        self._base_ticks = 0
        self.step_count = 0

    @property
    def is_set(self) -> bool:
        """True once a TimeSync has been accepted."""
        return self._base_unix_ms is not None

    def set(self, unix_ms: int, floor_unix_s: int = 0) -> bool:
        """Accept a TimeSync; a correction of more than STEP_MS_MAX counts as a step.

        floor_unix_s: it is known to be later. False, and no change, for a time that cannot be.
        """
        if not max(UNIX_MS_MIN, floor_unix_s * 1000) <= unix_ms <= UNIX_MS_MAX:
            return False
        now_ms = self._hal.ticks_ms()
        if self._base_unix_ms is not None:
            if abs(unix_ms - self.unix_ms(now_ms)) > STEP_MS_MAX:
                self.step_count += 1
        self._base_unix_ms = unix_ms
        self._base_ticks = now_ms
        return True

    def keep(self, now_ms: int) -> None:
        """Carry the offset along, so that weeks without a TimeSync do not wrap it. Every tick."""
        if self._base_unix_ms is None:
            return
        elapsed_ms = self._hal.ticks_diff(now_ms, self._base_ticks)
        if elapsed_ms >= REBASE_MS:
            self._base_unix_ms += elapsed_ms
            self._base_ticks = now_ms

    def unix_ms(self, ticks: int) -> int:
        """Return Unix time at ticks, or 0 while the clock was never set.

        ticks must be within half the counter's range of now (six days on a 32-bit board).
        """
        if self._base_unix_ms is None:
            return 0
        unix_ms = self._base_unix_ms + self._hal.ticks_diff(ticks, self._base_ticks)
        return min(unix_ms, _TIME_MAX)

    def ticks_of(self, unix_ms: int, offset_ms_max: int):
        """Return the ticks of a Unix time, or None when it is further off than offset_ms_max."""
        now_ms = self._hal.ticks_ms()
        if self._base_unix_ms is None:
            return None
        offset_ms = unix_ms - self.unix_ms(now_ms)
        if not -offset_ms_max <= offset_ms <= offset_ms_max:
            return None
        return self._hal.ticks_add(now_ms, offset_ms)
