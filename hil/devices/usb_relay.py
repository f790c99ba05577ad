"""Emulate a one-channel USB relay of the LCUS type: frames A0 CHANNEL STATE SUM, no answers.

It is supplied by its USB cable: unplugged, the contact drops.
"""

from pathlib import Path

from .endpoint import PtyEndpoint, Session

HEAD, FRAME_SIZE = 0xA0, 4


class EmulatedUSBRelay(PtyEndpoint):
    """The relay at the end of a serial port."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, self._listen)
        self.on = False
        self.bad_frames_count = 0

    def unplug(self) -> None:
        super().unplug()
        self.on = False

    def _listen(self) -> Session:
        held = b""

        def take(data: bytes) -> bytes:
            nonlocal held
            held += data
            while len(held) >= FRAME_SIZE:
                frame = held[:FRAME_SIZE]
                good = frame[0] == HEAD and frame[1] == 1 and frame[2] in (0, 1) \
                    and sum(frame[:3]) & 0xFF == frame[3]
                self.bad_frames_count += not good
                held = held[FRAME_SIZE if good else 1:]
                if good:
                    self.on = bool(frame[2])
            return b""

        return take
