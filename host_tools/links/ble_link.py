"""A line to an element over Bluetooth LE: the Nordic UART service, through bleak.

An element is named by its radio's address or by its id in hexadecimal, under which it advertises.
"""

import asyncio
import threading
from collections import deque

from bleak import BleakClient, BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError

from element.protocol.errors import BusError
from host_tools.links.background import Background, Mailbox
from host_tools.links.base import Link

SERVICE = "6e400001-b5a3-f393-e0a9-e50e24dcca9e"
RX = "6e400002-b5a3-f393-e0a9-e50e24dcca9e"
TX = "6e400003-b5a3-f393-e0a9-e50e24dcca9e"
NAME_PREFIX = "cw-"

CONNECT_S_MAX = 20.0
SCAN_S = 8.0
RETRY_S_MIN = 0.5
RETRY_S_MAX = 10.0
OUT_SIZE_MAX = 16_384
# Pieces until one is acknowledged: what the element's buffer holds between two of its looks.
UNACKNOWLEDGED_MAX = 3
PIECE_SIZE_MAX = 244


class BLELink(Link):
    """One connection, made again by itself with pauses of 0.5 s to 10 s."""

    def __init__(self, name: str, connect_s: float = CONNECT_S_MAX) -> None:
        """name: an address or an element's id. Raises BusError when it is not there in time."""
        self.name = f"ble:{name}"
        self.lost = 0
        self.why = "nothing heard of it"
        self._target = name
        self._box = Mailbox()
        self._out: deque[bytes] = deque()
        self._out_size = 0
        self._unacknowledged = 0
        self._lock = threading.Lock()
        self._up = threading.Event()
        self._wake: asyncio.Event | None = None
        self._background = Background("ble", self._serve)
        if not self._up.wait(connect_s):
            self.close()
            raise BusError("bluetooth", f"{self.name}: {self.why}")

    @property
    def is_up(self) -> bool:
        """True while the element is connected."""
        return self._up.is_set()

    def fileno(self) -> int:
        """Return a descriptor that is readable when something has come."""
        return self._box.fileno()

    def send(self, data: bytes) -> None:
        with self._lock:
            taken = self._up.is_set() and self._out_size + len(data) <= OUT_SIZE_MAX
            if taken:
                self._out.append(data)
                self._out_size += len(data)
            else:
                self.lost += len(data)
        if taken and self._wake is not None:
            self._background.call(self._wake.set)

    def receive(self) -> bytes:
        return self._box.take()

    def close(self) -> None:
        self._background.stop()
        self._box.close()

    # in the loop's thread

    async def _serve(self) -> None:
        """Be connected, for ever."""
        self._wake = asyncio.Event()
        pause_s = RETRY_S_MIN
        while True:
            try:
                await self._connection()
                pause_s = RETRY_S_MIN
            except (BleakError, OSError, TimeoutError) as error:
                # a machine without a radio has no D-Bus socket either
                self.why = str(error) or type(error).__name__
            finally:
                self._gone()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RETRY_S_MAX)

    async def _connection(self) -> None:
        """Connect, and carry bytes until the connection ends."""
        assert self._wake is not None
        wake, ended = self._wake, False

        def on_end(_client: BleakClient) -> None:
            nonlocal ended
            ended = True
            wake.set()

        target = await self._found()
        async with BleakClient(target, on_end, timeout=CONNECT_S_MAX) as client:
            await client.start_notify(TX, lambda _, data: self._box.put(bytes(data)))
            self._up.set()
            while not ended:
                await wake.wait()
                wake.clear()
                await self._write(client)

    async def _found(self) -> BLEDevice | str:
        """Return what to connect to. Raises BleakError when an element is not in reach."""
        if len(self._target) != 16 or self._target.strip("0123456789abcdef"):
            return self._target
        device = await BleakScanner.find_device_by_filter(
            lambda _, advertised: advertised.local_name == NAME_PREFIX + self._target,
            timeout=SCAN_S, service_uuids=[SERVICE])
        if device is None:
            raise BleakError(f"no element {self._target} in reach")
        return device

    async def _write(self, client: BleakClient) -> None:
        """Write all that waits, in pieces; the element acknowledges some of them."""
        with self._lock:
            data = b"".join(self._out)
            self._out.clear()
            self._out_size = 0
        size = min(max(client.mtu_size - 3, 20), PIECE_SIZE_MAX)
        for at in range(0, len(data), size):
            self._unacknowledged += 1
            asks = self._unacknowledged > UNACKNOWLEDGED_MAX
            if asks:
                self._unacknowledged = 0
            await client.write_gatt_char(RX, data[at:at + size], response=asks)

    def _gone(self) -> None:
        """Drop what was to be sent: nobody wants it later."""
        self._up.clear()
        with self._lock:
            self.lost += self._out_size
            self._out.clear()
            self._out_size = 0


async def scan(duration_s: float = SCAN_S) -> dict[str, str]:
    """Return the elements in reach: id in hexadecimal to address. Raises BusError."""
    found: dict[str, str] = {}

    def heard(device: BLEDevice, advertised: AdvertisementData) -> None:
        name = advertised.local_name or ""
        if name.startswith(NAME_PREFIX):
            found[name.removeprefix(NAME_PREFIX)] = device.address

    try:
        async with BleakScanner(heard, service_uuids=[SERVICE]):
            await asyncio.sleep(duration_s)
    except (BleakError, OSError) as error:
        raise BusError("bluetooth", str(error)) from error
    return found
