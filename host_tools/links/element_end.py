"""The element's end of one line, at host speed: the twin of element.link.host_port. No I/O.

Bytes are handed in and out, time and randomness are handed in. It serves whoever is an element to
a panel without being a board: an aggregator under another one, and simulated elements. What stands
behind it is an `ElementUser`; identity and chain outlive it (`state`, `restore`).
"""

import hashlib
from collections.abc import Callable
from typing import Any

from element.protocol import cbor, codes, cose, edhoc, schema
from element.protocol.edhoc_responder import Responder
from element.protocol.errors import DecodeError, Error, SignatureError
from element.protocol.framing import FrameDecoder, encode_frame
from element.protocol.sealed import GENERATION_MAX, SealedSession
from element.protocol.wire import Wire
from host_tools import codec
from host_tools.identity.aead import ccm_open, ccm_seal
from host_tools.identity.exchange import CRYPTO, lift
from host_tools.identity.keys import key_id, make_key_pair
from host_tools.identity.revocation import SKEW_S
from host_tools.links.element_chain import StatementChain
from host_tools.links.element_identity import (
    ElementIdentity,
    kcwt_credential,
    number_of,
    party_claims,
)
from host_tools.links.element_user import Answer, ElementUser

FRAME_SIZE_MAX = 2400
WHO_PERIOD_MS_MIN = 200
# A party that was answered has so long to go on before another one may begin.
HOLD_MS = 3000
# Nothing heard for so long: the handshake has ended.
WAIT_MS_MAX = 10_000
C_R_SIZE = 2
# A time that no host can mean: before 2020, or a day before the contract's last.
UNIX_MS_MIN = 1_577_836_800_000
UNIX_MS_MAX = 4_102_358_400_000
STEP_MS_MAX = 500
NO_UPDATE = "no firmware here"

_TAG_ENCRYPT0 = 0xD0
_ARRAY = 0x80
_FOR_ALL = (schema.TRIP, schema.RELEASE, schema.REKEY)
_IN_ORDER = (schema.TIME_SYNC,)


class Peer:
    """A party of the building and the session with it. subject: its key id."""

    __slots__ = ("party", "rekeyed", "session", "subject", "valid_s")

    def __init__(self, session: SealedSession, claims: dict[str, Any]) -> None:
        self.session = session
        self.party: int = claims["party"]
        # of its key, whatever the credential calls it
        self.subject = key_id(schema.raw_key(claims["cnf"]["cose_key"]))
        self.valid_s = (claims["not_before_unix_s"], claims["expires_unix_s"])
        self.rekeyed = b""


class _Greeting:
    """A handshake that was answered and waits for message_3."""

    __slots__ = ("at_ms", "ephemeral", "message_1", "message_2", "party", "responder")

    def __init__(self, end: "ElementEnd", message_1: bytes, at_ms: int) -> None:
        """Answer message_1. Raises DecodeError or SignatureError."""
        identity = end.identity
        self.at_ms = at_ms
        self.message_1 = message_1
        self.party: tuple[bytes, dict[str, Any]] = (b"", {})
        self.responder = Responder(
            CRYPTO, identity.credential, {cose.KID: identity.element_id}, self._meet)
        g_x = lift(self.responder.receive_1(message_1))
        self.ephemeral = make_key_pair(end.random_bytes)
        c_r = end.random_bytes(C_R_SIZE)
        if c_r == self.responder.c_i:
            c_r = c_r[:-1] + bytes([c_r[-1] ^ 1])
        self.message_2: bytes = self.responder.make_2(
            c_r, self.ephemeral.public[:32], self.ephemeral.agree(g_x), identity.agree.agree(g_x))

    def _meet(self, id_cred: dict[int, Any]) -> tuple[bytes, bytes] | None:
        """Return the credential that a party shows and its key; its signature is checked last."""
        credential = kcwt_credential(id_cred)
        if credential is None:
            return None
        claims = party_claims(credential)
        self.party = credential, claims
        return credential, schema.raw_key(claims["agree_key"])


class ElementEnd:
    """One line of an element. Times are milliseconds of the caller's, the same in all calls.

    own_clock: our time is Unix time already, and a TimeSync sets nothing. open_enrolment: whether
    an offer is answered, which is for lines that only the installer reaches.
    Counters: dropped (frames and messages), refused (setpoints, orders, times).
    """

    __slots__ = ("_dropped", "_frames", "_greeting", "_now_ms", "_offset_ms", "_open_enrolment",
                 "_own_clock", "_send", "_sequence", "_who_at_ms", "_wire", "board", "chain",
                 "firmware", "hardware_id", "identity", "order_number", "peers", "random_bytes",
                 "refused", "session_count", "step_count", "user")

    def __init__(self, identity: ElementIdentity, user: ElementUser,
                 send: Callable[[bytes], None], random_bytes: Callable[[int], bytes],
                 board: str = "host", firmware: str = "host", hardware_id: bytes = b"host",
                 own_clock: bool = False, open_enrolment: bool = True) -> None:
        self.identity = identity
        self.chain = StatementChain(identity)
        self.user = user
        self.random_bytes = random_bytes
        self._send = send
        self.board = board
        self.firmware = firmware
        self.hardware_id = hardware_id
        self.peers: list[Peer] = []
        self.session_count = 0
        self.order_number = 0
        self.refused = 0
        self._dropped = 0
        self.step_count = 0  # corrections of our clock by more than STEP_MS_MAX
        self._own_clock = own_clock
        self._offset_ms: int | None = 0 if own_clock else None
        self._open_enrolment = open_enrolment
        self._wire = Wire()
        self._frames = FrameDecoder(FRAME_SIZE_MAX)
        self._greeting: _Greeting | None = None
        self._who_at_ms: int | None = None
        self._now_ms = 0
        self._sequence = 0

    # state

    @property
    def has_session(self) -> bool:
        """True while an aggregator has a session."""
        return self._find(codes.PARTY_AGGREGATOR) is not None

    @property
    def dropped(self) -> int:
        """Frames and messages dropped, for any reason."""
        frames = self._frames
        return (self._dropped + frames.bad_crc + frames.bad_cobs + frames.oversize
                + frames.runt)

    @property
    def is_set(self) -> bool:
        """True once our clock has been set."""
        return self._offset_ms is not None

    def unix_ms(self, at_ms: int) -> int:
        """Return Unix time at one of our times, 0 while the clock was never set."""
        return 0 if self._offset_ms is None else min(at_ms + self._offset_ms, schema.TIME)

    def ticks_of(self, unix_ms: int, offset_ms_max: int) -> int | None:
        """Return our time of a Unix time, None when it is further off than offset_ms_max."""
        if self._offset_ms is None:
            return None
        at_ms = unix_ms - self._offset_ms
        return at_ms if abs(at_ms - self._now_ms) <= offset_ms_max else None

    def set_clock(self, unix_ms: int) -> None:
        """Take unix_ms as the present; more than a small correction counts as a step."""
        offset_ms = unix_ms - self._now_ms
        if self._offset_ms is not None and abs(offset_ms - self._offset_ms) > STEP_MS_MAX:
            self.step_count += 1
        self._offset_ms = offset_ms

    def state(self) -> dict[str, Any]:
        """Return what a restart must know, as CBOR can carry it; without the keys."""
        return {"identity": self.identity.state(), "chain": self.chain.state(),
                "order_number": self.order_number}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state. Raises DecodeError or SignatureError for one that is not ours."""
        self.identity.restore(state["identity"])
        self.chain.restore(state["chain"])
        self.order_number = state["order_number"]

    # bytes out

    def send(self, kind: int, fields: dict[str, Any]) -> bool:
        """Send to the aggregator; False while it has no session. Raises RangeError."""
        peer = self._find(codes.PARTY_AGGREGATOR)
        if peer is None:
            return False
        self._send(encode_frame(peer.session.protect(codec.encode_message(kind, fields))))
        return True

    def send_telemetry(self, fields: dict[str, Any]) -> bool:
        """Send to every party that has a session; False while the aggregator has none."""
        if not self.peers:
            return False
        payload = codec.encode_message(schema.TELEMETRY, fields)
        for peer in self.peers:
            self._send(encode_frame(peer.session.protect(payload)))
        return self.has_session

    def acknowledge(self, sequence: int, reason: int, limit: int | None) -> None:
        """Say what came of a setpoint or an owner's limit."""
        if reason != codes.REASON_NONE:
            self.refused += 1
        self.send(schema.ACK, {"sequence": sequence, "accepted": reason == codes.REASON_NONE,
                               "reason": reason, "limit": limit})

    def _plain(self, kind: int, fields: dict[str, Any]) -> None:
        self._send(encode_frame(codec.encode_message(kind, fields)))

    def tick(self, now_ms: int) -> None:
        """Let time pass: end what may not go on, offer what is due. Once a second is enough."""
        self._now_ms = now_ms
        self.check()
        self.offer_statements(now_ms)

    def offer_statements(self, now_ms: int) -> None:
        """Offer what the host has not acknowledged, again after a while."""
        self._now_ms = now_ms
        if self.has_session:
            for statement in self.chain.due(now_ms):
                self.send(schema.STATEMENT, {"statement": statement})

    # bytes in

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take bytes from the line. Bad frames are counted and dropped, text is passed over."""
        self._now_ms = now_ms
        frames = self._wire.feed(data)
        self._wire.text = bytearray()
        greeting = self._greeting
        if greeting is not None and now_ms - greeting.at_ms > WAIT_MS_MAX:
            self._greeting = None
        for payload in self._frames.feed(frames):
            try:
                self._take(payload)
            except (DecodeError, SignatureError):
                self._dropped += 1

    def _take(self, payload: bytes) -> None:
        if payload[0] == _TAG_ENCRYPT0:
            peer, plaintext = self._unprotect(payload)
            kind, fields = codec.decode_message(plaintext)
            if kind not in schema.SESSION_KINDS \
                    or (peer.party != codes.PARTY_AGGREGATOR and kind not in _FOR_ALL) \
                    or (kind in _IN_ORDER and not peer.session.in_order):
                raise SignatureError("party", kind)
            if kind == schema.REKEY:
                self._rekey(peer, fields["context"])
                return
            handler = _SESSION.get(kind)
        elif payload[0] & 0xE0 == _ARRAY:
            kind, fields = codec.decode_message(payload)
            handler = _LINK.get(kind)
        else:
            raise DecodeError("payload", payload[0])
        if handler is None:
            raise DecodeError("kind", kind)
        handler(self, fields)

    def _find(self, party: int) -> Peer | None:
        for peer in self.peers:
            if peer.party == party:
                return peer
        return None

    def _unprotect(self, payload: bytes) -> tuple[Peer, bytes]:
        for peer in self.peers:
            try:
                return peer, bytes(peer.session.unprotect(payload))
            except SignatureError as error:
                if error.code != "session_kid":
                    raise
        raise SignatureError("session", None)

    def _rekey(self, peer: Peer, context: bytes) -> None:
        """Go on to the next keys; a request that came twice changes nothing."""
        session = peer.session
        if context != peer.rekeyed and not session.update_pending \
                and session.generation < GENERATION_MAX:
            peer.rekeyed = context
            session.update(context, True)

    # link messages

    def _on_who(self, fields: dict[str, Any]) -> None:
        last_ms = self._who_at_ms
        if last_ms is not None and 0 <= self._now_ms - last_ms < WHO_PERIOD_MS_MIN:
            self._dropped += 1
            return
        self._who_at_ms = self._now_ms
        one = self.identity
        issuer, operator, life_safety = map(number_of, one.pins)
        self._plain(schema.HERE, {
            "element_id": one.element_id, "host_nonce": fields["host_nonce"],
            "enrolled": one.enrolled, "credential_unix_s": one.issued_unix_s,
            "issuer_number": issuer, "operator_number": operator,
            "life_safety_number": life_safety, "revocation_number": one.revocation_number})

    def _on_enrol_offer(self, fields: dict[str, Any]) -> None:
        if self._open_enrolment and not self.identity.enrolled:
            self._plain(schema.ENROL_REPLY, {"request": self.identity.request(
                fields["challenge"], self.hardware_id, self.board, self.firmware)})

    def _on_enrol_grant(self, fields: dict[str, Any]) -> None:
        if not self._open_enrolment:
            self._dropped += 1
            return
        code = self.identity.grant(fields)
        if not code:
            self.user.on_enrolled()
        self._plain(schema.ENROL_RESULT, {"accepted": not code, "code": code[:32]})

    def _on_trust(self, fields: dict[str, Any]) -> None:
        if not self.identity.enrolled:
            self._dropped += 1
            return
        statement = fields["statement"]
        code, ends = self.identity.follow(statement, self.unix_ms(self._now_ms) // 1000)
        if ends:
            self.peers = []
        self.check()
        self._plain(schema.TRUST_RESULT, {
            "digest": hashlib.sha256(statement).digest()[:8], "code": code})

    def _on_edhoc_1(self, fields: dict[str, Any]) -> None:
        message = fields["message"]
        greeting = self._greeting
        if greeting is not None and message == greeting.message_1:
            self._plain(schema.EDHOC_2, {"message": greeting.message_2})
            return
        if not self.identity.enrolled or (
                greeting is not None and self._now_ms - greeting.at_ms < HOLD_MS):
            self._dropped += 1
            return
        self._greeting = None
        try:
            self._greeting = _Greeting(self, message, self._now_ms)
        except Error as error:
            self._refuse(error)
            return
        self._plain(schema.EDHOC_2, {"message": self._greeting.message_2})

    def _on_edhoc_3(self, fields: dict[str, Any]) -> None:
        """Prove who greets, check that it may speak, open the session and speak first."""
        greeting, self._greeting = self._greeting, None
        if greeting is None:
            self._dropped += 1
            self._plain(schema.EDHOC_ERROR, {
                "message": cbor.encode(edhoc.ERROR_UNSPECIFIED) + cbor.encode("no handshake")})
            return
        responder = greeting.responder
        try:
            static = responder.receive_3(fields["message"])
            exporter = responder.finish_3(greeting.ephemeral.agree(static))
            credential, claims = greeting.party
            self._vouch(credential)
            peer = Peer(SealedSession(ccm_seal, ccm_open, exporter,
                                      self.identity.element_id + responder.c_r, False), claims)
            why = self._refusal(peer)
            if why:
                raise SignatureError(why)
        except Error as error:
            self._refuse(error)
            return
        self.peers = [one for one in self.peers if one.party != peer.party] + [peer]
        if peer.party == codes.PARTY_AGGREGATOR:
            self.session_count += 1
            self._sequence = 0  # a host that was restarted counts from the beginning
        self.send_telemetry(self.user.telemetry())

    def _vouch(self, credential: bytes) -> None:
        try:
            self.identity.vouch(credential)
        except Error as error:
            raise SignatureError("party credential not the operator's") from error

    def _refuse(self, error: Error) -> None:
        told = edhoc.error_message(error)
        if error.code.startswith("party "):
            told = cbor.encode(edhoc.ERROR_UNSPECIFIED) + cbor.encode(error.code)
        self._plain(schema.EDHOC_ERROR, {"message": told})

    # parties

    def _refusal(self, peer: Peer) -> str:
        return self.identity.refusal(peer.subject, peer.valid_s,
                                     self.unix_ms(self._now_ms) // 1000)

    def check(self) -> None:
        """End the sessions of parties that may not speak any more."""
        for peer in self.peers:
            if self._refusal(peer):
                self.peers = [one for one in self.peers if one is not peer]

    # session messages

    def _sequenced(self, sequence: int) -> bool:
        """Take a sequence number that has risen within the session; refuse any other."""
        if sequence > self._sequence:
            self._sequence = sequence
            return True
        self.acknowledge(sequence, codes.REASON_SEQUENCE, self._sequence & 0x7FFFFFFF)
        return False

    def _on_setpoint(self, fields: dict[str, Any]) -> None:
        if not self.is_set:
            self.acknowledge(fields["sequence"], codes.REASON_CLOCK, None)
        elif self._sequenced(fields["sequence"]):
            self._answer(fields, self.user.on_setpoint(fields))

    def _on_owner_limit(self, fields: dict[str, Any]) -> None:
        if self._sequenced(fields["sequence"]):
            self._answer(fields, self.user.on_owner_limit(fields))

    def _answer(self, fields: dict[str, Any], answer: Answer | None) -> None:
        if answer is not None:
            self.acknowledge(fields["sequence"], *answer)

    def _on_trip(self, fields: dict[str, Any]) -> None:
        self.user.on_trip(fields)

    def _on_release(self, fields: dict[str, Any]) -> None:
        try:
            order = self.identity.release_order(fields["order"])
        except (DecodeError, SignatureError):
            self.refused += 1
            return
        if order["order_number"] <= self.order_number:
            self.refused += 1
            return
        self.order_number = order["order_number"]
        if self.identity.keep is not None:
            self.identity.keep()  # an order is spent for good, whatever comes of it
        if not self.user.on_release(order):
            self.refused += 1

    def _on_time_sync(self, fields: dict[str, Any]) -> None:
        unix_ms = fields["unix_ms"]
        floor_ms = (self.identity.floor_unix_s - SKEW_S) * 1000
        if not max(UNIX_MS_MIN, floor_ms) <= unix_ms <= UNIX_MS_MAX:
            self.refused += 1
            return
        if not self._own_clock:
            self.set_clock(unix_ms)
        self.check()
        self.user.on_time_sync(fields)

    def _on_interrogate(self, fields: dict[str, Any]) -> None:
        one = self.identity
        self.send(schema.STATEMENT, {"statement": one.signed(schema.ANNOUNCEMENT, {
            **self.user.announcement(), "element_id": one.element_id,
            "challenge": fields["challenge"], "credential": one.credential, "board": self.board,
            "firmware": self.firmware, "at_unix_ms": self.unix_ms(self._now_ms),
            "counter": self.chain.counter})})

    def _on_statement_ack(self, fields: dict[str, Any]) -> None:
        self.chain.acknowledge(fields["counter"])
        self.offer_statements(self._now_ms)

    def _on_update(self, fields: dict[str, Any]) -> None:
        self.send(schema.UPDATE_ANSWER, {"index": 0, "offset": 0, "code": NO_UPDATE})


# By kind, once for all ends: ten thousand elements in one process need no tables of their own.
_SESSION: dict[int, Callable[[ElementEnd, dict[str, Any]], None]] = {
    schema.SETPOINT: ElementEnd._on_setpoint, schema.OWNER_LIMIT: ElementEnd._on_owner_limit,
    schema.TRIP: ElementEnd._on_trip, schema.RELEASE: ElementEnd._on_release,
    schema.TIME_SYNC: ElementEnd._on_time_sync, schema.INTERROGATE: ElementEnd._on_interrogate,
    schema.STATEMENT_ACK: ElementEnd._on_statement_ack, schema.UPDATE: ElementEnd._on_update,
}
_LINK: dict[int, Callable[[ElementEnd, dict[str, Any]], None]] = {
    schema.WHO: ElementEnd._on_who, schema.ENROL_OFFER: ElementEnd._on_enrol_offer,
    schema.ENROL_GRANT: ElementEnd._on_enrol_grant, schema.TRUST: ElementEnd._on_trust,
    schema.EDHOC_1: ElementEnd._on_edhoc_1, schema.EDHOC_3: ElementEnd._on_edhoc_3,
}
