"""Check the chain of statements: order, flash, restart, outage of the host, failing flash."""

import hashlib

from fakes import FakeHAL, drain, in_folder
from panel import ISSUER, verify1

from element.crypto import p256
from element.crypto.worker import JOBS_MAX, Worker
from element.ledger.log import FlashLog
from element.ledger.signer import UNACKED_MAX, UNWRITTEN_MAX, Signer
from element.protocol import schema

EVENT = {"cause": 1, "at_unix_ms": 5, "value": 0, "limit": 0, "released": False}


class Bench:
    """A signer on the flash of the working folder."""

    def __init__(self):
        self.worker = Worker(FakeHAL())
        self.log = FlashLog("ledger")
        self.signer = Signer(self.worker, self.log)
        self.signer.load(ISSUER.private, ISSUER.key_id)

    def events(self, count):
        for _ in range(count):
            assert self.signer.submit(schema.SAFETY_EVENT, dict(EVENT))
            drain(self.worker)

    def counters(self):
        return [counter for counter, _ in self.signer.unacked]


def fast_signatures(function):
    """Run with a stand-in for the signature, for tests of many statements."""
    from element.ledger import signer as module

    class Job:
        signature = bytes(64)

        def __init__(self, private_key, digest):
            """Take what a SignJob takes."""

        def step(self):
            return True

    real = module.SignJob
    module.SignJob = Job
    try:
        return function()
    finally:
        module.SignJob = real


def test_statements_are_signed_and_chained():
    def body():
        bench = Bench()
        bench.events(3)
        previous = bytes(32)
        for number, (counter, statement) in enumerate(bench.signer.unacked):
            fields = verify1(statement, ISSUER.public, schema.SAFETY_EVENT)
            assert fields["counter"] == counter == number + 1
            assert fields["previous_hash"] == previous and fields["element_id"] == ISSUER.key_id
            previous = hashlib.sha256(statement).digest()
        assert bench.signer.previous_hash == previous
        assert p256.KEY_SIZE == 32

    in_folder("signer_chain", body)


def test_the_chain_goes_on_after_a_restart():
    def body():
        bench = Bench()
        bench.events(3)
        again = Bench()
        assert again.signer.counter == 3
        assert again.signer.previous_hash == bench.signer.previous_hash
        assert again.signer.unacked == bench.signer.unacked
        again.events(1)
        assert again.counters() == [1, 2, 3, 4]

    in_folder("signer_restart", body)


def test_acknowledged_statements_are_forgotten():
    def body():
        bench = Bench()
        bench.events(5)
        bench.signer.acknowledge(0)
        assert bench.counters() == [1, 2, 3, 4, 5]
        bench.signer.acknowledge(3)
        assert bench.counters() == [4, 5]
        bench.signer.acknowledge(3)
        assert bench.counters() == [4, 5]
        # what was never given cannot have been taken
        bench.signer.acknowledge(6)
        bench.signer.acknowledge(0xFFFFFFFF)
        assert bench.counters() == [4, 5]
        bench.signer.acknowledge(5)
        assert bench.counters() == []

    in_folder("signer_ack", body)


def test_an_outage_of_the_host_leaves_no_gap():
    def body():
        bench = Bench()
        bench.events(3 * UNACKED_MAX)
        assert bench.counters() == list(range(1, UNACKED_MAX + 1))
        # the host comes back, takes them in order, a few at a time
        taken = []
        for _ in range(1000):
            if not bench.signer.unacked:
                break
            for counter, _statement in list(bench.signer.unacked[:4]):
                taken.append(counter)
                bench.signer.acknowledge(counter)
            drain(bench.worker)
        assert taken == list(range(1, 3 * UNACKED_MAX + 1))
        bench.events(2)
        assert bench.counters() == [3 * UNACKED_MAX + 1, 3 * UNACKED_MAX + 2]

    in_folder("signer_outage", lambda: fast_signatures(body))


def test_a_restart_in_an_outage_leaves_no_gap_either():
    def body():
        bench = Bench()
        bench.events(2 * UNACKED_MAX)
        again = Bench()
        assert again.counters()[0] == 1 and again.signer.counter == 2 * UNACKED_MAX
        again.events(1)
        seen = []
        while again.signer.unacked:
            seen.append(again.counters()[0])
            again.signer.acknowledge(seen[-1])
            drain(again.worker)
        assert seen == list(range(1, 2 * UNACKED_MAX + 2))

    in_folder("signer_restart_outage", lambda: fast_signatures(body))


def test_a_failing_flash_stops_neither_the_chain_nor_the_worker():
    def body():
        bench = Bench()
        bench.events(2)
        append = bench.log.append

        def fail(entry):
            raise OSError(28, "full")

        bench.log.append = fail
        bench.events(3)
        assert not bench.signer.storage_ok and bench.signer.write_error_count == 3
        assert bench.counters() == [1, 2, 3, 4, 5]
        bench.log.append = append
        bench.events(1)
        assert bench.signer.storage_ok
        assert Bench().counters() == [1, 2, 3, 4, 5, 6]

    in_folder("signer_failing", body)


def test_what_waits_for_the_flash_is_bounded():
    def body():
        bench = Bench()

        def fail(entry):
            raise OSError(28, "full")

        bench.log.append = fail
        bench.events(UNWRITTEN_MAX + 5)
        assert len(bench.signer._unwritten) == UNWRITTEN_MAX and bench.signer.lost_count == 5

    in_folder("signer_bounded", lambda: fast_signatures(body))


def test_fields_out_of_range_are_counted_and_harm_nothing():
    def body():
        bench = Bench()
        wrong = dict(EVENT)
        wrong["value"] = 1 << 40
        given = []
        assert bench.signer.submit(schema.SAFETY_EVENT, wrong, given.append)
        bench.events(1)
        assert given == [] and bench.signer.lost_count == 1
        assert bench.counters() == [1]

    in_folder("signer_range", body)


def test_an_entry_that_is_no_statement_is_passed_over():
    def body():
        bench = Bench()
        bench.events(1)
        bench.log.append(b"no statement")
        bench.events(1)
        again = Bench()
        assert again.counters() == [1, 2] and again.signer.lost_count == 1

    in_folder("signer_foreign", body)


def test_answers_leave_room_for_records_and_records_for_events():
    def body():
        bench = Bench()
        counts = []
        for kind in (schema.ANNOUNCEMENT, schema.EXECUTION_RECORD, schema.SAFETY_EVENT):
            before = len(bench.worker._jobs)
            while bench.signer.submit(kind, {}):
                assert len(bench.worker._jobs) <= JOBS_MAX
            counts.append(len(bench.worker._jobs) - before)
        assert counts == [JOBS_MAX - 8, 6, 2]
        # none of them had its fields: all are counted and the worker lives
        lost = bench.signer.lost_count
        drain(bench.worker)
        assert bench.signer.lost_count == lost + JOBS_MAX

    in_folder("signer_room", body)
