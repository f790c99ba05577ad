"""A line through an MQTT broker. What is published to `down` comes in, what is written goes `up`.

    cellwall/<site>/<element id>/up      element to panel: frames, QoS 0
    cellwall/<site>/<element id>/down    panel to element: frames, QoS 0
    cellwall/<site>/<element id>/state   "here", or "gone" as last will; retained

umqtt.simple waits for its answers, so it never sees a socket: it writes its packets into a buffer
and is handed a packet when the whole of it has come; an answer that it asks for at once is judged
here when it comes. The broker's address is looked up once, at boot. The arithmetic of a TLS
handshake cannot be cut into slices: handshakes are made only while the enable line is low, which
it is when a lease has ended.
Ref: MQTT 3.1.1; micropython-lib, umqtt.simple 1.3.4; MicroPython 1.25, docs/library/ssl.rst.
"""

import select
import socket
from errno import EAGAIN, EINPROGRESS

from ..protocol.errors import DecodeError
from .network_line import PIECE_SIZE, PIECES_MAX, STALL_MS_MAX, NetworkLine

PORT = 1883
TLS_PORT = 8883
KEEPALIVE_S = 10
PING_MS = 4000
SILENT_MS_MAX = 12_000
# From the first packet to the broker until it takes the subscription, a TLS handshake included.
GREET_MS_MAX = 10_000
PACKET_SIZE_MAX = 4224
SECRETS_FILE = "mqtt"

_IDLE = 0
_CONNECTING = 1
_GREETING = 2
_SUBSCRIBING = 3
_UP = 4
_FILE_SIZE_MAX = 8192


class PacketSplitter:
    """Cut what a broker sends into packets. Holds size_max and one piece; longer ones are skipped.

    skipped_count: packets that were too long.
    """

    def __init__(self, size_max: int):
        self._size_max = size_max
        self._data = bytearray()
        self._skip = 0
        self.skipped_count = 0

    def feed(self, data: bytes) -> list:
        """Take bytes and return the packets that are whole now. Raises DecodeError for no MQTT."""
        if self._skip:
            passed = min(self._skip, len(data))
            self._skip -= passed
            data = data[passed:]
        self._data += data
        packets = []
        while True:
            size = self._size()
            if not size:
                return packets
            if size > self._size_max:
                self.skipped_count += 1
                self._skip = max(size - len(self._data), 0)
            elif len(self._data) < size:
                return packets
            else:
                packets.append(bytes(self._data[:size]))
            self._data = self._data[size:]

    def _size(self) -> int:
        """Return the size of the packet that the data begins with, 0 while it cannot be told."""
        data = self._data
        value = 0
        for index in range(1, min(len(data), 5)):
            value |= (data[index] & 0x7F) << 7 * (index - 1)
            if not data[index] & 0x80:
                return 1 + index + value
        if len(data) >= 5:
            raise DecodeError("mqtt length", None)
        return 0


class _LaterError(Exception):
    """umqtt wants an answer that has not come yet."""


class _Pipe:
    """What umqtt takes for the socket module and for its socket."""

    def __init__(self):
        self.out = bytearray()
        self.packet = b""

    def socket(self):
        return self

    def getaddrinfo(self, host, port):
        return ((None,),)

    def connect(self, address) -> None:
        pass

    def settimeout(self, value) -> None:
        pass

    def setblocking(self, value) -> None:
        pass

    def write(self, data, size: int = -1) -> None:
        self.out += data if size < 0 else data[:size]

    def read(self, size: int) -> bytes:
        if size and not self.packet:
            raise _LaterError()
        data = self.packet[:size]
        self.packet = self.packet[size:]
        return data


def parts_of(packet: bytes):
    """Return (topic, payload) of a PUBLISH without identifier, or None when it is none."""
    at = 1
    while packet[at] & 0x80:
        at += 1
    at += 1
    if len(packet) < at + 2 or packet[0] & 0x06:
        return None
    end = at + 2 + (packet[at] << 8 | packet[at + 1])
    return (packet[at + 2:end], packet[end:]) if end <= len(packet) else None


class MQTTLine(NetworkLine):
    """A client of a broker."""

    def __init__(self, hal, settings: dict, poll=None):
        """settings: `broker` (an IP address, or a name for a port that resolves it at boot) and
        `site`; `port`; `ca`, the DER file of who signs the broker's certificate, and `name`, the
        name in it, for TLS. User and password are the two lines of the file `mqtt`, if it is
        there. poll: the loop's, as `TCPLine`.
        """
        super().__init__(hal)
        self._settings = settings
        self._poll = poll
        self._ready = select.poll()
        self._state = _IDLE
        self._address = None
        self._context = None
        self._umqtt = None
        self._secrets = (None, None)
        self._socket = self._stream = self._client = None
        self._piece = b""
        self._more = False
        self._began_at = self._pinged_at = hal.ticks_ms()
        self._pipe = _Pipe()
        self._packets = PacketSplitter(PACKET_SIZE_MAX)

    # ---- at boot ----

    def begin(self, element_id: bytes) -> None:
        """Look up what connections need; what is missing is logged and leaves the line away."""
        settings = self._settings
        text = "".join(["%02x" % byte for byte in element_id])
        base = "cellwall/%s/%s/" % (settings["site"], text)
        self._id = text.encode()
        self._up, self._down, self._here = [
            (base + name).encode() for name in ("up", "down", "state")]
        self._backoff.spread = element_id[0]
        try:
            from umqtt import simple

            self._secrets = _secrets()
            secure = "ca" in settings
            if secure:
                self._context = _context(settings["ca"])
            port = settings.get("port", TLS_PORT if secure else PORT)
            address = socket.getaddrinfo(settings["broker"], port)[0][-1]
        except (ImportError, OSError, ValueError) as error:
            self._say("no line: %r" % error)
            return
        self._umqtt = simple
        self._address = address

    # ---- one look ----

    @property
    def busy(self) -> bool:
        """True while something waits to be sent or a connection is on its way."""
        return bool(self.tx or self._pipe.out or self._piece or self._more
                    or _IDLE < self._state < _UP)

    def look(self) -> bool:
        """Do the next step towards a connection, or send and take what there is."""
        if self._context is not None and self._state < _UP and self._hal.enable_is():
            if self._state != _IDLE:
                self._drop("waits: no handshake while power may flow")
            return False
        try:
            if self._state == _IDLE:
                self._connect()
            elif self._state == _CONNECTING:
                self._connected()
            else:
                return self._exchange()
        except (OSError, ValueError, DecodeError, MemoryError) as error:
            # no memory, for TLS above all, is a lost connection and no reason to restart
            self._drop("broker gone: %r" % error)
        return False

    def _connect(self) -> None:
        if self._address is None or not self._backoff.due():
            return
        self._began_at = self._hal.ticks_ms()
        self._state = _CONNECTING
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._ready.register(self._socket, select.POLLOUT)
        try:
            self._socket.connect(self._address)
        except OSError as error:
            if error.errno != EINPROGRESS and error.errno != EAGAIN:
                raise

    def _connected(self) -> None:
        """Greet the broker when the connection is there."""
        for event in self._ready.poll(0):
            if event[1] & (select.POLLERR | select.POLLHUP):
                self._drop("no broker there")
                return
            self._stream = self._socket
            if self._context is not None:
                self._stream = self._context.wrap_socket(
                    self._socket, server_hostname=self._settings["name"],
                    do_handshake_on_connect=False)
            if self._poll is not None:
                self._poll.register(self._socket, select.POLLIN)
            self._state = _GREETING
            self._greet()
            return
        if self._since(self._began_at) > GREET_MS_MAX:
            self._drop("no broker there")

    def _greet(self) -> None:
        user, password = self._secrets
        self._umqtt.socket = self._pipe
        self._client = self._umqtt.MQTTClient(
            self._id, "", 1, user, password, KEEPALIVE_S)
        self._client.set_last_will(self._here, b"gone", True)
        self._client.set_callback(self._published)
        self._ask(self._client.connect)
        self._moved_at = self._hal.ticks_ms()

    def _ask(self, call, *arguments) -> None:
        """Let umqtt write a packet; the answer is for `_take`."""
        try:
            call(*arguments)
        except _LaterError:
            pass

    def _exchange(self) -> bool:
        """Send what fits, take what came, and see whether the broker lives."""
        before = len(self.rx)
        if self._state == _UP:
            self._publish()
        self._send()
        if self._stream is not None:
            self._receive()
        if self._state == _UP:
            if self._since(self._heard_at) > SILENT_MS_MAX:
                self._drop("broker silent")
            elif self._since(self._pinged_at) > PING_MS:
                self._pinged_at = self._hal.ticks_ms()
                self._client.ping()
        elif self._stream is not None and self._since(self._began_at) > GREET_MS_MAX:
            self._drop("broker does not answer")
        return len(self.rx) > before

    def _publish(self) -> None:
        """Publish all that waits as one message, when the one before is on its way."""
        if self.tx and not self._pipe.out:
            if not self._piece:
                self._moved_at = self._hal.ticks_ms()
            self._client.publish(self._up, bytes(self.tx))
            self.tx = bytearray()

    def _send(self) -> None:
        for _ in range(PIECES_MAX):
            if not self._piece:
                if not self._pipe.out:
                    return
                # TLS wants the same bytes again after a write that did not go through
                self._piece = bytes(self._pipe.out[:PIECE_SIZE])
                self._pipe.out = self._pipe.out[PIECE_SIZE:]
            sent = self._written(self._piece)
            if not sent:
                if self._state == _UP and self._since(self._moved_at) > STALL_MS_MAX:
                    self._drop("broker takes nothing")
                return
            self._moved_at = self._hal.ticks_ms()
            self._piece = self._piece[sent:]

    def _written(self, piece: bytes) -> int:
        if self._context is not None:
            return self._stream.write(piece) or 0
        try:
            return self._stream.send(piece)
        except OSError as error:
            if error.errno != EAGAIN:
                raise
        return 0

    def _read(self):
        """Return what came, None when nothing did, b"" at the end."""
        if self._context is not None:
            return self._stream.read(PIECE_SIZE)
        try:
            return self._stream.recv(PIECE_SIZE)
        except OSError as error:
            if error.errno != EAGAIN:
                raise
        return None

    def _receive(self) -> None:
        self._more = False
        for _ in range(PIECES_MAX):
            data = self._read()
            if data is None:
                return
            if not data:
                self._drop("broker closed the connection")
                return
            for packet in self._packets.feed(data):
                self._take(packet)
                if self._stream is None:
                    return
        self._more = True  # TLS may hold what no poll can see

    # ---- packets ----

    def _take(self, packet: bytes) -> None:
        """Take one whole packet."""
        self._heard_at = self._hal.ticks_ms()
        kind = packet[0] & 0xF0
        if kind == 0x20 and self._state == _GREETING:
            if len(packet) != 4 or packet[3]:
                self._drop("broker refuses this element: %d" % packet[-1])
                return
            self._state = _SUBSCRIBING
            self._ask(self._client.subscribe, self._down)
        elif kind == 0x90 and self._state == _SUBSCRIBING:
            if len(packet) != 5 or packet[4] & 0x80:
                self._drop("broker refuses the subscription")
                return
            self._client.publish(self._here, b"here", True)
            self._state = _UP
            self._is_up_now()
        elif kind == 0x30 and self._state == _UP:
            parts = parts_of(packet)
            # what a broker has retained was said to nobody, some time ago
            if parts is None or packet[0] & 1 or parts[0] != self._down:
                self.lost_count += len(packet)
                return
            self._pipe.packet = packet
            self._client.wait_msg()

    def _published(self, topic, payload) -> None:
        """Take a message from umqtt."""
        self._received(payload)

    def _drop(self, why: str) -> None:
        if self._socket is not None:
            self._ready.unregister(self._socket)
            if self._poll is not None and self._state > _CONNECTING:
                self._poll.unregister(self._socket)
            if self._stream is not None and self._stream is not self._socket:
                self._stream.close()
            self._socket.close()
        self._socket = self._stream = self._client = None
        self._state = _IDLE
        self.lost_count += len(self._pipe.out) + len(self._piece)
        self._piece = b""
        self._more = False
        self._pipe = _Pipe()
        self._packets = PacketSplitter(PACKET_SIZE_MAX)
        self._is_gone(why)


def _secrets() -> tuple:
    """Return (user, password) from the flash; (None, None) without the file."""
    try:
        with open(SECRETS_FILE, "rb") as file:
            lines = file.read(_FILE_SIZE_MAX).split(b"\n")
    except OSError:
        return None, None
    return lines[0].strip(), lines[1].strip() if len(lines) > 1 else b""


def _context(path: str):
    """Return the TLS context that trusts this CA and nobody else. Raises OSError, ValueError."""
    import tls

    with open(path, "rb") as file:
        certificate = file.read(_FILE_SIZE_MAX)
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.verify_mode = tls.CERT_REQUIRED
    context.load_verify_locations(certificate)
    return context
