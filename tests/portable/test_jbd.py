"""Check the JBD driver: frames, sign, plausibility, and its task against a scripted BMS."""

import gc
from binascii import unhexlify

from fakes import WRAP, FakeHAL, Loop
from jbd_script import Script, basic_data, cells_data, reply

from element.bms import jbd
from element.bms.base import AGE_MS_MAX, CELLS_MAX, Reading
from element.protocol.errors import DecodeError, RangeError

try:
    from micropython import heap_lock, heap_unlock
except ImportError:  # CPython: the same statement without its proof
    def heap_lock():
        """Do nothing."""

    heap_unlock = heap_lock

NAMES = ("valid", "at_ms", "pack_mv", "current_ma", "soc_bp", "remaining_mah", "full_mah",
         "cycle_count", "errors", "protecting", "fets", "cell_count", "ntc_count",
         "temperature_mdegc_min", "temperature_mdegc_max", "cells_valid", "cells_at_ms",
         "cell_mv_min", "cell_mv_max", "cell_mv_sum", "cell_index_min", "cell_index_max",
         "ntc_index_min", "ntc_index_max", "balancing", "soh_bp", "current_ma_discharge_bms",
         "current_ma_charge_bms", "model")


def snapshot(reading):
    return [getattr(reading, name) for name in NAMES] + list(reading.cell_mv)


def decoded(**changes):
    reading = Reading()
    jbd.decode_basic_info(reply(3, basic_data(**changes)), reading)
    return reading


def refuses(decode, frame, reading=None):
    """Return the code of the DecodeError, having checked that the reading did not change."""
    reading = Reading() if reading is None else reading
    before = snapshot(reading)
    try:
        decode(frame, reading)
    except DecodeError as error:
        assert snapshot(reading) == before
        return error.code
    raise AssertionError("accepted")


def test_golden_requests():
    assert jbd.read_request(0x03) == unhexlify("dda50300fffd77")
    assert jbd.read_request(0x04) == unhexlify("dda50400fffc77")
    # register E1 counts the other way round: a set bit is a FET that is off
    for fets, mask in ((0, 3), (1, 2), (2, 1), (3, 0)):
        frame = jbd.fets_request(fets)
        assert frame[:6] == bytes((0xDD, 0x5A, 0xE1, 2, 0, mask))
        check = (~(0xE1 + 2 + mask) + 1) & 0xFFFF
        assert frame[6:] == bytes((check >> 8, check & 255, 0x77))


def test_golden_basic_reply():
    frame = unhexlify(
        "dd03001b144006a4138827100007" "2a5b00000000000021320310020ba50b9b")
    total = sum(frame[2:])
    check = (0x10000 - total) & 0xFFFF
    frame += bytes((check >> 8, check & 255, 0x77))
    reader = jbd.FrameReader()
    reading = Reading()
    jbd.decode_basic_info(reader.feed(frame), reading)
    assert reading.pack_mv == 51_840
    assert reading.current_ma == -17_000  # 1700 * 10 mA into the pack is charge
    assert reading.remaining_mah == 50_000 and reading.full_mah == 100_000
    assert reading.cycle_count == 7 and reading.soc_bp == 5000
    assert reading.fets == 3 and reading.cell_count == 16 and reading.ntc_count == 2
    assert reading.temperature_mdegc_max == 25_000 and reading.temperature_mdegc_min == 24_000
    assert reading.errors == 0 and not reading.protecting


def test_the_sign_of_the_current_for_every_raw_value():
    for raw in range(0x10000):
        # two's complement read with the vendor's sign, then turned: ours is discharge
        vendor_10ma = (raw ^ 0x8000) - 0x8000
        assert jbd.current_ma_of(raw) == vendor_10ma * -10


def test_the_sign_survives_the_frame():
    assert decoded(raw_10ma=0xFFFF).current_ma == 10
    assert decoded(raw_10ma=1).current_ma == -10
    assert decoded(raw_10ma=0x8000).current_ma == 327_680
    assert decoded(raw_10ma=0x7FFF).current_ma == -327_670


def test_any_ntc_count_from_one_to_eight():
    for count in range(1, 9):
        words = tuple([2731 + 10 * index for index in range(count)])
        reading = decoded(ntcs=words)
        assert reading.ntc_count == count
        assert reading.temperature_mdegc_min == 0
        assert reading.temperature_mdegc_max == (count - 1) * 1000
        # the hottest is found wherever it sits
        assert decoded(ntcs=tuple(reversed(words))).temperature_mdegc_max == (count - 1) * 1000
    assert refuses(jbd.decode_basic_info, reply(3, basic_data(ntcs=()))) == "ntc count"
    assert refuses(jbd.decode_basic_info, reply(3, basic_data(ntcs=(2981,) * 9))) == "ntc count"


def test_newer_firmware_appends_fields():
    assert decoded(ntcs=(2981, 2991), extra=b"\x00\x01\x02\x03").temperature_mdegc_max == 26_000


def test_a_short_reply_is_refused():
    data = basic_data(ntcs=(2981, 2991))
    for size in range(len(data)):
        code = refuses(jbd.decode_basic_info, reply(3, data[:size]))
        assert code == ("basic size" if size < 23 else "ntc count")


def test_implausible_basic_values_are_refused_at_their_edges():
    for changes in (
        {"raw_10mv": 199}, {"raw_10mv": 20_001}, {"raw_10mv": 0}, {"raw_10mv": 0xFFFF},
        {"soc": 101}, {"soc": 255}, {"cells": 0}, {"cells": 33}, {"cells": 255},
        {"ntcs": (2280,)}, {"ntcs": (4032,)}, {"ntcs": (0,)}, {"ntcs": (0xFFFF,)},
        {"ntcs": (2981, 2981, 2280)},
    ):
        refuses(jbd.decode_basic_info, reply(3, basic_data(**changes)))
    for changes in (
        {"raw_10mv": 200}, {"raw_10mv": 20_000}, {"soc": 0}, {"soc": 100}, {"cells": 1},
        {"cells": 32}, {"ntcs": (2281,)}, {"ntcs": (4031,)},
    ):
        decoded(**changes)


def test_a_refused_frame_leaves_a_good_reading_untouched():
    reading = decoded(soc=42)
    reading.valid = True
    refuses(jbd.decode_basic_info, reply(3, basic_data(soc=101)), reading)
    refuses(jbd.decode_basic_info, reply(3, basic_data(ntcs=(2981, 0))), reading)
    refuses(jbd.decode_cells, reply(4, cells_data([3200] * 15 + [499])), reading)
    assert reading.soc_bp == 4200


def test_every_error_bit_but_the_software_lock_protects():
    for bit in range(16):
        reading = decoded(errors=1 << bit)
        assert reading.errors == 1 << bit
        assert reading.protecting == (bit < 12)


def test_cells():
    reading = decoded(raw_10mv=5120)
    reading.valid = True
    cells = [3200 + index for index in range(-8, 8)]
    jbd.decode_cells(reply(4, cells_data(cells)), reading)
    assert list(reading.cell_mv)[:16] == cells
    assert (reading.cell_mv_min, reading.cell_mv_max) == (3192, 3207)
    assert reading.cell_mv_sum == sum(cells)


def test_every_cell_count_up_to_the_largest():
    for count in range(1, CELLS_MAX + 1):
        reading = decoded(raw_10mv=count * 320, cells=count) if count * 3200 >= 2000 else Reading()
        reading.valid = True
        jbd.decode_cells(reply(4, cells_data([3200] * count)), reading)
        assert reading.cell_mv_sum == 3200 * count
        for other in (count - 1, count + 1):
            if other <= CELLS_MAX:
                refuses(jbd.decode_cells, reply(4, cells_data([3200] * other)), reading)
    refuses(jbd.decode_cells, reply(4, cells_data([3200] * 33)))
    refuses(jbd.decode_cells, reply(4, b""))
    refuses(jbd.decode_cells, reply(4, cells_data([3200] * 16) + b"\x0c"))


def test_implausible_cells_are_refused_at_their_edges():
    for wrong in (0, 499, 5001, 0xFFFF):
        for place in (0, 7, 15):
            cells = [3200] * 16
            cells[place] = wrong
            refuses(jbd.decode_cells, reply(4, cells_data(cells)))
    for right in (500, 5000):
        jbd.decode_cells(reply(4, cells_data([3200] * 15 + [right])), Reading())


def test_where_the_extremes_are():
    for place in range(16):
        reading = Reading()
        cells = [3200] * 16
        cells[place] = 3150
        cells[place - 1] = 3250
        jbd.decode_cells(reply(4, cells_data(cells)), reading)
        assert (reading.cell_index_min, reading.cell_index_max) == (place, (place - 1) % 16)
    for place in range(8):
        words = [2981] * 8
        words[place] = 2900
        words[place - 1] = 3000
        reading = decoded(ntcs=tuple(words))
        assert (reading.ntc_index_min, reading.ntc_index_max) == (place, (place - 1) % 8)


def test_each_balance_bit_is_its_cell():
    for index in range(32):
        low, high = (1 << index) & 0xFFFF, (1 << index) >> 16
        assert decoded(balance=(low, high)).balancing == 1 << index


def test_every_documented_error_bit_has_a_name():
    protocol = jbd.JBDProtocol()
    names = protocol.error_names(0xFFFF)
    assert len(names) == 14 and "" not in names
    for bit in range(14):
        assert protocol.error_names(1 << bit) == [names[bit]]
    assert protocol.error_names(0) == [] and protocol.error_names(0xC000) == []
    assert protocol.error_names(0x0402) == ["cell undervoltage", "short circuit"]


def test_decoding_allocates_nothing():
    basic = reply(3, basic_data(raw_10ma=0xFF00, ntcs=(2981, 2991)))
    cells = reply(4, cells_data([3200] * 16))
    reading = Reading()
    jbd.decode_basic_info(basic, reading)
    reading.valid = True
    jbd.decode_cells(cells, reading)
    gc.collect()
    heap_lock()
    try:
        jbd.decode_basic_info(basic, reading)
        jbd.decode_cells(cells, reading)
    finally:
        heap_unlock()
    assert reading.current_ma == 2560 and reading.cell_mv_sum == 51_200


# ---- frames of real devices and of the vendor's text ----

# JBD general protocol V4, sections 3 to 5
V4_BASIC = unhexlify(
    "dd03001b1700000002d003e80000207800000000000010" "48030f020b760b82fbff77")
V4_DISCHARGE = unhexlify(
    "dd03001f19dff8240da50fa000022491000000000000" "125703110" "40b980ba90b960b97f89a77")
V4_CELLS = unhexlify(
    "dd04001e0f660f630f630f640f3e0f630f370f5b0f650f3b0f630f630f3c0f660f3df9f977")
V4_NAME = unhexlify("dd05000a30313233343536373839fde977")
# syssi/esphome-jbd-bms, docs/debug.txt (JBD-SP04S034) and issue 4, and
# docs/ffaa-auth-flow/communications2.txt
SP04_BASIC = unhexlify(
    "dd03001d0618000001f201f400002c7c000000000000806403040" "30b8c0b8a0b84fa8c77")
SP04_CELLS = unhexlify("dd0400080f460f3e0f380f3efec277")
CHARGING = unhexlify(
    "dd03001b0a88033c0e26138800a5298900080000000028480308020bb50bb4faea77")
DISCHARGING = unhexlify(
    "dd03001d0536ffcb4ff2533400" "01309b00000000000044600304030bb70bbf0bb9f84c77")


def taken(frame, reading=None):
    """Return the reading after a frame went through the protocol as a host would do it."""
    reading = Reading() if reading is None else reading
    protocol = jbd.JBDProtocol()
    found = protocol.feed(frame)
    assert found == frame and protocol.fits(found, frame[1])
    assert protocol.explain(found, frame[1]) == ""
    assert protocol.take(found, frame[1], reading)
    return reading


def test_the_vendors_own_frames():
    reading = taken(V4_BASIC)
    assert (reading.pack_mv, reading.current_ma, reading.soc_bp) == (58_880, 0, 7200)
    assert (reading.remaining_mah, reading.full_mah) == (7200, 10_000)
    assert (reading.cell_count, reading.ntc_count, reading.fets) == (15, 2, 3)
    assert (reading.temperature_mdegc_min, reading.temperature_mdegc_max) == (20_300, 21_500)
    taken(V4_CELLS, reading)
    assert (reading.cell_mv_min, reading.cell_mv_max) == (0x0F37, 0x0F66)
    assert (reading.cell_index_min, reading.cell_index_max) == (6, 0)
    assert taken(V4_NAME).model == "0123456789"
    # the text says: -20.12 A, discharge; ours is positive
    reading = taken(V4_DISCHARGE)
    assert (reading.pack_mv, reading.current_ma, reading.soc_bp) == (66_230, 20_120, 8700)
    assert (reading.cell_count, reading.ntc_count) == (17, 4)
    assert (reading.temperature_mdegc_max, reading.ntc_index_max) == (25_400, 1)
    assert jbd.fets_request(1) == unhexlify("dd5ae1020002ff1b77")


def test_captured_frames():
    reading = taken(SP04_BASIC)
    assert (reading.pack_mv, reading.soc_bp, reading.cell_count) == (15_600, 10_000, 4)
    taken(SP04_CELLS, reading)
    assert list(reading.cell_mv)[:4] == [3910, 3902, 3896, 3902]
    reading = taken(CHARGING)
    assert reading.current_ma == -8280 and reading.balancing == 1 << 3
    assert taken(DISCHARGING).current_ma == 530


def test_what_a_name_may_be():
    for data, name in ((b"", ""), (b"JBD-SP04S034", "JBD-SP04S034"), (b"A\x00B", "A"),
                       (b"\xffA\x01B ", "AB")):
        reading = Reading()
        assert jbd.JBDProtocol().take(reply(5, data), 5, reading) and reading.model == name


# ---- refusals and passwords ----


def test_a_refusal_says_what_to_do():
    protocol = jbd.JBDProtocol()
    for status, words in ((0x81, "wants its password"), (0x80, "does not have it"),
                          (0x82, "does not name it")):
        text = protocol.explain(reply(0xE1, b"", status), 0xE1)
        assert words in text, text
    assert "status 82" in protocol.explain(reply(3, b"", 0x82), 3)
    assert protocol.explain(reply(3, b""), 3) == ""
    assert "takes no writes" in protocol.explain(None, 0xE1) and protocol.explain(None, 3) == ""
    # firmware without passwords refuses theirs: smagicld/xiaoxiangBMS issue 195
    answer = unhexlify("dd068000ff8077")
    assert protocol.feed(answer) == answer and protocol.explain(answer, 6) == ""
    assert "refused the password" in protocol.explain(reply(6, b"", 0x81), 6)


def test_the_password_goes_before_the_fets():
    # fl4p/batmon-ha issue 4: the password is 333333
    request = unhexlify("dd5a060706030303030303ffdb77")
    assert jbd.password_request("333333") == request
    assert jbd.JBDProtocol("333333").fets_requests(0) == (request, jbd.fets_request(0))
    assert jbd.JBDProtocol().fets_requests(3) == (jbd.fets_request(3),)
    for wrong in ("", "33333", "3333333", "33333x"):
        try:
            jbd.JBDProtocol(wrong)
            raise AssertionError("accepted " + wrong)
        except RangeError as error:
            assert error.value == len(wrong)


def test_a_locked_bms_is_unlocked_with_its_password():
    hal = FakeHAL()
    bms = Script(hal)
    bms.refused[0xE1] = 0x81
    driver = jbd.JBD(hal, hal.bms_uart, "123456")
    loop = Loop(hal)
    loop.add(driver.run())
    loop.run_until(4000)
    assert driver.reading.valid and bms.asked(6) > 0 and "password" in driver.last_error
    answer = bms.answer

    def unlock(frame):
        if frame[2] == 6 and frame[5:11] == b"\x01\x02\x03\x04\x05\x06":
            bms.refused = {}
        return answer(frame)

    bms.answer = unlock
    driver.want_fets(3)
    loop.run_until(4500)
    assert driver.fets_proven and driver.reading.fets == 3


# ---- the frame reader ----

BASIC = reply(3, basic_data(raw_10ma=0xFF00, ntcs=(2981, 2991)))
CELLS = reply(4, cells_data([3200 + index for index in range(16)]))


def feed_all(reader, pieces):
    """Return every frame that comes out of the pieces."""
    out = []
    for piece in pieces:
        frame = reader.feed(piece)
        for _ in range(100):
            if frame is None:
                break
            out.append(frame)
            frame = reader.feed(b"")
    return out


def test_a_frame_split_at_every_byte():
    for cut in range(len(BASIC) + 1):
        assert feed_all(jbd.FrameReader(), [BASIC[:cut], BASIC[cut:]]) == [BASIC]
    assert feed_all(jbd.FrameReader(), [BASIC[i:i + 1] for i in range(len(BASIC))]) == [BASIC]


def test_merged_frames_come_out_in_order():
    stream = BASIC + CELLS + reply(0xE1, b"") + BASIC
    assert feed_all(jbd.FrameReader(), [stream]) == [BASIC, CELLS, reply(0xE1, b""), BASIC]


def test_noise_before_a_frame_is_counted_and_skipped():
    for noise in (b"\x00", b"\xff" * 50, b"\x77\x77", b"\xdd", b"\xdd\xdd\xdd", b"\xdd\x03\x00",
                  b"\xdd\x03\x00\x00\x00\x00\x00", BASIC[:-1], BASIC[1:], BASIC[:20]):
        reader = jbd.FrameReader()
        out = feed_all(reader, [noise, BASIC])
        if BASIC not in out:  # a false length may wait for more: the next frame shakes it loose
            out += feed_all(reader, [CELLS, BASIC])
        assert BASIC in out, noise
        assert reader.bad_count > 0


def test_every_single_flipped_bit_is_found():
    for index in range(len(BASIC)):
        for bit in range(8):
            damaged = bytearray(BASIC)
            damaged[index] ^= 1 << bit
            reader = jbd.FrameReader()
            for frame in feed_all(reader, [bytes(damaged)]):
                # the checksum covers status to data; start, register and end stand outside it,
                # and an answer from another register answers nothing
                assert index == 1 and frame == bytes(damaged) and not reader.fits(frame, 3)
            reader.clear()
            assert feed_all(reader, [BASIC]) == [BASIC]


def test_an_oversized_frame_is_skipped():
    big = reply(3, bytes(200))
    reader = jbd.FrameReader()
    assert feed_all(reader, [big, BASIC]) == [BASIC]
    assert reader.bad_count > 0


def test_the_largest_frame_fits():
    fits = reply(3, bytes(jbd.FRAME_SIZE_MAX - 7))
    assert feed_all(jbd.FrameReader(), [fits]) == [fits]
    assert feed_all(jbd.FrameReader(), [reply(3, bytes(jbd.FRAME_SIZE_MAX - 6))]) == []


def test_garbage_never_hangs_and_memory_is_bounded():
    seed = 1
    reader = jbd.FrameReader()
    for size in (1, 7, 64, 500, 4096):
        for fill in (0xDD, 0x77, 0x00, None):
            data = bytearray(size)
            for index in range(size):
                seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
                data[index] = seed >> 16 & 255 if fill is None else fill
            feed_all(reader, [bytes(data)])
            assert len(reader._buffer) <= jbd.BACKLOG_SIZE_MAX
            # after at most one false frame's length of good traffic it is in step again
            assert BASIC in feed_all(reader, [BASIC] * 6)


# ---- the task ----


def bench(now_ms=1000):
    hal = FakeHAL(now_ms)
    bms = Script(hal)
    driver = jbd.JBD(hal, hal.bms_uart)
    loop = Loop(hal)
    loop.add(driver.run())
    return hal, bms, driver, loop


def test_the_task_opens_the_fets_first_and_then_polls_in_its_periods():
    _hal, bms, driver, loop = bench()
    bms.mask = 0
    loop.run_until(11_000)
    assert bms.requests[0][1:] == (0x5A, 0xE1) and bms.mask == 3
    assert driver.reading.valid and driver.reading.cells_valid
    assert 18 <= len([one for one in bms.requests if one[2] == 3]) <= 24
    assert 9 <= len([one for one in bms.requests if one[2] == 4]) <= 12
    assert driver.error_count == 0 and not loop.failures


def test_a_wish_is_written_and_read_back_soon():
    _hal, bms, driver, loop = bench()
    loop.run_until(3200)
    driver.want_fets(3)
    assert not driver.fets_proven
    loop.run_until(3300)
    assert bms.mask == 0 and driver.reading.fets == 3 and driver.fets_proven


def test_a_lost_write_is_repeated_until_the_fets_follow():
    _hal, bms, driver, loop = bench()
    loop.run_until(3200)
    bms.deaf_writes = 3
    driver.want_fets(2)
    loop.run_until(5500)
    assert bms.deaf_writes == 0 and bms.mask == 1 and driver.reading.fets == 2


def test_an_old_read_back_proves_nothing():
    _hal, _bms, driver, loop = bench()
    driver.want_fets(3)
    loop.run_until(3200)
    assert driver.fets_proven and driver.reading.fets == 3
    driver.want_fets(0)
    driver.want_fets(3)
    # the reading still says 3, of a moment before both wishes
    assert driver.reading.fets == 3 and not driver.fets_proven
    loop.run_until(3400)
    assert driver.fets_proven


def test_a_read_back_that_a_new_wish_overtook_proves_nothing():
    hal, _bms, driver, loop = bench()
    driver.want_fets(3)
    loop.run_until(3200)
    proven = []
    take = hal.bms_uart.on_write

    def overtake(data):
        if data[1] == 0xA5 and data[2] == 3 and not proven:
            # while the question is on the line the wish goes there and back
            driver.want_fets(0)
            driver.want_fets(3)
            proven.append("asked")
        elif data[1] == 0x5A and len(proven) == 1:
            proven.append(driver.fets_proven)
        take(data)

    hal.bms_uart.on_write = overtake
    loop.run_until(5000)
    assert proven == ["asked", False] and driver.fets_proven


def test_stuck_fets_are_asked_again_and_again_but_not_in_a_rush():
    _hal, bms, driver, loop = bench()
    bms.stuck_fets = 3
    loop.run_until(6000)
    writes = len([one for one in bms.requests if one[1] == 0x5A])
    assert 8 <= writes <= 30 and driver.reading.fets == 3


def test_a_silent_bms_ages_and_comes_back():
    hal, bms, driver, loop = bench()
    loop.run_until(4000)
    bms.silent = True
    loop.run_until(34_000)
    assert driver.reading.age_ms(hal, hal.ticks_ms()) > 29_000
    assert driver.error_count > 20 and driver.reading.valid
    bms.silent = False
    loop.run_until(37_500)  # for two seconds an answer may still be a late one
    assert driver.reading.age_ms(hal, hal.ticks_ms()) < 700
    assert driver.reading.cells_age_ms(hal, hal.ticks_ms()) < 2300


def test_the_age_does_not_come_round_with_the_counter():
    hal, _bms, driver, loop = bench()
    loop.run_until(4000)
    reading = driver.reading
    at_ms, cells_at_ms = reading.at_ms, reading.cells_at_ms
    for late_ms in (AGE_MS_MAX + 1, WRAP // 2 - 1, WRAP // 2, WRAP // 2 + 5, WRAP - 100):
        reading.valid = reading.cells_valid = True
        now = hal.ticks_add(at_ms, late_ms)
        assert reading.age_ms(hal, now) is None and not reading.valid
        assert reading.cells_age_ms(hal, hal.ticks_add(cells_at_ms, late_ms)) is None
        assert not reading.cells_valid
    reading.valid = True
    assert reading.age_ms(hal, hal.ticks_add(at_ms, AGE_MS_MAX)) == AGE_MS_MAX


def test_the_age_is_right_across_the_wrap_of_the_counter():
    hal, _bms, driver, loop = bench(WRAP - 2000)
    loop.run_until(WRAP + 2000)
    assert 0 <= driver.reading.age_ms(hal, hal.ticks_ms()) < 700


def test_implausible_replies_age_the_reading():
    hal, bms, driver, loop = bench()
    loop.run_until(4000)
    bms.basic = {"soc": 120}
    bms.cells = [3200] * 15 + [9]
    loop.run_until(14_000)
    assert driver.reading.soc_bp == 5000
    assert driver.reading.age_ms(hal, hal.ticks_ms()) > 9000
    assert driver.last_error.startswith("implausible")


def test_a_flood_neither_stops_the_other_tasks_nor_grows():
    hal, bms, driver, loop = bench()
    loop.run_until(3000)
    bms.silent = True
    ticks = []

    async def tick():
        while True:
            ticks.append(hal.now_ms)
            hal.bms_uart.put(b"\xdd\x03\x00\x60" * 60)
            await hal.sleep_ms(50)

    async def flood():
        while True:
            hal.bms_uart.put(b"\xdd" * 11)
            await hal.sleep_ms(1)

    loop.add(tick())
    loop.add(flood())
    loop.run_until(8000)
    assert len(ticks) == 100 and not loop.failures
    assert driver.reading.age_ms(hal, hal.ticks_ms()) > 4500
    assert len(driver.protocol._buffer) <= jbd.BACKLOG_SIZE_MAX


def test_a_line_that_is_never_empty_lets_the_others_run():
    hal, bms, _driver, loop = bench()
    loop.run_until(3000)
    bms.silent = True
    ticks = []

    async def tick():
        while True:
            ticks.append(hal.now_ms)
            await hal.sleep_ms(50)

    read = hal.bms_uart.read

    def read_and_refill():
        data = read()
        hal.bms_uart.rx = b"\x00\xdd"
        hal.now_ms += 1  # work takes time on a board
        return data

    hal.bms_uart.read = read_and_refill
    hal.bms_uart.rx = b"\x00"
    loop.add(tick())
    loop.run_until(6000)
    gaps = [ticks[index + 1] - ticks[index] for index in range(len(ticks) - 1)]
    assert len(ticks) > 50 and max(gaps) <= 60 and not loop.failures


def test_open_now_sends_without_the_task():
    hal = FakeHAL()
    driver = jbd.JBD(hal, hal.bms_uart)
    driver.fets_wanted = 3
    driver.open_now()
    assert hal.bms_uart.sent[-1] == jbd.fets_request(0) * 2 and driver.fets_wanted == 0
