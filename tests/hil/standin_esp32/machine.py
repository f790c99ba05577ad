"""A STAND-IN for the ESP32's machine module: there is no ESP32 here and no emulator of one.

It knows the calls of MicroPython 1.25's documentation (docs/library/machine.*, docs/esp32) and
nothing of the chip: what the port does with them is tested, what the chip does is not. `log` has
what was done, in order.
"""

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
SOFT_RESET = 5

log = []
levels = {}
microvolts = {}
state = {"cause": PWRON_RESET, "rtc": b"", "mem8": 2}


class Pin:
    """A pin; an output's level is what was written."""

    IN = 1
    OUT = 3
    PULL_UP = 2

    def __init__(self, number, mode=-1, pull=-1, value=None):
        self.number = number
        if mode == self.OUT:
            log.append(("out", number, value))
            levels[number] = value
        elif mode == self.IN:
            log.append(("in", number, pull))

    def __call__(self, value=None):
        if value is None:
            return levels.get(self.number, 1)
        levels[self.number] = int(value)
        return None


class ADC:
    """An input in microvolts."""

    ATTN_11DB = 3

    def __init__(self, pin, atten=0):
        log.append(("adc", pin.number, atten))
        self.pin = pin

    def read_uv(self):
        return microvolts.get(self.pin.number, 0)


class PWM:
    """An output at a duty."""

    def __init__(self, pin, freq=0, duty_u16=-1):
        log.append(("pwm", pin.number, freq, duty_u16))
        self.pin = pin

    def duty_u16(self, value):
        if not 0 <= value <= 65535:
            raise ValueError
        log.append(("duty", self.pin.number, value))


class UART:
    """A line: `arriving` comes in, `sent` has gone out."""

    made: dict = {}  # noqa: RUF012  MicroPython has no ClassVar

    def __init__(self, number, baudrate=0, tx=None, rx=None, rxbuf=0, txbuf=0, timeout=0):
        if number == 0:
            raise ValueError("REPL UART buffer size is fixed")
        log.append(("uart", number, baudrate, tx.number, rx.number))
        self.arriving = b""
        self.sent = b""
        self.room = txbuf
        self.idle = True
        UART.made[number] = self

    def any(self):
        return len(self.arriving)

    def read(self, size):
        out, self.arriving = self.arriving[:size], self.arriving[size:]
        return out or None

    def txdone(self):
        return self.idle

    def write(self, data):
        if len(data) > self.room:
            raise ValueError("a write that waits")
        self.sent += bytes(data)
        return len(data)


class WDT:
    """A watchdog."""

    def __init__(self, timeout):
        log.append(("wdt", timeout))

    def feed(self):
        log.append(("feed",))


class RTC:
    """Memory that outlives a reset."""

    def memory(self, data=None):
        if data is None:
            return state["rtc"]
        state["rtc"] = data
        return None


class _Memory:
    def __getitem__(self, address):
        log.append(("mem8", address))
        return state["mem8"]


mem8 = _Memory()


def unique_id():
    """Return a MAC address."""
    return b"\x24\x0a\xc4\x00\x01\x02"


def reset_cause():
    """Return what a test says."""
    return state["cause"]


def reset():
    """Say so."""
    log.append(("reset",))
