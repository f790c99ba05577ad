"""The element's end of its line to the panel: frames, sessions, messages to handlers.

Bad frames of every kind are counted and dropped; the link goes on. Only a message that a session
has authenticated reaches a handler, and only one that its party may send: the few link messages
before a session never move energy and never change a limit.
"""

import gc

from ..lazy import forget, load, loaded
from ..protocol import cbor, codes, schema
from ..protocol.errors import DecodeError, SignatureError
from ..protocol.framing import FrameDecoder, encode_frame
from ..protocol.wire import Wire

FRAME_SIZE_MAX = 2400
# A stranger asking WHO again and again gets an answer this often at most.
WHO_PERIOD_MS_MIN = 200
# How far the clocks of a party and of this element may be apart.
SKEW_S = 120

_TAG_ENCRYPT0 = 0xD0
_ARRAY = 0x80
# What any party of the building may say; the rest is the aggregator's alone.
_FOR_ALL = (schema.TRIP, schema.RELEASE, schema.REKEY)
# What has no number of its own and must not come late: somebody could have kept it back.
_IN_ORDER = (schema.TIME_SYNC,)
# In the order in which they need each other. Those of a session stay.
_SESSION = ("crypto.ccm", "protocol.encrypt0", "protocol.exporter", "protocol.sealed")
_GREETING = ("protocol.rare", "protocol.trust", "protocol.edhoc", "protocol.edhoc_responder",
             "crypto.handshake", "link.greeting")
_TRUST_DESK = ("protocol.rare", "enrolling", "protocol.trust", "trust_desk")


class Peer:
    """A party of the building and the session with it.

    party: codes.PARTY_*. subject: its key id, 8 bytes. valid_s: (from, until), Unix s.
    """

    def __init__(self, session, party: int, subject: bytes, valid_s: tuple):
        self.session = session
        self.party = party
        self.subject = subject
        self.valid_s = valid_s
        self.rekeyed = b""  # the context of the last change of keys


class HostPort:
    """One line. `handlers` maps a message kind to a function of its fields.

    session_count: sessions opened by an aggregator since boot; a new one numbers its setpoints
    anew. on_opened is called with every new Peer; on_text with (text, write) for what is no
    frame. peers: one session a kind of party; a new one ends the one before.
    """

    def __init__(self, hal, uart, enrolment, worker, clock, log):
        self._hal = hal
        self._uart = uart
        self._enrolment = enrolment
        self._worker = worker
        self._clock = clock
        self.log = log
        self._wire = Wire()
        self.on_text = None
        self.on_opened = None
        self._frames = FrameDecoder(FRAME_SIZE_MAX)
        self.peers = []
        self._greeting = None
        self._desk = None
        self._loading = None  # a link message that waits for what handles it
        self.vouched = []  # SHA-256 of party credentials whose signature has been verified
        self.session_count = 0
        self._who_at = None
        self._dropped = 0
        self.handlers = {
            schema.WHO: self._on_who, schema.EDHOC_1: self._on_edhoc_1,
            schema.EDHOC_3: self._on_edhoc_3, schema.TRUST: self._on_trust}

    @property
    def has_session(self) -> bool:
        """True while an aggregator has a session."""
        return self._find(codes.PARTY_AGGREGATOR) is not None

    @property
    def dropped_count(self) -> int:
        """Frames dropped since boot, for any reason."""
        frames = self._frames
        return (self._dropped + frames.bad_crc + frames.bad_cobs + frames.oversize + frames.runt)

    def _find(self, party: int):
        for peer in self.peers:
            if peer.party == party:
                return peer
        return None

    # sessions

    def opened(self, peer: Peer) -> None:
        """Take a session that a handshake has proven, in place of the party's one before."""
        self.peers = [one for one in self.peers if one.party != peer.party] + [peer]
        if peer.party == codes.PARTY_AGGREGATOR:
            self.session_count += 1
        if self.on_opened is not None:
            self.on_opened(peer)

    def unix_s(self) -> int:
        """Return Unix time in s, 0 while the clock is not set."""
        return self._clock.unix_ms(self._hal.ticks_ms()) // 1000

    def check(self) -> None:
        """End the sessions of parties that may not speak any more, and log why."""
        for peer in self.peers:
            why = self.refusal(peer.subject, peer.valid_s)
            if why:
                self.peers = [one for one in self.peers if one is not peer]
                self.log("session with %s ended: %s" % (peer.subject.hex(), why))

    def refusal(self, subject: bytes, valid_s: tuple) -> str:
        """Return why a party may not speak now, "" when it may.

        subject: its key id. valid_s: (from, until), Unix s. While the clock is not set only what
        is revoked by now is refused: the rest is checked when it has been set.
        """
        unix_s = self.unix_s()
        if unix_s and unix_s < valid_s[0] - SKEW_S:
            return "party credential not yet valid"
        if unix_s and unix_s > valid_s[1] + SKEW_S:
            return "party credential expired"
        entries = self._enrolment.revoked
        for at in range(0, len(entries), 13):
            if entries[at:at + 8] == subject:
                from_s = int.from_bytes(entries[at + 8:at + 12], "big")
                if max(unix_s, self._enrolment.floor_unix_s) >= from_s - SKEW_S:
                    return "party credential revoked"
        return ""

    def end_sessions(self) -> None:
        """End every session: whoever vouched for the parties does so no more."""
        self.peers = []
        self.vouched = []

    # bytes

    def receive(self) -> None:
        """Take in what the line has and hand every good message to its handler."""
        for payload in self.payloads():
            self.take(payload)

    def payloads(self) -> list:
        """Take in what the line has and return the frames' payloads, for `take`."""
        wire = self._wire
        payloads = self._frames.feed(wire.feed(self._uart.read()))
        if wire.text:
            text = bytes(wire.text)
            wire.text = bytearray()
            if self.on_text is not None:
                self.on_text(text, self._uart.write)
        if self._greeting is not None and self._greeting.over(self._hal.ticks_ms()):
            self._greeting = None
            self._forget()
        return payloads

    def send(self, kind: int, fields: dict) -> bool:
        """Send to the aggregator; False while it has no session."""
        peer = self._find(codes.PARTY_AGGREGATOR)
        if peer is None:
            return False
        self._seal(peer, cbor.encode(schema.message_to_wire(kind, fields)))
        return True

    def tell(self, kind: int, fields: dict) -> bool:
        """Send to every party that has a session; False while the aggregator has none."""
        if not self.peers:
            return False
        payload = cbor.encode(schema.message_to_wire(kind, fields))
        for peer in self.peers:
            self._seal(peer, payload)
        return self.has_session

    def _seal(self, peer: Peer, payload: bytes) -> None:
        self._uart.write(encode_frame(peer.session.protect(payload)))

    def send_plain(self, kind: int, fields: dict) -> None:
        """Send a link message, for which no session is needed."""
        self._uart.write(encode_frame(cbor.encode(schema.message_to_wire(kind, fields))))

    def take(self, payload: bytes) -> None:
        """Hand one message to its handler, or count it as dropped."""
        peer = None
        try:
            if payload[0] == _TAG_ENCRYPT0:
                peer, payload = self._unprotect(payload)
                kind, fields = schema.message_from_wire(cbor.decode(payload))
                allowed = kind in schema.SESSION_KINDS and (
                    peer.party == codes.PARTY_AGGREGATOR or kind in _FOR_ALL) and (
                    peer.session.in_order or kind not in _IN_ORDER)
            elif payload[0] & 0xE0 == _ARRAY:
                kind, fields = schema.message_from_wire(cbor.decode(payload))
                allowed = kind in schema.LINK_KINDS
            else:
                allowed = False
        except (DecodeError, SignatureError):
            allowed = False
        if allowed and kind == schema.REKEY:
            self._rekey(peer, fields["context"])
            return
        handler = self.handlers.get(kind) if allowed else None
        if handler is None:
            self._dropped += 1
        else:
            handler(fields)

    def _unprotect(self, payload: bytes) -> tuple:
        """Return (peer, plaintext) of a session message. Raises SignatureError, DecodeError."""
        for peer in self.peers:
            try:
                return peer, peer.session.unprotect(payload)
            except SignatureError as error:
                if error.code != "session_kid":
                    raise
        raise SignatureError("session", None)

    def _rekey(self, peer: Peer, context: bytes) -> None:
        """Go on to the next keys; a request that came twice changes nothing.

        After 255 changes only a handshake helps (sealed.GENERATION_MAX).
        """
        session = peer.session
        if context != peer.rekeyed and not session.update_pending and session.generation < 255:
            peer.rekeyed = context
            session.update(context, True)

    # link messages

    def _on_who(self, fields: dict) -> None:
        """Answer who we are, and what we know of the building's roots."""
        now_ms = self._hal.ticks_ms()
        if self._who_at is not None:
            if 0 <= self._hal.ticks_diff(now_ms, self._who_at) < WHO_PERIOD_MS_MIN:
                self._dropped += 1
                return
        self._who_at = now_ms
        enrolment = self._enrolment
        issuer, operator, life_safety = [int.from_bytes(pin[:4], "big") for pin in enrolment.pins]
        self.send_plain(schema.HERE, {
            "element_id": enrolment.element_id,
            "host_nonce": fields["host_nonce"],
            "enrolled": enrolment.enrolled,
            "credential_unix_s": enrolment.issued_unix_s,
            "issuer_number": issuer,
            "operator_number": operator,
            "life_safety_number": life_safety,
            "revocation_number": enrolment.revocation_number,
        })

    def _on_edhoc_1(self, fields: dict) -> None:
        """Begin a handshake, one at a time."""
        if not self._enrolment.enrolled:
            self._dropped += 1
        elif self._greeting is not None:
            if not self._greeting.on_message_1(fields["message"]):
                self._dropped += 1
        elif not self._load(_SESSION + _GREETING, fields["message"], self._greet):
            self._dropped += 1

    def _greet(self, message: bytes) -> None:
        self._greeting = loaded("link.greeting").Greeting(
            self, self._hal, self._enrolment, self._worker)
        if not self._greeting.on_message_1(message):
            self._dropped += 1

    def _on_edhoc_3(self, fields: dict) -> None:
        if self._greeting is not None:
            if not self._greeting.on_message_3(fields["message"]):
                self._dropped += 1
        else:
            self._dropped += 1
            # ERR_CODE 1 of RFC 9528, section 6: whoever waits may begin again
            self.send_plain(schema.EDHOC_ERROR, {"message": cbor.encode(1)
                                                 + cbor.encode("no handshake")})

    def _on_trust(self, fields: dict) -> None:
        """Hand a statement about trust to the desk, one at a time."""
        if not self._enrolment.enrolled or self._desk is not None \
                or not self._load(_TRUST_DESK, fields["statement"], self._examine):
            self._dropped += 1

    def _examine(self, statement: bytes) -> None:
        self._desk = loaded("trust_desk").TrustDesk(self, self._enrolment, self._worker)
        self._desk.examine(statement, self._examined)

    def _examined(self, digest: bytes, code: str) -> None:
        self._desk = None
        self._forget()
        self.send_plain(schema.TRUST_RESULT, {"digest": digest, "code": code})

    def _load(self, names: tuple, message: bytes, then) -> bool:
        """Call then(message) once the modules are there; False when something else is loading."""
        if self._loading is not None:
            return False

        def done(failed: bool) -> None:
            self._loading = None
            if failed:
                self._forget()
                self.log("no memory for %s now" % names[-1])
            else:
                then(message)

        self._loading = message
        if not load(self._hal, self._worker, names, done):
            self._loading = None
            return False
        return True

    def _forget(self) -> None:
        """Give back the memory of what nobody uses now."""
        if self._greeting is None and self._desk is None and self._loading is None:
            forget(self._hal, _GREETING + _TRUST_DESK)
            if self._hal.tight_heap:
                gc.collect()
