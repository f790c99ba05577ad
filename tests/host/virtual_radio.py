"""Bluetooth without a radio: a bumble peripheral, and a bleak backend that reaches it.

The stack below GATT is bumble's own (L2CAP, ATT over its local link); bleak's public interface
stays what the program under test uses.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError
from bumble.controller import Controller
from bumble.core import UUID
from bumble.device import Device, Peer
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.hci import Address
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink

NOTIFICATION_SIZE = 20


class Radio:
    """One module in the air: `answer(request)` gives the bytes that it notifies."""

    def __init__(self, address: str, service: str, notify: str, write: str,
                 answer: Callable[[bytes], bytes]) -> None:
        self.address = address
        self._uuids = (service, notify, write)
        self._answer = answer
        self._link: LocalLink | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def switch_on(self) -> Device:
        """Start the peripheral and return a central on the same link."""
        self._link = LocalLink()
        peripheral = self._device("module", self.address)
        service, notify, write = self._uuids
        notifying = Characteristic(
            UUID(notify), Characteristic.Properties.NOTIFY | Characteristic.Properties.READ,
            Characteristic.READABLE, b"")

        def written(_connection: Any, value: bytes) -> None:
            data = self._answer(bytes(value))

            async def say() -> None:
                for at in range(0, len(data), NOTIFICATION_SIZE):
                    await peripheral.notify_subscribers(
                        notifying, data[at:at + NOTIFICATION_SIZE])

            task = asyncio.ensure_future(say())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        writing = Characteristic(
            UUID(write), Characteristic.Properties.WRITE_WITHOUT_RESPONSE
            | Characteristic.Properties.WRITE, Characteristic.WRITEABLE,
            CharacteristicValue(write=written))
        peripheral.add_service(Service(UUID(service), [notifying, writing]))
        await peripheral.power_on()
        await peripheral.start_advertising(auto_restart=True)
        central = self._device("panel", "F0:F1:F2:F3:F4:F5")
        await central.power_on()
        return central

    def _device(self, name: str, address: str) -> Device:
        controller = Controller(name, link=self._link)
        return Device(name=name, address=Address(address),
                      host=Host(controller, AsyncPipeSink(controller)))


def backend_for(radio: Radio) -> type[BaseBleakClient]:
    """Return a bleak backend whose air holds one module."""

    class Backend(BaseBleakClient):
        """Reach the module through bumble."""

        def __init__(self, address: Any, **kwargs: Any) -> None:
            super().__init__(address, disconnected_callback=kwargs.get("disconnected_callback"),
                             timeout=kwargs["timeout"])
            self._peer: Peer | None = None
            self._connection: Any = None

        @property
        def mtu_size(self) -> int:
            return 23

        @property
        def is_connected(self) -> bool:
            return self._connection is not None

        async def connect(self, pair: bool, **kwargs: Any) -> None:
            if self.address != radio.address:
                raise BleakError(f"device {self.address} was not found")
            central = await radio.switch_on()
            self._connection = await central.connect(Address(self.address))
            self._peer = Peer(self._connection)
            await self._peer.discover_services()
            self.services = BleakGATTServiceCollection()
            for service in self._peer.services:
                await service.discover_characteristics()
                ours = BleakGATTService(service, service.handle, _text(service.uuid))
                self.services.add_service(ours)
                for one in service.characteristics:
                    self.services.add_characteristic(BleakGATTCharacteristic(
                        one, one.handle, _text(one.uuid), ["notify", "write"], lambda: 20, ours))

        async def disconnect(self) -> None:
            if self._connection is not None:
                connection, self._connection = self._connection, None
                await connection.disconnect()

        async def start_notify(self, characteristic: Any, callback: Any, **kwargs: Any) -> None:
            await characteristic.obj.subscribe(lambda value: callback(bytearray(value)))

        async def write_gatt_char(self, characteristic: Any, data: Any, response: bool) -> None:
            await characteristic.obj.write_value(bytes(data), with_response=response)

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

    return Backend


def _text(uuid: UUID) -> str:
    """Return a UUID as bleak writes it: 128 bits, lower case, with hyphens."""
    text = uuid.to_hex_str("-").lower()
    return text if len(text) == 36 else f"0000{text}-0000-1000-8000-00805f9b34fb"
