"""An ESP32 DevKitC (ESP32-WROOM-32): pins, sensors and ratings of one element.

Every board.py defines the same names. Pins are GPIO numbers; which ones and why is in README.md.
Edit the ratings so that they describe your element, and the issuer's profile can only be
narrower than CURRENT_MA_MAX.
"""

NAME = "esp32"
PORT = "esp32"

# What is connected: the power stage (converter bms_fets relay sunspec), the BMS family
# (jbd daly jk pylontech), and how the panel is reached: "usb", "uart",
# "tcp" or "mqtt" over Wi-Fi, "ble".
STAGE = "converter"
BMS = "jbd"
LINK = "uart"

# Serial lines. UART0 is the console on USB. UART1 is the panel's line or, with LINK = "usb", the
# inverter's on RS-485.
BMS_UART = 2
BMS_TX = 17
BMS_RX = 16
BMS_BAUD = 9600
LINK_UART = 1
LINK_TX = 26
LINK_RX = 27
LINK_BAUD = 115200
STAGE_UART = 1
STAGE_TX = 26
STAGE_RX = 27
STAGE_BAUD = 19200
STAGE_ADDRESS = 1

# The settings of a LINK through a network; docs/transports.md. "tcp": `port`. "mqtt": `broker` (an
# IP address), `site`, and for TLS `ca` (a DER file) and `name`. "ble": none. Passwords are no
# settings: they are files on the flash, `wifi` and `mqtt`.
NETWORK = {}

# Outputs, active high, each with its own pull-down. None: the board has no such pin.
ENABLE = 23
PRECHARGE = 22
PWM_DISCHARGE = 18
PWM_CHARGE = 19
PWM_HZ = 20000
HEARTBEAT = None
STATUS_LED = 2

# Input, closed to ground is sound.
INTERLOCK = 21

# The converter reads 0.15 to 2.45 V: the sensor comes through a divider of 2/3.
# The current sensor: its voltage at the pin at 0 A, what 1 A adds, and the range in which it can
# be believed; outside of it the wire or the sensor is broken.
SENSE_ADC = 34
SENSE_ZERO_MV = 1100
SENSE_UV_PER_A = 10667
SENSE_MV_MIN = 160
SENSE_MV_MAX = 2150
# The DC link's divider: link voltage to pin voltage.
DC_LINK_ADC = 35
DC_LINK_RATIO = 30

# What else the port has to know; on Linux the paths of devices.
DEVICES = {"usb": "bridge"}

# A control loop that stops for this long is ended by the hardware watchdog.
WATCHDOG_MS = 2000

# Ratings of the power stage, nominal: a unit's own deviation is what the current loop corrects.
DUTY_FULL_MA = 60000
LOSS_STANDING_MW = 12000
LOSS_BP = 300
STEP_MW = 0
# Over-current is 120 % of a profile's limit and 1 A: it must lie inside SENSE_MV_*.
CURRENT_MA_MAX = 70000
DC_LINK = True
PRECHARGE_MS_MAX = 1000
# Relays: which FET_* directions there are, how often one may close in an hour.
DIRECTIONS = 3
SWITCHES_PER_HOUR_MAX = 240
ON_MS_MIN = 3000
OFF_MS_MIN = 2000
# How long relay or inverter take from being switched on to power.
START_MS = 300
