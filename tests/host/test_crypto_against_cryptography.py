"""Hold element.crypto against the `cryptography` library, both ways, and check generated files."""

import hashlib
import hmac
import json
import pathlib
import random

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from element.crypto import curve, p256
from element.crypto.hmac import hmac_sha256
from tools import make_p256_table, make_p256_vectors

ROOT = pathlib.Path(__file__).parents[2]
DETERMINISTIC = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
PREHASHED = ec.ECDSA(utils.Prehashed(hashes.SHA256()))


def private_key(secret: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())


def public_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def raw(der: bytes) -> bytes:
    r, s = utils.decode_dss_signature(der)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def der(signature: bytes) -> bytes:
    return utils.encode_dss_signature(
        int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    )


def their_verdict(public: bytes, digest: bytes, signature: bytes) -> bool:
    """Say whether cryptography accepts: a key it refuses to load counts as refused."""
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(public[:32], "big"), int.from_bytes(public[32:], "big"), ec.SECP256R1()
    )
    try:
        numbers.public_key().verify(der(signature), digest, PREHASHED)
    except (InvalidSignature, ValueError):
        return False
    return True


def random_cases(seed: int, count: int):
    source = random.Random(seed)
    for _ in range(count):
        secret = source.randrange(1, curve.N).to_bytes(32, "big")
        yield secret, source.randbytes(source.randrange(200))


def test_signatures_and_public_keys_are_theirs():
    for secret, message in random_cases(1, 200):
        key = private_key(secret)
        digest = hashlib.sha256(message).digest()
        ours = p256.sign(secret, digest)
        assert ours == raw(key.sign(message, DETERMINISTIC))
        assert p256.public_key(secret) == public_bytes(key)
        key.public_key().verify(der(ours), message, ec.ECDSA(hashes.SHA256()))


def test_we_accept_their_randomized_signatures():
    for secret, message in random_cases(2, 40):
        key = private_key(secret)
        digest = hashlib.sha256(message).digest()
        signature = raw(key.sign(message, ec.ECDSA(hashes.SHA256())))
        assert p256.verify(public_bytes(key), digest, signature)
        assert not p256.verify(public_bytes(key), hashlib.sha256(digest).digest(), signature)


def test_ecdh_is_theirs():
    cases = list(random_cases(3, 40))
    for (a, _), (b, _) in zip(cases[::2], cases[1::2], strict=True):
        theirs = private_key(a).exchange(ec.ECDH(), private_key(b).public_key())
        assert p256.ecdh(a, p256.public_key(b)) == theirs
        assert p256.ecdh(b, p256.public_key(a)) == theirs


def test_hmac_is_theirs():
    source = random.Random(4)
    for _ in range(100):
        key = source.randbytes(source.randrange(1, 150))
        message = source.randbytes(source.randrange(300))
        assert hmac_sha256(key, message) == hmac.digest(key, message, "sha256")


def vectors():
    return json.loads((ROOT / "tests/vectors/p256_verify.json").read_text())


@pytest.mark.parametrize("case", vectors(), ids=lambda case: case[0].replace(" ", "-"))
def test_the_edge_vectors_say_what_cryptography_says(case):
    _, public, digest, signature, valid = case
    args = [bytes.fromhex(text) for text in (public, digest, signature)]
    assert their_verdict(*args) is valid
    assert p256.verify(*args) is valid


def test_the_table_is_what_its_script_makes():
    table = make_p256_table
    text = table.render(table.TEETH, table.SPACING_BITS, table.TABLE_COUNT)
    assert text == (ROOT / "firmware/element/crypto/p256_table.py").read_text()


def test_the_vectors_are_what_their_script_makes():
    assert make_p256_vectors.render() == (ROOT / "tests/vectors/p256_verify.json").read_text()
