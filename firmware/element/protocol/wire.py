"""Frames and lines of text on one wire: which is which, decided by the first two bytes.

A frame is COBS, so it begins with a code byte, and its payload is CBOR whose first byte is at
least 0x80 (an array, a map or a tag): the second byte on the wire has its top bit set. Text is
ASCII: its second byte has not. So after the zero that ends a frame, or the line end that ends a
text, two bytes tell what comes. Whoever sends a frame after a text puts a zero before it: what
follows a carriage return could be its line feed. A person at a plain terminal and a program with
frames can use one cable at the same time.
"""

_BETWEEN = 0
_FRAME = 1
_TEXT = 2
_AFTER_RETURN = 3

LINE_SIZE_MAX = 160
_ENDS = b"\r\n"


class Wire:
    """Split what comes in. `text` collects the text bytes until somebody takes them.

    Holds one byte and LINE_SIZE_MAX bytes of text at most; what is longer is counted and lost.
    """

    def __init__(self):
        self.text = bytearray()
        self.lost_count = 0
        self._state = _BETWEEN
        self._first = b""  # a byte that may begin either

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the line and return those that belong to frames, zeros included."""
        if self._state == _FRAME and b"\x00" not in data:
            return data
        frames = b""
        data = self._first + data
        self._first = b""
        position = 0
        size = len(data)
        while position < size:
            if self._state == _AFTER_RETURN:
                self._state = _BETWEEN
                if data[position] == 10:
                    position += 1
                    continue
            if self._state == _BETWEEN:
                if data[position] == 0:
                    position += 1
                    continue
                if position + 1 == size:
                    self._first = data[position:]
                    break
                self._state = _FRAME if data[position + 1] >= 0x80 else _TEXT
            if self._state == _FRAME:
                end = data.find(b"\x00", position) + 1
                if end:
                    self._state = _BETWEEN
                else:
                    end = size
                frames += data[position:end]
            else:
                end = self._text_end(data, position)
                self._keep(data[position:end])
            position = end
        return frames

    def _text_end(self, data: bytes, position: int) -> int:
        """Return where the text that goes on at position ends: behind a line end, or before a
        byte that is no text; such a byte is the rest of a damaged frame."""
        for index in range(position, len(data)):
            byte = data[index]
            if byte == 0 or byte >= 0x80:
                self._state = _FRAME
                return index
            if byte in _ENDS:
                self._state = _AFTER_RETURN if byte == 13 else _BETWEEN
                return index + 1
        return len(data)

    def _keep(self, text: bytes) -> None:
        room = LINE_SIZE_MAX - len(self.text)
        if len(text) > room:
            self.lost_count += len(text) - max(room, 0)
            text = text[:max(room, 0)]
        self.text += text
