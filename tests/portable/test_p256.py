"""Check P-256 against RFC 6979, A.2.5, built edge cases and its own inverses."""

import json
from binascii import unhexlify
from hashlib import sha256

from element.crypto import curve, p256
from element.protocol.errors import RangeError, SignatureError

# RFC 6979, appendix A.2.5: key pair, and r, s for SHA-256 of "sample" and "test".
PRIVATE = unhexlify("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
PUBLIC = unhexlify(
    "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)
SIGNATURES = {
    b"sample": unhexlify(
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    ),
    b"test": unhexlify(
        "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
        "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083"
    ),
}
G_X = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
G_Y = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5
GENERATOR = G_X.to_bytes(32, "big") + G_Y.to_bytes(32, "big")


def key(number):
    return number.to_bytes(32, "big")


def raises(error, code, function, *args):
    try:
        function(*args)
    except error as caught:
        assert caught.code == code, caught.code
        return
    raise AssertionError(f"{error.__name__} not raised")


def drain(steps):
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def test_the_public_key_of_rfc_6979():
    assert p256.public_key(PRIVATE) == PUBLIC
    assert p256.is_public_key(PUBLIC)


def test_the_signatures_of_rfc_6979():
    for message, signature in SIGNATURES.items():
        digest = sha256(message).digest()
        assert p256.sign(PRIVATE, digest) == signature
        assert p256.verify(PUBLIC, digest, signature)


def test_a_signature_is_for_one_digest_and_one_key():
    digest = sha256(b"sample").digest()
    assert not p256.verify(PUBLIC, sha256(b"test").digest(), SIGNATURES[b"sample"])
    assert not p256.verify(p256.public_key(key(7)), digest, SIGNATURES[b"sample"])


def test_edge_vectors():
    with open("tests/vectors/p256_verify.json") as file:
        cases = json.load(file)
    assert len(cases) > 90
    good = 0
    for name, public, digest, signature, valid in cases:
        found = p256.verify(unhexlify(public), unhexlify(digest), unhexlify(signature))
        assert found is valid, name
        good += valid
    assert good >= 16


def test_extreme_private_keys():
    assert p256.public_key(key(1)) == GENERATOR
    minus = p256.public_key(key(curve.N - 1))
    assert minus[:32] == GENERATOR[:32]
    assert int.from_bytes(minus[32:], "big") == curve.P - G_Y
    for secret in (key(1), key(2), key(curve.N - 1)):
        for digest in (bytes(32), b"\xff" * 32):
            assert p256.verify(p256.public_key(secret), digest, p256.sign(secret, digest))


def test_private_keys_out_of_range_are_refused():
    for secret in (key(0), key(curve.N), key(curve.N + 1), b"\xff" * 32):
        raises(RangeError, "private_key", p256.public_key, secret)
        raises(RangeError, "private_key", p256.sign, secret, bytes(32))
        raises(RangeError, "private_key", p256.ecdh, secret, PUBLIC)
    for secret in (b"", bytes(31), bytes(33), None, "x" * 32):
        raises(RangeError, "private_key_size", p256.sign, secret, bytes(32))
    raises(RangeError, "digest_size", p256.sign, PRIVATE, bytes(31))


def test_verify_never_raises():
    digest = sha256(b"sample").digest()
    signature = SIGNATURES[b"sample"]
    for bad in (None, b"", "text", 5, bytes(63), bytes(64), bytes(65), b"\xff" * 64):
        assert p256.verify(bad, digest, signature) is False
        assert p256.verify(PUBLIC, digest, bad) is False
        assert p256.verify(PUBLIC, bad, signature) is False
    assert p256.verify(bytearray(PUBLIC), memoryview(digest), bytearray(signature))


def test_ecdh_agrees_and_refuses_bad_points():
    a, b = key(0x1234567), PRIVATE
    shared = p256.ecdh(a, p256.public_key(b))
    assert shared == p256.ecdh(b, p256.public_key(a)) and len(shared) == 32
    # the product of the keys times the generator has the same x
    product = int.from_bytes(a, "big") * int.from_bytes(b, "big") % curve.N
    assert shared == p256.public_key(key(product))[:32]
    assert p256.ecdh(key(1), PUBLIC) == PUBLIC[:32]
    assert p256.ecdh(key(curve.N - 1), PUBLIC) == PUBLIC[:32]
    off_curve = PUBLIC[:63] + bytes([PUBLIC[63] ^ 1])
    for bad in (off_curve, bytes(64), b"\xff" * 64, PUBLIC[:63], b"\x04" + PUBLIC, None):
        raises(SignatureError, "public_key", p256.ecdh, a, bad)


def test_work_comes_in_slices():
    digest = sha256(b"sample").digest()
    jobs = (
        (p256.SignJob(PRIVATE, digest), 8),
        (p256.VerifyJob(PUBLIC, digest, SIGNATURES[b"sample"]), 80),
        (p256.EcdhJob(PRIVATE, GENERATOR), 70),
    )
    for job, slice_count_min in jobs:
        count = 1
        while not job.step():
            count += 1
        assert slice_count_min <= count <= 200, count
        assert job.done and job.step()
    assert jobs[0][0].signature == SIGNATURES[b"sample"]
    assert jobs[1][0].valid is True
    assert jobs[2][0].secret == PUBLIC[:32]


def test_an_unfinished_job_has_no_result():
    job = p256.SignJob(PRIVATE, bytes(32))
    assert not job.step() and job.signature is None
    job = p256.VerifyJob(PUBLIC, bytes(32), bytes(64))
    assert job.valid is None


def test_blinding_changes_the_way_and_not_the_point():
    expected = drain(curve.to_affine_steps(drain(curve.base_steps(77, 0, 1))))
    for blind, z in ((1, 1), (0xFFFFFFFF, 2), (0x80000000, curve.P - 1), (0, 12345)):
        ours = drain(curve.base_steps(77, blind, z))
        theirs = drain(curve.point_steps(G_X, G_Y, 77, blind, z))
        assert drain(curve.to_affine_steps(ours)) == expected
        assert drain(curve.to_affine_steps(theirs)) == expected


def test_scalars_at_the_ends_of_the_recoding():
    assert drain(curve.base_steps(0, 3, 5))[2] == 0
    assert drain(curve.point_steps(G_X, G_Y, 0, 0, 1))[2] == 0
    for scalar in (1, 2, 15, 16, 17, 1 << 48, (1 << 255) + 1, curve.N - 2, curve.N - 1):
        ours = drain(curve.to_affine_steps(drain(curve.base_steps(scalar, 9, 1))))
        theirs = drain(curve.to_affine_steps(drain(curve.point_steps(G_X, G_Y, scalar, 8, 3))))
        assert ours == theirs and curve.is_on_curve(ours[0], ours[1])


def test_group_laws_with_infinity_and_opposites():
    g = (G_X, G_Y, 1)
    minus_g = (G_X, curve.P - G_Y, 1)
    assert curve.add(curve.INFINITY, g) == g and curve.add(g, curve.INFINITY) == g
    assert curve.add(g, minus_g)[2] == 0 and curve.add_affine(g, G_X, curve.P - G_Y)[2] == 0
    assert curve.double(curve.INFINITY)[2] == 0
    assert curve.add_affine(curve.INFINITY, G_X, G_Y) == g
    assert curve.add(g, g) == curve.double(g) == curve.add_affine(g, G_X, G_Y)
    assert drain(curve.to_affine_steps(curve.INFINITY)) is None


def test_the_coordinates_of_a_public_key_are_reduced():
    # x = 5 is on the curve; x + P is the same point in a second encoding
    y = 0x459243B9AA581806FE913BCE99817ADE11CA503C64D9A3C533415C083248FBCC
    tail = y.to_bytes(32, "big")
    assert p256.is_public_key(key(5) + tail)
    assert not p256.is_public_key(key(5 + curve.P) + tail)


def test_a_blinded_scalar_is_odd_and_the_same_modulo_n():
    for scalar in (0, 1, 2, curve.N - 1, curve.N - 2, 1 << 200):
        seen = set()
        for blind in (0, 2, 0xFFFFFFFF, 0x80000000, 1 << 40):
            blinded = curve._blinded(scalar, blind)
            assert blinded & 1 and blinded % curve.N == scalar
            assert blinded >> curve.SCALAR_BITS == 0
            seen.add(blinded)
        # bits above the 32 do not count, so the last is as the first
        assert len(seen) == 4


def test_inverse():
    for value in (1, 2, 3, curve.N - 1, 1 << 255, curve.P // 2):
        for modulus in (curve.P, curve.N):
            assert drain(curve.inverse_steps(value, modulus)) * value % modulus == 1
