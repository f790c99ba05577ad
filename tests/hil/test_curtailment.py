"""What an alarm takes away is signed in one chain: verified offline, and any change is found."""

from pathlib import Path

import cbor2
import pytest

from element.protocol import codes
from host_tools import codec
from host_tools.attest.archive import Verifier
from host_tools.attest.curtailment import CURTAILMENT_KIND, CURTAILMENT_TYP, Curtailments
from host_tools.attest.primitives import Refused
from host_tools.identity.issuer import Authorities

from .simulated_building import SimulatedBuilding


def entries(site: SimulatedBuilding) -> list[tuple[int, int | None, bytes]]:
    """Return a building's ledger as an archive has it."""
    return [(kind, number, statement)
            for kind, _, _, number, statement in site.aggregator.ledger.statements()]


def fields(statement: bytes) -> dict[int, object]:
    """Return what a curtailment says."""
    found: dict[int, object] = cbor2.loads(codec.peek(statement)[2])
    return found


@pytest.fixture
def site(tmp_path: Path) -> SimulatedBuilding:
    """A building that has had two alarms, a restart between them, and their releases."""
    site = SimulatedBuilding(3, ledger_path=tmp_path / "ledger.db").run(4000)
    site.building.alarm(1, site.now_ms, "smoke 1", input_on=True)
    site.run(2000)
    site.building.alarm(1, site.now_ms, "smoke 1")  # again: no news
    site.building.quiet(1, site.now_ms)
    site.restart()
    site.run(4000)
    site.building.release(site.now_ms, 1)
    site.run(4000)
    site.building.alarm(0, site.now_ms, "kitchen " + "x" * 200)
    site.building.release(site.now_ms)
    site.building.release(site.now_ms)  # nothing is in alarm any more
    return site


def test_every_alarm_and_release_is_there_with_what_it_changed(site: SimulatedBuilding) -> None:
    outcome = Verifier(site.authorities.trust_root).run(entries(site))
    assert outcome.failures == [] and outcome.by_kind["curtailment"] == 4
    said = [fields(one[2]) for one in entries(site) if one[0] == CURTAILMENT_KIND]
    assert [(one[2], one[5], one[8]) for one in said] == [
        (1, 1, 1), (2, 1, 0), (3, 0, 1), (4, 0, 0)]
    assert said[0][6] == codes.TRIP_FIRE and said[0][7] == "smoke 1"
    # three converters of 5 kW: all of it, then nothing
    assert (said[0][9], said[0][10], said[0][12]) == (15_000_000, 0, 0)
    assert len(str(said[2][7])) == 96


def test_one_that_is_missing_changed_or_foreign_is_found(site: SimulatedBuilding) -> None:
    all_of_them = entries(site)
    at = [index for index, one in enumerate(all_of_them) if one[0] == CURTAILMENT_KIND]
    trusted = site.authorities.trust_root
    for index in at[:-1]:  # one taken away: the next does not continue
        left = all_of_them[:index] + all_of_them[index + 1:]
        assert Verifier(trusted).run(left).failures[0].what == "curtailment"
    statement = all_of_them[at[1]][2]
    for place in range(0, len(statement), 7):  # and each one after a changed one
        bad = statement[:place] + bytes([statement[place] ^ 1]) + statement[place + 1:]
        changed = [*all_of_them]
        changed[at[1]] = (CURTAILMENT_KIND, None, bad)
        assert Verifier(trusted).run(changed).failures, place
    stranger = Authorities.make(lambda size: b"\x07" * size).aggregator
    forged = codec.sign1(stranger.private, CURTAILMENT_TYP, stranger.key_id,
                         codec.peek(statement)[2])
    changed = [*all_of_them, (CURTAILMENT_KIND, None, forged)]
    assert "not trusted" in Verifier(trusted).run(changed).failures[-1].why


def test_a_ledger_of_another_aggregator_is_not_gone_on_with(site: SimulatedBuilding) -> None:
    stranger = Authorities.make(lambda size: b"\x07" * size).aggregator
    with pytest.raises(Refused):
        Curtailments(stranger, site.aggregator.ledger)
