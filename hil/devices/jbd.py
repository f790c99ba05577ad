"""Emulate a JBD BMS on its UART, without I/O: bytes and simulated time in, bytes out.

Vendor sign: on the wire a NEGATIVE current is discharge; inside, as everywhere here, positive
is discharge; the sign flips once, in jbd_frames.
"""

from collections.abc import Callable
from random import Random

from hil.plant.pack import Pack

from .device import BMSDevice, Dialect, Setup
from .jbd_access import BLEGate, PasswordLock
from .jbd_frames import (
    STATUS_ERROR,
    STATUS_GOOD,
    STATUS_LOCKED,
    Request,
    RequestParser,
    basic_data,
    build_reply,
    cell_data,
    locked_reply,
    with_other_register,
    with_wrong_length,
)
from .measurement import Values
from .protection import ProtectionLimits
from .uart_line import wire_ms

BAUD = 9600
PROCESSING_MS = (5, 20)
NAME_LENGTH_MAX = 31

REGISTER_FACTORY_ENTER = 0x00
REGISTER_FACTORY_EXIT = 0x01
REGISTER_BASIC = 0x03
REGISTER_CELLS = 0x04
REGISTER_NAME = 0x05
REGISTER_MOSFET = 0xE1
FACTORY_ENTER = b"\x56\x78"
FACTORY_EXITS = (b"\x00\x00", b"\x28\x28")

ERROR_SOFTWARE_LOCK = 1 << 12  # Register map: "FET locked by config (register 0xE1)".


class JBDEmulator(BMSDevice[Request]):
    """Behave like one JBD BMS wired to one pack; see BMSDevice.

    `factory_mode` is what the host left behind. With a BLEGate it is reached through its
    Bluetooth module instead of its UART; each feed is then one write to the characteristic.
    """

    def __init__(
        self,
        pack: Pack,
        rng: Random,
        series_count: int,
        ntc_count: int = 2,
        capacity_ah: float = 100.0,
        current_of: Callable[[], float] | None = None,
        start_closed: bool = False,
        limits: ProtectionLimits | None = None,
        name: str = "CELLWALL-JBD-16S",
        start_ms: int = 0,
        *,
        soc_drift_pct_per_month: float = 0.0,
        soc_error: float = 0.0,
        password: bytes | None = None,
        password_guards_fets: bool = False,
        ble: BLEGate | None = None,
    ) -> None:
        """Power the BMS on. current_of returns the true pack current, positive = discharge.

        start_closed False means both FETs off after power-on, as if 0xE1 held 3. password: six
        bytes as they go on the wire, without them factory mode is refused with status 0x81;
        password_guards_fets refuses 0xE1 the same way (whether real ones do is not known).
        Raises ValueError when series_count is not the pack's, or something does not fit its
        field.
        """
        setup = Setup(
            series_count, ntc_count, capacity_ah, current_of, start_closed, limits, start_ms,
            soc_drift_pct_per_month, soc_error,
        )
        setup.check(pack, 32, 8, 655.35)
        if len(name) > NAME_LENGTH_MAX:
            raise ValueError(f"name of {len(name)} characters")
        self._name = name.encode("ascii")
        self.factory_mode = False
        self.lock = PasswordLock(password)
        self._guards_fets = password_guards_fets
        self._ble = ble
        super().__init__(pack, rng, Dialect(
            BAUD, PROCESSING_MS, RequestParser(), with_wrong_length, with_other_register), setup)

    @property
    def error_bits(self) -> int:
        """Return the error word of register 0x03, software lock included."""
        lock = ERROR_SOFTWARE_LOCK if self.mosfet_mask else 0
        return self.protections.error_bits | lock

    def feed(self, data: bytes, now_ms: int) -> None:
        """Take bytes as BMSDevice does; behind a BLEGate the gate hears them first."""
        if self._ble is None or self.silent or not data:
            super().feed(data, now_ms)
            return
        answer = self._ble.hear(data)
        if answer is None:
            super().feed(data, now_ms)
        elif answer:
            self._heard_ms = max(self._heard_ms, now_ms) + wire_ms(len(data), BAUD)
            self._line.send(self._think(), answer)

    def _perform(self, request: Request, ready_ms: int) -> int:
        """Return the status byte of the reply; a good MOSFET write takes effect at ready_ms."""
        if request.is_write:
            return self._write(request.register, request.data, ready_ms)
        known = request.register in (REGISTER_BASIC, REGISTER_CELLS, REGISTER_NAME)
        return STATUS_GOOD if known else STATUS_ERROR

    def _encode(self, request: Request, outcome: int, values: Values) -> bytes:
        register = request.register
        if outcome == STATUS_LOCKED:
            return locked_reply(register)
        if request.is_write or outcome != STATUS_GOOD:
            return build_reply(register, outcome)
        if register == REGISTER_BASIC:
            return build_reply(register, STATUS_GOOD, basic_data(values))
        if register == REGISTER_CELLS:
            return build_reply(register, STATUS_GOOD, cell_data(values))
        return build_reply(register, STATUS_GOOD, self._name)

    def _write(self, register: int, data: bytes, ready_ms: int) -> int:
        status = self.lock.write(register, data)
        if status is not None:
            return status
        if register == REGISTER_MOSFET:
            if self._guards_fets and not self.lock.is_open:
                return STATUS_LOCKED
            good = len(data) == 2 and data[0] == 0 and data[1] <= 3
            done = good and self._command(ready_ms, data[1])
            return STATUS_GOOD if done else STATUS_ERROR
        if register == REGISTER_FACTORY_ENTER and data == FACTORY_ENTER:
            if not self.lock.is_open:
                return STATUS_LOCKED
            self.factory_mode = True
            return STATUS_GOOD
        if register == REGISTER_FACTORY_EXIT and data in FACTORY_EXITS:
            self.factory_mode = False
            return STATUS_GOOD
        return STATUS_ERROR
