"""The pipeline of an interval: the same from one process and from several; what it refuses."""

from functools import partial

import pytest

from element.protocol.errors import Error, SignatureError
from hil.benchmarks.attest import START_MS, make_building
from host_tools.attest import pipeline, receipts
from host_tools.identity.revocation import Revocation, sign_list

COUNT = 40
START_S = START_MS // 1000


@pytest.fixture(scope="module")
def parts():
    building = make_building(1, COUNT, 1, 4)
    return (building, [one for kind, _, one in building.entries if kind == 1],
            [one for kind, _, one in building.entries if kind == 3])


def _close(parts, records, workers=1):
    building, credentials, _ = parts
    return pipeline.close_interval(credentials, records, building.trust,
                                   building.authorities.aggregator, 1, workers)


def test_one_process_and_two_close_the_same_interval(parts, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "RECORDS_PER_WORKER_MIN", 10)
    tree, signed = _close(parts, parts[2])
    for workers in (2, 3):
        again, resigned = _close(parts, parts[2][::-1], workers)
        assert (again.root, resigned) == (tree.root, signed)
    made = receipts.all_receipts(signed, tree)
    public = parts[0].authorities.aggregator.public
    assert receipts.check_inclusion(made[7], parts[2][7], public) == (1, 7, tree.root)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_altered_record_stops_the_interval(parts, workers, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "RECORDS_PER_WORKER_MIN", 10)
    for index in (3, COUNT - 1):
        changed = bytearray(parts[2][index])
        changed[-1] ^= 1
        with pytest.raises(SignatureError):
            _close(parts, [*parts[2][:index], bytes(changed), *parts[2][index + 1:]], workers)


def test_a_double_record_and_a_stranger_stop_the_interval(parts) -> None:
    with pytest.raises(SignatureError, match="twice"):
        _close(parts, [*parts[2], parts[2][0]])
    with pytest.raises(SignatureError, match="no valid credential"):
        _close(parts, [one for _, _, one in make_building(1, 4, 2, 4).entries[5:9]])
    with pytest.raises(Error):
        _close(parts, [b"\x00"])


@pytest.mark.parametrize(("changes", "why"), [
    ({"expires_unix_s": START_S - 200}, "credential expired"),
    ({"not_before_unix_s": START_S + 200}, "credential not yet valid"),
    ({"issued_unix_s": START_S - 10 * 86400}, "before it was in force")])
def test_a_record_outside_the_validity_stops_the_interval(changes, why) -> None:
    building = make_building(1, 4, 1, 2, credential_changes=changes)
    credentials = [one for kind, _, one in building.entries if kind == 1]
    records = [one for kind, _, one in building.entries if kind == 3]
    with pytest.raises(SignatureError, match=why):
        _close((building, credentials, records), records)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_revoked_element_stops_the_interval_from_its_time_on(parts, workers, monkeypatch
                                                               ) -> None:
    monkeypatch.setattr(pipeline, "RECORDS_PER_WORKER_MIN", 10)
    building, credentials, records = parts
    for at_s, holds in ((START_S + 60 + 121, True), (START_S + 60 + 120, False)):
        entry = Revocation(building.elements[-1].key_id, at_s, 1)
        trusted = building.trust.with_list(
            sign_list(building.authorities.issuer, 1, (entry,), START_S))
        close = partial(pipeline.close_interval, credentials, records, trusted,
                        building.authorities.aggregator, 1, workers)
        if holds:
            assert close()[0].size == COUNT
        else:
            with pytest.raises(SignatureError, match="revoked"):
                close()
