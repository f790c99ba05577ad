"""Cut requests out of a stream of bytes: the same search for every binary protocol."""

from typing import Generic

from .device import R

PARTIAL_AGE_MS_MAX = 100  # A BMS forgets half a frame after a pause; value is ours.


class RequestParser(Generic[R]):
    """Find requests in a byte stream; count what is no good in `bad_count`.

    After a bad frame the search goes on one byte later, so that a good frame right behind
    noise is still found; a run of noise counts once. A subclass names the `start` byte and
    judges; the buffer holds what it cannot judge yet, at most one frame.
    """

    start = 0

    def __init__(self) -> None:
        """Start with an empty buffer."""
        self.bad_count = 0
        self._buffer = bytearray()
        self._last_ms = 0

    def feed(self, data: bytes, start_ms: int, end_ms: int) -> list[R]:
        """Return the requests that data, on the wire from start_ms to end_ms, completes.

        Never raises on bad bytes.
        """
        buffer = self._buffer
        if buffer and start_ms - self._last_ms > PARTIAL_AGE_MS_MAX:
            self.bad_count += 1
            buffer.clear()
        self._last_ms = end_ms
        buffer += data
        found: list[R] = []
        while buffer:
            start = buffer.find(self.start)
            if start != 0:
                self.bad_count += 1
                del buffer[: start if start > 0 else len(buffer)]
                continue
            verdict = self._judge(buffer)
            if verdict is None:
                break
            if isinstance(verdict, bool):
                self.bad_count += 1
                del buffer[0]
            else:
                found.append(verdict)
                del buffer[: len(verdict.raw)]
        return found

    def _judge(self, buffer: bytearray) -> R | bool | None:
        """Return the request at the start of buffer, None for not yet, False for never."""
        raise NotImplementedError
