"""Check AES-CCM: NIST's vectors, every kind of damage, sizes at the edge."""

import json
from binascii import unhexlify

from element.crypto import ccm
from element.crypto.ccm import ccm_open, ccm_seal
from element.protocol.errors import DecodeError, RangeError, SignatureError

KEY = bytes(range(16))
NONCE = bytes(range(13))


def raises(error, code, function, *args):
    try:
        function(*args)
    except error as caught:
        assert caught.code == code, caught.code
        return
    raise AssertionError("accepted")


def test_vectors_of_nist():
    with open("tests/vectors/ccm_cavp.json") as file:
        vectors = json.load(file)["vectors"]
    refused = 0
    for key, nonce, size, aad, sealed, plain in vectors:
        key, nonce, aad, sealed = [unhexlify(one) for one in (key, nonce, aad, sealed)]
        if plain is None:
            raises(SignatureError, "ccm_tag", ccm_open, key, nonce, aad, sealed, size)
            refused += 1
        else:
            assert ccm_open(key, nonce, aad, sealed, size) == unhexlify(plain)
            assert ccm_seal(key, nonce, aad, unhexlify(plain), size) == sealed
    assert len(vectors) == 122 and refused == 24


def test_every_damaged_byte_is_found():
    aad, plain = b"header", b"a setpoint"
    sealed = ccm_seal(KEY, NONCE, aad, plain)
    assert len(sealed) == len(plain) + ccm.TAG_SIZE
    for index in range(len(sealed)):
        bad = bytearray(sealed)
        bad[index] ^= 1 << index % 8
        raises(SignatureError, "ccm_tag", ccm_open, KEY, NONCE, aad, bytes(bad))
    for size in range(ccm.TAG_SIZE, len(sealed)):
        raises(SignatureError, "ccm_tag", ccm_open, KEY, NONCE, aad, sealed[:size])
    for size in range(ccm.TAG_SIZE):
        raises(DecodeError, "ccm_size", ccm_open, KEY, NONCE, aad, sealed[:size])
    for key, nonce, other in ((NONCE + b"xyz", NONCE, aad), (KEY, bytes(13), aad),
                              (KEY, NONCE, b"headeR"), (KEY, NONCE, b""),
                              (KEY, NONCE, aad + b"\x00")):
        raises(SignatureError, "ccm_tag", ccm_open, key, nonce, other, sealed)


def test_sizes_around_blocks_go_both_ways():
    for size in (0, 1, 15, 16, 17, 31, 32, 33, 60, 255, 256, 1000):
        plain = bytes([size & 0xFF]) * size
        for aad_size in (0, 1, 13, 14, 15, 16, 30, 31):
            aad = bytes(aad_size)
            sealed = ccm_seal(KEY, NONCE, aad, plain)
            assert len(sealed) == size + 8
            assert ccm_open(KEY, NONCE, aad, sealed) == plain
    # a memory view or a bytearray serves as well
    assert ccm_seal(KEY, NONCE, bytearray(b"a"), bytearray(b"b")) == \
        ccm_seal(KEY, NONCE, b"a", memoryview(b"b"))


def test_wrong_sizes_are_refused():
    for key in (b"", KEY[1:], KEY + b"x", KEY + KEY):
        raises(RangeError, "ccm_key_size", ccm_seal, key, NONCE, b"", b"")
        raises(RangeError, "ccm_key_size", ccm_open, key, NONCE, b"", bytes(8))
    for nonce in (b"", NONCE[1:], NONCE + b"x"):
        raises(RangeError, "ccm_nonce_size", ccm_seal, KEY, nonce, b"", b"")
        raises(RangeError, "ccm_nonce_size", ccm_open, KEY, nonce, b"", bytes(8))
    for size in (0, 2, 5, 7, 15, 17, 18, -4):
        raises(RangeError, "ccm_tag_size", ccm_seal, KEY, NONCE, b"", b"", size)
    raises(RangeError, "ccm_aad_size", ccm_seal, KEY, NONCE, bytes(ccm.AAD_SIZE_MAX + 1), b"")
    raises(RangeError, "ccm_plaintext_size", ccm_seal, KEY, NONCE, b"",
           bytes(ccm.PLAINTEXT_SIZE_MAX + 1))
    raises(DecodeError, "ccm_size", ccm_open, KEY, NONCE, b"",
           bytes(ccm.PLAINTEXT_SIZE_MAX + 9))
