"""The esp32 port on a STAND-IN for its machine module: no ESP32 was in reach.

It shows that the port calls the documented interface in the right order with the right values; it
says nothing of the chip. Its radio is a stand-in too.
"""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UMQTT = ROOT / "build" / "umqtt"
STANDIN = Path(__file__).resolve().parent / "standin_esp32"


@pytest.mark.parametrize("checks", ["checks.py", "network_checks.py"])
@pytest.mark.parametrize("board", ["esp32", "esp32c3"])
def test_the_port_on_the_standin(board: str, checks: str, micropython: Path,
                                 tmp_path: Path) -> None:
    path = ":".join(str(one) for one in (
        STANDIN, ROOT / "firmware", ROOT / "boards" / board, UMQTT, ".frozen"))
    result = subprocess.run(
        [str(micropython), "-X", "heapsize=1m", str(STANDIN / checks)],
        env={"MICROPYPATH": path, "PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL, cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0 and result.stdout.endswith("OK\n"), \
        result.stdout + result.stderr
