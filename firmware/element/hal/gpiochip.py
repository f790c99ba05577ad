"""GPIO of a Linux machine through the character device, uAPI version 2, and libc through ffi.

Structures and request numbers: include/uapi/linux/gpio.h (Linux 5.10 or newer); a test has a C
compiler judge the sizes and offsets below.
"""

import os
import struct

import ffi

O_RDWR = 0o2
_O_NOCTTY = 0o400
_O_NONBLOCK = 0o4000
_O_CLOEXEC = 0o2000000

GET_LINE = 0xC250B407
GET_VALUES = 0xC010B40E
SET_VALUES = 0xC010B40F
FLAG_INPUT = 1 << 2
FLAG_OUTPUT = 1 << 3
FLAG_BIAS_PULL_UP = 1 << 8

# struct gpio_v2_line_request: offsets of its members.
REQUEST_SIZE = 592
CONSUMER_AT = 256
FLAGS_AT = 288
LINE_COUNT_AT = 560
FD_AT = 588

_libc = ffi.open(None)
_open = _libc.func("i", "open", "si")
_close = _libc.func("i", "close", "i")
_ioctl = _libc.func("i", "ioctl", "iLp")


def open_fd(path: str) -> int:
    """Return a descriptor that never blocks and never becomes the controlling terminal."""
    return _checked(_open(path, O_RDWR | _O_NOCTTY | _O_NONBLOCK | _O_CLOEXEC))


def ioctl(fd: int, request: int, data) -> int:
    """Call ioctl with a bytearray. Raises OSError."""
    return _checked(_ioctl(fd, request, data))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(os.errno())
    return result


class Lines:
    """A group of lines of one chip, requested together. Outputs are low from the first moment."""

    def __init__(self, chip: str, offsets: list, flags: int):
        """offsets: line numbers; their place in this list is their bit in `get` and `set`."""
        request = bytearray(REQUEST_SIZE)
        for index in range(len(offsets)):
            struct.pack_into("<I", request, 4 * index, offsets[index])
        request[CONSUMER_AT:CONSUMER_AT + 8] = b"cellwall"
        struct.pack_into("<Q", request, FLAGS_AT, flags)
        struct.pack_into("<I", request, LINE_COUNT_AT, len(offsets))
        fd = open_fd(chip)
        try:
            ioctl(fd, GET_LINE, request)
        finally:
            _close(fd)
        self._fd = struct.unpack_from("<i", request, FD_AT)[0]
        self._values = bytearray(16)
        self._all = (1 << len(offsets)) - 1

    def set(self, bits: int, mask: int) -> None:
        """Drive the lines in mask to the levels in bits."""
        struct.pack_into("<QQ", self._values, 0, bits, mask)
        ioctl(self._fd, SET_VALUES, self._values)

    def get(self) -> int:
        """Return the levels at the pins, one bit a line."""
        struct.pack_into("<QQ", self._values, 0, 0, self._all)
        ioctl(self._fd, GET_VALUES, self._values)
        return struct.unpack_from("<Q", self._values)[0]

    def close(self) -> None:
        """Give the lines back; what level they keep is the driver's business."""
        _close(self._fd)
