"""Check the whole element: life from enrolment to records, failures, latch, flash, admission."""

import sys

from element_bench import Board, Element, FetsBoard
from fakes import FakeHAL, FakeUART, FakeWaiter, ResetError, in_folder, profile_fields
from jbd_script import Script
from panel import LIFE_SAFETY, NOW_MS, STRANGER, sign1, verify1

from element import agent as agent_module
from element import keeper as keeper_module
from element.agent import DOUBT_GONE_MS, FAILURE_GRACE_MS, Agent
from element.console import last_failure
from element.control import PERIOD_MS
from element.crypto.worker import JOBS_MAX
from element.hal.base import HAL, UART, Waiter
from element.keeper import latch_from_bytes
from element.protocol import cbor, codes, schema
from element.protocol.errors import DecodeError


def refused(ack, reason):
    assert ack["accepted"] is False and ack["reason"] == reason, ack


def latch_on_flash():
    with open("latch.cbor", "rb") as file:
        return latch_from_bytes(file.read())


def order(one, number, cause, keys=LIFE_SAFETY, element_id=None):
    """Return a release order for an element."""
    return sign1(keys, schema.RELEASE_ORDER, {
        "element_id": element_id or one.agent.enrolment.element_id, "order_number": number,
        "issued_unix_ms": NOW_MS, "cause": cause})


def release(one, number, cause, keys=LIFE_SAFETY, element_id=None):
    one.host.send(schema.RELEASE, {"order": order(one, number, cause, keys, element_id)})
    one.run(1500)


def statements(one, kind):
    """Return the verified fields of every pushed statement of a kind."""
    out = []
    for fields in one.all(schema.STATEMENT):
        try:
            out.append(verify1(fields["statement"], one.agent.enrolment.sign_public, kind))
        except AssertionError:
            continue
    return out


# ---- life ----


def test_the_board_in_memory_offers_what_a_port_offers():
    for contract, fake in ((HAL, FakeHAL()), (UART, FakeUART(None)), (Waiter, FakeWaiter(None))):
        names = [name for name in dir(contract) if not name.startswith("_")]
        assert len(names) > 1
        for name in names:
            assert hasattr(fake, name), name


def test_from_enrolment_to_records():
    def body():
        one = Element()
        one.run(1000)
        assert one.agent.control.state == codes.STATE_UNENROLLED
        one.ready().at_power(1_000_000, 24)
        telemetry = one.last(schema.TELEMETRY)
        assert abs(telemetry["power_mw"] - 1_000_000) < 20_000
        assert telemetry["state"] == codes.STATE_ACTIVE and telemetry["fets"] == 3
        records = statements(one, schema.EXECUTION_RECORD)
        whole = next(record for record in records if record["counter"] == 3)
        assert whole["quality"] == 0 and whole["dispatch_id"] == 7
        assert abs(whole["realized_mw_mean"] - 1_000_000) < 20_000
        assert abs(whole["energy_mwh"] - 2778) < 60
        assert not one.loop.failures and one.hal.reset_count == 0

    in_folder("agent_life", body)


def test_statements_are_repeated_until_they_are_acknowledged():
    def body():
        one = Element().ready()
        one.run(12_000)
        first = len(statements(one, schema.EXECUTION_RECORD))
        one.run(11_000)
        again = statements(one, schema.EXECUTION_RECORD)
        assert first >= 1 and [record["counter"] for record in again].count(2) >= 2
        one.host.send(schema.STATEMENT_ACK, {"counter": again[-1]["counter"]})
        one.run(100)
        one.inbox = []
        one.run(6000)
        assert 2 not in [record["counter"] for record in statements(one, schema.EXECUTION_RECORD)]

    in_folder("agent_repeat", body)


def test_a_lease_that_runs_out_is_on_record():
    def body():
        one = Element().ready().at_power(1_000_000, 3)
        one.run(21_000)
        flags = [record["quality"] for record in statements(one, schema.EXECUTION_RECORD)]
        expired = [quality for quality in flags if quality & codes.QUALITY_LEASE_EXPIRED]
        assert expired and not flags[-1] & codes.QUALITY_LEASE_EXPIRED

    in_folder("agent_lease", body)


def test_an_on_off_element_and_its_credentials_minimum_times():
    def body():
        one = Element(board=FetsBoard)
        one.enrol(profile=profile_fields(codes.KIND_BMS_FETS, on_ms_min=9000))
        one.open()
        one.run(2500)
        one.at_power(500_000)
        assert abs(one.agent.control.realized_mw - 500_000) < 10_000
        # a setpoint of zero waits for the minimum time of the credential, not of the board
        for second in range(12):
            assert one.setpoint(0)["accepted"]
            one.run(980)
            assert one.hal.enabled is (second < 5) or second in (5, 6, 7), second
        assert not one.agent.interlock.tripped and one.hal.reset_count == 0
        two = one.restart()
        assert two.agent.control.stage._on_ms_min == 9000

    in_folder("agent_on_off", body)


def test_the_watchdog_is_fed_once_a_tick_and_by_control_alone():
    def body():
        one = Element()
        one.run(10_000)
        assert abs(one.hal.fed_count - 10_000 // PERIOD_MS) <= 1
        one.ready()
        # control hangs: everything else lives on, nobody feeds
        fed = one.hal.fed_count

        async def hang(duration_ms):
            await one.hal.waiter().wait(1_000_000)

        one.hal.sleep_ms = hang
        one.run(5000)
        assert one.hal.fed_count <= fed + 1

    in_folder("agent_watchdog", body)


# ---- a task that fails ----


def break_task(one, name):
    """Make the named task raise at its next turn."""
    def fail(*_):
        raise ValueError("defect in " + name)

    if name == "control":
        one.agent.control.step = fail
    elif name == "bms":
        one.agent.driver._poll = fail
    elif name == "link":
        one.agent.port.payloads = fail
    else:
        one.agent.worker._run_urgent = fail
        one.agent.worker._waiter.kick()


def quietly(function):
    """Call function without the tracebacks that supervision prints."""
    printer = getattr(sys, "print_exception", None)
    agent_module.sys = Silent()
    try:
        return function()
    finally:
        agent_module.sys = sys
        assert getattr(sys, "print_exception", None) is printer


class Silent:
    """Stand for sys in supervision."""

    def __init__(self):
        self.printed = []

    def print_exception(self, error, file):
        """Keep the error, and write something of it."""
        self.printed.append(error)
        file.write("Traceback\n  line\n%s: %s\n" % (type(error).__name__, error))


def test_a_failing_task_makes_safe_latches_and_resets():
    def body():
        for name in ("control", "bms", "link", "worker"):
            one = Element(entropy_from=50)
            if not one.agent.enrolment.enrolled:
                one.enrol()
            if one.agent.interlock.tripped:  # of the life before
                assert one.agent.interlock.release(
                    one.agent.interlock.order_number + 1, codes.TRIP_TASK_FAILED, False)
            one.open()
            one.run(2500)
            one.at_power()
            break_task(one, name)
            one.hal.link_uart.kick()
            began = one.hal.now_ms
            quietly(lambda one=one: one.run(1200))
            assert one.hal.reset_count >= 1, name
            assert not one.hal.enabled and one.hal.duty == 0
            off_at = one.hal.enable_log[-1][0]
            assert off_at - began <= 1000 and one.hal.enable_log[-1][1] is False, name
            assert one.bms_opened(), name
            assert latch_on_flash()[0] == codes.TRIP_TASK_FAILED, name

    in_folder("agent_fail", body)


def test_what_ended_a_task_is_told_after_the_restart():
    def body():
        one = Element().ready()
        assert not [line for line in last_failure() if line]
        break_task(one, "bms")
        quietly(lambda: one.run(1200))
        assert last_failure()[:2] == ["task bms failed", "Traceback"]
        two = one.restart()
        asked = []
        two.agent.service.on_text(b"trips\n", asked.append)
        said = b"".join(asked)
        assert b"latched: task failed" in said and b"  task bms failed" in said, said
        assert b"defect in bms" in said
        two.agent.keeper.save_failure("x" * 10_000 + "\x00\xff\nlast")
        assert last_failure()[-1] == "last"
        assert sum([len(line) for line in last_failure()]) < 700

    in_folder("agent_words", body)


def test_off_comes_before_words():
    """To print can wait for a host that does not read: nothing may conduct meanwhile."""
    def body():
        one = Element().ready().at_power()
        seen = []
        log = one.agent.log
        one.agent.log = lambda text: seen.append((text, one.hal.enabled)) or log(text)
        break_task(one, "control")
        quietly(lambda: one.run(1200))
        words = [enabled for text, enabled in seen if text.startswith("task ")]
        assert words == [False], seen

    in_folder("agent_words_late", body)


def test_a_task_that_fails_on_trial_trips_nothing():
    """The loader goes back to the firmware before; no life-safety order is needed for that."""
    def body():
        one = Element().ready()
        one.agent.service.trial = Watch()
        break_task(one, "bms")
        quietly(lambda: one.run(1200))
        assert one.hal.reset_count >= 1 and not one.agent.interlock.tripped
        assert latch_on_flash()[0] == codes.TRIP_NONE
        assert last_failure()[0] == "task bms failed"

    in_folder("agent_trial_fails", body)


class Watch:
    """A trial that is never over."""

    over = False

    def tick(self, now, passed, fresh):
        return True


def test_the_reset_comes_after_the_grace_and_not_before_the_latch_is_written():
    def body():
        one = Element().ready().at_power()
        seen = []
        reset = one.hal.reset

        def note():
            seen.append((one.hal.now_ms, latch_on_flash()[0]))
            reset()

        one.hal.reset = note
        break_task(one, "control")
        began = one.hal.now_ms
        quietly(lambda: one.run(1000))
        assert seen and seen[0][1] == codes.TRIP_TASK_FAILED
        assert FAILURE_GRACE_MS <= seen[0][0] - began <= FAILURE_GRACE_MS + 2 * PERIOD_MS

    in_folder("agent_grace", body)


def test_the_reset_comes_even_when_the_flash_and_the_memory_fail():
    def body():
        for error in (OSError(5, "flash"), MemoryError("full"), ValueError("other")):
            one = Element(entropy_from=60)
            one.run(1000)

            def fail(*_, error=error):
                raise error

            keeper_module.write_file = fail
            try:
                break_task(one, "bms")
                quietly(lambda one=one: one.run(3000))
            finally:
                keeper_module.write_file = WRITE_FILE
            assert one.hal.reset_count >= 1
            assert any(isinstance(one, ResetError) for one in one.loop.failures)

    in_folder("agent_reset", body)


WRITE_FILE = keeper_module.write_file


def test_a_task_failure_stays_latched_over_the_restart_until_it_is_released():
    def body():
        one = Element().ready().at_power()
        break_task(one, "link")
        one.hal.link_uart.kick()
        quietly(lambda: one.run(600))
        two = one.restart().open()
        two.run(3000)
        assert two.agent.control.state == codes.STATE_TRIPPED and two.hal.enable_log == []
        refused(two.setpoint(500_000), codes.REASON_TRIPPED)
        release(two, 1, codes.TRIP_TASK_FAILED)
        two.run(200)
        assert not two.agent.interlock.tripped
        two.at_power()

    in_folder("agent_latched", body)


def test_main_leaves_the_stage_off_whatever_ends_it():
    def body():
        class Port:
            @staticmethod
            def open_board(board):
                return HALS[-1]

        class Ending:
            def __init__(self, error):
                self.error = error

            def run(self, coroutine):
                HALS[-1].enable_set(True)
                HALS[-1].duty_set(500)
                coroutine.close()
                raise self.error

        sys.modules["element.hal.memory"] = Port
        for error in (KeyboardInterrupt(), SystemExit(3), MemoryError("x")):
            HALS.append(FakeHAL())
            agent_module.asyncio = Ending(error)
            try:
                agent_module.main(Board)
            except BaseException as caught:
                assert caught is error, caught
            hal = HALS[-1]
            assert not hal.enabled and hal.duty == 0 and hal.bms_uart.sent

    in_folder("agent_main", body)


HALS = []


# ---- the latch ----


def test_a_trip_message_is_safe_within_a_tick_and_on_flash_soon():
    def body():
        one = Element().ready().at_power()
        began = one.hal.now_ms
        one.host.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 2})
        one.run(PERIOD_MS + 20)
        assert one.hal.enable_log[-1] == (one.hal.enable_log[-1][0], False)
        assert one.hal.enable_log[-1][0] - began <= PERIOD_MS + 10
        one.run(100)
        assert latch_on_flash()[:2] == [codes.TRIP_FIRE, 2]
        one.run(500)
        events = statements(one, schema.SAFETY_EVENT)
        assert events[0]["cause"] == codes.NOTICE_BOOT
        assert events[0]["value"] == codes.RESET_POWER_ON and events[0]["limit"] == 1
        fire = next(event for event in events if event["cause"] == codes.TRIP_FIRE)
        assert fire["released"] is False and fire["index"] is None
        assert one.last(schema.TELEMETRY)["trip_cause"] == codes.TRIP_FIRE

    in_folder("agent_trip", body)


def test_a_trip_of_another_zone_is_not_ours_and_zone_zero_is_everybodys():
    def body():
        one = Element().ready().at_power()
        one.host.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 3})
        one.run(300)
        assert one.hal.enabled
        one.host.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 0})
        one.run(150)
        assert not one.hal.enabled and one.agent.interlock.tripped

    in_folder("agent_zone", body)


def test_the_latch_is_written_though_the_worker_has_all_it_can_take():
    def body():
        one = Element().ready().at_power()

        class Long:
            def step(self):
                return False

        for _ in range(JOBS_MAX + 4):
            one.agent.worker.submit(Long(), lambda job: None)
        one.host.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 2})
        # the long job gives way in the same moment of our time: let it pass in small steps
        relax = one.hal.sleep_ms
        one.hal.relax = lambda: relax(10)
        one.run(400)
        assert latch_on_flash()[0] == codes.TRIP_FIRE
        two = one.restart()
        two.run(1000)
        assert two.agent.interlock.cause == codes.TRIP_FIRE

    in_folder("agent_busy", body)


def test_release_orders_that_do_not_fit_are_refused():
    def body():
        one = Element().ready()
        one.host.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 2})
        one.run(300)
        release(one, 1, codes.TRIP_FIRE, STRANGER)
        release(one, 2, codes.TRIP_FIRE, LIFE_SAFETY, b"another1")
        release(one, 3, codes.TRIP_OPERATOR)
        one.host.send(schema.RELEASE, {"order": b"\x00"})
        good = order(one, 4, codes.TRIP_FIRE)
        one.host.send(schema.RELEASE, {"order": good[:-1] + bytes((good[-1] ^ 1,))})
        one.run(400)
        assert one.agent.interlock.cause == codes.TRIP_FIRE
        assert one.agent.refused_count == 5
        one.host.send(schema.RELEASE, {"order": good})
        one.run(600)
        assert not one.agent.interlock.tripped and latch_on_flash()[0] == codes.TRIP_NONE
        assert latch_on_flash()[4] == 4
        released = statements(one, schema.SAFETY_EVENT)[-1]
        assert released["released"] is True and released["cause"] == codes.TRIP_FIRE

    in_folder("agent_release", body)


def test_an_order_is_spent_over_a_restart():
    def body():
        one = Element().ready()
        one.host.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 2})
        one.run(300)
        release(one, 5, codes.TRIP_FIRE)
        assert not one.agent.interlock.tripped
        two = one.restart().open()
        two.host.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 2})
        two.run(3000)
        release(two, 5, codes.TRIP_FIRE)
        assert two.agent.interlock.tripped
        # looked at and refused: spent as well, and remembered
        release(two, 6, codes.TRIP_OPERATOR)
        three = two.restart().open()
        three.run(3000)
        release(three, 6, codes.TRIP_FIRE)
        assert three.agent.interlock.tripped
        release(three, 7, codes.TRIP_FIRE)
        assert not three.agent.interlock.tripped

    in_folder("agent_spent", body)


def test_power_after_a_release_has_to_be_asked_for_anew():
    def body():
        one = Element().ready().at_power()
        assert one.setpoint(1_000_000, 5000)["accepted"]
        one.host.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 2})
        one.run(200)
        release(one, 1, codes.TRIP_FIRE)
        assert not one.agent.interlock.tripped
        one.run(1000)
        assert not one.hal.enabled
        one.at_power()

    in_folder("agent_anew", body)


def test_the_interlock_input_cannot_be_released_while_it_is_open():
    def body():
        one = Element().ready().at_power()
        one.hal.input_ok = False
        one.run(300)
        assert not one.hal.enabled
        release(one, 1, codes.TRIP_INPUT)
        assert one.agent.interlock.cause == codes.TRIP_INPUT
        one.hal.input_ok = True
        release(one, 2, codes.TRIP_INPUT)
        assert not one.agent.interlock.tripped

    in_folder("agent_input", body)


def test_a_damaged_latch_file_is_a_trip():
    def body():
        Element().ready()
        for data in (b"", b"\x84", cbor.encode(0), cbor.encode([0, 0, 0, 0, 0]),
                     cbor.encode([0, 0, 0, b"", 0, 0]), cbor.encode([None, 0, 0, -1, 0, 0]),
                     cbor.encode([300, 0, 0, -1, 0, 0]), cbor.encode([-1, 0, 0, -1, 0, 0]),
                     cbor.encode([0, 0, 0, -1, -1, 0]), cbor.encode([0, 0, 0, -1, 0, -1]),
                     cbor.encode([0, 0, 0, -2, 0, 0]), cbor.encode([0, 0, 0, 256, 0, 0]),
                     cbor.encode([False, 0, 0, -1, 0, 0]), cbor.encode([0, 0, 0, -1, 0, 0, 0])):
            try:
                latch_from_bytes(data)
            except DecodeError:
                with open("latch.cbor", "wb") as file:
                    file.write(data)
                one = Element(entropy_from=70)
                one.run(1500)
                assert one.agent.interlock.cause == codes.TRIP_SELF_TEST
                assert one.agent.control.state == codes.STATE_TRIPPED
                continue
            raise AssertionError(data)

    in_folder("agent_damaged", body)


# ---- flash that fails ----


def test_a_latch_that_cannot_be_written_holds_power_off_until_it_can():
    def body():
        one = Element().ready().at_power()

        def fail(path, data):
            raise OSError(5, "flash")

        keeper_module.write_file = fail
        try:
            one.host.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 2})
            one.run(1000)
            assert one.agent.interlock.tripped and one.hal.reset_count == 0
            assert one.agent.control.inhibits & codes.INHIBIT_STORAGE
            release(one, 1, codes.TRIP_FIRE)
            assert one.agent.interlock.tripped, "released without a flash to remember it"
        finally:
            keeper_module.write_file = WRITE_FILE
        one.run(6000)
        assert latch_on_flash()[0] == codes.TRIP_FIRE
        assert not one.agent.control.inhibits & codes.INHIBIT_STORAGE
        release(one, 2, codes.TRIP_FIRE)
        one.at_power()

    in_folder("agent_unsaved", body)


def test_a_flash_that_fails_at_boot_lets_nothing_conduct():
    def body():
        one = Element().ready()

        def fail(path, data):
            raise OSError(5, "flash")

        keeper_module.write_file = fail
        try:
            two = one.restart().open()
            two.run(4000)
            refused(two.setpoint(500_000), codes.REASON_STORAGE)
            two.run(1000)
            assert two.hal.enable_log == [] and two.hal.reset_count == 0
        finally:
            keeper_module.write_file = WRITE_FILE

    in_folder("agent_boot_flash", body)


def test_a_record_that_the_flash_does_not_take_stops_power_and_not_control():
    def body():
        one = Element().ready().at_power()
        log = one.agent.signer._log
        append = log.append

        def fail(entry):
            raise OSError(28, "full")

        log.append = fail
        for _ in range(12):
            one.setpoint(1_000_000)
            one.run(980)
        assert one.hal.reset_count == 0 and not one.agent.interlock.tripped
        assert not one.hal.enabled and one.agent.control.inhibits & codes.INHIBIT_STORAGE
        refused(one.setpoint(1_000_000), codes.REASON_STORAGE)
        # the host gets the record all the same, and the chain has no gap
        log.append = append
        one.run(11_000)
        assert not one.agent.control.inhibits & codes.INHIBIT_STORAGE
        counters = sorted({record["counter"]
                               for record in statements(one, schema.EXECUTION_RECORD)})
        assert counters == list(range(2, len(counters) + 2))  # 1 is the boot
        one.at_power()

    in_folder("agent_record", body)


# ---- admission ----


def test_reasons_of_refusal():
    def body():
        one = Element()
        one.enrol()
        one.open(sync=False)
        one.run(2500)
        refused(one.setpoint(1000), codes.REASON_CLOCK)
        one.sync()
        one.run(200)
        assert one.setpoint(1000)["accepted"]
        refused(one.setpoint(1000, sequence=1), codes.REASON_SEQUENCE)
        refused(one.setpoint(1000, service=4), codes.REASON_SERVICE)
        refused(one.setpoint(2_500_001), codes.REASON_POWER)
        refused(one.setpoint(1000, lease_ms=5001), codes.REASON_LEASE)
        one.bms.basic = {"errors": 1}
        one.run(800)
        refused(one.setpoint(1000), codes.REASON_BMS)
        one.bms.basic = {}
        one.run(800)
        one.bms.silent = True
        one.run(3000)
        refused(one.setpoint(1000), codes.REASON_STALE)
        assert one.setpoint(0)["accepted"]
        assert one.agent.admission.refused_count >= 7 and not one.loop.failures

    in_folder("agent_reasons", body)


def test_a_setpoint_reaches_no_further_ahead_than_a_lease():
    def body():
        one = Element().ready()
        refused(one.setpoint(1000, 1000, start_ms=5001), codes.REASON_LEASE)
        refused(one.setpoint(1000, 1000, start_ms=-1001), codes.REASON_LEASE)  # over already
        refused(one.setpoint(1000, 5000, start_ms=4000), codes.REASON_LEASE)
        assert one.setpoint(1000, 1000, start_ms=3000)["accepted"]
        assert one.setpoint(1000, 1000, start_ms=-500)["accepted"]
        # the panel's clock may run a little ahead of ours
        assert one.setpoint(1000, 5000, start_ms=100)["accepted"]

    in_folder("agent_ahead", body)


def test_a_start_in_the_future_and_a_lost_link():
    def body():
        one = Element().ready()
        began = one.hal.now_ms
        assert one.setpoint(1_000_000, 2000, start_ms=2500)["accepted"]
        one.run(3500)  # not a word from the host any more
        assert one.hal.enabled
        one.run(5000)
        assert not one.hal.enabled
        # safe a lease after the last word, whatever start that word named
        assert one.hal.enable_log[-1][0] - began <= 5000 + 500 + 200 + 2 * PERIOD_MS

    in_folder("agent_future", body)


def test_zero_is_taken_whatever_else_it_says():
    def body():
        for lease_ms, start_ms in ((0, 0), (65_535, 0), (1000, -60_000), (1000, 60_000), (10, 0)):
            one = Element(entropy_from=80)
            if not one.agent.enrolment.enrolled:
                one.enrol()
            one.open()
            one.run(2500)
            one.at_power()
            assert one.setpoint(1_000_000, 5000)["accepted"]
            assert one.setpoint(0, lease_ms, start_ms)["accepted"]
            one.run(500)
            assert abs(one.hal.ma) < 1000, (lease_ms, start_ms)

    in_folder("agent_zero", body)


def test_a_restarted_host_counts_from_one():
    def body():
        one = Element().ready()
        one.sequence = 1000
        assert one.setpoint(1000)["accepted"]
        refused(one.setpoint(1000, sequence=1), codes.REASON_SEQUENCE)
        one.open()
        assert one.setpoint(1000, sequence=1)["accepted"]
        refused(one.setpoint(1000, sequence=1), codes.REASON_SEQUENCE)
        # a stranger's WHO alone resets nothing
        one.host.who(b"s" * 16)
        one.run(300)
        refused(one.setpoint(1000, sequence=1), codes.REASON_SEQUENCE)

    in_folder("agent_sequence", body)


def test_an_expired_credential_admits_nothing_but_zero():
    def body():
        one = Element()
        one.enrol(expires_unix_s=NOW_MS // 1000 + 60)
        one.open()
        one.run(2500)
        assert one.setpoint(1000)["accepted"]
        one.run(60_000)
        refused(one.setpoint(1000), codes.REASON_NOT_ENROLLED)
        assert one.setpoint(0)["accepted"]

    in_folder("agent_expired", body)


def test_an_absurd_time_sync_is_refused():
    def body():
        one = Element()
        one.enrol()
        one.open(sync=False)
        for unix_ms in (0, 1, 4_102_444_800_000):
            one.sync(unix_ms)
            assert not one.agent.clock.is_set
        one.sync()
        one.run(3000)
        one.sync(0)
        one.run(3000)
        assert one.agent.clock.is_set and not one.loop.failures and one.hal.reset_count == 0

    in_folder("agent_sync", body)


def test_a_broken_sensor_trips_and_does_not_stop_the_tasks():
    def body():
        one = Element().ready().at_power()
        one._plant = lambda now: setattr(one.hal, "ma", -2_147_483_648)
        one.run(12_000)
        assert one.agent.interlock.cause == codes.TRIP_OVER_CURRENT
        assert not one.loop.failures and one.hal.reset_count == 0
        assert one.last(schema.TELEMETRY)["trip_cause"] == codes.TRIP_OVER_CURRENT
        assert statements(one, schema.SAFETY_EVENT)

    in_folder("agent_sensor", body)


def test_a_host_that_asks_too_much_does_not_crowd_out_a_safety_event():
    def body():
        one = Element().ready()
        relax = one.hal.sleep_ms
        one.hal.relax = lambda: relax(5)  # signing takes time
        for _ in range(40):
            one.host.send(schema.INTERROGATE, {"challenge": b"c" * 16})
        one.host.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 2})
        one.run(20_000)
        assert statements(one, schema.SAFETY_EVENT) and one.agent.worker.refused_count > 20

    in_folder("agent_crowd", body)


def test_a_silent_bms_and_its_return():
    def body():
        one = Element().ready().at_power()
        one.bms.silent = True
        began = one.hal.now_ms
        for _ in range(6):
            one.setpoint(1_000_000)
            one.run(980)
        assert not one.hal.enabled and not one.agent.interlock.tripped
        assert one.hal.enable_log[-1][0] - began <= 2000 + PERIOD_MS
        one.bms.silent = False
        one.run(4000)
        assert not one.hal.enabled and one.bms.mask == 3
        one.at_power()

    in_folder("agent_silent", body)


def test_nothing_conducts_on_an_element_that_is_not_enrolled():
    def body():
        hal = FakeHAL()
        Script(hal)
        one = Agent(Board, hal)
        one.log = lambda text: None
        one.boot()
        for _ in range(50):
            hal.now_ms += PERIOD_MS
            one.tick(hal.ticks_ms(), PERIOD_MS)
        assert hal.enable_log == [] and one.driver.fets_wanted == 0

    in_folder("agent_nobody", body)


# ---- owners, monitor only, watchdog, alarms ----


def lend(one, owner, discharge_mw, charge_mw, lease_ms):
    one.sequence += 1
    one.inbox = [message for message in one.inbox if message[0] != schema.ACK]
    one.host.send(schema.OWNER_LIMIT, {
        "owner": owner, "sequence": one.sequence, "power_mw_discharge_max": discharge_mw,
        "power_mw_charge_max": charge_mw, "lease_ms": lease_ms})
    one.run(20)
    return one.last(schema.ACK)


def test_an_owner_lends_a_limit_with_an_end_and_it_ends():
    def body():
        one = Element().ready()
        assert lend(one, "tariff", 300_000, 0, 5000)["accepted"]
        refused(one.setpoint(300_001), codes.REASON_OWNER)
        assert one.last(schema.ACK)["limit"] == 300_000
        refused(one.setpoint(-1000), codes.REASON_OWNER)
        assert one.setpoint(300_000)["accepted"]
        one.run(1000)
        assert one.last(schema.TELEMETRY)["power_mw_discharge_ready"] == 300_000
        # what runs is narrowed too
        assert lend(one, "feeder", 100_000, 0, 60_000)["accepted"]
        one.run(300)
        assert one.agent.control.instructed_mw == 100_000
        one.run(5000)
        refused(one.setpoint(100_001), codes.REASON_OWNER)
        for number in range(3):
            assert lend(one, "owner%d" % number, 9_000_000, 9_000_000, 60_000)["accepted"]
        refused(lend(one, "crowd", 1, 1, 1000), codes.REASON_OWNER)
        one.sequence -= 1
        refused(lend(one, "feeder", 1, 1, 1000), codes.REASON_SEQUENCE)
        # the highest of all limits widens nothing
        refused(one.setpoint(2_500_001), codes.REASON_POWER)

    in_folder("agent_owner", body)


def test_an_owner_may_lend_nothing_to_a_stranger():
    def body():
        one = Element()
        one.run(500)
        one.host.plain(schema.OWNER_LIMIT, {
            "owner": "x", "sequence": 1, "power_mw_discharge_max": 0, "power_mw_charge_max": 0,
            "lease_ms": 1000})
        one.run(100)
        assert one.agent.port.dropped_count == 1 and one.agent.control.usage is None
        one.agent.admission.on_owner_limit({
            "owner": "x", "sequence": 1, "power_mw_discharge_max": 0, "power_mw_charge_max": 0,
            "lease_ms": 1000})
        assert one.agent.admission.refused_count == 1

    in_folder("agent_no_owner", body)


def test_monitor_only_reads_and_never_writes():
    def body():
        one = Element()
        one.run(300)
        one.enrol(profile=profile_fields(monitor_only=True))
        one.bms.requests = []
        one.open()
        one.run(5000)
        refused(one.setpoint(1000), codes.REASON_MONITOR)
        assert one.setpoint(0)["accepted"]
        # another controller closes the FETs and moves power: seen, told, not touched
        one.bms.mask = 0
        one.bms_follows = False
        one.bms.basic["raw_10ma"] = (-2000) & 0xFFFF
        one.hal.ma = 20_000
        plant = one._plant
        one._plant = lambda now: setattr(one.hal, "ma", 20_000)
        one.run(5000)
        telemetry = one.last(schema.TELEMETRY)
        assert telemetry["inhibits"] & codes.INHIBIT_MONITOR
        assert telemetry["flags"] & codes.FLAG_MONITOR and telemetry["current_ma"] == 20_000
        assert abs(telemetry["power_mw"]) > 900_000
        assert telemetry["power_mw_discharge_ready"] == 0
        assert not one.agent.interlock.tripped and one.hal.enable_log == []
        assert [request for request in one.bms.requests if request[1] == 0x5A] == []
        one._plant = plant

    in_folder("agent_monitor", body)


def fed_in(one, duration_ms):
    before = one.hal.fed_count
    one.run(duration_ms)
    return one.hal.fed_count - before


def test_the_watchdog_starves_when_one_of_its_three_conditions_fails():
    def body():
        one = Element().ready().at_power()
        assert fed_in(one, 1000) >= 9
        # the latch's memory is not sound
        one.agent.interlock._mirror = 0
        trip = one.agent.interlock.trip
        one.agent.interlock.trip = lambda *_: False
        assert fed_in(one, 1000) == 0 and not one.hal.enabled
        one.agent.interlock.trip = trip
        assert fed_in(one, 1000) >= 8 and one.agent.interlock.cause == codes.TRIP_SELF_TEST

        # the BMS is silent: as long as power is off for it, the element is as safe as it can be
        one = one.restart().open()
        one.bms.silent = True
        assert fed_in(one, 4000) >= 36
        # but an enable line that stays on after its reading is stale starves it
        one.hal.enable_is = lambda: True
        assert fed_in(one, 1000) == 0
        del one.hal.enable_is
        assert fed_in(one, 1000) >= 8

        # the control step does not run to its end
        step = one.agent.control.step
        one.agent.control.step = lambda now, dt: None
        one.agent.control.passed = False
        assert fed_in(one, 1000) == 0
        one.agent.control.step = step

    in_folder("agent_starve", body)


def test_a_watchdog_reset_is_a_trip_and_every_boot_is_on_record():
    def body():
        one = Element().ready().at_power()
        FakeHAL.cause_next = codes.RESET_WATCHDOG
        try:
            two = one.restart()
        finally:
            FakeHAL.cause_next = codes.RESET_POWER_ON
        two.open()
        two.run(3000)
        assert two.agent.interlock.cause == codes.TRIP_WATCHDOG
        refused(two.setpoint(1000), codes.REASON_TRIPPED)
        events = statements(two, schema.SAFETY_EVENT)
        boot = [event for event in events if event["cause"] == codes.NOTICE_BOOT][-1]
        assert (boot["value"], boot["limit"]) == (codes.RESET_WATCHDOG, 2)
        assert [event for event in events if event["cause"] == codes.TRIP_WATCHDOG]
        release(two, 1, codes.TRIP_WATCHDOG)
        two.at_power()

    in_folder("agent_watchdog", body)


def test_an_alarm_names_the_cell_the_value_and_the_limit():
    def body():
        one = Element().ready().at_power()
        one.bms.cells[6] = 3701
        for index in (0, 1, 2, 3, 4, 5, 7, 8):
            one.bms.cells[index] = 3140
        one.run(3000)
        assert one.agent.interlock.cause == codes.TRIP_CELL_HIGH
        event = next(event for event in statements(one, schema.SAFETY_EVENT)
                 if event["cause"] == codes.TRIP_CELL_HIGH)
        assert (event["value"], event["limit"], event["index"]) == (3701, 3700, 6)
        assert any("cell 7: 3701 mV, limit 3700 mV" in line for line in one.lines)
        assert one.last(schema.TELEMETRY)["cell_index_max"] == 6

    in_folder("agent_alarm", body)


def test_a_bms_that_goes_and_comes_says_why():
    def body():
        one = Element().ready()
        one.bms.silent = True
        one.run(6000)
        telemetry = one.last(schema.TELEMETRY)
        assert telemetry["bms_lost_count"] == 1 and "no answer" in telemetry["bms_note"]
        one.bms.silent = False
        one.run(3000)
        assert one.last(schema.TELEMETRY)["bms_note"] == ""
        lost = [line for line in one.lines if "bms lost" in line]
        back = [line for line in one.lines if "bms back" in line]
        assert len(lost) == len(back) == 1 and "no answer" in lost[0]
        one.at_power()

    in_folder("agent_reconnect", body)


def test_a_bms_that_is_wrong_about_its_soc_is_told_of_once():
    def body():
        one = Element().ready()
        one.bms.basic["soc"] = 70
        one.run(30_000)
        events = [event for event in statements(one, schema.SAFETY_EVENT)
                  if event["cause"] == codes.NOTICE_SOC]
        assert events and len({event["counter"] for event in events}) == 1
        assert events[0]["value"] == 7000 and abs(events[0]["limit"] - 5000) < 20
        telemetry = one.last(schema.TELEMETRY)
        assert telemetry["flags"] & codes.FLAG_SOC_DOUBT
        # a window that lost the doubt at both ends
        assert telemetry["soc_bp_low"] < 4100 and telemetry["soc_bp_high"] >= 7000
        assert any(record["quality"] & codes.QUALITY_SOC_DOUBT
                   for record in statements(one, schema.EXECUTION_RECORD))

    in_folder("agent_soc", body)


def test_a_doubt_that_comes_and_goes_is_told_of_once_an_hour():
    def body():
        one = Element().ready()

        def told():
            everything = (statements(one, schema.SAFETY_EVENT)
                          + statements(one, schema.EXECUTION_RECORD))
            one.host.send(schema.STATEMENT_ACK, {
                "counter": max(each["counter"] for each in everything)})
            return len({each["counter"] for each in everything
                        if each.get("cause") == codes.NOTICE_SOC})

        for _ in range(3):
            for percent in (70, 50):
                one.bms.basic["soc"] = percent
                one.run(4000)
        assert told() == 1
        agent = one.agent
        agent._watch_soc(one.hal.ticks_add(agent._doubt_at, DOUBT_GONE_MS - 1), agent.control)
        assert agent._doubt_at is not None
        agent._watch_soc(one.hal.ticks_add(agent._doubt_at, DOUBT_GONE_MS), agent.control)
        one.bms.basic["soc"] = 70
        one.run(30_000)
        assert told() == 2

    in_folder("agent_doubt", body)


def test_the_envelopes_outlive_a_restart():
    def body():
        one = Element()
        one.run(300)
        one.enrol(profile=profile_fields(thermal_window_s=3600, thermal_mwh_max=250_000))
        one.open()
        one.run(2500)
        one.at_power()
        two = one.restart()
        assert two.agent.control.usage.thermal.total_mwh >= 208_000
        two.open()
        two.run(2500)
        three = two.restart()
        three.open()
        three.run(2500)
        # three starts in a row: nobody knows what ran in between, so nothing may
        refused(three.setpoint(1_000_000), codes.REASON_THERMAL)

    in_folder("agent_envelope", body)
