"""Prove host_tools.codec and element.protocol the same: bytes, refusals and signatures."""

import hashlib

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from element.crypto import p256
from element.protocol import cbor, cose, rare, schema, trust
from element.protocol.errors import DecodeError, RangeError, SignatureError
from host_tools import codec

STATEMENT_KINDS = rare.STATEMENT_KINDS + tuple(trust.TYP)
KINDS = STATEMENT_KINDS + rare.MESSAGE_KINDS
SECRET = bytes(range(1, 33))
PRIVATE = ec.derive_private_key(int.from_bytes(SECRET, "big"), ec.SECP256R1())
PUBLIC = p256.public_key(SECRET)
KID = hashlib.sha256(PUBLIC).digest()[:8]


def is_statement(kind: int) -> bool:
    return kind in STATEMENT_KINDS


def board_encode(kind: int, fields: dict) -> bytes:
    if is_statement(kind):
        return cbor.encode(schema.statement_to_wire(codec.table_of(kind), fields))
    return cbor.encode(schema.message_to_wire(kind, fields))


def board_decode(kind: int, data: bytes) -> dict:
    if is_statement(kind):
        return schema.statement_from_wire(codec.table_of(kind), cbor.decode(data))
    return schema.message_from_wire(cbor.decode(data))[1]


def host_encode(kind: int, fields: dict) -> bytes:
    return (codec.encode_statement if is_statement(kind) else codec.encode_message)(kind, fields)


def host_decode(kind: int, data: bytes) -> dict:
    if is_statement(kind):
        return codec.decode_statement(kind, data)
    return codec.decode_message(data)[1]


def verdict(decode, *args):
    """Return what decode makes of its arguments, or that it refused."""
    try:
        return decode(*args)
    except DecodeError:
        return "refused"


def field_values(field_type: int, low, high) -> st.SearchStrategy:
    """Return a strategy for every value that a field may have."""
    if field_type == schema.MAP:
        return table_values(low)
    if field_type == schema.BYTES:
        return st.binary(min_size=low, max_size=min(high, low + 300))
    if field_type == schema.TEXT:
        # a size is in UTF-8 bytes: one a character where it is fixed, else cut to fit
        if low == high:
            return st.text(st.characters(max_codepoint=127), min_size=low, max_size=high)
        text = st.text(min_size=low, max_size=high)
        return text.map(lambda value: value.encode()[:high].decode(errors="ignore"))
    if field_type == schema.BOOL:
        return st.booleans()
    if field_type == schema.INTS:
        return st.lists(st.integers(low, high), max_size=schema.INTS_MAX)
    numbers = st.integers(low, high) | st.sampled_from([low, high])
    return numbers | st.none() if field_type == schema.INT_OR_NONE else numbers


def table_values(table) -> st.SearchStrategy:
    """Return a strategy for the fields of a table of any kind."""
    return st.fixed_dictionaries({row[-4]: field_values(*row[-3:]) for row in table})


STRATEGIES = {kind: table_values(codec.table_of(kind)) for kind in KINDS}
PAIRS = st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind), STRATEGIES[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_both_sides_make_and_read_the_same_bytes(kind):
    @settings(max_examples=25, deadline=None)
    @given(STRATEGIES[kind])
    def check(fields):
        data = host_encode(kind, fields)
        assert data == board_encode(kind, fields)
        assert host_decode(kind, data) == board_decode(kind, data) == fields

    check()


@settings(max_examples=400, deadline=None)
@given(PAIRS, st.data())
def test_both_sides_refuse_the_same_damage(pair, data):
    kind, fields = pair
    coded = bytearray(host_encode(kind, fields))
    index = data.draw(st.integers(0, len(coded) - 1))
    coded[index] = data.draw(st.integers(0, 255))
    ours = verdict(host_decode, kind, bytes(coded))
    assert ours == verdict(board_decode, kind, bytes(coded))


@settings(max_examples=600, deadline=None)
@given(st.binary(max_size=120))
def test_both_sides_read_anything_alike(data):
    # tags are values to a board and no message to anyone, so the host refuses them earlier
    host = verdict(codec.loads, data)
    board = verdict(cbor.decode, data)
    if host != board:
        assert host == "refused" and holds_tag(board)


def holds_tag(value) -> bool:
    if isinstance(value, list):
        return any(map(holds_tag, value))
    if isinstance(value, dict):
        return any(map(holds_tag, value.values()))
    return isinstance(value, cbor.Tagged)


ORDER = {"element_id": b"12345678", "order_number": 1, "issued_unix_ms": 5, "cause": 1}


@pytest.mark.parametrize("key", [True, 1.0])
def test_a_key_that_only_equals_one_is_refused(key):
    """In Python True == 1.0 == 1, so a dict finds them under 1; on the wire they differ."""
    data = cbor2.dumps({key: b"12345678", 2: 1, 3: 5, 4: 1})
    assert verdict(codec.decode_statement, schema.RELEASE_ORDER, data) == "refused"
    assert (
        codec.decode_statement(
            schema.RELEASE_ORDER, codec.encode_statement(schema.RELEASE_ORDER, ORDER)
        )
        == ORDER
    )


@pytest.mark.parametrize(
    "text",
    [
        "a40448313233343536373802010305" + "0101",
        "b90004" + "014831323334353637380201" + "0305" + "0401",
        "bf" + "014831323334353637380201" + "0305" + "0401" + "ff",
        "a4" + "014831323334353637380201" + "0305" + "041801",
        "a4" + "014831323334353637380201" + "0305" + "0401" + "00",
        "a5" + "014831323334353637380201" + "02010305" + "0401",
        "a4" + "014831323334353637380201" + "0305",
        "a4" + "014831323334353637380201" + "0305" + "04f93c00",
        "a4" + "014831323334353637380201" + "0305" + "04c24101",
    ],
)
def test_other_encodings_of_a_release_order_are_refused(text):
    good = codec.encode_statement(schema.RELEASE_ORDER, ORDER)
    assert good.hex() == "a4" + "014831323334353637380201" + "0305" + "0401"
    data = bytes.fromhex(text)
    assert verdict(host_decode, schema.RELEASE_ORDER, data) == "refused"
    assert verdict(board_decode, schema.RELEASE_ORDER, data) == "refused"


def test_dumps_is_bytewise_and_bounded_like_the_board():
    value = {-1: 0, 24: [True, None, {"b": 1, "a": -70001}]}
    assert codec.dumps(value) == cbor.encode(value)
    for bad in (1.5, 2**64, {None: 1}, {1.0: 1}, "x" * 5000, "\ud800", {1: object()}):
        with pytest.raises(RangeError):
            codec.dumps(bad)
    deep = 0
    for _ in range(9):
        deep = [deep]
    with pytest.raises(RangeError):
        codec.dumps(deep)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=1000), st.sampled_from(sorted(schema.STATEMENT_TYP.values())))
def test_signatures_are_those_of_the_board(payload, typ):
    data = codec.sign1(PRIVATE, typ, KID, payload)
    protected = cose.protected_header(cose.ALG_ES256, KID, typ)
    digest = hashlib.sha256(cose.sig_structure(protected, payload)).digest()
    assert data == cose.sign1_assemble(protected, payload, p256.sign(SECRET, digest))
    assert codec.verify1(data, PUBLIC, typ) == payload
    assert codec.peek(data) == (typ, KID, payload)


def refusal(function, *args) -> str:
    with pytest.raises(SignatureError) as caught:
        function(*args)
    return caught.value.code


def test_verify1_refuses_what_is_not_signed_as_claimed():
    data = codec.sign1(PRIVATE, "cw/record", KID, b"payload")
    assert refusal(codec.verify1, data, PUBLIC, "cw/release") == "typ"
    other = p256.public_key(bytes(31) + b"\x09")
    assert refusal(codec.verify1, data, other, "cw/record") == "signature"
    for bad_key in (b"", PUBLIC[:63], bytes(64), PUBLIC[:63] + bytes([PUBLIC[63] ^ 1])):
        assert refusal(codec.verify1, data, bad_key, "cw/record") == "public_key"
    for signature in (bytes(64), b"\xff" * 64):
        forged = data[:-64] + signature
        assert refusal(codec.verify1, forged, PUBLIC, "cw/record") == "signature"


def test_no_bit_of_a_signed_statement_can_be_flipped():
    data = codec.sign1(PRIVATE, "cw/record", KID, b"payload")
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((SignatureError, DecodeError)):
            codec.verify1(bytes(flipped), PUBLIC, "cw/record")
