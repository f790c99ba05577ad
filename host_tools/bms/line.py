"""Lines to a BMS: a serial port through pyserial, Bluetooth LE through bleak.

Both are asynchronous, because Bluetooth is; a serial port is polled in small steps.
"""

import asyncio
from typing import Protocol

from bleak import BleakClient
from bleak.exc import BleakError

from element.protocol.errors import BusError
from host_tools.links.ports import open_port

POLL_S = 0.005
CONNECT_S_MAX = 20.0
# ATT payload that every peripheral takes.
WRITE_SIZE_MAX = 20

# Service's notify and write characteristics of a family's radio module.
# Ref JBD: syssi/esphome-jbd-bms and patman15/aiobmsble; Ref Daly: patman15/aiobmsble.
BLE_CHARACTERISTICS = {
    "jbd": ("0000ff01-0000-1000-8000-00805f9b34fb", "0000ff02-0000-1000-8000-00805f9b34fb"),
    "daly": ("0000fff1-0000-1000-8000-00805f9b34fb", "0000fff2-0000-1000-8000-00805f9b34fb"),
}


class Line(Protocol):
    """What the reader needs of a line.

    echo_text: what it means when requests come back; silence_text: what else to look at when
    nobody answers.
    """

    echo_text: str
    silence_text: str

    async def send(self, data: bytes) -> None:
        """Send bytes. Raises BusError when the line is gone."""

    async def receive(self, timeout_s: float) -> bytes:
        """Return what came, after timeout_s at the latest; empty when nothing did."""

    async def close(self) -> None:
        """Give the line back; twice is fine."""


class SerialLine:
    """A serial port."""

    echo_text = ("the line echoes what is sent and nobody answers: TX and RX are joined, or "
                 "RS-485 without direction control")
    silence_text = ""

    def __init__(self, port: str, baud: int) -> None:
        """Open the port. Raises BusError, saying what to do, when it cannot be opened."""
        self._link = open_port(port, baud)

    async def send(self, data: bytes) -> None:
        """Send bytes; what an unplugged adapter loses is not answered."""
        self._link.send(data)

    async def receive(self, timeout_s: float) -> bytes:
        """Return what came, after timeout_s at the latest."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            data = self._link.receive()
            if data or loop.time() >= deadline:
                return data
            await asyncio.sleep(POLL_S)

    async def close(self) -> None:
        """Close the port."""
        self._link.close()


class BLELine:
    """The radio module of a BMS: requests by writes, answers as notifications in pieces."""

    # Ref: syssi/esphome-jbd-bms, issue 245 and docs/ffaa-auth-flow; batmon-ha issue 217
    echo_text = ("the module repeats every write: it wants to be paired first. Pair it with the "
                 "passkey of its label or app (bluetoothctl: pair ADDRESS), then try again")
    silence_text = ("a module with an app password answers nothing before it: set none in the "
                    "vendor's app, and close that app, as one client at a time is served")

    def __init__(self, client: BleakClient, write_uuid: str) -> None:
        """Use `connect`."""
        self._client = client
        self._write_uuid = write_uuid
        self._received: asyncio.Queue[bytes] = asyncio.Queue(maxsize=256)
        self.dropped_count = 0

    @classmethod
    async def connect(cls, address: str, family: str) -> "BLELine":
        """Connect to a module and ask for its notifications.

        Raises BusError when it is not there, refuses, or has not the family's service.
        """
        notify_uuid, write_uuid = BLE_CHARACTERISTICS[family]
        client = BleakClient(address, timeout=CONNECT_S_MAX)
        line = cls(client, write_uuid)
        try:
            await client.connect()
            await client.start_notify(notify_uuid, line._on_notify)
        except (BleakError, OSError, TimeoutError) as error:
            # a machine without a radio has no D-Bus socket either
            raise BusError("bluetooth", f"{address}: {error}") from error
        return line

    def _on_notify(self, _sender: object, data: bytearray) -> None:
        try:
            self._received.put_nowait(bytes(data))
        except asyncio.QueueFull:
            self.dropped_count += 1

    async def send(self, data: bytes) -> None:
        """Write in pieces that every peripheral takes. Raises BusError when the link is gone."""
        try:
            for at in range(0, len(data), WRITE_SIZE_MAX):
                piece = data[at:at + WRITE_SIZE_MAX]
                await self._client.write_gatt_char(self._write_uuid, piece, response=False)
        except (BleakError, OSError) as error:
            raise BusError("bluetooth", str(error)) from error

    async def receive(self, timeout_s: float) -> bytes:
        """Return the next notification, or nothing after timeout_s."""
        try:
            return await asyncio.wait_for(self._received.get(), timeout_s)
        except TimeoutError:
            return b""

    async def close(self) -> None:
        """Disconnect. Raises BusError when the link was gone already."""
        try:
            await self._client.disconnect()
        except (BleakError, OSError) as error:
            raise BusError("bluetooth", str(error)) from error
