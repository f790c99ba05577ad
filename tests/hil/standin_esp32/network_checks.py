"""Run under MicroPython: the esp32 port with its lines through a network. Prints OK, or fails."""

import os
import sys

import bluetooth
import board
import machine

from element.hal import esp32

log = machine.log
LAZY = ("wifi", "tcp_line", "mqtt_line", "ble_line", "network_line", "lines", "socket")


def check(what, *context):
    """Stop at the first thing that is wrong; MicroPython's assert says nothing."""
    if not what:
        raise AssertionError(context)


def loaded():
    """Return which of the modules of a network are loaded."""
    return [name for name in sys.modules if name.split(".")[-1] in LAZY]


def opened(link, **settings):
    """Return a HAL with this line."""
    log.clear()
    board.LINK = link
    board.NETWORK = settings
    return esp32.open_board(board)


hal = opened("usb")
check(loaded() == [], loaded())

# a network that is not known yet: the element runs, and says so at the cable
hal = opened("tcp", port=0)
check(hal.link_uart is not None and hal.console_uart is hal._usb)
check(b"no file `wifi`" in hal._usb.tx, hal._usb.tx)
check([entry for entry in log if entry[0] == "wlan"] == [])

with open("wifi", "w") as file:
    file.write("the site\nthe password\n")
hal = opened("tcp", port=0, address="127.0.0.1")
names = [entry[0] for entry in log]
check(("connect", "the site", "the password") in log and ("active", True) in log, log)
# outputs are off before the radio is touched
check(names.index("wlan") > names.index("pwm") > names.index("out"), names)
check("mqtt_line" not in " ".join(sys.modules) and "ble_line" not in " ".join(sys.modules))
hal.link_uart.begin(bytes(8))
for _ in range(5):
    hal._look()
check(hal.link_uart._server is not None and not hal.link_uart.is_up, hal.link_uart.why)
os.remove("wifi")

hal = opened("mqtt", broker="127.0.0.1", port=1, site="house")
hal.link_uart.begin(bytes(8))
for _ in range(5):
    hal._look()
check(not hal.link_uart.is_up and hal.link_uart.why, hal.link_uart.why)

hal = opened("ble")
line = hal.link_uart
line.begin(bytes(range(8)))
hal._look()
check(("ble", True) in log and ("buffer", 11, 2048, True) in log, log)
payload, answer = next(entry[1:] for entry in log if entry[0] == "advertise")
check(len(payload) == 21 and answer == b"\x14\x09cw-0001020304050607", payload, answer)
handler = bluetooth.handlers[-1]
handler(1, (5, 0, b""))
handler(21, (5, 100))
handler(3, (5, 11))
check(line.rx == b"" and not line.is_up)  # the handler only queues
check(hal._look() and line.read() == b"from a panel" and line.is_up)
line.write(bytes(200))
hal._look()
check([len(entry[3]) for entry in log if entry[0] == "notify"] == [97, 97, 6], log)
check(("wlan", 0) not in log)

for link in ("wire", ""):
    try:
        opened(link)
        check(False)
    except Exception as error:
        check(type(error).__name__ == "RangeError", error)
sys.stdout.write("\nOK\n")
