"""The host's end of one element's line: discovery, enrolment, session, messages. No I/O.

Bytes are handed in and out; times are handed in as Unix milliseconds; randomness is handed in.
A lost session is opened again by itself: WHO is asked until the element answers.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from element.protocol import schema
from element.protocol.errors import DecodeError, SignatureError
from element.protocol.framing import FrameDecoder, encode_frame
from element.protocol.sealed import GENERATION_MAX, SealedSession
from element.protocol.wire import Wire
from host_tools import codec
from host_tools.identity.keyring import Enrolled, Keyring
from host_tools.links.frames import whole_frame
from host_tools.links.handshake import Handshake, reason_of

FRAME_SIZE_MAX = 2400
WHO_PERIOD_MS = 1000
# An element answers five times a second at most.
WHO_PAUSE_MS = 250
ENROL_PERIOD_MS = 3000
# An element verifies its grant for seconds. A second one meanwhile would be another credential
# than the one it then keeps.
GRANT_MS_MAX = 20_000
# It verifies what its roots tell it as long.
TRUST_MS_MAX = 10_000
# What it has answered to is told again after this time if it still lacks it: nobody vouches for
# that answer. What it had no room for is told again at once.
TOLD_MS = 600_000
BUSY = "busy"
# With no authenticated word for this long the element may have restarted: ask WHO again.
SILENCE_MS_MAX = 3000
# Keys of a session are changed this often, which costs no handshake.
REKEY_PERIOD_MS = 86_400_000
REKEY_REPEAT_MS = 5000
# In a session: how often its element is judged again, and told what its roots have signed.
NEWS_PERIOD_MS = 60_000
# A panel with nothing to say says that it is there.
ALIVE_MS = 2000

_TAG_ENCRYPT0 = 0xD0


class ElementPort:
    """One line and the element at its end.

    keyring: this party and the elements it knows, None for nobody. enrol: called with (request,
    challenge) to make a grant, or None when this host must not enrol. on_message(kind, fields)
    gets every authenticated message, on_session(element_id) each new session, before its first.
    enrol_error: why there is no session, as far as anybody has said. trust_error: what the
    element has refused of what its roots say, the last of it.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[bytes], None],
        keyring: Keyring | None,
        enrol: Callable[[bytes, bytes], tuple[Enrolled, dict[str, Any]]] | None,
        random_bytes: Callable[[int], bytes],
        on_message: Callable[[int, dict[str, Any]], None],
        on_session: Callable[[bytes], None],
    ) -> None:
        self.name = name
        self.element_id: bytes | None = None
        self.dropped = 0
        self.foreign = 0  # of sessions that are not ours, or not any more
        self.last_heard_ms: int | None = None
        self.enrol_error = ""
        self.trust_error = ""
        self.here_count = 0  # answers to WHO, of enrolled elements and others
        self._send = send
        self.keyring = keyring
        self._enrol = enrol
        self._random = random_bytes
        self._on_message = on_message
        self._on_session = on_session
        self._wire = Wire()
        self._frames = FrameDecoder(FRAME_SIZE_MAX)
        self._between = True  # two frames: nothing has begun
        self._session: SealedSession | None = None
        self._handshake: Handshake | None = None
        self._told: dict[bytes, int] = {}  # digests of what it has answered to, and when
        self._telling: tuple[bytes, int] | None = None  # (digest, since when)
        self._rekey: tuple[bytes, int] | None = None  # (context, when it was last asked for)
        self._rekeyed_ms = 0
        self._here: dict[str, Any] | None = None  # what the element last said of itself
        self._news_ms = 0
        self._sent_count = 0
        self._alive = (0, 0)  # (what was sent, when)
        self._greeted: bytes | None = None  # whom the handshake is with
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
        """Keep the session: open one when there is none, change its keys when that is due."""
        heard = self.last_heard_ms
        silent = heard is None or now_ms - heard > SILENCE_MS_MAX
        if self._session is not None and not silent \
                and self._keep_keys(self._session, now_ms):
            self._keep_alive(now_ms)
            self._tell_news(now_ms)
            return
        if self._handshake is not None:
            if not self._handshake.is_over(now_ms):
                if self._handshake.is_due(now_ms):
                    self._send_handshake()
                return
            self._handshake = None
        if self._telling is not None and now_ms - self._telling[1] < TRUST_MS_MAX:
            return
        self._telling = None
        if self._who_at_ms is None or now_ms - self._who_at_ms >= WHO_PERIOD_MS:
            self.who(now_ms)

    def who(self, now_ms: int) -> None:
        """Ask who is there; `here_count` rises with the answer."""
        self._who_at_ms = now_ms
        self._nonce = self._random(16)
        self._send_plain(schema.WHO, {"host_nonce": self._nonce})

    def _keep_alive(self, now_ms: int) -> None:
        """Say something now and then: a network line gives a silent panel's place away."""
        if self._sent_count != self._alive[0]:
            self._alive = (self._sent_count, now_ms)
        elif now_ms - self._alive[1] >= ALIVE_MS:
            self.send(schema.STATEMENT_ACK, {"counter": 0})  # acknowledges nothing

    def _tell_news(self, now_ms: int) -> None:
        """Judge the element of a session again, and tell it what its roots have signed since.

        A session whose element may not take part any more ends here; see `enrol_error`.
        """
        if self._telling is not None and now_ms - self._telling[1] < TRUST_MS_MAX:
            return
        self._telling = None
        if self.keyring is None or self._here is None or now_ms - self._news_ms < NEWS_PERIOD_MS:
            return
        self._news_ms = now_ms
        enrolled = self.keyring.known.get(self._here["element_id"])
        why = "" if enrolled is None else self.keyring.refusal(enrolled, now_ms // 1000)
        if why:
            self._session = None
            self.enrol_error = f"element {self._here['element_id'].hex()}: its credential is {why}"
        else:
            self._tell(self.keyring, self._here, now_ms)

    def _keep_keys(self, session: SealedSession, now_ms: int) -> bool:
        """Ask for new keys once in a while, again until the element has heard it.

        False when this session has no new keys any more: the next handshake is due.
        """
        if self._rekey is None:
            return now_ms - self._rekeyed_ms < REKEY_PERIOD_MS or self.rekey(now_ms)
        if not session.update_pending:
            self._rekey = None
        elif now_ms - self._rekey[1] >= REKEY_REPEAT_MS:
            self._rekey = (self._rekey[0], now_ms)
            self.send(schema.REKEY, {"context": self._rekey[0]})
        return True

    def rekey(self, now_ms: int) -> bool:
        """Go on to new keys in this session.

        False without one, while that is under way, and when it has used up all its keys.
        """
        if self._session is None or self._session.update_pending \
                or self._session.generation >= GENERATION_MAX:
            return False
        context = self._random(16)
        self.send(schema.REKEY, {"context": context})
        self._session.update(context)
        self._rekey, self._rekeyed_ms = (context, now_ms), now_ms
        return True

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take bytes from the line. Bad frames are counted and dropped, text is passed over."""
        if self._between:
            payload = whole_frame(data, FRAME_SIZE_MAX)
            if payload is not None:
                self._frames.good += 1
                self._try(payload, now_ms)
                return
        self._between = data[-1:] == b"\x00"
        frames = self._wire.feed(data)
        self._wire.text = bytearray()
        for payload in self._frames.feed(frames):
            self._try(payload, now_ms)

    def _try(self, payload: bytes, now_ms: int) -> None:
        """Take a payload, or count why not."""
        try:
            self._take(payload, now_ms)
        except SignatureError as error:
            if error.code == "session_kid":
                self.foreign += 1
            else:
                self.dropped += 1
        except DecodeError:
            self.dropped += 1

    def send(self, kind: int, fields: dict[str, Any]) -> bool:
        """Send an authenticated message; False when there is no session to send it in."""
        if self._session is None:
            return False
        self._send(encode_frame(self._session.protect(codec.encode_message(kind, fields))))
        self._sent_count += 1
        return True

    def _send_plain(self, kind: int, fields: dict[str, Any]) -> None:
        self._send(encode_frame(codec.encode_message(kind, fields)))

    def _send_handshake(self) -> None:
        if self._handshake is not None:
            self._send_plain(self._handshake.kind, {"message": self._handshake.message})

    def _take(self, payload: bytes, now_ms: int) -> None:
        if payload[0] == _TAG_ENCRYPT0:
            plaintext = self._unprotect(payload, now_ms)
            kind, fields = codec.decode_message(plaintext)
            if kind not in schema.SESSION_KINDS:
                raise DecodeError("kind", kind)
            self.last_heard_ms = now_ms
            self._on_message(kind, fields)
            return
        kind, fields = codec.decode_message(payload)
        if kind == schema.HERE:
            self._on_here(fields, now_ms)
        elif kind == schema.EDHOC_2:
            self._on_edhoc_2(fields["message"], now_ms)
        elif kind == schema.EDHOC_ERROR:
            self._on_edhoc_error(fields["message"])
        elif kind == schema.TRUST_RESULT:
            self._on_trust_result(fields, now_ms)
        elif kind == schema.ENROL_REPLY:
            self._on_enrol_reply(fields)
        elif kind == schema.ENROL_RESULT:
            self._on_enrol_result(fields)
        else:
            raise DecodeError("kind", kind)

    def _unprotect(self, payload: bytes, now_ms: int) -> bytes:
        """Open a message of the session, or the first of a new one, which proves that one."""
        if self._session is not None:
            try:
                return bytes(self._session.unprotect(payload))
            except SignatureError:
                if self._handshake is None or self._handshake.session is None:
                    raise
        session = None if self._handshake is None else self._handshake.session
        if session is None or self._greeted is None:
            raise SignatureError("session_kid", None)
        plaintext = bytes(session.unprotect(payload))
        self._session, self._handshake, self._rekey = session, None, None
        self._rekeyed_ms = self.last_heard_ms = now_ms
        self.element_id = self._greeted
        self.enrol_error = ""
        self._on_session(self._greeted)
        return plaintext

    def _on_here(self, fields: dict[str, Any], now_ms: int) -> None:
        """Greet an element we know, tell it what is new, or begin to enrol one we do not."""
        if not self._nonce or fields["host_nonce"] != self._nonce:
            raise SignatureError("nonce", None)
        self._nonce = b""
        self.here_count += 1
        element_id = fields["element_id"]
        keyring = self.keyring
        enrolled = None if keyring is None else keyring.known.get(element_id)
        offered = self._offered
        if enrolled is None and offered is not None and offered.element_id == element_id:
            enrolled = offered  # its yes was lost; if it was none, no session will open
        if fields["enrolled"] and enrolled is not None and keyring is not None:
            self._greet(keyring, enrolled, fields, now_ms)
        elif fields["enrolled"]:
            self.enrol_error = f"element {element_id.hex()} is enrolled with another host"
        elif self._enrol is not None and self._enrol_due(now_ms):
            self._enrol_at_ms = now_ms
            self._challenge = self._random(16)
            self._send_plain(schema.ENROL_OFFER, {"challenge": self._challenge})

    def _greet(self, keyring: Keyring, enrolled: Enrolled, here: dict[str, Any],
               now_ms: int) -> None:
        """Tell an element what its roots have signed since, then begin a handshake."""
        why = keyring.refusal(enrolled, now_ms // 1000)
        if why:
            self.enrol_error = f"element {enrolled.element_id.hex()}: its credential is {why}"
            return
        self._here = here
        self._news_ms = now_ms
        if self._tell(keyring, here, now_ms):
            return
        if self._handshake is None:
            self._greeted = enrolled.element_id
            self._handshake = Handshake(keyring.party, enrolled, self._random, now_ms)
            self._send_handshake()

    def _tell(self, keyring: Keyring, here: dict[str, Any], now_ms: int) -> bool:
        """Tell the first thing that an element has not heard; False when there is nothing."""
        for statement in keyring.news(here):
            digest = hashlib.sha256(statement).digest()[:8]
            if now_ms - self._told.get(digest, -TOLD_MS) >= TOLD_MS:
                self._telling = (digest, now_ms)
                self._send_plain(schema.TRUST, {"statement": statement})
                return True
        return False

    def _on_trust_result(self, fields: dict[str, Any], now_ms: int) -> None:
        """Go on; what was refused is not told again soon, and said."""
        if self._telling is None or fields["digest"] != self._telling[0]:
            raise SignatureError("trust", None)
        self._telling = None
        if fields["code"]:
            self.trust_error = f"the element refused what its root says: {fields['code']}"
        if fields["code"] != BUSY:
            self._told[fields["digest"]] = now_ms
            self._who_at_ms = now_ms - WHO_PERIOD_MS + WHO_PAUSE_MS

    def _on_edhoc_2(self, message: bytes, now_ms: int) -> None:
        if self._handshake is None:
            raise SignatureError("handshake", None)
        if self._handshake.session is None:
            try:
                self._handshake.answer(message, now_ms)
            except (DecodeError, SignatureError) as error:
                self._handshake = None
                self.enrol_error = self._with_trust(
                    f"the element did not prove its key: {error.code}")
                raise
        self._send_handshake()

    def _on_edhoc_error(self, message: bytes) -> None:
        """Begin again; the word of nobody in particular ends no session."""
        if self._handshake is None:
            raise SignatureError("handshake", None)
        self._handshake = None
        self.enrol_error = self._with_trust(f"no session: {reason_of(message)}")

    def _with_trust(self, error: str) -> str:
        """Return why there is no session; what the element did not take may be the cause."""
        return f"{error}; {self.trust_error}" if self.trust_error else error

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
            if self.keyring is not None:
                self.keyring.known[self._offered.element_id] = self._offered
        else:
            self.enrol_error = f"the element refused its credential: {fields['code']}"
        self._offered = None
        self._who_at_ms = None  # ask again at once: the session is next
