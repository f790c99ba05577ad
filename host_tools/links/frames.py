"""One whole frame at once: the common case of a line, without the decoder's bookkeeping.

What is not exactly one good frame is left to element.protocol.framing, which counts why.
"""

import zlib

from element.protocol.framing import CRC_SIZE, cobs_decode


def whole_frame(data: bytes, size_max: int) -> bytes | None:
    """Return the payload when data is one good frame with its closing zero, else None.

    For data that comes between two frames: nothing of it belongs to one that has begun.
    """
    last = len(data) - 1
    if last < CRC_SIZE + 2 or data.find(0) != last or data[1] < 0x80:
        return None
    plain = cobs_decode(data[:last])
    if plain is None:
        return None
    size = len(plain) - CRC_SIZE
    payload = bytes(plain[:size])
    if not 1 <= size <= size_max \
            or zlib.crc32(payload).to_bytes(CRC_SIZE, "little") != plain[size:]:
        return None
    return payload
