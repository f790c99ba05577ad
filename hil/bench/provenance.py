"""What a run was made with: commit, firmware, rig, calibration. It goes into results.json.

On one machine all of it is the same for the same files, so results stay byte-equal.
"""

import hashlib
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from element.protocol.errors import BusError
from hil.bench.scheduling import NORMAL, scheduling_of
from hil.bench.site import Paths
from hil.scenarios.model import BuildingModel

RIG_KINDS = {"virtual": "virtual bench", "real": "real-time bench"}
# Caches are no firmware: what they hold follows from the files beside them.
CACHES = ("__pycache__",)
COMMAND_S_MAX = 20
# Where Linux says what a machine is: a Raspberry Pi in its device tree, a PC in its DMI table.
MODEL_FILES = (Path("/proc/device-tree/model"), Path("/sys/class/dmi/id/product_name"))


@dataclass(frozen=True)
class Provenance:
    """The fields of results.json of the same names."""

    commit: str
    firmware_sha256: str
    rig: dict[str, Any]
    calibration: list[dict[str, Any]]


def commit_of(folder: Path) -> str:
    """Return the commit of the checkout that runs, '-dirty' when files differ, or 'unknown'."""
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True,
            timeout=COMMAND_S_MAX).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("-dirty" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def firmware_sha256(firmware: Path, board: Path) -> str:
    """Return one hash, hex, over the firmware and the folder of the board that ran it.

    It is the SHA-256 of what `sha256sum` prints for the files under `firmware/` and
    `boards/NAME/`, sorted by path, so that anybody can make it again (docs/results.md).
    """
    names = {f"firmware/{path.relative_to(firmware).as_posix()}": path
             for path in firmware.rglob("*")}
    names |= {f"boards/{board.name}/{path.relative_to(board).as_posix()}": path
              for path in board.rglob("*")}
    total = hashlib.sha256()
    for name, path in sorted(names.items(), key=lambda one: one[0].encode()):
        if path.is_file() and not any(part in CACHES for part in path.parts):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{digest}  {name}\n".encode())
    return total.hexdigest()


def interpreter_version(micropython: Path) -> str:
    """Return what the boards' interpreter says it is. Raises BusError when it says nothing."""
    try:
        return subprocess.run(
            [str(micropython), "-c", "import sys; print(sys.version)"], capture_output=True,
            text=True, check=True, timeout=COMMAND_S_MAX).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise BusError("MicroPython does not say its version", f"{micropython}: {error}\n"
                       "  next: make setup, or set CELLWALL_MICROPYTHON") from error


def host_of(scheduling: str = NORMAL) -> dict[str, Any]:
    """Return the machine that ran the bench; its model is None where it does not say."""
    model = None
    for path in MODEL_FILES:
        try:
            model = path.read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
        except OSError:
            continue
        break
    return {"model": model, "machine": platform.machine(), "python": platform.python_version(),
            "scheduling": scheduling}


def rig_of(clock: str, elements: list[str], paths: Paths) -> dict[str, Any]:
    """Return the bench's own rig: each element's board is a process of one interpreter."""
    version = interpreter_version(paths.micropython)
    return {
        "kind": RIG_KINDS[clock],
        "boards": [{"element": name, "board": paths.board.name, "interpreter": version,
                    "place": None} for name in elements],
        "host": host_of(scheduling_of(clock)),
        "instruments": [],
        "losses": [],
    }


def modelled_meter(building: BuildingModel) -> dict[str, Any]:
    """Return the calibration entry of the bench's meter, which is a model."""
    return {
        "instrument": "meter at the PCC",
        "what": f"active power, class {building.meter_class_pct:g} % of "
                f"{building.meter_rating_kw:g} kW",
        "date": None,
        "note": "modelled: gain and noise are drawn from the seed inside the class; nothing was "
                "calibrated",
    }


def provenance_of(
    clock: str, elements: list[str], building: BuildingModel, paths: Paths
) -> Provenance:
    """Return what a run of the bench on this clock is made with."""
    return Provenance(
        commit_of(paths.firmware), firmware_sha256(paths.firmware, paths.board),
        rig_of(clock, elements, paths), [modelled_meter(building)])
