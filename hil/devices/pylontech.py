"""Emulate one Pylontech module on its RS-485 (ASCII protocol), without I/O.

There is no switch for the host: the module opens its own FETs when it must, and asks for
charge and discharge, or for less of it, in reply 0x92. Vendor sign: charge is positive; it
flips in pylontech_frames.current_raw alone.
"""

from collections.abc import Callable
from random import Random

from hil.plant.pack import Pack

from . import pylontech_frames as frames
from .device import BMSDevice, Dialect, Setup
from .measurement import Values
from .protection import ProtectionLimits
from .pylontech_frames import Management, Request, RequestParser, build_frame

BAUD = 115_200
PROCESSING_MS = (10, 50)  # Ours: no public measurement is known.
CELLS_COUNT_MAX = 16
NTCS_COUNT = 5
ADDRESS_FIRST = 2
WHOLE_GROUP = 0xFF
MONTH_MS = 30 * 86_400_000
FULL_SOC = 0.97
NAME_SIZE = 10
SERIAL_SIZE = 16
MANUFACTURER = b"Pylon".ljust(20, b"-")

# How limits fall: full between the middle two, none at the outer ones, straight in between.
# Ours, of the size that data sheets and captures show.
CHARGE_SOC = (-1.0, -1.0, 0.90, 1.00)
DISCHARGE_SOC = (0.05, 0.15, 2.0, 2.0)
CHARGE_C = (0.0, 15.0, 40.0, 55.0)
DISCHARGE_C = (-20.0, 0.0, 45.0, 60.0)
# Bits of 0x92, as for US2000B-Plus and US3000B.
CHARGE_NOW_1_SOC = (0.05, 0.10)
CHARGE_NOW_2_SOC = (0.09, 0.14)
OUTCOME_IGNORED = -1


def share(value: float, corners: tuple[float, float, float, float]) -> float:
    """Return 0 outside the outer corners, 1 between the inner ones, a straight line between."""
    low, full_from, full_to, high = corners
    if value <= low or value >= high:
        return 0.0
    if value < full_from:
        return (value - low) / (full_from - low)
    if value > full_to:
        return (high - value) / (high - full_to)
    return 1.0


class PylontechEmulator(BMSDevice[Request]):
    """Behave like one Pylontech module wired to one pack; see BMSDevice.

    Frames for another address are not answered, nor, unless report_bad_frames, are those with
    a wrong checksum. `turned_off` is True after command 0x95: FETs open, deaf, for good.
    """

    def __init__(
        self,
        pack: Pack,
        rng: Random,
        series_count: int,
        capacity_ah: float = 100.0,
        current_of: Callable[[], float] | None = None,
        start_closed: bool = True,
        limits: ProtectionLimits | None = None,
        name: str = "US5000",
        start_ms: int = 0,
        *,
        soc_drift_pct_per_month: float = 0.0,
        soc_error: float = 0.0,
        address: int = ADDRESS_FIRST,
        baud: int = BAUD,
        charge_a_max: float | None = None,
        discharge_a_max: float | None = None,
        serial: str = "CELLWALL00000001",
        alarm_extra: bytes = b"",
        report_bad_frames: bool = False,
    ) -> None:
        """Power the module on. current_of returns the true current, positive = discharge.

        start_closed False: the FETs stay open for good, as with a module not switched on.
        address: 2..13 in the low digit, group in the high one. charge_a_max, discharge_a_max:
        what 0x92 offers at best, 0.5 C by default. alarm_extra: bytes behind status 5, see
        pylontech_frames.alarm_data. report_bad_frames: answer wrong checksums with the codes
        of the vendor's text. Raises ValueError when series_count is not the pack's, or
        something does not fit its field.
        """
        setup = Setup(
            series_count, NTCS_COUNT, capacity_ah, current_of, start_closed, limits, start_ms,
            soc_drift_pct_per_month, soc_error,
        )
        setup.check(pack, CELLS_COUNT_MAX, NTCS_COUNT, 16_777.0)
        if not 2 <= address & 0x0F <= 13 or not 0 <= address <= 0x7D:
            raise ValueError(f"address {address:#x}")
        if len(name) > NAME_SIZE or len(serial) != SERIAL_SIZE:
            raise ValueError(f"name {name!r}, serial {serial!r}")
        chemistry = pack.chemistry
        if chemistry.cell_v_max * series_count > 65.5:
            raise ValueError(f"{series_count} cells of {chemistry.name} exceed 65.5 V")
        self._limits = limits or ProtectionLimits.for_chemistry(chemistry)
        self._series_count = series_count
        self._charge_a_max = capacity_ah / 2.0 if charge_a_max is None else charge_a_max
        self._discharge_a_max = capacity_ah / 2.0 if discharge_a_max is None else discharge_a_max
        self._name = name.encode("ascii").ljust(NAME_SIZE, b"\x00")
        self._serial = serial.encode("ascii")
        self._address = address
        self._alarm_extra = alarm_extra
        self._report = report_bad_frames
        self._full_ms = 0
        self.turned_off = False
        super().__init__(pack, rng, Dialect(
            baud, PROCESSING_MS, RequestParser(), frames.with_wrong_length,
            frames.with_other_address), setup)

    def feed(self, data: bytes, now_ms: int) -> None:
        """Take bytes as BMSDevice does, unless the module is turned off."""
        if not self.turned_off:
            super().feed(data, now_ms)

    def update(self, now_ms: int) -> None:
        """Bring the module to now_ms as BMSDevice does; remember when it was last full."""
        super().update(now_ms)
        if self.soc >= FULL_SOC:
            self._full_ms = self._measured.age_ms

    def management(self, values: Values) -> Management:
        """Return what the module allows and wants at values."""
        heat = values.temperatures_c
        fit = min(share(celsius, CHARGE_C) for celsius in heat) * share(values.soc, CHARGE_SOC)
        charge_a = self._charge_a_max * fit if values.fet_charge else 0.0
        fit = min(share(celsius, DISCHARGE_C) for celsius in heat)
        fit *= share(values.soc, DISCHARGE_SOC)
        discharge_a = self._discharge_a_max * fit if values.fet_discharge else 0.0
        charge_a, discharge_a = int(charge_a * 10.0) / 10.0, int(discharge_a * 10.0) / 10.0
        return Management(
            charge_v_max=(self._limits.cell_v_max - 0.1) * self._series_count,
            discharge_v_min=(self._limits.cell_v_min + 0.2) * self._series_count,
            charge_a_max=charge_a,
            discharge_a_max=discharge_a,
            charge_enabled=charge_a > 0.0,
            discharge_enabled=discharge_a > 0.0,
            charge_now_1=CHARGE_NOW_1_SOC[0] <= values.soc < CHARGE_NOW_1_SOC[1],
            charge_now_2=CHARGE_NOW_2_SOC[0] <= values.soc < CHARGE_NOW_2_SOC[1],
            full_charge=values.uptime_ms - self._full_ms > MONTH_MS,
        )

    def _perform(self, request: Request, ready_ms: int) -> int:
        """Return the return code of the reply, or OUTCOME_IGNORED."""
        if request.address != self._address:
            return OUTCOME_IGNORED
        if request.fault != frames.RETURN_GOOD:
            known = request.fault == frames.RETURN_FORMAT
            return request.fault if known or self._report else OUTCOME_IGNORED
        cid2, info = request.cid2, request.info
        if cid2 in (frames.SYSTEM_PARAMETERS, frames.PROTOCOL_VERSION, frames.MANUFACTURER):
            return frames.RETURN_GOOD
        if cid2 not in (frames.ANALOG, frames.ALARM, frames.MANAGEMENT, frames.SERIAL_NUMBER,
                        frames.TURN_OFF, frames.SOFTWARE_VERSION):
            return frames.RETURN_CID2
        if not info or (info[0] != self._address and not self._is_whole(request)):
            return frames.RETURN_FORMAT
        if cid2 == frames.TURN_OFF:
            self.turned_off = True
            self._command(ready_ms, 3)
        return frames.RETURN_GOOD

    def _is_whole(self, request: Request) -> bool:
        """Return True for a question to the master about its whole group.

        Info longer than the text wants is not held against a request: hosts that send it work.
        """
        if request.cid2 not in (frames.ANALOG, frames.ALARM) or self._address & 0x0F != 2:
            return False
        return request.info[:1] == bytes((WHOLE_GROUP,))

    def _encode(self, request: Request, outcome: int, values: Values) -> bytes:
        if outcome == OUTCOME_IGNORED:
            return b""
        info = self._info(request, values) if outcome == frames.RETURN_GOOD else b""
        return build_frame(self._address, outcome, info)

    def _info(self, request: Request, values: Values) -> bytes:
        """Return the info of a good reply. Asked for the whole group, this module is all of it."""
        cid2 = request.cid2
        command = b"\x01" if self._is_whole(request) else request.info[:1]
        flag = bytes((frames.INFO_FLAG,))
        if cid2 == frames.ANALOG:
            return flag + command + frames.analog_data(values)
        if cid2 == frames.ALARM:
            data = frames.alarm_data(values, self._limits, self._alarm_extra)
            return flag + command + data
        if cid2 == frames.SYSTEM_PARAMETERS:
            return flag + frames.system_data(self._limits, self._series_count)
        if cid2 == frames.MANAGEMENT:
            return command + frames.management_data(self.management(values))
        if cid2 == frames.MANUFACTURER:
            return self._name + b"\x01\x07" + MANUFACTURER
        if cid2 == frames.SERIAL_NUMBER:
            return command + self._serial
        if cid2 == frames.SOFTWARE_VERSION:
            return command + b"\x01\x03\x00\x06\x09"
        return b""
