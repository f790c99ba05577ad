"""Lines of text out of what an element says between its frames."""

import re
from collections.abc import Iterator

from element.protocol.wire import Wire

# A line of text may be longer than what a Wire holds: it is taken out piece by piece.
PIECE_SIZE = 64
TEXT_SIZE_MAX = 65536
_PRINTABLE = re.compile(r"[^\x20-\x7e]")


def pieces(wire: Wire, data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Split what came over a line; yields (bytes of frames, text) in order, none of it lost."""
    for start in range(0, len(data), PIECE_SIZE):
        frames = wire.feed(data[start:start + PIECE_SIZE])
        text, wire.text = bytes(wire.text), bytearray()
        yield frames, text


class TextLines:
    """Collect text and give it back line by line; a line may come in any pieces."""

    def __init__(self) -> None:
        self._text = b""

    @property
    def rest(self) -> bytes:
        """What has come of the line that has not ended."""
        return self._text

    def take(self, text: bytes) -> list[str]:
        """Return the lines that end in this text, printable ASCII, without those that are empty.

        A line that is longer than TEXT_SIZE_MAX loses its begin.
        """
        self._text = (self._text + text)[-TEXT_SIZE_MAX:]
        # the wire swallows the line feed behind a carriage return
        *lines, self._text = self._text.replace(b"\n", b"\r").split(b"\r")
        clean = [_PRINTABLE.sub("", line.decode("ascii", "replace")) for line in lines]
        return [line for line in clean if line]
