"""Join the site's Wi-Fi. Name and password are on the board's flash, never in the repository.

The file `wifi` has two lines: the network's name and its password; an open network has one line.
The radio's own task looks for the network, joins it and joins it again, without end and beside
the control loop. A file that is missing leaves the element alone: it runs, and no panel sees it.
Ref: MicroPython 1.25, docs/library/network.WLAN.rst (`reconnects`).
"""

import network

FILE = "wifi"
_SIZE_MAX = 256


def join(log) -> None:
    """Switch the radio on and let it join. At boot, before anything conducts: it takes a while.

    log(text) says what is missing.
    """
    try:
        with open(FILE) as file:
            lines = file.read(_SIZE_MAX).split("\n")
    except OSError:
        log("wifi: no file `wifi` on the flash")
        return
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    # a radio that dozes between beacons answers a tenth of a second late
    wlan.config(pm=network.WLAN.PM_NONE)
    password = lines[1].strip() if len(lines) > 1 else ""
    wlan.connect(lines[0].strip(), password or None)
