"""PWM and analogue inputs of a Linux machine: files under /sys.

Ref: Linux, Documentation/ABI/testing/sysfs-class-pwm and sysfs-bus-iio.
"""

import os
import time

_EXPORT_TRIES_MAX = 50
_EXPORT_WAIT_MS = 20


def write_text(path: str, text: str) -> None:
    """Write an attribute."""
    with open(path, "w") as file:
        file.write(text)


def read_text(path: str) -> str:
    """Return an attribute without its end of line."""
    with open(path) as file:
        return file.read().strip()


class PWM:
    """One channel of a PWM chip, running, at zero duty."""

    def __init__(self, chip: str, channel: int, frequency_hz: int):
        folder = "%s/pwm%d" % (chip, channel)
        try:
            os.stat(folder)
        except OSError:
            write_text(chip + "/export", str(channel))
        self._period_ns = 1_000_000_000 // frequency_hz
        self._open(folder)
        self.set(0)
        write_text(folder + "/period", str(self._period_ns))
        write_text(folder + "/enable", "1")

    def _open(self, folder: str) -> None:
        """Open the duty; udev may take a moment to hand the exported files over."""
        for left in range(_EXPORT_TRIES_MAX, -1, -1):
            try:
                self._duty = open(folder + "/duty_cycle", "r+b")
                return
            except OSError:
                if left == 0:
                    raise
                time.sleep_ms(_EXPORT_WAIT_MS)

    def set(self, permille: int) -> None:
        """Set the duty, 0..1000."""
        self._duty.seek(0)
        self._duty.write(b"%d\n" % (self._period_ns // 1000 * permille))


class ADC:
    """One input of an IIO device; `count` is its raw reading, `uv_num / uv_den` what one means."""

    def __init__(self, path: str):
        """path: of in_voltageX_raw; the scale in mV stands beside it, alone or for all inputs."""
        self._raw = open(path, "rb")
        folder, name = path.rsplit("/", 1)
        try:
            scale = read_text(folder + "/" + name.replace("_raw", "_scale"))
        except OSError:
            scale = read_text(folder + "/in_voltage_scale")
        self.uv_num, self.uv_den = microvolts(scale)

    def count(self) -> int:
        """Return the raw reading. Raises OSError or ValueError when there is none."""
        self._raw.seek(0)
        return int(self._raw.read(16))


def microvolts(scale: str) -> tuple:
    """Return (numerator, denominator) in uV of an IIO scale in mV: decimal, no exponent."""
    whole, _, part = scale.strip().partition(".")
    part = part[:9]
    return int(whole + part) * 1000, 10 ** len(part)
