"""Check who an element believes it is: grants refused and taken, flash reread and tampered."""

import os

from fakes import FakeHAL, drain, in_folder, profile_fields
from panel import AGREE, ISSUER, NOW_MS, STRANGER, grant_for, pin_of, sign1

from element import enrolling
from element.crypto.worker import Worker
from element.enrolment import Enrolment
from element.protocol import cbor, codes, schema
from element.protocol.errors import SignatureError

CURRENT_MA_MAX = 84000


class Bench:
    """An element's identity with its own worker and generator."""

    def __init__(self, kind=codes.KIND_CONVERTER, step_mw=0, entropy_from=0):
        self.hal = FakeHAL()
        self.hal.entropy_count = entropy_from
        self.worker = Worker(self.hal)
        self.lines = []
        self.answers = []
        self.enrolment = Enrolment(
            self.hal, self.worker, kind, step_mw, CURRENT_MA_MAX, self.lines.append)
        self.enrolment.load()

    def grant(self, fields):
        self.enrolment.grant(fields, lambda accepted, code: self.answers.append((accepted, code)))

    def settle(self):
        drain(self.worker)
        return self.answers


def reloaded():
    """Return the same element after a restart."""
    return Bench(entropy_from=100)


def enrolled():
    bench = Bench()
    bench.grant(grant_for(bench.enrolment))
    assert bench.settle() == [(True, "")]
    return bench


def test_keys_are_made_once_and_kept():
    def body():
        first, second = Bench(), reloaded()
        assert first.enrolment.sign_private == second.enrolment.sign_private
        assert first.enrolment.element_id == second.enrolment.element_id != bytes(8)
        assert first.enrolment.sign_public != first.enrolment.agree_public
        assert second.hal.entropy_count == 100 and not second.enrolment.enrolled

    in_folder("enrol_keys", body)


def test_a_stuck_generator_makes_no_keys():
    def body():
        for stuck in (bytes(32), b"\x07" * 32, bytes(range(32))):
            hal = FakeHAL()
            hal.entropy = lambda size, stuck=stuck: stuck
            one = Enrolment(hal, Worker(hal), codes.KIND_CONVERTER, 0, CURRENT_MA_MAX, print)
            try:
                one.load()
            except SignatureError as error:
                assert error.code == "entropy"
                assert "keys.cbor" not in os.listdir()
                continue
            raise AssertionError("keys from a stuck generator")

    in_folder("enrol_entropy", body)


def test_a_grant_is_taken_and_survives_a_restart():
    def body():
        bench = enrolled()
        one = bench.enrolment
        assert one.enrolled and one.zone == 2 and one.profile.power_mw_discharge_max == 2_500_000
        assert one.issuer_key == ISSUER.public and one.floor_unix_s == one.issued_unix_s > 0
        again = reloaded().enrolment
        for name in ("enrolled", "zone", "credential", "credential_key", "pins",
                     "issued_unix_s", "floor_unix_s", "element_id", "sign_private"):
            assert getattr(again, name) == getattr(one, name), name
        assert again.profile.cell_mv_max == one.profile.cell_mv_max

    in_folder("enrol_taken", body)


def refused(code, make):
    """Check that a grant is refused with a code and leaves nothing on flash."""
    bench = Bench()
    bench.grant(make(bench.enrolment))
    answers = bench.settle()
    assert len(answers) == 1 and answers[0][0] is False, answers
    assert answers[0][1] == code, answers
    assert not bench.enrolment.enrolled and bench.enrolment.profile is None
    assert "grant.cbor" not in os.listdir() and not reloaded().enrolment.enrolled
    # and a good one is still welcome
    bench.grant(grant_for(bench.enrolment))
    assert bench.settle()[-1] == (True, "")
    os.remove("grant.cbor")


def test_wrong_grants_are_refused():
    def with_field(name, value):
        def make(one):
            fields = grant_for(one)
            fields[name] = value
            return fields
        return make

    def damaged(one):
        fields = grant_for(one)
        fields["credential"] = fields["credential"][:-1] + bytes((fields["credential"][-1] ^ 1,))
        return fields

    other_key = schema.cose_key(STRANGER.public)

    def body():
        refused("credential signature", lambda one: grant_for(one, STRANGER))
        refused("credential signature", damaged)
        refused("credential signature", with_field("issuer", pin_of(STRANGER)))
        refused("credential key", lambda one: grant_for(one, cnf={"cose_key": other_key}))
        refused("agreement key", lambda one: grant_for(one, agree_key=other_key))
        for name in ("issuer", "operator", "life_safety"):
            refused("root key", with_field(name, bytes(schema.PIN_SIZE)))
            refused("root key", with_field(name, b"\x01" * schema.PIN_SIZE))
        refused("cbor_truncated", with_field("credential", b"\xd2\x84"))
        refused("profile kind", lambda one: grant_for(
            one, profile=profile_fields(codes.KIND_BMS_FETS)))
        refused("profile kind", lambda one: grant_for(one, profile=profile_fields(step_mw=5)))
        for name in ("current_ma_discharge_max", "current_ma_charge_max"):
            beyond = {name: CURRENT_MA_MAX + 1}
            refused("profile current", lambda one, beyond=beyond: grant_for(
                one, profile=profile_fields(**beyond)))

    in_folder("enrol_wrong", body)


def test_a_statement_of_another_kind_is_no_credential():
    def body():
        bench = Bench()
        fields = grant_for(bench.enrolment)
        order = {"element_id": bench.enrolment.element_id, "order_number": 1,
                 "issued_unix_ms": NOW_MS, "cause": 1}
        fields["credential"] = sign1(ISSUER, schema.RELEASE_ORDER, order)
        bench.grant(fields)
        assert bench.settle() == [(False, "typ")] and not bench.enrolment.enrolled

    in_folder("enrol_kind", body)


def test_a_second_grant_is_refused():
    def body():
        bench = enrolled()
        wide = profile_fields(power_mw_discharge_max=100_000_000)
        bench.grant(grant_for(bench.enrolment, profile=wide))
        assert bench.settle()[1:] == [(False, "already enrolled")]
        assert bench.enrolment.profile.power_mw_discharge_max == 2_500_000
        assert reloaded().enrolment.profile.power_mw_discharge_max == 2_500_000

    in_folder("enrol_second", body)


def test_a_grant_that_comes_while_one_is_checked_is_refused():
    # the line is not authenticated before enrolment: whoever is late must not overwrite
    def body():
        bench = Bench()
        wide = profile_fields(power_mw_discharge_max=100_000_000)
        bench.grant(grant_for(bench.enrolment))
        bench.grant(grant_for(bench.enrolment, profile=wide))
        assert bench.settle() == [(False, "busy"), (True, "")]
        assert bench.enrolment.profile.power_mw_discharge_max == 2_500_000

    in_folder("enrol_race", body)


def test_flash_that_does_not_take_the_grant_leaves_the_element_unenrolled():
    def body():
        bench = Bench()
        real = enrolling.write_file

        def fail(path, data):
            raise OSError(28, "full")

        enrolling.write_file = fail
        try:
            bench.grant(grant_for(bench.enrolment))
            answers = bench.settle()
        finally:
            enrolling.write_file = real
        assert answers == [(False, "flash 28")] and not bench.enrolment.enrolled
        bench.grant(grant_for(bench.enrolment))
        assert bench.settle()[-1] == (True, "")

    in_folder("enrol_flash", body)


def test_tampered_flash_leaves_the_element_unenrolled():
    def body():
        enrolled()
        with open("grant.cbor", "rb") as file:
            good = file.read()
        parts = cbor.decode(good)
        wrong = [b"", b"\x00", good[:-1], good + b"\x00", cbor.encode(1), cbor.encode([]),
                 cbor.encode([1, 2, 3, 4, 5, 6]), cbor.encode(parts[:5]), cbor.encode({1: 2})]
        for index in range(6):  # each part in turn: credential, its key, three roots, tag
            changed = list(parts)
            changed[index] = bytes(parts[index][:-1]) + bytes((parts[index][-1] ^ 1,))
            wrong.append(cbor.encode(changed))
            shorter = list(parts)
            shorter[index] = parts[index][:-1]
            wrong.append(cbor.encode(shorter))
        swapped = list(parts)
        swapped[4] = pin_of(STRANGER)  # another life-safety root
        wrong.append(cbor.encode(swapped))
        for position in range(0, len(good), 37):
            damaged = bytearray(good)
            damaged[position] ^= 0x20
            wrong.append(bytes(damaged))
        for data in wrong:
            with open("grant.cbor", "wb") as file:
                file.write(data)
            bench = reloaded()
            assert not bench.enrolment.enrolled and bench.enrolment.profile is None
            assert len(bench.lines) == 1
        with open("grant.cbor", "wb") as file:
            file.write(good)
        assert reloaded().enrolment.enrolled

    in_folder("enrol_tampered", body)


def test_a_sealed_credential_with_a_wrong_signature_is_refused_after_the_boot():
    """The seal is right, the issuer's signature is not: no power before it has been looked at."""
    def body():
        bench = enrolled()
        with open("grant.cbor", "rb") as file:
            parts = cbor.decode(file.read())[:5]
        for change, good in ((0, True), (1, False)):
            parts[0] = parts[0][:-1] + bytes((parts[0][-1] ^ change,))
            with open("grant.cbor", "wb") as file:
                file.write(enrolling.sealed(bench.enrolment, b"cellwall grant 2", parts))
            again = reloaded()
            assert again.enrolment.enrolled and not again.enrolment.proven
            again.enrolment.prove()
            again.settle()
            assert again.enrolment.enrolled == again.enrolment.proven == good

    in_folder("enrol_sealed", body)


def test_damaged_keys_make_a_new_identity_without_a_credential():
    def body():
        before = enrolled().enrolment.element_id
        with open("keys.cbor", "rb") as file:
            good = file.read()
        turned = bytearray(good)
        turned[40] ^= 1
        for data in (b"", b"\x82", cbor.encode(5), cbor.encode([b"x", b"y"]), good[:-1],
                     cbor.encode([bytes(32)] * 5), bytes(turned)):
            with open("keys.cbor", "wb") as file:
                file.write(data)
            bench = reloaded()
            assert not bench.enrolment.enrolled and bench.enrolment.element_id != before
            assert len(bench.enrolment.sign_private) == 32

    in_folder("enrol_damaged", body)


def test_a_half_written_grant_is_not_seen():
    def body():
        Bench()
        with open("grant.cbor.new", "wb") as file:
            file.write(b"half")
        assert not reloaded().enrolment.enrolled

    in_folder("enrol_half", body)


def test_validity():
    def body():
        one = enrolled().enrolment
        for offset_s, valid in ((-3601, False), (-3600, True), (0, True), (86_399, True),
                                (86_400, False), (10**9, False)):
            assert one.valid_at(NOW_MS + 1000 * offset_s) is valid, offset_s
        assert not one.valid_at(0)

    in_folder("enrol_valid", body)


def test_the_request_names_the_element():
    def body():
        one = Bench().enrolment
        fields = one.request_fields(b"c" * 16, "board", "firmware")
        wire = schema.statement_to_wire(schema.table_of(schema.ENROL_REQUEST), fields)
        assert schema.statement_from_wire(schema.table_of(schema.ENROL_REQUEST), wire) == fields
        assert schema.raw_key(fields["sign_key"]) == one.sign_public
        assert AGREE.public != one.agree_public

    in_folder("enrol_request", body)
