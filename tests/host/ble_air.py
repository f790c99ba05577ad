"""MicroPython's `bluetooth` module on a bumble peripheral, and bleak backends that reach it.

STAND-IN for the radio of a board: it shows that the line uses the documented interface and that
real GATT, ATT and advertising carry it; it says nothing of NimBLE's timing. The stack runs in the
loop of whoever uses bleak, the element in another thread, as on an ESP32.
"""

import asyncio
import errno
import threading
from collections.abc import Callable
from typing import Any

from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError
from bumble import core
from bumble.controller import Controller
from bumble.core import UUID, AdvertisingData
from bumble.device import Connection, Device, Peer
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.hci import Address
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink

RX_HANDLE, TX_HANDLE = 11, 12
# What a small board's stack holds of notifications that have not left yet.
NOTIFY_MAX = 6
MTU_WANTED = 247


class Air:
    """One peripheral in the air. `module` is what the element imports as `bluetooth`.

    deaf: the stack takes no more notifications, as behind a central that went out of reach.
    """

    def __init__(self, address: str = "F0:10:20:30:40:51") -> None:
        self.address = address
        self.deaf = False
        self.interval_s = 0.002  # a connection interval takes its time
        self.refused_count = 0
        self.truncated = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.module = _Module(self)
        self.irq: Callable[[int, Any], None] = lambda event, data: None
        self.services: Any = None
        self.answer = b""
        self.buffer_size = 20
        self.append = False
        self.received = bytearray()
        self.lock = threading.Lock()
        self.in_flight = 0
        self.connections: dict[int, Connection] = {}
        self._wanted: tuple[bytes, bytes] | None = None
        self._device: Device | None = None
        self._link: LocalLink | None = None
        self._notify: Any = None
        self._count = 0

    # what bleak's side does, in its loop

    async def central(self) -> Device:
        """Return a new central in reach of the peripheral, which is switched on for the first."""
        if self._device is None or self.loop is not asyncio.get_running_loop():
            await self._switch_on()
        self._count += 1
        central = self._made("panel", f"F0:F1:F2:F3:F4:{self._count:02X}")
        await central.power_on()
        return central

    async def _switch_on(self) -> None:
        self.loop = asyncio.get_running_loop()
        for handle in list(self.connections):  # whose panel has gone without a word
            self._disconnected(handle)
        self._link = LocalLink()
        self._device = device = self._made("element", self.address)
        assert self.services is not None, "the element has registered no service"
        ((service, (rx, tx)),) = self.services
        written = CharacteristicValue(write=self._written)
        receiving = Characteristic(
            UUID(rx[0]), Characteristic.Properties.WRITE
            | Characteristic.Properties.WRITE_WITHOUT_RESPONSE, Characteristic.WRITEABLE, written)
        self._notify = Characteristic(
            UUID(tx[0]), Characteristic.Properties.NOTIFY, Characteristic.READABLE, b"")
        device.add_service(Service(UUID(service), [receiving, self._notify]))
        device.on("connection", self._connected)
        await device.power_on()
        await self._advertise()

    def _made(self, name: str, address: str) -> Device:
        controller = Controller(name, link=self._link)
        return Device(name=name, address=Address(address),
                      host=Host(controller, AsyncPipeSink(controller)))

    def _connected(self, connection: Connection) -> None:
        handle = connection.handle
        self.connections[handle] = connection
        self._wanted = None  # a connection ends it
        self.in_flight = 0
        connection.on("disconnection", lambda _: self._disconnected(handle))
        connection.on("connection_att_mtu_update",
                      lambda: self.irq(21, (handle, connection.att_mtu)))
        self.irq(1, (handle, 0, memoryview(b"")))

    def _disconnected(self, handle: int) -> None:
        self.connections.pop(handle, None)
        self.irq(2, (handle, 0, memoryview(b"")))

    def _written(self, connection: Connection, value: bytes) -> None:
        with self.lock:
            if not self.append:
                self.received.clear()
            room = self.buffer_size - len(self.received)
            self.received += value[:room]
            self.truncated += max(len(value) - room, 0)
        self.irq(3, (connection.handle, RX_HANDLE))

    # what the element's side asks for, from its thread

    def soon(self, make: Callable[[], Any]) -> None:
        """Run a coroutine in the stack's loop."""
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(lambda: asyncio.ensure_future(make()))

    def advertise(self, payload: bytes, answer: bytes) -> None:
        """Advertise until a central connects."""
        self._wanted = payload, answer
        self.answer = answer
        self.soon(self._advertise)

    async def _advertise(self) -> None:
        if self._wanted is not None and self._device is not None:
            payload, answer = self._wanted
            await self._device.start_advertising(
                auto_restart=False, advertising_data=payload, scan_response_data=answer,
                # more often than asked for: a test does not wait
                advertising_interval_min=50, advertising_interval_max=50)

    async def notify(self, handle: int, data: bytes) -> None:
        """Let one notification leave."""
        connection = self.connections.get(handle)
        if connection is not None and self._device is not None:
            await self._device.notify_subscriber(connection, self._notify, data)
        with self.lock:
            self.in_flight -= 1

    async def disconnect(self, handle: int) -> None:
        """End a connection from the element's side."""
        connection = self.connections.get(handle)
        if connection is not None:
            await connection.disconnect()

    def reset(self) -> None:
        """Begin anew, as a board does that starts: connections are lost."""
        self.irq = lambda event, data: None
        self._wanted = None
        self.received.clear()
        self.soon(self.cut)

    async def cut(self) -> None:
        """End every connection, as somebody walks away with the panel."""
        for handle in list(self.connections):
            await self.disconnect(handle)


class _BLE:
    """`bluetooth.BLE`."""

    def __init__(self, air: Air) -> None:
        self._air = air

    def active(self, on: bool) -> None:
        assert on
        self._air.reset()

    def config(self, **values: Any) -> None:
        assert set(values) <= {"mtu", "gap_name", "rxbuf"}

    def irq(self, handler: Callable[[int, Any], None]) -> None:
        self._air.irq = handler

    def gatts_register_services(self, services: Any) -> Any:
        self._air.services = services
        return ((RX_HANDLE, TX_HANDLE),)

    def gatts_set_buffer(self, handle: int, size: int, append: bool = False) -> None:
        assert handle == RX_HANDLE
        self._air.buffer_size, self._air.append = size, append

    def gatts_read(self, handle: int) -> bytes:
        assert handle == RX_HANDLE
        with self._air.lock:
            data = bytes(self._air.received)
            self._air.received.clear()
        return data

    def gap_advertise(self, interval_us: int, adv_data: bytes = b"", resp_data: bytes = b"",
                      ) -> None:
        assert interval_us >= 20_000 and len(adv_data) <= 31 and len(resp_data) <= 31
        self._air.advertise(adv_data, resp_data)

    def gatts_notify(self, handle: int, value: int, data: bytes) -> None:
        air = self._air
        assert value == TX_HANDLE
        connection = air.connections.get(handle)
        if connection is None:
            raise OSError(errno.ENOTCONN, "not connected")
        assert 0 < len(data) <= connection.att_mtu - 3
        with air.lock:
            if air.deaf or air.in_flight >= NOTIFY_MAX:
                air.refused_count += 1
                raise OSError(errno.ENOMEM, "no buffers")
            air.in_flight += 1
        air.soon(lambda: air.notify(handle, data))

    def gap_disconnect(self, handle: int) -> bool:
        self._air.soon(lambda: self._air.disconnect(handle))
        return handle in self._air.connections


class _Module:
    """`bluetooth`."""

    FLAG_NOTIFY, FLAG_WRITE, FLAG_WRITE_NO_RESPONSE = 0x10, 0x08, 0x04

    def __init__(self, air: Air) -> None:
        self._air = air

    def BLE(self) -> _BLE:
        return _BLE(self._air)

    def UUID(self, text: str) -> str:
        return text


class _Client(BaseBleakClient):
    """One connection through bumble."""

    air: Air

    def __init__(self, address: Any, **kwargs: Any) -> None:
        super().__init__(address, timeout=kwargs["timeout"],
                         disconnected_callback=kwargs.get("disconnected_callback"))
        self._peer: Peer | None = None
        self._connection: Connection | None = None

    @property
    def mtu_size(self) -> int:
        return 23 if self._connection is None else self._connection.att_mtu

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    async def connect(self, pair: bool, **kwargs: Any) -> None:
        if self.address != self.air.address:
            raise BleakError(f"device {self.address} was not found")
        central = await self.air.central()
        try:
            connection = await central.connect(Address(self.address), timeout=2)
        except (TimeoutError, core.TimeoutError) as error:
            raise BleakError(f"device {self.address} does not answer") from error
        self._connection = connection
        connection.on("disconnection", self._ended)
        self._peer = Peer(connection)
        await self._peer.request_mtu(MTU_WANTED)
        await self._peer.discover_services()
        self.services = BleakGATTServiceCollection()
        for service in self._peer.services:
            await service.discover_characteristics()
            ours = BleakGATTService(service, service.handle, _text(service.uuid))
            self.services.add_service(ours)
            for one in service.characteristics:
                self.services.add_characteristic(BleakGATTCharacteristic(
                    one, one.handle, _text(one.uuid), ["notify", "write"],
                    lambda: self.mtu_size - 3, ours))

    def _ended(self, _reason: int) -> None:
        self._connection = None
        if self._disconnected_callback is not None:
            self._disconnected_callback()

    async def disconnect(self) -> None:
        connection = self._connection
        if connection is not None:
            await connection.disconnect()

    async def start_notify(self, characteristic: Any, callback: Any, **kwargs: Any) -> None:
        await characteristic.obj.subscribe(lambda value: callback(bytearray(value)))

    async def write_gatt_char(self, characteristic: Any, data: Any, response: bool) -> None:
        if self._connection is None:
            raise BleakError("not connected")
        await characteristic.obj.write_value(bytes(data), with_response=response)
        await asyncio.sleep(self.air.interval_s)

    async def pair(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    async def unpair(self) -> None:
        raise NotImplementedError

    async def read_gatt_char(self, *args: Any, **kwargs: Any) -> bytearray:
        raise NotImplementedError

    async def read_gatt_descriptor(self, *args: Any, **kwargs: Any) -> bytearray:
        raise NotImplementedError

    async def write_gatt_descriptor(self, *args: Any) -> None:
        raise NotImplementedError

    async def stop_notify(self, characteristic: Any) -> None:
        raise NotImplementedError


def client_of(air: Air) -> type[BaseBleakClient]:
    """Return a bleak backend that connects through bumble."""
    return type("Client", (_Client,), {"air": air})


def scanner_of(air: Air) -> type[BaseBleakScanner]:
    """Return a bleak backend that scans through bumble."""

    class Scanner(BaseBleakScanner):
        """One scan."""

        def __init__(self, detection_callback: Any, service_uuids: Any, *_: Any, **__: Any):
            super().__init__(detection_callback, service_uuids)
            self._central: Device | None = None

        async def start(self) -> None:
            self.seen_devices = {}
            self._central = await air.central()
            self._central.on("advertisement", self._heard)
            await self._central.start_scanning(active=True)

        async def stop(self) -> None:
            assert self._central is not None
            await self._central.stop_scanning()

        def _heard(self, advertisement: Any) -> None:
            data = advertisement.data
            uuids = [_text(one) for one in
                     data.get(AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS) or ()]
            if not self.is_allowed_uuid(uuids):
                return
            # bumble's link carries no answers to scans: this one comes past it
            name = AdvertisingData.from_bytes(air.answer).get(AdvertisingData.COMPLETE_LOCAL_NAME)
            found = AdvertisementData(name, {}, {}, uuids, None, -50, ())
            address = advertisement.address.to_string(False)
            device = self.create_or_update_device(address, address, name, None, found)
            self.call_detection_callbacks(device, found)

    return Scanner


def _text(uuid: UUID) -> str:
    """Return a UUID as bleak writes it: 128 bits, lower case, with hyphens."""
    text = uuid.to_hex_str("-").lower()
    return text if len(text) == 36 else f"0000{text}-0000-1000-8000-00805f9b34fb"
