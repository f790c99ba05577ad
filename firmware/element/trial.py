"""A new firmware on trial: it stays when its control loop is healthy, else the board goes back.

Healthy is: HEALTHY_TICKS ticks in a row that earned the watchdog's food, with a fresh reading of
the BMS, and the stored credential accepted. What is not healthy in TRIAL_MS_MAX restarts, and
the loader counts; so does every crash, hang and power cut on the way. Power is held at zero while
the trial lasts: what has not proven itself moves no energy, and a hang is no hazard.
"""

HEALTHY_TICKS = 50
TRIAL_MS_MAX = 60_000


class Trial:
    """Watch the control loop of a slot that is on trial. Made when the agent starts."""

    writes = True

    def __init__(self, hal, enrolment, slots):
        self._hal = hal
        self._enrolment = enrolment
        self._slots = slots
        self._begun = hal.ticks_ms()
        self._good = 0
        self.over = False

    def tick(self, now: int, passed: bool, fresh: bool) -> bool:
        """Take one tick. Returns False when the time is up: the caller restarts the board."""
        if self.over:
            return True
        healthy = passed and fresh and (self._enrolment.enrolled or not self._enrolment.has_grant)
        self._good = self._good + 1 if healthy else 0
        if self._good >= HEALTHY_TICKS:
            self.over = True
            return True
        return self._hal.ticks_diff(now, self._begun) < TRIAL_MS_MAX

    def step(self) -> bool:
        """Confirm the slot: a job for the worker, as it writes to flash."""
        try:
            self._slots.confirm()
        except OSError:
            # not on flash is not confirmed: watch on, and try again after as many ticks
            self.over = False
            self._good = 0
        return True
