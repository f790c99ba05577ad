"""Check the handshake on an element's line: who gets a session, who is refused and told why."""

import sys

from fakes import FakeHAL, drain, in_folder
from greeter import Greeter
from panel import (
    NOW_MS,
    NOW_S,
    OPERATOR,
    PARTY,
    STRANGER,
    Host,
    Keys,
    grant_for,
    next_of,
    party_credential,
    pin_of,
)

from element import enrolling
from element.clock import Clock
from element.crypto import handshake
from element.crypto.ccm import ccm_open, ccm_seal
from element.crypto.worker import Worker
from element.enrolment import OPERATOR as OPERATOR_PIN
from element.enrolment import Enrolment
from element.lazy import LoadJob
from element.link import greeting as greeting_module
from element.link import host_port
from element.link.host_port import HostPort
from element.protocol import cbor, codes, edhoc, schema
from element.protocol.sealed import SealedSession

TELEMETRY = {"counter": 5}


class Bench:
    """An enrolled element's port with its worker, and the host at the other end."""

    def __init__(self, now_ms=1000):
        self.hal = FakeHAL(now_ms)
        self.clock = Clock(self.hal)
        self.worker = Worker(self.hal)
        self.lines = []
        self.enrolment = Enrolment(
            self.hal, self.worker, codes.KIND_CONVERTER, 0, 84000, self.lines.append)
        self.enrolment.load()
        if not self.enrolment.enrolled:
            self.enrolment.grant(grant_for(self.enrolment), lambda accepted, code: None)
            drain(self.worker)
        self.port = HostPort(self.hal, self.hal.link_uart, self.enrolment, self.worker,
                             self.clock, self.lines.append)
        self.host = Host(self.hal.link_uart)
        self.peers = []
        self.port.on_opened = self._opened
        self.taken = []
        self.port.handlers[schema.TRIP] = self.taken.append
        self.port.handlers[schema.SETPOINT] = self.taken.append

    def _opened(self, peer):
        self.peers.append(peer)
        self.port.tell(schema.STATEMENT_ACK, TELEMETRY)

    def say(self, kind, message):
        """Send a link message and return what the element answers."""
        self.host.plain(kind, {"message": message})
        self.port.receive()
        drain(self.worker)
        self.port.receive()
        return self.host.received()

    def greet(self, **options):
        """Greet; returns (greeter, session of the host, what message_3 was answered with)."""
        greeter = Greeter(self.enrolment, **options)
        (kind, fields), = self.say(schema.EDHOC_1, greeter.message_1)
        assert kind == schema.EDHOC_2
        message_3, exporter = greeter.answer(fields["message"])
        session = SealedSession(ccm_seal, ccm_open, exporter,
                                self.enrolment.element_id + greeter.state.c_r, True)
        self.host.session = session
        return greeter, session, self.say(schema.EDHOC_3, message_3)


def told(answers):
    """Return what an EDHOC error says, None when that is no error."""
    if [kind for kind, _ in answers] != [schema.EDHOC_ERROR]:
        return None
    return edhoc.error_of(answers[0][1]["message"])


def test_a_party_of_the_building_gets_a_session():
    def body():
        bench = Bench()
        _, session, answers = bench.greet()
        assert answers == [(schema.STATEMENT_ACK, TELEMETRY)] and session.accepted == 1
        assert bench.port.has_session and bench.port.session_count == 1
        peer, = bench.peers
        assert peer.party == codes.PARTY_AGGREGATOR and peer.subject == PARTY.key_id
        assert peer.valid_s == (NOW_S - 3600, NOW_S + 86_400)
        bench.host.send(schema.TRIP, {"cause": 1, "zone": 2})
        bench.port.receive()
        assert bench.taken == [{"cause": 1, "zone": 2}]
        # again, with the credential that it knows: no second look at its signature
        submit, jobs = bench.worker.submit, []

        def count(job, done, spare=0):
            jobs.append(type(job).__name__)
            return submit(job, done, spare)

        bench.worker.submit = count
        bench.greet(seed=b"y")
        assert bench.port.session_count == 2 and jobs == ["AnswerJob", "FinishJob"]

    in_folder("greet_good", body)


def test_an_alarm_may_trip_and_not_dispatch():
    def body():
        bench = Bench()
        alarm = party_credential(party=codes.PARTY_ALARM, keys=Keys(b"alarm"))
        assert bench.greet(credential=alarm)[2] == [(schema.STATEMENT_ACK, TELEMETRY)]
        assert not bench.port.has_session and bench.port.session_count == 0
        bench.host.send(schema.SETPOINT, {
            "dispatch_id": 1, "sequence": 1, "power_mw": 1000, "service": 1,
            "start_unix_ms": 0, "lease_ms": 1000})
        bench.host.send(schema.TRIP, {"cause": 1, "zone": 2})
        bench.port.receive()
        assert bench.taken == [{"cause": 1, "zone": 2}] and bench.port.dropped_count == 1

    in_folder("greet_alarm", body)


def refused(why, clock_ms=None, revoked=b"", **options):
    """Check that a party is refused, and told why."""
    bench = Bench()
    if clock_ms is not None:
        assert bench.clock.set(clock_ms)
    bench.enrolment.revoked = revoked
    bench.port.vouched = []
    answers = bench.greet(**options)[2]
    assert not bench.port.has_session and bench.peers == [] and why in bench.lines[-1]
    return told(answers)


def test_who_is_refused_and_why():
    def body():
        entry = PARTY.key_id + NOW_S.to_bytes(4, "big") + b"\x01"
        for why, clock_ms, revoked in (
                ("party credential expired", NOW_MS + 1000 * (86_401 + 120), b""),
                ("party credential not yet valid", NOW_MS - 1000 * (3601 + 120), b""),
                ("party credential revoked", NOW_MS, entry),
                ("party credential revoked", None, entry)):
            assert refused(why, clock_ms, revoked) == (1, why)
        why = "party credential not the operator's"
        assert refused(why, credential=party_credential(STRANGER)) == (1, why)
        good = party_credential()
        damaged = good[:-1] + bytes((good[-1] ^ 1,))
        assert refused(why, credential=damaged) == (1, why)
        # a key that the credential does not name
        assert refused("edhoc_mac", own=STRANGER) == (1, "refused")
        # by a name, by no credential, by an element's
        for id_cred in ({4: b"panel"}, {14: {2: "panel"}}, {13: cbor.decode(good), 4: b"x"}):
            assert refused("edhoc_credential", id_cred=id_cred) == (3, True)
        assert refused("cose_tag", id_cred={13: 5}) == (1, "refused")
        element = grant_for(Bench().enrolment, zone=3)["credential"]
        assert refused("typ", credential=element) == (1, "refused")

    in_folder("greet_refused", body)


def test_a_clock_that_is_set_later_is_heeded_then():
    def body():
        bench = Bench()
        bench.greet()
        assert bench.port.has_session
        assert bench.clock.set(NOW_MS + 1000 * (86_401 + 120))
        bench.port.check()
        assert not bench.port.has_session and "expired" in bench.lines[-1]

    in_folder("greet_clock", body)


def test_messages_that_come_again_are_answered_again():
    def body():
        bench = Bench()
        greeter = Greeter(bench.enrolment)
        first, = bench.say(schema.EDHOC_1, greeter.message_1)
        again, = bench.say(schema.EDHOC_1, greeter.message_1)
        assert first == again
        message_3, _ = greeter.answer(first[1]["message"])
        for _ in range(2):  # while it is examined it may come as often as it likes
            bench.host.plain(schema.EDHOC_3, {"message": message_3})
            bench.host.plain(schema.EDHOC_1, {"message": greeter.message_1})
        bench.port.receive()
        drain(bench.worker)
        bench.port.receive()
        assert bench.port.session_count == 1 and bench.port.dropped_count == 0
        # what ended is over: the same message opens nothing, and is told so
        assert told(bench.say(schema.EDHOC_3, message_3)) == (1, "no handshake")
        assert bench.port.session_count == 1

    in_folder("greet_again", body)


def test_a_replayed_handshake_opens_nothing():
    def body():
        bench = Bench()
        greeter, _, _ = bench.greet()
        message_1 = greeter.message_1
        (kind, fields), = bench.say(schema.EDHOC_1, message_1)  # a fresh answer, a new secret
        assert kind == schema.EDHOC_2
        second = Greeter(bench.enrolment)
        second_1 = second.message_1
        assert second_1 == message_1
        message_3, _ = second.answer(fields["message"])
        old = Bench(now_ms=50_000)  # the same element after a restart
        assert told(old.say(schema.EDHOC_3, message_3)) == (1, "no handshake")
        old.say(schema.EDHOC_1, message_1)
        assert told(old.say(schema.EDHOC_3, message_3)) == (1, "refused")
        assert not old.port.has_session

    in_folder("greet_replay", body)


def test_one_handshake_at_a_time():
    def body():
        bench = Bench()
        one, two = Greeter(bench.enrolment), Greeter(bench.enrolment, seed=b"two")
        (_, fields), = bench.say(schema.EDHOC_1, one.message_1)
        assert bench.say(schema.EDHOC_1, two.message_1) == []  # one is answered and may go on
        message_3, _ = one.answer(fields["message"])
        bench.say(schema.EDHOC_3, message_3)
        assert bench.port.session_count == 1
        # somebody who never goes on does not keep others out for long
        bench.say(schema.EDHOC_1, Greeter(bench.enrolment, seed=b"three").message_1)
        assert bench.say(schema.EDHOC_1, two.message_1) == []
        bench.hal.now_ms += greeting_module.HOLD_MS
        (_, fields), = bench.say(schema.EDHOC_1, two.message_1)
        message_3, _ = two.answer(fields["message"])
        bench.say(schema.EDHOC_3, message_3)
        assert bench.port.session_count == 2
        # and what nobody goes on with is forgotten
        bench.say(schema.EDHOC_1, Greeter(bench.enrolment, seed=b"four").message_1)
        assert bench.port._greeting is not None
        bench.hal.now_ms += greeting_module.WAIT_MS_MAX + 1
        bench.port.receive()
        assert bench.port._greeting is None

    in_folder("greet_one", body)


def test_a_handshake_does_not_end_a_session():
    def body():
        bench = Bench()
        session = bench.greet()[1]
        bench.say(schema.EDHOC_1, Greeter(bench.enrolment, own=STRANGER, seed=b"z").message_1)
        refused_one = Greeter(bench.enrolment, own=STRANGER, seed=b"y")
        bench.hal.now_ms += greeting_module.HOLD_MS
        (_, fields), = bench.say(schema.EDHOC_1, refused_one.message_1)
        message_3, _ = refused_one.answer(fields["message"])
        bench.say(schema.EDHOC_3, message_3)
        assert "edhoc_mac" in bench.lines[-1] and bench.port.session_count == 1
        bench.host.session = session
        bench.host.send(schema.TRIP, {"cause": 1, "zone": 2})
        bench.port.receive()
        assert len(bench.taken) == 1

    in_folder("greet_keeps", body)


def test_damaged_and_cut_messages_open_nothing():
    def body():
        bench = Bench()
        message_1 = Greeter(bench.enrolment).message_1
        for size in range(1, len(message_1), 7):
            assert told(bench.say(schema.EDHOC_1, message_1[:size]))[0] in (1, 2)
            bench.port.receive()
        for message in (b"\x00", b"\xff" * 256, b"\x1a", message_1 + b"\x00" * 9,
                        b"\x00" + message_1):
            assert told(bench.say(schema.EDHOC_1, message)) is not None
        for position in (0, 5, 30):
            greeter = Greeter(bench.enrolment, seed=b"%d" % position)
            (_, fields), = bench.say(schema.EDHOC_1, greeter.message_1)
            message_3 = bytearray(greeter.answer(fields["message"])[0])
            message_3[position] ^= 0x10
            assert told(bench.say(schema.EDHOC_3, bytes(message_3)))[0] == 1
        assert not bench.port.has_session
        bench.greet(seed=b"good")
        assert bench.port.has_session

    in_folder("greet_damaged", body)


def test_a_full_queue_refuses_a_handshake_and_not_a_session():
    def body():
        bench = Bench()
        session = bench.greet()[1]

        class Never:
            def step(self):
                return False

        while bench.worker.submit(Never(), None, 8):
            pass
        greeter = Greeter(bench.enrolment, seed=b"q")
        bench.host.plain(schema.EDHOC_1, {"message": greeter.message_1})
        before = bench.port.dropped_count
        bench.port.receive()
        assert bench.port.dropped_count == before + 1
        bench.host.session = session
        bench.host.send(schema.TRIP, {"cause": 1, "zone": 2})
        bench.port.receive()
        assert len(bench.taken) == 1

    in_folder("greet_full", body)


def test_a_stuck_generator_refuses_a_handshake():
    def body():
        from element.protocol.errors import SignatureError

        bench = Bench()

        def stuck(size):
            raise SignatureError("entropy", size)

        bench.hal.entropy = stuck
        greeter = Greeter(bench.enrolment)
        assert told(bench.say(schema.EDHOC_1, greeter.message_1)) == (1, "refused")
        assert "entropy" in bench.lines[-1]

    in_folder("greet_stuck", body)


def test_who_vouches_anew_ends_what_the_one_before_vouched_for():
    def body():
        bench = Bench()
        bench.greet()
        following = next_of(OPERATOR)
        enrolling.keep_pin(bench.enrolment, OPERATOR_PIN, pin_of(following, 2), NOW_S)
        bench.port.end_sessions()
        assert not bench.port.has_session and bench.port.vouched == []
        why = "party credential not the operator's"
        assert told(bench.greet(seed=b"2")[2]) == (1, why)
        bench.greet(seed=b"3", credential=party_credential(following))
        assert bench.port.has_session

    in_folder("greet_rotated", body)


def loaded_now():
    """Return what a small board would forget, as the other tests have it."""
    return {name: sys.modules[name] for name in [
        "element." + one for one in host_port._GREETING + host_port._TRUST_DESK]
        if name in sys.modules}


def put_back(kept):
    """Undo what was forgotten: other tests hold these modules, not new ones of their name."""
    for name, module in kept.items():
        sys.modules[name] = module
        above, _, last = name.rpartition(".")
        setattr(sys.modules[above], last, module)


def test_a_small_board_loads_and_forgets_what_a_handshake_needs():
    def body():
        names = host_port._GREETING
        kept = loaded_now()
        bench = Bench()
        bench.hal.tight_heap = True
        try:
            host_port.forget(bench.hal, names)
            assert not any("element." + name in sys.modules for name in names)
            greeter = Greeter(bench.enrolment)
            bench.host.plain(schema.EDHOC_1, {"message": greeter.message_1})
            bench.port.receive()
            assert bench.port._loading == greeter.message_1 and bench.port._greeting is None
            drain(bench.worker)
            assert bench.port._greeting is not None and "element.link.greeting" in sys.modules
            (_, fields), = bench.host.received()
            bench.say(schema.EDHOC_3, greeter.answer(fields["message"])[0])
            assert bench.port.has_session and bench.port._greeting is None
            assert not any("element." + name in sys.modules for name in names)
            bench.port.send(schema.STATEMENT_ACK, TELEMETRY)
        finally:
            put_back(kept)

    in_folder("greet_lazy", body)


def test_no_memory_for_a_handshake_is_said_and_nothing_else():
    def body():
        bench = Bench()
        bench.hal.tight_heap = True
        step = LoadJob.step

        def fail(self):
            self.failed = True
            return True

        LoadJob.step = fail
        kept = loaded_now()
        try:
            assert bench.say(schema.EDHOC_1, Greeter(bench.enrolment).message_1) == []
        finally:
            LoadJob.step = step
            put_back(kept)
        assert "no memory" in bench.lines[-1] and bench.port._loading is None

    in_folder("greet_memory", body)


def test_what_stays_in_the_answers_work_is_gone_with_it():
    # the ephemeral key is used once: after message_3 nothing of it is left
    def body():
        bench = Bench()
        greeter = Greeter(bench.enrolment)
        (_, fields), = bench.say(schema.EDHOC_1, greeter.message_1)
        answer = bench.port._greeting._answer
        assert isinstance(answer, handshake.AnswerJob) and answer.ephemeral_key is not None
        bench.say(schema.EDHOC_3, greeter.answer(fields["message"])[0])
        assert answer.ephemeral_key is None

    in_folder("greet_ephemeral", body)
