"""The esp32 port on a STAND-IN for its machine module: no ESP32 was in reach.

It shows that the port calls the documented interface in the right order with the right values; it
says nothing of the chip.
"""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STANDIN = Path(__file__).resolve().parent / "standin_esp32"


@pytest.mark.parametrize("board", ["esp32", "esp32c3"])
def test_the_port_on_the_standin(board: str, micropython: Path) -> None:
    path = ":".join(str(one) for one in (
        STANDIN, ROOT / "firmware", ROOT / "boards" / board, ".frozen"))
    result = subprocess.run(
        [str(micropython), "-X", "heapsize=1m", str(STANDIN / "checks.py")],
        env={"MICROPYPATH": path, "PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0 and result.stdout.endswith("OK\n"), \
        result.stdout + result.stderr
