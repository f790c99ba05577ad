"""Benchmarks of the element's parts: signatures on the unix port, decoders under fuzz."""

import subprocess
from collections.abc import Iterator

from element.protocol.errors import BusError
from hil.bench.site import Paths
from hil.benchmarks.registry import Context, Measure, benchmark
from hil.fuzz.driver import run_fuzz
from hil.fuzz.targets import TARGETS

FUZZ_COUNT = 1_000_000
_SIGN_SCRIPT = """
import gc, hashlib, time
from element.crypto.p256 import SignJob
total = longest = 0
key = hashlib.sha256(b"key").digest()
times = []
for number in range(100):
    digest = hashlib.sha256(b"%d" % number).digest()
    gc.collect()
    job = SignJob(key, digest)
    spent = 0
    done = False
    while not done:
        began = time.ticks_us()
        done = job.step()
        slice_us = time.ticks_diff(time.ticks_us(), began)
        spent += slice_us
        longest = max(longest, slice_us)
    times.append(spent)
times.sort()
print(times[50], times[-1], longest)
"""


@benchmark("es256")
def es256(context: Context) -> Iterator[Measure]:
    """Time signatures under MicroPython's unix port: whole ones, and their longest slice."""
    firmware = Paths.of_checkout(context.micropython).firmware
    answer = subprocess.run(
        [str(context.micropython), "-c", _SIGN_SCRIPT], capture_output=True, text=True,
        check=True, timeout=300, env={"MICROPYPATH": f"{firmware}:.frozen"})
    median_us, worst_us, slice_us = (int(word) for word in answer.stdout.split())
    yield Measure("es256.sign_ms_median", median_us / 1000, "ms", "<= 5")
    yield Measure("es256.sign_ms_max", worst_us / 1000, "ms", "")
    yield Measure("es256.slice_ms_max", slice_us / 1000, "ms", "<= 5")


# A control loop of 10 ms under asyncio, alone or beside the background worker that signs without
# a pause; prints how late its ticks were: at the 99.9th percentile and at worst, in us.
_TICK_SCRIPT = """
import asyncio, hashlib, sys, time
from element.crypto.p256 import SignJob
from element.crypto.worker import Worker
from element.hal.scheduler import LoopWaiter
seconds, signing = int(sys.argv[1]), sys.argv[2] == "signing"
class HAL:
    tight_heap = False
    paced = True
    ticks_ms = staticmethod(time.ticks_ms)
    ticks_diff = staticmethod(time.ticks_diff)
    def waiter(self): return LoopWaiter()
    def relax(self): return asyncio.sleep_ms(0)
late, signed = [], 0
def again(worker):
    global signed
    digest = hashlib.sha256(b"%d" % signed).digest()
    signed += 1
    worker.submit(SignJob(hashlib.sha256(b"key").digest(), digest), lambda job: again(worker))
async def main():
    worker = Worker(HAL())
    task = asyncio.create_task(worker.run())
    if signing: again(worker)
    due = time.ticks_us()
    for _ in range(seconds * 100):
        due = time.ticks_add(due, 10000)
        left_us = time.ticks_diff(due, time.ticks_us())
        await asyncio.sleep_ms(max(0, left_us // 1000))
        late.append(max(0, time.ticks_diff(time.ticks_us(), due)))
asyncio.run(main())
late.sort()
print(late[len(late) * 999 // 1000], late[-1], signed)
"""
TICK_SECONDS = 60


class Ticker:
    """A process that ticks for some seconds, beside signing or alone."""

    def __init__(self, context: Context, seconds: int, how: str) -> None:
        """how: 'signing' or 'idle'; an idle one shows what the machine does to any tick."""
        firmware = Paths.of_checkout(context.micropython).firmware
        self._seconds = seconds
        self._process = subprocess.Popen(
            [str(context.micropython), "-c", _TICK_SCRIPT, str(seconds), how],
            stdout=subprocess.PIPE, text=True, env={"MICROPYPATH": f"{firmware}:.frozen"})

    def result(self) -> tuple[float, float, int]:
        """Wait for the end; return (late at p99.9 in ms, worst in ms, signatures made)."""
        words = self._process.communicate(timeout=3 * self._seconds + 60)[0].split()
        if self._process.returncode:
            raise BusError("a ticking process failed", self._process.returncode)
        return int(words[0]) / 1000, int(words[1]) / 1000, int(words[2])


@benchmark("signing")
def signing(context: Context) -> Iterator[Measure]:
    """Tick beside a worker that signs without a pause, and side by side in a process without.

    What the machine does to ticks by itself is in both; the difference is what signing adds.
    """
    tickers = [Ticker(context, TICK_SECONDS, how) for how in ("signing", "idle")]
    (most_ms, worst_ms, count), (machine_most_ms, machine_worst_ms, _) = (
        ticker.result() for ticker in tickers)
    added_ms = round(max(0.0, most_ms - machine_most_ms), 3)
    yield Measure("signing.added_late_ms_p99_9", added_ms, "ms", "<= 5")
    yield Measure("signing.tick_late_ms_p99_9", most_ms, "ms", "")
    yield Measure("signing.tick_late_ms_max", worst_ms, "ms", "")
    yield Measure("signing.machine_late_ms_p99_9", machine_most_ms, "ms", "")
    yield Measure("signing.machine_late_ms_max", machine_worst_ms, "ms", "")
    yield Measure("signing.signatures_per_s", count / TICK_SECONDS, "1/s", "")


@benchmark("fuzz")
def fuzz(context: Context) -> Iterator[Measure]:
    """Give every decoder a million mutated and random inputs."""
    for name in TARGETS:
        outcome = run_fuzz(TARGETS[name], FUZZ_COUNT, 1, name)
        yield Measure(f"fuzz.{name}.defects", outcome["defect_count"], "", "== 0")
        yield Measure(f"fuzz.{name}.inputs", outcome["count"], "", f">= {FUZZ_COUNT}")
