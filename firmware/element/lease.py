"""The setpoint and its lease: power is lent for a time and falls back to zero by itself. Pure.

Times are the element's own wrapping counter; `diff` is the HAL's `ticks_diff`.
"""

# After the lease the power goes to zero in this time, at a constant rate: no step for the grid,
# and still well inside the two seconds in which a lost link must be safe.
ZERO_RAMP_MS = 200
# Setpoints that have been accepted and have not begun yet.
PENDING_MAX = 4


class Lease:
    """The setpoint in force, the next ones, and what the element is instructed to at a moment."""

    def __init__(self, diff):
        self._diff = diff
        self.zero_ramp_ms = ZERO_RAMP_MS
        self.live = False
        self.dispatch_id = 0
        self.power_mw = 0
        self.service = 0
        self.expired_count = 0
        self._end_ms = 0
        self._pending = []

    def offer(self, dispatch_id: int, power_mw: int, start_ms: int, end_ms: int,
              service: int) -> bool:
        """Take an admitted setpoint: in force from start_ms until end_ms.

        It replaces what would begin at its start or later; what begins earlier comes first, so
        that a stream of setpoints sent ahead of time does not postpone itself for ever. False,
        and no change, when PENDING_MAX others come first.
        """
        pending = [one for one in self._pending if self._diff(start_ms, one[2]) > 0]
        if len(pending) >= PENDING_MAX:
            return False
        pending.append((dispatch_id, power_mw, start_ms, end_ms, service))
        self._pending = pending
        return True

    @property
    def next_start_ms(self):
        """When the next pending setpoint begins, or None when none is waiting."""
        return self._pending[0][2] if self._pending else None

    def drop(self) -> None:
        """Forget every setpoint: after a trip or an inhibit power must be asked for anew."""
        self.live = False
        self.power_mw = 0
        if self._pending:
            self._pending = []

    def update(self, now_ms: int) -> bool:
        """Move to the next setpoint when it is due; True while a lease is live.

        A lease that ends with power still asked for is counted in `expired_count`.
        """
        pending = self._pending
        while pending and self._diff(now_ms, pending[0][2]) >= 0:
            self.dispatch_id, self.power_mw, _, self._end_ms, self.service = pending.pop(0)
            self.live = True
        if self.live and self._diff(now_ms, self._end_ms) >= 0:
            if self.power_mw:
                self.expired_count += 1
            self.live = False
            self.power_mw = 0
        return self.live
