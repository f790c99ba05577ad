"""The panel's end for the portable tests: an issuer's keys, credentials, and a session's host."""

import hashlib

from fakes import profile_fields

from element.crypto import p256
from element.crypto.ccm import ccm_open, ccm_seal
from element.crypto.hmac import hmac_sha256
from element.link.host_port import Peer
from element.protocol import cbor, codes, cose, schema, trust
from element.protocol.exporter import Exporter
from element.protocol.framing import FrameDecoder, encode_frame
from element.protocol.sealed import SealedSession

NOW_MS = 1_767_225_600_000
NOW_S = NOW_MS // 1000


class Keys:
    """A key pair with its id."""

    def __init__(self, label):
        self.label = label
        self.private = hashlib.sha256(b"test key " + label).digest()
        self.public = p256.public_key(self.private)
        self.key_id = hashlib.sha256(self.public).digest()[:8]


ISSUER = Keys(b"issuer")
OPERATOR = Keys(b"operator")
LIFE_SAFETY = Keys(b"life safety")
PARTY = Keys(b"party")
AGREE = Keys(b"agree")
STRANGER = Keys(b"stranger")


def typ_of(kind):
    """Return the typ of a statement kind of schema or trust."""
    return trust.TYP.get(kind) or schema.STATEMENT_TYP[kind]


def table_of(kind):
    """Return the fields of a statement kind of schema or trust."""
    return trust.table_of(kind) if kind in trust.TYP else schema.table_of(kind)


def sign1(keys, kind, fields):
    """Return a signed statement of a kind."""
    payload = cbor.encode(schema.statement_to_wire(table_of(kind), fields))
    protected = cose.protected_header(-7, kid=keys.key_id, typ=typ_of(kind))
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
        "credential": sign1(signer, kind, claims), "issuer": pin_of(ISSUER),
        "operator": pin_of(OPERATOR), "life_safety": pin_of(LIFE_SAFETY),
    }


def next_of(keys, number=2):
    """Return the keys that follow as a root's number'th; `pin_of` promises them."""
    return Keys(keys.label.split(b" #")[0] + b" #%d" % number)


def pin_of(keys, number=1):
    """Return a root as an element keeps it."""
    following = hashlib.sha256(next_of(keys, number + 1).public).digest()
    return number.to_bytes(4, "big") + keys.public + following


def party_credential(signer=OPERATOR, party=codes.PARTY_AGGREGATOR, keys=PARTY, agree=AGREE,
                     **changes):
    """Return the credential of a party of the building."""
    claims = {
        "issuer": "test", "subject": "0123456789abcdef", "expires_unix_s": NOW_S + 86_400,
        "not_before_unix_s": NOW_S - 3600, "issued_unix_s": NOW_S,
        "cnf": {"cose_key": schema.cose_key(keys.public)},
        "agree_key": schema.cose_key(agree.public), "party": party, "name": "panel",
    }
    claims.update(changes)
    return sign1(signer, trust.PARTY_CREDENTIAL, claims)


def sealed_pair(element_id, prk_out, name=b"\x01\x02"):
    """Return (host's, element's) end of a session as a handshake would leave it."""
    return [SealedSession(ccm_seal, ccm_open, Exporter(hmac_sha256, prk_out), element_id + name,
                          initiator) for initiator in (True, False)]


class Host:
    """The host's end of a fake UART: WHO, a session, messages in and out."""

    def __init__(self, uart):
        self.uart = uart
        self.decoder = FrameDecoder(2400)
        self.session = None
        self.opened = 0
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
            if payload[0] == 0xD0:
                if self.session is None:
                    continue
                payload = self.session.unprotect(payload)
            out.append(schema.message_from_wire(cbor.decode(payload)))
        return out

    def open_session(self, port, element_id, party=codes.PARTY_AGGREGATOR, subject=PARTY.key_id,
                     valid_s=(NOW_S - 3600, NOW_S + 86_400)):
        """Open a session at an element's port, as if a handshake had ended there."""
        self.opened += 1
        prk_out = hashlib.sha256(b"prk %d" % self.opened).digest()
        self.session, theirs = sealed_pair(element_id, prk_out, self.opened.to_bytes(2, "big"))
        port.opened(Peer(theirs, party, subject, valid_s))
