"""The port of an emulated board, as a program on the host sees it."""

import contextlib
import os
import pty
import tty
from pathlib import Path

from hil.devices.endpoint import Endpoint

READ_SIZE = 4096


class BoardPort(Endpoint):
    """The USB port of one board: a name that goes when it is unplugged and comes back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.address = str(path)
        self._ours = self._theirs = -1

    def replug(self) -> None:
        if self.plugged:
            return
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.path.symlink_to(os.ttyname(self._theirs))
        self.plugged = True

    def unplug(self) -> None:
        if self.plugged:
            self.plugged = False
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            os.close(self._ours)
            os.close(self._theirs)

    def read(self) -> bytes:
        """Return what a program has sent."""
        try:
            return os.read(self._ours, READ_SIZE) if self.plugged else b""
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        """Send to the program at the port; what it does not take is lost."""
        if self.plugged:
            with contextlib.suppress(OSError):
                os.write(self._ours, data)
