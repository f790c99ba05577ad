"""A served Pico for the provisioning tests: every byte that leaves it is kept."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from element.protocol.errors import BusError
from hil.bench.rp2040.firmware import firmware_files
from hil.bench.rp2040.littlefs_image import make_flash
from hil.bench.rp2040.pico import Build, State
from hil.bench.rp2040.served import ServedPico
from host_tools.cli import main as cli
from host_tools.provision.cable import Cable

ROOT = Path(__file__).resolve().parents[2]
BOARD = "rpi_pico"
BOOT_S_MAX = 60.0


class TappedPico(ServedPico):
    """A served board with a tap on its lines and a look at its outputs.

    usb: all that came over USB; left: all that left the board on any line. enabled: the enable
    line was high at some moment.
    """

    def __init__(self, flash: Path, **options: Any) -> None:
        self.usb = bytearray()
        self.left = bytearray()
        self.enabled = False
        super().__init__(flash, **options)

    def _apply(self, state: State) -> None:
        self.usb += state.usb
        self.left += state.uart0 + state.uart1 + state.usb
        self.enabled |= bool(state.seen_high >> self.wiring.board.ENABLE & 1)
        super()._apply(state)

    def said(self, text: str, limit_s: float = BOOT_S_MAX) -> bool:
        """Wait until the board has said text over USB."""
        return self.happens(lambda: text.encode() in self.usb, limit_s)

    def happens(self, what: Any, limit_s: float) -> bool:
        """Wait until what() is true; False when limit_s are over before."""
        end_s = time.monotonic() + limit_s
        while not what():
            if time.monotonic() > end_s:
                return False
            self.wait(0.1)
        return True

    def up(self) -> dict[str, str]:
        """Wait for the element to answer at its console, without a word on USB before it does.

        A byte while MicroPython starts could be its Ctrl-C.
        """
        end_s = time.monotonic() + BOOT_S_MAX
        while True:
            try:
                with Cable(self.port) as cable:
                    return cable.status(2.0)
            except BusError:
                if time.monotonic() > end_s:
                    raise
                self.wait(0.5)


def install(flash: Path) -> None:
    """Put today's firmware into a fresh flash file, as `cellwall flash` leaves it."""
    build = Build.of_checkout()
    make_flash(flash, build.image, firmware_files(build, ROOT, BOARD))


@contextmanager
def served(flash: Path, **options: Any) -> Iterator[TappedPico]:
    """Serve the board of a flash file until the end of the block."""
    with TappedPico(flash, **options) as pico:
        yield pico


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, stdout, stderr."""
    runner = CliRunner()
    with runner.isolation() as streams:
        code = cli.main(list(arguments))
        out, err = streams[0].getvalue(), streams[1].getvalue()
    return code, out.decode(), err.decode()


def doctor(port: str, site: Path, *options: str) -> dict[str, dict[str, str]]:
    """Return the doctor's checks by name; the exit code must agree with them."""
    code, out, err = run("doctor", port, "--site", str(site), "--json", *options)
    assert code in (0, 1), err
    checks = {check["name"]: check for check in json.loads(out)}
    assert code == any(check["verdict"] == "fail" for check in checks.values())
    for check in checks.values():
        assert check["next_step"] or check["verdict"] != "fail", check
    return checks
