"""Check what every BMS driver does alike: polling, retries, echo, reconnection, monitoring."""

import gc

from fakes import FakeHAL, Loop
from jbd_script import Script, basic_data, reply

from element import bms
from element.bms import base, choose, driver, jbd
from element.bms.base import BMSDriver, Reading
from element.bms.protocol import BMSProtocol, ascii_of, names_of, s16, u16
from element.protocol.errors import RangeError

try:
    from micropython import heap_lock, heap_unlock
except ImportError:  # CPython: the same statement without its proof
    def heap_lock():
        """Do nothing."""

    heap_unlock = heap_lock


class Bench:
    """A JBD driver against a scripted BMS, its events collected."""

    def __init__(self, now_ms=1000, start=True):
        self.hal = FakeHAL(now_ms)
        self.bms = Script(self.hal)
        self.driver = jbd.JBD(self.hal, self.hal.bms_uart)
        self.events = []
        self.driver.on_event = self.events.append
        self.loop = Loop(self.hal)
        if start:
            self.loop.add(self.driver.run())

    def run(self, duration_ms):
        self.loop.run_until(self.hal.now_ms + duration_ms)
        assert not self.loop.failures, self.loop.failures
        return self

    def age_ms(self):
        return self.driver.reading.age_ms(self.hal, self.hal.ticks_ms())


# ---- reading ----


def test_the_reading_is_whole():
    one = Bench().run(3000)
    reading = one.driver.reading
    assert reading.valid and reading.cells_valid and reading.model == "JBD-SP16S"
    assert reading.soh_bp == -1 and reading.balancing == 0
    assert reading.current_ma_discharge_bms == reading.current_ma_charge_bms == 1_000_000
    assert one.driver.error_count == 0 and one.driver.link_state == base.LINK_UP
    assert base.LINK_NAMES[one.driver.link_state] == "up" and one.events == []


def test_the_bms_tells_its_errors_by_name():
    one = Bench()
    one.bms.basic = {"errors": 0x0402}
    one.run(3000)
    assert one.driver.error_names() == ["cell undervoltage", "short circuit"]


def test_copying_a_reading_allocates_nothing():
    old, new = Reading(), Reading()
    new.pack_mv = 51_200
    new.cell_mv[31] = 3333
    new.model = "x"
    new.valid = True
    gc.collect()
    heap_lock()
    try:
        old.copy_values(new)
    finally:
        heap_unlock()
    assert old.pack_mv == 51_200 and old.cell_mv[31] == 3333 and old.model == "x"
    assert not old.valid and old.at_ms == 0


def test_every_value_of_a_reading_is_copied():
    """A field that copying forgets would stay at what it was for ever."""
    new = Reading()
    kept = ("valid", "at_ms", "cells_valid", "cells_at_ms", "cell_mv")
    names = [name for name in dir(new)
             if not name.startswith("_") and not callable(getattr(new, name))]
    assert len(names) == 30
    for name in names:
        if name not in kept:
            setattr(new, name, "seen")
    old = Reading()
    old.copy_values(new)
    for name in names:
        assert (getattr(old, name) == "seen") == (name not in kept), name


def test_the_name_is_asked_for_until_known_then_rarely():
    one = Bench()
    one.bms.mute = (5,)
    one.run(9000)
    # after 1 s, then each 5 s, each time with one retry
    assert one.bms.asked(5) == 4
    one.run(200_000)
    # five tries more, then once a minute
    assert 2 * (1 + driver.INFO_TRIES_MAX) < one.bms.asked(5) <= 2 * (1 + 5 + 4)
    one.bms.mute = ()
    one.run(61_000)
    assert one.driver.reading.model == "JBD-SP16S"
    before = one.bms.asked(5)
    one.run(60_000)
    assert one.bms.asked(5) == before + 1 and one.driver.link_state == base.LINK_UP


def test_another_pack_takes_its_cells_with_it():
    one = Bench().run(3000)
    one.bms.basic = {"raw_10mv": 4800, "cells": 15}
    one.run(700)
    assert one.driver.reading.cell_count == 15 and not one.driver.reading.cells_valid
    one.run(2000)
    assert "cells size" in one.driver.last_error
    one.bms.cells = [3200] * 15
    one.run(2000)
    assert one.driver.reading.cells_valid and one.driver.reading.cell_mv_sum == 48_000


def test_cells_that_do_not_add_up_are_refused():
    one = Bench().run(3000)
    one.bms.cells = [3600] * 16
    one.run(2500)
    assert one.driver.reading.cell_mv_max == 3200
    assert one.driver.last_error == "implausible cells sum 57600"


def test_a_stale_pack_voltage_judges_no_cells():
    one = Bench().run(3000)
    one.bms.mute = (3,)
    one.bms.cells = [3600] * 16
    one.run(5000)
    assert one.driver.reading.cell_mv_max == 3600


def test_cells_before_the_first_pack_are_taken():
    one = Bench()
    one.bms.mute = (3,)
    one.run(3000)
    assert not one.driver.reading.valid and one.driver.reading.cells_valid


# ---- jumps ----


def test_a_jump_is_refused_while_the_last_reading_is_fresh():
    one = Bench().run(3000)
    one.bms.basic = {"soc": 70}
    one.run(1500)
    assert one.driver.reading.soc_bp == 5000 and one.age_ms() > 900
    assert one.driver.last_error == "implausible jump soc_bp 7000"
    assert one.driver.failure_counts[base.FAILED_JUMP] >= 2
    assert one.driver.link_state == base.LINK_UP
    # by now a control that believes nothing older than 2 s is at zero
    one.run(2000)
    assert one.driver.reading.soc_bp == 7000 and one.age_ms() < 700


def test_a_cell_that_jumps_is_believed_the_second_time():
    one = Bench().run(3500)
    count = one.bms.asked(4)
    one.bms.cells = [3200] * 15 + [2599]
    while one.bms.asked(4) == count:
        one.run(50)
    one.run(50)
    assert one.driver.reading.cell_mv_min == 3200
    assert one.driver.last_error == "implausible jump cell_mv 2599"
    one.run(2100)
    assert one.driver.reading.cell_mv_min == 2599 and one.driver.error_count == 1


def test_slow_movement_is_followed():
    one = Bench().run(3000)
    for soc in range(50, 100, 9):
        one.bms.basic = {"soc": soc}
        one.run(600)
        assert one.driver.reading.soc_bp == soc * 100


# ---- losing and finding the BMS ----


def test_a_lost_link_is_told_once_and_so_is_its_return():
    one = Bench().run(4000)
    one.bms.silent = True
    one.run(12_000)
    assert one.driver.link_state == base.LINK_LOST and one.driver.lost_count == 1
    assert len(one.events) == 1, one.events
    assert one.events[0].startswith("bms lost: no answer (6 in a row), last heard ")
    assert one.events[0].endswith(" s ago")
    one.bms.silent = False
    one.run(1500)
    assert one.driver.link_state == base.LINK_UP and one.driver.back_count == 1
    assert len(one.events) == 2
    assert one.events[1].startswith("bms back after 12.") and "was no answer to 0" in one.events[1]
    one.run(4000)
    assert len(one.events) == 2


def test_no_answer_says_where_to_look():
    one = Bench()
    one.bms.silent = True
    one.run(1000)
    assert "check power, RX/TX crossed, baud 9600" in one.driver.last_error
    assert one.driver.last_error.startswith("no answer to ")
    assert one.driver.link_state == base.LINK_NEVER and one.events == []
    one.bms.silent = False
    one.run(3000)
    assert one.driver.link_state == base.LINK_UP and one.events == []


def test_a_bms_that_takes_no_writes_says_so():
    one = Bench()
    one.bms.mute = (0xE1,)
    one.driver.want_fets(3)
    one.run(3000)
    assert one.driver.reading.valid and one.driver.reading.cells_valid
    assert one.driver.last_error.startswith("no answer to e1: check power")
    assert "takes no writes" in one.driver.last_error


def test_a_refusal_is_no_lost_link():
    one = Bench()
    one.bms.refused[0xE1] = 0x80
    one.driver.want_fets(3)
    one.run(6000)
    assert one.driver.failure_counts[base.FAILED_REFUSED] > 10
    assert "register e1 refused, status 80" in one.driver.last_error
    assert one.driver.link_state == base.LINK_UP and one.events == []


def test_a_silence_of_days_does_not_overflow():
    one = Bench().run(4000)
    one.bms.silent = True
    one.run(12_000)
    one.driver._silent_ms = base.AGE_MS_MAX - 5
    one.run(2000)
    assert one.driver._silent_ms == base.AGE_MS_MAX
    one.driver._missed = 0xFFFF
    one.driver.failure_counts[base.FAILED_NO_ANSWER] = 0xFFFF
    one.run(2000)
    assert one.driver._missed == 0xFFFF
    assert one.driver.failure_counts[base.FAILED_NO_ANSWER] == 0xFFFF
    one.bms.silent = False
    one.run(1000)
    assert one.events[-1].startswith("bms back after 86400.0 s")


def test_without_a_listener_the_link_is_counted_all_the_same():
    one = Bench()
    one.driver.on_event = None
    one.run(4000)
    one.bms.silent = True
    one.run(9000)
    one.bms.silent = False
    one.run(1000)
    assert (one.driver.lost_count, one.driver.back_count) == (1, 1) and one.events == []


def test_a_lost_answer_is_asked_for_again_at_once():
    one = Bench().run(4000)
    lost = []
    answer = one.bms.answer

    def lose_one(frame):
        if frame[2] == 3 and not lost:
            lost.append(one.hal.now_ms)
            return None
        return answer(frame)

    one.bms.answer = lose_one
    one.run(3000)
    assert lost and one.driver.error_count == 0


# ---- what else is on the line ----


def test_an_echo_before_the_answer_is_tolerated():
    one = Bench()
    one.bms.echo = True
    one.driver.want_fets(3)
    one.run(4000)
    assert one.driver.reading.valid and one.driver.fets_proven and one.driver.error_count == 0


def test_an_echo_alone_is_named():
    one = Bench()
    one.bms.echo = one.bms.silent = True
    one.run(6000)
    assert one.driver.last_error == driver.ECHO_TEXT
    assert "TX and RX are joined" in one.driver.last_error
    assert one.driver.failure_counts[base.FAILED_ECHO] > 3 and not one.driver.reading.valid


def test_an_answer_to_something_else_is_skipped():
    one = Bench()
    one.bms.before = reply(0xAA, bytes(24))
    one.run(4000)
    assert one.driver.reading.valid and one.driver.skipped_count > 5
    assert one.driver.error_count == 0


def test_a_late_answer_renews_nothing():
    one = Bench().run(4000)
    one.bms.silent = True
    one.run(600)
    old = one.driver.reading.at_ms
    one.hal.bms_uart.put(reply(3, basic_data(soc=51)))
    one.run(20)
    assert one.driver.reading.soc_bp in (5000, 5100)
    one.run(3000)
    # it came while a question was open, or it was thrown away; it never made a reading younger
    # than the question
    assert one.hal.ticks_diff(one.hal.ticks_ms(), one.driver.reading.at_ms) > 3000
    assert one.hal.ticks_diff(one.driver.reading.at_ms, old) <= 1000


def test_bytes_between_the_questions_are_thrown_away():
    one = Bench().run(4000)
    count = one.driver.exchange_count
    while one.driver.exchange_count == count:
        one.run(10)
    one.run(50)
    one.hal.bms_uart.put(reply(3, basic_data(soc=99)))
    one.run(20)
    assert one.hal.bms_uart.rx == b"" and one.driver.reading.soc_bp == 5000


# ---- who switches ----


def test_a_monitor_writes_nothing():
    one = Bench()
    one.driver.monitor_only = True
    one.bms.mask = 1
    one.driver.want_fets(3)
    one.driver.open_now()
    one.run(5000)
    assert one.bms.asked(0xE1) == 0 and one.bms.mask == 1
    assert one.driver.fets_wanted == 0 and one.driver.reading.fets == 2
    assert one.driver.fets_proven
    one.driver.want_fets(1)
    assert one.driver.fets_proven  # what it reads is what is
    # the other controller is gone: the wish is sent after all
    one.driver.monitor_only = False
    one.run(1000)
    assert one.bms.mask == 2 and one.driver.fets_proven and one.driver.reading.fets == 1


def test_fets_that_cannot_be_switched_are_only_read():
    one = Bench(start=False)
    one.driver.can_switch = False
    one.loop.add(one.driver.run())
    assert not one.driver.fets_proven
    one.run(3000)
    one.driver.want_fets(1)
    one.driver.open_now()
    one.run(3000)
    assert one.bms.asked(0xE1) == 0 and one.driver.fets_proven


def test_a_wish_cuts_a_silent_poll_short():
    one = Bench().run(3000)
    one.bms.mute = (3, 4, 5)
    count = one.driver.exchange_count
    while one.driver.exchange_count == count:
        one.run(5)
    asked = one.hal.now_ms
    one.driver.want_fets(3)
    one.run(230)
    # the question in the air runs out, its retry is left
    assert one.bms.mask == 0 and one.bms.requests[-1][0] >= asked
    one.bms.mute = ()
    one.run(1000)
    assert one.driver.fets_proven


# ---- the families ----


def test_a_driver_is_made_by_name():
    hal = FakeHAL()
    for name in bms.FAMILIES:
        one = choose.make_driver(name, hal, hal.bms_uart)
        assert one.protocol.name == name == choose.make_protocol(name).name
        assert isinstance(one, BMSDriver) and not one.reading.valid
        assert one.can_switch == (name != "pylontech")
        assert one.error_names() == [] and one.last_error == "never answered"
    for name in ("", "JBD", "ant"):
        try:
            choose.make_driver(name, hal, hal.bms_uart)
            raise AssertionError("made " + name)
        except RangeError as error:
            assert error.value == name


def test_the_contracts_have_no_logic():
    contract = BMSDriver()
    for call in (lambda: contract.want_fets(0), contract.open_now, contract.error_names):
        unwritten(call)
    coroutine = contract.run()
    unwritten(lambda: coroutine.send(None))
    protocol = BMSProtocol()
    assert protocol.fets_requests(3) == () and protocol.groups == ()
    for call in (
        lambda: protocol.request(3), lambda: protocol.fits(b"", 3),
        lambda: protocol.explain(None, 3), lambda: protocol.take(b"", 3, None),
        lambda: protocol.error_names(0), lambda: protocol._size_of(b"", 0),
        lambda: protocol._is_good(b"", 0, 0),
    ):
        unwritten(call)


def unwritten(call):
    try:
        call()
    except NotImplementedError:
        return
    raise AssertionError("the contract does something")


def test_what_the_decoders_share():
    assert u16(b"\x00\x12\x34", 1) == 0x1234
    for raw in range(0x10000):
        frame = bytes((raw >> 8, raw & 255))
        assert s16(frame, 0) == (raw if raw < 0x8000 else raw - 0x10000)
    assert names_of("a;;c", 7) == ["a", "c"] and names_of("a", 0x80) == []
    assert ascii_of(b" ab\x00c", 0, 5) == " ab" and ascii_of(b"\x80", 0, 1) == ""


# ---- answers that are late ----


def late_by(one, delays_ms):
    """Let each answer come so much later than it was made; its current tells when that was."""
    waiting = []
    taken = one.bms.take

    def take(data):
        one.bms.basic["raw_10ma"] = (-(one.hal.now_ms // 20)) & 0xFFFF
        uart = one.hal.bms_uart
        before, uart.rx = uart.rx, b""
        taken(data)
        answer, uart.rx = uart.rx, before
        delay_ms = delays_ms[len(one.bms.requests) % len(delays_ms)]
        if answer:  # a line overtakes nothing
            due_ms = max([one.hal.now_ms + delay_ms] + [entry[0] for entry in waiting])
            waiting.append((due_ms, answer))

    def each_ms(now_ms):
        for entry in list(waiting):
            if entry[0] <= now_ms:
                waiting.remove(entry)
                one.hal.bms_uart.put(entry[1])

    one.hal.bms_uart.on_write = take
    return each_ms


def believed_count(delays):
    """Return how often a reading was believed on a line so late; it is never newer than true."""
    one = Bench(start=False)
    each = late_by(one, delays)
    one.loop.add(one.driver.run())
    # something else wakes the loop every few milliseconds, as a board's tasks do

    async def others(hal=one.hal):
        while True:
            await hal.sleep_ms(7)

    one.loop.add(others())
    believed = 0
    for _ in range(1500):
        one.loop.run_until(one.hal.now_ms + 20, each)
        age_ms = one.age_ms()
        if age_ms is None:
            continue
        true_age_ms = one.hal.now_ms - one.driver.reading.current_ma // 10 * 20
        # late by whole periods it cannot be told from the next answer: one period at most
        assert true_age_ms <= age_ms + 520, (delays, true_age_ms, age_ms)
        believed += age_ms <= 1500
    assert not one.loop.failures
    return believed


def test_a_late_answer_is_as_old_as_the_request_it_belongs_to():
    for delays in ((300,), (450,), (700,), (1500,), (300, 1500, 40, 900), (190, 210),
                   (300, 1500, 40, 900, 60)):
        # which question gets which delay is chance: each of them gets each
        believed = sum([believed_count(delays[first:] + delays[:first])
                        for first in range(len(delays))])
        # never more than half a second of doubt on top of a limit of 1.5 s: 2 s in all
        assert believed or min(delays) > 200, delays


def test_a_line_in_time_is_believed_to_the_millisecond():
    one = Bench(start=False)
    each = late_by(one, (30,))
    one.loop.add(one.driver.run())

    async def others(hal=one.hal):
        while True:
            await hal.sleep_ms(7)

    one.loop.add(others())
    one.loop.run_until(6000, each)
    true_age_ms = one.hal.now_ms - one.driver.reading.current_ma // 10 * 20
    assert abs(true_age_ms - one.age_ms()) <= 40


def test_a_step_between_two_groups_is_asked_for_again_at_once():
    one = Bench().run(3000)
    # all cells move between the reading of the pack and that of the cells
    one.bms.cells = [3450] * 16
    one.bms.basic["raw_10mv"] = 5520
    began = one.hal.now_ms
    for _ in range(60):
        one.run(25)
        if one.driver.reading.cell_mv_max == 3450:
            break
    assert one.hal.now_ms - began <= 1250
    # cells that go on contradicting the pack are asked for in their own period again
    one.bms.cells = [3250] * 16
    one.bms.requests = []
    one.run(10_000)
    cells = [request for request in one.bms.requests if request[2] == 4]
    assert 9 <= len(cells) <= 14, len(cells)
    assert one.driver.reading.cell_mv_max == 3450


def test_an_answer_to_nothing_that_is_remembered_dates_nothing_back():
    one = Bench().run(3000)
    one.driver._late_at = one.hal.now_ms
    one.driver._unanswered = [(4, one.hal.now_ms - 500)]
    one.driver._asked_at = one.hal.now_ms
    one.driver._note_answered(3)
    assert one.driver._asked_at == one.hal.now_ms and len(one.driver._unanswered) == 1
    one.driver._note_answered(4)
    assert one.driver._asked_at == one.hal.now_ms - 500 and one.driver._unanswered == []


def test_requests_without_an_answer_are_remembered_up_to_a_number():
    one = Bench().run(3000)
    now = one.hal.now_ms
    full = [(3, now)] * driver.UNANSWERED_MAX
    one.driver._unanswered = list(full)
    one.driver._note_sent(4)
    assert one.driver._unanswered == full
    one.hal.now_ms += driver.LATE_MS_MAX + 1
    one.driver._note_sent(4)
    assert one.driver._unanswered == [(4, one.hal.now_ms)]
