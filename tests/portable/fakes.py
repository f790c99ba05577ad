"""What the portable tests share: a board without hardware, a BMS line, a small task loop.

Time stands still until a test moves it; tasks run in a loop of our own, so that the same test
runs under CPython and MicroPython without either's event loop.
"""

import os
import sys

from element.bms.base import Reading
from element.limits import Profile
from element.protocol import codes
from element.usage import Usage

WRAP = 1 << 28  # shorter than a real 2**30, which is no small integer on a board
# pytest's workers may run two tests of a file side by side: each has folders of its own
_WORKER = os.getenv("PYTEST_XDIST_WORKER", "") if hasattr(os, "getenv") else ""
_TEMPORARY = "build/portable_" + sys.implementation.name + _WORKER


class Pause:
    """Await it to give way once; `until` is when the task wants to run again."""

    def __init__(self, until):
        self.until = until

    def __iter__(self):
        yield self

    __await__ = __iter__


class FakeWaiter:
    """A waiter of the fake loop."""

    def __init__(self, hal):
        self._hal = hal
        self._pause = None

    async def wait(self, timeout_ms):
        self._pause = Pause(self._hal.now_ms + timeout_ms)
        await self._pause
        self._pause = None

    def kick(self):
        if self._pause is not None:
            self._pause.until = self._hal.now_ms


class FakeUART:
    """A line: tests put bytes into `rx`, read what was written from `sent`.

    on_write(data), where set, is called with every write, after it was noted.
    """

    def __init__(self, hal):
        self._waiter = FakeWaiter(hal)
        self.rx = b""
        self.sent = []
        self.on_write = None

    def write(self, data):
        self.sent.append(bytes(data))
        if self.on_write is not None:
            self.on_write(bytes(data))

    def read(self):
        data, self.rx = self.rx, b""
        return data

    async def wait_rx(self, timeout_ms):
        if not self.rx:
            await self._waiter.wait(timeout_ms)
        return len(self.rx) > 0

    def kick(self):
        self._waiter.kick()

    def put(self, data):
        """Receive bytes, as the port would."""
        self.rx += data
        self.kick()


class ResetError(Exception):
    """The board was reset: what follows in the task would not have run."""


class FakeHAL:
    """A board in memory. The counter wraps at 2**28 here as a 32-bit board's does."""

    # why the next board starts
    cause_next = codes.RESET_POWER_ON

    def __init__(self, now_ms=1000):
        self.now_ms = now_ms
        self.ma = 0
        self.sense_at = None  # None: always fresh
        self.input_ok = True
        self.enabled = False
        self.duty = 0
        self.fed_count = 0
        self.reset_count = 0
        self.enable_log = []
        self.cause = FakeHAL.cause_next
        self.entropy_count = 0
        self.bms_uart = FakeUART(self)
        self.link_uart = FakeUART(self)
        self.stage_uart = FakeUART(self)
        self.precharge = False
        self.link_mv = -1

    console_uart = None
    slow_flash = False
    tight_heap = False
    paced = True

    def log(self, line):
        print(line)

    def repl_on(self):
        pass

    def repl_off(self):
        pass

    def watchdog_start(self):
        pass

    def ticks_ms(self):
        return self.now_ms % WRAP

    def ticks_diff(self, later, earlier):
        return (later - earlier + WRAP // 2) % WRAP - WRAP // 2

    def ticks_add(self, ticks, delta_ms):
        return (ticks + delta_ms) % WRAP

    async def sleep_ms(self, duration_ms):
        await Pause(self.now_ms + duration_ms)

    async def relax(self):
        await Pause(self.now_ms)

    def waiter(self):
        return FakeWaiter(self)

    def enable_set(self, on):
        if on != self.enabled:
            self.enable_log.append((self.now_ms, on))
        self.enabled = on

    def enable_is(self):
        return self.enabled

    def reset_cause(self):
        return self.cause

    def duty_set(self, duty_permille):
        assert -1000 <= duty_permille <= 1000
        self.duty = duty_permille

    def precharge_set(self, on):
        self.precharge = on

    def dc_link_mv(self):
        return self.link_mv

    def sense_ma(self):
        return self.ma

    def sense_age_ms(self):
        return 0 if self.sense_at is None else self.now_ms - self.sense_at

    def interlock_ok(self):
        return self.input_ok

    def watchdog_feed(self):
        self.fed_count += 1

    def unique_id(self):
        return b"\x01\x02\x03\x04"

    def entropy(self, size):
        import hashlib

        self.entropy_count += 1
        out = b""
        while len(out) < size:
            out += hashlib.sha256(b"entropy %d %d" % (self.entropy_count, len(out))).digest()
        return out[:size]

    def reset(self):
        self.enabled = False
        self.precharge = False
        self.duty = 0
        self.reset_count += 1
        raise ResetError()


class FakeDriver:
    """A BMS driver whose FETs follow at once while `follows` is True."""

    def __init__(self):
        self.reading = Reading()
        self.fets_wanted = 0
        self.fets_proven = True
        self.can_switch = True
        self.follows = True
        self.wishes = []

    def want_fets(self, fets):
        if fets != self.fets_wanted:
            self.wishes.append(fets)
        self.fets_wanted = fets
        if self.follows:
            self.reading.fets = fets

    def open_now(self):
        self.want_fets(0)


def profile_fields(kind=codes.KIND_CONVERTER, **changes):
    """Return a plausible profile's fields: 2.5 kW converter, or a 500 W step for bms_fets."""
    fields = {
        "kind": kind, "power_mw_discharge_max": 2_500_000, "power_mw_charge_max": 2_000_000,
        "current_ma_discharge_max": 60_000, "current_ma_charge_max": 50_000,
        "soc_bp_min": 1000, "soc_bp_max": 9000, "cell_mv_min": 2800, "cell_mv_max": 3600,
        "temperature_mdegc_discharge_min": 0, "temperature_mdegc_discharge_max": 50_000,
        "temperature_mdegc_charge_min": 0, "temperature_mdegc_charge_max": 45_000,
        "discharge_bp_at_soc": [], "charge_bp_at_soc": [], "capacity_mah": 100_000,
        "reserve_soc_bp": 0, "response_ms": 1000, "thermal_window_s": 0, "thermal_mwh_max": 0,
        "thermal_rise_mdegc_max": 0, "swing_window_s": 0, "swing_bp_max": 0,
        "day_cycles_milli_max": 0, "monitor_only": False,
        "ramp_mw_per_s": 10_000_000, "lease_ms_max": 5000, "reading_age_ms_max": 2000,
        "energy_mwh_rated": 5_000_000, "step_mw": 0, "on_ms_min": 0, "off_ms_min": 0,
        "services": codes.SERVICE_REGULATION | codes.SERVICE_ENERGY, "chemistry": "LFP",
        "role": "wall",
    }
    if kind in (codes.KIND_BMS_FETS, codes.KIND_RELAY):
        fields.update({"power_mw_discharge_max": 500_000, "power_mw_charge_max": 500_000,
                       "step_mw": 500_000, "current_ma_discharge_max": 20_000,
                       "current_ma_charge_max": 20_000})
    fields.update(changes)
    return fields


def make_profile(kind=codes.KIND_CONVERTER, **changes):
    """Return a Profile of `profile_fields`."""
    return Profile(profile_fields(kind, **changes))


def make_usage(profile, reading):
    """Return a usage that believes the reading's SoC, its envelopes unused."""
    usage = Usage(profile)
    usage.soc_bp = usage.soc_bp_low = usage.soc_bp_high = reading.soc_bp
    return usage


def good_reading(reading=None, now_ms=1000):
    """Return a reading in the middle of every limit, as old as now_ms."""
    reading = Reading() if reading is None else reading
    reading.valid = reading.cells_valid = True
    reading.at_ms = reading.cells_at_ms = now_ms
    reading.pack_mv = 51_200
    reading.soc_bp = 5000
    reading.cell_count = 16
    reading.ntc_count = 1
    reading.temperature_mdegc_min = reading.temperature_mdegc_max = 25_000
    reading.cell_mv_min, reading.cell_mv_max, reading.cell_mv_sum = 3190, 3210, 51_200
    return reading


class Loop:
    """Run coroutines until a time, earliest first; the clock is the fake board's.

    A task that ends or raises is taken out; what it raised is kept in `failures`.
    """

    STEPS_MAX = 2_000_000

    def __init__(self, hal):
        self._hal = hal
        self._tasks = []
        self.failures = []

    def add(self, coroutine):
        """Add a task, due now."""
        self._tasks.append([coroutine, Pause(self._hal.now_ms)])
        return coroutine

    def run_until(self, end_ms, each_ms=None):
        """Run everything that is due before end_ms; each_ms(now) is called as time moves."""
        for _ in range(self.STEPS_MAX):
            due = None
            for task in self._tasks:
                if due is None or task[1].until < due[1].until:
                    due = task
            if due is None or due[1].until >= end_ms:
                self._hal.now_ms = max(self._hal.now_ms, end_ms)
                return
            if due[1].until > self._hal.now_ms:
                self._hal.now_ms = due[1].until
                if each_ms is not None:
                    each_ms(self._hal.now_ms)
            # equal times take turns
            self._tasks.remove(due)
            try:
                due[1] = due[0].send(None)
                self._tasks.append(due)
            except StopIteration:
                pass
            except Exception as error:
                self.failures.append(error)
        raise AssertionError("the tasks never wait")


def drain(worker):
    """Do all of a worker's jobs now, as its task would."""
    for _ in range(10_000):
        worker._run_urgent()
        if not worker._jobs:
            return
        job, done = worker._jobs.pop(0)
        while not job.step():
            worker._run_urgent()
        done(job)
    raise AssertionError("the worker never ends")


def clear(folder):
    """Remove everything in a folder."""
    for name in os.listdir(folder):
        path = folder + "/" + name
        if os.stat(path)[0] & 0x4000:
            clear(path)
            os.rmdir(path)
        else:
            os.remove(path)


class Folder:
    """A fresh working folder for a test that writes files; leave it with `end`."""

    def __init__(self, name):
        self._home = os.getcwd()
        for path in ("build", _TEMPORARY, _TEMPORARY + "/" + name):
            try:
                os.mkdir(path)
            except OSError:
                pass
        os.chdir(_TEMPORARY + "/" + name)
        clear(".")

    def end(self):
        """Go back to where the test began."""
        os.chdir(self._home)


def in_folder(name, function):
    """Call function in a fresh folder of that name and go back, whatever happens."""
    folder = Folder(name)
    try:
        return function()
    finally:
        folder.end()


