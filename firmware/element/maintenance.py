"""Maintenance: a person works on the element. Power is held at zero until that person says so.

Begun and ended at the cable; a message from the panel can do neither. It outlasts a reset, as the
person's work does. Beginning, ending and reaching the REPL are events in the signed chain.
"""

import os

from .keeper import read_file, write_file
from .protocol import codes

_FILE = "maintenance"
# The loader, which stays over updates, looks for this file: see slots.py.
REPL_FILE = "repl"
BEGUN = 1
ENDED = 0
REPL = 2


class Maintenance:
    """Whether maintenance is on. notice(cause, value) puts an event in the chain."""

    def __init__(self, notice):
        self._notice = notice
        self._kept = False  # on flash
        self.on = False

    def load(self) -> None:
        """Go on where the last boot was. A file that cannot be read is maintenance."""
        try:
            self.on = self._kept = read_file(_FILE) is not None
        except OSError:
            self.on = True

    def begin(self) -> None:
        """Hold power at zero from the next tick on. Raises OSError when it would not outlast."""
        if not self.on:
            self.on = True  # whatever the flash says
            self._notice(codes.NOTICE_MAINTENANCE, BEGUN)
        if not self._kept:
            write_file(_FILE, b"")
            self._kept = True

    def end(self) -> None:
        """Let power flow again. Raises OSError, and maintenance goes on, if the file stays."""
        if not self.on:
            return
        _remove(REPL_FILE)  # the way to the REPL is part of what ends
        _remove(_FILE)
        self.on = self._kept = False
        self._notice(codes.NOTICE_MAINTENANCE, ENDED)

    def want_repl(self) -> None:
        """Let the next start leave the board to its REPL. Raises OSError, RuntimeError unless on.

        The caller records it before and resets afterwards.
        """
        if not self.on:
            raise RuntimeError("maintenance")
        write_file(REPL_FILE, b"")


def _remove(path: str) -> None:
    """Remove a file that may be there. Raises OSError when it stays."""
    try:
        os.remove(path)
    except OSError as error:
        if error.errno != 2:
            raise
