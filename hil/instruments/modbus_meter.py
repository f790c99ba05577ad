"""A meter on Modbus TCP or RTU: SunSpec models 201 to 204, or a map of registers from rig.yaml.

SunSpec: the marker `SunS` at 40000, 0 or 50000, then the models, each with number and length;
power is W with the scale factor W_SF. Ref: SunSpec Device Information Model Specification 1.1,
model 1 (common) and 201 (single phase meter, int and scale factor).
"""

import logging
import struct
from dataclasses import dataclass
from typing import Any

from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ModbusException

from element.protocol.errors import BusError

from .base import Identity, Setup
from .power_meter import PowerMeter, Reading

MARKER = (0x5375, 0x6E53)
BASES = (40000, 0, 50000)
END_MODEL = 0xFFFF
METER_MODELS = (201, 202, 203, 204)
MODELS_MAX = 64
# From the model's number: W, its scale factor, and how many registers lie between both ends.
W_AT, W_SF_AT = 18, 22
# Model 1: manufacturer, model, options, version, serial number, in registers from its number.
COMMON = {"manufacturer": (2, 16), "model": (18, 16), "version": (42, 8), "serial": (50, 16)}
COMMON_SIZE = 66
NOT_IMPLEMENTED = 0x8000
FORMATS = {"int16": (1, ">h"), "uint16": (1, ">H"), "int32": (2, ">i"), "uint32": (2, ">I"),
           "float32": (2, ">f")}
# What goes wrong is said once, by name, as a BusError.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class RegisterMap:
    """Where a meter without SunSpec has its power. scale: W for one count."""

    address: int
    table: str = "holding"
    format: str = "int32"
    scale: float = 1.0
    low_word_first: bool = False


class ModbusMeter(PowerMeter):
    """Read one meter. address: HOST:PORT for Modbus TCP, a serial port's name for RTU."""

    def __init__(self, setup: Setup, unit: int = 1, baud: int = 9600, parity: str = "N",
                 positive_is: str = "import", registers: RegisterMap | None = None) -> None:
        """positive_is: what a positive number of this meter means, 'import' or 'export'.

        registers: None for a meter with SunSpec.
        """
        super().__init__(setup)
        self._unit = unit
        self._sign = -1 if positive_is == "import" else 1
        self._map = registers
        self._model_at: int | None = None
        self._client = _client(setup, baud, parity)
        self._open = False

    def identify(self) -> Identity:
        if self._map is not None:
            self.read()
            return Identity(model="register map")
        with self.lock:
            self._model_at = None
            return self._discover()

    def read(self) -> Reading:
        with self.lock:
            if self._map is not None:
                size = FORMATS[self._map.format][0]
                words = self._registers(self._map.address, size, self._map.table)
            else:
                if self._model_at is None:
                    self._discover()
                assert self._model_at is not None
                words = self._registers(self._model_at + W_AT, W_SF_AT - W_AT + 1)
            self.tap(self.name, "registers", list(words))
        return Reading(self.decode(words), words)

    def decode(self, words: tuple[int, ...]) -> int:
        if self._map is not None:
            power_w = _number(words, self._map)
        else:
            if words[0] == NOT_IMPLEMENTED or words[-1] == NOT_IMPLEMENTED:
                raise self.wrong("it says that it does not measure power")
            power_w = _signed(words[0]) * 10.0 ** _signed(words[-1])
        return self._sign * round(power_w * 1000)

    def close(self) -> None:
        with self.lock:
            self._open = False
            self._client.close()

    # the line

    def _registers(self, address: int, count: int, table: str = "holding") -> tuple[int, ...]:
        """Return registers. Raises BusError, and opens the line anew with the next call."""
        try:
            if not self._open and not self._client.connect():
                raise self.gone("the line does not open")
            self._open = True
            read = (self._client.read_input_registers if table == "input"
                    else self._client.read_holding_registers)
            reply: Any = read(address, count=count, device_id=self._unit)
        except (ModbusException, OSError, struct.error) as error:
            self.close()
            raise self.gone(error) from error
        if reply.isError():
            raise self.wrong(f"register {address} is refused: {reply}")
        words = tuple(reply.registers)
        if len(words) != count:
            raise self.wrong(f"{len(words)} registers came, not {count}")
        return words

    def _discover(self) -> Identity:
        """Find the meter's model behind the marker and return what model 1 says."""
        at = self._base() + 2
        identity = Identity()
        for _ in range(MODELS_MAX):
            number, size = self._registers(at, 2)
            if number == END_MODEL:
                break
            if number == 1:
                words = self._registers(at, min(COMMON_SIZE, size + 2))
                identity = Identity(**{name: _text(words[begin:begin + length])
                                       for name, (begin, length) in COMMON.items()})
            elif number in METER_MODELS:
                self._model_at = at
                return identity
            at += size + 2
        raise self.wrong(f"SunSpec, but none of the models {METER_MODELS}")

    def _base(self) -> int:
        refused = None
        for base in BASES:
            try:
                if self._registers(base, 2) == MARKER:
                    return base
            except BusError as error:
                if not self._open:
                    raise
                refused = error  # a meter refuses what it does not have: look at the next
        raise self.wrong("no SunSpec marker at 40000, 0 or 50000; give its `registers`") \
            from refused


def _client(setup: Setup, baud: int, parity: str) -> Any:
    host, colon, port = setup.address.rpartition(":")
    if colon and port.isdecimal() and "/" not in setup.address:
        return ModbusTcpClient(host, port=int(port), timeout=setup.timeout_s, retries=0)
    return ModbusSerialClient(setup.address, baudrate=baud, parity=parity,
                              timeout=setup.timeout_s, retries=0)


def _signed(word: int) -> int:
    return word - 0x10000 if word & 0x8000 else word


def _text(words: tuple[int, ...]) -> str:
    raw = b"".join(word.to_bytes(2, "big") for word in words)
    return raw.partition(b"\0")[0].decode("ascii", "replace").strip()


def _number(words: tuple[int, ...], where: RegisterMap) -> float:
    ordered = words[::-1] if where.low_word_first else words
    raw = b"".join(word.to_bytes(2, "big") for word in ordered)
    return float(struct.unpack(FORMATS[where.format][1], raw)[0]) * where.scale
