"""Benchmarks of the element's parts: signatures on the unix port, decoders under fuzz."""

import subprocess
from collections.abc import Iterator

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


@benchmark("fuzz")
def fuzz(context: Context) -> Iterator[Measure]:
    """Give every decoder a million mutated and random inputs."""
    for name in TARGETS:
        outcome = run_fuzz(TARGETS[name], FUZZ_COUNT, 1, name)
        yield Measure(f"fuzz.{name}.defects", outcome["defect_count"], "", "== 0")
        yield Measure(f"fuzz.{name}.inputs", outcome["count"], "", f">= {FUZZ_COUNT}")
