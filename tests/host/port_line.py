"""A host's end of a line, and an element's, with a line between that loses, lies and spoils."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from element.protocol import schema, trust
from element.protocol.framing import FrameDecoder, encode_frame
from hil.benchmarks.host import lowest_profile
from host_tools import codec
from host_tools.identity.issuer import Issuer
from host_tools.identity.keyring import Keyring
from host_tools.identity.site import ElementEntry, Site
from host_tools.links.element_port import ElementPort

from .peer import Peer

ROLES = {trust.ROLE_ISSUER: 0, trust.ROLE_OPERATOR: 1, trust.ROLE_LIFE_SAFETY: 2}


class Element(Peer):
    """A peer that answers again what comes again, follows its roots and changes its keys."""

    def __init__(self) -> None:
        super().__init__()
        self.message_1 = b""
        self.rekeyed = b""

    def take(self, data: bytes) -> None:
        count = len(self.heard)
        super().take(data)
        for kind, fields in self.heard[count:]:
            session = self.session
            if kind == schema.REKEY and session is not None and not session.update_pending \
                    and fields["context"] != self.rekeyed:
                self.rekeyed = fields["context"]
                session.update(self.rekeyed, True)

    def greeted(self, message_1: bytes) -> None:
        if message_1 != self.message_1:
            self.message_1 = message_1
            super().greeted(message_1)
            self.message_2 = self.out
        else:
            self.out += self.message_2

    def answer(self, kind: int, fields: dict[str, Any]) -> None:
        super().answer(kind, fields)
        if kind == schema.TRUST and not self.trust_code:
            self.follow(fields["statement"])

    def follow(self, statement: bytes) -> None:
        """Believe a statement."""
        typ, _, payload = codec.peek(statement)
        if typ == "cw/root":
            told = codec.decode_statement(trust.ROOT_ROTATION, payload)
            self.numbers[ROLES[told["role"]]] = told["number"]
        elif typ == "cw/revocations":
            self.numbers[3] = codec.decode_statement(trust.REVOCATION_LIST, payload)["number"]
        else:
            self.credential, self.issued_unix_s = statement, 0


class Line:
    """A site's port, an element that is enrolled with it, and a line that loses what it is told.

    to_lose: kinds, each lost once. sent: (kind, message) of what the host has sent in the clear.
    """

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder / "site")
        self.site.create()
        self.peer = Element()
        self.now_ms = time.time_ns() // 1_000_000
        enrolled, grant = Issuer(self.site.authorities()).enrol(
            self.peer.request(b"c" * 16), b"c" * 16, lowest_profile(), 3, "acme",
            self.now_ms // 1000)
        self.peer.credential = grant["credential"]
        self.peer.numbers[:3] = 1, 1, 1
        self.site.pki.keep(schema.CREDENTIAL, enrolled.credential)
        self.site.save(ElementEntry(enrolled.element_id.hex(), "/dev/x", "memory", 3, "acme",
                                    "wall", enrolled.credential.hex()))
        self.messages: list[tuple[int, dict[str, Any]]] = []
        self.sessions: list[bytes] = []
        self.sent: list[tuple[int, dict[str, Any]]] = []
        self.to_lose: list[int] = []
        self.spoil: Callable[[int, dict[str, Any]], dict[str, Any]] = lambda _, fields: fields
        self._out, self._in = FrameDecoder(4096), FrameDecoder(4096)
        self.use(self.site.keyring())

    def use(self, keyring: Keyring) -> None:
        """Begin as a host that was just started."""
        self.port = ElementPort(
            "line", self._send, keyring, None, os.urandom,
            lambda kind, fields: self.messages.append((kind, fields)), self.sessions.append)

    def _send(self, data: bytes) -> None:
        for payload in self._out.feed(data):
            if payload[0] == 0xD0:
                self._pass(0, payload, self.peer.take)
                continue
            kind, fields = codec.decode_message(payload)
            self.sent.append((kind, fields))
            self._pass(kind, payload, self.peer.take)

    def _pass(self, kind: int, payload: bytes, take: Callable[[bytes], None]) -> None:
        if kind in self.to_lose:
            self.to_lose.remove(kind)
        else:
            take(encode_frame(payload))

    def pump(self) -> None:
        """Deliver what the peer sent until nothing more comes."""
        while self.peer.out:
            data, self.peer.out = self.peer.out, b""
            for payload in self._in.feed(data):
                if payload[0] == 0xD0:
                    self._pass(0, payload, self.hear)
                    continue
                kind, fields = codec.decode_message(payload)
                self._pass(kind, codec.encode_message(kind, self.spoil(kind, fields)), self.hear)

    def hear(self, data: bytes) -> None:
        """Let the host receive."""
        self.port.receive(data, self.now_ms)

    def inject(self, kind: int, fields: dict[str, Any]) -> None:
        """Let the host receive a link message that the element has not sent."""
        self.hear(encode_frame(codec.encode_message(kind, fields)))

    def step(self, delta_ms: int = 500, count: int = 1) -> "Line":
        """Let time pass and both ends talk."""
        for _ in range(count):
            self.now_ms += delta_ms
            self.port.tick(self.now_ms)
            self.pump()
        return self

    def telemetry(self, count: int = 1) -> None:
        """Let time pass, a second each, with an element that is heard."""
        for _ in range(count):
            self.now_ms += 1000
            self.peer.telemetry()
            self.pump()
            self.port.tick(self.now_ms)
            self.pump()

    def connect(self) -> "Line":
        """Open the session."""
        self.step()
        assert self.port.has_session and self.port.element_id == self.peer.id
        return self

    def of(self, kind: int) -> list[Any]:
        """Return what the host has sent of a kind of one field."""
        return [next(iter(fields.values())) for one, fields in self.sent if one == kind]

    def kinds(self) -> list[int]:
        """Return the kinds of what the host has sent in the clear."""
        return [kind for kind, _ in self.sent]
