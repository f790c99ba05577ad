"""An update on MicroPython's own littlefs: the power is cut at every operation on its blocks."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "tests" / "portable" / "flash_sim_update.py"


def run(micropython: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"MICROPYPATH": os.pathsep.join(("firmware", "tests/portable", ".frozen"))}
    return subprocess.run(
        [str(micropython), "-X", "heapsize=64m", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_every_cut_leaves_the_old_or_the_new_firmware_whole(micropython: Path) -> None:
    result = run(micropython, str(SCRIPT), "1")
    assert result.returncode == 0, result.stdout + result.stderr
    words = result.stdout.split()
    numbers = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    print(result.stdout.strip())
    assert numbers["OPERATIONS"] >= 200 and numbers["CUTS"] == 2 * numbers["OPERATIONS"]


def test_a_loader_that_switches_too_early_is_found(micropython: Path) -> None:
    """With the switch before the files are there, some cut must show a slot that is not whole."""
    code = """
import sys
import flash_sim_update as sim
import slots
from element import update
begin = update.Updater._accepted
def early(self, fields, manifest):
    slots.write("a", "b", 0, ".")
    return begin(self, fields, manifest)
update.Updater._accepted = early
sim.main(1)
"""
    result = run(micropython, "-c", code)
    assert result.returncode != 0, result.stdout
    assert "not whole" in result.stderr or "ENOENT" in result.stderr, result.stderr
