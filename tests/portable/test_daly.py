"""Check the Daly driver: frames, sign, answers in several frames, its task against a script."""

from binascii import unhexlify

from fakes import FakeHAL, Loop
from line_script import (
    Line,
    feed_all,
    flips,
    refused,
    split_everywhere,
    survives_garbage,
)

from element.bms import daly
from element.bms.base import Reading
from element.protocol.errors import DecodeError

# 20233332choi/DJY_EvTLMT, tests of gateway/daly_bms.py: an R24TS with 14 cells, captured live
R24TS = (
    "a501900802120000753002 00f9", "a5019208380138010000 0000b2", "a50193080001 01ed0000a000d0",
    "a50194080e0200000000003a8c", "a5019508010ece0ed20ed100df", "a5019508020ecf0ed10ed100e0",
    "a5019508030ed10ed10ed200e4", "a5019508040ed20ed20ecf00e4", "a5019508050ed10ecf00000004",
    "a50197080000000000000000 45", "a5019808000000000000000046",
)
# tomatensaus/bms, notes in the test of daly.py: 16 cells, discharging at 50 A; the last bytes of
# the shorter frames are left over from older ones
DISCHARGING = "a501900802030000772403 3819"
STATE = "a50193080201017100 0486c000"
STATUS_16 = "a5019408100100000200 05c01a"
CELLS_16 = "a5019508010caa0c950c59c0c0"
# demo frames of a reader for Daly over CAN and UART (its repository is not known): 8 cells
DEMO = "a501900800f80000753001815d"
# jallum/dalymon issue 2: what switches the FETs, and the answer
DISCHARGE_ON = "a540d9080100000000000000c7"
DISCHARGE_OFF = "a540d9080000000000000000c6"
DISCHARGE_ON_REPLY = "a501d908010d130d210d17c0ba"


def raw(text):
    return unhexlify(text.replace(" ", ""))


def reply(command, data, address=1):
    body = bytes((0xA5, address, command, 8)) + bytes(data) + bytes(8 - len(data))
    return body + bytes((sum(body) & 255,))


def soc(raw_100mv=512, raw_current=30000, permille=500):
    return reply(0x90, bytes((raw_100mv >> 8, raw_100mv & 255, 0, 0, raw_current >> 8,
                              raw_current & 255, permille >> 8, permille & 255)))


def cells_reply(cells, base=1):
    """Return the frames of 95 for cells, with the leftovers that a Daly sends."""
    out = b""
    for first in range(0, len(cells), 3):
        data = bytes((base + first // 3,))
        for mv in (cells + [0x1234] * 2)[first:first + 3]:
            data += bytes((mv >> 8, mv & 255))
        out += reply(0x95, data + b"\xc0")
    return out


NAME = b"DL-R24 with 16 cells and a name" + bytes(4)


class Script:
    """A Daly of 16 cells."""

    def __init__(self, hal):
        self.fets = 0
        self.answers = {
            0x90: soc(), 0x92: reply(0x92, b"\x41\x02\x40\x01"),
            0x94: reply(0x94, b"\x10\x02\x00\x00\x00\x00\x07"),
            0x95: cells_reply([3200 + index for index in range(16)]),
            0x97: reply(0x97, b"\x01\x80"), 0x98: reply(0x98, b""),
            0x50: reply(0x50, b"\x00\x01\x86\xa0\x00\x00\x0c\xe4"),
            0x57: b"".join([
                reply(0x57, bytes((index + 1,)) + NAME[7 * index:7 * index + 7])
                for index in range(5)]),
        }
        self.line = Line(hal, lambda data: 13, self.answer)

    def answer(self, request):
        kind = request[2]
        assert request[0] == 0xA5 and request[1] == 0x40 and request[3] == 8
        assert request[12] == sum(request[:12]) & 255
        if kind == 0xD9:
            self.fets = self.fets & 1 | request[4] << 1
            return reply(kind, request[4:5])
        if kind == 0xDA:
            self.fets = self.fets & 2 | request[4]
            return reply(kind, request[4:5])
        if kind == 0x93:
            data = bytes((0, self.fets & 1, self.fets >> 1, 9)) + b"\x00\x00\xc3\x50"
            return reply(kind, data)
        return self.answers.get(kind)


def bench():
    hal = FakeHAL()
    script = Script(hal)
    driver = daly.Daly(hal, hal.bms_uart)
    loop = Loop(hal)
    loop.add(driver.run())
    return hal, script, driver, loop


def taken(frames, reading=None):
    reading = Reading() if reading is None else reading
    protocol = daly.DalyProtocol()
    for text in frames:
        frame = protocol.feed(raw(text))
        assert frame == raw(text) and protocol.fits(frame, frame[2])
        assert protocol.explain(frame, frame[2]) == ""
        protocol.take(frame, frame[2], reading)
    return reading


def test_golden_requests():
    # 20233332choi/DJY_EvTLMT and jallum/dalymon issue 2
    protocol = daly.DalyProtocol()
    assert protocol.request(0x90) == raw("a54090080000000000000000 7d")
    for command, check in ((0x91, 0x7E), (0x92, 0x7F), (0x93, 0x80), (0x94, 0x81)):
        assert protocol.request(command)[12] == check
    assert protocol.fets_requests(2) == (raw(DISCHARGE_ON), daly.frame_of(0xDA, 0))
    assert protocol.fets_requests(1) == (raw(DISCHARGE_OFF), daly.frame_of(0xDA, 1))
    assert protocol.feed(raw(DISCHARGE_ON_REPLY)) == raw(DISCHARGE_ON_REPLY)
    assert protocol.fits(raw(DISCHARGE_ON_REPLY), 0xD9)


def test_a_captured_pack():
    reading = taken(R24TS)
    assert (reading.pack_mv, reading.current_ma, reading.soc_bp) == (53_000, 0, 5120)
    assert (reading.fets, reading.remaining_mah) == (3, 40_960)
    assert (reading.cell_count, reading.ntc_count, reading.cycle_count) == (14, 2, 0)
    assert (reading.temperature_mdegc_min, reading.temperature_mdegc_max) == (16_000, 16_000)
    assert list(reading.cell_mv)[:14] == [3790, 3794, 3793, 3791, 3793, 3793, 3793, 3793, 3794,
                                          3794, 3794, 3791, 3793, 3791]
    assert (reading.cell_index_min, reading.cell_index_max) == (0, 1)
    assert (reading.errors, reading.protecting, reading.balancing) == (0, False, 0)


def test_discharge_is_positive_as_the_state_beside_it_says():
    reading = taken((DISCHARGING, STATE, STATUS_16))
    assert reading.current_ma == 50_000 and raw(STATE)[4] == 2
    assert (reading.soc_bp, reading.remaining_mah, reading.cycle_count) == (8240, 296_640, 5)
    assert taken((DEMO,)).pack_mv == 24_800


def test_the_sign_of_the_current_for_every_raw_value():
    for value in range(0x10000):
        assert daly.current_ma_of(value) == value * 100 - 3_000_000
        frame = soc(raw_current=value)
        if abs(value - 30000) <= 10_000:
            reading = Reading()
            daly.DalyProtocol().take(frame, 0x90, reading)
            assert reading.current_ma == (value - 30000) * 100
        elif value % 977 == 0 or value in (0, 19_999, 40_001, 0xFFFF):
            assert refused(daly.DalyProtocol(), frame, 0x90, Reading()) == "current_ma"


def test_impossible_values_change_nothing():
    for frame in (
        soc(raw_100mv=19), soc(raw_100mv=2001), soc(permille=1001), soc(permille=0xFFFF),
        reply(0x92, b"\xab\x01\x40\x01"), reply(0x92, b"\x41\x00\x40\x01"),
        reply(0x92, b"\x41\x01\x40\x11"), reply(0x92, b"\x41\x01\x42\x01"),
        reply(0x92, b"\xff\x01\xff\x01"),
        reply(0x93, b"\x00\x02\x00\x00"), reply(0x93, b"\x00\x00\x80\x00"),
        reply(0x93, b"\x00\x00\x00\x00\x3f"), reply(0x50, b"\x3f"),
        reply(0x94, b"\x00\x01"), reply(0x94, b"\x21\x01"), reply(0x94, b"\x10\x00"),
        reply(0x94, b"\x10\x11"), reply(0x95, b"\x01\x0c\x80\x0c\x80\x0c\x80"),
    ):
        refused(daly.DalyProtocol(), frame, frame[2], Reading())
    for frame in (
        soc(raw_100mv=20), soc(raw_100mv=2000), soc(permille=0), soc(permille=1000),
        reply(0x92, b"\xaa\x10\x00\x01"), reply(0x93, b"\x00\x01\x00\x00"),
        reply(0x94, b"\x01\x01"), reply(0x94, b"\x20\x10"),
    ):
        assert daly.DalyProtocol().take(frame, frame[2], Reading())


def test_each_cell_count_and_both_numberings():
    for count in range(1, 33):
        cells = [3200 + index for index in range(count)]
        for base in (0, 1):
            reading = Reading()
            reading.cell_count = count
            protocol = daly.DalyProtocol()
            frames = feed_all(protocol, [cells_reply(cells, base)])
            done = [protocol.take(frame, 0x95, reading) for frame in frames]
            assert done == [False] * ((count - 1) // 3) + [True]
            assert list(reading.cell_mv)[:count] == cells
            assert reading.cell_mv_sum == sum(cells) and reading.cell_index_max == count - 1
    # the capture is the first frame of six
    reading = Reading()
    reading.cell_count = 16
    assert not daly.DalyProtocol().take(raw(CELLS_16), 0x95, reading)
    assert list(reading.cell_mv)[:3] == [3242, 3221, 3161]


def test_cell_frames_out_of_order_are_refused():
    frames = feed_all(daly.DalyProtocol(), [cells_reply([3200] * 16)])
    for order in ((1,), (5,), (0, 2), (0, 0), (0, 1, 0), (0, 1, 2, 4)):
        reading = Reading()
        reading.cell_count = 16
        protocol = daly.DalyProtocol()
        for place in order[:-1]:
            assert not protocol.take(frames[place], 0x95, reading)
        try:
            protocol.take(frames[order[-1]], 0x95, reading)
            raise AssertionError("accepted")
        except DecodeError as error:
            assert error.code == "frame number"
        protocol.clear()
        assert [protocol.take(frame, 0x95, reading) for frame in frames] == [False] * 5 + [True]
    for bad in (499, 5001):
        reading.cell_count = 3
        protocol.clear()
        frame = cells_reply([3200, 3200, bad])
        assert refused(protocol, frame, 0x95, reading) == "cell_mv"


def test_each_failure_bit_has_one_name_and_warnings_do_not_protect():
    protocol = daly.DalyProtocol()
    seen = []
    for index in range(8):
        for bit in range(8):
            data = bytearray(8)
            data[index] = 1 << bit
            reading = Reading()
            assert protocol.take(reply(0x98, data), 0x98, reading)
            names = protocol.error_names(reading.errors)
            reserved = (index == 3 and bit > 3) or (index == 6 and bit > 3) or index == 7
            assert len(names) == (0 if reserved else 1), (index, bit, names)
            seen += names
            if names and "warning" in names[0]:
                assert not reading.protecting
    assert len(daly._NAMES.split(";")) == len(daly._ERRORS) // 2 == 30
    for name in daly._NAMES.split(";"):
        assert name in seen, name
    for data, protecting in ((b"\x01", False), (b"\x02", True),
                             (b"\x00\x00\x00\x00\x00\x08", False), (b"\x00\x00\x80", False),
                             (b"\x00" * 6 + b"\x04", True)):
        reading = Reading()
        protocol.take(reply(0x98, data), 0x98, reading)
        assert reading.protecting == protecting
    # a reserved bit, in the demo frames
    assert taken(("a501980800000000 0000100056",)).errors == 0


def test_balance_bits():
    for index in range(16):
        data = bytearray(8)
        data[index // 8] = 1 << index % 8
        reading = Reading()
        reading.cell_count = 16
        daly.DalyProtocol().take(reply(0x97, data), 0x97, reading)
        assert reading.balancing == 1 << index
    reading.cell_count = 4
    daly.DalyProtocol().take(reply(0x97, b"\xff\xff\xff\xff"), 0x97, reading)
    assert reading.balancing == 15


# ---- frames ----

GOOD = soc()


def test_frames_in_any_pieces():
    assert split_everywhere(daly.DalyProtocol, GOOD)
    two = GOOD + raw(STATE)
    assert feed_all(daly.DalyProtocol(), [two]) == [GOOD, raw(STATE)]
    protocol = daly.DalyProtocol()
    noise = b"\xa5\xa5\x00\x01" + GOOD[:7]
    assert GOOD in feed_all(protocol, [noise, GOOD, GOOD]) and protocol.bad_count > 0
    survives_garbage(daly.DalyProtocol(), GOOD)


def test_every_single_flipped_bit_is_found():
    for _index, damaged in flips(GOOD):
        assert feed_all(daly.DalyProtocol(), [damaged]) == []
    for size in range(13):
        assert feed_all(daly.DalyProtocol(), [GOOD[:size]]) == []
    protocol = daly.DalyProtocol()
    other = reply(0x90, b"\x02\x00", 2)
    assert protocol.feed(other) == other and not protocol.fits(other, 0x90)
    assert not protocol.fits(GOOD, 0x92)


# ---- the task ----


def test_the_task_reads_everything():
    hal, script, driver, loop = bench()
    loop.run_until(5000)
    reading = driver.reading
    assert reading.valid and reading.cells_valid and not loop.failures
    assert (reading.pack_mv, reading.soc_bp, reading.full_mah) == (51_200, 5000, 100_000)
    assert (reading.cell_count, reading.cell_mv_max, reading.cycle_count) == (16, 3215, 7)
    assert (reading.ntc_index_max, reading.ntc_index_min) == (1, 0)
    assert reading.balancing == 0x8001 and reading.model == NAME[:-4].decode()
    assert driver.error_count == 0, driver.last_error
    assert reading.age_ms(hal, hal.ticks_ms()) < 1000
    # 20 ms lie between an answer and the next question
    times = script.line.times
    assert min([times[index] - times[index - 1] for index in range(1, len(times))]) >= 20


def test_the_slowest_that_is_known_never_goes_stale():
    # 90 ms for an answer, and both ways at 9600 baud; for two minutes, so that all groups come
    hal, script, driver, loop = bench()
    uart = hal.bms_uart
    waiting = []

    def take(data):
        before, uart.rx = uart.rx, b""
        script.line.take(data)
        answer, uart.rx = uart.rx, before
        waiting.append((hal.now_ms + 90 + (len(data) + len(answer)) * 25 // 24, answer))

    def each(now_ms):
        while waiting and waiting[0][0] <= now_ms:
            uart.put(waiting.pop(0)[1])

    async def others():
        # something else wakes the loop every few milliseconds, as a board's tasks do
        while True:
            await hal.sleep_ms(5)

    loop.add(others())
    uart.on_write = take
    driver.want_fets(3)
    loop.run_until(5000, each)
    oldest_ms = oldest_cells_ms = 0
    for _ in range(6500):
        loop.run_until(hal.now_ms + 20, each)
        oldest_ms = max(oldest_ms, driver.reading.age_ms(hal, hal.now_ms))
        oldest_cells_ms = max(oldest_cells_ms, driver.reading.cells_age_ms(hal, hal.now_ms))
    assert oldest_ms <= 1500 and oldest_cells_ms <= 3000, (oldest_ms, oldest_cells_ms)
    assert driver.error_count == 0 and not loop.failures
    asked = {request[2] for request in script.line.requests}
    assert asked >= {0x90, 0x92, 0x93, 0x98, 0x94, 0x95, 0x97, 0x50, 0x57}


def test_fets_follow_and_are_proven():
    _hal, script, driver, loop = bench()
    loop.run_until(3000)
    for wish in (3, 1, 2, 0):
        driver.want_fets(wish)
        assert not driver.fets_proven
        loop.run_until(loop._hal.now_ms + 700)
        assert script.fets == wish == driver.reading.fets and driver.fets_proven


def test_a_deaf_fet_is_told_and_the_other_one_is_tried():
    _hal, script, driver, loop = bench()
    loop.run_until(3000)
    answer = script.line.answer
    script.line.answer = lambda request: None if request[2] == 0xD9 else answer(request)
    driver.want_fets(3)
    loop.run_until(6000)
    assert script.fets == 1 and driver.reading.fets == 1
    assert "does not switch its FETs" in driver.last_error
    # what is asked again and again leaves time for everything else
    assert driver.reading.age_ms(loop._hal, loop._hal.ticks_ms()) < 2500
    loop.run_until(20_000)
    assert driver.reading.cells_age_ms(loop._hal, loop._hal.ticks_ms()) < 6000


def test_a_lost_frame_of_several_takes_nothing():
    _hal, script, driver, loop = bench()
    loop.run_until(3000)
    before = driver.reading.cells_at_ms
    frames = cells_reply([3300] * 16)
    script.answers[0x95] = frames[:26] + frames[39:]
    loop.run_until(6000)
    assert driver.reading.cell_mv_max == 3215 and driver.reading.cells_at_ms - before < 2100
    assert driver.failure_counts[3] > 0 and "frame number" in driver.last_error
    script.answers[0x95] = frames[:65]
    loop.run_until(10_000)
    assert driver.reading.cell_mv_max == 3215 and driver.failure_counts[0] > 0
    script.answers[0x95] = frames
    loop.run_until(14_000)
    assert driver.reading.cell_mv_max == 3300


def test_one_lost_answer_leaves_the_group_as_it_was():
    _hal, script, driver, loop = bench()
    loop.run_until(3000)
    script.answers[0x90] = soc(permille=510)
    del script.answers[0x98]
    loop.run_until(8000)
    assert driver.reading.soc_bp == 5000 and driver.link_state == 1  # the cells still come
    assert driver.reading.age_ms(loop._hal, loop._hal.ticks_ms()) > 4000
    assert "asleep" not in driver.last_error and "sleeps" in driver.last_error


def test_an_echo_on_the_line():
    _hal, script, driver, loop = bench()
    script.line.echo = True
    driver.want_fets(2)
    loop.run_until(5000)
    assert driver.reading.valid and driver.reading.fets == 2 and driver.error_count == 0
    script.line.silent = True
    loop.run_until(9000)
    assert "the line echoes" in driver.last_error


def test_a_wish_comes_between_the_questions_of_a_group():
    hal, script, driver, loop = bench()
    loop.run_until(3000)
    asked = len(script.line.requests)
    while len(script.line.requests) == asked or script.line.requests[-1][2] != 0x92:
        loop.run_until(hal.now_ms + 1)
    driver.want_fets(3)
    before = hal.now_ms
    while script.fets != 3:
        loop.run_until(hal.now_ms + 1)
    assert hal.now_ms - before <= 60
    loop.run_until(hal.now_ms + 1000)
    assert driver.fets_proven and driver.error_count == 0


def test_open_now_sends_both_twice():
    hal = FakeHAL()
    driver = daly.Daly(hal, hal.bms_uart)
    driver.open_now()
    assert hal.bms_uart.sent == [(raw(DISCHARGE_OFF) + daly.frame_of(0xDA, 0)) * 2]
