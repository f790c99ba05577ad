"""Check the chain of statements: order, restart, outages, a failing flash, a full one, notices."""

import hashlib

from element_bench import Element
from fakes import FakeHAL, drain, in_folder
from panel import ISSUER, verify1

from element.crypto import p256
from element.crypto.worker import JOBS_MAX, Worker
from element.ledger import log as log_module
from element.ledger.log import ENTRY_SIZE_MAX, FlashLog
from element.ledger.signer import UNACKED_MAX, UNWRITTEN_MAX, Signer
from element.protocol import cbor, codes, cose, schema, texts

EVENT = {"cause": 1, "at_unix_ms": 5, "value": 0, "limit": 0, "released": False,
         "index": None}


class Bench:
    """A signer on the flash of the working folder."""

    def __init__(self, count=4, size_max=4 * ENTRY_SIZE_MAX):
        self.worker = Worker(FakeHAL())
        self.log = FlashLog("ledger", count, size_max)
        self.signer = Signer(self.worker, self.log)
        self.signer.load(ISSUER.private, ISSUER.key_id)
        drain(self.worker)

    def events(self, count):
        for _ in range(count):
            assert self.signer.submit(schema.SAFETY_EVENT, dict(EVENT))
            drain(self.worker)

    def records(self, count, first=0):
        """Finish intervals of five minutes; returns how many were given up."""
        lost = self.signer.lost_count
        for number in range(first, first + count):
            self.signer.submit(schema.EXECUTION_RECORD, record(number))
            drain(self.worker)
        return self.signer.lost_count - lost

    def counters(self):
        return [counter for counter, _ in self.signer.unacked]

    def take_all(self):
        """Have the host take everything, in order; returns the payloads by their keys."""
        out = []
        while self.signer.unacked:
            counter, statement = self.signer.unacked[0]
            out.append(cbor.decode(cose.sign1_parse(statement)[2]))
            assert out[-1][2] == counter and (len(out) == 1 or counter == out[-2][2] + 1)
            self.signer.acknowledge(counter)
            drain(self.worker)
        return out


def record(number, **changes):
    """Return the fields of a five-minute record."""
    fields = {
        "dispatch_id": 1, "start_unix_ms": 300_000 * number,
        "end_unix_ms": 300_000 * (number + 1), "instructed_mw_mean": 0, "realized_mw_mean": 0,
        "realized_mw_min": 0, "realized_mw_max": 0, "energy_mwh": 0, "soc_bp_start": None,
        "soc_bp_end": None, "quality": 0}
    fields.update(changes)
    return fields


def notices(payloads, cause):
    """Return (value, limit, time) of every notice of a cause."""
    return [(one[6], one[7], one[5]) for one in payloads if len(one) == 9 and one[4] == cause]


def failing(error):
    """Return what stands for a flash that takes and gives nothing."""
    def fail(*_):
        raise error
    return fail


fail = failing(OSError(28, "flash"))


def fast_signatures(function):
    """Run with a stand-in for the signature, for tests of many statements."""
    from element.ledger import statement as module

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


class WaitingJob:
    """A job that takes a place."""

    def step(self):
        return True


def ignore(_job):
    """Be what is called when a job has finished."""


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
        bench = Bench(8)
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
        bench = Bench(8)
        bench.events(2 * UNACKED_MAX)
        again = Bench(8)
        assert again.counters()[0] == 1 and again.signer.counter == 2 * UNACKED_MAX
        again.events(1)
        assert [one[2] for one in again.take_all()] == list(range(1, 2 * UNACKED_MAX + 2))

    in_folder("signer_restart_outage", lambda: fast_signatures(body))


def test_what_the_host_had_is_not_offered_again_once_something_followed_it():
    def body():
        bench = Bench()
        bench.events(4)
        bench.signer.acknowledge(3)
        assert Bench().counters() == [1, 2, 3, 4]  # nobody wrote it down
        bench.events(1)
        assert Bench().counters() == [4, 5]

    in_folder("signer_hint", lambda: fast_signatures(body))


def test_a_host_that_is_away_and_a_worker_that_is_busy():
    def body():
        bench = Bench(8)
        bench.events(3 * UNACKED_MAX)
        while bench.worker.submit(WaitingJob(), ignore):
            pass
        # no place for the job that reads on
        bench.signer.acknowledge(UNACKED_MAX)
        assert bench.counters() == []
        drain(bench.worker)
        assert bench.counters() == []
        bench.events(1)
        assert bench.counters() == list(range(UNACKED_MAX + 1, 2 * UNACKED_MAX + 1))

    in_folder("signer_busy", lambda: fast_signatures(body))


# ---- a flash that fails ----


def test_a_failing_flash_stops_neither_the_chain_nor_the_worker():
    for error in (OSError(28, "flash"), MemoryError("no room to open a file")):
        in_folder("signer_failing", lambda error=error: chain_goes_on(failing(error)))


def chain_goes_on(fail):
    """Make statements before, while and after writing fails."""
    bench = Bench()
    kicks = []
    bench.signer.on_statement = lambda: kicks.append(1)
    bench.events(2)
    append = bench.log.append
    bench.log.append = fail
    bench.events(3)
    assert not bench.signer.storage_ok and bench.signer.write_error_count >= 3
    # none is offered before it is on flash: its counter could be given twice
    assert bench.counters() == [1, 2] and len(kicks) == 2
    assert Bench().counters() == [1, 2]
    bench.log.append = append
    bench.events(1)
    assert bench.signer.storage_ok and bench.signer.lost_count == 0 and len(kicks) == 6
    assert bench.counters() == Bench().counters() == [1, 2, 3, 4, 5, 6]


def test_every_append_is_told():
    def body():
        bench = Bench()
        written = []
        bench.signer.on_written = lambda: written.append(bench.log.acknowledged)
        bench.events(3)
        assert len(written) == 3
        append = bench.log.append
        bench.log.append = fail
        bench.events(1)
        assert len(written) == 3
        bench.log.append = append
        bench.events(1)
        assert len(written) == 5

    in_folder("signer_written", body)


def test_what_waits_for_the_flash_is_bounded_and_what_is_given_up_is_told():
    def body():
        bench = Bench(8)
        append = bench.log.append
        bench.log.append = fail
        # five records, then a notice, then nothing but events
        assert bench.records(7) == 2 and bench.signer.counter == 6
        bench.events(2)
        assert bench.signer.counter == UNWRITTEN_MAX and bench.signer.lost_count == 2
        bench.events(3)
        assert bench.signer.counter == UNWRITTEN_MAX and bench.signer.lost_count == 5
        bench.log.append = append
        assert bench.records(1, 30) == 0 and bench.signer.storage_ok
        payloads = bench.take_all()
        assert [one[2] for one in payloads] == list(range(1, UNWRITTEN_MAX + 3))
        assert notices(payloads, codes.NOTICE_GAP) == [
            (1, 300, 6 * 300_000), (4, 0, 31 * 300_000)]

    in_folder("signer_bounded", lambda: fast_signatures(body))


def test_a_flash_that_cannot_be_read_is_tried_again():
    def body():
        bench = Bench(8)
        bench.events(3 * UNACKED_MAX)
        read_next = bench.log.read_next
        bench.log.read_next = failing(MemoryError("no room to open a file"))
        bench.signer.acknowledge(UNACKED_MAX)
        drain(bench.worker)
        assert bench.counters() == [] and bench.signer.read_error_count == 1
        bench.log.read_next = read_next
        bench.events(1)
        assert [one[2] for one in bench.take_all()] == list(
            range(UNACKED_MAX + 1, 3 * UNACKED_MAX + 2))

    in_folder("signer_unreadable", lambda: fast_signatures(body))


def test_a_statement_damaged_on_flash_is_counted_and_passed_over():
    def body():
        bench = Bench(8)
        bench.events(3 * UNACKED_MAX)
        with open("ledger.2", "rb") as file:
            data = bytearray(file.read())
        data[100] ^= 4
        with open("ledger.2", "wb") as file:
            file.write(data)
        kicks = []
        bench.signer.on_statement = lambda: kicks.append(1)
        seen = []
        while bench.signer.unacked:
            seen.append(bench.counters()[0])
            bench.signer.acknowledge(seen[-1])
            drain(bench.worker)
        missing = [one for one in range(1, 3 * UNACKED_MAX + 1) if one not in seen]
        assert len(missing) == 1 and bench.signer.lost_count == 1
        assert len(kicks) == len(seen) - UNACKED_MAX

    in_folder("signer_damaged", lambda: fast_signatures(body))


# ---- a log that is full ----


def test_a_full_log_keeps_the_oldest_and_tells_what_it_gave_up():
    def body():
        bench = Bench()
        refused = bench.records(24)
        kept = 24 - refused
        # one segment's worth is left to events; the first of it are the notices
        assert 8 <= refused < 15 and kept >= 3 * 4 and bench.signer.storage_ok
        told = [(1, 300), (2, 600)]
        assert bench.log.room == bench.log.reserve - len(told)
        assert bench.signer.counter == kept + len(told)
        bench.events(1)
        assert bench.signer.counter == kept + 3 and bench.signer.lost_count == refused
        # the host comes back: it gets the oldest first, and the gap before anything new
        taken = bench.take_all()
        assert [one[2] for one in taken] == list(range(1, kept + 4))
        assert [one[5] for one in taken[:kept]] == [300_000 * one for one in range(kept)]
        assert [one[:2] for one in notices(taken, codes.NOTICE_GAP)] == told
        assert bench.records(2, 30) == 0
        taken = bench.take_all()
        assert notices(taken[:1], codes.NOTICE_GAP) == [
            (refused - 3, 300 * (refused - 3), 300_000 * 31)]
        assert [one[5] for one in taken[1:]] == [300_000 * 30, 300_000 * 31]
        assert bench.signer.lost_count == refused

    in_folder("signer_full", lambda: fast_signatures(body))


def test_a_log_that_is_full_twice_says_so_twice():
    def body():
        bench = Bench()
        for turn in (1, 2, 3):
            # one is given up, and told of at once
            number = 0
            while not bench.records(1, number):
                number += 1
            taken = bench.take_all()
            assert notices(taken, codes.NOTICE_GAP) == [(1, 300, 300_000 * (number + 1))], turn

    in_folder("signer_twice", lambda: fast_signatures(body))


def test_events_too_end_when_their_reserve_is_used_up():
    def body():
        bench = Bench()
        refused = bench.records(30)
        for number in range(20):
            bench.signer.submit(schema.SAFETY_EVENT, dict(EVENT, at_unix_ms=7_000 * number))
            drain(bench.worker)
        gone = bench.signer.lost_count - refused
        assert 15 < gone < 20 and bench.signer.storage_ok and bench.log.room == 0
        # nor is there room to tell that a record is given up; it is counted
        again = Bench()
        assert again.records(3) == 3 and again.log.room == 0
        assert [one[0] for one in notices(again.take_all(), codes.NOTICE_GAP)] == [1, 2]
        again.records(1, 3)
        assert notices(again.take_all(), codes.NOTICE_GAP) == [(3, 900, 1_200_000)]

    in_folder("signer_reserve", lambda: fast_signatures(body))


def test_a_restart_in_a_full_log_tells_again_and_frees_itself():
    def body():
        bench = Bench()
        while bench.signer.lost_count < 2:
            bench.records(1)
        again = Bench()
        counter = again.signer.counter
        assert again.records(2) == 2 and again.signer.counter == counter + 1
        taken = again.take_all()
        assert [one[2] for one in taken] == list(range(1, counter + 2))
        assert [one[0] for one in notices(taken, codes.NOTICE_GAP)] == [1, 1]
        assert again.records(1, 2) == 0

    in_folder("signer_full_restart", lambda: fast_signatures(body))


def test_a_span_that_a_clock_made_absurd_still_fits_its_notice():
    def body():
        for start, end, span in ((0, 4_000_000_000_000, 0x7FFFFFFF), (5_000, 1_000, 0)):
            bench = Bench()
            while bench.worker.submit(WaitingJob(), ignore):
                pass
            assert not bench.signer.submit(
                schema.EXECUTION_RECORD, record(0, start_unix_ms=start, end_unix_ms=end))
            drain(bench.worker)
            bench.records(1, 40)
            assert notices(bench.take_all(), codes.NOTICE_GAP)[-1][:2] == (1, span)

    in_folder("signer_span", lambda: fast_signatures(body))


# ---- torn tails ----


def test_a_torn_tail_is_the_first_thing_that_the_chain_tells():
    def body():
        bench = Bench()
        bench.events(3)
        with open("ledger.0", "ab") as file:
            file.write(b"\xc5\x01\x80\x00torn")
        for _ in range(3):  # boots that write nothing forget nothing
            again = Bench()
        assert again.log.torn_count == 1 and again.signer.counter == 3
        again.events(2)
        taken = again.take_all()
        assert [one[2] for one in taken] == [1, 2, 3, 4, 5, 6]
        assert notices(taken[3:4], codes.NOTICE_TORN) == [(1, 0, EVENT["at_unix_ms"])]
        assert texts.cause_name(codes.NOTICE_TORN) == "torn tail on flash"
        assert texts.cause_name(codes.NOTICE_GAP) == "records given up"
        third = Bench()
        assert third.log.torn_count == 0
        third.events(1)
        assert notices(third.take_all(), codes.NOTICE_TORN) == [(1, 0, EVENT["at_unix_ms"])]

    in_folder("signer_torn", body)


def test_a_torn_tail_in_a_full_log_waits_for_room():
    def body():
        bench = Bench()
        bench.records(30)
        bench.events(20)
        assert bench.log.room == 0
        with open("ledger.3", "ab") as file:
            file.write(bytes(10))
        again = Bench()
        again.events(1)
        assert again.signer.lost_count == 1
        again.take_all()
        again.events(1)
        taken = again.take_all()
        assert [one[4] for one in taken] == [
            codes.NOTICE_TORN, codes.NOTICE_GAP, EVENT["cause"]]

    in_folder("signer_torn_full", lambda: fast_signatures(body))


# ---- limits ----


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
        assert bench.signer.submit(schema.SAFETY_EVENT, dict(EVENT), given.append)
        drain(bench.worker)
        assert given == [bench.signer.unacked[1][1]]

    in_folder("signer_range", body)


def test_an_answer_takes_no_counter_and_no_room():
    def body():
        bench = Bench()
        bench.records(30)
        counter = bench.signer.counter
        given = []
        assert bench.signer.submit(schema.ENROL_REQUEST, {
            "element_id": ISSUER.key_id, "challenge": bytes(8),
            "sign_key": schema.cose_key(ISSUER.public),
            "agree_key": schema.cose_key(ISSUER.public), "hardware_id": b"1", "board": "b",
            "firmware": "f"}, given.append)
        drain(bench.worker)
        assert cose.sign1_parse(given[0])[1][cose.TYP] == "cw/enrol-request"
        assert len(given) == 1 and bench.signer.counter == counter

    in_folder("signer_answer", lambda: fast_signatures(body))


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


LARGEST_RECORD = {
    "dispatch_id": 0xFFFFFFFF, "start_unix_ms": 4_102_444_500_000,
    "end_unix_ms": 4_102_444_800_000, "instructed_mw_mean": -100_000_000,
    "realized_mw_mean": -100_000_000, "realized_mw_min": -100_000_000,
    "realized_mw_max": 100_000_000, "energy_mwh": -0x7FFFFFFF, "soc_bp_start": 10000,
    "soc_bp_end": 10000, "quality": 0xFFFF}
LARGEST_EVENT = {
    "cause": 255, "at_unix_ms": 4_102_444_800_000, "value": -0x7FFFFFFF, "limit": -0x7FFFFFFF,
    "released": True, "index": 255}


def test_a_day_offline_fits_with_statements_of_the_largest_size():
    def body():
        worker = Worker(FakeHAL())
        signer = Signer(worker, FlashLog("ledger"))
        signer.load(ISSUER.private, ISSUER.key_id)
        drain(worker)
        signer.counter = 0xFFFF0000  # the largest encoding of it

        def submit(kind, fields):
            assert signer.submit(kind, dict(fields))
            drain(worker)

        # the host goes away at the worst moment: the segment in use has just become full
        while log_module._size_of("ledger.0") < 4096 - 235:
            submit(schema.EXECUTION_RECORD, LARGEST_RECORD)
            signer.acknowledge(signer.counter)
        assert len(signer.unacked) == 0
        before = signer.counter
        while signer.lost_count == 0:
            submit(schema.EXECUTION_RECORD, LARGEST_RECORD)
        count = signer.counter - before - 1
        assert count >= 576 >= 2 * 24 * 12, count
        for _ in range(95):
            submit(schema.SAFETY_EVENT, LARGEST_EVENT)
        assert signer.lost_count == 1 and signer.storage_ok
        taken = 0
        while signer.unacked:
            assert len(signer.unacked) <= UNACKED_MAX
            assert signer.unacked[0][0] == before + 1 + taken
            signer.acknowledge(signer.unacked[0][0])
            drain(worker)
            taken += 1
        assert taken == count + 1 + 95

    in_folder("signer_day", lambda: fast_signatures(body))


def test_an_element_catches_up_with_its_host():
    def body():
        one = Element().ready()
        for _ in range(40):  # nobody acknowledges
            one.run(5000)
            one.inbox = []
        counter = one.agent.signer.counter
        assert counter > 3 * UNACKED_MAX and len(one.agent.signer.unacked) == UNACKED_MAX
        one = one.restart().open()
        one.run(6000)
        taken = []
        for _ in range(200):
            one.inbox = []
            one.run(100)
            for fields in one.all(schema.STATEMENT):
                number = cbor.decode(cose.sign1_parse(fields["statement"])[2])[2]
                if number == len(taken) + 1:  # as the aggregator: in order or not at all
                    taken.append(number)
                    one.host.send(schema.STATEMENT_ACK, {"counter": number})
        assert taken[-1] >= counter and one.agent.signer.unacked == []
        assert not one.loop.failures and one.agent.signer.lost_count == 0

    in_folder("signer_catch_up", lambda: fast_signatures(body))
