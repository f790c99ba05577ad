"""Where an emulated instrument is reached: a pseudo-terminal with a stable name, or a TCP port.

Both are served by a thread of their own, on this machine alone. `unplug` is what pulling the cable
is: programs get errors, the name or port is gone; `replug` brings it back under the same name.
"""

import contextlib
import os
import pty
import select
import socket
import struct
import threading
import tty
from collections.abc import Callable
from pathlib import Path

HOST = "127.0.0.1"
READ_SIZE = 4096
JOIN_S_MAX = 5.0
# reply(data): bytes from the host in, bytes of the instrument out
Session = Callable[[bytes], bytes]


class Endpoint:
    """The contract: where it is, and whether its cable is in."""

    address = ""
    plugged = False

    def replug(self) -> None:
        """Bring it back under the same address; nothing when it is there."""
        raise NotImplementedError

    def unplug(self) -> None:
        """Take it away from whoever uses it; nothing when it is away."""
        raise NotImplementedError


class _Served(Endpoint):
    """A thread with a pipe that ends it. session: makes one for each opened line."""

    def __init__(self, session: Callable[[], Session]) -> None:
        self._session = session
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()
        self._end_fd = -1

    def replug(self) -> None:
        with self._lock:
            if self.plugged:
                return
            self._open()
            woken_fd, self._end_fd = os.pipe()
            self.plugged = True
            self._thread = threading.Thread(target=self._serve, args=(woken_fd,), daemon=True)
            self._thread.start()

    def unplug(self) -> None:
        with self._lock:
            if not self.plugged:
                return
            self.plugged = False
            os.close(self._end_fd)
            if self._thread is not None:
                self._thread.join(JOIN_S_MAX)

    def _open(self) -> None:
        raise NotImplementedError

    def _serve(self, woken_fd: int) -> None:
        raise NotImplementedError


class PtyEndpoint(_Served):
    """A pseudo-terminal; `path` is a symbolic link to it, as udev makes them."""

    def __init__(self, path: Path, session: Callable[[], Session]) -> None:
        super().__init__(session)
        self.path = path
        self.address = str(path)
        self._fds: tuple[int, int] = (-1, -1)

    def _open(self) -> None:
        ours, theirs = self._fds = pty.openpty()
        tty.setraw(theirs)  # and held open: a program that leaves must not end the line
        os.set_blocking(ours, False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.path.symlink_to(os.ttyname(theirs))

    def _serve(self, woken_fd: int) -> None:
        ours, theirs = self._fds
        reply = self._session()
        while True:
            readable, _, _ = select.select([ours, woken_fd], [], [])
            if woken_fd in readable:
                break
            with contextlib.suppress(BlockingIOError):
                data = reply(os.read(ours, READ_SIZE))
                if data:
                    os.write(ours, data)
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        for fd in (woken_fd, ours, theirs):
            os.close(fd)


class TCPEndpoint(_Served):
    """A TCP port of the loopback address; it stays the same when it is plugged in again."""

    def __init__(self, session: Callable[[], Session], port: int = 0) -> None:
        super().__init__(session)
        self._port = port
        self._listener: socket.socket | None = None

    def _open(self) -> None:
        self._listener = socket.create_server((HOST, self._port))
        self._port = self._listener.getsockname()[1]
        self.address = f"{HOST}:{self._port}"

    def _serve(self, woken_fd: int) -> None:
        listener = self._listener
        assert listener is not None
        lines: dict[socket.socket, Session] = {}
        waited: list[socket.socket | int]
        while True:
            waited = [listener, woken_fd, *lines]
            readable = select.select(waited, [], [])[0]
            if woken_fd in readable:
                break
            for one in readable:
                if one is listener:
                    peer, _ = listener.accept()
                    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    lines[peer] = self._session()
                elif isinstance(one, socket.socket) and not self._answer(one, lines[one]):
                    del lines[one]
                    one.close()
        for one in (*lines, listener):
            # a cable that is pulled says no goodbye: whoever writes gets an error
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
        os.close(woken_fd)

    def _answer(self, peer: socket.socket, reply: Session) -> bool:
        """Serve what has come; False when the peer is gone."""
        try:
            data = peer.recv(READ_SIZE)
            if not data:
                return False
            answer = reply(data)
            if answer:
                peer.sendall(answer)
        except OSError:
            return False
        return True
