"""The trace of RFC 9529, section 3, computed a second way: straight from RFC 9528's formulas.

Only the inputs are written down here: keys, credentials and identifiers of the RFC. Everything
else follows, here by `cryptography`, and is what tests/vectors/edhoc_rfc9529.json holds, against
which the element's implementation is checked on both interpreters.
"""

import hashlib
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

INPUTS = {
    "X": "368ec1f69aeb659ba37d5a8d45b21bdc0299dceaa8ef235f3ca42ce3530f9525",
    "Y": "e2f4126777205e853b437d6eaca1e1f753cdcc3e2c69fa884b0a1a640977e418",
    "SK_I": "fb13adeb6518cee5f88417660841142e830a81fe334380a953406a1305e8706b",
    "SK_R": "72cc4761dbd4c78f758931aa589d348d1ef874a7e303ede2f140dcf3e6aa4aac",
    "CRED_I": "a2027734322d35302d33312d46462d45462d33372d33322d333908a101a5010202412b2001215820"
              "ac75e9ece3e50bfc8ed60399889522405c47bf16df96660a41298cb4307f7eb6225820"
              "6e5de611388a4b8a8211334ac7d37ecb52a387d257e6db3c2a93df21ff3affc8",
    "CRED_R": "a2026b6578616d706c652e65647508a101a501020241322001215820"
              "bbc34960526ea4d32e940cad2a234148ddc21791a12afbcbac93622046dd44f0225820"
              "4519e257236b2a0ce2023f0931f1f386ca7afda64fcde0108c224c51eabf6072",
    "C_I": "37", "C_R": "27",  # -24 and -8
    "update_context": "a01158fdb820890cd6be169602b8bcea",
}
_METHOD, _SUITES, _KID_I, _KID_R = 3, [6, 2], 0x2B, 0x32


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _key(scalar: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())


def _x(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_numbers().x.to_bytes(32, "big")


def _dh(one: ec.EllipticCurvePrivateKey, other: ec.EllipticCurvePrivateKey) -> bytes:
    return one.exchange(ec.ECDH(), other.public_key())


def _extract(salt: bytes, ikm: bytes) -> bytes:
    mac = HMAC(salt, hashes.SHA256())
    mac.update(ikm)
    return mac.finalize()


def _kdf(prk: bytes, label: int, context: bytes, size: int) -> bytes:
    """Return EDHOC_KDF (RFC 9528, 4.1.2)."""
    info = cbor2.dumps(label) + cbor2.dumps(context) + cbor2.dumps(size)
    return HKDFExpand(hashes.SHA256(), size, info).derive(prk)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _kid(number: int) -> bytes:
    """Return the whole ID_CRED of a kid of one byte: a map (RFC 9528, 3.5.3)."""
    return cbor2.dumps({4: bytes([number])})


def _aad(th: bytes) -> bytes:
    return cbor2.dumps(["Encrypt0", b"", th])


def _compact(number: int) -> bytes:
    """Return a kid that is the encoding of a small integer as that integer: itself."""
    return bytes([number])


def trace() -> dict[str, bytes]:
    """Return every value of the trace by its name in RFC 9529."""
    v: dict[str, bytes] = {name: bytes.fromhex(text) for name, text in INPUTS.items()}
    x, y, i, r = (_key(v[name]) for name in ("X", "Y", "SK_I", "SK_R"))
    v.update(G_X=_x(x), G_Y=_x(y), G_XY=_dh(x, y), G_RX=_dh(r, x), G_IY=_dh(i, y))
    v["message_1"] = (cbor2.dumps(_METHOD) + cbor2.dumps(_SUITES) + cbor2.dumps(v["G_X"])
                      + v["C_I"])
    v["hash_1"] = _sha256(v["message_1"])
    v["TH_2"] = _sha256(cbor2.dumps(v["G_Y"]) + cbor2.dumps(v["hash_1"]))
    v["PRK_2e"] = _extract(v["TH_2"], v["G_XY"])
    v["SALT_3e2m"] = _kdf(v["PRK_2e"], 1, v["TH_2"], 32)
    v["PRK_3e2m"] = _extract(v["SALT_3e2m"], v["G_RX"])
    context = v["C_R"] + _kid(_KID_R) + cbor2.dumps(v["TH_2"]) + v["CRED_R"]
    v["MAC_2"] = _kdf(v["PRK_3e2m"], 2, context, 8)
    v["PLAINTEXT_2"] = v["C_R"] + _compact(_KID_R) + cbor2.dumps(v["MAC_2"])
    v["KEYSTREAM_2"] = _kdf(v["PRK_2e"], 0, v["TH_2"], len(v["PLAINTEXT_2"]))
    v["message_2"] = cbor2.dumps(v["G_Y"] + _xor(v["PLAINTEXT_2"], v["KEYSTREAM_2"]))
    v["TH_3"] = _sha256(cbor2.dumps(v["TH_2"]) + v["PLAINTEXT_2"] + v["CRED_R"])
    v["K_3"], v["IV_3"] = _kdf(v["PRK_3e2m"], 3, v["TH_3"], 16), _kdf(
        v["PRK_3e2m"], 4, v["TH_3"], 13)
    v["SALT_4e3m"] = _kdf(v["PRK_3e2m"], 5, v["TH_3"], 32)
    v["PRK_4e3m"] = _extract(v["SALT_4e3m"], v["G_IY"])
    v["MAC_3"] = _kdf(v["PRK_4e3m"], 6, _kid(_KID_I) + cbor2.dumps(v["TH_3"]) + v["CRED_I"], 8)
    v["PLAINTEXT_3"] = _compact(_KID_I) + cbor2.dumps(v["MAC_3"])
    v["A_3"] = _aad(v["TH_3"])
    v["message_3"] = cbor2.dumps(
        AESCCM(v["K_3"], 8).encrypt(v["IV_3"], v["PLAINTEXT_3"], v["A_3"]))
    v["TH_4"] = _sha256(cbor2.dumps(v["TH_3"]) + v["PLAINTEXT_3"] + v["CRED_I"])
    v["K_4"], v["IV_4"] = _kdf(v["PRK_4e3m"], 8, v["TH_4"], 16), _kdf(
        v["PRK_4e3m"], 9, v["TH_4"], 13)
    v["A_4"] = _aad(v["TH_4"])
    v["message_4"] = cbor2.dumps(AESCCM(v["K_4"], 8).encrypt(v["IV_4"], b"", v["A_4"]))
    v["PRK_out"] = _kdf(v["PRK_4e3m"], 7, v["TH_4"], 32)
    v.update(_exported(v["PRK_out"], ""))
    v["PRK_out_updated"] = _kdf(v["PRK_out"], 11, v["update_context"], 32)
    v.update(_exported(v["PRK_out_updated"], "_updated"))
    return v


def _exported(prk_out: bytes, suffix: str) -> dict[str, Any]:
    prk = _kdf(prk_out, 10, b"", 32)
    return {f"PRK_exporter{suffix}": prk, f"OSCORE_secret{suffix}": _kdf(prk, 0, b"", 16),
            f"OSCORE_salt{suffix}": _kdf(prk, 1, b"", 8)}
