"""The host's end of the line and the aggregator: enrolment, sessions, statements, dispatch."""

import hashlib
import random

import pytest

from element.protocol import codes, schema
from element.protocol.errors import SignatureError
from hil.benchmarks.host import lowest_profile
from host_tools import codec
from host_tools.aggregator import Aggregator
from host_tools.attest.archive import Verifier
from host_tools.identity.issuer import Issuer
from host_tools.identity.revocation import Revocation, Revocations

from .peer import START_MS, Peer, Site


def test_enrolment_session_clock_and_interrogation_in_this_order() -> None:
    site = Site().connect()
    order = [kind for kind in site.peer.kinds() if kind != schema.WHO]
    assert order[:6] == [schema.ENROL_OFFER, schema.ENROL_GRANT, schema.EDHOC_1, schema.EDHOC_3,
                         schema.TIME_SYNC, schema.INTERROGATE]
    sync = dict(site.peer.heard)[schema.TIME_SYNC]
    assert START_MS < sync["unix_ms"] <= site.now_ms
    claims = codec.decode_statement(schema.CREDENTIAL, codec.verify1(
        site.peer.credential, site.authorities.issuer.public, "cw/credential"))
    assert claims["subject"] == site.peer.id.hex() and claims["zone"] == 3


def test_an_announcement_must_repeat_the_challenge() -> None:
    site = Site().connect()
    challenge = dict(site.peer.heard)[schema.INTERROGATE]["challenge"]
    fields = {"element_id": site.peer.id, "challenge": bytes(16),
              "credential": site.peer.credential, "board": "b", "firmware": "f",
              "at_unix_ms": START_MS, "state": 2, "soc_bp": None, "soh_bp": None, "counter": 0}
    for given, announced in ((bytes(16), False), (challenge, True)):
        statement = site.peer.statement(schema.ANNOUNCEMENT, fields | {"challenge": given})
        site.peer.send(schema.STATEMENT, {"statement": statement})
        site.pump()
        assert site.aggregator.inventory.views()[0].announced is announced
    assert site.aggregator.inventory.delta() == ([site.peer.id], [])
    assert site.aggregator.inventory.delta() == ([], [])


@pytest.mark.parametrize("change", ["challenge", "signature", "id"])
def test_a_false_enrolment_request_is_refused(change: str) -> None:
    site, peer = Site(), Peer(2)
    request = peer.request(bytes(16))
    if change == "challenge":
        request = peer.request(b"\x01" * 16)
    elif change == "signature":
        request = request[:-1] + bytes([request[-1] ^ 1])
    else:
        request = peer.request(bytes(16), element_id=b"somebody")
    with pytest.raises(SignatureError):
        Issuer(site.authorities).enrol(request, bytes(16), {}, 1, "", START_MS // 1000)


def test_here_with_a_foreign_nonce_opens_nothing() -> None:
    site = Site().connect()
    session = site.port._session
    before = site.port.bad_frames
    site.peer.here(b"\x05" * 16)
    site.pump()
    assert site.port._session is session
    assert site.port.bad_frames == before + 1


def test_garbage_forgery_and_replay_are_counted_and_the_line_goes_on() -> None:
    site = Site().connect()
    site.peer.telemetry(power_mw=111)
    frame = site.peer.out
    site.pump()
    view = site.aggregator.inventory.views()[0]
    assert view.telemetry is not None and view.telemetry["power_mw"] == 111
    before = site.port.bad_frames
    forged = bytearray(frame)
    forged[20] ^= 4
    for bad in (frame, bytes(forged), b"\x01\x92\x03\x00", b"\xff" * 9000 + b"\x00"):
        site.aggregator.receive("one", bad, site.now_ms)
    assert site.port.bad_frames >= before + 4
    site.peer.telemetry(power_mw=222)
    site.pump()
    assert view.telemetry["power_mw"] == 222


def test_a_silent_element_is_asked_who_again_and_gets_a_new_session() -> None:
    site = Site().connect()
    first = site.port._session
    for _ in range(6):
        site.step()
    assert site.port._session is not first and site.port.has_session


def test_an_element_enrolled_elsewhere_is_named() -> None:
    site = Site()
    site.peer.credential, site.peer.issued_unix_s = b"of another host", 1
    site.step()
    assert "enrolled with another host" in site.port.enrol_error
    assert not site.port.has_session


def revoke(site: Site, at_unix_s: int) -> None:
    """Put the peer on the issuer's list."""
    entry = Revocation(site.peer.id, at_unix_s, 1)
    site.revocations["issuer"] = Revocations(1, at_unix_s, at_unix_s + 86400, (entry,))


def test_a_revoked_element_is_not_greeted_and_its_session_ends() -> None:
    site = Site().connect()
    site.peer.telemetry()
    site.pump()
    site.aggregator.target = lambda _: 1_000_000
    site.step()
    setpoints = site.peer.kinds().count(schema.SETPOINT)
    assert setpoints > 0
    revoke(site, site.now_ms // 1000)
    for _ in range(62):
        site.peer.telemetry()
        site.pump()
        site.step()
    assert not site.port.has_session and "revoked" in site.port.enrol_error
    assert "key-compromised" in site.port.enrol_error
    after = site.peer.kinds().count(schema.SETPOINT)
    for _ in range(5):
        site.step()
    assert site.peer.kinds().count(schema.SETPOINT) == after
    assert not site.port.has_session and "revoked" in site.port.enrol_error
    # who is not on the list takes part again
    site.revocations.clear()
    for _ in range(3):
        site.step()
    assert site.port.has_session and site.port.enrol_error == ""


def test_an_aggregator_goes_on_after_a_restart() -> None:
    """The same ledger: what was acknowledged is known, chain and log go on."""
    site = Site().connect()
    first, second = site.peer.record(), site.peer.record()
    assert _push(site, first) == [1]
    site.aggregator.commit_interval(START_MS + 120_000)
    again = Aggregator(site.authorities, site.aggregator.ledger, random.Random(9).randbytes,
                       lambda name, _: (lowest_profile(), 3, ""))
    again.add_port("one", site.peer.take)
    again._keyring.known.update(site.aggregator._keyring.known)
    site.aggregator, site.port = again, again.ports["one"]
    site.peer.heard.clear()
    site.connect()
    assert _push(site, second) == [2] and again.counters.gaps == 0
    assert _push(site, first) == [2, 1] and again.counters.duplicates == 1
    again.commit_interval(START_MS + 240_000)
    numbers = [codec.decode_statement(schema.INTERVAL_COMMITMENT, codec.peek(one)[2])["number"]
               for kind, _, _, _, one in again.ledger.statements()
               if kind == schema.INTERVAL_COMMITMENT]
    assert numbers == [1, 2]


def _push(site: Site, statement: bytes) -> list[int]:
    """Send a statement; return the counters acknowledged so far."""
    site.peer.send(schema.STATEMENT, {"statement": statement})
    site.pump()
    return [fields["counter"] for kind, fields in site.peer.heard
            if kind == schema.STATEMENT_ACK]


def test_records_are_verified_chained_and_acknowledged_once_in_order() -> None:
    site = Site().connect()
    first, second, third = (site.peer.record() for _ in range(3))
    assert _push(site, second) == []  # not yet: one is missing before it
    assert _push(site, first) == [1]
    assert _push(site, second) == [1, 2]
    assert _push(site, first) == [1, 2, 1]
    assert _push(site, third) == [1, 2, 1, 3]
    assert site.aggregator.counters.duplicates == 1
    kinds = [row[0] for row in site.aggregator.ledger.statements()]
    assert kinds.count(schema.EXECUTION_RECORD) == 3


def test_a_record_of_a_broken_chain_is_not_acknowledged() -> None:
    site = Site().connect()
    assert _push(site, site.peer.record()) == [1]
    site.peer.previous = hashlib.sha256(b"another history").digest()
    assert _push(site, site.peer.record()) == [1]


def test_a_gap_that_lasts_is_counted_and_the_chain_goes_on_after_it() -> None:
    site = Site().connect()
    assert _push(site, site.peer.record()) == [1]
    site.peer.record()  # lost on the element: it will never come
    third, fourth = site.peer.record(), site.peer.record()
    for _ in range(6):
        assert _push(site, third) == [1]
        assert _push(site, fourth) == [1]
        site.now_ms += 5000
    site.now_ms += 1000
    assert _push(site, fourth) == [1]  # not the oldest one that it has
    assert _push(site, third) == [1, 3]
    assert _push(site, fourth) == [1, 3, 4]
    assert site.aggregator.counters.gaps == 1
    site.aggregator.commit_interval(START_MS + 60000)
    entries = [(kind, number, statement)
               for kind, _, _, number, statement in site.aggregator.ledger.statements()]
    failures = Verifier(site.authorities.trust_root).run(entries).failures
    assert [one.why for one in failures] == ["counter 3 after 1"]


def test_a_forged_record_is_counted_and_never_filed() -> None:
    site = Site().connect()
    record = site.peer.record()
    assert _push(site, record[:-1] + bytes([record[-1] ^ 1])) == []
    stranger = Peer(9)
    assert _push(site, stranger.record()) == []
    assert site.aggregator.counters.failed == 2
    kinds = [row[0] for row in site.aggregator.ledger.statements()]
    assert schema.EXECUTION_RECORD not in kinds


def _setpoints(site: Site) -> list[dict]:
    return [fields for kind, fields in site.peer.heard if kind == schema.SETPOINT]


def test_setpoints_follow_telemetry_and_stop_when_it_ages() -> None:
    site = Site().connect()
    site.aggregator.target = lambda _: 700_000
    site.step()
    assert _setpoints(site) == []  # nothing heard of it yet
    site.peer.telemetry()
    site.pump()
    site.step()
    assert [one["power_mw"] for one in _setpoints(site)] == [700_000]
    for _ in range(3):
        site.step()
    count = len(_setpoints(site))
    for _ in range(3):
        site.step()
    assert len(_setpoints(site)) == count
    sequences = [one["sequence"] for one in _setpoints(site)]
    assert sequences == sorted(set(sequences))


def test_a_tripped_element_is_planned_without_and_the_shortfall_is_committed() -> None:
    site = Site().connect()
    site.aggregator.target = lambda _: 700_000
    site.peer.telemetry(state=codes.STATE_TRIPPED, trip_cause=codes.TRIP_FIRE)
    site.pump()
    for _ in range(80):
        site.peer.telemetry(state=codes.STATE_TRIPPED, trip_cause=codes.TRIP_FIRE)
        site.pump()
        site.step()
    assert _setpoints(site) == []
    intervals = [row for row in site.aggregator.ledger.statements()
                 if row[0] == schema.INTERVAL_COMMITMENT]
    fields = codec.decode_statement(
        schema.INTERVAL_COMMITMENT, codec.peek(intervals[-1][4])[2])
    assert fields["shortfall_mwh"] > 0
    assert site.aggregator.release(site.now_ms) == 1
    order = codec.decode_statement(
        schema.RELEASE_ORDER, codec.verify1(
            next(fields["order"] for kind, fields in site.peer.heard
                 if kind == schema.RELEASE),
            site.authorities.life_safety.public, "cw/release"))
    assert order["cause"] == codes.TRIP_FIRE and order["element_id"] == site.peer.id


def test_a_fire_alarm_reaches_its_zone_alone() -> None:
    site = Site().connect()
    site.aggregator.fire_alarm(4, site.now_ms)
    assert schema.TRIP not in site.peer.kinds()
    site.aggregator.fire_alarm(3, site.now_ms)
    trip = dict(site.peer.heard)[schema.TRIP]
    assert trip == {"cause": codes.TRIP_FIRE, "zone": 3}


def test_what_the_panel_files_verifies_offline() -> None:
    site = Site().connect()
    for _ in range(5):
        _push(site, site.peer.record(energy_mwh=5))
    site.aggregator.commit_interval(START_MS + 60000)
    entries = [(kind, number, statement)
               for kind, _, _, number, statement in site.aggregator.ledger.statements()]
    outcome = Verifier(site.authorities.trust_root).run(entries)
    assert outcome.failed == 0, outcome.failures
    assert outcome.by_kind == {
        "credential": 1, "record": 5, "interval": 1, "checkpoint": 1}
