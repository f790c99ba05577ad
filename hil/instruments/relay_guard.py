"""Hold a USB relay closed for as long as it is fed: `python -m hil.instruments.relay_guard`.

Started by `usb_relay`: PORT HOLD_S CHANNEL. Words on stdin: `feed`, `off`; each is answered with
`fed`, `off`, or `lost` when the port is gone. The end of stdin is the end of whoever fed: the
contact is opened at once. Exit 0.
"""

import contextlib
import os
import select
import signal
import sys
import time

import serial

from .usb_relay import FED, LOST, OFF, frame

LOOK_S = 0.5
WRITE_S_MAX = 0.5


class Guard:
    """One relay. It is open until it is fed, and when it was not fed for hold_s."""

    def __init__(self, port: str, hold_s: float, channel: int) -> None:
        self._port_name, self._hold_s, self._channel = port, hold_s, channel
        self._port: serial.Serial | None = None
        self._closed_until_s: float | None = None

    def move(self, on: bool) -> bool:
        """Move the contact; False when the port is gone, which opens no contact by itself."""
        try:
            if self._port is None:
                self._port = serial.Serial(self._port_name, 9600, write_timeout=WRITE_S_MAX,
                                           exclusive=True)
            self._port.write(frame(self._channel, on))
        except (serial.SerialException, OSError):
            if self._port is not None:
                with contextlib.suppress(serial.SerialException, OSError):
                    self._port.close()
            self._port = None
            return False
        self._closed_until_s = time.monotonic() + self._hold_s if on else None
        return True

    def wait_s(self) -> float:
        """Return how long nothing is due."""
        if self._closed_until_s is None:
            return LOOK_S
        return min(LOOK_S, max(0.0, self._closed_until_s - time.monotonic()))

    def look(self) -> None:
        """Open the contact when its time is over; tried again until the relay hears it."""
        if self._closed_until_s is not None and time.monotonic() >= self._closed_until_s:
            self.move(False)


def main(argv: list[str] | None = None) -> int:
    """Serve until stdin ends."""
    port, hold_s, channel = sys.argv[1:4] if argv is None else argv
    signal.signal(signal.SIGTERM, lambda *_: os.close(0))
    guard = Guard(port, float(hold_s), int(channel))
    _say(OFF if guard.move(False) else LOST)
    held = b""
    try:
        while True:
            guard.look()
            if not select.select([0], [], [], guard.wait_s())[0]:
                continue
            data = os.read(0, 256)
            if not data:
                return 0
            *words, held = (held + data).split(b"\n")
            for word in words:
                on = word == b"feed"
                _say(LOST if not guard.move(on) else FED if on else OFF)
    except OSError:
        return 0  # our reader is gone, or SIGTERM
    finally:
        end_s = time.monotonic() + guard._hold_s
        while not guard.move(False) and time.monotonic() < end_s:
            time.sleep(0.05)


def _say(word: bytes) -> None:
    os.write(1, word)


if __name__ == "__main__":
    sys.exit(main())
