"""Check COBS on the examples of its paper, and that damage costs one frame and no more."""

from binascii import unhexlify

from element.protocol.errors import RangeError
from element.protocol.framing import FrameDecoder, cobs_decode, cobs_encode, encode_frame

# Plain, coded. The paper's figure 3 and the lengths around a full block.
COBS = (
    (b"", "01"),
    (b"\x00", "0101"),
    (b"\x00\x00", "010101"),
    (b"\x00\x11\x00", "01021101"),
    (b"\x11\x22\x00\x33", "0311220233"),
    (b"\x11\x22\x33\x44", "0511223344"),
    (b"\x11\x00\x00\x00", "0211010101"),
    (unhexlify("4500002c4c79000040064f37"), "02450104" + "2c4c79010540064f37"),
)


def counters(decoder):
    return (decoder.good, decoder.bad_crc, decoder.bad_cobs, decoder.oversize, decoder.runt)


def test_cobs_examples():
    for plain, text in COBS:
        assert cobs_encode(plain) == unhexlify(text), plain
        assert cobs_decode(unhexlify(text)) == plain


def test_cobs_around_full_blocks():
    run = bytes(range(1, 255))
    assert cobs_encode(run) == b"\xff" + run
    assert cobs_encode(run + b"\x00") == b"\xff" + run + b"\x01\x01"
    assert cobs_encode(b"\x00" + run) == b"\x01\xff" + run
    assert cobs_encode(run + b"\xff") == b"\xff" + run + b"\x02\xff"
    assert cobs_encode(run[1:] + b"\x00") == b"\xfe" + run[1:] + b"\x01"
    for size in (253, 254, 255, 256, 507, 508, 509, 762, 763, 1020):
        run = b"\x07" * size
        for plain in (run, bytes(size), run + b"\x00", b"\x00" + run):
            coded = cobs_encode(plain)
            assert b"\x00" not in coded
            assert len(coded) <= len(plain) + 1 + len(plain) // 254
            assert cobs_decode(coded) == plain


def test_cobs_blocks_past_the_end():
    for text in ("02", "0311", "ff11", "0211" + "05112233"):
        assert cobs_decode(unhexlify(text)) is None


def test_a_frame_byte_for_byte():
    # the check value of CRC-32 over "123456789" is CBF43926
    assert encode_frame(b"123456789") == b"\x0e123456789\x26\x39\xf4\xcb\x00"


def test_payload_sizes():
    decoder = FrameDecoder(4096)
    for size in (1, 2, 249, 250, 251, 254, 255, 1024, 4096):
        for byte in (b"\x00", b"\x01", b"\xff"):
            payload = byte * size
            assert decoder.feed(encode_frame(payload)) == [payload]
    assert counters(decoder) == (27, 0, 0, 0, 0)
    for size in (0, 4097):
        try:
            encode_frame(bytes(size))
        except RangeError as error:
            assert error.value == size
        else:
            raise AssertionError("size accepted")


def test_any_cut_of_the_stream_gives_the_same_payloads():
    payloads = [b"one", b"\x00" * 9, bytes(range(256)), b"\xff"]
    stream = b"".join([encode_frame(payload) for payload in payloads])
    for size in (1, 2, 3, 7, 50, len(stream)):
        decoder = FrameDecoder()
        found = []
        for start in range(0, len(stream), size):
            found += decoder.feed(stream[start : start + size])
        assert found == payloads
        assert counters(decoder) == (4, 0, 0, 0, 0)
    assert FrameDecoder().feed(memoryview(stream)) == payloads


def test_empty_frames_are_idle_line():
    decoder = FrameDecoder()
    assert decoder.feed(bytes(1000) + encode_frame(b"a") + bytes(3)) == [b"a"]
    assert counters(decoder) == (1, 0, 0, 0, 0)


def test_no_bit_of_a_frame_can_be_flipped():
    frame = encode_frame(b"setpoint \x00\x00 5000")
    after = encode_frame(b"after")
    for bit in range(len(frame) * 8):
        flipped = bytearray(frame)
        flipped[bit // 8] ^= 1 << (bit % 8)
        decoder = FrameDecoder()
        # a flipped closing zero takes the next frame with it, so there are two
        found = decoder.feed(bytes(flipped) + after + after)
        assert found == [b"after"] * len(found)
        assert len(found) == (1 if bit // 8 == len(frame) - 1 else 2), bit
        assert decoder.bad_crc + decoder.bad_cobs + decoder.runt >= 1


def test_every_truncation_is_refused_and_left_behind():
    frame = encode_frame(bytes(range(40)))
    after = encode_frame(b"after")
    for size in range(1, len(frame) - 1):
        decoder = FrameDecoder()
        assert decoder.feed(frame[:size] + b"\x00" + after) == [b"after"], size
        assert decoder.good == 1 and sum(counters(decoder)) == 2


def test_what_each_counter_counts():
    decoder = FrameDecoder(16)
    assert decoder.feed(b"\x05aa\x00") == []
    assert counters(decoder) == (0, 0, 1, 0, 0)
    # four bytes are a CRC of nothing
    assert decoder.feed(b"\x01\x01\x01\x01\x00" + b"\x02a\x00") == []
    assert counters(decoder) == (0, 0, 1, 0, 2)
    assert decoder.feed(cobs_encode(b"payload1234") + b"\x00") == []
    assert counters(decoder) == (0, 1, 1, 0, 2)
    assert decoder.feed(encode_frame(b"a" * 16)) == [b"a" * 16]
    assert decoder.feed(encode_frame(b"a" * 17)) == []
    assert counters(decoder) == (1, 1, 1, 1, 2)
    assert decoder.feed(encode_frame(b"ok")) == [b"ok"]


def test_oversize_is_counted_once_and_takes_no_memory():
    for size in (1, 10, 1000):
        decoder = FrameDecoder(64)
        for _ in range(5000 // size):
            assert decoder.feed(b"x" * size) == []
            assert len(decoder._pending) <= 70
        assert decoder.feed(b"x\x00") == []
        assert counters(decoder) == (0, 0, 0, 1, 0)
        assert decoder.feed(encode_frame(b"fresh")) == [b"fresh"]
    # the code can be within its limit and the payload one byte over it
    decoder = FrameDecoder(253)
    assert decoder.feed(encode_frame(bytes(254))) == []
    assert counters(decoder) == (0, 0, 0, 1, 0)
    decoder = FrameDecoder(253)
    assert decoder.feed(encode_frame(bytes([1] * 254))) == []
    assert decoder.oversize == 1
    assert decoder.feed(encode_frame(bytes([1] * 253))) == [bytes([1] * 253)]


def test_the_largest_payload_passes_byte_by_byte():
    for size in (64, 249, 250, 251, 504, 1024):
        decoder = FrameDecoder(size) if size < 1024 else FrameDecoder()
        for payload in (b"\x07" * size, bytes(size)):
            found = []
            for byte in encode_frame(payload):
                found += decoder.feed(bytes([byte]))
            assert found == [payload], size
        assert decoder.feed(encode_frame(b"\x07" * (size + 1))) == []
        assert counters(decoder) == (2, 0, 0, 1, 0)


def test_noise_before_a_frame_costs_that_frame_at_most():
    decoder = FrameDecoder()
    found = decoder.feed(b"\x13\x37noise" + encode_frame(b"lost") + encode_frame(b"kept"))
    assert found == [b"kept"]
