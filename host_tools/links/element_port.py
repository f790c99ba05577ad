"""The host's end of one element's line: discovery, enrolment, session, messages. No I/O.

Bytes are handed in and out; times are handed in as Unix milliseconds; randomness is handed in.
A lost session is opened again by itself: WHO is asked until the element answers.
"""

from collections.abc import Callable
from typing import Any

from element.protocol import schema
from element.protocol.errors import DecodeError, SignatureError
from element.protocol.framing import FrameDecoder, encode_frame
from element.protocol.session import Session, derive_keys
from element.protocol.wire import Wire
from host_tools import codec
from host_tools.identity.issuer import Enrolled
from host_tools.identity.keys import hkdf_sha256, hmac_sha256

FRAME_SIZE_MAX = 2400
WHO_PERIOD_MS = 1000
ENROL_PERIOD_MS = 3000
# An element verifies its grant for seconds. A second one meanwhile would be another credential
# than the one it then keeps.
GRANT_MS_MAX = 20_000
# With no authenticated word for this long the element may have restarted: ask WHO again.
SILENCE_MS_MAX = 3000

_TAG_MAC0 = 0xD1


class ElementPort:
    """One line and the element at its end.

    known: element id to what enrolment left on the host. enrol: called with (request, challenge)
    to make a grant, or None when this host must not enrol. on_message(kind, fields) gets
    every authenticated message, on_session(element_id) each new session.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[bytes], None],
        known: dict[bytes, Enrolled],
        enrol: Callable[[bytes, bytes], tuple[Enrolled, dict[str, Any]]] | None,
        random_bytes: Callable[[int], bytes],
        on_message: Callable[[int, dict[str, Any]], None],
        on_session: Callable[[bytes], None],
    ) -> None:
        self.name = name
        self.element_id: bytes | None = None
        self.dropped = 0
        self.last_heard_ms: int | None = None
        self.enrol_error = ""
        self.here_count = 0  # answers to WHO, of enrolled elements and others
        self._send = send
        self._known = known
        self._enrol = enrol
        self._random = random_bytes
        self._on_message = on_message
        self._on_session = on_session
        self._wire = Wire()
        self._frames = FrameDecoder(FRAME_SIZE_MAX)
        self._session: Session | None = None
        self._nonce = b""
        self._challenge = b""
        self._who_at_ms: int | None = None
        self._enrol_at_ms: int | None = None
        self._offered: Enrolled | None = None

    @property
    def has_session(self) -> bool:
        """True while a session is open."""
        return self._session is not None

    @property
    def bad_frames(self) -> int:
        """Frames dropped for any reason."""
        return self.dropped + self.damaged_frames

    @property
    def damaged_frames(self) -> int:
        """Frames that the line has damaged; those of another host's session are none."""
        frames = self._frames
        return frames.bad_crc + frames.bad_cobs + frames.oversize + frames.runt

    def tick(self, now_ms: int) -> None:
        """Ask WHO when there is no session or nobody has been heard for too long."""
        heard = self.last_heard_ms
        silent = heard is None or now_ms - heard > SILENCE_MS_MAX
        if self._session is not None and not silent:
            return
        if self._who_at_ms is None or now_ms - self._who_at_ms >= WHO_PERIOD_MS:
            self._who_at_ms = now_ms
            self._nonce = self._random(16)
            self._send_plain(schema.WHO, {"host_nonce": self._nonce})

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take bytes from the line. Bad frames are counted and dropped, text is passed over."""
        frames = self._wire.feed(data)
        self._wire.text = bytearray()
        for payload in self._frames.feed(frames):
            try:
                self._take(payload, now_ms)
            except (DecodeError, SignatureError):
                self.dropped += 1

    def send(self, kind: int, fields: dict[str, Any]) -> bool:
        """Send an authenticated message; False when there is no session to send it in."""
        if self._session is None:
            return False
        self._send(encode_frame(self._session.protect(codec.encode_message(kind, fields))))
        return True

    def _send_plain(self, kind: int, fields: dict[str, Any]) -> None:
        self._send(encode_frame(codec.encode_message(kind, fields)))

    def _take(self, payload: bytes, now_ms: int) -> None:
        if payload[0] == _TAG_MAC0:
            if self._session is None:
                raise SignatureError("session", None)
            kind, fields = codec.decode_message(self._session.unprotect(payload))
            if kind not in schema.SESSION_KINDS:
                raise DecodeError("kind", kind)
            self.last_heard_ms = now_ms
            self._on_message(kind, fields)
            return
        kind, fields = codec.decode_message(payload)
        if kind == schema.HERE:
            self._on_here(fields, now_ms)
        elif kind == schema.ENROL_REPLY:
            self._on_enrol_reply(fields)
        elif kind == schema.ENROL_RESULT:
            self._on_enrol_result(fields)
        else:
            raise DecodeError("kind", kind)

    def _on_here(self, fields: dict[str, Any], now_ms: int) -> None:
        """Open a session with an element we know, or begin to enrol one we do not."""
        if not self._nonce or fields["host_nonce"] != self._nonce:
            raise SignatureError("nonce", None)
        self._nonce = b""
        self.here_count += 1
        element_id = fields["element_id"]
        enrolled = self._known.get(element_id)
        offered = self._offered
        if enrolled is None and offered is not None and offered.element_id == element_id:
            enrolled = offered  # its yes was lost; if it was none, no session will open
        if fields["enrolled"] and enrolled is not None:
            outward, inward = derive_keys(
                hkdf_sha256, enrolled.session_key, fields["host_nonce"],
                fields["element_nonce"], element_id,
            )
            self._session = Session(hmac_sha256, outward, inward, element_id)
            self.element_id = element_id
            self.last_heard_ms = now_ms
            self._on_session(element_id)
        elif fields["enrolled"]:
            self.enrol_error = f"element {element_id.hex()} is enrolled with another host"
        elif self._enrol is not None and self._enrol_due(now_ms):
            self._enrol_at_ms = now_ms
            self._challenge = self._random(16)
            self._send_plain(schema.ENROL_OFFER, {"challenge": self._challenge})

    def _enrol_due(self, now_ms: int) -> bool:
        period_ms = ENROL_PERIOD_MS if self._offered is None else GRANT_MS_MAX
        return self._enrol_at_ms is None or now_ms - self._enrol_at_ms >= period_ms

    def _on_enrol_reply(self, fields: dict[str, Any]) -> None:
        if self._enrol is None or not self._challenge:
            raise SignatureError("challenge", None)
        self._offered, grant = self._enrol(fields["request"], self._challenge)
        self._challenge = b""
        self._send_plain(schema.ENROL_GRANT, grant)

    def _on_enrol_result(self, fields: dict[str, Any]) -> None:
        if self._offered is None:
            raise SignatureError("offer", None)
        if fields["accepted"]:
            self._known[self._offered.element_id] = self._offered
        else:
            self.enrol_error = f"the element refused its credential: {fields['code']}"
        self._offered = None
        self._who_at_ms = None  # ask again at once: the session is next
