"""What the two ports with an emulated pin header share: the pins, and their frames on a socket.

Board to bench, little-endian: u32 wake-up time in ms since boot (0xFFFFFFFF: only on input),
u8 outputs (bit 0 enable, bit 1 watchdog fed, bit 2 reset wanted, bit 3 pre-charge), i16 duty in
permille, u16 sizes of BMS, link and stage bytes, then the bytes in that order.
Bench to board: u32 time in ms since boot, i32 sensed current in mA, i32 DC-link voltage in mV (-1:
no sensor), u8 inputs (bit 0 interlock input closed), u16 sizes of BMS, link and stage bytes, then
the bytes.
First frame from the bench: 8 bytes unique id, 32 bytes seed, u32 work slice in ms, u32 time in ms,
u8 reset cause (codes.RESET_*).
"""

from asyncio import core

from .base import HAL
from .scheduler import BufferedUART, LoopWaiter

OUT = "<IBhHHH"
OUT_SIZE = 13
IN = "<IiiBHHH"
IN_SIZE = 19
FIRST = "<IIB"
FIRST_SIZE = 49

ENABLE = 1
FED = 2
RESET = 4
PRECHARGE = 8
INTERLOCK_OK = 1


class HeaderHAL(HAL):
    """A board whose pins are bits in a frame; the port below decides when frames travel."""

    def __init__(self, first: bytes):
        """first: the first frame from the bench."""
        self._unique_id = first[:8]
        self._reset_cause = first[FIRST_SIZE - 1]
        self.bms_uart = BufferedUART()
        self.link_uart = BufferedUART()
        self.stage_uart = BufferedUART()
        self._outputs = 0
        self._duty = 0
        self._sense_ma = 0
        self._dc_link_mv = -1
        self._inputs = 0

    @staticmethod
    def _say_clock(ticks: int, bench_ms: int) -> None:
        """Tell whoever reads the log which moment of the bench its stamps are."""
        print("bench: tick %d is %d ms" % (ticks, bench_ms))

    def sleep_ms(self, duration_ms: int):
        return core.sleep_ms(duration_ms)

    def waiter(self):
        return LoopWaiter()

    def enable_set(self, on: bool) -> None:
        before = self._outputs
        self._outputs = (before | ENABLE) if on else (before & ~ENABLE)
        if before & ENABLE and not on:
            self._off_now()

    def enable_is(self) -> bool:
        return bool(self._outputs & ENABLE)

    def _off_now(self) -> None:
        """Send the pins when off must not wait until the loop is idle; a port may need to."""

    def duty_set(self, duty_permille: int) -> None:
        self._duty = duty_permille

    def precharge_set(self, on: bool) -> None:
        before = self._outputs
        self._outputs = (before | PRECHARGE) if on else (before & ~PRECHARGE)

    def dc_link_mv(self) -> int:
        return self._dc_link_mv

    def sense_ma(self) -> int:
        return self._sense_ma

    def interlock_ok(self) -> bool:
        return bool(self._inputs & INTERLOCK_OK)

    def watchdog_feed(self) -> None:
        self._outputs |= FED

    def unique_id(self) -> bytes:
        return self._unique_id

    def reset_cause(self) -> int:
        return self._reset_cause
