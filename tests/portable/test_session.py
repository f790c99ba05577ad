"""Check the session: order, replay, forgery, and keys that belong to one session and way."""

from binascii import hexlify

from element.crypto.hmac import hkdf_sha256, hmac_sha256
from element.protocol import cose, session
from element.protocol.errors import DecodeError, RangeError, SignatureError
from element.protocol.session import Session, derive_keys

KID = b"session1"
ENROLMENT_KEY = bytes(range(32))
HOST_NONCE = b"h" * 16
ELEMENT_NONCE = b"e" * 16
ELEMENT_ID = b"\x01\x02\x03\x04\x05\x06\x07\x08"


def pair():
    down, up = derive_keys(hkdf_sha256, ENROLMENT_KEY, HOST_NONCE, ELEMENT_NONCE, ELEMENT_ID)
    host = Session(hmac_sha256, down, up, KID)
    element = Session(hmac_sha256, up, down, KID)
    return host, element


def raises(error, code, function, *args):
    try:
        function(*args)
    except error as caught:
        assert caught.code == code, caught.code
        return
    raise AssertionError("accepted")


def counters(end):
    return (end.sent, end.accepted, end.malformed, end.forged, end.replayed)


def test_both_ways():
    host, element = pair()
    for number in range(300):
        payload = b"setpoint %d" % number
        assert element.unprotect(host.protect(payload)) == payload
        assert host.unprotect(element.protect(b"ack")) == b"ack"
    assert counters(host) == counters(element) == (300, 300, 0, 0, 0)


def test_the_bytes_are_a_mac0_with_the_sequence_as_partial_iv():
    host, _ = pair()
    host.protect(b"")
    protected, header, payload, tag = cose.mac0_parse(host.protect(b"two"))
    assert header == {cose.ALG: 5, cose.KID: KID, cose.PIV: 2} and payload == b"two"
    down, _ = derive_keys(hkdf_sha256, ENROLMENT_KEY, HOST_NONCE, ELEMENT_NONCE, ELEMENT_ID)
    assert tag == hmac_sha256(down, cose.mac_structure(protected, b"two"))


def test_a_replay_is_refused():
    host, element = pair()
    first, second, third = [host.protect(b"%d" % number) for number in range(3)]
    assert element.unprotect(first) == b"0"
    raises(SignatureError, "session_replay", element.unprotect, first)
    # a gap is allowed, what was left out is then too old
    assert element.unprotect(third) == b"2"
    raises(SignatureError, "session_replay", element.unprotect, second)
    raises(SignatureError, "session_replay", element.unprotect, third)
    assert counters(element) == (0, 2, 0, 0, 3)
    assert element.unprotect(host.protect(b"3")) == b"3"


def test_a_forged_number_does_not_move_the_window():
    host, element = pair()
    _, _, payload, tag = cose.mac0_parse(host.protect(b"a"))
    high = cose.protected_header(5, KID, piv=1000)
    raises(
        SignatureError, "session_tag", element.unprotect, cose.mac0_assemble(high, payload, tag)
    )
    assert element.unprotect(host.protect(b"b")) == b"b"
    assert counters(element) == (0, 1, 0, 1, 0)


def test_a_message_does_not_return_to_its_sender():
    host, element = pair()
    raises(SignatureError, "session_tag", host.unprotect, host.protect(b"a"))
    raises(SignatureError, "session_tag", element.unprotect, element.protect(b"a"))


def test_another_session_is_another_key():
    host, element = pair()
    old = host.protect(b"a")
    fresh = (
        derive_keys(hkdf_sha256, ENROLMENT_KEY, b"H" * 16, ELEMENT_NONCE, ELEMENT_ID),
        derive_keys(hkdf_sha256, ENROLMENT_KEY, HOST_NONCE, b"E" * 16, ELEMENT_ID),
        derive_keys(hkdf_sha256, ENROLMENT_KEY, HOST_NONCE, ELEMENT_NONCE, b"other id"),
        derive_keys(hkdf_sha256, bytes(32), HOST_NONCE, ELEMENT_NONCE, ELEMENT_ID),
    )
    for down, up in fresh:
        end = Session(hmac_sha256, up, down, KID)
        raises(SignatureError, "session_tag", end.unprotect, old)
    assert element.unprotect(old) == b"a"


def test_another_kid_is_refused():
    host, _ = pair()
    down, up = derive_keys(hkdf_sha256, ENROLMENT_KEY, HOST_NONCE, ELEMENT_NONCE, ELEMENT_ID)
    end = Session(hmac_sha256, up, down, b"session2")
    raises(SignatureError, "session_kid", end.unprotect, host.protect(b"a"))
    assert counters(end) == (0, 0, 0, 1, 0)


def test_no_bit_can_be_flipped_and_no_byte_left_out():
    host, element = pair()
    data = host.protect(b"power 5000 mW")
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        try:
            element.unprotect(bytes(flipped))
        except (SignatureError, DecodeError):
            continue
        raise AssertionError(f"bit {bit}")
    assert element.forged > 0 and element.malformed > 0 and element.replayed == 0
    for size in range(len(data)):
        raises(DecodeError, "cbor_truncated", element.unprotect, data[:size])
    raises(DecodeError, "cbor_trailing", element.unprotect, data + b"\x00")
    assert element.unprotect(data) == b"power 5000 mW"


def test_a_header_without_kid_or_number_is_malformed():
    _, element = pair()
    for protected in (
        cose.protected_header(5),
        cose.protected_header(5, KID),
        cose.protected_header(5, piv=1),
    ):
        data = cose.mac0_assemble(protected, b"a", bytes(32))
        raises(DecodeError, "session_header", element.unprotect, data)
    assert counters(element) == (0, 0, 3, 0, 0)


def test_the_sequence_does_not_wrap():
    host, element = pair()
    host._sequence_sent = cose.SEQUENCE_MAX - 1
    assert element.unprotect(host.protect(b"last")) == b"last"
    for _ in range(2):
        raises(RangeError, "sequence", host.protect, b"one more")
    assert host.sent == 1


def test_a_payload_that_does_not_fit_spends_no_number():
    host, element = pair()
    raises(RangeError, "cbor_size", host.protect, bytes(4096))
    assert element.unprotect(host.protect(b"a")) == b"a"
    assert host.sent == 1


def test_keys_are_hkdf_and_two():
    down, up = derive_keys(hkdf_sha256, ENROLMENT_KEY, HOST_NONCE, ELEMENT_NONCE, ELEMENT_ID)
    info = b"cellwall session 1" + ELEMENT_ID
    assert down + up == hkdf_sha256(ENROLMENT_KEY, HOST_NONCE + ELEMENT_NONCE, info, 64)
    # golden bytes: a change here breaks every element in the field
    assert hexlify(down[:8]) == b"26595d8bf65d379d" and hexlify(up[:8]) == b"0b4d3503fbb753d7"


def test_wrong_sizes_are_refused():
    good = [ENROLMENT_KEY, HOST_NONCE, ELEMENT_NONCE, ELEMENT_ID]
    codes = ("enrolment_key_size", "nonce_size", "nonce_size", "element_id_size")
    for index, code in enumerate(codes):
        for change in (good[index][1:], good[index] + b"x", b""):
            args = list(good)
            args[index] = change
            raises(RangeError, code, derive_keys, hkdf_sha256, *args)
    raises(RangeError, "session_key_size", Session, hmac_sha256, bytes(31), bytes(32), KID)
    raises(RangeError, "session_keys_equal", Session, hmac_sha256, bytes(32), bytes(32), KID)
    assert session.KEY_SIZE == 32
