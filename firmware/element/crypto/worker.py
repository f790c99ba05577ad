"""One background task for long work: jobs in slices, so that no control tick waits for one.

What cannot be sliced is done right after a control tick, when the next one is furthest away:
collecting garbage (22 ms on an RP2040 with the whole agent), and writing to flash (45 ms for the
erase of a sector, during which that chip does nothing else).
"""

import gc

JOBS_MAX = 16
_IDLE_MS = 60000
# After so many slices there may be 40 KB of garbage: where that is half of what is free the next
# one waits for a tick and the collection behind it.
SLICES_PER_COLLECTION = 6
# So often without slices: links and BMS leave less than half of what is free in this time.
COLLECT_PERIOD_MS = 1000
# What each takes on an RP2040, with a margin: so long before a tick none of them begins.
WRITE_MS = 70
COLLECT_MS = 40
SLICE_MS = 12
MESSAGE_MS = 14
# Pairs of blocks that fill the holes of a collected heap; measured, 10 ms on an RP2040.
HOLES = 400
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
        self._ticked_at = None
        self._due = 0
        self._writing = None  # the job whose next step writes
        self._finished = False
        self._slice_count = 0
        self._collected_at = hal.ticks_ms()
        self.at_rest = False  # no power flows or could: a tick may come as late as a collection
        self.on_collected = None  # called once, behind the next collection
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
        """Call function after the tick that runs, or else before the next slice of anything.

        There is one such place, for work that writes the present state (the latch): asked for
        twice it is done once, and it is never refused, however long the queue is.
        """
        self._urgent = function
        self._waiter.kick()

    async def room(self) -> None:
        """On a small board, wait for the tick that is due before a message could be dealt with.

        A message and its answer take an RP2040 13 ms in one piece; what moves power waits for a
        tick anyway.
        """
        hal = self._hal
        while hal.tight_heap and self._ticked_at is not None:
            left_ms = hal.ticks_diff(self._due, hal.ticks_ms())
            if left_ms >= MESSAGE_MS or left_ms < -TICK_MS_MAX:
                return
            await hal.sleep_ms(max(left_ms, 1))

    def _run_urgent(self) -> None:
        """Do what is urgent here when no tick has come for so long that none may come."""
        function = self._urgent
        if function is None:
            return
        hal = self._hal
        if self._ticked_at is None \
                or hal.ticks_diff(hal.ticks_ms(), self._ticked_at) > TICK_MS_MAX:
            self._urgent = None
            function()

    def after_tick(self, now: int, due: int) -> None:
        """Do one thing that cannot be sliced: a control tick has just ended.

        now: its start; due: the start of the next. What is urgent is done in any case, the rest
        when there is room for it: a tick that came early may have the next one close behind.
        """
        hal = self._hal
        self._ticked_at = now
        self._due = due
        left_ms = hal.ticks_diff(due, hal.ticks_ms())
        function = self._urgent
        job = self._writing if left_ms >= WRITE_MS else None
        waited_ms = hal.ticks_diff(now, self._collected_at)
        if job is not None and hal.tight_heap and waited_ms >= 2 * COLLECT_PERIOD_MS:
            job = None  # a file of many pieces must not fill the heap with what others leave
        if function is not None:
            self._urgent = None
            function()
        elif job is not None:
            self._writing = None
            self._finished = job.step()
        elif hal.paced and left_ms >= COLLECT_MS and (
                self._slice_count >= SLICES_PER_COLLECTION
                or waited_ms >= COLLECT_PERIOD_MS):
            self._collected_at = now
            self._collect()
        self._tick_waiter.kick()

    def _may_go_on(self) -> bool:
        """Return True when a slice fits: before the next tick, and before the heap is full.

        Another one could make the interpreter collect in the middle of it.
        """
        hal = self._hal
        now = hal.ticks_ms()
        if self._ticked_at is None or hal.ticks_diff(now, self._ticked_at) >= TICK_MS_MAX:
            if self._slice_count >= SLICES_PER_COLLECTION:
                self._collect()  # no tick comes
            return True
        if self.at_rest:
            if self._slice_count >= SLICES_PER_COLLECTION:
                self._collect()
            return True
        return (self._slice_count < SLICES_PER_COLLECTION
                and hal.ticks_diff(self._due, now) >= SLICE_MS)

    def _collect(self) -> None:
        self._slice_count = 0
        gc.collect()
        if self.on_collected is not None:
            function, self.on_collected = self.on_collected, None
            function()
        if self._hal.tight_heap:
            # The search for two or more free blocks begins at the first free one: behind a
            # collection every large integer would pass by hundreds of holes, and a slice take
            # 25 ms in place of 7. So the holes are filled with what the next one takes again.
            try:
                (b"x " * HOLES).split()
            except MemoryError:
                pass  # slower until the next collection; nothing is wrong

    async def run(self) -> None:
        """Work for ever; give way after every slice."""
        while True:
            self._run_urgent()
            if not self._jobs:
                await self._waiter.wait(_IDLE_MS)
                continue
            job, done = self._jobs.pop(0)
            while not await self._step(job):
                await self._hal.relax()
                self._run_urgent()
            done(job)
            job = done = None  # what they hold may be large
            self.done_count += 1
            await self._hal.relax()

    async def _step(self, job) -> bool:
        """Do one slice of a job, or have it done after a tick; True when the job is finished."""
        while self._hal.tight_heap and not self._may_go_on():
            await self._tick_waiter.wait(TICK_MS_MAX)
        self._slice_count += 1
        if not getattr(job, "writes", False) or (self.at_rest and getattr(job, "reads", False)):
            return job.step()
        self._finished = False
        self._writing = job
        await self._tick_waiter.wait(TICK_MS_MAX)
        if self._writing is None:
            return self._finished
        self._writing = None  # no tick came
        return job.step()
