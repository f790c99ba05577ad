"""The Raspberry Pi Pico W (RP2040, radio off): pins, sensors and ratings of one element.

Every board.py defines the same names. Pins are GP numbers; which ones and why is in README.md.
Edit the ratings so that they describe your element, and the issuer's profile can only be
narrower than CURRENT_MA_MAX.
"""

NAME = "rpi_pico_w"
PORT = "rp2"

# What is connected: the power stage (converter bms_fets relay sunspec), the BMS family
# (jbd daly jk pylontech), and how the panel is reached: "usb" or "uart".
STAGE = "converter"
BMS = "jbd"
LINK = "usb"

# Serial lines. UART1 is the inverter's RS-485 line or, with LINK = "uart", the panel's.
BMS_UART = 0
BMS_TX = 0
BMS_RX = 1
BMS_BAUD = 9600
LINK_UART = 1
LINK_TX = 4
LINK_RX = 5
LINK_BAUD = 115200
STAGE_UART = 1
STAGE_TX = 4
STAGE_RX = 5
STAGE_BAUD = 19200
STAGE_ADDRESS = 1

# For boards whose LINK goes through a network.
NETWORK = {}

# Outputs, active high, each with its own pull-down. None: the board has no such pin.
ENABLE = 2
PRECHARGE = 8
PWM_DISCHARGE = 6
PWM_CHARGE = 7
PWM_HZ = 20000
HEARTBEAT = None
STATUS_LED = 22

# Input, closed to ground is sound.
INTERLOCK = 3

# The current sensor: its voltage at the pin at 0 A, what 1 A adds, and the range in which it can
# be believed; outside of it the wire or the sensor is broken.
SENSE_ADC = 26
SENSE_ZERO_MV = 1650
SENSE_UV_PER_A = 16000
SENSE_MV_MIN = 50
SENSE_MV_MAX = 3250
# The DC link's divider: link voltage to pin voltage.
DC_LINK_ADC = 27
DC_LINK_RATIO = 25

# What else the port has to know; on Linux the paths of devices.
DEVICES = {}

# A control loop that stops for this long is ended by the hardware watchdog.
WATCHDOG_MS = 2000

# Ratings of the power stage, nominal: a unit's own deviation is what the current loop corrects.
DUTY_FULL_MA = 60000
LOSS_STANDING_MW = 12000
LOSS_BP = 300
STEP_MW = 0
# Over-current is 120 % of a profile's limit and 1 A: it must lie inside SENSE_MV_*.
CURRENT_MA_MAX = 80000
DC_LINK = True
PRECHARGE_MS_MAX = 1000
# Relays: which FET_* directions there are, how often one may close in an hour.
DIRECTIONS = 3
SWITCHES_PER_HOUR_MAX = 240
ON_MS_MIN = 3000
OFF_MS_MIN = 2000
# How long relay or inverter take from being switched on to power.
START_MS = 300
