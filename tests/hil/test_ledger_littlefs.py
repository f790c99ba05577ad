"""The ledger on MicroPython's own littlefs: the power is cut at every operation on its blocks."""

import os
import subprocess
from pathlib import Path

from tests.campaign import WHOLE

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "tests" / "portable" / "flash_sim_littlefs.py"


def run(micropython: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"MICROPYPATH": os.pathsep.join(("firmware", "tests/portable", ".frozen"))}
    return subprocess.run(
        [str(micropython), "-X", "heapsize=64m", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_no_cut_of_a_thousand_records_loses_any(micropython: Path) -> None:
    stride = 1 if WHOLE else 6
    result = run(micropython, str(SCRIPT), "1000", str(stride))
    assert result.returncode == 0, result.stdout + result.stderr
    words = result.stdout.split()
    numbers = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    print(result.stdout.strip())
    assert numbers["RECORDS"] >= 1000 and numbers["OPERATIONS"] > 3 * numbers["RECORDS"]
    assert numbers["CUTS"] == 2 * -(-numbers["OPERATIONS"] // stride)


def test_a_log_that_promises_too_early_is_found(micropython: Path) -> None:
    result = run(micropython, str(SCRIPT), "60", "1", "late")
    assert result.returncode != 0 and "lost" in result.stdout + result.stderr, result.stdout


def test_the_wear_is_what_the_log_says(micropython: Path) -> None:
    """4 KB blocks in pages of 256 bytes, 352 of them: a Pico's file system."""
    code = """
import os, sys, vfs
import flash_sim_littlefs as sim
sim.BLOCK_SIZE, sim.BLOCK_COUNT, sim.PROGRAM_SIZE = 4096, 352, 256
from element.ledger.log import FlashLog
disk = sim.Disk()
vfs.VfsLfs2.mkfs(disk, progsize=256)
flash = sim.Mounted(disk, "/run")
os.chdir("/run")
log = FlashLog("ledger")
log.load()
disk.erase_count = 0
for counter in range(1, 4001):
    log.acknowledged = counter - 1
    log.append((counter, bytes(217)))
print(disk.erase_count * 1000 // 4000)
"""
    result = run(micropython, "-c", code)
    assert result.returncode == 0, result.stdout + result.stderr
    assert 900 <= int(result.stdout) <= 1100
