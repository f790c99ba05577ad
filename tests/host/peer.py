"""An element's end of a line for host tests: keys, statements and sessions, no firmware."""

import hashlib
import random
from typing import Any

from element.protocol import cbor, cose, schema, trust
from element.protocol.edhoc_responder import Responder
from element.protocol.errors import SignatureError
from element.protocol.framing import FrameDecoder, encode_frame
from element.protocol.sealed import SealedSession
from hil.benchmarks.host import lowest_profile
from host_tools import codec
from host_tools.aggregator import Aggregator
from host_tools.identity.aead import ccm_open, ccm_seal
from host_tools.identity.credentials import Trust
from host_tools.identity.exchange import CRYPTO, lift
from host_tools.identity.issuer import Authorities
from host_tools.identity.keys import make_key_pair
from host_tools.identity.revocation import Revocations
from host_tools.ledger.store import Ledger

START_MS = 1_767_225_600_000


def plain_profile(**changes: Any) -> dict[str, Any]:
    """Return the profile of an element of 1 kW and 5 kWh that takes every service."""
    return lowest_profile() | {
        "power_mw_discharge_max": 1_000_000, "power_mw_charge_max": 1_000_000,
        "soc_bp_max": 10000, "energy_mwh_rated": 5_000_000, "services": 0x3F,
        "ramp_mw_per_s": 10_000_000, "lease_ms_max": 5000, "chemistry": "LFP"} | changes


class Peer:
    """Answers as an element would; everything it receives is kept in `heard`."""

    def __init__(self, seed: int = 1) -> None:
        rng = random.Random(seed)
        self.sign, self.agree = make_key_pair(rng.randbytes), make_key_pair(rng.randbytes)
        self.id = self.sign.key_id
        self.heard: list[tuple[int, dict[str, Any]]] = []
        self.out = b""
        self.session: SealedSession | None = None
        self.credential = b""
        self.party = b""  # the credential of whom the session is with
        self.numbers = [0, 0, 0, 0]  # of issuer, operator, life safety, revocations
        self.issued_unix_s = 0
        self.trust_code = ""
        self._handshake: Responder | None = None
        self._ephemeral = self.agree
        self.counter = 0
        self.previous = bytes(32)
        self._frames = FrameDecoder(4096)
        self._rng = rng

    def take(self, data: bytes) -> None:
        """Receive bytes from the host and answer what an element answers by itself."""
        for payload in self._frames.feed(data):
            if payload[0] == 0xD0:
                try:
                    assert self.session is not None
                    plaintext = self.session.unprotect(payload)
                except SignatureError:
                    continue  # of the session before
                self.heard.append(codec.decode_message(plaintext))
                continue
            kind, fields = codec.decode_message(payload)
            self.heard.append((kind, fields))
            self.answer(kind, fields)

    def answer(self, kind: int, fields: dict[str, Any]) -> None:
        """Answer a link message."""
        if kind == schema.WHO:
            self.here(fields["host_nonce"])
        elif kind == schema.ENROL_OFFER:
            self.plain(schema.ENROL_REPLY, {"request": self.request(fields["challenge"])})
        elif kind == schema.ENROL_GRANT:
            self.credential = fields["credential"]
            self.numbers[:3] = [int.from_bytes(fields[role][:4], "big")
                                for role in ("issuer", "operator", "life_safety")]
            self.plain(schema.ENROL_RESULT, {"accepted": True, "code": ""})
        elif kind == schema.EDHOC_1:
            self.greeted(fields["message"])
        elif kind == schema.EDHOC_3 and self._handshake is not None:
            self.finish(fields["message"])
        elif kind == schema.TRUST:
            digest = hashlib.sha256(fields["statement"]).digest()[:8]
            self.plain(schema.TRUST_RESULT, {"digest": digest, "code": self.trust_code})

    def here(self, host_nonce: bytes) -> None:
        """Answer WHO."""
        if self.credential and not self.issued_unix_s:
            self.issued_unix_s = codec.decode_statement(
                schema.CREDENTIAL, codec.peek(self.credential)[2])["issued_unix_s"]
        issuer, operator, life_safety, revocations = self.numbers
        self.plain(schema.HERE, {
            "element_id": self.id, "host_nonce": host_nonce, "enrolled": bool(self.credential),
            "credential_unix_s": self.issued_unix_s, "issuer_number": issuer,
            "operator_number": operator, "life_safety_number": life_safety,
            "revocation_number": revocations})

    def greeted(self, message_1: bytes) -> None:
        """Answer message_1."""
        self._handshake = Responder(CRYPTO, self.credential, {cose.KID: self.id}, self.meet)
        g_x = lift(self._handshake.receive_1(message_1))
        self._ephemeral = make_key_pair(self._rng.randbytes)
        self.plain(schema.EDHOC_2, {"message": self._handshake.make_2(
            self._rng.randbytes(2), self._ephemeral.public[:32], self._ephemeral.agree(g_x),
            self.agree.agree(g_x))})

    def meet(self, id_cred: dict[int, Any]) -> tuple[bytes, bytes]:
        """Return a party's credential and key; no test here needs its signature."""
        self.party = cbor.encode(id_cred[13])
        claims = codec.decode_statement(trust.PARTY_CREDENTIAL, codec.peek(self.party)[2])
        return self.party, schema.raw_key(claims["agree_key"])

    def finish(self, message_3: bytes) -> None:
        """Open the session and speak first."""
        assert self._handshake is not None
        handshake, self._handshake = self._handshake, None
        exporter = handshake.finish_3(self._ephemeral.agree(handshake.receive_3(message_3)))
        self.session = SealedSession(ccm_seal, ccm_open, exporter, self.id + handshake.c_r, False)
        self.send(schema.UPDATE_ANSWER, {"index": 0, "offset": 0, "code": ""})

    def request(self, challenge: bytes, **changes: Any) -> bytes:
        """Return a signed EnrolRequest."""
        fields = {
            "element_id": self.id, "challenge": challenge,
            "sign_key": schema.cose_key(self.sign.public),
            "agree_key": schema.cose_key(self.agree.public), "hardware_id": b"hw",
            "board": "test", "firmware": "test"} | changes
        return self.statement(schema.ENROL_REQUEST, fields)

    def statement(self, kind: int, fields: dict[str, Any]) -> bytes:
        """Return a statement signed with our key."""
        return codec.sign1(self.sign.private, schema.STATEMENT_TYP[kind], self.id,
                           codec.encode_statement(kind, fields))

    def record(self, **changes: Any) -> bytes:
        """Return the next record of our chain."""
        self.counter += 1
        fields = {
            "element_id": self.id, "counter": self.counter, "previous_hash": self.previous,
            "dispatch_id": 1, "start_unix_ms": START_MS, "end_unix_ms": START_MS + 60000,
            "instructed_mw_mean": 0, "realized_mw_mean": 0, "realized_mw_min": 0,
            "realized_mw_max": 0, "energy_mwh": 0, "soc_bp_start": 5000, "soc_bp_end": 5000,
            "quality": 0} | changes
        statement = self.statement(schema.EXECUTION_RECORD, fields)
        self.previous = hashlib.sha256(statement).digest()
        return statement

    def plain(self, kind: int, fields: dict[str, Any]) -> None:
        """Send a link message."""
        self.out += encode_frame(codec.encode_message(kind, fields))

    def send(self, kind: int, fields: dict[str, Any]) -> bytes:
        """Send a session message; returns its frame for replays."""
        assert self.session is not None
        frame = encode_frame(self.session.protect(codec.encode_message(kind, fields)))
        self.out += frame
        return frame

    def telemetry(self, **changes: Any) -> None:
        """Send telemetry of an idle element that could do 1 kW either way."""
        fields = {
            "at_unix_ms": START_MS, "state": 2, "inhibits": 0, "trip_cause": 0, "power_mw": 0,
            "instructed_mw": 0, "power_mw_discharge_ready": 1_000_000,
            "power_mw_charge_ready": 1_000_000, "room_mwh_discharge": 1_000_000,
            "room_mwh_charge": 1_000_000, "pack_mv": 51200, "current_ma": 0,
            "current_age_ms": 0, "soc_bp": 5000, "cell_mv_min": 3200, "cell_mv_max": 3210,
            "temperature_mdegc_max": 25000, "bms_age_ms": 100, "cells_age_ms": 100, "fets": 0,
            "refused_count": 0, "dropped_count": 0, "late_ms_max": 0, "flags": 0,
            "soc_bp_low": 5000, "soc_bp_high": 5000, "soc_bp_doubt": 100, "cell_index_min": 0,
            "cell_index_max": 1, "bms_errors": 0, "bms_lost_count": 0, "bms_note": ""} | changes
        self.send(schema.TELEMETRY, fields)

    def kinds(self) -> list[int]:
        """Return the kinds of everything heard so far."""
        return [kind for kind, _ in self.heard]


class Site:
    """An aggregator and one peer on a perfect line."""

    def __init__(self) -> None:
        self.peer = Peer()
        rng = random.Random(7)
        self.authorities = Authorities.make(rng.randbytes)
        self.revocations: dict[str, Revocations] = {}
        self.aggregator = Aggregator(
            self.authorities, Ledger(), rng.randbytes, lambda name, _: (plain_profile(), 3, ""),
            believed=lambda: Trust(self.authorities.roots, self.revocations))
        self.port = self.aggregator.add_port("one", self.peer.take)
        self.now_ms = START_MS

    def pump(self) -> None:
        """Deliver what the peer sent until nothing more comes."""
        while self.peer.out:
            data, self.peer.out = self.peer.out, b""
            self.aggregator.receive("one", data, self.now_ms)

    def step(self, delta_ms: int = 1000) -> None:
        """Let time pass and both ends talk."""
        self.now_ms += delta_ms
        self.aggregator.step(self.now_ms)
        self.pump()

    def connect(self) -> "Site":
        """Enrol the peer and open a session."""
        for _ in range(3):
            self.step()
        assert self.port.has_session
        return self
