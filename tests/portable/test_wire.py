"""Check that frames and text share a wire: element.protocol.wire."""

from element.protocol.framing import FrameDecoder, encode_frame
from element.protocol.wire import LINE_SIZE_MAX, Wire

# payloads as they are sent: arrays and a COSE_Mac0 tag, of all lengths that matter to COBS
PAYLOADS = [bytes([first]) + bytes([fill]) * size
            for first in (0x80, 0x98, 0xD1) for fill in (0, 10, 13, 65) for size in (1, 8, 9, 300)]


def cut(data, step):
    return [data[start : start + step] for start in range(0, len(data), step)]


def split(pieces):
    """Return (payloads, text) of a stream that arrives in pieces."""
    wire, frames = Wire(), FrameDecoder(2400)
    payloads = []
    text = b""
    for piece in pieces:
        payloads += frames.feed(wire.feed(piece))
        text += bytes(wire.text)
        wire.text = bytearray()
    return payloads, text


def test_frames_alone_pass_in_pieces_of_any_size():
    stream = b"".join([encode_frame(payload) for payload in PAYLOADS])
    for step in (1, 2, 3, 7, 64, len(stream)):
        assert split(cut(stream, step)) == (PAYLOADS, b""), step


def test_text_alone_passes_in_pieces_of_any_size():
    text = b"status\rtrips\r\nset-zone 3\nhelp\r"
    for step in (1, 2, 5, len(text)):
        payloads, seen = split(cut(text, step))
        assert payloads == [] and seen == b"status\rtrips\rset-zone 3\nhelp\r", step


def test_frames_and_text_do_not_disturb_each_other():
    stream = b""
    lines = b""
    for index, payload in enumerate(PAYLOADS):
        line = b"line %d of the log\r\n" % index
        stream += line + b"\x00" + encode_frame(payload)
        lines += line[:-1]
    for step in (1, 2, 3, 7, 64, 128):
        payloads, seen = split(cut(stream, step))
        assert payloads == PAYLOADS and seen.replace(b"\n", b"") == lines, step


def test_a_text_without_an_end_ends_at_the_next_frame():
    frame = encode_frame(PAYLOADS[0])
    assert split([b"half a li", b"\x00" + frame]) == ([PAYLOADS[0]], b"half a li")


def test_the_interrupt_of_a_terminal_is_text():
    assert split([b"\r\x03\x03"]) == ([], b"\r\x03\x03")


def test_noise_costs_at_most_the_frame_that_it_hits():
    good = encode_frame(b"\x80\x01\x02\x03")
    for noise in (b"\x41", b"\x41\x42", b"\xff\xfe", b"\x0d\x0a\x0d", bytes(range(1, 255))):
        payloads, _ = split(cut(good + noise + b"\x00" + good + good, 3))
        assert len(payloads) == 3, noise
        payloads, _ = split(cut(good + noise + good + good + good, 3))
        assert len(payloads) >= 3, noise


def test_a_line_that_never_ends_takes_no_more_memory_than_a_line():
    wire = Wire()
    for _ in range(100):
        assert wire.feed(b"abcdefgh") == b""
    assert len(wire.text) == LINE_SIZE_MAX and wire.lost_count == 800 - LINE_SIZE_MAX
    assert FrameDecoder(100).feed(wire.feed(b"\x00" + encode_frame(b"\x80\x01"))) == [b"\x80\x01"]
