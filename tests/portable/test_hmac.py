"""Check HMAC against RFC 4231 and HKDF against RFC 5869, appendix A."""

from binascii import unhexlify

from element.crypto.hmac import ct_equal, hmac_sha256

# RFC 4231, sections 4.2 to 4.8: key, data, tag (4.6 is truncated to 16 bytes).
RFC_4231 = (
    (
        b"\x0b" * 20,
        b"Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    ),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (
        b"\xaa" * 20,
        b"\xdd" * 50,
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
    ),
    (
        bytes(range(1, 26)),
        b"\xcd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
    (b"\x0c" * 20, b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        b"\xaa" * 131,
        (
            b"This is a test using a larger than block-size key and a larger than block-size "
            b"data. The key needs to be hashed before being used by the HMAC algorithm."
        ),
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
)

# RFC 5869, A.1 to A.3: ikm, salt, info, output.
RFC_5869 = (
    (
        b"\x0b" * 22,
        bytes(range(13)),
        bytes(range(0xF0, 0xFA)),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)),
        bytes(range(0x60, 0xB0)),
        bytes(range(0xB0, 0x100)),
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb"
            "41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        b"\x0b" * 22,
        b"",
        b"",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
)


def test_rfc_4231():
    for key, data, tag in RFC_4231:
        tag = unhexlify(tag)
        assert hmac_sha256(key, data)[: len(tag)] == tag


def test_keys_around_the_block_size():
    # up to 64 bytes a key is padded with zeros, above it is hashed
    assert hmac_sha256(b"k" * 64, b"m") != hmac_sha256(b"k" * 65, b"m")
    assert hmac_sha256(b"k", b"m") == hmac_sha256(b"k" + bytes(63), b"m")
    assert hmac_sha256(b"k", b"m") != hmac_sha256(b"k" + bytes(64), b"m")


def test_ct_equal():
    tag = bytes(range(32))
    assert ct_equal(tag, bytearray(tag)) and ct_equal(b"", b"")
    assert not ct_equal(tag, tag[:31]) and not ct_equal(tag[:31], tag)
    for index in range(32):
        for bit in range(8):
            other = bytearray(tag)
            other[index] ^= 1 << bit
            assert not ct_equal(tag, other)
