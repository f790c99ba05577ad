"""Check the JK driver: frames, both current encodings, the row of ids, its task on a script."""

import gc
from binascii import unhexlify

from fakes import FakeHAL, Loop
from line_script import Line, feed_all, flips, refused, split_everywhere, survives_garbage

from element.bms import jk
from element.bms.base import Reading

try:
    from micropython import heap_lock, heap_unlock
except ImportError:  # CPython: the same statement without its proof
    def heap_lock():
        """Do nothing."""

    heap_unlock = heap_lock


def raw(text):
    return unhexlify(text.replace(" ", "").replace("\n", ""))


# syssi/esphome-jk-bms docs/protocol-design.md: 14 cells, new current encoding, charging 2.08 A
CAPTURED = raw("""
4e57011b00000000060001792a010eed020efa030ef7040eec050ef8060efa070ef1080ef8090ee30a0efa0b0ef1
0c0efb0d0efb0e0ef280001d81001e82001c8314ef8480d0850f8602870004890000 00008a000e8b00008c00078e
16268f10ae900fd2910fa0920005930bea940c1c95000596012c970007980003990005 9a00059b0ce49c00089d01
9e005a9f0046a00064a10064a20014a30046a40046a5ffeca6fff6a7ffeca8fff6a90eaa0000000eab01ac01ad04
11ae01af01b0000ab114b231323334353600000000b300b4496e707574205573b532313031b60000e200b748362e
585f5f53362e312e33535f5fb800b900000000ba425433303732303230313230303030323030353231303031c001
00000000680000 54d1""")
# RS485 Communication example (vendor), 20 cells, old current encoding, idle. The text's checksum
# (4923) does not fit its bytes: here is the one that does.
EXAMPLE = raw("""
4e57010b00000000060001793c010ef9020ef8030f01040f03050f02060f05070f02080f05090efb0a0ec80b0ecb
0c0e9a0d0ec50e0ec60f0ecb100ec1110ecd120ecb130ebc140ec280001b81001e82001e831dbc84271085478602
87000189000000008a00148b00008c000b8e20d08f15e09010689110369200049 30af0940b5495000496012c9700
289800049900149a00049b10369c00649d009e00649f0050a00050a10046a20014a30064a40064a5ffeca6fff6a7
ffeca8fff6a914aa00000028ab00ac00ad03e8ae01af01b0000ab114b200000000000000000000b301b436303330
30303031b532303034b600000001b74e575f315f305f305f323030343238 00000000680000485c""")
# syssi/esphome-jk-bms issue 247: this frame came damaged (8 of A4 04 46) and says 58E4
DAMAGED = raw("""
4e57011b0000800006000179 2a010fe5020fe4030fe3040fe4050fe3060fe2070fe2080fe5090fe40a0fe30b0fe7
0c0fe50d0fe40e0fe580001681001282001283163f840038855b86028700078900 0009f98a000e8b00008c00038e
16f88f0f6c901068911054920005930b04940b2295000596012c97006498012c9900509a001e9b0ce49c00149d01
9e005a9f0046a00064a10064a20014a30046a40446a5ffeca6fff6a7ffeca8fff6a90eaa00000154ab01ac01ad03
a6ae01af01b0000ab114b231323334353600000000b300b44972656e615f686fb532333031b60000bc2db731302e
58575f5331302e31305f5f5fb800b900000154ba4972656e615f686f75736500 4972656e61686f7573655f34c001
00000000680000 58e4""")


def reply(data, command=6, kind=1, source=0):
    size = 11 + len(data) + 9 - 2
    body = b"NW" + bytes((size >> 8, size & 255, 0, 0, 0, 0, command, source, kind)) + bytes(data)
    body += b"\x00\x00\x00\x00\x68"
    total = sum(body) & 0xFFFF
    return body + bytes((0, 0, total >> 8, total & 255))


def row(cells=(3200,) * 16, raw_84=0, protocol=1, drop=(), extra=b"", **changes):
    """Return the data of a reply to 06, shorter than a real one."""
    out = bytearray((0x79, 3 * len(cells)))
    for index in range(len(cells)):
        out += bytes((index + 1, cells[index] >> 8, cells[index] & 255))
    values = [(0x80, 2, 35), (0x81, 2, 25), (0x82, 2, 24), (0x83, 2, sum(cells) // 10),
              (0x84, 2, raw_84), (0x85, 1, 50), (0x86, 1, 2), (0x87, 2, 7), (0x89, 4, 0),
              (0x8A, 2, len(cells)), (0x8B, 2, 0), (0x8C, 2, 3), (0x97, 2, 100), (0x99, 2, 60),
              (0xAA, 4, 100), (0xB7, 15, int.from_bytes(b"11.XW_S11.26___", "big"))]
    if protocol is not None:
        values.append((0xC0, 1, protocol))
    for identity, size, value in values:
        value = changes.get("r%02x" % identity, value)
        if identity not in drop:
            out += bytes((identity,)) + value.to_bytes(size, "big")
    return bytes(out) + extra


def taken(frame):
    protocol = jk.JKProtocol()
    assert protocol.feed(frame) == frame and protocol.fits(frame, 6)
    assert protocol.explain(frame, 6) == ""
    reading = Reading()
    assert protocol.take(frame, 6, reading)
    return reading


def refuses(data):
    frame = reply(data)
    protocol = jk.JKProtocol()
    assert protocol.feed(frame) == frame
    return refused(protocol, frame, 6, Reading())


def test_golden_requests():
    protocol = jk.JKProtocol()
    # esphome-jk-bms docs/protocol-design.md, and issue 404 for the switches
    assert protocol.request(6) == raw("4e570013000000000603000000000000680000 0129")
    auth, off, on = protocol.fets_requests(1)
    assert off == raw("4e5700140000000002 0300ac000000000068000001d2")
    assert on == raw("4e5700140000000002 0300ab010000000068000001d2")
    assert protocol.fets_requests(2)[1:] == (
        raw("4e5700140000000002 0300ac010000000068000001d3"),
        raw("4e5700140000000002 0300ab000000000068000001d1"))
    assert auth[8] == 5 and auth[:4] == off[:4]


def test_a_captured_frame():
    reading = taken(CAPTURED)
    assert (reading.pack_mv, reading.current_ma, reading.soc_bp) == (53_590, -2080, 1500)
    assert (reading.cell_count, reading.cell_mv_min, reading.cell_mv_max) == (14, 3811, 3835)
    assert (reading.cell_index_min, reading.cell_index_max) == (8, 11)
    assert reading.cell_mv_sum == 53_595
    assert (reading.temperature_mdegc_min, reading.temperature_mdegc_max) == (28_000, 30_000)
    assert (reading.ntc_index_min, reading.ntc_index_max) == (1, 0)
    assert (reading.fets, reading.errors, reading.cycle_count) == (3, 0, 4)
    assert (reading.full_mah, reading.remaining_mah) == (14_000, 2100)
    assert (reading.current_ma_discharge_bms, reading.current_ma_charge_bms) == (7000, 5000)
    assert reading.model == "H6.X__S6.1.3S" and reading.balancing == 0


def test_the_vendors_example_has_the_old_encoding():
    reading = taken(EXAMPLE)
    assert (reading.pack_mv, reading.current_ma, reading.soc_bp) == (76_120, 0, 7100)
    assert (reading.cell_count, reading.fets, reading.ntc_count) == (20, 3, 2)
    assert (reading.cell_mv_min, reading.cell_index_min) == (3738, 11)
    assert reading.model == "NW_1_0_0_200428"
    # the checksum as printed is found out
    assert feed_all(jk.JKProtocol(), [EXAMPLE[:-2] + b"\x49\x23"]) == []


def test_a_frame_that_came_damaged_is_found_out():
    assert feed_all(jk.JKProtocol(), [DAMAGED]) == []
    assert feed_all(jk.JKProtocol(), [DAMAGED, CAPTURED]) == [CAPTURED]


def test_both_current_encodings_for_every_raw_value():
    for value in range(0x10000):
        # C0 = 1: the highest bit says charge, and charge is negative here
        size = (value % 0x8000) * 10
        assert jk.current_ma_of(value, 1) == (-size if value >= 0x8000 else size)
        # C0 = 0: (10000 - 11000) * 0.01 A is discharge, and discharge is positive here
        assert jk.current_ma_of(value, 0) == value * 10 - 100_000
    # the vendor's text: discharging 20 A is 07D0, charging 20 A is 87D0; and the older one
    assert taken(reply(row(raw_84=0x07D0))).current_ma == 20_000
    assert taken(reply(row(raw_84=0x87D0))).current_ma == -20_000
    for protocol in (0, None):
        assert taken(reply(row(raw_84=11000, protocol=protocol))).current_ma == 10_000
        assert taken(reply(row(raw_84=9500, protocol=protocol))).current_ma == -5000
    assert refuses(row(protocol=2)) == "protocol"


def test_temperatures_below_zero():
    for value, mdegc in ((0, 0), (1, 1000), (99, 99_000), (100, 100_000), (101, -1000),
                         (140, -40_000)):
        assert jk.mdegc_of(value) == mdegc
    reading = taken(reply(row(r81=105, r82=110)))
    assert (reading.temperature_mdegc_min, reading.temperature_mdegc_max) == (-10_000, -5000)
    reading = taken(reply(row(r81=20, r82=30)))
    assert (reading.ntc_index_min, reading.ntc_index_max) == (0, 1)
    # one thermometer only: the other one's value says nothing
    reading = taken(reply(row(r86=1, r82=0xFFFF)))
    assert reading.temperature_mdegc_min == reading.temperature_mdegc_max == 25_000
    assert (reading.ntc_index_min, reading.ntc_index_max) == (0, 0)
    for bad in (row(r81=141), row(r82=0xFFFF), row(r86=0), row(r86=9)):
        refuses(bad)


def test_impossible_values_change_nothing():
    for data in (
        row(r83=199), row(r83=20_001), row(r85=101), row(raw_84=0xFFFF, protocol=1, r85=255),
        row(cells=(3200,) * 15 + (499,)), row(cells=(5001,) + (3200,) * 15),
        row(cells=(3200,) * 33), row(cells=()), row(raa=100_001),
        b"\x79\x04\x01\x0c\x80\x00" + row(drop=(0x79,))[50:],
        row(extra=b"\xc1\x00"), row(extra=b"\x8d\x00\x00"), row(extra=b"\x85\x32"),
        row(extra=b"\x00"), row(extra=b"\xb4\x00"), row()[:-1], row()[1:], b"", b"\x79",
    ):
        refuses(data)
    for identity in (0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x8B, 0x8C):
        assert refuses(row(drop=(identity,))) == "missing id"
    assert refuses(row()[50:]) == "cell count"


def test_what_a_frame_may_lack():
    reading = taken(reply(row(drop=(0x80, 0x87, 0x89, 0x8A, 0x97, 0x99, 0xAA, 0xB7))))
    assert reading.full_mah == 0 and reading.cycle_count == 0 and reading.model == ""
    assert reading.current_ma_discharge_bms == reading.current_ma_charge_bms == 1_000_000
    assert taken(reply(row(r97=2000))).current_ma_discharge_bms == 1_000_000
    assert taken(reply(row(r97=0))).current_ma_discharge_bms == 1_000_000


def test_every_error_bit():
    protocol = jk.JKProtocol()
    for bit in range(16):
        reading = taken(reply(row(r8b=1 << bit)))
        assert reading.protecting == (1 <= bit <= 13)
        assert len(protocol.error_names(reading.errors)) == (1 if bit <= 13 else 0)
    assert len(protocol.error_names(0xFFFF)) == 14


def test_every_cell_count():
    for count in range(1, 33):
        reading = taken(reply(row(cells=tuple([3200 + index for index in range(count)]))))
        assert reading.cell_count == count and reading.cell_mv_max == 3199 + count


def test_decoding_allocates_nothing():
    protocol = jk.JKProtocol()
    reading = taken(CAPTURED)
    protocol.take(CAPTURED, 6, reading)
    gc.collect()
    heap_lock()
    try:
        protocol.take(CAPTURED, 6, reading)
    finally:
        heap_unlock()
    assert reading.current_ma == -2080


# ---- frames ----


def test_frames_in_any_pieces():
    assert split_everywhere(jk.JKProtocol, CAPTURED)
    short = reply(b"\xab", 2)
    assert feed_all(jk.JKProtocol(), [short + CAPTURED]) == [short, CAPTURED]
    survives_garbage(jk.JKProtocol(), CAPTURED)
    # too short to be a frame, and too long
    for size in (0, 5, 17, 0x7FFF):
        bad = b"NW" + bytes((size >> 8, size & 255)) + bytes(30)
        assert feed_all(jk.JKProtocol(), [bad, CAPTURED, CAPTURED])[-1:] == [CAPTURED]
    end = bytearray(CAPTURED)
    end[-5] ^= 1
    end[-1] ^= 1
    assert feed_all(jk.JKProtocol(), [bytes(end)]) == []


def test_every_single_flipped_bit_is_found():
    end = len(CAPTURED)
    for index, damaged in flips(CAPTURED):
        frames = feed_all(jk.JKProtocol(), [damaged])
        # the two bytes kept for a CRC are in no sum, and mean nothing
        assert frames == [] or end - 4 <= index < end - 2, index


def test_what_answers_what():
    protocol = jk.JKProtocol()
    assert not protocol.fits(reply(b"\xab", 2), 6) and protocol.fits(reply(b"\xab", 2), 2)
    # its own upload, and our own request, are no answers
    assert not protocol.fits(reply(row(), 6, 2), 6)
    assert not protocol.fits(protocol.request(6), 6)


# ---- the task ----


class Script:
    """A JK of 16 cells."""

    def __init__(self, hal):
        self.fets = 0
        self.unlocked_at = None
        self.line = Line(hal, lambda data: 2 + (data[2] << 8 | data[3]), self.answer)
        self.hal = hal

    def answer(self, request):
        assert sum(request[:-4]) & 0xFFFF == request[-2] << 8 | request[-1]
        if request[8] == 6:
            return reply(row(r8c=self.fets))
        if request[8] == 5:
            self.unlocked_at = self.hal.now_ms
            return None
        if self.unlocked_at is None or self.hal.now_ms - self.unlocked_at < 100:
            return None
        bit = 1 if request[11] == 0xAB else 2
        self.fets = self.fets & ~bit | (bit if request[12] else 0)
        return reply(request[11:12], 2)


def bench():
    hal = FakeHAL()
    script = Script(hal)
    driver = jk.JK(hal, hal.bms_uart)
    loop = Loop(hal)
    loop.add(driver.run())
    return hal, script, driver, loop


def test_the_task_reads_and_switches():
    hal, script, driver, loop = bench()
    loop.run_until(3000)
    reading = driver.reading
    assert reading.valid and reading.cells_valid and driver.error_count == 0, driver.last_error
    assert reading.model == "11.XW_S11.26" and reading.cell_count == 16
    for wish in (3, 2, 1, 0):
        driver.want_fets(wish)
        loop.run_until(hal.now_ms + 1200)
        assert script.fets == wish == reading.fets and driver.fets_proven
    times = script.line.times
    assert min([times[index] - times[index - 1] for index in range(1, len(times))]) >= 100
    assert not loop.failures and driver.error_count == 0


def test_a_silent_jk_says_where_to_look():
    _hal, script, driver, loop = bench()
    script.line.silent = True
    loop.run_until(4000)
    assert "baud 115200; a JK that sleeps" in driver.last_error


def test_an_echo_on_the_line():
    _hal, script, driver, loop = bench()
    script.line.echo = True
    driver.want_fets(3)
    loop.run_until(5000)
    assert driver.reading.fets == 3 and driver.error_count == 0


def test_open_now_sends_all_twice():
    hal = FakeHAL()
    driver = jk.JK(hal, hal.bms_uart)
    driver.open_now()
    assert hal.bms_uart.sent == [b"".join(jk.JKProtocol().fets_requests(0)) * 2]
