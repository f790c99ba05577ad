"""The element's end of its line to the panel: frames, the session, messages to handlers.

Bad frames of every kind are counted and dropped; the link goes on. Only a message that the
session has authenticated reaches a handler; the few link messages before a session never move
energy and never change a limit.
"""

from ..crypto.hmac import HmacKey, hkdf_sha256
from ..protocol import cbor, schema
from ..protocol.errors import DecodeError, SignatureError
from ..protocol.framing import FrameDecoder, encode_frame
from ..protocol.session import Session, derive_keys
from ..protocol.wire import Wire

FRAME_SIZE_MAX = 2400
# A stranger asking WHO again and again gets an answer this often at most.
WHO_PERIOD_MS_MIN = 200

_TAG_MAC0 = 0xD1
_ARRAY = 0x80


class _Macs:
    """HMAC with the pads of the few keys in use kept: a session uses two keys for hours."""

    def __init__(self):
        self._keys = {}

    def __call__(self, key: bytes, message: bytes) -> bytes:
        prepared = self._keys.get(key)
        if prepared is None:
            if len(self._keys) >= 4:
                self._keys.clear()
            prepared = self._keys[key] = HmacKey(key)
        return prepared(message)


class HostPort:
    """One line, one host. `handlers` maps a message kind to a function of its fields.

    session_count: sessions proven since boot; a new one numbers its setpoints anew.
    """

    def __init__(self, hal, uart, enrolment):
        self._hal = hal
        self._uart = uart
        self._enrolment = enrolment
        self._wire = Wire()
        self.on_text = None  # called with (text, write) for what is no frame
        self._frames = FrameDecoder(FRAME_SIZE_MAX)
        self._macs = _Macs()
        self._session = None
        self._offered = None
        self.session_count = 0
        self._who_at = None
        self._dropped = 0
        self.handlers = {schema.WHO: self._on_who}

    @property
    def has_session(self) -> bool:
        """True once the host has proven that it holds the session's keys."""
        return self._session is not None

    @property
    def dropped_count(self) -> int:
        """Frames dropped since boot, for any reason."""
        frames = self._frames
        return (self._dropped + frames.bad_crc + frames.bad_cobs + frames.oversize + frames.runt)

    def receive(self) -> None:
        """Take in what the line has and hand every good message to its handler."""
        wire = self._wire
        for payload in self._frames.feed(wire.feed(self._uart.read())):
            self._take(payload)
        if wire.text:
            text = bytes(wire.text)
            wire.text = bytearray()
            if self.on_text is not None:
                self.on_text(text, self._uart.write)

    def send(self, kind: int, fields: dict) -> bool:
        """Send an authenticated message; False while there is no session."""
        if self._session is None:
            return False
        payload = cbor.encode(schema.message_to_wire(kind, fields))
        self._uart.write(encode_frame(self._session.protect(payload)))
        return True

    def send_plain(self, kind: int, fields: dict) -> None:
        """Send a link message, for which no session is needed."""
        self._uart.write(encode_frame(cbor.encode(schema.message_to_wire(kind, fields))))

    def _take(self, payload: bytes) -> None:
        try:
            if payload[0] == _TAG_MAC0:
                kind, fields = schema.message_from_wire(cbor.decode(self._unprotect(payload)))
                allowed = kind in schema.SESSION_KINDS
            elif payload[0] & 0xE0 == _ARRAY:
                kind, fields = schema.message_from_wire(cbor.decode(payload))
                allowed = kind in schema.LINK_KINDS
            else:
                allowed = False
        except (DecodeError, SignatureError):
            allowed = False
        handler = self.handlers.get(kind) if allowed else None
        if handler is None:
            self._dropped += 1
        else:
            handler(fields)

    def _unprotect(self, payload: bytes) -> bytes:
        """Open a session message; the first good one of an offered session makes it the session.

        Raises SignatureError or DecodeError. A stranger's WHO can therefore not end a session:
        the old one lives until a message proves the new one.
        """
        session = self._session
        if session is not None:
            try:
                return session.unprotect(payload)
            except SignatureError:
                if self._offered is None:
                    raise
        if self._offered is None:
            raise SignatureError("session", None)
        opened = self._offered.unprotect(payload)
        self._session = self._offered
        self._offered = None
        self.session_count += 1
        return opened

    def _on_who(self, fields: dict) -> None:
        """Answer who we are, with a fresh nonce; enrolled, also prepare the session it keys."""
        now_ms = self._hal.ticks_ms()
        if self._who_at is not None:
            if 0 <= self._hal.ticks_diff(now_ms, self._who_at) < WHO_PERIOD_MS_MIN:
                self._dropped += 1
                return
        self._who_at = now_ms
        enrolment = self._enrolment
        element_nonce = self._hal.entropy(16)
        if enrolment.enrolled:
            inward, outward = derive_keys(
                hkdf_sha256, enrolment.session_key, fields["host_nonce"], element_nonce,
                enrolment.element_id,
            )
            self._offered = Session(self._macs, outward, inward, enrolment.element_id)
        self.send_plain(schema.HERE, {
            "element_id": enrolment.element_id,
            "host_nonce": fields["host_nonce"],
            "element_nonce": element_nonce,
            "enrolled": enrolment.enrolled,
        })
