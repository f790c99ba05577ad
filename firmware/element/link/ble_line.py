"""A line over Bluetooth LE: the Nordic UART service, one central at a time.

The radio's handler only queues; a look takes from the queue what happened. What is written goes
out as notifications of at most MTU - 3 bytes, NOTIFY_MAX a look, and when the stack has no room
for one it is tried again at the next look. A central that says nothing for SILENT_MS_MAX is sent
away: a stranger must not hold the only place for ever.
Ref: MicroPython 1.25, docs/library/bluetooth.rst; Nordic UART service.
"""

from errno import ENOMEM

from .network_line import STALL_MS_MAX, NetworkLine

SERVICE = "6E400001-B5A3-F393-E0A9-E50E24DCCA9E"
RX = "6E400002-B5A3-F393-E0A9-E50E24DCCA9E"
TX = "6E400003-B5A3-F393-E0A9-E50E24DCCA9E"
# What the element offers; a central that asks for nothing stays at 23.
MTU = 247
MTU_MIN = 23
NOTIFY_MAX = 4
# What may arrive between two looks; the panel acknowledges every 1 KB.
RX_BUFFER_SIZE = 2048
SILENT_MS_MAX = 10_000
ADVERTISE_US = 250_000
EVENTS_MAX = 32

_CONNECTED = 1
_DISCONNECTED = 2
_WRITTEN = 3
_MTU_EXCHANGED = 21
# Advertising: flags, the whole list of 128-bit services, the whole name.
_FLAGS = b"\x02\x01\x06"
_SERVICES = 7
_NAME = 9


def uuid_bytes(text: str) -> bytes:
    """Return a UUID as it is sent: 16 bytes, the last one of its text first."""
    digits = text.replace("-", "")
    return bytes([int(digits[at:at + 2], 16) for at in range(30, -2, -2)])


def name_of(element_id: bytes) -> str:
    """Return the name under which an element is found."""
    return "cw-" + "".join(["%02x" % byte for byte in element_id])


class BLELine(NetworkLine):
    """A peripheral with the UART service."""

    def __init__(self, hal, bluetooth=None):
        """bluetooth: MicroPython's module; handed in by tests."""
        super().__init__(hal)
        if bluetooth is None:
            import bluetooth
        self._bluetooth = bluetooth
        self._ble = None
        self._events = []
        self._overrun = False
        self._connection = None
        self._mtu = MTU_MIN
        self._advertising = False
        self._payload = self._answer = b""
        self._rx = self._tx = 0

    def begin(self, element_id: bytes) -> None:
        """Switch the radio on. At boot: this takes a tenth of a second."""
        module = self._bluetooth
        name = name_of(element_id).encode()
        service = uuid_bytes(SERVICE)
        self._payload = _FLAGS + bytes([len(service) + 1, _SERVICES]) + service
        self._answer = bytes([len(name) + 1, _NAME]) + name
        self._backoff.spread = element_id[0]
        self._ble = ble = module.BLE()
        ble.active(True)
        ble.config(mtu=MTU, gap_name=name)
        ble.irq(self._irq)
        ((self._rx, self._tx),) = ble.gatts_register_services(((module.UUID(SERVICE), (
            (module.UUID(RX), module.FLAG_WRITE | module.FLAG_WRITE_NO_RESPONSE),
            (module.UUID(TX), module.FLAG_NOTIFY),
        )),))
        # without "append" a second write before the next look would replace the first
        ble.gatts_set_buffer(self._rx, RX_BUFFER_SIZE, True)

    def _irq(self, event: int, data) -> None:
        """Queue what happened, as numbers: `data` is the radio's own and is used again."""
        if event in (_CONNECTED, _DISCONNECTED, _WRITTEN, _MTU_EXCHANGED):
            if len(self._events) >= EVENTS_MAX:
                # only writes come in numbers, and one look takes what all of them brought
                if event == _WRITTEN:
                    return
                self._overrun = True
                return
            self._events.append((event, data[0], data[1]))

    def look(self) -> bool:
        """Take what happened, advertise when alone, send what the stack has room for."""
        if self._ble is None:
            return False
        before = len(self.rx)
        try:
            while self._events:
                self._take(*self._events.pop(0))
            if self._overrun:
                self._overrun = False
                self._leave("too much at once")
            if self._connection is None:
                self._advertise()
            else:
                self._send()
                if self._since(self._heard_at) > SILENT_MS_MAX:
                    self._leave("panel silent")
        except (OSError, MemoryError) as error:
            self._leave("radio: %r" % error)
        return len(self.rx) > before

    def _take(self, event: int, handle: int, value) -> None:
        if event == _CONNECTED:
            if self._connection is not None:
                self._ble.gap_disconnect(handle)  # there is one place
                return
            self._connection = handle
            self._advertising = False  # the stack ends it with a connection
            self._mtu = MTU_MIN
            self._is_up_now()
        elif handle != self._connection:
            return
        elif event == _DISCONNECTED:
            self._connection = None
            self._ble.gatts_read(self._rx)  # a rest must not begin what the next one says
            self._is_gone("panel gone")
        elif event == _MTU_EXCHANGED:
            self._mtu = max(min(value, MTU), MTU_MIN)
        elif value == self._rx:
            data = self._ble.gatts_read(self._rx)
            if data:
                self._received(bytes(data))

    def _advertise(self) -> None:
        if self._advertising or not self._backoff.due():
            return
        try:
            self._ble.gap_advertise(ADVERTISE_US, adv_data=self._payload, resp_data=self._answer)
        except OSError as error:
            self._is_gone("cannot advertise: %r" % error)
            return
        self._advertising = True

    def _send(self) -> None:
        size = self._mtu - 3
        for _ in range(NOTIFY_MAX):
            if not self.tx:
                return
            try:
                self._ble.gatts_notify(self._connection, self._tx, bytes(self.tx[:size]))
            except OSError as error:
                if error.errno != ENOMEM:
                    raise
                if self._since(self._moved_at) > STALL_MS_MAX:
                    self._leave("panel takes nothing")
                return
            self._moved_at = self._hal.ticks_ms()
            self.tx = self.tx[size:]

    def _leave(self, why: str) -> None:
        """End the connection from this side; its end comes as an event too, which finds none."""
        handle = self._connection
        self._connection = None
        self._is_gone(why)
        if handle is not None:
            try:
                self._ble.gap_disconnect(handle)
            except OSError:
                pass  # it was gone already
