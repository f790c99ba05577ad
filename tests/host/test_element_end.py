"""The element's end at host speed: enrolment, sessions, rights, chain, orders, restarts."""

import hashlib
import random
from typing import Any

import pytest

from element.protocol import cbor, codes, schema, trust
from element.protocol.errors import DecodeError, SignatureError
from element.protocol.framing import FrameDecoder, encode_frame
from hil.benchmarks.host import lowest_profile
from host_tools import codec
from host_tools.identity.credentials import party_credential, renewed
from host_tools.identity.issuer import Authorities, Issuer
from host_tools.identity.keyring import Enrolled, Keyring, Party
from host_tools.identity.keys import KeyPair, make_key_pair
from host_tools.identity.revocation import Revocation, sign_list
from host_tools.identity.roots import key_hash, rotation
from host_tools.interlock.panel import ReleaseDesk
from host_tools.links import element_chain
from host_tools.links.element_end import NO_UPDATE, ElementEnd
from host_tools.links.element_identity import ElementIdentity
from host_tools.links.element_port import ElementPort
from host_tools.links.element_user import Answer, ElementUser

START_MS = 1_767_225_600_000
START_S = START_MS // 1000
TELEMETRY: dict[str, Any] = {
    name: (None if kind == schema.INT_OR_NONE else "" if kind == schema.TEXT else max(low, 0))
    for name, kind, low, _ in schema.table_of(schema.TELEMETRY)}


def profile(**changes: Any) -> dict[str, Any]:
    return lowest_profile() | {
        "soc_bp_max": 9000, "cell_mv_max": 3600, "temperature_mdegc_discharge_max": 50_000,
        "temperature_mdegc_charge_max": 45_000, "power_mw_discharge_max": 5_000_000} | changes


class User(ElementUser):
    """Takes everything and remembers it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.answer: Answer | None = (codes.REASON_NONE, None)
        self.enrolled = 0

    def on_setpoint(self, fields: dict[str, Any]) -> Answer | None:
        self.heard.append(("setpoint", fields))
        return self.answer

    def on_owner_limit(self, fields: dict[str, Any]) -> Answer | None:
        self.heard.append(("owner", fields))
        return codes.REASON_OWNER, None

    def on_trip(self, fields: dict[str, Any]) -> None:
        self.heard.append(("trip", fields))

    def on_release(self, order: dict[str, Any]) -> bool:
        self.heard.append(("release", order))
        return True

    def on_time_sync(self, fields: dict[str, Any]) -> None:
        self.heard.append(("time", fields))

    def announcement(self) -> dict[str, Any]:
        return {"state": codes.STATE_IDLE, "soc_bp": 5000, "soh_bp": None}

    def telemetry(self) -> dict[str, Any]:
        return TELEMETRY | {"state": codes.STATE_IDLE}

    def on_enrolled(self) -> None:
        self.enrolled += 1

    def names(self) -> list[str]:
        return [name for name, _ in self.heard]


class Bench:
    """An end and a host's port on one line."""

    def __init__(self, rated: Any = None, granted: dict[str, Any] | None = None,
                 own_clock: bool = False) -> None:
        self.rng = random.Random(5)
        self.authorities = Authorities.make(self.rng.randbytes)
        self.granted = profile() if granted is None else granted
        self.pairs = make_key_pair(self.rng.randbytes), make_key_pair(self.rng.randbytes)
        self.kept = 0
        self.user = User()
        self.own_clock = own_clock
        self.rated = rated
        self.now_ms = START_MS
        self.messages: list[tuple[int, dict[str, Any]]] = []
        self.to_end: list[bytes] = []
        self.to_host: list[bytes] = []
        self.end = self.new_end()
        self.keyring = Keyring(self.authorities.party, {})
        self.port = self.new_port(self.keyring)

    def new_end(self) -> ElementEnd:
        def keep() -> None:
            self.kept += 1

        return ElementEnd(ElementIdentity(*self.pairs, self.rated, keep), self.user,
                          self.to_host.append, self.rng.randbytes,
                          own_clock=self.own_clock)

    def new_port(self, keyring: Keyring) -> ElementPort:
        def enrol(request: bytes, challenge: bytes) -> tuple[Enrolled, dict[str, Any]]:
            return Issuer(self.authorities).enrol(
                request, challenge, self.granted, 3, "t", self.now_ms // 1000)

        return ElementPort("one", self.to_end.append, keyring, enrol, self.rng.randbytes,
                           lambda kind, fields: self.messages.append((kind, fields)),
                           lambda element_id: None)

    def pump(self) -> None:
        while self.to_end or self.to_host:
            to_end, to_host = self.to_end[:], self.to_host[:]
            self.to_end.clear()
            self.to_host.clear()
            for data in to_end:
                self.end.receive(data, self.now_ms)
            for data in to_host:
                self.port.receive(data, self.now_ms)

    def step(self, delta_ms: int = 1000, count: int = 1) -> "Bench":
        for _ in range(count):
            self.now_ms += delta_ms
            self.port.tick(self.now_ms)
            self.pump()
        return self

    def connect(self) -> "Bench":
        self.step(count=3)
        assert self.port.has_session and self.end.has_session
        self.send(schema.TIME_SYNC, unix_ms=self.now_ms, record_interval_ms=60_000)
        return self

    def send(self, kind: int, **fields: Any) -> bytes:
        """Send from the host; returns the frame for replays."""
        assert self.port.send(kind, fields)
        frame = self.to_end[-1]
        self.pump()
        return frame

    def of(self, kind: int) -> list[dict[str, Any]]:
        return [fields for one, fields in self.messages if one == kind]

    def setpoint(self, sequence: int, power_mw: int = 1) -> bytes:
        return self.send(schema.SETPOINT, dispatch_id=1, sequence=sequence, power_mw=power_mw,
                         service=1, start_unix_ms=self.now_ms, lease_ms=1000)

    def plain(self, kind: int, **fields: Any) -> None:
        self.end.receive(encode_frame(codec.encode_message(kind, fields)), self.now_ms)

    def told(self) -> list[tuple[int, dict[str, Any]]]:
        """Return the link messages that the end has sent and nobody has taken yet."""
        payloads = FrameDecoder(4096).feed(b"".join(self.to_host))
        self.to_host.clear()
        return [codec.decode_message(one) for one in payloads if one[0] != 0xD0]

    def record(self, **changes: Any) -> bool:
        return self.end.chain.add(schema.EXECUTION_RECORD, {
            "dispatch_id": 1, "start_unix_ms": START_MS, "end_unix_ms": START_MS + 60_000,
            "instructed_mw_mean": 0, "realized_mw_mean": 0, "realized_mw_min": 0,
            "realized_mw_max": 0, "energy_mwh": 0, "soc_bp_start": 5000, "soc_bp_end": 5000,
            "quality": 0} | changes)

    def party(self, kind: str, operator: KeyPair | None = None, **changes: Any) -> ElementPort:
        """Return the port of another party on the same line, its session open."""
        sign, agree = make_key_pair(self.rng.randbytes), make_key_pair(self.rng.randbytes)
        operator = operator or self.operator()
        credential = party_credential(kind, kind, sign.public, agree.public, operator, "op",
                                      **({"now_unix_s": START_S} | changes))
        self.port = self.new_port(Keyring(Party(agree, credential), self.keyring.known))
        self.step()
        return self.port

    def operator(self) -> KeyPair:
        """Return the operator's key pair: the third that Authorities.make draws."""
        rng = random.Random(5)
        pairs = [make_key_pair(rng.randbytes) for _ in range(6)]
        key = self.authorities.roots["operator"].current.key
        return next(pair for pair in pairs if pair.public == key)


# ---- enrolment and sessions ----


def test_an_element_is_enrolled_and_greeted_and_speaks_first() -> None:
    bench = Bench().connect()
    assert bench.user.enrolled == 1 and bench.end.identity.zone == 3 and bench.kept > 0
    assert bench.messages[0] == (schema.TELEMETRY, bench.user.telemetry())
    assert bench.port.element_id == bench.pairs[0].key_id
    assert bench.end.unix_ms(bench.now_ms) == bench.now_ms and bench.end.session_count == 1


def test_a_profile_beyond_the_ratings_is_refused() -> None:
    bench = Bench(rated=lambda one: "power" if one["power_mw_discharge_max"] > 10 else "")
    bench.step(count=2)
    assert not bench.end.identity.enrolled and bench.user.enrolled == 0
    assert bench.port.enrol_error.endswith("profile power")


@pytest.mark.parametrize(("changes", "code"), [
    ({"soc_bp_min": 9000}, "profile soc_bp_min"),
    ({"discharge_bp_at_soc": [1, 2, 1, 3]}, "profile discharge_bp_at_soc"),
])
def test_a_profile_that_contradicts_itself_is_refused(changes: dict[str, Any], code: str) -> None:
    bench = Bench(granted=profile(**changes)).step(count=2)
    assert bench.port.enrol_error.endswith(code) and not bench.end.identity.enrolled


def test_a_grant_that_its_own_issuer_did_not_sign_is_refused() -> None:
    bench = Bench()
    other = Authorities.make(random.Random(9).randbytes)
    request = bench.end.identity.request(b"c" * 16, b"hw", "b", "f")
    _, grant = Issuer(other).enrol(request, b"c" * 16, profile(), 1, "", START_S)
    _, mine = Issuer(bench.authorities).enrol(request, b"c" * 16, profile(), 1, "", START_S)
    assert bench.end.identity.grant(grant | {"issuer": mine["issuer"]}) == "credential signature"
    assert bench.end.identity.grant(mine | {"operator": bytes(100)}) == "root key"
    assert bench.end.identity.grant(mine) == ""
    assert bench.end.identity.grant(mine) == "already enrolled"


def test_another_elements_credential_is_refused() -> None:
    bench, rng = Bench(), random.Random(11)
    other = ElementIdentity(make_key_pair(rng.randbytes), make_key_pair(rng.randbytes))
    _, grant = Issuer(bench.authorities).enrol(
        other.request(b"c" * 16, b"hw", "b", "f"), b"c" * 16, profile(), 1, "", START_S)
    assert bench.end.identity.grant(grant) == "credential key"


def test_a_line_without_open_enrolment_answers_no_offer() -> None:
    bench = Bench()
    bench.end = ElementEnd(ElementIdentity(*bench.pairs), bench.user, bench.to_host.append,
                           bench.rng.randbytes, open_enrolment=False)
    bench.step(count=3)
    assert not bench.end.identity.enrolled and bench.port.here_count > 0


def test_who_is_answered_five_times_a_second_at_most() -> None:
    bench = Bench()
    for _ in range(3):
        bench.plain(schema.WHO, host_nonce=b"n" * 16)
    assert [kind for kind, _ in bench.told()] == [schema.HERE] and bench.end.dropped == 2


@pytest.mark.parametrize(("changes", "words"), [
    ({"now_unix_s": START_S - 10_000_000, "valid_s": 86400}, "expired"),
    ({"now_unix_s": START_S + 10_000_000}, "not yet valid"),
])
def test_a_party_out_of_its_time_gets_no_session(changes: dict[str, Any], words: str) -> None:
    bench = Bench().connect()
    port = bench.party("aggregator", **changes)
    assert not port.has_session and words in port.enrol_error


def test_a_party_of_another_operator_gets_no_session() -> None:
    bench = Bench().connect()
    port = bench.party("aggregator", make_key_pair(bench.rng.randbytes))
    assert not port.has_session and "not the operator's" in port.enrol_error
    assert len(bench.end.peers) == 1  # the stranger has ended nothing


def test_the_credential_is_checked_within_120_s_of_the_clock() -> None:
    bench = Bench().connect()
    assert bench.party("alarm", now_unix_s=START_S - 1100, valid_s=1000).has_session
    assert not bench.party("meter", now_unix_s=START_S - 1200, valid_s=1000).has_session


def test_a_session_ends_with_the_credential_of_its_party_though_nobody_speaks() -> None:
    bench = Bench().connect()
    assert bench.party("alarm", now_unix_s=START_S, valid_s=1000).has_session
    bench.end.tick(START_MS + 1_120_000)
    assert len(bench.end.peers) == 2
    bench.end.tick(START_MS + 1_122_000)
    assert [one.party for one in bench.end.peers] == [codes.PARTY_AGGREGATOR]


def test_message_3_without_a_handshake_is_answered_with_an_error() -> None:
    bench = Bench().connect()
    bench.plain(schema.EDHOC_3, message=b"\x40")
    kind, fields = bench.told()[0]
    assert kind == schema.EDHOC_ERROR and b"no handshake" in fields["message"]


# ---- rights, replays, keys ----


def test_an_alarm_may_trip_and_nothing_else() -> None:
    bench = Bench().connect()
    assert bench.party("alarm").has_session and len(bench.end.peers) == 2
    before = bench.end.dropped
    bench.setpoint(9)
    bench.send(schema.TIME_SYNC, unix_ms=START_MS, record_interval_ms=10_000)
    bench.send(schema.INTERROGATE, challenge=b"c" * 16)
    assert bench.user.names() == ["time"] and bench.end.dropped == before + 3
    bench.send(schema.TRIP, cause=codes.TRIP_FIRE, zone=3)
    assert bench.user.heard[-1] == ("trip", {"cause": codes.TRIP_FIRE, "zone": 3})


def test_a_replayed_setpoint_reaches_nobody() -> None:
    bench = Bench().connect()
    frame = bench.setpoint(1)
    bench.end.receive(frame, bench.now_ms)
    assert bench.user.names().count("setpoint") == 1 and bench.end.dropped == 1


def test_a_time_that_was_kept_back_is_dropped() -> None:
    bench = Bench().connect()
    assert bench.port.send(schema.TIME_SYNC, {"unix_ms": START_MS, "record_interval_ms": 10_000})
    late = bench.to_end.pop()
    bench.setpoint(1)
    bench.end.receive(late, bench.now_ms)
    assert bench.user.names().count("time") == 1 and bench.end.dropped == 1


def test_sequences_rise_within_a_session() -> None:
    bench = Bench().connect()
    bench.setpoint(5)
    bench.setpoint(5)
    bench.setpoint(4)
    assert [(one["accepted"], one["reason"], one["limit"]) for one in bench.of(schema.ACK)] == [
        (True, 0, None), (False, codes.REASON_SEQUENCE, 5), (False, codes.REASON_SEQUENCE, 5)]
    bench.port = bench.new_port(bench.keyring)  # a host that was restarted
    bench.step()
    bench.setpoint(1)
    assert bench.of(schema.ACK)[-1]["accepted"] and bench.end.session_count == 2


def test_a_setpoint_before_the_clock_is_set_is_refused() -> None:
    bench = Bench().step(count=3)
    bench.setpoint(1)
    assert bench.of(schema.ACK)[-1]["reason"] == codes.REASON_CLOCK
    own = Bench(own_clock=True).step(count=3)
    own.setpoint(1)
    assert own.of(schema.ACK)[-1]["accepted"]


def test_an_answer_may_come_later_and_an_update_never() -> None:
    bench = Bench().connect()
    bench.user.answer = None
    bench.setpoint(1)
    assert bench.of(schema.ACK) == []
    bench.end.acknowledge(1, codes.REASON_POWER, 7)
    bench.pump()
    assert bench.of(schema.ACK)[-1] == {"sequence": 1, "accepted": False,
                                        "reason": codes.REASON_POWER, "limit": 7}
    bench.send(schema.UPDATE, operation=0, index=0, offset=0, data=b"")
    assert bench.of(schema.UPDATE_ANSWER)[-1]["code"] == NO_UPDATE


def test_keys_change_without_a_handshake() -> None:
    bench = Bench().connect()
    assert bench.port.rekey(bench.now_ms)
    bench.pump()
    bench.end.send_telemetry(bench.user.telemetry())
    bench.pump()
    bench.setpoint(1)
    assert bench.of(schema.ACK)[-1]["accepted"] and bench.end.session_count == 1
    assert bench.end.peers[0].session.generation == 1


def test_a_time_before_what_the_issuer_signed_is_refused() -> None:
    bench = Bench().connect()
    bench.send(schema.TIME_SYNC, unix_ms=START_MS - 86_400_000, record_interval_ms=10_000)
    assert bench.end.refused == 1 and bench.user.names() == ["time"]
    bench.send(schema.TIME_SYNC, unix_ms=bench.now_ms + 5000, record_interval_ms=10_000)
    assert bench.end.step_count == 1 and bench.end.unix_ms(bench.now_ms) == bench.now_ms + 5000


# ---- chain ----


def test_statements_form_a_chain_and_are_offered_until_they_are_acknowledged() -> None:
    bench = Bench().connect()
    for _ in range(6):
        assert bench.record()
    bench.end.offer_statements(bench.now_ms)
    bench.pump()
    first = [one["statement"] for one in bench.of(schema.STATEMENT)]
    assert len(first) == element_chain.STATEMENTS_IN_FLIGHT
    bench.end.offer_statements(bench.now_ms + element_chain.STATEMENT_RETRY_MS)
    bench.pump()
    assert len(bench.of(schema.STATEMENT)) == len(first)
    bench.end.offer_statements(bench.now_ms + element_chain.STATEMENT_RETRY_MS + 1)
    bench.pump()
    assert [one["statement"] for one in bench.of(schema.STATEMENT)] == first * 2
    bench.send(schema.STATEMENT_ACK, counter=4)
    bench.send(schema.STATEMENT_ACK, counter=99)  # what was never offered
    rest = [one["statement"] for one in bench.of(schema.STATEMENT)][8:]
    previous, key = bytes(32), bench.pairs[0].public
    for counter, statement in enumerate(first + rest, 1):
        fields = codec.decode_statement(schema.EXECUTION_RECORD,
                                        codec.verify1(statement, key, "cw/record"))
        assert (fields["counter"], fields["previous_hash"]) == (counter, previous)
        previous = hashlib.sha256(statement).digest()
    assert len(rest) == 2 and [one for one, _ in bench.end.chain.unacked] == [5, 6]


def test_a_full_chain_gives_up_new_records_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(element_chain, "UNACKED_MAX", element_chain.RESERVE + 2)
    bench = Bench().connect()
    assert [bench.record() for _ in range(4)] == [True, True, False, False]
    assert bench.end.chain.lost_count == 2
    bench.send(schema.STATEMENT_ACK, counter=2)
    assert bench.record()
    payload = codec.peek(bench.end.chain.unacked[0][1])[2]
    notice = codec.decode_statement(schema.SAFETY_EVENT, payload)
    assert (notice["cause"], notice["value"], notice["limit"]) == (codes.NOTICE_GAP, 2, 60)
    assert bench.end.chain.counter == 4


def test_an_announcement_repeats_the_challenge() -> None:
    bench = Bench().connect()
    bench.record()
    bench.send(schema.INTERROGATE, challenge=b"c" * 16)
    payload = codec.verify1(bench.of(schema.STATEMENT)[-1]["statement"], bench.pairs[0].public,
                            "cw/announcement")
    fields = codec.decode_statement(schema.ANNOUNCEMENT, payload)
    assert fields["challenge"] == b"c" * 16 and fields["counter"] == 1
    assert fields["credential"] == bench.end.identity.credential


def test_a_restart_goes_on_in_the_same_chain_under_the_same_credential() -> None:
    bench = Bench().connect()
    bench.record()
    bench.end.order_number = 7
    kept = cbor.decode(cbor.encode(bench.end.state()))
    bench.end = bench.new_end()
    bench.end.restore(kept)
    bench.step(5000).step()
    assert bench.port.has_session and bench.end.session_count == 1
    bench.record()
    second = codec.decode_statement(schema.EXECUTION_RECORD,
                                    codec.peek(bench.end.chain.unacked[1][1])[2])
    assert second["counter"] == 2 and bench.end.order_number == 7
    assert second["previous_hash"] == hashlib.sha256(bench.end.chain.unacked[0][1]).digest()


def test_a_state_of_another_element_is_refused() -> None:
    bench, other = Bench().connect(), Bench()
    other.pairs = make_key_pair(other.rng.randbytes), other.pairs[1]
    with pytest.raises(SignatureError, match="credential key"):
        other.new_end().restore(bench.end.state())
    damaged = bench.end.state()
    damaged["identity"]["pins"] = [b"short"] * 3
    with pytest.raises(DecodeError):
        bench.new_end().restore(damaged)


# ---- release orders ----


def test_orders_are_the_life_safety_roots_for_this_element_and_rise() -> None:
    bench = Bench().connect()
    issued: dict[int, bytes] = {}
    desk = ReleaseDesk(bench.authorities.life_safety)
    one = desk.order(bench.end.identity.element_id, 1, START_MS, issued.__setitem__)
    two = desk.order(bench.end.identity.element_id, 1, START_MS, issued.__setitem__)
    others = desk.order(b"\x01" * 8, 1, START_MS, issued.__setitem__)
    forged = ReleaseDesk(bench.authorities.aggregator).order(
        bench.end.identity.element_id, 1, START_MS + 99_000, issued.__setitem__)
    for order in (forged, others, b"\x00", two, one, two):
        bench.send(schema.RELEASE, order=order)
    heard = [fields for name, fields in bench.user.heard if name == "release"]
    assert [fields["order_number"] for fields in heard] == [START_S + 1]
    assert bench.end.refused == 5


# ---- what the roots say ----


def trust_result(bench: Bench, statement: bytes) -> str:
    bench.plain(schema.TRUST, statement=statement)
    kind, fields = bench.told()[-1]
    assert kind == schema.TRUST_RESULT
    assert fields["digest"] == hashlib.sha256(statement).digest()[:8]
    return str(fields["code"])


def test_a_revoked_party_loses_its_session() -> None:
    bench = Bench().connect()
    entries = (Revocation(bench.authorities.aggregator.key_id, START_S, 0),)
    other = make_key_pair(bench.rng.randbytes)
    assert trust_result(bench, sign_list(other, 1, entries, START_S)[0]) == "signature"
    assert bench.end.has_session
    later = sign_list(bench.operator(), 2, entries, START_S + 10_000)[0]
    assert trust_result(bench, later) == "dated in the future"
    assert trust_result(bench, sign_list(bench.operator(), 2, entries, START_S)[0]) == ""
    assert not bench.end.has_session
    assert trust_result(bench, sign_list(bench.operator(), 1, (), START_S)[0]) == ""  # older
    assert bench.end.identity.revocation_number == 2
    again = bench.new_end()
    again.restore(bench.end.state())
    assert again.identity.revoked == bench.end.identity.revoked != b""
    bench.step(5000, 2)
    assert "revoked" in bench.port.enrol_error


def test_the_promised_key_follows_and_no_other() -> None:
    bench = Bench().connect()
    rng = random.Random(5)
    pairs = [make_key_pair(rng.randbytes) for _ in range(14)]
    promised = bench.authorities.roots["operator"].current.next_hash
    successor = next(pair for pair in pairs if key_hash(pair.public) == promised)
    stranger = make_key_pair(bench.rng.randbytes)

    def statement(pair: KeyPair, number: int = 2, role: str = "operator") -> bytes:
        return rotation(role, number, pair, key_hash(pair.public), START_S, START_S)

    assert trust_result(bench, statement(stranger)) == "not the promised key"
    assert trust_result(bench, statement(successor, 3)) == "a rotation before it is missing"
    assert trust_result(bench, statement(successor, 2, "meter")) == "not a root of an element"
    assert bench.end.has_session
    assert trust_result(bench, statement(successor)) == ""
    assert bench.end.peers == [] and bench.end.identity.pins[1][4:68] == successor.public
    assert trust_result(bench, statement(successor)) == ""  # known
    bench.step(5000, 2)
    assert not bench.end.has_session  # the party's credential is by the key before
    assert "not the operator's" in bench.port.enrol_error


def test_a_renewal_changes_the_time_and_no_limit() -> None:
    bench = Bench().connect()
    one = bench.end.identity
    issuer = bench.authorities.issuer
    before = one.claims
    wider = codec.sign1(issuer.private, "cw/credential", issuer.key_id, codec.encode_statement(
        schema.CREDENTIAL, before | {"profile": profile(power_mw_discharge_max=6_000_000),
                                     "issued_unix_s": before["issued_unix_s"] + 1}))
    assert trust_result(bench, wider) == "another profile"
    new = renewed(schema.CREDENTIAL, one.credential, issuer, START_S + 10, 1000)
    assert trust_result(bench, new) == "" and one.credential == new
    assert one.valid_s[1] == START_S + 1010 and bench.end.has_session
    forged = renewed(schema.CREDENTIAL, new, bench.operator(), START_S + 20, 1000)
    assert trust_result(bench, forged) == "signature" and one.credential == new
    assert trust_result(bench, new) == ""
    assert trust_result(bench, codec.sign1(issuer.private, trust.TYP[trust.PARTY_CREDENTIAL],
                                           issuer.key_id, b"\xa0")) == "typ"
