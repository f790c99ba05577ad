"""Serial frames: COBS(payload || CRC-32 of the payload, little-endian), then one zero byte.

COBS keeps zero bytes out of a frame, so after any damage the next zero is a fresh start; the CRC
finds the damage. Overhead is 6 bytes and one more every 254. The frame says nothing of who sent
it: that is the session's work.
Ref: Cheshire and Baker, Consistent Overhead Byte Stuffing, IEEE/ACM ToN 7(2), 1999; CRC-32 as in
IEEE 802.3 (binascii.crc32).
"""

from binascii import crc32

from .errors import RangeError

PAYLOAD_SIZE_MAX = 4096
CRC_SIZE = 4
# A COBS block holds up to 254 bytes that are not zero, behind a code byte of up to 255.
_BLOCK_SIZE = 254
_CODE_FULL = 255


def encode_frame(payload: bytes) -> bytes:
    """Return the frame of a payload of 1..PAYLOAD_SIZE_MAX bytes, closing zero included.

    Raises RangeError for any other size.
    """
    if not 1 <= len(payload) <= PAYLOAD_SIZE_MAX:
        raise RangeError("frame_payload_size", len(payload))
    payload = bytes(payload)
    return cobs_encode(payload + crc32(payload).to_bytes(CRC_SIZE, "little")) + b"\x00"


def cobs_encode(data: bytes) -> bytes:
    """Return data (any size) without zero bytes; the closing zero is not appended."""
    out = bytearray()
    parts = data.split(b"\x00")
    last = parts.pop()
    for part in parts:
        rest = part
        while len(rest) >= _BLOCK_SIZE:
            out.append(_CODE_FULL)
            out.extend(rest[:_BLOCK_SIZE])
            rest = rest[_BLOCK_SIZE:]
        out.append(len(rest) + 1)
        out.extend(rest)
    # a full block at the very end stands for no zero, so nothing follows it
    while len(last) >= _BLOCK_SIZE:
        out.append(_CODE_FULL)
        out.extend(last[:_BLOCK_SIZE])
        last = last[_BLOCK_SIZE:]
        if not last:
            return bytes(out)
    out.append(len(last) + 1)
    out.extend(last)
    return bytes(out)


def cobs_decode(data: bytes):
    """Return the decoded bytes, or None if a block runs past the end. data holds no zero byte."""
    out = bytearray()
    position = 0
    size = len(data)
    while position < size:
        code = data[position]
        end = position + code
        if end > size:
            return None
        out.extend(data[position + 1 : end])
        position = end
        if code != _CODE_FULL and position < size:
            out.append(0)
    return bytes(out)


class FrameDecoder:
    """Cut a byte stream into payloads; damage is counted and never raised.

    size_max: largest payload in bytes. Holds at most one frame of that size, whatever arrives.
    Counters: good, bad_crc, bad_cobs, oversize (longer than size_max), runt (no room for a CRC
    and one byte). Empty frames are idle line and not counted.
    """

    def __init__(self, size_max: int = 1024):
        self.size_max = size_max
        plain_size_max = size_max + CRC_SIZE
        self._coded_size_max = plain_size_max + 1 + plain_size_max // _BLOCK_SIZE
        self._pending = bytearray()
        self._skipping = False
        self.good = 0
        self.bad_crc = 0
        self.bad_cobs = 0
        self.oversize = 0
        self.runt = 0

    def feed(self, data: bytes) -> list:
        """Take bytes as they come, in pieces of any size; return the payloads now complete."""
        payloads = []
        data = bytes(data)
        start = 0
        while True:
            end = data.find(b"\x00", start)
            if end < 0:
                self._keep(data, start, len(data))
                return payloads
            if self._skipping or self._pending:
                self._keep(data, start, end)
                coded = bytes(self._pending)
            elif end - start > self._coded_size_max:
                self.oversize += 1
                coded = b""
            else:
                coded = data[start:end]
            if self._pending:
                self._pending = bytearray()
            self._skipping = False
            start = end + 1
            if coded:
                payload = self._open(coded)
                if payload:
                    payloads.append(payload)

    def _keep(self, data: bytes, start: int, end: int):
        """Append a piece of an unfinished frame, or drop the frame once it is too long."""
        if self._skipping:
            return
        if len(self._pending) + end - start > self._coded_size_max:
            self.oversize += 1
            self._pending = bytearray()
            self._skipping = True
        elif end > start:
            self._pending.extend(data[start:end])

    def _open(self, coded: bytes):
        """Return the payload of a frame without its zero, or None after counting why not."""
        plain = cobs_decode(coded)
        if plain is None:
            self.bad_cobs += 1
            return None
        size = len(plain) - CRC_SIZE
        if size < 1:
            self.runt += 1
            return None
        if size > self.size_max:
            self.oversize += 1
            return None
        payload = plain[:size]
        if crc32(payload).to_bytes(CRC_SIZE, "little") != plain[size:]:
            self.bad_crc += 1
            return None
        self.good += 1
        return payload
