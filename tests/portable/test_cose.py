"""Check the COSE wrappers byte by byte, and that only one form of each is taken."""

from binascii import unhexlify
from hashlib import sha256

from element.crypto import p256
from element.protocol import cbor, cose
from element.protocol.cbor import Tagged
from element.protocol.errors import DecodeError, RangeError

KID = b"\x01\x02\x03\x04\x05\x06\x07\x08"
PAYLOAD = b"payload"


def refused(code, error, function, *args):
    try:
        function(*args)
    except error as caught:
        assert caught.code == code, (caught.code, code)
        return
    raise AssertionError("accepted: " + code)


def message(tag, parts):
    return cbor.encode(Tagged(tag, parts))


def test_protected_headers_byte_for_byte():
    assert cose.protected_header(-7) == unhexlify("a10126")
    expected = unhexlify("a3" + "0126" + "04480102030405060708" + "10" + "69") + b"cw/record"
    assert cose.protected_header(-7, KID, "cw/record") == expected
    expected = unhexlify("a3" + "010a" + "04480102030405060708" + "06" + "420100")
    assert cose.protected_header(10, KID, piv=256) == expected


def test_sequence_numbers_are_minimal_bytes():
    for sequence, text in (
        (1, "4101"),
        (255, "41ff"),
        (256, "420100"),
        (65536, "43010000"),
        (0xFFFFFFFF, "44ffffffff"),
    ):
        protected = cose.protected_header(10, piv=sequence)
        assert protected == unhexlify("a2010a06" + text)
        assert cose.header_of(protected, 10, cose.SESSION_LABELS)[cose.PIV] == sequence
    for sequence in (0, -1, 1 << 32):
        refused("sequence", RangeError, cose.protected_header, 10, None, None, sequence)


def test_structures_of_rfc_9052():
    protected = unhexlify("a10126")
    expected = unhexlify("84" + "6a") + b"Signature1" + unhexlify("43a10126" + "40" + "47")
    assert cose.sig_structure(protected, PAYLOAD) == expected + PAYLOAD
    expected = unhexlify("84" + "6a") + b"Signature1" + unhexlify("43a10126" + "42aabb" + "47")
    assert cose.sig_structure(protected, PAYLOAD, b"\xaa\xbb") == expected + PAYLOAD


def test_messages_byte_for_byte():
    protected = cose.protected_header(-7, KID)
    head = unhexlify("d2" + "84" + "4d") + protected + unhexlify("a0" + "47") + PAYLOAD
    assert cose.sign1_assemble(protected, PAYLOAD, bytes(64)) == head + b"\x58\x40" + bytes(64)


def test_parse_returns_what_was_assembled():
    protected = cose.protected_header(-7, KID, "cw/record")
    signature = bytes(range(64))
    data = cose.sign1_assemble(protected, PAYLOAD, signature)
    header = {cose.ALG: -7, cose.KID: KID, cose.TYP: "cw/record"}
    assert cose.sign1_parse(data) == (protected, header, PAYLOAD, signature)


def test_a_signature_over_the_structure_verifies():
    secret = bytes(31) + b"\x05"
    protected = cose.protected_header(-7, KID)
    digest = sha256(cose.sig_structure(protected, PAYLOAD)).digest()
    data = cose.sign1_assemble(protected, PAYLOAD, p256.sign(secret, digest))
    protected, _, payload, signature = cose.sign1_parse(data)
    digest = sha256(cose.sig_structure(protected, payload)).digest()
    assert p256.verify(p256.public_key(secret), digest, signature)
    digest = sha256(cose.sig_structure(protected, payload, b"other")).digest()
    assert not p256.verify(p256.public_key(secret), digest, signature)


def test_wrong_sizes_are_not_assembled():
    for size in (0, 63, 65):
        refused("cose_signature", RangeError, cose.sign1_assemble, b"", b"", bytes(size))
    refused("cose_kid", RangeError, cose.protected_header, -7, b"")
    refused("cose_kid", RangeError, cose.protected_header, -7, bytes(65))
    refused("cose_typ", RangeError, cose.protected_header, -7, None, "")
    refused("cose_typ", RangeError, cose.protected_header, -7, None, "t" * 65)


def test_the_smallest_and_the_largest_labels_are_taken():
    for size in (1, 64):
        protected = cose.protected_header(-7, bytes(size), "t" * size)
        header = cose.sign1_parse(cose.sign1_assemble(protected, b"", bytes(64)))[1]
        assert header == {cose.ALG: -7, cose.KID: bytes(size), cose.TYP: "t" * size}


def test_other_shapes_are_refused():
    good = [cose.protected_header(-7), {}, PAYLOAD, bytes(64)]
    assert cose.sign1_parse(message(18, good))[2] == PAYLOAD
    refused("cose_tag", DecodeError, cose.sign1_parse, cbor.encode(good))
    refused("cose_tag", DecodeError, cose.sign1_parse, message(17, good))
    refused("cose_tag", DecodeError, cose.sign1_parse, message(98, good))
    # a CWT tag around the message is another message
    nested = cbor.encode(Tagged(61, Tagged(18, good)))
    refused("cose_tag", DecodeError, cose.sign1_parse, nested)
    for parts in (good[:3], good + [0], {}, b"", 5, None):
        refused("cose_array", DecodeError, cose.sign1_parse, message(18, parts))
    for index, value, code in (
        (0, {}, "cose_protected"),
        (0, "text", "cose_protected"),
        (0, b"", "cbor_truncated"),
        (0, b"\x80", "cose_protected"),
        (0, b"\xa1\x01\x26\x00", "cbor_trailing"),
        (0, b"\xa1\x18\x01\x26", "cbor_not_minimal"),
        (1, {4: KID}, "cose_unprotected"),
        (1, [], "cose_unprotected"),
        (1, None, "cose_unprotected"),
        (2, None, "cose_payload"),
        (2, "text", "cose_payload"),
        (3, None, "cose_signature"),
        (3, bytes(63), "cose_signature"),
        (3, bytes(65), "cose_signature"),
        (3, "s" * 64, "cose_signature"),
    ):
        parts = list(good)
        parts[index] = value
        refused(code, DecodeError, cose.sign1_parse, message(18, parts))


def test_other_headers_are_refused():
    for header, code in (
        ({}, "cose_alg"),
        ({1: 5}, "cose_alg"),
        ({1: -35}, "cose_alg"),
        ({1: "ES256"}, "cose_alg"),
        ({1: None}, "cose_alg"),
        ({1: -7, 2: [1]}, "cose_label"),
        ({1: -7, 6: b"\x01"}, "cose_label"),
        ({1: -7, 33: b"chain"}, "cose_label"),
        ({1: -7, "alg": -7}, "cose_label"),
        ({1: -7, 4: b""}, "cose_kid"),
        ({1: -7, 4: "kid"}, "cose_kid"),
        ({1: -7, 4: bytes(65)}, "cose_kid"),
        ({1: -7, 16: 1}, "cose_typ"),
        ({1: -7, 16: ""}, "cose_typ"),
        ({1: -7, 16: "t" * 65}, "cose_typ"),
    ):
        data = message(18, [cbor.encode(header), {}, b"", bytes(64)])
        refused(code, DecodeError, cose.sign1_parse, data)
    for header, code in (
        ({1: -7}, "cose_alg"),
        ({1: 5}, "cose_alg"),
        ({1: 10, 16: "t"}, "cose_label"),
        ({1: 10, 5: b"iv"}, "cose_label"),
        ({1: 10, 6: b""}, "cose_piv"),
        ({1: 10, 6: b"\x00"}, "cose_piv"),
        ({1: 10, 6: b"\x00\x01"}, "cose_piv"),
        ({1: 10, 6: b"\x01\x00\x00\x00\x00"}, "cose_piv"),
        ({1: 10, 6: 1}, "cose_piv"),
    ):
        refused(code, DecodeError, cose.header_of, cbor.encode(header), 10, cose.SESSION_LABELS)


def test_ct_equal_sees_every_byte():
    assert cose.ct_equal(b"", b"") and cose.ct_equal(b"ab", bytearray(b"ab"))
    for other in (b"a", b"abc", b"aB", b"Ab", b""):
        assert not cose.ct_equal(b"ab", other)
