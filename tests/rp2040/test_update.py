"""Updates of a served RP2040: cut at its flash writes, undone when the new firmware is sick."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from element.protocol.errors import BusError
from hil.bench.rp2040.firmware import firmware_files
from hil.bench.rp2040.littlefs_image import make_flash, read_files
from hil.bench.rp2040.pico import Build
from hil.bench.rp2040.served import ServedPico
from host_tools.identity.site import Site
from host_tools.provision.build import Firmware, build_firmware, sha256_hex
from host_tools.provision.cable import Cable
from host_tools.provision.enrol import enrol, load_profile
from host_tools.provision.update import update

ROOT = Path(__file__).resolve().parents[2]
WAIT_S_MAX = 60.0


def quiet(*_: object) -> None:
    """Show no progress."""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServedPico, Site]]:
    """An enrolled element on an emulated Pico, and its site."""
    folder = tmp_path_factory.mktemp("rp2040_update")
    build = Build.of_checkout()
    flash = folder / "flash.bin"
    make_flash(flash, build.image, firmware_files(build, ROOT, "rpi_pico"))
    site = Site(folder / "site")
    with ServedPico(flash, log=folder / "log") as served:
        status(served.port)  # up
        enrol(served.port, site, load_profile("lfp_16s_2500w", "wall"), 3, "acme", quiet)
        yield served, site
        # shown when a test has failed: what the board said of it
        print("".join(chr(byte) if 32 <= byte < 127 or byte == 10 else "~"
                      for byte in served.sent_tail))
    print(read_files(flash).get("failure", b"no task has failed").decode())


def new_firmware(folder: Path, number: int,
                 change: tuple[str, str, str] | None = None) -> Firmware:
    """Return the firmware with a higher version number, and a change (file, old, new) to it."""
    checkout = folder / f"v{number}"
    for name in ("firmware", "boards"):
        shutil.copytree(ROOT / name, checkout / name)
    version = checkout / "firmware" / "element" / "version.py"
    version.write_text(f'TEXT = "0.{number}"\nNUMBER = {number}\n', encoding="utf-8")
    if change is not None:
        path = checkout / "firmware" / "element" / change[0]
        text = path.read_text(encoding="utf-8")
        assert text.count(change[1]) == 1
        path.write_text(text.replace(change[1], change[2]), encoding="utf-8")
    return build_firmware(checkout, "rpi_pico")


def status(port: str) -> dict[str, str]:
    """Return the element's status as soon as it answers."""
    end = time.monotonic() + WAIT_S_MAX
    while True:
        try:
            with Cable(port) as cable:
                return cable.status(limit_s=3.0)
        except BusError:
            if time.monotonic() > end:
                raise


def test_a_cut_in_the_middle_of_an_update_leaves_the_old_and_the_next_try_goes_on(
        board: tuple[ServedPico, Site], tmp_path: Path) -> None:
    served, site = board
    firmware = new_firmware(tmp_path, 5001)
    # what a person does before an update: it leaves the heap in smaller pieces
    with Cable(served.port, site.keyring()) as cable:
        for line in ("status", "cells", "limits", "trips", "log", "help"):
            cable.command(line)
    with pytest.raises(BusError, match="older than what runs"):
        update(served.port, site, new_firmware(tmp_path, 1), quiet)
    with served.lock:
        served.pico.cut_power_at(60, "middle")
    with pytest.raises(BusError):
        update(served.port, site, firmware, quiet, tries_max=1)
    served.power_on()
    assert "firmware 0.1.0" in status(served.port)["board"]
    done = update(served.port, site, firmware, quiet)
    total = sum(map(len, firmware.package.values()))
    assert done.version == "0.5001" and 0 < done.sent_bytes < total
    after = status(served.port)
    assert "firmware 0.5001" in after["board"] and after["slot"] == "b"
    assert after["trip"] == "none"
    with served.lock:
        served.pico.power_off()
        files = read_files(served.pico.flash)
        served.pico.power_on()
    for name, data in firmware.package.items():
        assert sha256_hex(files[f"b/{name}"]) == sha256_hex(data), name


def test_an_older_one_is_refused(board: tuple[ServedPico, Site], tmp_path: Path) -> None:
    served, site = board
    status(served.port)
    with pytest.raises(BusError, match="older than what runs"):
        update(served.port, site, new_firmware(tmp_path, 1), quiet)


@pytest.mark.parametrize("change", [
    ("agent.py", "    def boot(self) -> None:\n", "    def boot(self) -> None:\n        1 // 0\n"),
    ("control.py", "        self.passed = False\n        reading",
     "        while True:\n            pass\n        reading"),
], ids=["crashes", "hangs"])
def test_a_sick_firmware_goes_back_by_itself_and_trips_nothing(
        board: tuple[ServedPico, Site], tmp_path: Path, change: tuple[str, str, str]) -> None:
    served, site = board
    before = status(served.port)
    with pytest.raises(BusError, match="went back"):
        update(served.port, site, new_firmware(tmp_path, 6000, change), quiet)
    after = status(served.port)
    assert after["board"] == before["board"] and after["trip"] == "none"
    assert "rolled back" in after["slot"]
