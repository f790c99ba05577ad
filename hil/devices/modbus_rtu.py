"""Serve holding registers over Modbus RTU with pymodbus, without its sockets and event loop.

pymodbus does the protocol: `FramerRTU` and `DecodePDU` find and decode requests, the request's own
`datastore_update` works on pymodbus's `SimDevice` registers and makes the reply, `FramerRTU`
frames it. Its servers want asyncio and wall time; here the coroutines are driven by hand, which
works because nothing in them waits for anything, and time is the bench's. Bytes in, bytes out.
Ref: pymodbus 3.16, framer/rtu.py, server/requesthandler.py, simulator/simcore.py.
"""

from collections.abc import Coroutine
from random import Random
from typing import Any, Protocol

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusIOException
from pymodbus.framer.rtu import FramerRTU
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse
from pymodbus.simulator import DataType, SimData, SimDevice
from pymodbus.simulator.simcore import SimCore

from .uart_line import FaultLayer, FaultParts, SendLine, wire_ms

READ = 3
# Longer silence than this ends a frame; 3.5 characters at 9600 baud are 4 ms, adapters add some.
SILENCE_MS = 20
BUFFER_MAX = 512


class Registers(Protocol):
    """Be what the registers mean: values come from here, orders go there."""

    def refresh(self) -> dict[int, list[int]]:
        """Return what has changed by itself: registers by their address."""

    def write(self, address: int, values: list[int], now_ms: int) -> bool:
        """Take written registers; False when one of them cannot be written."""


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that never waits. Raises RuntimeError when it does."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    coroutine.close()
    raise RuntimeError("pymodbus waits for something")


class ModbusRTUDevice:
    """Be one device on an RS-485 line: `feed`, `due_ms`, `take`, as an emulated BMS.

    Faults: `silent` (hears nothing, says nothing), `faults` (FaultLayer: damaged replies),
    `refuse` (an exception code for every write, None for none).
    """

    def __init__(self, address: int, base: int, image: list[int], meaning: Registers,
                 rng: Random, baud: int = 19200,
                 processing_ms: tuple[int, int] = (5, 20)) -> None:
        """Serve image from register base on. processing_ms: the least and most time to think."""
        self.silent = False
        self.refuse: ExcCodes | None = None
        self.bad_frames_count = 0
        self.faults = FaultLayer(rng, FaultParts(_wrong_length, _other_address, self._freeze))
        self._address = address
        self._meaning = meaning
        self._rng = rng
        self._baud = baud
        self._processing_ms = processing_ms
        self._framer = FramerRTU(DecodePDU(True))
        self._core = SimCore(SimDevice(
            address, [SimData(base, values=list(image), datatype=DataType.REGISTERS)],
            action=self._action))
        self._line = SendLine(baud)
        self._buffer = b""
        self._heard_ms = 0
        self._busy_ms = 0
        self._now_ms = 0
        self._frozen: list[int] = list(image)
        self._base = base

    async def _action(self, _function: int, start: int, address: int, _count: int,
                      registers: list[int], values: list[int] | list[bool] | None,
                      ) -> ExcCodes | None:
        """Stand between pymodbus and its registers: fresh values in, orders out."""
        if values is not None:
            if self.refuse is not None:
                return self.refuse
            if not self._meaning.write(address, [int(value) for value in values], self._now_ms):
                return ExcCodes.ILLEGAL_ADDRESS
        for at, words in self._meaning.refresh().items():
            registers[at - start:at - start + len(words)] = words
        return None

    def _image(self) -> list[int]:
        """Return all registers as a reader would see them now."""
        size = len(self._frozen)
        image: list[int] = []
        while len(image) < size:
            count = min(125, size - len(image))
            image += finished(self._core.async_getValues(
                self._address, READ, self._base + len(image), count))
        return image

    def _freeze(self) -> None:
        self._frozen = self._image()

    def feed(self, data: bytes, now_ms: int) -> None:
        """Take bytes that the host hands to its UART at now_ms; never raises on bad bytes."""
        if self.silent or not data:
            return
        begin_ms = max(self._heard_ms, now_ms)
        if begin_ms - self._heard_ms > SILENCE_MS:
            self._buffer = b""
        self._heard_ms = begin_ms + wire_ms(len(data), self._baud)
        self._buffer = (self._buffer + data)[-BUFFER_MAX:]
        self._now_ms = now_ms
        while self._buffer:
            before = self._buffer
            reply = self._next()
            if reply is not None:
                self._send(before, reply)
            if len(self._buffer) == len(before):
                return

    def _next(self) -> ModbusPDU | None:
        """Take one request from the buffer and return its reply, None when there is none."""
        try:
            used, request = self._framer.handleFrame(self._buffer, 0, 0)
        except ModbusIOException as error:
            self._buffer = b""
            if error.dev_id != self._address:
                return None
            return ExceptionResponse(error.fcode or 0, ExcCodes.ILLEGAL_FUNCTION, self._address)
        if used and request is None:
            self.bad_frames_count += 1
        self._buffer = self._buffer[used:]
        if request is None or request.dev_id != self._address:
            return None
        core: Any = self._core
        reply: ModbusPDU = finished(request.datastore_update(core, self._address))
        reply.dev_id = self._address
        return reply

    def _send(self, request: bytes, reply: ModbusPDU) -> None:
        self._busy_ms = max(self._busy_ms, self._heard_ms) + self._rng.randint(
            *self._processing_ms)
        frame = self._framer.buildFrame(reply)

        def stuck() -> bytes:
            if not isinstance(reply, ReadHoldingRegistersResponse):
                return frame
            at = (request[2] << 8 | request[3]) - self._base
            old = ReadHoldingRegistersResponse(
                registers=self._frozen[at:at + len(reply.registers)], dev_id=self._address)
            return self._framer.buildFrame(old)

        ready_ms = self._busy_ms
        for pause_ms, chunk in self.faults.apply(request, frame, stuck):
            ready_ms = self._line.send(ready_ms + pause_ms, chunk)

    def due_ms(self) -> int | None:
        """Return when `take` should be called next, None when nothing is under way."""
        return self._line.due_ms()

    def take(self, now_ms: int) -> bytes:
        """Return the bytes that have completely left the device by now_ms."""
        sent = self._line.take(now_ms)
        return b"" if self.silent else sent


def _resealed(frame: bytes) -> bytes:
    return frame[:-2] + FramerRTU.compute_CRC(frame[:-2]).to_bytes(2, "big")


def _wrong_length(rng: Random, frame: bytes) -> bytes:
    """Let the byte count of a read lie; other replies lose a byte."""
    if frame[1] == READ:
        return _resealed(frame[:2] + bytes([(frame[2] + 2 * rng.randint(1, 3)) & 0xFF])
                         + frame[3:])
    return _resealed(frame[:-3] + frame[-2:])


def _other_address(rng: Random, frame: bytes) -> bytes:
    """Let the reply come from a neighbour on the line."""
    return _resealed(bytes([(frame[0] + rng.randint(1, 5)) & 0xFF]) + frame[1:])


