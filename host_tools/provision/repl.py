"""A board's raw REPL through mpremote: what runs there, which files, and copying them."""

import ast
import contextlib
import time
from dataclasses import dataclass
from typing import Any

from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport
from serial import SerialException

from element.protocol.errors import BusError
from host_tools.provision.ports import busy, check_port

VERSION_MIN = (1, 24)
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
def walk(p):
    for e in os.ilistdir(p or '/'):
        n = p + '/' + e[0]
        if e[1] & 0x4000:
            if p or e[0] in 'ab':
                walk(n)
        elif p or e[0].endswith('.py') or e[0].endswith('.mpy') or e[0] == 'slots':
            h = hashlib.sha256()
            with open(n, 'rb') as f:
                while True:
                    b = f.read(1024)
                    if not b:
                        break
                    h.update(b)
            print(n[1:], binascii.hexlify(h.digest()).decode())
walk('')
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
        except (TransportError, SerialException, OSError) as error:
            raise busy(port) from error

    def __enter__(self) -> "Repl":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the port back."""
        with contextlib.suppress(TransportError, SerialException, OSError):
            self._transport.close()

    def enter(self, limit_s: int = RAW_REPL_S_MAX) -> bool:
        """Enter the raw REPL; False when whatever is there does not answer as one."""
        try:
            self._transport.enter_raw_repl(soft_reset=True, timeout_overall=limit_s)
        except (TransportError, SerialException, OSError):
            return False
        return True

    def run(self, code: str) -> str:
        """Run code on the board and return what it prints. Raises BusError when it fails."""
        try:
            return bytes(self._transport.exec(code)).decode()
        except (TransportError, SerialException, OSError) as error:
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

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 (hexadecimal) of every firmware file on the board, by path."""
        return dict(line.split() for line in self.run(_HASHES).splitlines() if line.strip())

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
        except (TransportError, SerialException, OSError) as error:
            raise BusError("the board did not take a file", f"{path}: {error}") from error

    def reset(self) -> None:
        """Restart the board and close the port, which may vanish."""
        with contextlib.suppress(TransportError, SerialException, OSError):
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
