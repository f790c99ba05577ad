"""A board's raw REPL through mpremote: what runs there, which files, and copying them."""

import ast
import contextlib
import io
import struct
import time
from dataclasses import dataclass
from typing import Any

from mpremote.transport import TransportError  # type: ignore[import-untyped]
from mpremote.transport_serial import SerialTransport  # type: ignore[import-untyped]
from serial import SerialException

from element.protocol.errors import BusError
from host_tools.links.ports import busy, check_port

# The last is what mpremote makes of a window size that does not come.
_FAILURES = (TransportError, SerialException, OSError, struct.error)
VERSION_MIN = (1, 24)
# mpremote waits without end for a byte in places; a board that does not answer must not hold us.
BYTE_S_MAX = 2.0
RAW_REPL_S_MAX = 4
REOPEN_S_MAX = 15.0
_WHO = """
import sys, binascii, gc
from machine import unique_id
i = sys.implementation
gc.collect()
print(repr((i.name, i.version[:3], sys.platform, getattr(i, '_machine', ''), i._mpy & 0xff,
    binascii.hexlify(unique_id()).decode(), gc.mem_free())))
"""
_HASHES = """
import os, hashlib, binascii
buf = memoryview(bytearray(4096))
def show(n):
    h = hashlib.sha256()
    with open(n, 'rb') as f:
        while True:
            size = f.readinto(buf)
            if not size:
                break
            h.update(buf[:size])
    print(n[1:], binascii.hexlify(h.digest()).decode())
def walk(p):
    for e in os.ilistdir(p or '/'):
        n = p + '/' + e[0]
        if e[1] & 0x4000:
            if p or e[0] in 'ab':
                walk(n)
        elif p or e[0].endswith('.py') or e[0].endswith('.mpy') or e[0] == 'slots':
            show(n)
"""
INSTALL = {
    "rp2": "hold BOOTSEL while plugging the board in and copy the RPI_PICO .uf2 of MicroPython "
           "1.24 or newer (micropython.org/download/RPI_PICO) to the drive that appears",
    "esp32": "esptool.py --port PORT erase_flash, then write_flash the ESP32 image of MicroPython "
             "1.24 or newer (micropython.org/download)",
}


@dataclass(frozen=True)
class Interpreter:
    """What runs on a board. format: of compiled code. hardware_id: hexadecimal."""

    name: str
    version: tuple[int, ...]
    platform: str
    machine: str
    format: int
    hardware_id: str
    free_bytes: int


class Repl:
    """An open raw REPL. Raises BusError, saying what to do, for whatever the cable does."""

    def __init__(self, port: str) -> None:
        """Open the port; `enter` starts the REPL."""
        check_port(port)
        self.port = port
        try:
            self._transport = SerialTransport(port, baudrate=115200)
        except _FAILURES as error:
            raise busy(port) from error
        self._transport.serial.timeout = BYTE_S_MAX

    def __enter__(self) -> "Repl":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the port back."""
        with contextlib.suppress(*_FAILURES):
            self._transport.close()

    def enter(self, limit_s: int = RAW_REPL_S_MAX) -> bool:
        """Enter the raw REPL; False when whatever is there does not answer as one."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not know
                self._transport.enter_raw_repl(soft_reset=True, timeout_overall=limit_s)
        except _FAILURES:
            return False
        return True

    def run(self, code: str) -> str:
        """Run code on the board and return what it prints. Raises BusError when it fails."""
        try:
            return bytes(self._transport.exec(code)).decode()
        except _FAILURES as error:
            raise BusError("the board did not do it", f"{self.port}: {error}") from error

    def interpreter(self) -> Interpreter:
        """Return what runs here. Raises BusError for what is no MicroPython of 1.24 or newer."""
        try:
            found = Interpreter(*ast.literal_eval(self.run(_WHO).strip()))
        except (ValueError, SyntaxError, TypeError) as error:
            raise BusError("not MicroPython", self.port) from error
        if found.name != "micropython" or found.version[:2] < VERSION_MIN:
            have = ".".join(map(str, found.version))
            next_step = INSTALL.get(found.platform, "install MicroPython 1.24 or newer")
            raise BusError("MicroPython is too old",
                           f"{found.name} {have}\n  next: {next_step}")
        return found

    def hashes(self, names: list[str] | None = None) -> dict[str, str]:
        """Return the SHA-256 (hexadecimal) of the named files, or of every firmware file."""
        what = "walk('')" if names is None else f"for n in {names!r}: show('/' + n)"
        return dict(line.split() for line in self.run(_HASHES + what).splitlines()
                    if line.strip())

    def make_folder(self, path: str) -> None:
        """Make a folder where it is missing."""
        self.run(f"import os\ntry:\n os.mkdir({path!r})\nexcept OSError as e:\n"
                 " if e.errno != 17: raise")

    def remove(self, path: str) -> None:
        """Remove a file."""
        self.run(f"import os\nos.remove({path!r})")

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file. Raises BusError when the board does not take it."""
        try:
            self._transport.fs_writefile(path, data, chunk_size=512)
        except _FAILURES as error:
            raise BusError("the board did not take a file", f"{path}: {error}") from error

    def reset(self) -> None:
        """Restart the board and close the port, which may vanish."""
        with contextlib.suppress(*_FAILURES):
            transport: Any = self._transport
            transport.exec_raw_no_follow("import machine\nmachine.reset()")
            time.sleep(0.2)
        self.close()


def no_repl(port: str) -> BusError:
    """Return the error for a port at whose end neither an element nor a REPL answers."""
    return BusError("no MicroPython answers", (
        f"{port}\n  next: a blank RP2040: {INSTALL['rp2']};\n"
        f"        a blank ESP32: {INSTALL['esp32']};\n"
        "        on a USB-serial adapter: are TX and RX crossed, and is it 115200 baud?"))
