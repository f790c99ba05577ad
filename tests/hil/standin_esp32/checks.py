"""Run under MicroPython's unix port: the esp32 port on the stand-in. Prints OK, or fails."""

import sys

import board
import machine

from element.hal import esp32
from element.protocol import codes

if not hasattr(machine, "levels"):
    raise SystemExit("the interpreter's own machine module was imported")
C3 = board.NAME == "esp32c3"
log = machine.log
OUTPUTS = (board.ENABLE, board.PRECHARGE, board.PWM_DISCHARGE, board.PWM_CHARGE)


def check(what, *context):
    """Stop at the first thing that is wrong; MicroPython's assert says nothing."""
    if not what:
        raise AssertionError(context)


def opened(cause, rtc):
    """Return a fresh HAL after a reset of this cause."""
    log.clear()
    machine.state.update(cause=cause, rtc=rtc)
    return esp32.open_board(board)


hal = opened(machine.PWRON_RESET, b"")
# outputs first, all of them low
first = [entry for entry in log if entry[0] == "out"]
check([entry[1] for entry in first[:4]] == list(OUTPUTS), log)
check(all(entry[2] == 0 for entry in first), log)
check(log.index(("in", board.INTERLOCK, machine.Pin.PULL_UP)) > log.index(first[-1]), log)
check(("pwm", board.PWM_DISCHARGE, 20000, 0) in log and ("pwm", board.PWM_CHARGE, 20000, 0) in log)
check(("adc", board.SENSE_ADC, 3) in log and ("adc", board.DC_LINK_ADC, 3) in log)

for uv, ma in ((1_100_000, 0), (1_110_667, 1000), (1_740_000, 60_000), (460_000, -60_000),
               (142_000, 1_000_000), (0, 1_000_000), (2_200_000, 1_000_000)):
    machine.microvolts[board.SENSE_ADC] = uv
    check(abs(hal.sense_ma() - ma) <= 100, uv, hal.sense_ma())
machine.microvolts[board.DC_LINK_ADC] = 1_700_000
check(abs(hal.dc_link_mv() - 51_000) < 60, hal.dc_link_mv())

check(not hal.interlock_ok())  # nothing drives it: the pull-up does
machine.levels[board.INTERLOCK] = 0
check(hal.interlock_ok())

check(("wdt", 2000) not in log)
hal.enable_set(True)
check(("wdt", 2000) in log and machine.levels[board.ENABLE] == 1 and hal.enable_is())
log.clear()
hal.duty_set(500)
check(log == [("duty", board.PWM_CHARGE, 0), ("duty", board.PWM_DISCHARGE, 32767)], log)
log.clear()
hal.duty_set(-1000)
check(log == [("duty", board.PWM_DISCHARGE, 0), ("duty", board.PWM_CHARGE, 65535)], log)
log.clear()
hal.watchdog_feed()
check(log == [("feed",)], log)
check(machine.state["rtc"] == b"A")
hal.reset()
check(log[-1] == ("reset",) and machine.state["rtc"] == b"" and machine.levels[board.ENABLE] == 0)
check(log[1:3] == [("duty", board.PWM_DISCHARGE, 0), ("duty", board.PWM_CHARGE, 0)], log)

for cause, rtc, told in (
        (machine.PWRON_RESET, b"A", codes.RESET_POWER_ON),
        (machine.WDT_RESET, b"A", codes.RESET_WATCHDOG),
        (machine.HARD_RESET, b"A", codes.RESET_WATCHDOG),  # the C code crashed
        (machine.HARD_RESET, b"", codes.RESET_SOFTWARE),
        (machine.SOFT_RESET, b"", codes.RESET_SOFTWARE)):
    check(opened(cause, rtc).reset_cause() == told, cause, rtc)
    check(machine.state["rtc"] == b"")

hal = opened(machine.PWRON_RESET, b"")
line = machine.UART.made[board.BMS_UART]
check(("uart", board.BMS_UART, 9600, board.BMS_TX, board.BMS_RX) in log)
hal.bms_uart.write(bytes(700))
hal._look()
check(len(line.sent) == 512)
line.idle = False
hal._look()
check(len(line.sent) == 512)  # not before the buffer is free again: nothing waits
line.idle = True
line.arriving = b"abc"
check(hal._look() and hal.bms_uart.read() == b"abc" and len(line.sent) == 700)

check(hal.unique_id() == b"\x24\x0a\xc4\x00\x01\x02" and len(hal.entropy(32)) == 32)
if C3:
    check(hal.console_uart is None and len(machine.UART.made) == 1)
    machine.state["mem8"] = 0  # the host takes nothing
    log.clear()
    hal.link_uart.write(b"frame")
    hal._look()
    check(hal.link_uart.tx == b"frame" and ("mem8", 0x60043004) in log)
    machine.state["mem8"] = 2
    hal._look()
    check(not hal.link_uart.tx)
    board.LINK = "uart"
else:
    check(hal.console_uart is not None and hal.stage_uart is None)
    machine.UART.made[board.LINK_UART].arriving = b"x"
    check(hal._look() and hal.link_uart.read() == b"x")
    board.STAGE = "sunspec"  # two lines for one UART
try:
    opened(machine.PWRON_RESET, b"")
    check(False)
except Exception as error:
    check(type(error).__name__ == "RangeError", error)
sys.stdout.write("\nOK\n")
