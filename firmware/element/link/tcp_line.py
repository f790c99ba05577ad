"""A line over TCP: the element listens, one panel at a time is served.

A connection lives until it ends, takes nothing for STALL_MS_MAX, or has brought nothing for
SILENT_MS_MAX while another one waits: a panel that was switched off says no good-bye, and asks WHO
at least once a second while it lives. One newcomer waits, the newest; until its turn its bytes
stay in the network stack, so it needs no second try. So a stranger's connection ends nobody's, and
a panel that comes back is served after SILENT_MS_MAX at the latest.
"""

import socket
from errno import EAGAIN

from .network_line import PIECE_SIZE, PIECES_MAX, RX_BYTES_MAX, STALL_MS_MAX, NetworkLine

PORT = 7653
SILENT_MS_MAX = 3000
_LOOPBACK = "127.0.0.1"
_TCP = 6  # IPPROTO_TCP and TCP_NODELAY: not every port has the names
_NODELAY = 1
_POLLIN = 1


def listen(sockets, address: str, port: int):
    """Return a listening socket that never blocks. Raises OSError."""
    server = sockets.socket()
    try:
        server.setblocking(False)
        server.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        server.bind(sockets.getaddrinfo(address, port)[0][-1])
        server.listen(1)
    except OSError:
        server.close()
        raise
    return server


class TCPLine(NetworkLine):
    """A listening port with the panel at its other end."""

    def __init__(self, hal, settings: dict, poll=None, sockets=socket):
        """settings: `port`, and `address`, an IP address of this board, to listen on one alone.

        poll: the loop's, to be woken by what comes; without it `look` is called often enough.
        """
        super().__init__(hal)
        self._address = settings.get("address", "0.0.0.0")
        self._port = settings.get("port", PORT)
        # only what runs on this very machine reaches it: as good as a cable
        self.is_cable = self._address == _LOOPBACK
        self._poll = poll
        self._sockets = sockets
        self._server = None
        self._peer = None
        self._waiting = None
        self._begun = False

    def begin(self, element_id: bytes) -> None:
        """Listen from the next look on."""
        self._begun = True

    def look(self) -> bool:
        """Let one newcomer in, send what fits, take what came."""
        if self._server is None and not self._listens():
            return False
        self._accept()
        if self._waiting is not None and (
                self._peer is None or self._since(self._heard_at) > SILENT_MS_MAX):
            self._serve()
        if self._peer is None:
            return False
        try:
            self._send()
            return self._take()
        except (OSError, MemoryError) as error:
            # no memory for what came is a lost connection and no reason to restart
            self._drop("panel gone: %r" % error)
        return False

    def _listens(self) -> bool:
        if not self._begun or not self._backoff.due():
            return False
        try:
            self._server = listen(self._sockets, self._address, self._port)
        except OSError as error:
            self._is_gone("cannot listen: %s" % error)
            return False
        self._watch(self._server)
        return True

    def _watch(self, sock) -> None:
        if self._poll is not None:
            self._poll.register(sock, _POLLIN)

    def _close(self, sock) -> None:
        if self._poll is not None:
            self._poll.unregister(sock)
        sock.close()

    def _accept(self) -> None:
        """Take one newcomer; the one that waited until now goes."""
        try:
            peer = self._server.accept()[0]
        except OSError as error:
            if error.errno != EAGAIN:
                # out of descriptors or memory for sockets: begin anew, after the pause
                self._close(self._server)
                self._server = None
                self._drop("cannot accept: %s" % error)
            return
        peer.setblocking(False)
        try:
            peer.setsockopt(_TCP, _NODELAY, 1)
        except OSError:
            pass  # a port without it sends a little later
        if self._waiting is not None:
            self._waiting.close()
        self._waiting = peer

    def _serve(self) -> None:
        """Give the line to the newcomer."""
        if self._peer is not None:
            self._drop("panel silent")
        self._peer = self._waiting
        self._waiting = None
        self._watch(self._peer)
        self._is_up_now()

    def _drop(self, why: str) -> None:
        if self._peer is not None:
            self._close(self._peer)
            self._peer = None
        self._is_gone(why)

    def _send(self) -> None:
        for _ in range(PIECES_MAX):
            if not self.tx:
                return
            try:
                sent = self._peer.send(bytes(self.tx[:PIECE_SIZE]))
            except OSError as error:
                if error.errno != EAGAIN:
                    raise
                sent = 0
            if not sent:
                if self._since(self._moved_at) > STALL_MS_MAX:
                    self._drop("panel takes nothing")
                return
            self._moved_at = self._hal.ticks_ms()
            self.tx = self.tx[sent:]

    def _take(self) -> bool:
        """Read what there is room for: the rest stays in the stack and slows the sender down."""
        came = False
        for _ in range(PIECES_MAX):
            if self._peer is None or len(self.rx) > RX_BYTES_MAX - PIECE_SIZE:
                break
            try:
                data = self._peer.recv(PIECE_SIZE)
            except OSError as error:
                if error.errno != EAGAIN:
                    raise
                break
            if not data:
                self._drop("panel closed the connection")
                break
            self._received(data)
            came = True
        return came
