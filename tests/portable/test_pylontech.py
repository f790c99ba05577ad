"""Check the Pylontech driver: ASCII frames, limits and FETs, refusals, its task on a script."""

from fakes import FakeHAL, Loop
from line_script import Line, feed_all, flips, refused, split_everywhere, survives_garbage

from element.bms import pylontech
from element.bms.base import Reading
from element.protocol.errors import RangeError

# zivillian/esp32-pylontech, pages.cpp: what a US3000C answered
ANALOG = (b"~20024600F07A00020F0D0B0D0D0D0A0D0E0D0A0D0A0D0A0D0B0D0B0D0B0D0B0D0C0D0A0D0D0D0A050BBD"
          b"0BAE0BAB0BAB0BAD0017C3A7FFFF04FFFF003700C394012110E21E\r")
ALARMS = b"~20024600A04200020F000000000000000000000000000000050000000000000000000E40000000F105\r"
LIMITS = b"~20024600B01402D002AFC80172FE8EC0F91C\r"
MAKER = (b"~20024600C04055533330303043000000010350796C6F6E2D2D2D2D2D2D2D2D2D2D2D2D2D2D2DEFC0\r")
# Frankkkkk/python-pylontech, tests: a UP2500
UP2500 = (b"~20024600D05E1002080D020D020D020D030D000D010D010D03050B7D0B690B690B690B73FFFA680EFFFF"
          b"04FFFF00000174E401B198E906\r")
UP2500_LIMITS = b"~20024600B014026EF05AA0022BFDD5C0F915\r"
# INFO of PYLON low voltage protocol V3.3, section 4 (its printed checksum, E1A2, does not fit),
# and of a module of the two-byte kind (the first of three in python-pylontech's tests, alone)
EXAMPLE = (b"11020F0D450D440D450D440D450D440D3E0D450D4A0D4A0D4B0D4A0D4A0D4A0D4A050BC30BC30BC30BCD"
           b"0BCD0000C725FFFF04FFFF000200CA58012110")
SMALL = (b"11020F0CE70CE80CE60CE70CE80CE80CE80CE60CE50CE60CE80CE70CEA0CE50CE6050B910B870B870B870B"
         b"87FFE6C18982DC02C350001F")


def frame(info=b"", code=0, address=2):
    """Return an answer, its sums worked out from the text of the protocol."""
    size = len(info)
    nibble = (16 - ((size & 15) + (size >> 4 & 15) + (size >> 8)) % 16) % 16 if size else 0
    body = b"20%02X46%02X%X%03X" % (address, code, nibble, size) + info
    total = 0x10000 - sum(body) % 0x10000
    return b"~" + body + b"%04X" % (total & 0xFFFF) + b"\r"


def words(values):
    return b"".join([b"%04X" % (value & 0xFFFF) for value in values])


def analog(cells=(3300,) * 15, temperatures=(3011, 2981, 2982, 2980, 2981), current=0,
           pack_mv=None, remaining=25_000, full=50_000, big=False, cycles=7, address=2):
    pack_mv = sum(cells) if pack_mv is None else pack_mv
    info = b"00%02X%02X" % (address, len(cells)) + words(cells) + b"%02X" % len(temperatures)
    info += words(temperatures) + words((current, pack_mv))
    if big:
        return frame(info + b"FFFF04FFFF%04X%06X%06X" % (cycles, remaining, full), address=address)
    return frame(info + b"%04X02%04X%04X" % (remaining, full, cycles), address=address)


def alarms(cells=(0,) * 15, temperatures=(0,) * 5, values=(0, 0, 0),
           status=(0, 0x0E, 0, 0, 0), extra=b""):
    info = [0, 2, len(cells)] + list(cells) + [len(temperatures)] + list(temperatures)
    info += list(values) + list(status)
    return frame(b"".join([b"%02X" % value for value in info]) + extra)


def limits(charge=370, discharge=370, status=0xC0):
    return frame(b"02" + words((53_250, 45_000, charge, -discharge)) + b"%02X" % status)


def taken(text, kind, reading=None, address=2):
    reading = Reading() if reading is None else reading
    protocol = pylontech.PylontechProtocol(address)
    found = protocol.feed(text)
    assert found == text and protocol.fits(found, kind), text
    assert protocol.explain(found, kind) == "" and protocol.take(found, kind, reading)
    return reading


def test_golden_requests():
    protocol = pylontech.PylontechProtocol()
    assert protocol.request(0x42) == b"~20024642E00202FD33\r"  # V3.3, section 4
    for kind in (0x44, 0x92):
        assert protocol.request(kind)[7:9] == b"%02X" % kind
    assert protocol.request(0x51)[9:13] == b"0000"
    assert frame(b"02", 0x42) == protocol.request(0x42)
    # V3.3, section 2.3.3
    assert pylontech.frame_of(0x34, 4, b"") == frame(b"", 4, 0x34)
    assert protocol.fets_requests(0) == () and not protocol.can_switch
    for address in (1, 0, -1, 0x7E):
        try:
            pylontech.PylontechProtocol(address)
            raise AssertionError("accepted")
        except RangeError as error:
            assert error.value == address


def test_captured_answers():
    reading = taken(ANALOG, 0x42)
    assert (reading.pack_mv, reading.current_ma, reading.soc_bp) == (50_087, -2300, 6765)
    assert (reading.remaining_mah, reading.full_mah, reading.cycle_count) == (50_068, 74_000, 55)
    assert (reading.cell_count, reading.cell_mv_min, reading.cell_mv_max) == (15, 3338, 3342)
    assert (reading.cell_index_min, reading.cell_index_max) == (2, 3)
    # the board's 27.4 degC is left out
    assert (reading.temperature_mdegc_min, reading.temperature_mdegc_max) == (25_600, 25_900)
    assert (reading.ntc_count, reading.ntc_index_min, reading.ntc_index_max) == (4, 1, 0)
    taken(ALARMS, 0x44, reading)
    assert (reading.errors, reading.protecting, reading.fets) == (0, False, 3)
    taken(LIMITS, 0x92, reading)
    assert reading.current_ma_charge_bms == reading.current_ma_discharge_bms == 37_000
    assert reading.fets == 3
    assert taken(MAKER, 0x51).model == "US3000C"


def test_other_models():
    reading = taken(UP2500, 0x42)
    assert (reading.cell_count, reading.pack_mv, reading.current_ma) == (8, 26_638, 600)
    assert (reading.remaining_mah, reading.full_mah, reading.soc_bp) == (95_460, 111_000, 8600)
    taken(UP2500_LIMITS, 0x92, reading)
    assert reading.current_ma_charge_bms == reading.current_ma_discharge_bms == 55_500
    reading = taken(frame(EXAMPLE), 0x42)
    assert (reading.pack_mv, reading.remaining_mah, reading.full_mah) == (50_981, 51_800, 74_000)
    reading = taken(frame(SMALL), 0x42)
    assert (reading.pack_mv, reading.current_ma, reading.soc_bp) == (49_545, 2600, 6700)
    assert (reading.remaining_mah, reading.full_mah, reading.cycle_count) == (33_500, 50_000, 31)


def test_the_sign_of_the_current_for_every_raw_value():
    for value in range(0x10000):
        vendor = value - 0x10000 if value >= 0x8000 else value
        assert pylontech.current_ma_of(value) == vendor * -100
    # V3.3, section 3.3: -4000 mA is FFD8, and negative is discharge
    assert taken(analog(current=0xFFD8), 0x42).current_ma == 4000
    assert taken(analog(current=10_000), 0x42).current_ma == -1_000_000


def test_impossible_values_change_nothing():
    protocol = pylontech.PylontechProtocol()
    for text in (
        analog(current=10_001), analog(current=-10_001), analog(pack_mv=1999),
        analog(temperatures=()), analog(temperatures=(2981,) * 10),
        analog(temperatures=(2981, 2280)), analog(temperatures=(2981, 4032)),
        analog(cells=(3300,) * 14 + (499,)), analog(cells=(5001,) * 8),
        analog(remaining=52_501), analog(full=0, remaining=0),
        analog(full=0, remaining=0, big=True),
    ):
        assert protocol.feed(text) == text and protocol.fits(text, 0x42)
        refused(protocol, text, 0x42, Reading())
    for text in (limits(charge=-1), limits(discharge=-1), limits(charge=10_001)):
        assert protocol.fits(text, 0x92)
        reading = Reading()
        reading.fets = 3
        refused(protocol, text, 0x92, reading)
    # at the edges
    assert taken(analog(remaining=52_500), 0x42).soc_bp == 10_000
    assert taken(analog(remaining=0), 0x42).soc_bp == 0
    assert taken(analog(temperatures=(2281,)), 0x42).temperature_mdegc_max == -45_000
    assert taken(limits(charge=10_000, discharge=0), 0x92).current_ma_discharge_bms == 0


def test_each_cell_count():
    for count in range(1, 17):
        for big in (False, True):
            text = analog(cells=tuple([3300 + index for index in range(count)]), big=big)
            reading = taken(text, 0x42)
            assert reading.cell_count == count and reading.cell_index_max == count - 1


def test_what_the_battery_permits():
    for status in range(256):
        reading = Reading()
        taken(alarms(), 0x44, reading)
        taken(limits(250, 740, status), 0x92, reading)
        assert reading.fets == (status >> 7) + (status >> 6 & 1) * 2
        assert reading.current_ma_charge_bms == (25_000 if status & 0x80 else 0)
        assert reading.current_ma_discharge_bms == (74_000 if status & 0x40 else 0)
    for status in range(8):
        reading = Reading()
        taken(alarms(status=(0, status << 1, 0, 0, 0)), 0x44, reading)
        taken(limits(), 0x92, reading)
        assert reading.fets == status & 3


def test_every_alarm_protects_and_has_a_name():
    protocol = pylontech.PylontechProtocol()
    for text, names in (
        [(alarms(status=(1 << bit, 0x0E, 0, 0, 0)), 0 if bit == 3 else 1) for bit in range(8)]
        + [(alarms(cells=(0,) * 14 + (value,)), 1) for value in (1, 2, 0xF0)]
        + [(alarms(temperatures=(0, 0, 0, 0, 2)), 1), (alarms(values=(2, 0, 0)), 1),
           (alarms(values=(0, 1, 0)), 1), (alarms(values=(0, 0, 2)), 1),
           (alarms(status=(0, 14, 0, 1, 0)), 1), (alarms(status=(0, 14, 0, 0, 0x80)), 1)]
    ):
        reading = taken(text, 0x44)
        assert reading.protecting and len(protocol.error_names(reading.errors)) == names
    assert protocol.error_names(taken(alarms(values=(2, 1, 2)), 0x44).errors) == [
        "charge current alarm", "pack voltage alarm", "discharge current alarm"]
    # Status 2, 3 and a byte behind Status 5 are no alarms
    assert not taken(alarms(status=(0, 0xFF, 0xFF, 0, 0), extra=b"FF"), 0x44).protecting


def test_a_refusal_says_what_to_do():
    protocol = pylontech.PylontechProtocol()
    for code, word in ((1, "version"), (2, "checksum"), (3, "length"), (4, "command not known"),
                       (5, "malformed"), (6, "invalid"), (0x90, "DIP switches"),
                       (0x91, "link cables"), (0x77, "does not name it")):
        text = frame(b"", code)
        assert protocol.feed(text) == text and protocol.fits(text, 0x42)
        said = protocol.explain(text, 0x42)
        assert word in said and "code %02x" % code in said
    assert "DIP switches" in protocol.explain(None, 0x42)


# ---- frames ----


def test_frames_in_any_pieces():
    assert split_everywhere(pylontech.PylontechProtocol, LIMITS)
    assert feed_all(pylontech.PylontechProtocol(), [ANALOG + LIMITS]) == [ANALOG, LIMITS]
    survives_garbage(pylontech.PylontechProtocol(), ANALOG)


def test_every_single_flipped_bit_is_found():
    for text in (LIMITS, ALARMS):
        for _index, damaged in flips(text):
            assert feed_all(pylontech.PylontechProtocol(), [damaged]) == [], damaged
    # two errors whose sum is the same: what is no hex digit is found, too
    for bad in (LIMITS.replace(b"D002", b"C102"), LIMITS.replace(b"02D0", b"0/D1")):
        found = feed_all(pylontech.PylontechProtocol(), [bad])
        assert found == ([bad] if b"/" not in bad else [])
    odd = b"~20024600F001" + b"0" + b"FD00\r"
    assert feed_all(pylontech.PylontechProtocol(), [odd, LIMITS, LIMITS])[-1:] == [LIMITS]
    lower = LIMITS.replace(b"F91C", b"f91c")
    assert feed_all(pylontech.PylontechProtocol(), [lower]) == []


def test_what_answers_what():
    protocol = pylontech.PylontechProtocol()
    good = {0x42: analog(), 0x44: alarms(), 0x92: limits(), 0x51: MAKER}
    for kind in good:
        for other in good:
            assert protocol.fits(good[kind], other) == (kind == other)
        assert not protocol.fits(protocol.request(kind), kind)  # an echo is no answer
        assert not pylontech.PylontechProtocol(3).fits(good[kind], kind)
    # a cell voltage where 44 counts its thermometers makes an answer to 42 as long as one to 44
    for low in range(256):
        text = analog(cells=(3300,) * 7 + (0x0D00 + low,) + (3300,) * 7)
        assert not protocol.fits(text, 0x44)
    for info in (b"", b"00020F", b"000200" + bytes((48,)) * 40, b"000221" + bytes((48,)) * 40,
                 b"00030F" + bytes((48,)) * 60, b"000209" + bytes((48,)) * 18,
                 b"00020A" + bytes((48,)) * 20):
        for kind in (0x42, 0x44):
            assert not protocol.fits(frame(info), kind), info
    assert not protocol.fits(frame(b"03" + b"0" * 18), 0x92)
    assert not protocol.fits(frame(b"02" + b"0" * 16), 0x92)


# ---- the task ----


class Script:
    """A Pylontech battery."""

    def __init__(self, hal, address=2):
        self.answers = {0x42: analog(big=True, full=100_000, remaining=50_000), 0x44: alarms(),
                        0x92: limits(), 0x51: MAKER}
        self.line = Line(hal, lambda data: data.find(b"\r") + 1, self.answer)

    def answer(self, request):
        return self.answers.get(int(request[7:9], 16))


def bench():
    hal = FakeHAL()
    script = Script(hal)
    driver = pylontech.Pylontech(hal, hal.bms_uart)
    loop = Loop(hal)
    loop.add(driver.run())
    return hal, script, driver, loop


def test_the_task_reads_and_never_writes():
    hal, script, driver, loop = bench()
    assert not driver.fets_proven
    loop.run_until(3000)
    reading = driver.reading
    assert reading.valid and reading.cells_valid and driver.error_count == 0, driver.last_error
    assert reading.model == "US3000C" and reading.fets == 3 and reading.soc_bp == 5000
    for wish in (0, 3, 1):
        driver.want_fets(wish)
        assert driver.fets_proven and driver.fets_wanted == wish
        loop.run_until(hal.now_ms + 700)
    driver.open_now()
    loop.run_until(hal.now_ms + 700)
    kinds = [request[7:9] for request in script.line.requests]
    assert all(kind in (b"42", b"44", b"92", b"51") for kind in kinds) and not loop.failures
    script.answers[0x92] = limits(status=0x40)
    loop.run_until(hal.now_ms + 700)
    assert reading.fets == 2 and reading.current_ma_charge_bms == 0 and driver.fets_proven


def test_a_group_is_taken_whole_or_not_at_all():
    _hal, script, driver, loop = bench()
    loop.run_until(3000)
    at_ms = driver.reading.at_ms
    script.answers[0x42] = analog(big=True, full=100_000, remaining=51_000)
    script.answers[0x92] = frame(b"", 0x91)
    loop.run_until(6000)
    assert driver.reading.soc_bp == 5000 and driver.reading.at_ms - at_ms < 600
    assert "link cables" in driver.last_error


def test_a_late_answer_is_not_taken_for_another():
    _hal, script, driver, loop = bench()
    loop.run_until(3000)
    # each answer comes with the next question: one behind
    answer = script.line.answer
    queue = [ALARMS]

    def late(request):
        queue.append(answer(request))
        return queue.pop(0)

    script.line.answer = late
    before = driver.skipped_count
    loop.run_until(4000)
    assert driver.skipped_count > before and driver.reading.protecting is False


def test_an_echo_on_the_line():
    _hal, script, driver, loop = bench()
    script.line.echo = True
    loop.run_until(3000)
    assert driver.reading.valid and driver.error_count == 0
    script.line.silent = True
    loop.run_until(9000)
    assert "RS-485 without direction control" in driver.last_error


def test_an_announced_tail_that_is_not_there_is_no_answer():
    # found by fuzzing: the flag of a large battery without the six bytes behind it
    good = pylontech.info_of(analog())
    for flag, extra, fits in ((2, b"", True), (4, b"", False), (4, bytes(6), True),
                              (2, bytes(6), False)):
        at = 3 + 2 * 15
        at += 1 + 2 * good[at] + 6
        info = good[:at] + bytes((flag,)) + good[at + 1:at + 5] + extra
        text = frame("".join(["%02X" % byte for byte in info]).encode())
        assert pylontech.PylontechProtocol().fits(text, 0x42) == fits, (flag, extra)
