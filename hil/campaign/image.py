"""The firmware as boards have it: folded, shortened, compiled; built once for many runs.

It is what `cellwall flash` puts on a board, for the virtual one, and starts in a fifth of the
time.
"""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from hil.bench.session import fast_micropython
from hil.bench.site import Paths
from host_tools.provision.build import build_firmware

BOARD = "virtual"


def build_image(folder: Path) -> None:
    """Compile the checkout's firmware into a folder. Raises BusError when it does not compile."""
    checkout = Paths.of_checkout(fast_micropython()).firmware.parent
    built = build_firmware(checkout, BOARD)
    for files in (built.root, built.package):
        for name, code in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(code)


def image_paths(folder: Path) -> Paths:
    """Return what runs boards from an image."""
    return Paths(fast_micropython(), folder, folder)


@cache
def own_image() -> Path:
    """Return the folder of this process's own image; it goes when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="cellwall-image-"))
    atexit.register(shutil.rmtree, folder, True)
    build_image(folder)
    return folder
