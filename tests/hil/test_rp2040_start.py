"""The emulated Pico starts its firmware, whatever arrives on its cable meanwhile."""

from pathlib import Path

import pytest

from hil.bench.rp2040.firmware import firmware_files
from hil.bench.rp2040.littlefs_image import make_flash
from hil.bench.rp2040.pico import Build, Inputs, Pico

ROOT = Path(__file__).resolve().parents[2]
START_US_MAX = 4_000_000
ADC = (2048, 0, 0, 0, 876)


@pytest.mark.parametrize("noise", [
    pytest.param(b"\x03", id="ctrl-c", marks=pytest.mark.whole),
    pytest.param(b"\r\x03\x03", id="mpremote", marks=pytest.mark.whole),
    pytest.param(bytes(range(256)), id="every-byte")])
def test_no_byte_of_the_panel_ends_a_start_in_a_repl(tmp_path: Path, noise: bytes) -> None:
    build = Build.of_checkout()
    flash = tmp_path / "flash.bin"
    make_flash(flash, build.image, firmware_files(build, ROOT, "rpi_pico"))
    said = b""
    with Pico(build, flash, seed=1, log=tmp_path / "log") as pico:
        state = pico.power_on()
        while state.time_us < START_US_MAX:
            state = pico.advance(state.time_us + 1000, Inputs({3: False}, ADC, usb=noise))
            said += state.usb
        assert state.watchdog, said  # the control loop feeds it, and nothing else starts it
        assert state.reset_count == 0
    assert b"KeyboardInterrupt" not in said and b">>>" not in said, said


def test_a_firmware_that_fails_at_every_start_can_be_reached(tmp_path: Path) -> None:
    build = Build.of_checkout()
    flash = tmp_path / "flash.bin"
    files = firmware_files(build, ROOT, "rpi_pico")
    files["a/element/agent.mpy"] = b"no compiled code"
    make_flash(flash, build.image, files)
    said = b""
    with Pico(build, flash, seed=1, log=tmp_path / "log") as pico:
        state = pico.power_on()
        while b">>>" not in said and state.time_us < 2 * START_US_MAX:
            until_us = state.time_us + 100_000
            state = pico.advance(until_us, Inputs({3: False}, ADC, usb=b"\r\x03"))
            said += state.usb
    assert b"incompatible" in said and b"KeyboardInterrupt" in said and b">>>" in said, said
