"""Which boards `cellwall flash` itself has put into maintenance, over an interrupted flash.

A mark is an empty file in the user's cache, named by the board's hardware id. It is made before
flash begins maintenance and goes when that has ended, or when a person at `cellwall console` takes
maintenance over. Without one, or with an old one, maintenance is a person's: flash leaves it on.
"""

import contextlib
import os
import time
from pathlib import Path

# A flash that was interrupted is begun again soon; what is older could be somebody's own by now.
MARK_S_MAX = 3600.0


def cache_folder() -> Path:
    """Return where this user's cache is: XDG_CACHE_HOME or ~/.cache, then cellwall."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return Path(cache or Path.home() / ".cache") / "cellwall"


def _path(hardware_id: str) -> Path:
    # it comes from the board: letters and digits only, whatever that says
    return cache_folder() / "flashing" / "".join(filter(str.isalnum, hardware_id))[:64]


def mark(hardware_id: str) -> None:
    """Keep that flash begins maintenance. A cache that takes nothing keeps nothing."""
    with contextlib.suppress(OSError):
        path = _path(hardware_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def unmark(hardware_id: str) -> None:
    """Forget it: maintenance has ended, or is a person's from now on."""
    with contextlib.suppress(OSError):
        _path(hardware_id).unlink()


def is_marked(hardware_id: str) -> bool:
    """Return True when flash began the maintenance of this board, not long ago."""
    try:
        age_s = time.time() - _path(hardware_id).stat().st_mtime
    except OSError:
        return False
    return 0 <= age_s <= MARK_S_MAX
