"""Advisory locks on the ports of a rig: who uses it, since when, for what.

One file a port in a folder that all users of the machine share; `flock` on it ends with the
process, however that ends. What it says of its owner outlives him: a lock whose owner is dead is
taken over, and that is said.
"""

import errno
import fcntl
import getpass
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from element.protocol.errors import BusError

VARIABLE = "CELLWALL_LOCKS"
SHARED = Path("/run/lock")
OWNER_SIZE_MAX = 4096


@dataclass(frozen=True)
class Owner:
    """Who holds a port. since_unix_s: of his lock. held: False once his process is gone."""

    resource: str
    user: str
    host: str
    pid: int
    since_unix_s: float
    purpose: str
    held: bool = True

    def text(self) -> str:
        """Return it in one line, with the age of the lock."""
        age_s = max(0, round(time.time() - self.since_unix_s))
        return f"{self.user}@{self.host}, process {self.pid}, for {age_s} s: {self.purpose}"


def lock_folder() -> Path:
    """Return the folder of the locks: CELLWALL_LOCKS, or one below /run/lock or /tmp."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    base = SHARED if os.access(SHARED, os.W_OK) else Path("/tmp")
    return base / "cellwall"


def _path_of(resource: str) -> Path:
    """Return the file of a port; a stable name and the device behind it have the same."""
    real = os.path.realpath(resource) if resource.startswith("/") else resource
    return lock_folder() / (hashlib.sha256(real.encode()).hexdigest()[:24] + ".lock")


def _read(fd: int, held: bool) -> Owner | None:
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        fields: dict[str, Any] = json.loads(os.read(fd, OWNER_SIZE_MAX))
        return Owner(**(fields | {"held": held}))
    except (ValueError, TypeError):
        return None


def _open(path: Path) -> int:
    """Return the lock's file, open for all users of the machine."""
    folder = path.parent
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.fchmod(fd, 0o666)
    except PermissionError:
        pass  # another user's file: he has opened it for all already
    return fd


class Locks:
    """The locks of one process. `taken_over` names what dead processes had left."""

    def __init__(self) -> None:
        self.taken_over: list[str] = []
        self._fds: dict[str, int] = {}

    def take(self, resources: Iterable[str], purpose: str) -> None:
        """Lock all of them or none. Raises BusError naming who has one of them."""
        try:
            for resource in sorted(set(resources)):
                self._take(resource, purpose)
        except BusError:
            self.release()
            raise

    def _take(self, resource: str, purpose: str) -> None:
        fd = _open(_path_of(resource))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _read(fd, True)
            os.close(fd)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise BusError("a lock cannot be taken", f"{resource}: {error}") from error
            raise BusError("the rig is in use", f"{resource} is held by "
                           f"{owner.text() if owner else 'somebody'}\n  next: wait for it, or "
                           "ask him; cellwall hil locks shows all of them") from error
        left = _read(fd, False)
        if left is not None:
            self.taken_over.append(f"{resource}: left by {left.text()}")
        owner = Owner(resource, getpass.getuser(), socket.gethostname(), os.getpid(),
                      time.time(), purpose)
        fields = asdict(owner)
        del fields["held"]
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(fields).encode(), 0)
        self._fds[resource] = fd

    def release(self) -> None:
        """Give all of them back; twice is fine."""
        fds, self._fds = self._fds, {}
        for fd in fds.values():
            os.ftruncate(fd, 0)  # an empty file is nobody's: removing it would race with others
            os.close(fd)


def owners() -> list[Owner]:
    """Return every lock that is held, or was left by a dead process, oldest first."""
    found = []
    for path in lock_folder().glob("*.lock") if lock_folder().is_dir() else ():
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                held = False
            except OSError:
                held = True
            owner = _read(fd, held)
            if owner is not None:
                found.append(owner)
        finally:
            os.close(fd)
    return sorted(found, key=lambda one: one.since_unix_s)
