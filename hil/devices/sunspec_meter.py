"""Emulate a three-phase meter with SunSpec models 1 and 203, over Modbus RTU or TCP.

The registers are made by pysunspec2's model objects from the published definitions and served by
pymodbus. Its power is positive for import, as most meters count; `power_w` handed in is export.
"""

import time
from collections.abc import Callable
from random import Random
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.framer.socket import FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.simulator import DataType, SimData, SimDevice
from pymodbus.simulator.simcore import SimCore
from sunspec2.device import Model  # type: ignore[import-untyped]

from .endpoint import Session
from .modbus_rtu import ModbusRTUDevice, finished

BASE = 40000
MARKER, END = [0x5375, 0x6E53], [0xFFFF, 0]
TURN_S_MAX = 0.5


def _words(data: bytes) -> list[int]:
    return [data[at] << 8 | data[at + 1] for at in range(0, len(data), 2)]


class SunSpecMeter:
    """The registers of one meter. power_w: called for the export of now, W."""

    def __init__(self, power_w: Callable[[], float], serial: str = "M-0001",
                 w_factor: int = 0, unit: int = 1) -> None:
        self._power_w = power_w
        self.unit = unit
        common, meter = Model(1), Model(203)
        for name, value in (("Mn", "Cellwall"), ("Md", "Bench meter"), ("Vr", "1.0"),
                            ("SN", serial), ("DA", unit)):
            common.points[name].value = value
        for name, factor in (("A_SF", -2), ("V_SF", -1), ("Hz_SF", -2), ("W_SF", w_factor),
                             ("TotWh_SF", 0)):
            meter.points[name].value = factor
        for name, value in (("A", 0), ("PhV", 2300), ("Hz", 5000), ("TotWhExp", 0),
                            ("TotWhImp", 0), ("Evt", 0)):
            meter.points[name].value = value
        self._meter = meter
        self._at = BASE + 2 + len(_words(common.get_mb()))
        self.refresh()
        self.image = MARKER + _words(common.get_mb()) + _words(meter.get_mb()) + END

    def refresh(self) -> dict[int, list[int]]:
        """Return the power of now at its address."""
        point = self._meter.points["W"]
        point.cvalue = -self._power_w()
        return {self._at + point.offset: _words(point.get_mb())}

    def write(self, address: int, values: list[int], now_ms: int) -> bool:
        """Refuse: nothing of a meter is written."""
        return False

    def over_rtu(self, baud: int = 9600) -> Session:
        """Return what answers on a serial line, in the time that bus and meter take."""
        device = ModbusRTUDevice(self.unit, BASE, self.image, self, Random(1), baud)

        def reply(data: bytes) -> bytes:
            device.feed(data, _now_ms())
            answer = b""
            end_ms = _now_ms() + round(TURN_S_MAX * 1000)
            while (due_ms := device.due_ms()) is not None and _now_ms() < end_ms:
                time.sleep(max(0, due_ms - _now_ms()) / 1000)
                answer += device.take(_now_ms())
            return answer

        return reply

    def over_tcp(self) -> Session:
        """Return what answers on one TCP connection."""
        async def action(_function: int, start: int, _address: int, _count: int,
                         registers: list[int], values: list[int] | list[bool] | None,
                         ) -> ExcCodes | None:
            if values is not None:
                return ExcCodes.ILLEGAL_ADDRESS
            for at, words in self.refresh().items():
                registers[at - start:at - start + len(words)] = words
            return None

        framer = FramerSocket(DecodePDU(True))
        core = SimCore(SimDevice(self.unit, [SimData(
            BASE, values=list(self.image), datatype=DataType.REGISTERS)], action=action))
        held = b""

        def reply(data: bytes) -> bytes:
            nonlocal held
            held += data
            answer = b""
            while held:
                used, request = framer.handleFrame(held, 0, 0)
                held = held[used:]
                if request is None:
                    if used == 0:
                        break
                    continue
                if request.dev_id != self.unit:
                    continue
                update: Any = request.datastore_update
                made = finished(update(core, self.unit))
                made.transaction_id, made.dev_id = request.transaction_id, request.dev_id
                answer += framer.buildFrame(made)
            return answer

        return reply


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
