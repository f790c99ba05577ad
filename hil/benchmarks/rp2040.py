"""Benchmarks of the element on the emulated RP2040: the real image at 125 MHz, emulated time."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

from element.ledger.log import ENTRY_SIZE_MAX, SEGMENT_COUNT, SEGMENT_SIZE_MAX, FlashLog
from hil.bench.rp2040.board import FLASH_NAME, PicoBoard
from hil.bench.rp2040.littlefs_image import add_files, make_flash
from hil.bench.rp2040.pico import Build, Inputs, Pico
from hil.bench.rp2040.regulation import regulate
from hil.bench.rp2040.served import ServedPico
from hil.benchmarks.registry import Context, Measure, benchmark
from hil.fmea.bench import scenario_for
from hil.fmea.faults import FAULTS
from hil.fmea.trial import Trial
from host_tools.provision.flash import flash

MINUTES = 10
CHECKOUT = Path(__file__).resolve().parents[2]
BOOT_US_MAX = 20_000_000
_CRYPTO_MAIN = b"""
import gc, hashlib, sys, time
gc.threshold(48000)
sys.path.insert(0, "a")
from element.crypto import p256
key = hashlib.sha256(b"key").digest()
public = p256.public_key(key)
def timed(name, job):
    total = longest = count = 0
    done = False
    while not done:
        gc.collect()
        began = time.ticks_us()
        done = job.step()
        slice_us = time.ticks_diff(time.ticks_us(), began)
        total += slice_us
        count += 1
        longest = max(longest, slice_us)
    print("TIMED", name, total, longest, count)
    return job
for number in range(5):
    digest = hashlib.sha256(b"%d" % number).digest()
    job = timed("sign", p256.SignJob(key, digest))
timed("verify", p256.VerifyJob(public, digest, job.signature))
timed("agree", p256.EcdhJob(key, public))
"""
_TIMED = re.compile(rb"TIMED (\w+) (\d+) (\d+) (\d+)")


@benchmark("rp2040_crypto")
def crypto(context: Context) -> Iterator[Measure]:
    """Time the work of a signature, a verification and a key agreement, garbage left out."""
    trial = Trial(scenario_for(FAULTS[0]), 7, context.folder / "crypto")
    board = PicoBoard(trial.rig.board.spec)
    trial.aggregator.ledger.close()
    board.spec.flash.mkdir(parents=True, exist_ok=True)
    board.install()
    board.close()
    flash_path = board.spec.flash / FLASH_NAME
    add_files(flash_path, {"main.py": _CRYPTO_MAIN})
    text = b""
    with Pico(Build.of_checkout(), flash_path, seed=1) as pico:
        pico.power_on()
        while text.count(b"TIMED") < 7 and pico.now_us < BOOT_US_MAX:
            text += pico.advance(pico.now_us + 100_000, Inputs()).usb
    found: dict[str, list[tuple[int, int, int]]] = {}
    for name, total, longest, count in _TIMED.findall(text):
        found.setdefault(name.decode(), []).append((int(total), int(longest), int(count)))
    for name, reach in (("sign", "<= 400"), ("verify", ""), ("agree", "")):
        yield Measure(f"rp2040.es256_{name}_work_ms" if name != "agree"
                      else "rp2040.ecdh_work_ms",
                      round(max(one[0] for one in found[name]) / 1000, 1), "ms", reach)
    yield Measure("rp2040.crypto_slice_ms_max", round(
        max(one[1] for several in found.values() for one in several) / 1000, 1), "ms", "<= 20")


def full_ledger(folder: Path) -> dict[str, bytes]:
    """Return the files of a ledger whose every segment is full, as after days of service."""
    log = FlashLog(str(folder / "s"))
    for counter in range(1, SEGMENT_COUNT * SEGMENT_SIZE_MAX // ENTRY_SIZE_MAX + 1):
        log.acknowledged = counter - 1
        log.append((counter, bytes(217)))
    return {f"ledger/{path.name}": path.read_bytes() for path in folder.glob("s.*")}


@benchmark("rp2040_boot")
def boot(context: Context) -> Iterator[Measure]:
    """Time an enrolled element with a full ledger from power-on to its first control tick."""
    folder = context.folder / "boot"
    regulation = regulate(scenario_for(FAULTS[0]), folder, 20_000, main=None)
    flash_path = folder / "boards" / "wall" / FLASH_NAME
    add_files(flash_path, full_ledger(folder))
    conducted = False
    with Pico(Build.of_checkout(), flash_path, bytes(8), seed=1) as pico:
        state = pico.power_on()
        began_us = state.time_us
        # the control task's first act after its first tick is to feed, and so start, the watchdog
        while not state.watchdog and state.time_us - began_us < BOOT_US_MAX:
            state = pico.advance(pico.now_us + 1000, Inputs(pins={3: False},
                                                            adc_raw=(2048, 0, 0, 0, 876)))
            conducted = conducted or bool(state.seen_high & (1 << 2 | 1 << 6 | 1 << 7 | 1 << 8))
        boot_us = state.time_us - began_us
    assert regulation.restarts == 0
    yield Measure("rp2040.boot_s", round(boot_us / 1e6, 3), "s", "<= 2")
    yield Measure("rp2040.boot_outputs_high", int(conducted), "", "== 0")


@benchmark("rp2040_regulation")
def regulation(context: Context) -> Iterator[Measure]:
    """Ten emulated minutes at power with an emulated JBD: heap, tick work, delays."""
    began = time.monotonic()
    result = regulate(scenario_for(FAULTS[0]), context.folder / "regulation", MINUTES * 60_000)
    yield Measure("rp2040.restarts", result.restarts, "", "== 0")
    yield Measure("rp2040.heap_free_kb_min",
                  round(min(result.heap_free_bytes) / 1024, 1), "KB", ">= 90")
    yield Measure("rp2040.ticks", sum(result.work_ms_count), "", f">= {MINUTES * 590}")
    yield Measure("rp2040.tick_work_ms_p99", result.work_ms_at(0.99), "ms", "<= 20")
    yield Measure("rp2040.tick_work_ms_max", result.work_ms_at(1.0), "ms", "")
    yield Measure("rp2040.tick_late_ms_max", max(result.late_ms_count), "ms", "<= 20")
    yield Measure("rp2040.emulated_per_wall",
                  round(MINUTES * 60 / (time.monotonic() - began), 1), "", "")


@benchmark("rp2040_flash")
def flashing(context: Context) -> Iterator[Measure]:
    """Flash a blank board and one changed file through `cellwall flash`'s own code."""
    folder = context.folder / "flash"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FLASH_NAME
    build = Build.of_checkout()
    make_flash(path, build.image, {})
    with ServedPico(path, log=folder / "log") as served:
        for name, reach in (("blank", "<= 60"), ("changed_file", "<= 5")):
            if name != "blank":
                with served.lock:
                    served.pico.power_off()
                    add_files(path, {"a/element/lease.mpy": b"another"})
                    served.pico.power_on()
                time.sleep(3.0)  # the element is up again
            emulated_us = served.state.time_us
            done = flash(served.port, "rpi_pico", CHECKOUT, lambda *_: None)
            emulated_us = served.state.time_us - emulated_us
            yield Measure(f"rp2040.flash_{name}_s", done.seconds, "s", reach)
            yield Measure(f"rp2040.flash_{name}_emulated_s", round(emulated_us / 1e6, 1), "s", "")
            yield Measure(f"rp2040.flash_{name}_files", len(done.copied), "", "")
