"""Check who is revoked, and an element's renewed credential, as its roots tell it."""

from desk_bench import Bench, entry, jobs_of, raw_statement, renewal, revocations, rotation
from element_bench import Element
from fakes import in_folder, profile_fields
from greeter import Greeter
from panel import (
    ISSUER,
    LIFE_SAFETY,
    NOW_MS,
    NOW_S,
    OPERATOR,
    PARTY,
    STRANGER,
    Keys,
    next_of,
    party_credential,
)

from element.link.host_port import SKEW_S
from element.protocol import cbor, codes, schema, trust


def test_a_rotated_issuer_renews_and_the_stored_credential_still_proves():
    def body():
        bench = Bench()
        assert bench.tell(rotation(trust.ROLE_ISSUER, ISSUER)) == ""
        assert bench.enrolment.credential_key == ISSUER.public
        again = bench.restart()
        assert again.enrolment.enrolled and again.enrolment.proven
        assert again.enrolment.credential_key == ISSUER.public
        assert again.enrolment.issuer_key == next_of(ISSUER).public
        again.refuses("signature", renewal(again))
        new = renewal(again, next_of(ISSUER), expires_unix_s=NOW_S + 999_999)
        assert again.tell(new) == ""
        for one in (again, again.restart()):
            assert one.enrolment.credential == new and one.enrolment.proven
            assert one.enrolment.credential_key == next_of(ISSUER).public
            assert one.enrolment.issued_unix_s == NOW_S + 1
            assert one.enrolment.valid_at(NOW_MS + 999_998_000)
            assert one.enrolment.pins == again.enrolment.pins

    in_folder("desk_issuer", body)


def test_a_renewal_is_taken_once():
    def body():
        bench = Bench()
        old = bench.enrolment.credential
        new = renewal(bench, issuer="another office", manufacturer="somebody")
        assert bench.tell(new) == "" and bench.enrolment.credential == new
        bench.refuses("", new)
        bench.refuses("older than the present one", old)
        bench.refuses("older than the present one", renewal(bench, issuer="a third"))
        assert bench.restart().enrolment.credential == new

    in_folder("desk_renewal", body)


def test_a_renewal_changes_no_limit():
    def body():
        bench = Bench()
        other = schema.cose_key(STRANGER.public)
        for name, value in (("power_mw_discharge_max", 2_500_001), ("power_mw_charge_max", 1),
                            ("soc_bp_min", 0), ("cell_mv_max", 3601), ("services", 0xFFFF),
                            ("temperature_mdegc_charge_min", -1), ("role", "floor"),
                            ("discharge_bp_at_soc", [0, 10000]), ("monitor_only", True)):
            wide = profile_fields(**{name: value})
            bench.refuses("another profile", renewal(bench, profile=wide))
        bench.refuses("another zone", renewal(bench, zone=3))
        bench.refuses("another tenant", renewal(bench, tenant="t"))
        bench.refuses("another subject", renewal(bench, subject="fedcba9876543210"))
        bench.refuses("credential key", renewal(bench, cnf={"cose_key": other}))
        bench.refuses("agreement key", renewal(bench, agree_key=other))
        bench.refuses("profile kind", renewal(bench, profile=profile_fields(step_mw=5)))
        bench.refuses("profile current", renewal(
            bench, profile=profile_fields(current_ma_charge_max=84_001)))
        for older in (NOW_S, NOW_S - 1, 0):
            bench.refuses("older than the present one",
                          renewal(bench, issued_unix_s=older, tenant="t"))
        for wrong in (STRANGER, OPERATOR, LIFE_SAFETY, next_of(ISSUER)):
            bench.refuses("signature", renewal(bench, wrong))
        assert bench.tell(renewal(bench)) == ""

    in_folder("desk_limits", body)


def test_a_revoked_party_is_out_at_once_and_stays_out():
    def body():
        bench = Bench()
        assert bench.greet() is None and bench.port.has_session
        listed = entry(STRANGER.key_id) + entry(PARTY.key_id)
        assert bench.tell(revocations(7, listed)) == ""
        assert not bench.port.has_session and "revoked" in bench.lines[-1]
        assert bench.greet(b"2") == "party credential revoked"
        again = bench.restart()
        assert again.enrolment.revocation_number == 7 and again.enrolment.revoked == listed
        assert again.enrolment.floor_unix_s == NOW_S
        assert again.greet(b"3") == "party credential revoked" and again.port.peers == []
        other = party_credential(keys=Keys(b"roof"), party=codes.PARTY_ALARM)
        assert again.greet(b"4", credential=other) is None and len(again.port.peers) == 1
        for number in (7, 6, 1):
            again.refuses("", revocations(number))
        # a newer list replaces it: who is not in it any more may speak again
        assert again.tell(revocations(8)) == "" and again.greet(b"5") is None

    in_folder("desk_revoked", body)


def test_who_is_revoked_while_being_looked_at_does_not_get_in():
    def body():
        bench = Bench()
        opened = []
        bench.port.on_opened = opened.append
        message_3 = bench.answered(Greeter(bench.enrolment))
        bench.send(revocations(1, entry(PARTY.key_id)))
        bench.put_3(message_3)
        bench.work(2)
        assert jobs_of(bench) == ["_KeepJob", "VerifyJob"]
        bench.work(2)
        assert bench.enrolment.revocation_number == 1
        assert bench.port.peers == [] and opened == []

    in_folder("desk_race_revoked", body)


def test_lists_that_are_refused():
    def body():
        bench = Bench()
        assert bench.tell(revocations(3, entry(STRANGER.key_id))) == ""
        one = entry(PARTY.key_id)
        long = "list too long for an element"
        bench.refuses(long, revocations(4, one, part_count=2))
        bench.refuses(long, revocations(4, one, part=2, part_count=2))
        bench.refuses(long, revocations(4, one * 101))
        for size in (1, 12, 14, 25):
            bench.refuses("entries", revocations(4, (one * 2)[:size]))
        for wrong in (STRANGER, ISSUER, LIFE_SAFETY, next_of(OPERATOR)):
            bench.refuses("signature", revocations(4, one, wrong))
        bench.refuses("part", _part_of_none(one))
        assert bench.tell(revocations(4, one * 100)) == ""
        assert len(bench.restart().enrolment.revoked) == 1300
        assert bench.tell(rotation(trust.ROLE_OPERATOR, OPERATOR)) == ""
        bench.refuses("signature", revocations(5))
        assert bench.tell(revocations(5, signer=next_of(OPERATOR))) == ""

    in_folder("desk_lists", body)


def _part_of_none(entries):
    """Return a list that calls itself part 0, which no honest end can encode."""
    payload = cbor.encode({1: 4, 2: NOW_S, 3: NOW_S + 1, 4: 0, 5: 1, 6: entries})
    return raw_statement(OPERATOR, "cw/revocations", payload)


def test_no_clock_is_set_to_before_what_a_root_has_signed():
    def body():
        element = Element()
        element.enrol()
        element.open(sync=False)
        element.sync(NOW_MS + 1000 * 5000)
        element.host.plain(schema.TRUST, {"statement": revocations(1, issued_unix_s=NOW_S + 5000)})
        element.run(500)
        assert element.agent.enrolment.floor_unix_s == NOW_S + 5000
        element = element.restart()
        element.open(sync=False)
        clock = element.agent.clock
        assert element.agent.enrolment.floor_unix_s == NOW_S + 5000
        for early_s in (SKEW_S + 1, 5000, 86_400 * 365):
            element.sync(NOW_MS + 1000 * (5000 - early_s))
            assert not clock.is_set
        element.sync(NOW_MS + 1000 * (5000 - SKEW_S))
        assert clock.is_set and element.agent.refused_count == 3
        # nor is one that runs turned back
        element.sync(NOW_MS)
        assert element.agent.refused_count == 4
        assert clock.unix_ms(element.hal.ticks_ms()) >= NOW_MS + 1000 * (5000 - SKEW_S)

    in_folder("desk_floor", body)


def test_a_date_in_the_future_stops_no_clock():
    """Whoever has stolen the operator's key must not put an element out of service for good."""
    def body():
        far_s = 0xFFFFFFFF
        bench = Bench()
        assert bench.clock.set(NOW_MS)
        before = bench.kept()
        bench.refuses("dated in the future", revocations(1, issued_unix_s=NOW_S + SKEW_S + 1))
        assert bench.kept() == before
        # without a clock nobody can tell: the list counts, its date does not
        other = bench.restart()
        floor_s = other.enrolment.floor_unix_s
        assert other.tell(revocations(far_s, issued_unix_s=far_s)) == ""
        for bench in (other, other.restart()):
            assert bench.enrolment.floor_unix_s == floor_s
            assert bench.enrolment.revocation_number == far_s
        # and what the stolen key has signed goes with it
        following = next_of(OPERATOR)
        assert other.tell(rotation(trust.ROLE_OPERATOR, OPERATOR)) == ""
        for bench in (other, other.restart()):
            assert bench.enrolment.revocation_number == 0 and bench.enrolment.revoked == b""
        assert other.tell(revocations(2, signer=following)) == ""
        assert other.restart().enrolment.revocation_number == 2

    in_folder("lists_future", body)
