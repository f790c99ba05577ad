"""A serial line (USB CDC, RS-485 adapter, pty) through pyserial."""

import serial

from element.protocol.errors import BusError
from host_tools.links.base import Link

READ_SIZE_MAX = 4096


class SerialLink(Link):
    """One serial port, non-blocking, opened again when it vanishes and comes back."""

    def __init__(self, port: str, baud: int = 115200) -> None:
        """Open the port. Raises BusError when it cannot be opened now."""
        self.name = port
        self.lost = 0
        self._baud = baud
        self._serial: serial.Serial | None = None
        if not self._open():
            raise BusError("serial port", port)

    def _open(self) -> bool:
        """Try to open the port; True when it is open."""
        try:
            self._serial = serial.Serial(
                self.name, self._baud, timeout=0, write_timeout=0, exclusive=True
            )
        except (serial.SerialException, OSError):
            # an unplugged adapter is an everyday event: `receive` tries again
            self._serial = None
        return self._serial is not None

    def fileno(self) -> int:
        """Return the descriptor to wait on, -1 while the port is gone."""
        return -1 if self._serial is None else int(self._serial.fileno())

    def send(self, data: bytes) -> None:
        if self._serial is None and not self._open():
            self.lost += len(data)
            return
        assert self._serial is not None
        try:
            written = self._serial.write(data)
            self.lost += len(data) - (written or 0)
        except (serial.SerialException, OSError):
            self.lost += len(data)
            self._drop()

    def receive(self) -> bytes:
        if self._serial is None and not self._open():
            return b""
        assert self._serial is not None
        try:
            return bytes(self._serial.read(READ_SIZE_MAX))
        except (serial.SerialException, OSError):
            self._drop()
            return b""

    def _drop(self) -> None:
        """Close a port that failed; the next call opens it again."""
        if self._serial is not None:
            self._serial.close()
            self._serial = None

    def close(self) -> None:
        self._drop()
