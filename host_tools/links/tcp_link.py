"""A TCP line to an element, or to a serial server beside it."""

import socket

from element.protocol.errors import BusError
from host_tools.links.base import Link

READ_SIZE_MAX = 4096
CONNECT_S_MAX = 3.0


class TCPLink(Link):
    """One TCP connection with TCP_NODELAY, made again on demand after it was lost.

    Reconnecting is attempted in `send` alone and takes CONNECT_S_MAX at most.
    """

    def __init__(self, host: str, port: int) -> None:
        """Connect. Raises BusError when the peer cannot be reached now."""
        self.name = f"tcp:{host}:{port}"
        self.lost = 0
        self._address = (host, port)
        self._socket: socket.socket | None = None
        if not self._open():
            raise BusError("tcp", self.name)

    def _open(self) -> bool:
        try:
            peer = socket.create_connection(self._address, timeout=CONNECT_S_MAX)
        except OSError:
            return False
        # one message an exchange in one write, and no waiting for more to send
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setblocking(False)
        self._socket = peer
        return True

    def fileno(self) -> int:
        """Return the descriptor to wait on, -1 while there is no connection."""
        return -1 if self._socket is None else self._socket.fileno()

    def send(self, data: bytes) -> None:
        if self._socket is None and not self._open():
            self.lost += len(data)
            return
        assert self._socket is not None
        try:
            sent = self._socket.send(data)
            if sent < len(data):  # a frame cut in two is worth nothing: say so
                self.lost += len(data) - sent
        except BlockingIOError:
            self.lost += len(data)
        except OSError:
            self.lost += len(data)
            self.close()

    def receive(self) -> bytes:
        if self._socket is None:
            return b""
        try:
            data = self._socket.recv(READ_SIZE_MAX)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self.close()
        return data

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
