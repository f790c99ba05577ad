"""Serial ports by names that stay, and what to do when one does not open."""

import errno
import os
from pathlib import Path

from serial.tools import list_ports

from element.protocol.errors import BusError

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


def check_port(port: str) -> None:
    """Raise BusError, saying what to do, for a port that is not there or not ours to open."""
    if not os.path.exists(port):
        there = known_ports()
        raise BusError("no such port", port + (
            "\n  there are: " + "\n             ".join(there) if there
            else "\n  and no other USB serial port; next: check the cable (some only charge)"))
    if not os.access(port, os.R_OK | os.W_OK):
        raise BusError("no permission", f"{port}\n  next: sudo usermod -aG dialout $USER, then "
                                        "log in again")
    try:
        fd = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise busy(port) from error
        raise BusError("port does not open", f"{port}: {error.strerror}") from error
    os.close(fd)


def busy(port: str) -> BusError:
    """Return the error for a port that another program holds."""
    return BusError("port busy", f"{port}\n  next: close the program that uses it "
                                 f"(fuser {port} names it)")
