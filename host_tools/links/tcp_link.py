"""A TCP line to an element, or to a serial server beside it."""

import contextlib
import errno
import select
import socket
import time

from element.protocol.errors import BusError
from host_tools.links.base import Link

READ_SIZE_MAX = 4096
CONNECT_S_MAX = 3.0
# What may wait to be sent: more is a peer that does not read.
OUT_SIZE_MAX = 65536
# Bytes that nobody acknowledges for this long end the connection.
UNHEARD_MS_MAX = 10_000
RETRY_S_MIN = 0.25
RETRY_S_MAX = 5.0


class TCPLink(Link):
    """One TCP connection with TCP_NODELAY, made again by itself after it was lost.

    Only the constructor waits. Afterwards a connection is begun by `send` or `receive`, at most
    one each pause, and each further call looks whether it is there. The first pause after bytes
    have come is none, then they grow from RETRY_S_MIN to RETRY_S_MAX.
    """

    def __init__(self, host: str, port: int) -> None:
        """Connect within CONNECT_S_MAX. Raises BusError when the peer cannot be reached now."""
        self.name = f"tcp:{host}:{port}"
        self.lost = 0
        self._out = bytearray()
        self._connecting = False
        self._closed = False
        self._pause_s = 0.0
        self._next_s = 0.0
        self._began_s = 0.0
        self._socket: socket.socket | None = None
        try:
            peer = socket.create_connection((host, port), timeout=CONNECT_S_MAX)
        except OSError as error:
            raise BusError("tcp", f"{self.name}: {error.strerror or error}") from error
        # kept as numbers: a name is not looked up again, which could wait
        self._family, self._address = peer.family, peer.getpeername()
        self._use(peer)

    def _use(self, peer: socket.socket) -> None:
        """Take a connection that has been made."""
        # one message an exchange in one write, and no waiting for more to send
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # an element that lost its power says no good-bye; without this, minutes pass
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS_MAX)
        peer.setblocking(False)
        self._socket = peer
        self._connecting = False

    def _is_up(self) -> bool:
        """Bring a connection about, a step a call; True when there is one. Never waits."""
        if self._socket is None:
            if self._closed or time.monotonic() < self._next_s:
                return False
            self._begin()
        if self._connecting:
            self._look()
        return self._socket is not None and not self._connecting

    def _begin(self) -> None:
        self._next_s = self._began_s = time.monotonic()
        peer = socket.socket(self._family, socket.SOCK_STREAM)
        peer.setblocking(False)
        self._socket, self._connecting = peer, True
        if peer.connect_ex(self._address) not in (0, errno.EINPROGRESS):
            self._drop()

    def _look(self) -> None:
        """See whether the connection that was begun is there, has failed or takes too long."""
        peer = self._socket
        assert peer is not None
        poll = select.poll()
        poll.register(peer, select.POLLOUT)
        if not poll.poll(0):
            if time.monotonic() - self._began_s > CONNECT_S_MAX:
                self._drop()
        elif peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._drop()
        else:
            self._use(peer)

    def _drop(self) -> None:
        """Give a connection up; the next one is begun after a pause."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._connecting = False
        self.lost += len(self._out)
        self._out.clear()
        self._next_s = time.monotonic() + self._pause_s
        self._pause_s = min(max(self._pause_s * 2, RETRY_S_MIN), RETRY_S_MAX)

    def fileno(self) -> int:
        """Return the descriptor to wait on, -1 while there is no connection."""
        return -1 if self._socket is None or self._connecting else self._socket.fileno()

    def send(self, data: bytes) -> None:
        # a frame cut in two is worth nothing: all of it waits for its turn, or none
        if not self._is_up() or len(self._out) + len(data) > OUT_SIZE_MAX:
            self.lost += len(data)
            return
        self._out += data
        self._flush()

    def _flush(self) -> None:
        """Send what the connection takes now."""
        while self._out and self._socket is not None:
            try:
                sent = self._socket.send(self._out)
            except BlockingIOError:
                return
            except OSError:
                self._drop()
                return
            del self._out[:sent]

    def receive(self) -> bytes:
        if not self._is_up():
            return b""
        self._flush()
        if self._socket is None:
            return b""
        data = b""
        try:
            data = self._socket.recv(READ_SIZE_MAX)
        except BlockingIOError:
            return b""
        except OSError:
            pass  # as good as its end
        if data:
            self._pause_s = 0.0
        else:
            self._drop()
        return data

    def close(self) -> None:
        self._closed = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._flush()
            self._drop()
