"""The kernel's real-time class for runs in wall time: whatever else the machine does waits.

A tick that was late because a browser had the core says nothing of the firmware. Linux permits the
class to root, to holders of CAP_SYS_NICE, and up to RLIMIT_RTPRIO (sched(7)); elsewhere a run goes
on as any process does, and its results say so. Round robin, so that boards share a core; and the
kernel keeps a twentieth of it for everybody else (sched_rt_runtime_us), so that one in an endless
loop does not take the machine.

A core that sleeps deeply wakes late, and the more so the less there is to do; while the class is
taken cores stay awake (Linux, Documentation/power/pm_qos_interface.rst).
"""

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

NORMAL = "normal"
REAL_TIME = "real-time"
AWAKE = Path("/dev/cpu_dma_latency")
# The wake-up latency that is asked for, microseconds, for as long as the file is open.
AWAKE_US = struct.pack("i", 0)
# Above every ordinary process, below everything that asked for more: interrupts, audio.
PRIORITY = 1


class RealTimeClass:
    """The class of the thread that asks, and of all processes that it starts meanwhile."""

    def __init__(self) -> None:
        self._before: tuple[int, Any] | None = None
        self._awake_fd: int | None = None

    def take(self) -> bool:
        """Take the class; False where it is not permitted. Twice is fine."""
        if self._before is not None:
            return True
        if not hasattr(os, "sched_setscheduler"):  # not Linux
            return False
        before = os.sched_getscheduler(0), os.sched_getparam(0)
        try:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
        except PermissionError:
            return False
        self._before = before
        with suppress(OSError):  # a kernel without it, or a container: ticks are the later for it
            self._awake_fd = os.open(AWAKE, os.O_WRONLY)
            os.write(self._awake_fd, AWAKE_US)
        return True

    def give_back(self) -> None:
        """Go back to the class of before; what was not taken is left as it is."""
        if self._before is None:
            return
        policy, parameter = self._before
        self._before = None
        if self._awake_fd is not None:
            os.close(self._awake_fd)
            self._awake_fd = None
        os.sched_setscheduler(0, policy, parameter)


def scheduling_of(clock: str) -> str:
    """Return how a run on a clock, 'virtual' or 'real', is scheduled on this machine."""
    if clock != "real":
        return NORMAL
    trial = RealTimeClass()
    permitted = trial.take()
    trial.give_back()
    return REAL_TIME if permitted else NORMAL
