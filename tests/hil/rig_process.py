"""An emulated rig in a process of its own, and `cellwall` commands in others; all of them ours."""

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.hil.line_process import until

START_S_MAX = 30.0
RUN_S_MAX = 120.0
COMMAND = [sys.executable, "-m", "host_tools.cli.main"]

SCENARIO = """\
scenario: bench
description: Two elements on a rig, seconds of everything.
record_interval_s: 10
building: {load_w: 600, meter_rating_kw: 5}
elements:
  - {name: wall, kind: converter, chemistry: LFP, series_count: 16, capacity_ah: 100,
     rating_w: 2500, zone: 1, current_a_max: 60, cell_mv_min: 2800, cell_mv_max: 3600}
  - {name: cabinet, kind: bms_fets, chemistry: NMC, series_count: 13, capacity_ah: 50,
     rating_w: 500, zone: 2, current_a_max: 20, cell_mv_min: 3100, cell_mv_max: 4150}
phases:
  - {name: discovery, signal: idle, duration_s: 10}
  - {name: regulation, signal: regulation, duration_s: 14, power_kw: 1}
events:
  - {name: silent, kind: bms_silent, phase: regulation, at_s: 6, element: wall, duration_s: 4,
     safe_within_ms: 3000}
limits:
  - {value: statements.failed, max: 0}
"""

ONE_ELEMENT = """\
scenario: one
description: One element, which may take its time to open a session.
record_interval_s: 10
building: {load_w: 0, meter_rating_kw: 5}
elements:
  - {name: wall, kind: converter, chemistry: LFP, series_count: 16, capacity_ah: 100,
     rating_w: 2500, zone: 1, current_a_max: 60, cell_mv_min: 2800, cell_mv_max: 3600}
phases:
  - {name: discovery, signal: idle, duration_s: 75}
  - {name: regulation, signal: regulation, duration_s: 20, power_kw: 1}
"""


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of every process here: locks and keys of their own."""
    return os.environ | {"CELLWALL_LOCKS": str(folder / "locks"),
                         "PYTHONPATH": os.pathsep.join(sys.path)}


class RigProcess:
    """`cellwall hil demo-rig` and its commands."""

    def __init__(self, folder: Path, scenario: Path, *more: str) -> None:
        """more: what else `demo-rig` is asked for."""
        self.folder = folder
        self._number = 0
        self._numbers: dict[int, int] = {}
        self.env = environment(folder)
        self._process = subprocess.Popen(
            [*COMMAND, "hil", "demo-rig", str(folder), "--scenario", str(scenario), *more],
            env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.ready = self._answer()
        self.rig = Path(self.ready["rig"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        killer = threading.Timer(START_S_MAX, self._process.kill)
        killer.start()
        try:
            return dict(json.loads(self._process.stdout.readline()))
        finally:
            killer.cancel()

    def __call__(self, **command: Any) -> dict[str, Any]:
        """Give a command and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def state(self) -> dict[str, Any]:
        """Return what is truly so on the rig."""
        return self(state=True)

    def plug(self, plugged: bool, *names: str) -> None:
        """Unplug parts or plug them in, all at once, and wait until it is so."""
        for name in names:
            self(**{"replug" if plugged else "unplug": name})

        def is_so() -> bool:
            now = self.state()["plugged"]
            return all(now[name] is plugged for name in names)

        until(is_so)

    def until_off(self) -> None:
        """Wait until nothing moves energy any more."""
        until(lambda: self.state()["true_w"] == 0 and not self.state()["watchdog"])

    def cellwall(self, *words: str) -> subprocess.Popen[str]:
        """Start a command; `said` tells what the last one has written."""
        self._number += 1
        out, err = (self.folder / f"{self._number}-{name}" for name in ("out.txt", "err.txt"))
        with out.open("w") as stdout, err.open("w") as stderr:
            started = subprocess.Popen([*COMMAND, *words], env=self.env, text=True,
                                       stdout=stdout, stderr=stderr)
        self._numbers[started.pid] = self._number
        return started

    def hil(self, *words: str) -> subprocess.Popen[str]:
        """Start `cellwall hil` with words."""
        return self.cellwall("hil", *words)

    def tripped(self) -> list[str]:
        """Return the names of the elements whose last word of their latch is that it has shut."""
        return [path.parent.name for path in sorted(self.folder.glob("boards/*/console.log"))
                if (said := re.findall("TRIPPED|released", path.read_text(encoding="utf-8")))
                and said[-1] == "TRIPPED"]

    def release(self, name: str) -> None:
        """Release an element's trip with the command, as the rig's operator does."""
        port, site = self.folder / "by-id" / f"board-{name}", self.folder / "site"
        done = self.cellwall("release", str(port), "--site", str(site), "--yes")
        assert done.wait(RUN_S_MAX) == 0, self.said()

    def run(self, *words: str) -> subprocess.Popen[str]:
        """Start a run of the folder's scenario.yaml on the rig."""
        return self.hil("run", str(self.folder / "scenario.yaml"), "--rig", str(self.rig), *words)

    def in_regulation(self, host: subprocess.Popen[str]) -> None:
        """Wait until a run is in its second phase."""
        until(lambda: "regulation: from" in self.said(of=host) or host.poll() is not None, 60.0)
        assert host.poll() is None, self.said(of=host)

    def said(self, name: str = "err.txt", of: subprocess.Popen[str] | None = None) -> str:
        """Return what the last command has written, or the one given."""
        number = self._number if of is None else self._numbers[of.pid]
        return (self.folder / f"{number}-{name}").read_text(encoding="utf-8")

    def end(self) -> None:
        """Serve no more."""
        if self._process.poll() is None:
            self(end=True)
        self._process.wait(START_S_MAX)
