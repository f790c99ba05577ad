"""Check that an element follows its roots' keys, one after the other, and nobody else."""

import hashlib
import os
import sys

from desk_bench import Bench, entry, jobs_of, renewal, revocations, rotation
from element_bench import Element
from fakes import drain, in_folder
from greeter import Greeter
from panel import (
    ISSUER,
    LIFE_SAFETY,
    NOW_MS,
    NOW_S,
    OPERATOR,
    PARTY,
    STRANGER,
    next_of,
    party_credential,
    pin_of,
    sign1,
)

from element import enrolling
from element.crypto.worker import JOBS_MAX
from element.link import host_port
from element.link.host_port import SKEW_S
from element.protocol import cbor, schema, trust

# So many bits are turned, of every so manieth byte of a statement; a small board turns fewer.
BITS = 8
BYTE_STEP = 1
ROOTS = ((trust.ROLE_ISSUER, ISSUER, 0), (trust.ROLE_OPERATOR, OPERATOR, 1),
         (trust.ROLE_LIFE_SAFETY, LIFE_SAFETY, 2))


def test_each_root_is_followed_and_after_a_restart_too():
    def body():
        bench = Bench()
        for number in (2, 3, 4):
            for role, root, index in ROOTS:
                before = list(bench.enrolment.pins)
                assert bench.tell(rotation(role, root, number)) == ""
                before[index] = pin_of(next_of(root, number), number)
                assert bench.enrolment.pins == before
                assert "root %d has its key number %d" % (role, number) in bench.lines[-1]
            bench = bench.restart()
            assert bench.enrolment.pins == before and bench.enrolment.proven
        assert bench.enrolment.issuer_key == next_of(ISSUER, 4).public
        assert bench.enrolment.operator_key == next_of(OPERATOR, 4).public
        assert bench.enrolment.life_safety_key == next_of(LIFE_SAFETY, 4).public

    in_folder("desk_roots", body)


def test_rotations_that_are_refused():
    def body():
        bench = Bench()
        role, root = trust.ROLE_OPERATOR, OPERATOR
        for number in (3, 4, 100, 0xFFFFFFFF):
            bench.refuses("a rotation before it is missing", rotation(role, root, number))
        for wrong in (STRANGER, ISSUER, LIFE_SAFETY, OPERATOR, next_of(OPERATOR, 3)):
            bench.refuses("not the promised key", rotation(
                role, root, signer=wrong, key=schema.cose_key(wrong.public)))
        for wrong in (STRANGER, ISSUER, OPERATOR, next_of(OPERATOR, 3)):
            bench.refuses("signature", rotation(role, root, signer=wrong))
        bench.refuses("not a root of an element", rotation(trust.ROLE_METER, root))
        # a root's promised key speaks for its own root alone
        for other, _, _ in ROOTS:
            if other != role:
                bench.refuses("not the promised key", rotation(other, root))
        # and the next in order is still followed
        assert bench.tell(rotation(role, root)) == ""

    in_folder("desk_refused", body)


def test_a_rotation_that_is_known_changes_nothing():
    def body():
        bench = Bench()
        first, second = [rotation(trust.ROLE_ISSUER, ISSUER, number) for number in (2, 3)]
        assert bench.tell(first) == "" and bench.tell(second) == ""
        for statement in (first, second, rotation(trust.ROLE_ISSUER, ISSUER, 1),
                          rotation(trust.ROLE_ISSUER, ISSUER, 2, STRANGER)):
            bench.refuses("", statement)
        assert bench.restart().enrolment.issuer_key == next_of(ISSUER, 3).public

    in_folder("desk_known", body)


def test_a_rotation_is_not_in_force_before_its_time():
    def body():
        bench = Bench()
        assert bench.clock.set(NOW_MS)
        for ahead_s in (SKEW_S + 1, 86_400):
            bench.refuses("not yet in force", rotation(
                trust.ROLE_ISSUER, ISSUER, not_before_unix_s=NOW_S + ahead_s))
        assert bench.tell(rotation(trust.ROLE_ISSUER, ISSUER,
                                   not_before_unix_s=NOW_S + SKEW_S)) == ""
        assert bench.enrolment.floor_unix_s == NOW_S + SKEW_S
        # without a clock nobody can tell: what the root has signed is the time then
        other = Bench(entropy_from=50)
        assert not other.clock.is_set
        assert other.tell(rotation(trust.ROLE_OPERATOR, OPERATOR,
                                   not_before_unix_s=NOW_S + 9999)) == ""
        assert other.enrolment.floor_unix_s == NOW_S + 9999

    in_folder("desk_time", body)


def test_a_turned_bit_is_refused():
    def body():
        bench = Bench()
        good = rotation(trust.ROLE_LIFE_SAFETY, LIFE_SAFETY)
        before = bench.kept()
        for position in range(0, len(good), BYTE_STEP):
            for bit in range(BITS):
                turned = bytearray(good)
                turned[position] ^= 1 << bit
                assert bench.tell(bytes(turned)) != "", (position, bit)
                assert bench.enrolment.pins == before[0][3], (position, bit)
        assert bench.kept() == before
        assert bench.tell(good) == ""

    in_folder("desk_bits", body)


def test_malformed_statements_are_refused():
    def body():
        bench = Bench()
        good = rotation(trust.ROLE_ISSUER, ISSUER)
        before = bench.kept()
        wrong = [good[:size] for size in range(1, len(good), 5)]
        wrong += [good + b"\x00", b"\x00" + good, b"\xd2", b"\xd2\x84", b"\xff" * 2048, b"\x01",
                  cbor.encode([]), cbor.encode({}), cbor.encode(b""), cbor.encode(None),
                  cbor.encode(cbor.Tagged(18, [b"", {}, b"", bytes(64)])),
                  cbor.encode(cbor.Tagged(17, [b"\xa0", {}, b"", bytes(64)]))]
        for statement in wrong:
            assert bench.tell(statement) != "", statement
        assert bench.kept() == before
        # every statement under its own name, and none that is no business of a desk
        payload = rotation(trust.ROLE_ISSUER, ISSUER, kind=trust.ROOT_ROTATION)
        assert payload == good
        for statement in (party_credential(), sign1(ISSUER, schema.RELEASE_ORDER, {
                "element_id": bench.enrolment.element_id, "order_number": 1,
                "issued_unix_ms": NOW_MS, "cause": 1})):
            bench.refuses("typ", statement)
        assert bench.tell(good) == ""

    in_folder("desk_malformed", body)


def test_only_the_new_operators_parties_get_in():
    def body():
        bench = Bench()
        assert bench.greet() is None and bench.port.has_session and len(bench.port.vouched) == 1
        assert bench.tell(rotation(trust.ROLE_OPERATOR, OPERATOR)) == ""
        assert bench.port.peers == [] and bench.port.vouched == []
        why = "party credential not the operator's"
        assert bench.greet(b"2") == why and bench.port.peers == []
        again = bench.restart()
        assert again.greet(b"3") == why
        assert again.greet(b"4", credential=party_credential(next_of(OPERATOR))) is None
        assert again.port.has_session

    in_folder("desk_operator", body)


def test_other_rotations_end_no_session():
    def body():
        bench = Bench()
        bench.greet()
        for role, root, _ in (ROOTS[0], ROOTS[2]):
            assert bench.tell(rotation(role, root)) == ""
            assert bench.port.has_session and len(bench.port.vouched) == 1

    in_folder("desk_sessions", body)


def test_who_is_looked_at_while_the_operator_changes_does_not_get_in():
    # the old key's word is asked for before the change and comes after it
    def body():
        bench = Bench()
        message_3 = bench.answered(Greeter(bench.enrolment))
        bench.send(rotation(trust.ROLE_OPERATOR, OPERATOR))
        bench.put_3(message_3)
        bench.work(2)  # the rotation and message_3 are good: both have one more job to come
        assert jobs_of(bench) == ["_KeepJob", "VerifyJob"]
        bench.work(2)
        assert bench.enrolment.operator_key == next_of(OPERATOR).public
        assert bench.port.peers == [] and bench.port.vouched == []
        bench.host.received()
        assert bench.greet(b"again") == "party credential not the operator's"

    in_folder("desk_race", body)


def test_a_flash_that_takes_nothing_leaves_all_as_it_was():
    def body():
        bench = Bench()
        bench.greet()
        real = enrolling.write_file

        def failing(error):
            def fail(path, data):
                raise error
            return fail

        statements = (renewal(bench), revocations(1, entry(PARTY.key_id)),
                      rotation(trust.ROLE_OPERATOR, OPERATOR), rotation(trust.ROLE_ISSUER, ISSUER))
        try:
            for error, code in ((OSError(28, "full"), "flash 28"), (OSError(5, "io"), "flash 5"),
                                (MemoryError(), "no memory now")):
                enrolling.write_file = failing(error)
                for statement in statements:
                    bench.refuses(code, statement)
        finally:
            enrolling.write_file = real
        assert bench.port.has_session and bench.enrolment.proven
        # told again it is taken
        for statement in statements:
            assert bench.tell(statement) == ""
        assert bench.restart().enrolment.pins == bench.enrolment.pins

    in_folder("desk_flash", body)


def test_one_statement_at_a_time():
    def body():
        bench = Bench()
        first, second = [rotation(role, root) for role, root, _ in ROOTS[:2]]
        bench.send(first)
        before = bench.port.dropped_count
        bench.send(second)
        bench.send(first)
        assert bench.port.dropped_count == before + 2
        assert bench.settle() == [(hashlib.sha256(first).digest()[:8], "")]
        assert bench.enrolment.operator_key == OPERATOR.public
        assert bench.tell(second) == ""

    in_folder("desk_one", body)


class Never:
    """A job without an end."""

    def step(self):
        return False


def test_a_full_queue_is_busy_and_changes_nothing():
    def body():
        bench = Bench()
        good = rotation(trust.ROLE_ISSUER, ISSUER)
        while bench.worker.submit(Never(), None, 8):
            pass
        bench.send(good)  # what is left of the queue is for records
        (_, answer), = bench.host.received()
        assert answer["code"] == "busy" and len(bench.worker._jobs) == JOBS_MAX - 8
        bench.worker._jobs[:] = []
        # verified, and then there is no room to have it written
        bench.send(good)
        submit = bench.worker.submit
        bench.worker.submit = lambda job, done, spare=0: False
        assert [code for _, code in bench.settle()] == ["busy"]
        assert bench.enrolment.issuer_key == ISSUER.public and bench.port._desk is None
        # on a small board there may be no room to load what reads it
        bench.worker.submit = submit
        bench.hal.tight_heap = True
        while submit(Never(), None):
            pass
        before = bench.port.dropped_count
        bench.send(good)
        assert bench.port.dropped_count == before + 1 and bench.host.received() == []
        bench.hal.tight_heap = False
        bench.worker._jobs[:] = []
        assert bench.tell(good) == ""

    in_folder("desk_busy", body)


def test_an_element_that_is_not_enrolled_has_no_roots():
    def body():
        bench = Bench(enrolled=False)
        statements = [rotation(role, root, number) for role, root, _ in ROOTS
                      for number in (1, 2)]
        statements += [revocations(1), renewal(bench)]
        for statement in statements:
            before = bench.port.dropped_count
            bench.send(statement)
            assert bench.settle() == [] and bench.port.dropped_count == before + 1
        assert not bench.enrolment.enrolled and os.listdir() == ["keys.cbor"]
        assert bench.enrolment.pins == [bytes(schema.PIN_SIZE)] * 3

    in_folder("desk_unenrolled", body)


def test_under_power_the_flash_is_written_right_after_a_tick():
    def body():
        element = Element().ready().at_power()
        worker, enrolment = element.agent.worker, element.agent.enrolment
        after_tick, write_file = worker.after_tick, enrolling.write_file
        inside, writes = [], []

        def watched(now, due):
            inside.append(now)
            after_tick(now, due)
            inside.pop()

        def noted(path, data):
            writes.append((path, len(inside), element.hal.enabled))
            write_file(path, data)

        worker.after_tick, enrolling.write_file = watched, noted
        try:
            for statement in (rotation(trust.ROLE_ISSUER, ISSUER), revocations(1),
                              renewal(element.agent, next_of(ISSUER))):
                element.host.plain(schema.TRUST, {"statement": statement})
                element.at_power(seconds=1)
        finally:
            enrolling.write_file = write_file
        assert [answer["code"] for answer in element.all(schema.TRUST_RESULT)] == [""] * 3
        assert writes == [("grant.cbor", 1, True), ("revoked.cbor", 1, True),
                          ("grant.cbor", 1, True)]
        assert element.hal.enabled and element.loop.failures == []
        assert enrolment.issuer_key == next_of(ISSUER).public

    in_folder("desk_power", body)


def test_a_small_board_loads_and_forgets_what_reads_a_statement():
    def body():
        bench = Bench()
        names = host_port._GREETING + host_port._TRUST_DESK
        bench.tell(rotation(trust.ROLE_ISSUER, ISSUER))
        message_3 = bench.answered(Greeter(bench.enrolment))
        kept = {name: sys.modules["element." + name] for name in names}
        bench.hal.tight_heap = True
        try:
            # while somebody greets: what the handshake needs stays, and both come to their end
            bench.send(rotation(trust.ROLE_LIFE_SAFETY, LIFE_SAFETY))
            assert bench.port._loading is not None and bench.port._desk is None
            before = bench.port.dropped_count
            bench.send(rotation(trust.ROLE_OPERATOR, OPERATOR))
            assert bench.port.dropped_count == before + 1
            assert [code for _, code in bench.settle()] == [""]
            assert "element.link.greeting" in sys.modules
            bench.put_3(message_3)
            bench.settle()
            assert bench.port.has_session
            assert not any("element." + name in sys.modules for name in names)
            # and alone
            for number in (2, 3):
                bench.send(rotation(trust.ROLE_OPERATOR, OPERATOR, number))
                drain(bench.worker)
                assert bench.enrolment.pins[1] == pin_of(next_of(OPERATOR, number), number)
                assert not any("element." + name in sys.modules for name in names)
        finally:
            for name, module in kept.items():
                sys.modules["element." + name] = module

    in_folder("desk_lazy", body)


def test_no_memory_for_a_statement_is_said_and_nothing_else():
    def body():
        bench = Bench()
        good = rotation(trust.ROLE_ISSUER, ISSUER)
        desk = host_port.loaded("trust_desk")
        real = desk.statement_digest

        def fail(typ, statement):
            raise MemoryError()

        desk.statement_digest = fail
        try:
            bench.refuses("no memory now", good)
        finally:
            desk.statement_digest = real
        assert bench.tell(good) == ""

    in_folder("desk_memory", body)
