"""Parse requests to and build replies of a JBD BMS (UART protocol, 9600 8N1).

Request: DD, A5 read or 5A write, register, length, data, checksum (2 bytes), 77.
Reply: DD, register, status (00 good, 80 error), length, data, checksum (2 bytes), 77.
The checksum is 0x10000 minus the sum of register, length, data (request) or of status,
length, data (reply). Ref: vendor's general protocol V4; JBD register map (Overkill Solar).
"""

from dataclasses import dataclass

START = 0xDD
END = 0x77
READ = 0xA5
WRITE = 0x5A
STATUS_GOOD = 0x00
STATUS_ERROR = 0x80
OVERHEAD_BYTES = 7
PARTIAL_AGE_MS_MAX = 100  # A BMS forgets half a frame after a pause; value is ours.


@dataclass(frozen=True)
class Request:
    """Hold one request with a good checksum, and its raw bytes."""

    is_write: bool
    register: int
    data: bytes
    raw: bytes


def checksum(payload: bytes) -> bytes:
    """Return the two checksum bytes over payload."""
    return (-sum(payload) & 0xFFFF).to_bytes(2, "big")


def build_reply(register: int, status: int, data: bytes = b"") -> bytes:
    """Return a complete reply frame. Raises ValueError for more than 255 bytes of data."""
    if len(data) > 0xFF:
        raise ValueError(f"reply of {len(data)} bytes")
    payload = bytes((status, len(data))) + data
    return bytes((START, register)) + payload + checksum(payload) + bytes((END,))


class RequestParser:
    """Find requests in a byte stream; count what is no good in `bad_count`.

    After a bad frame the search goes on one byte later, so that a good frame right behind
    noise is still found.
    """

    def __init__(self) -> None:
        """Start with an empty buffer."""
        self.bad_count = 0
        self._buffer = bytearray()
        self._last_ms = 0

    def feed(self, data: bytes, start_ms: int, end_ms: int) -> list[Request]:
        """Return the requests that data, on the wire from start_ms to end_ms, completes.

        Never raises on bad bytes. The buffer holds at most one frame (262 bytes) afterwards.
        """
        if self._buffer and start_ms - self._last_ms > PARTIAL_AGE_MS_MAX:
            self.bad_count += 1
            self._buffer.clear()
        self._last_ms = end_ms
        self._buffer += data
        found: list[Request] = []
        while True:
            self._skip_noise()
            buffer = self._buffer
            if len(buffer) < OVERHEAD_BYTES or len(buffer) < buffer[3] + OVERHEAD_BYTES:
                # A direction byte that can never be right must not wait for a long "length".
                if len(buffer) > 1 and buffer[1] not in (READ, WRITE):
                    self._reject()
                    continue
                return found
            size = buffer[3] + OVERHEAD_BYTES
            frame = bytes(buffer[:size])
            good = frame[1] in (READ, WRITE) and frame[-1] == END
            if not good or checksum(frame[2:-3]) != frame[-3:-1]:
                self._reject()
                continue
            del buffer[:size]
            found.append(Request(frame[1] == WRITE, frame[2], frame[4:-3], frame))

    def _skip_noise(self) -> None:
        """Drop everything before the next start byte; a run of noise counts once."""
        start = self._buffer.find(START)
        if start == 0 or not self._buffer:
            return
        self.bad_count += 1
        del self._buffer[: start if start > 0 else len(self._buffer)]

    def _reject(self) -> None:
        self.bad_count += 1
        del self._buffer[0]
