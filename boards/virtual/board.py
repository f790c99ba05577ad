"""The virtual board of the bench: a process under MicroPython's unix port.

Every board.py defines the same names. Arguments on the command line choose between the two
stages and the two clocks: `main.py lockstep|unix converter|bms_fets [BMS_FD LINK_FD]`; with the
unix port the last two are the descriptors of its lines.
"""

import sys

NAME = "virtual"
PORT = sys.argv[1]
STAGE = sys.argv[2]
BMS_FD = int(sys.argv[3]) if PORT == "unix" else -1
LINK_FD = int(sys.argv[4]) if PORT == "unix" else -1

# Nominal ratings of the power stage; a unit's own deviation is what the current loop corrects.
DUTY_FULL_MA = 60000
LOSS_STANDING_MW = 12000
LOSS_BP = 300
STEP_MW = 0
# The sensor reads to 102 A: over-current is 120 % of a profile's limit and 1 A, and must show.
CURRENT_MA_MAX = 84000

if STAGE == "bms_fets":
    STEP_MW = 500_000
    LOSS_STANDING_MW = 0
    LOSS_BP = 600
ON_MS_MIN = 3000
OFF_MS_MIN = 2000
