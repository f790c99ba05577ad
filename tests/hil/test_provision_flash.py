"""`cellwall flash` on an emulated Pico: blank, interrupted, mended, and then only what differs."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import cbor2
import pytest

from hil.bench.rp2040.littlefs_image import add_files, read_files
from host_tools.provision.build import build_firmware
from host_tools.provision.flash import Flashed, flash
from tests.hil.provision_bench import BOARD, ROOT, TappedPico, served

# A blank board takes about a thousand page programs and erases.
CUT_AT = 400


def interrupted_flash(pico: TappedPico, checkout: Path) -> None:
    """Flash in a process of its own; cut the board's power in a page, then kill the process."""
    with pico.lock:
        pico.pico.cut_power_at(CUT_AT, "middle")
    process = subprocess.Popen(
        [sys.executable, "-m", "host_tools.cli.main", "flash", pico.port, "--board", BOARD,
         "--checkout", str(checkout)], cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    try:
        assert pico.happens(lambda: not pico.state.powered, 90), "the cut never came"
    finally:
        process.kill()
        process.wait()


def checkout_in(folder: Path) -> Path:
    """Return a copy of what is flashed of this checkout."""
    for room in ("firmware", "boards"):
        shutil.copytree(ROOT / room, folder / room)
    return folder


def change(checkout: Path) -> None:
    """Change one module of a checkout."""
    lease = checkout / "firmware" / "element" / "lease.py"
    lease.write_text(lease.read_text() + "\n\ndef of_a_newer_checkout():\n    return 1\n")


def again(pico: TappedPico, checkout: Path) -> Flashed:
    steps: list[str] = []
    done = flash(pico.port, BOARD, checkout, lambda done, total, what: steps.append(what))
    assert steps[-1] == "restarting"
    return done


@pytest.mark.whole
def test_a_board_from_blank_over_a_power_cut_to_an_identity(tmp_path: Path) -> None:
    checkout = checkout_in(tmp_path / "checkout")
    firmware = build_firmware(checkout, BOARD)
    count = len(firmware.root) + len(firmware.package)
    path = tmp_path / "flash.bin"
    with served(path) as pico:
        interrupted_flash(pico, checkout)
        # half a firmware starts nothing, and says so
        pico.power_on()
        assert pico.said("no whole firmware here: run `cellwall flash` again"), pico.usb
        assert pico.said(">>> ", 5) and not pico.enabled
        done = again(pico, checkout)
        assert 0 < done.unchanged_count < count and not done.removed
        assert done.unchanged_count + len(done.copied) == count
        assert done.interpreter.startswith("MicroPython 1.25") and done.version
        assert done.hardware_id == pico.pico.unique_id.hex()
        pico.cut_power()
        files = read_files(path)
        assert files["slots"] == b"a-0."
        for name, data in firmware.package.items():
            assert files[f"a/{name}"] == data, name
        public = cbor2.loads(files["keys.cbor"])[2]
        assert done.element_id == hashlib.sha256(public).digest()[:8].hex()
        # one module is damaged on flash, one is left over, and one is newer in the checkout
        damaged = bytearray(files["a/element/clock.mpy"])
        damaged[-5] ^= 4
        add_files(path, {"a/element/clock.mpy": bytes(damaged), "a/element/old.mpy": b"M\x06old"})
        pico.usb.clear()
        pico.power_on()
        change(checkout)
        newer = again(pico, checkout)
        assert sorted(newer.copied) == ["a/element/clock.mpy", "a/element/lease.mpy"]
        assert newer.removed == ["a/element/old.mpy"]
        assert newer.unchanged_count == count - 2 and newer.element_id == done.element_id
        # with nothing to do nothing is written; the element is back at work, not in maintenance
        same = again(pico, checkout)
        assert same.copied == same.removed == [] and same.unchanged_count == count
        status = pico.up()
        assert "maintenance" not in status["held by"] and status["slot"] == "a"
        assert not pico.enabled
