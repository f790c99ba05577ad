"""The virtual board of the bench: a process under MicroPython's unix port.

Every board.py defines the same names. The command line chooses between the clocks, the power
stages and the BMS families: `main.py lockstep|unix STAGE BMS [BMS_FD LINK_FD [STAGE_FD]]`; with
the unix port the last ones are the descriptors of its lines.
"""

import sys

NAME = "virtual"
PORT = sys.argv[1]
STAGE = sys.argv[2]
BMS = sys.argv[3]
BMS_FD = int(sys.argv[4]) if PORT == "unix" else -1
LINK_FD = int(sys.argv[5]) if PORT == "unix" else -1
STAGE_FD = int(sys.argv[6]) if PORT == "unix" and len(sys.argv) > 6 else -1

# What real boards have: the bench's header stands for pins, sensors and watchdog.
BMS_UART = BMS_TX = BMS_RX = None
BMS_BAUD = 9600
LINK = "socket"
LINK_UART = LINK_TX = LINK_RX = None
LINK_BAUD = 115200
NETWORK = {}
STAGE_UART = STAGE_TX = STAGE_RX = None
ENABLE = PRECHARGE = INTERLOCK = HEARTBEAT = STATUS_LED = None
PWM_DISCHARGE = PWM_CHARGE = None
PWM_HZ = 20000
SENSE_ADC = DC_LINK_ADC = None
SENSE_ZERO_MV = 1650
SENSE_UV_PER_A = 16000
SENSE_MV_MIN = 0
SENSE_MV_MAX = 3300
DC_LINK_RATIO = 25
DEVICES = {}
WATCHDOG_MS = 1000

# Nominal ratings of the power stage; a unit's own deviation is what the current loop corrects.
DUTY_FULL_MA = 60000
LOSS_STANDING_MW = 12000
LOSS_BP = 300
STEP_MW = 0
# The sensor reads to 102 A: over-current is 120 % of a profile's limit and 1 A, and must show.
CURRENT_MA_MAX = 84000

# The converter's DC link is charged through a resistor before the FETs close, and measured.
DC_LINK = STAGE == "converter"
PRECHARGE_MS_MAX = 1000
# A relay: which FET_* directions it has, how often it may close in an hour.
DIRECTIONS = 3
SWITCHES_PER_HOUR_MAX = 240
# How long relay and inverter take from being switched on to power.
START_MS = 300
# The inverter's RS-485 line.
STAGE_ADDRESS = 1
STAGE_BAUD = 19200

if STAGE in ("bms_fets", "relay"):
    STEP_MW = 500_000
    LOSS_STANDING_MW = 0
    LOSS_BP = 600
elif STAGE == "sunspec":
    LOSS_STANDING_MW = 15000
    LOSS_BP = 400
    START_MS = 3000
ON_MS_MIN = 3000
OFF_MS_MIN = 2000
