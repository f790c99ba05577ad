"""Check deterministic CBOR against RFC 8949, appendix A, and against every other way to say it."""

from binascii import unhexlify

from element.protocol import cbor
from element.protocol.cbor import Tagged
from element.protocol.errors import DecodeError, RangeError

# RFC 8949, appendix A, without floats, undefined, unassigned simple values, indefinite lengths
# and the numbers that need tag 2 or 3.
APPENDIX_A = (
    (0, "00"),
    (1, "01"),
    (10, "0a"),
    (23, "17"),
    (24, "1818"),
    (25, "1819"),
    (100, "1864"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (-1, "20"),
    (-10, "29"),
    (-100, "3863"),
    (-1000, "3903e7"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (Tagged(0, "2013-03-21T20:04:00Z"), "c074323031332d30332d32315432303a30343a30305a"),
    (Tagged(1, 1363896240), "c11a514b67b0"),
    (Tagged(23, b"\x01\x02\x03\x04"), "d74401020304"),
    (Tagged(24, b"dIETF"), "d818456449455446"),
    (Tagged(32, "http://www.example.com"), "d82076687474703a2f2f7777772e6578616d706c652e636f6d"),
    (b"", "40"),
    (b"\x01\x02\x03\x04", "4401020304"),
    ("", "60"),
    ("a", "6161"),
    ("IETF", "6449455446"),
    ('"\\', "62225c"),
    ("\u00fc", "62c3bc"),
    ("\u6c34", "63e6b0b4"),
    ("\U00010151", "64f0908591"),
    ([], "80"),
    ([1, 2, 3], "83010203"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    (list(range(1, 26)), "98190102030405060708090a0b0c0d0e0f101112131415161718181819"),
    ({}, "a0"),
    ({1: 2, 3: 4}, "a201020304"),
    ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
    (["a", {"b": "c"}], "826161a161626163"),
    (
        {"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"},
        "a56161614161626142616361436164614461656145",
    ),
)

# What decode refuses, with the code that says why.
REFUSED = (
    ("", "cbor_truncated"),
    ("18", "cbor_truncated"),
    ("19ff", "cbor_truncated"),
    ("1a000f42", "cbor_truncated"),
    ("1b000000e8d4a510", "cbor_truncated"),
    ("420a", "cbor_truncated"),
    ("6261", "cbor_truncated"),
    ("8201", "cbor_truncated"),
    ("a101", "cbor_truncated"),
    ("c1", "cbor_truncated"),
    ("5bffffffffffffffff00", "cbor_truncated"),
    ("0000", "cbor_trailing"),
    ("8000", "cbor_trailing"),
    # one value, longer heads
    ("1800", "cbor_not_minimal"),
    ("1817", "cbor_not_minimal"),
    ("190018", "cbor_not_minimal"),
    ("1900ff", "cbor_not_minimal"),
    ("1a0000ffff", "cbor_not_minimal"),
    ("1b00000000ffffffff", "cbor_not_minimal"),
    ("3800", "cbor_not_minimal"),
    ("580100", "cbor_not_minimal"),
    ("780161", "cbor_not_minimal"),
    ("980100", "cbor_not_minimal"),
    ("b8010000", "cbor_not_minimal"),
    ("d80100", "cbor_not_minimal"),
    # indefinite lengths, the lone break and reserved heads
    ("5f4100ff", "cbor_head"),
    ("7f6161ff", "cbor_head"),
    ("9fff", "cbor_head"),
    ("bfff", "cbor_head"),
    ("ff", "cbor_simple"),
    ("1c", "cbor_head"),
    ("1d", "cbor_head"),
    ("1e", "cbor_head"),
    ("1f", "cbor_head"),
    ("3f", "cbor_head"),
    ("df00", "cbor_head"),
    # floats, undefined, other simple values
    ("f90000", "cbor_simple"),
    ("fa47c35000", "cbor_simple"),
    ("fb3ff199999999999a", "cbor_simple"),
    ("f7", "cbor_simple"),
    ("f0", "cbor_simple"),
    ("e0", "cbor_simple"),
    ("f820", "cbor_simple"),
    ("f8ff", "cbor_simple"),
    # below -2**63
    ("3b8000000000000000", "cbor_int"),
    ("3bffffffffffffffff", "cbor_int"),
    # map keys: twice, out of order, of another type
    ("a201000100", "cbor_key_order"),
    ("a202000100", "cbor_key_order"),
    ("a22000181800", "cbor_key_order"),
    ("a2626162006161" + "00", "cbor_key_order"),
    ("a1410000", "cbor_key"),
    ("a1f500", "cbor_key"),
    ("a1f600", "cbor_key"),
    ("a18000", "cbor_key"),
    ("a1c10000", "cbor_key"),
    # UTF-8: overlong, surrogate, beyond Unicode, cut short, lone continuation
    ("61ff", "cbor_utf8"),
    ("6180", "cbor_utf8"),
    ("62c080", "cbor_utf8"),
    ("62c1bf", "cbor_utf8"),
    ("63e08080", "cbor_utf8"),
    ("63e09fbf", "cbor_utf8"),
    ("63eda080", "cbor_utf8"),
    ("63edbfbf", "cbor_utf8"),
    ("64f0808080", "cbor_utf8"),
    ("64f08fbfbf", "cbor_utf8"),
    ("64f4908080", "cbor_utf8"),
    ("64f5808080", "cbor_utf8"),
    ("62c341", "cbor_utf8"),
    ("62e6b0", "cbor_utf8"),
    ("61c3", "cbor_utf8"),
)


def refused(function, argument, error, code=None):
    try:
        function(argument)
    except error as caught:
        assert code is None or caught.code == code, (argument, caught.code, code)
        return
    raise AssertionError(f"accepted: {argument!r}")


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


def test_appendix_a_both_ways():
    for value, text in APPENDIX_A:
        data = unhexlify(text)
        assert cbor.encode(value) == data, text
        back = cbor.decode(data)
        assert back == value and type(back) is type(value), text


def test_everything_else_is_refused():
    for text, code in REFUSED:
        refused(cbor.decode, unhexlify(text), DecodeError, code)


def test_the_ends_of_the_integers():
    for bits in (8, 16, 32, 63):
        for value in ((1 << bits) - 1, 1 << bits, -(1 << bits), -(1 << bits) + 1):
            assert cbor.decode(cbor.encode(value)) == value
    assert cbor.encode(-(1 << 63)) == unhexlify("3b7fffffffffffffff")
    refused(cbor.encode, 1 << 64, RangeError, "cbor_int")
    refused(cbor.encode, -(1 << 63) - 1, RangeError, "cbor_int")


def test_valid_utf8_at_its_edges():
    for text in ("\x00", "\x7f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff"):
        assert cbor.decode(cbor.encode(text)) == text
    for text in ("\U00010000", "\U0010ffff", "a\u00fcb\u6c34c\U00010151d"):
        assert cbor.decode(cbor.encode(text)) == text


def test_tags_to_the_last_and_their_equality():
    largest = Tagged((1 << 64) - 1, b"x")
    assert cbor.decode(cbor.encode(largest)) == largest
    assert largest != Tagged(1, b"x") and largest != Tagged((1 << 64) - 1, b"y")
    assert largest != b"x" and not largest == ((1 << 64) - 1, b"x")
    assert "18446744073709551615" in repr(largest)


def test_types_that_have_no_encoding():
    for value in (1.0, float("nan"), object(), {1}, {b"k": 1}, {True: 1}, {None: 1}, [1.5]):
        refused(cbor.encode, value, RangeError)
    refused(cbor.encode, "\ud800", RangeError, "cbor_text")
    refused(cbor.encode, Tagged(-1, 0), RangeError, "cbor_tag")
    refused(cbor.encode, Tagged(1 << 64, 0), RangeError, "cbor_tag")


def test_byte_types_are_one():
    for data in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        assert cbor.encode(data) == b"\x43abc"
        assert cbor.decode(b"\x43abc") == b"abc"
    assert cbor.decode(memoryview(b"\x82\x01\x02")) == [1, 2]
    assert cbor.decode(bytearray(b"\x82\x01\x02")) == [1, 2]
    assert cbor.encode((1, 2)) == cbor.encode([1, 2])


def test_map_keys_go_bytewise_and_not_by_length():
    value = {-1: 0, 24: 0, "a": 0, "": 0, 1: 0, "bb": 0, 256: 0}
    expected = unhexlify("a7" + "0100" + "181800" + "19010000" + "2000" + "6000" + "616100")
    assert cbor.encode(value) == expected + unhexlify("62626200")
    assert cbor.decode(cbor.encode(value)) == value
    assert cbor.encode({"b": 1, "a": 2}) == cbor.encode({"a": 2, "b": 1})


def test_nesting_limit_is_the_same_both_ways():
    deep = cbor.encode(nested(8))
    assert cbor.decode(deep) == nested(8)
    refused(cbor.encode, nested(9), RangeError, "cbor_depth")
    refused(cbor.decode, b"\x81" * 9 + b"\x00", DecodeError, "cbor_depth")
    maps = b"\xa1\x00" * 8 + b"\x00"
    assert cbor.encode(cbor.decode(maps)) == maps
    tags = b"\xc1" * 8 + b"\x00"
    assert cbor.encode(cbor.decode(tags)) == tags
    refused(cbor.decode, b"\xa1\x00" * 9 + b"\x00", DecodeError, "cbor_depth")
    refused(cbor.decode, b"\xc1" * 9 + b"\x00", DecodeError, "cbor_depth")
    refused(cbor.decode, b"\x81" * 4000, DecodeError, "cbor_depth")
    endless = []
    endless.append(endless)
    refused(cbor.encode, endless, RangeError, "cbor_depth")


def test_item_limit_is_the_same_both_ways():
    assert cbor.decode(cbor.encode([0] * 511)) == [0] * 511
    refused(cbor.encode, [0] * 512, RangeError, "cbor_items")
    refused(cbor.decode, b"\x99\x02\x00" + bytes(512), DecodeError, "cbor_items")
    entries = dict.fromkeys(range(255), 0)
    assert cbor.decode(cbor.encode(entries)) == entries
    entries[255] = 0
    refused(cbor.encode, entries, RangeError, "cbor_items")
    entry_bytes = [b"%c\x00" % index for index in range(24)]
    entry_bytes += [b"\x18%c\x00" % index for index in range(24, 256)]
    refused(cbor.decode, b"\xb9\x01\x00" + b"".join(entry_bytes), DecodeError, "cbor_items")
    # a head that promises more than can follow is refused before anything is read
    refused(cbor.decode, b"\x9b" + b"\xff" * 8, DecodeError, "cbor_items")
    refused(cbor.decode, b"\xbb" + b"\xff" * 8, DecodeError, "cbor_items")
    # the items of inner containers count too
    inner = [[0] * 170] * 3
    refused(cbor.encode, inner, RangeError, "cbor_items")
    refused(cbor.decode, b"\x83" + (b"\x98\xaa" + bytes(170)) * 3, DecodeError, "cbor_items")


def test_size_limit_is_the_same_both_ways():
    assert len(cbor.encode(bytes(4093))) == 4096
    assert cbor.decode(cbor.encode(bytes(4093))) == bytes(4093)
    refused(cbor.encode, bytes(4094), RangeError, "cbor_size")
    refused(cbor.decode, b"\x59\x0f\xfe" + bytes(4094), DecodeError, "cbor_size")


def test_every_prefix_of_a_message_is_refused():
    data = cbor.encode([17, {1: b"12345678", "text": ["a", None, True]}, Tagged(18, [1000000])])
    for size in range(len(data)):
        refused(cbor.decode, data[:size], DecodeError, "cbor_truncated")
    refused(cbor.decode, data + b"\x00", DecodeError, "cbor_trailing")


def test_whatever_decodes_encodes_to_the_same_bytes():
    # a small generator instead of a library: every two-byte head with zeros behind it
    accepted = 0
    for first in range(256):
        for second in range(256):
            data = bytes([first, second])
            try:
                value = cbor.decode(data)
            except DecodeError:
                continue
            accepted += 1
            assert cbor.encode(value) == data
    # 232 one-byte arguments for unsigned and negative, 256 + 128 strings of one byte, and each
    # item that is complete in one byte behind the head of an array of 1 and of 24 tags
    single_count = 24 + 24 + 1 + 1 + 1 + 1 + 3
    assert accepted == 2 * 232 + 256 + 128 + single_count * 25, accepted


def test_a_sequence_is_read_item_by_item():
    assert cbor.decode_sequence(b"") == []
    assert cbor.decode_sequence(b"\x01\x41x\x80\xf6") == [1, b"x", [], None]
    assert cbor.decode_sequence(memoryview(b"\x01" * 512)) == [1] * 512
    for data in (b"\x01\x18", b"\x01\x18\x01", b"\x41", b"\x01" * 513, bytes(4097)):
        try:
            cbor.decode_sequence(data)
        except DecodeError:
            continue
        raise AssertionError(data)
