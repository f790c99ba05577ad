"""What all ports share: our own asyncio I/O queue, waiters and lines on it.

asyncio's event loop asks its I/O queue to wait until the next task is due. Replacing that one
object gives a port its own clock and its own wake-up sources without touching the loop.
Ref: MicroPython 1.25, extmod/asyncio/core.py, `run_until_complete`, `IOQueue`.
The classes keep the contracts of `base` without importing it: a board has no memory for them.
"""

from asyncio import core

RX_BYTES_MAX = 4096


class LoopWaiter:
    """A `base.Waiter` that moves its task's place in asyncio's own queue."""

    def __init__(self):
        self._task = None

    async def wait(self, timeout_ms: int) -> None:
        """Wait for a kick or the end of timeout_ms. One task at a time may wait."""
        if timeout_ms <= 0:
            return
        self._task = core.cur_task
        try:
            await core.sleep_ms(timeout_ms)
        finally:
            self._task = None

    def kick(self) -> None:
        """Make the waiting task due now. The key is our clock's: the loop's own would be real."""
        task = self._task
        if task is not None:
            self._task = None
            core._task_queue.remove(task)
            core._task_queue.push(task, core.ticks())


class BufferedUART:
    """A `base.UART`: the port puts received bytes in and wakes the waiter."""

    def __init__(self):
        self.rx = bytearray()
        self.tx = bytearray()
        self.lost_count = 0
        self._waiter = LoopWaiter()
        self.kick = self._waiter.kick

    def write(self, data: bytes) -> None:
        """Queue data; the port sends it when the tasks have run. Over the limit it is counted."""
        if len(self.tx) + len(data) > RX_BYTES_MAX:
            self.lost_count += len(data)
            return
        self.tx += data

    def read(self) -> bytes:
        """Return and remove what was received."""
        if not self.rx:
            return b""
        data = bytes(self.rx)
        self.rx = bytearray()
        return data

    async def wait_rx(self, timeout_ms: int) -> bool:
        """Wait for bytes, a kick or the end of timeout_ms. One task at a time may wait."""
        if not self.rx:
            await self._waiter.wait(timeout_ms)
        return len(self.rx) > 0

    def received(self, data: bytes) -> None:
        """Store bytes from the line and wake the waiter; over the limit they are counted."""
        if len(self.rx) + len(data) > RX_BYTES_MAX:
            self.lost_count += len(data)
            return
        self.rx += data
        self.kick()


class IOQueue:
    """The loop's I/O queue: `wait` does the port's waiting; streams of asyncio are not used."""

    def __init__(self, wait):
        self._wait = wait
        self.map = {0: 0}  # never empty: the loop then never believes that it is done

    def wait_io_event(self, dt_ms: int) -> None:
        """Wait until dt_ms have passed or something came in; -1 waits for input alone."""
        if dt_ms:
            self._wait(dt_ms)

    def remove(self, task) -> None:
        """Forget a cancelled task; none is ever queued here."""


def install(wait, ticks=None) -> None:
    """Give asyncio's loop our waiting function and, for virtual time, our clock."""
    core._io_queue = IOQueue(wait)
    if ticks is not None:
        core.ticks = ticks
