"""The panel's end for the portable tests: an issuer's keys, credentials, and a session's host."""

import hashlib

from fakes import profile_fields

from element.crypto import p256
from element.crypto.hmac import hkdf_sha256, hmac_sha256
from element.protocol import cbor, cose, schema
from element.protocol.framing import FrameDecoder, encode_frame
from element.protocol.session import Session, derive_keys

NOW_MS = 1_767_225_600_000
NOW_S = NOW_MS // 1000


class Keys:
    """A key pair with its id."""

    def __init__(self, label):
        self.private = hashlib.sha256(b"test key " + label).digest()
        self.public = p256.public_key(self.private)
        self.key_id = hashlib.sha256(self.public).digest()[:8]


ISSUER = Keys(b"issuer")
LIFE_SAFETY = Keys(b"life safety")
AGREE = Keys(b"agree")
STRANGER = Keys(b"stranger")


def sign1(keys, kind, fields):
    """Return a signed statement of a kind."""
    payload = cbor.encode(schema.statement_to_wire(schema.table_of(kind), fields))
    protected = cose.protected_header(-7, kid=keys.key_id, typ=schema.STATEMENT_TYP[kind])
    digest = hashlib.sha256(cose.sig_structure(protected, payload)).digest()
    return cose.sign1_assemble(protected, payload, p256.sign(keys.private, digest))


def verify1(statement, public_key, kind):
    """Return the fields of a statement after checking its signature and its typ."""
    protected, header, payload, signature = cose.sign1_parse(statement)
    assert header[cose.TYP] == schema.STATEMENT_TYP[kind]
    digest = hashlib.sha256(cose.sig_structure(protected, payload)).digest()
    assert p256.verify(public_key, digest, signature)
    return schema.statement_from_wire(schema.table_of(kind), cbor.decode(payload))


def claims_for(enrolment, profile=None, **changes):
    """Return the claims of a credential that fits an element."""
    claims = {
        "issuer": "test", "subject": "0123456789abcdef", "expires_unix_s": NOW_S + 86_400,
        "not_before_unix_s": NOW_S - 3600, "issued_unix_s": NOW_S,
        "cnf": {"cose_key": schema.cose_key(enrolment.sign_public)},
        "agree_key": schema.cose_key(enrolment.agree_public),
        "profile": profile or profile_fields(), "zone": 2, "tenant": "",
        "manufacturer": "",
    }
    claims.update(changes)
    return claims


def grant_for(enrolment, signer=ISSUER, kind=schema.CREDENTIAL, profile=None, **changes):
    """Return the fields of an EnrolGrant, signed by signer."""
    claims = claims_for(enrolment, profile, **changes)
    return {
        "credential": sign1(signer, kind, claims), "issuer_key": ISSUER.public,
        "life_safety_key": LIFE_SAFETY.public, "aggregator_agree_key": AGREE.public,
    }


def session_key_of(enrolment):
    """Return the key that host and element agree on at enrolment."""
    secret = p256.ecdh(AGREE.private, enrolment.agree_public)
    return hkdf_sha256(secret, enrolment.element_id, b"cellwall enrolment 1", 32)


class Host:
    """The host's end of a fake UART: WHO, a session, messages in and out."""

    def __init__(self, uart):
        self.uart = uart
        self.decoder = FrameDecoder(2400)
        self.session = None
        self.nonce = b"n" * 16

    def plain(self, kind, fields):
        """Put a link message on the line."""
        self.uart.put(encode_frame(cbor.encode(schema.message_to_wire(kind, fields))))

    def who(self, nonce=None):
        self.nonce = nonce or self.nonce
        self.plain(schema.WHO, {"host_nonce": self.nonce})

    def frame(self, kind, fields):
        """Return the frame of an authenticated message."""
        payload = cbor.encode(schema.message_to_wire(kind, fields))
        return encode_frame(self.session.protect(payload))

    def send(self, kind, fields):
        self.uart.put(self.frame(kind, fields))

    def received(self):
        """Return (kind, fields) of everything the element sent since the last call."""
        out = []
        sent, self.uart.sent = self.uart.sent, []
        for payload in self.decoder.feed(b"".join(sent)):
            if payload[0] == 0xD1:
                if self.session is None:
                    continue
                payload = self.session.unprotect(payload)
            out.append(schema.message_from_wire(cbor.decode(payload)))
        return out

    def open_session(self, here, session_key):
        """Key the session that a HERE answers."""
        outward, inward = derive_keys(
            hkdf_sha256, session_key, here["host_nonce"], here["element_nonce"],
            here["element_id"])
        self.session = Session(hmac_sha256, outward, inward, here["element_id"])
