"""One background task for long work: jobs in slices, so that no control tick waits for one."""

JOBS_MAX = 16
_IDLE_MS = 60000


class Worker:
    """Run jobs one after the other. A job has `step() -> bool`, True when it is finished."""

    def __init__(self, hal):
        self._hal = hal
        self._waiter = hal.waiter()
        self._jobs = []
        self._urgent = None
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

    async def run(self) -> None:
        """Work for ever; give way after every slice."""
        while True:
            self._run_urgent()
            if not self._jobs:
                await self._waiter.wait(_IDLE_MS)
                continue
            job, done = self._jobs.pop(0)
            while not job.step():
                await self._hal.relax()
                self._run_urgent()
            done(job)
            self.done_count += 1
            await self._hal.relax()
