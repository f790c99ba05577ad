"""A Raspberry Pi 4 under MicroPython's unix port: pins, sensors and ratings of one element.

Every board.py defines the same names. Pins are GPIO (BCM) numbers; README.md says why these.
Edit the ratings so that they describe your element, and the issuer's profile can only be
narrower than CURRENT_MA_MAX.
"""

NAME = "linux"
PORT = "linux"

# What is connected: the power stage (converter bms_fets relay sunspec), the BMS family
# (jbd daly jk pylontech), and how the panel is reached: "uart", any tty,
# "tcp" or "mqtt".
STAGE = "converter"
BMS = "jbd"
LINK = "uart"

# Serial lines: the PL011 on the header, and two more that overlays bring out.
BMS_UART = "/dev/serial0"
BMS_TX = 14
BMS_RX = 15
BMS_BAUD = 9600
LINK_UART = "/dev/ttyAMA3"
LINK_TX = 4
LINK_RX = 5
LINK_BAUD = 115200
STAGE_UART = "/dev/ttyAMA4"
STAGE_TX = 8
STAGE_RX = 9
STAGE_BAUD = 19200
STAGE_ADDRESS = 1

# The settings of a LINK through a network; docs/transports.md. "tcp": `port`, `address`. "mqtt":
# `broker`, `site`, and for TLS `ca` (a DER file) and `name`. User and password are no settings:
# they are in the file `mqtt` of the working folder.
NETWORK = {}

# Outputs, active high, each with its own pull-down. None: the board has no such pin.
ENABLE = 17
PRECHARGE = 27
PWM_DISCHARGE = 18
PWM_CHARGE = 19
PWM_HZ = 20000
HEARTBEAT = 22
STATUS_LED = 23

# Input, closed to ground is sound.
INTERLOCK = 24

# The current sensor: its voltage at the pin at 0 A, what 1 A adds, and the range in which it can
# be believed; outside of it the wire or the sensor is broken.
SENSE_ADC = "/sys/bus/iio/devices/iio:device0/in_voltage0_raw"
SENSE_ZERO_MV = 1650
SENSE_UV_PER_A = 16000
SENSE_MV_MIN = 50
SENSE_MV_MAX = 3250
# The DC link's divider: link voltage to pin voltage.
DC_LINK_ADC = "/sys/bus/iio/devices/iio:device0/in_voltage1_raw"
DC_LINK_RATIO = 25

# What else the port has to know; on Linux the paths of devices.
DEVICES = {
    "gpio": "/dev/gpiochip0",
    "pwm": "/sys/class/pwm/pwmchip0",
    "pwm_channels": (0, 1),
    "watchdog": "/dev/watchdog",
    "boot_status": "/sys/class/watchdog/watchdog0/bootstatus",
    "state": "/run/cellwall-element/state",
    "id": "/proc/device-tree/serial-number",
}

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
