"""Hold element.protocol's codecs against cbor2 and cobs, and feed the decoders anything."""

import cbor2
import pytest
from cobs import cobs
from hypothesis import given, settings
from hypothesis import strategies as st

from element.protocol import cbor, cose, encrypt0, framing
from element.protocol.errors import DecodeError

KEYS = st.integers(-(2**63), 2**64 - 1) | st.text(max_size=30)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=300)
    | st.text(max_size=60)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)


def depth(value) -> int:
    """Return how many containers enclose the innermost item."""
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 0


def bytewise(value):
    """Return value with every map in RFC 8949 order, by cbor2's own encoding of the keys."""
    if isinstance(value, list):
        return [bytewise(item) for item in value]
    if isinstance(value, dict):
        return {key: bytewise(value[key]) for key in sorted(value, key=cbor2.dumps)}
    return value


@settings(max_examples=500, deadline=None)
@given(VALUES.filter(lambda value: depth(value) <= cbor.DEPTH_MAX))
def test_our_bytes_are_those_of_cbor2(value):
    data = cbor.encode(value)
    # cbor2 keeps the order of a dict, so this is its encoding of every item in our order
    assert data == cbor2.dumps(bytewise(value))
    back = cbor.decode(data)
    assert back == value and cbor2.loads(data) == value
    assert cbor.encode(back) == data


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.integers(0, 2**64 - 1), LEAVES, max_size=8))
def test_with_keys_of_one_sign_canonical_cbor2_agrees(value):
    assert cbor.encode(value) == cbor2.dumps(value, canonical=True)


def test_canonical_cbor2_orders_keys_like_this():
    """Pin down that canonical=True is the length-first order of RFC 7049, not ours.

    So host code sorts its maps itself; should cbor2 change, this fails and says so.
    """
    ours = cbor.encode({-1: 0, 24: 0})
    assert ours.hex() == "a2" + "181800" + "2000"
    theirs = cbor2.dumps({-1: 0, 24: 0}, canonical=True)
    assert theirs.hex() == "a2" + "2000" + "181800"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**64 - 1), LEAVES)
def test_tags_are_those_of_cbor2(tag, value):
    assert cbor.encode(cbor.Tagged(tag, value)) == cbor2.dumps(cbor2.CBORTag(tag, value))


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=200))
def test_decode_raises_decode_error_only_and_takes_one_form_only(data):
    try:
        value = cbor.decode(data)
    except DecodeError:
        return
    assert cbor.encode(value) == data


@settings(max_examples=500, deadline=None)
@given(VALUES.filter(lambda value: depth(value) <= cbor.DEPTH_MAX), st.data())
def test_a_damaged_encoding_is_refused_or_is_another_value(value, data):
    coded = bytearray(cbor.encode(value))
    index = data.draw(st.integers(0, len(coded) - 1))
    coded[index] ^= data.draw(st.integers(1, 255))
    try:
        back = cbor.decode(coded)
    except DecodeError:
        return
    assert cbor.encode(back) == coded


REFUSED = [1.5, float("nan"), cbor2.undefined, {b"k": 1}, "x" * 4096]


@pytest.mark.parametrize("value", REFUSED)
def test_what_cbor2_can_say_and_we_refuse(value):
    with pytest.raises(DecodeError):
        cbor.decode(cbor2.dumps(value))


def test_a_big_integer_is_a_tag_to_us_and_no_integer():
    value = cbor.decode(cbor2.dumps(2**64))
    assert value == cbor.Tagged(2, b"\x01" + bytes(8))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=1200) | st.binary(max_size=4).map(lambda part: part * 300))
def test_cobs_is_that_of_the_library(data):
    coded = framing.cobs_encode(data)
    assert coded == cobs.encode(data)
    assert framing.cobs_decode(coded) == cobs.decode(coded) == data


@settings(max_examples=500, deadline=None)
@given(st.binary(min_size=1, max_size=300).map(lambda data: data.replace(b"\x00", b"\x01")))
def test_cobs_decoding_of_anything_is_that_of_the_library(coded):
    try:
        theirs = cobs.decode(coded)
    except cobs.DecodeError:
        theirs = None
    assert framing.cobs_decode(coded) == theirs


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=1024), max_size=6),
    st.lists(st.integers(1, 400), min_size=1, max_size=20),
    st.binary(max_size=50),
)
def test_frames_survive_any_cut_and_leading_noise(payloads, cuts, noise):
    stream = noise + b"\x00" + b"".join(framing.encode_frame(payload) for payload in payloads)
    decoder = framing.FrameDecoder()
    found = []
    while stream:
        size = cuts[len(stream) % len(cuts)]
        found += decoder.feed(stream[:size])
        stream = stream[size:]
    assert found[len(found) - len(payloads) :] == payloads


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_cose_parsers_raise_decode_error_only(data):
    for parse in (cose.sign1_parse, encrypt0.parse):
        with pytest.raises(DecodeError):
            parse(data)
