"""One background task for long work: jobs in slices, so that no control tick waits for one.

What cannot be sliced is done right after a control tick, when the next one is furthest away:
collecting garbage (22 ms on an RP2040 with the whole agent), and writing to flash (45 ms for the
erase of a sector, during which that chip does nothing else).
"""

import gc

JOBS_MAX = 16
_IDLE_MS = 60000
# After so many slices there may be 40 KB of garbage: it is collected before it must be.
SLICES_PER_COLLECTION = 6
# So often without slices: links and BMS leave less than half of what is free in this time.
COLLECT_PERIOD_MS = 2000
# A job that writes waits this long for a tick; when none comes, nothing is left to wait for.
TICK_MS_MAX = 250


class Worker:
    """Run jobs one after the other. A job has `step() -> bool`, True when it is finished.

    A job may have `writes`: True while its next step writes to flash.
    """

    def __init__(self, hal):
        self._hal = hal
        self._waiter = hal.waiter()
        self._jobs = []
        self._urgent = None
        self._tick_waiter = hal.waiter()
        self._for_tick = False
        self._slice_count = 0
        self._collected_at = hal.ticks_ms()
        self.refused_count = 0
        self.done_count = 0

    def submit(self, job, done, spare: int = 0) -> bool:
        """Queue job; `done(job)` is called when it has finished.

        False, counted, when fewer than spare places would be left: what can be asked for again
        leaves room for what cannot.
        """
        if len(self._jobs) + spare >= JOBS_MAX:
            self.refused_count += 1
            return False
        self._jobs.append((job, done))
        self._waiter.kick()
        return True

    def urgent(self, function) -> None:
        """Call function before the next slice of anything. There is one such place.

        For work that writes the present state (the latch): asked for twice it is done once, and
        it is never refused, however long the queue is.
        """
        self._urgent = function
        self._waiter.kick()

    def _run_urgent(self) -> None:
        function = self._urgent
        if function is not None:
            self._urgent = None
            function()

    def after_tick(self, now: int) -> None:
        """Be told that a control tick has just ended: the moment for what cannot be sliced."""
        if self._for_tick:
            self._tick_waiter.kick()
        elif self._slice_count >= SLICES_PER_COLLECTION \
                or self._hal.ticks_diff(now, self._collected_at) >= COLLECT_PERIOD_MS:
            self._slice_count = 0
            self._collected_at = now
            gc.collect()

    async def run(self) -> None:
        """Work for ever; give way after every slice."""
        while True:
            self._run_urgent()
            if not self._jobs:
                await self._waiter.wait(_IDLE_MS)
                continue
            job, done = self._jobs.pop(0)
            while True:
                if getattr(job, "writes", False):
                    self._for_tick = True
                    await self._tick_waiter.wait(TICK_MS_MAX)
                    self._for_tick = False
                self._slice_count += 1
                if job.step():
                    break
                await self._hal.relax()
                self._run_urgent()
            done(job)
            self.done_count += 1
            await self._hal.relax()
