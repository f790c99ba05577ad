"""The host's end of one line that loses, lies and falls silent: handshakes, news, keys.

The other end is a Peer of peer.py that behaves as an element does; the site is a real one.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from element.protocol import cbor, schema, trust
from element.protocol.exporter import Exporter
from element.protocol.framing import encode_frame
from element.protocol.sealed import GENERATION_MAX, SealedSession
from host_tools import codec
from host_tools.identity.aead import ccm_open, ccm_seal
from host_tools.identity.keys import hmac_sha256, make_key_pair
from host_tools.links import element_port, handshake

from .port_line import Line


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


# ---- losses ----


@pytest.mark.parametrize("lost", [schema.EDHOC_1, schema.EDHOC_2, schema.EDHOC_3])
def test_a_lost_message_is_sent_again_byte_for_byte(line: Line, lost: int) -> None:
    line.to_lose = [lost] * 2
    line.step(count=2)
    assert not line.port.has_session and line.to_lose == [lost]
    line.step(handshake.REPEAT_MS - 600)
    assert line.to_lose == [lost]  # not before its time
    line.step(handshake.REPEAT_MS, 2)
    assert line.port.has_session and line.to_lose == [] and line.sessions == [line.peer.id]
    again = line.of(schema.EDHOC_1 if lost != schema.EDHOC_3 else schema.EDHOC_3)
    assert len(again) == 3 and len(set(again)) == 1
    assert line.kinds().count(schema.WHO) == 1 and line.port.enrol_error == ""


def test_a_lost_first_word_is_made_good_by_the_next(line: Line) -> None:
    line.to_lose = [0]
    line.step()
    assert line.to_lose == [] and not line.port.has_session
    assert not line.port.send(schema.STATEMENT_ACK, {"counter": 1})
    line.peer.telemetry(power_mw=5)
    line.pump()
    assert line.port.has_session and line.messages[-1][1]["power_mw"] == 5
    assert len(line.of(schema.EDHOC_3)) == 1


def test_a_handshake_without_an_end_is_begun_anew(line: Line) -> None:
    line.to_lose = [schema.EDHOC_2] * 100
    steps = handshake.HANDSHAKE_MS_MAX // 1000
    line.step(1000, steps + 4)
    assert 10 < len(line.of(schema.EDHOC_1)) < 20 and len(set(line.of(schema.EDHOC_1))) == 2
    line.to_lose = []
    line.step(1000, 4)
    assert line.port.has_session


# ---- who is no such element ----


@pytest.mark.parametrize(("message", "words"), [
    (cbor.encode(1) + cbor.encode("party credential revoked"), "party credential revoked"),
    (cbor.encode(2) + cbor.encode(3), "cipher suite [3]"),
    (cbor.encode(3) + cbor.encode(True), "no credential of this form"),
    (b"\xff\x00", "refused"),
    (cbor.encode(1) + cbor.encode("x" * 100), "x" * 80),
])
def test_an_error_is_told_in_words_and_the_handshake_begun_again(
        line: Line, message: bytes, words: str) -> None:
    line.to_lose = [schema.EDHOC_1]
    line.step()
    line.inject(schema.EDHOC_ERROR, {"message": message})
    assert line.port.enrol_error.startswith("no session: ") and words in line.port.enrol_error
    assert len(line.port.enrol_error) < 100
    line.step(count=3)
    assert line.port.has_session and line.port.enrol_error == ""
    assert len(set(line.of(schema.EDHOC_1))) == 2
    # nobody's word ends a session
    before = line.port.dropped
    line.inject(schema.EDHOC_ERROR, {"message": message})
    assert line.port.has_session and line.port.dropped == before + 1


def test_another_element_opens_nothing(line: Line) -> None:
    line.to_lose = [schema.EDHOC_1]
    line.step()
    own, line.peer.id = line.peer.id, b"somebody"
    line.step(handshake.REPEAT_MS)
    assert not line.port.has_session and "edhoc_credential" in line.port.enrol_error
    assert schema.EDHOC_3 not in line.kinds()
    line.peer.id = own
    line.step(count=4)
    assert line.port.has_session


def test_who_has_not_the_elements_key_opens_nothing(line: Line) -> None:
    own, line.peer.agree = line.peer.agree, make_key_pair(os.urandom)
    line.step(count=6)
    assert not line.port.has_session and line.sessions == []
    assert line.port.enrol_error == "the element did not prove its key: edhoc_mac"
    assert schema.EDHOC_3 not in line.kinds() and len(set(line.of(schema.EDHOC_1))) > 1
    line.peer.agree = own
    line.step(count=4)
    assert line.port.has_session


@pytest.mark.parametrize("position", [0, 2, 3, 30, 34, 35, 36, 40, 43, 50, -1])
def test_a_damaged_message_2_opens_nothing(line: Line, position: int) -> None:
    def spoil(kind: int, fields: dict[str, Any]) -> dict[str, Any]:
        if kind != schema.EDHOC_2:
            return fields
        message = bytearray(fields["message"])
        message[position] ^= 0x10
        return {"message": bytes(message)}

    line.spoil = spoil
    line.step()
    assert not line.port.has_session and schema.EDHOC_3 not in line.kinds()
    assert line.port.enrol_error.startswith("the element did not prove its key: ")
    for wrong in (b"\x40", b"\x58\x20" + bytes(32), b"\x00"):
        line.spoil = lambda kind, fields, wrong=wrong: (  # type: ignore[misc]
            {"message": wrong} if kind == schema.EDHOC_2 else fields)
        line.step(count=3)
        assert not line.port.has_session and schema.EDHOC_3 not in line.kinds()
    line.spoil = lambda _, fields: fields
    line.step(count=4)
    assert line.port.has_session


def test_our_own_messages_open_nothing(line: Line) -> None:
    line.to_lose = [schema.EDHOC_1]
    line.step()
    message_1, = line.of(schema.EDHOC_1)
    before = line.port.dropped
    line.inject(schema.EDHOC_1, {"message": message_1})
    assert line.port.dropped == before + 1 and line.port.enrol_error == ""
    # the ephemeral key that is ours, in the form of a message_2
    line.inject(schema.EDHOC_2, {"message": cbor.encode(cbor.decode_sequence(message_1)[2]
                                                        + bytes(30))})
    assert "edhoc_reflected" in line.port.enrol_error and not line.port.has_session
    line.to_lose = [schema.EDHOC_3] * 2
    line.step(count=3)
    message_3 = line.of(schema.EDHOC_3)[-1]
    line.inject(schema.EDHOC_3, {"message": message_3})
    # whoever still asks for message_3 gets that again, no more
    line.inject(schema.EDHOC_2, {"message": message_3[:256]})
    assert not line.port.has_session and len(set(line.of(schema.EDHOC_3))) == 1
    line.step(handshake.REPEAT_MS)
    assert line.port.has_session
    # what the session sends is not taken for what it hears
    count, before = len(line.messages), line.port.dropped
    sent: list[bytes] = []
    line.port._send = sent.append
    assert line.port.send(schema.STATEMENT_ACK, {"counter": 1})
    line.hear(sent[0])
    assert len(line.messages) == count and line.port.dropped == before + 1


def test_a_forged_message_before_the_proof_does_not_open(line: Line) -> None:
    line.to_lose = [0]
    line.step()
    assert line.peer.session is not None and line.port._handshake is not None
    theirs = line.port._handshake.session
    assert theirs is not None
    payload = codec.encode_message(schema.STATEMENT_ACK, {"counter": 1})
    for name in (theirs._name, b"another"):
        forger = SealedSession(ccm_seal, ccm_open, Exporter(hmac_sha256, os.urandom(32)), name,
                               False)
        line.hear(encode_frame(forger.protect(payload)))
        line.hear(encode_frame(payload))
    assert not line.port.has_session and line.messages == [] and line.sessions == []
    assert line.port.dropped == 3 and line.port.foreign == 1
    line.peer.telemetry()
    line.pump()
    assert line.port.has_session


# ---- news ----


def _news(line: Line) -> list[bytes]:
    """Let the site rotate two roots and revoke somebody; return what an element is to be told."""
    pki = line.site.pki
    pki.issue_party("roof", "alarm")
    statements = [pki.rotate("issuer"), pki.rotate("operator")]
    pki.revoke("roof", trust.REASON_REMOVED)
    keyring = line.site.keyring()
    line.use(keyring)
    return [*statements, pki.operator_list()[1], keyring.known[line.peer.id].credential]


def test_news_is_told_one_by_one_before_the_handshake(line: Line) -> None:
    told = _news(line)
    line.step(element_port.WHO_PAUSE_MS, 5)
    assert line.port.has_session and line.of(schema.TRUST) == told
    assert line.kinds() == [schema.WHO, schema.TRUST] * 4 + [
        schema.WHO, schema.EDHOC_1, schema.EDHOC_3]
    assert line.port.trust_error == "" and line.peer.numbers == [2, 2, 1, 1]
    # nothing is news any more
    line.step(1000, 6)
    assert len(line.of(schema.TRUST)) == 4 and len(line.sessions) == 2


def test_news_that_is_refused_is_not_told_again_and_said(line: Line) -> None:
    told = _news(line)
    line.peer.trust_code = "signature"
    line.step(count=30)
    assert line.of(schema.TRUST) == told
    said = "the element refused what its root says: signature"
    assert line.port.trust_error == said and not line.port.has_session
    # it has another credential than the one that the host knows: that is why
    assert line.port.enrol_error == f"the element did not prove its key: edhoc_mac; {said}"
    line.peer.trust_code = ""
    line.step()
    assert len(line.of(schema.TRUST)) == 4
    # nobody vouches for an answer: later it is told again
    line.now_ms += element_port.TOLD_MS
    line.step(count=12)
    assert line.of(schema.TRUST) == told * 2 and line.port.has_session


def test_a_list_that_is_refused_costs_no_session(line: Line) -> None:
    line.site.pki.revoke("aggregator", trust.REASON_REPLACED)
    line.peer.trust_code = "list too long for an element"
    line.step(count=3)
    assert line.port.has_session and line.port.enrol_error == ""
    assert "too long" in line.port.trust_error and len(line.of(schema.TRUST)) == 1


def test_an_element_that_is_busy_is_told_again(line: Line) -> None:
    told = _news(line)
    line.peer.trust_code = "busy"
    line.step(element_port.WHO_PERIOD_MS, 3)
    assert line.of(schema.TRUST) == told[:1] * 3
    line.peer.trust_code = ""
    line.step(element_port.WHO_PERIOD_MS, 6)
    assert line.port.has_session and line.of(schema.TRUST) == told[:1] * 3 + told


@pytest.mark.parametrize("lost", [schema.TRUST, schema.TRUST_RESULT])
def test_news_that_was_lost_is_told_again(line: Line, lost: int) -> None:
    told = _news(line)
    line.to_lose = [lost]
    line.step(1000, element_port.TRUST_MS_MAX // 1000 - 1)
    assert line.of(schema.TRUST) == told[:1]  # it may still be at work on it
    line.step(1000, 9)
    # what it has taken although its answer was lost is no news
    again = told[:1] if lost == schema.TRUST else []
    assert line.port.has_session and line.of(schema.TRUST) == again + told


def test_an_answer_to_what_was_not_told_changes_nothing(line: Line) -> None:
    told = _news(line)
    before = line.port.dropped
    line.inject(schema.TRUST_RESULT, {"digest": bytes(8), "code": ""})
    line.to_lose = [schema.TRUST]
    line.step()
    line.inject(schema.TRUST_RESULT, {"digest": bytes(8), "code": ""})
    assert line.port.dropped == before + 2 and line.port.trust_error == ""
    line.step(1000, 18)
    assert line.of(schema.TRUST) == told[:1] + told and line.port.has_session


# ---- elements that may not take part ----


def test_a_revoked_element_gets_no_session(line: Line) -> None:
    line.site.pki.revoke(line.peer.id.hex(), trust.REASON_KEY_COMPROMISED)
    line.use(line.site.keyring())
    line.step(count=6)
    assert set(line.kinds()) == {schema.WHO} and not line.port.has_session
    assert f"element {line.peer.id.hex()}: its credential is revoked" in line.port.enrol_error
    assert "key-compromised" in line.port.enrol_error


@pytest.mark.parametrize("judged", [True, False])
def test_an_element_out_of_its_time_gets_no_session(line: Line, judged: bool) -> None:
    keyring = line.site.keyring()
    claims = keyring.known[line.peer.id].claims
    if not judged:
        keyring.trust = None
    for at_s, why in ((claims["not_before_unix_s"] - 130, "not yet valid"),
                      (claims["expires_unix_s"] + 130, "expired")):
        line.now_ms = at_s * 1000
        line.use(keyring)
        line.step(count=4)
        assert set(line.kinds()) == {schema.WHO} and not line.port.has_session
        assert f"its credential is {why}" in line.port.enrol_error
    line.now_ms = (claims["not_before_unix_s"] + 1) * 1000
    line.use(keyring)
    line.step()
    assert line.port.has_session


def test_an_element_that_we_do_not_know_is_named(line: Line) -> None:
    keyring = line.site.keyring()
    keyring.known.clear()
    line.use(keyring)
    line.step(count=3)
    assert set(line.kinds()) == {schema.WHO} and not line.port.has_session
    assert "enrolled with another host" in line.port.enrol_error


# ---- a session's life ----


def test_keys_are_changed_in_spite_of_losses(line: Line) -> None:
    line.connect()
    session = line.port._session
    assert session is not None and line.port.rekey(line.now_ms)
    assert not line.port.rekey(line.now_ms)  # one at a time
    line.pump()
    line.telemetry()
    assert session.generation == 1
    for lost in range(1, 4):
        line.to_lose = [0] * lost  # the request, and then each time the word under new keys
        assert line.port.rekey(line.now_ms)
        line.telemetry(2 * element_port.REKEY_REPEAT_MS // 1000 + 6)
        assert session.generation == lost + 1 and line.to_lose == []
        assert not session.update_pending and line.port._rekey is None
    line.telemetry(20)
    contexts = [fields["context"] for kind, fields in line.peer.heard if kind == schema.REKEY]
    assert len(set(contexts)) == 4 and len(line.sessions) == 1 and line.port.dropped == 0
    assert line.port._session is session
    assert line.port.send(schema.STATEMENT_ACK, {"counter": 7})
    assert line.peer.heard[-1] == (schema.STATEMENT_ACK, {"counter": 7})


def test_without_a_session_there_are_no_keys_to_change(line: Line) -> None:
    assert not line.port.rekey(line.now_ms)


def _days(line: Line, count: int) -> None:
    for _ in range(count):
        line.now_ms += element_port.REKEY_PERIOD_MS
        line.telemetry(3)


def test_keys_are_changed_every_day(line: Line) -> None:
    line.connect()
    session = line.port._session
    assert session is not None
    line.telemetry(10)
    assert session.generation == 0
    for day in range(1, 4):
        _days(line, 1)
        assert session.generation == day and line.port._session is session
        line.telemetry(10)
        assert session.generation == day


def test_a_session_that_has_used_up_its_keys_is_followed_by_another(line: Line) -> None:
    line.connect()
    first = line.port._session
    assert first is not None
    _days(line, GENERATION_MAX)
    assert first.generation == GENERATION_MAX and line.port._session is first
    assert not line.port.rekey(line.now_ms)
    line.to_lose = [schema.EDHOC_2]
    _days(line, 1)
    assert line.port._session is first  # it goes on meanwhile
    line.telemetry(5)
    assert line.port._session is not first and len(line.sessions) == 2
    _days(line, 1)
    assert line.port._session is not None and line.port._session.generation == 1


def test_the_old_session_goes_on_while_a_new_handshake_is_under_way(line: Line) -> None:
    line.connect()
    first = line.port._session
    line.to_lose = [schema.EDHOC_2]
    line.now_ms += element_port.SILENCE_MS_MAX
    line.step(count=2)
    assert line.port._handshake is not None and line.port._session is first
    count = len(line.messages)
    line.peer.telemetry()
    line.pump()
    assert len(line.messages) == count + 1 and line.port._session is first
    assert line.port.send(schema.STATEMENT_ACK, {"counter": 3})
    assert line.peer.heard[-1] == (schema.STATEMENT_ACK, {"counter": 3})
    # it was heard: there is no hurry with another. Silent again, the handshake goes on
    line.now_ms += element_port.SILENCE_MS_MAX
    line.step(count=2)
    assert line.port._session is not first and line.port.has_session


def test_a_silent_element_is_greeted_again(line: Line) -> None:
    line.connect()
    old = line.peer.session
    for count in (2, 3):
        line.step(1000, element_port.SILENCE_MS_MAX // 1000 + 2)
        assert len(line.sessions) == count and line.port.has_session
    assert line.peer.session is not old and line.port.enrol_error == ""


def test_what_is_of_a_session_not_ours_is_foreign(line: Line) -> None:
    stranger = SealedSession(ccm_seal, ccm_open, Exporter(hmac_sha256, bytes(32)),
                             line.peer.id + b"\x01\x02", False)
    payload = codec.encode_message(schema.STATEMENT_ACK, {"counter": 1})
    line.hear(encode_frame(stranger.protect(payload)))
    assert line.port.foreign == 1 and line.port.bad_frames == 0
    line.connect()
    line.hear(encode_frame(stranger.protect(payload)))
    before = line.peer.session
    line.step(1000, element_port.SILENCE_MS_MAX // 1000 + 2)
    assert before is not None and line.peer.session is not before
    line.hear(encode_frame(before.protect(payload)))  # of our own session before
    assert line.port.foreign == 3 and line.port.bad_frames == 0 and line.port.has_session
    assert (schema.STATEMENT_ACK, {"counter": 1}) not in line.messages
