"""Serial ports by names that stay, and what to do when one does not open."""

import errno
import os
import stat
from pathlib import Path

from serial.tools import list_ports

from element.protocol.errors import BusError
from host_tools.links.serial_link import SerialLink

BY_ID = Path("/dev/serial/by-id")


def stable_name(port: str) -> str:
    """Return the by-id name of a port, or the port itself where it has none."""
    if BY_ID.is_dir():
        for link in sorted(BY_ID.iterdir()):
            if os.path.realpath(link) == os.path.realpath(port):
                return str(link)
    return port


def known_ports() -> list[str]:
    """Return the USB serial ports of this machine, by stable names."""
    return sorted({stable_name(found.device) for found in list_ports.comports()
                   if found.vid is not None})


def _of_those_there(code: str, port: str) -> BusError:
    """Return the error for a name that is no serial port, with the names that are."""
    there = known_ports()
    return BusError(code, port + (
        "\n  next: name one of " + "\n                    ".join(there) if there else
        "\n  this machine sees no USB serial port; next: check the cable (some only charge)"))


def check_port(port: str) -> None:
    """Raise BusError, saying what to do, for a port that is not there or not ours to open."""
    if not os.path.exists(port):
        raise _of_those_there("no such port", port)
    if not stat.S_ISCHR(os.stat(port).st_mode):
        raise _of_those_there("not a serial port", port)
    if not os.access(port, os.R_OK | os.W_OK):
        raise BusError("no permission", f"{port}\n  next: sudo usermod -aG dialout $USER, then "
                                        "log in again")
    try:
        fd = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise busy(port) from error
        raise BusError("port does not open", f"{port}: {error.strerror}\n  next: unplug it, plug "
                                             "it in again") from error
    is_terminal = os.isatty(fd)
    os.close(fd)
    if not is_terminal:
        raise _of_those_there("not a serial port", port)


def open_port(port: str, baud: int = 115200) -> SerialLink:
    """Return a serial port, open. Raises BusError, saying what to do, when it does not open."""
    check_port(port)
    try:
        return SerialLink(port, baud)
    except BusError as error:
        raise busy(port) from error


def busy(port: str) -> BusError:
    """Return the error for a port that another program holds."""
    return BusError("port busy", f"{port}\n  next: close the program that uses it "
                                 f"(fuser {port} names it)")
