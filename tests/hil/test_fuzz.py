"""Fuzz every decoder a little, and prove that the fuzzer finds what it is there to find."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from element.bms import daly, jbd, jk, plausible, pylontech
from element.crypto import ccm
from element.protocol import (
    cbor,
    edhoc,
    edhoc_initiator,
    edhoc_responder,
    framing,
    rare,
    schema,
    sealed,
)
from element.protocol.errors import DecodeError
from hil.devices import BMS_FAMILIES
from hil.fuzz import defect, driver, element_targets, targets


@pytest.mark.parametrize("name", targets.TARGETS)
def test_no_defect_in_a_short_run(name):
    result = driver.run_fuzz(name, 6000, 1)
    assert result["defects"] == [] and result["defect_count"] == 0
    assert result["count"] == 6000 and result["seconds"] > 0
    # some inputs are valid and most are not, or the run would prove nothing
    assert 6000 // 16 <= result["accepted"] < 6000 * 0.7


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_valid_inputs_are_accepted(name):
    seeds = driver.corpus(name)
    assert len(seeds) > 10
    assert all(targets.TARGETS[name](data) for data in seeds)


@pytest.mark.parametrize("name", targets.TARGETS)
@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_no_defect_on_what_hypothesis_finds(name, data):
    targets.TARGETS[name](data)


def test_one_seed_is_one_run():
    first = list(driver.inputs("cbor", 500, 7))
    assert first == list(driver.inputs("cbor", 500, 7))
    assert first != list(driver.inputs("cbor", 500, 8))
    assert first != list(driver.inputs("frames", 500, 7))
    assert max(map(len, first)) <= driver.INPUT_SIZE_MAX


def lax_decode(data: bytes) -> bool:
    """Stand for a decoder that takes a one-byte integer with a two-byte head."""
    try:
        value = cbor.decode(data.replace(b"\x18\x01", b"\x01"))
    except DecodeError:
        return False
    if cbor.encode(value) != data:
        raise defect.DefectError("second encoding")
    return True


def crashing_decode(data: bytes) -> bool:
    """Stand for a decoder that trusts a length."""
    return data[len(data) // 2 + data[0] // 8] == 0


@pytest.mark.parametrize("broken", [lax_decode, crashing_decode])
def test_a_broken_decoder_is_found(broken):
    result = driver.run_fuzz(broken, 60000, 1, "cbor")
    assert result["defect_count"] > 0
    assert 0 < len(result["defects"]) <= driver.DEFECTS_KEPT_MAX
    # the input that is kept shows the defect again
    with pytest.raises((defect.DefectError, IndexError)):
        broken(bytes.fromhex(result["defects"][0]["input"]))


def test_a_frame_decoder_that_keeps_too_much_is_found(monkeypatch):
    def feed_without_crc(self, data):
        return [framing.cobs_decode(part) or b"x" for part in data.split(b"\x00")[:-1] if part]

    monkeypatch.setattr(framing.FrameDecoder, "feed", feed_without_crc)
    assert driver.run_fuzz("frames", 500, 1)["defect_count"] > 0


def test_a_bms_decoder_that_believes_anything_is_found(monkeypatch):
    monkeypatch.setattr(plausible, "check", lambda *_: None)
    for family in BMS_FAMILIES:
        count = 10_000 if family == "pylontech" else 3000  # text: few damages are still digits
        assert driver.run_fuzz(family, count, 1)["defect_count"] > 0, family


def test_a_bms_reader_without_a_checksum_is_found(monkeypatch):
    for family, protocol in (("jbd", jbd.JBDProtocol), ("daly", daly.DalyProtocol),
                             ("jk", jk.JKProtocol), ("pylontech", pylontech.PylontechProtocol)):
        monkeypatch.setattr(protocol, "_is_good", lambda *_: True)
        assert driver.run_fuzz(family, 2000, 1)["defect_count"] > 0, family


def test_a_port_that_takes_a_setpoint_in_the_clear_is_found(monkeypatch):
    wire = cbor.encode(schema.message_to_wire(schema.TRIP, {"cause": 1, "zone": 0}))
    assert targets.TARGETS["host_port"](framing.encode_frame(wire)) is False
    monkeypatch.setattr(schema, "LINK_KINDS", rare.MESSAGE_KINDS)
    with pytest.raises(defect.DefectError):
        targets.TARGETS["host_port"](framing.encode_frame(wire))


def test_a_session_that_believes_a_tag_is_found(monkeypatch):
    monkeypatch.setattr(ccm, "ct_equal", lambda *_: True)
    monkeypatch.setattr(element_targets, "ccm_open", ccm.ccm_open)
    assert driver.run_fuzz("host_port", 2000, 1)["defect_count"] > 0


def test_a_sealed_session_without_a_window_is_found(monkeypatch):
    monkeypatch.setattr(sealed._Keys, "is_fresh", lambda *_: True)
    assert driver.run_fuzz("encrypt0", 500, 1)["defect_count"] > 0


def test_a_handshake_that_believes_a_mac_or_a_second_encoding_is_found(monkeypatch):
    with monkeypatch.context() as patch:
        strict = edhoc.identifier_from_item
        patch.setattr(edhoc, "identifier_from_item",
                      lambda item: item if isinstance(item, bytes) else strict(item))
        for name in ("edhoc_message_1", "edhoc_message_2"):
            assert driver.run_fuzz(name, 20_000, 1)["defect_count"] > 0, name
        with pytest.raises(defect.DefectError):
            targets.TARGETS["edhoc_message_3"](b"\x41\x05\x48" + bytes(8))
    for module in (edhoc_initiator, edhoc_responder):
        monkeypatch.setattr(module, "ct_equal", lambda *_: True)
    for name in ("edhoc_message_2", "edhoc_message_3"):
        assert driver.run_fuzz(name, 3000, 1)["defect_count"] > 0, name


def test_an_unknown_target_is_an_error():
    with pytest.raises(KeyError):
        driver.run_fuzz("nothing", 1, 1)
