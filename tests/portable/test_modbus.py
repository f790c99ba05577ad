"""Check the Modbus RTU client: frames, replies, echoes, noise, refusals, bounded waiting."""

from fakes import FakeHAL, Loop
from inverter_script import Script, sealed

from element.power.modbus import (
    DONE,
    EXCEPTION_NAMES,
    NO_ANSWER,
    REFUSED,
    REGISTERS_MAX,
    RETRIES_MAX,
    THINK_MS_MAX,
    Exchange,
    Line,
    crc16,
    exception_name,
)
from element.protocol.errors import RangeError


def hexed(text):
    return bytes(int(pair, 16) for pair in text.split())


def test_crc_of_published_frames():
    # Modbus over Serial Line V1.02, appendix B: 02 07 has the CRC 12 41 on the wire
    assert crc16(hexed("02 07"), 2) == 0x1241
    assert sealed(bytearray(hexed("02 07"))) == hexed("02 07 41 12")
    assert crc16(b"123456789", 9) == 0x4B37  # CRC-16/MODBUS, check value
    assert crc16(b"", 0) == 0xFFFF


def test_the_frames_of_the_three_functions():
    exchange = Exchange(0x11)
    exchange.read(0x006B, 3)
    assert exchange.request == hexed("11 03 00 6B 00 03 76 87")
    exchange.write_one(0x0001, 0x0003)
    assert exchange.request == hexed("11 06 00 01 00 03 9A 9B")
    exchange.write(0x0001, (0x000A, 0x0102))
    assert exchange.request == hexed("11 10 00 01 00 02 04 00 0A 01 02 C6 F0")
    for wrong in (-1, 0x10000):
        for ask in (lambda: exchange.read(wrong, 1), lambda: exchange.write_one(1, wrong),
                    lambda: exchange.write(1, [wrong])):
            try:
                ask()
            except RangeError:
                continue
            raise AssertionError(wrong)


def test_a_read_is_answered_whole_or_in_pieces():
    reply = hexed("11 03 06 AE 41 56 52 43 40 49 AD")
    for cut in range(len(reply) + 1):
        exchange = Exchange(0x11)
        exchange.read(0x006B, 3)
        assert exchange.feed(reply[:cut]) is (cut == len(reply))
        if cut < len(reply):
            assert exchange.feed(reply[cut:])
        assert exchange.values == [0xAE41, 0x5652, 0x4340] and exchange.exception == 0
        assert not exchange.echoed


def test_what_does_not_fit_is_no_answer():
    good = hexed("11 03 06 AE 41 56 52 43 40 49 AD")
    exchange = Exchange(0x11)
    for index in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[index] ^= 1 << bit
            exchange.read(0x006B, 3)
            assert not exchange.feed(bytes(bad)), (index, bit)
    for frame in (sealed(bytearray(hexed("12 03 06 AE 41 56 52 43 40"))),  # another address
                  sealed(bytearray(hexed("11 03 04 AE 41 56 52"))),  # shorter than asked
                  sealed(bytearray(hexed("11 03 08 AE 41 56 52 43 40 00 00"))),  # longer
                  sealed(bytearray(hexed("11 04 06 AE 41 56 52 43 40"))),  # another function
                  sealed(bytearray(hexed("11 90 02"))), b"", b"\x11\x03"):
        exchange.read(0x006B, 3)
        assert not exchange.feed(frame)
    assert exchange.feed(good[2:]), "the pieces belong together"


def test_writes_are_answered_with_what_was_asked():
    exchange = Exchange(1)
    exchange.write(0x9C9A, (1, 1, 0, 1500))
    assert not exchange.feed(sealed(bytearray(hexed("01 10 9C 9A 00 03"))))
    assert exchange.feed(sealed(bytearray(hexed("01 10 9C 9A 00 04"))))
    exchange.write_one(5, 1)
    assert not exchange.feed(sealed(bytearray(hexed("01 06 00 05 00 00"))))
    assert exchange.feed(exchange.request)


def test_a_refusal_is_an_answer():
    for code in (1, 2, 3, 4, 6, 11):
        exchange = Exchange(1)
        exchange.read(0, 2)
        assert not exchange.feed(hexed("01 83 %02X 00 00" % code))
        assert exchange.feed(sealed(bytearray((1, 0x83, code))))
        assert exchange.exception == code and exchange.values == []
        assert exception_name(code) == EXCEPTION_NAMES[code] != "none"
    assert exception_name(12) == "code 12" and exception_name(-1) == "code -1"


def test_noise_before_an_answer_is_skipped():
    exchange = Exchange(0x11)
    exchange.read(0x006B, 3)
    assert exchange.feed(b"\x00\x11\xff\x11\x03\x11" + hexed("11 03 06 AE 41 56 52 43 40 49 AD"))
    assert exchange.skipped_count == 6


def test_a_line_that_babbles_is_bounded_and_still_heard():
    exchange = Exchange(0x11)
    exchange.read(0x006B, 3)
    for _ in range(100):
        assert not exchange.feed(b"\x11\x03\x55" * 50)
        assert len(exchange._received) <= 2 * (5 + 2 * REGISTERS_MAX)
    assert exchange.feed(hexed("11 03 06 AE 41 56 52 43 40 49 AD"))


def test_an_echo_is_no_answer():
    exchange = Exchange(0x11)
    exchange.read(0x006B, 3)
    assert not exchange.feed(exchange.request)
    assert exchange.feed(hexed("11 03 06 AE 41 56 52 43 40 49 AD")) and exchange.echoed
    # a single write is answered by itself: on this line it must come twice
    exchange.write_one(1, 3)
    assert not exchange.feed(exchange.request[:5])
    assert not exchange.feed(exchange.request[5:])
    assert exchange.feed(exchange.request)
    exchange.write(1, (3,))
    assert not exchange.feed(exchange.request)
    assert exchange.feed(sealed(bytearray(exchange.request[:6])))
    # a damaged echo in front: sooner asked again than taken for the answer
    exchange.write_one(1, 3)
    assert not exchange.feed(b"\x00\x00" + exchange.request)
    # and when the echo is gone it is forgotten with the next read
    exchange.read(0x006B, 3)
    assert exchange.feed(hexed("11 03 06 AE 41 56 52 43 40 49 AD")) and not exchange.echoed
    exchange.write_one(1, 3)
    assert exchange.feed(exchange.request)


# ---- on a line ----


class Wired:
    """A line with a script at its end."""

    def __init__(self):
        self.hal = FakeHAL(1000)
        self.script = Script(self.hal)
        self.line = Line(self.hal, self.hal.stage_uart, 1, 19200)
        self.ended = None
        self.urgent = False

    def ask(self, **how):
        loop = Loop(self.hal)

        async def task():
            self.ended = await self.line.transact(**how)
            self.took_ms = self.hal.now_ms - began

        began = self.hal.now_ms
        loop.add(task())
        loop.run_until(began + 2000)
        return self.ended


def test_transactions_end_in_bounded_time():
    wired = Wired()
    wired.line.exchange.read(40000, 2)
    assert wired.ask() == DONE and wired.line.exchange.values == [0x5375, 0x6E53]
    assert wired.took_ms <= 10
    wired.line.exchange.read(30000, 2)
    assert wired.ask() == REFUSED and wired.line.exchange.exception == 2
    wired.script.silent = True
    wired.line.exchange.read(40000, 2)
    assert wired.ask() == NO_ANSWER
    assert wired.took_ms <= (1 + RETRIES_MAX) * (THINK_MS_MAX + 20)
    assert len(wired.script.requests) == 3 + RETRIES_MAX
    line = wired.line
    assert (line.answered_count, line.refused_count, line.missed_count) == (2, 1, 1 + RETRIES_MAX)


def test_a_lost_reply_is_asked_for_again():
    wired = Wired()
    wired.script.lost = RETRIES_MAX
    wired.line.exchange.write_one(wired.script.at[703] + 2, 1)
    assert wired.ask() == DONE and wired.line.missed_count == RETRIES_MAX


def test_what_is_urgent_ends_the_tries_and_no_try():
    wired = Wired()
    wired.script.silent = True
    wired.line.exchange.read(40000, 2)
    assert wired.ask(give_up=lambda: True) == NO_ANSWER
    assert len(wired.script.requests) == 1 and wired.took_ms >= THINK_MS_MAX
    assert wired.ask(tries=2, give_up=lambda: False) == NO_ANSWER
    assert len(wired.script.requests) == 3


def test_a_line_is_left_in_peace_for_a_late_answer_to_die():
    wired = Wired()
    wired.script.lost = 1
    wired.line.exchange.read(40000, 2)
    assert wired.ask(quiet_ms=1500) == DONE and wired.took_ms > 1500


def test_what_came_before_is_not_taken_for_the_answer():
    wired = Wired()
    stale = sealed(bytearray(hexed("01 03 04 11 11 22 22")))
    wired.hal.stage_uart.put(stale)
    wired.line.exchange.read(40000, 2)
    assert wired.ask() == DONE and wired.line.exchange.values == [0x5375, 0x6E53]


def test_noise_and_echo_on_the_line():
    wired = Wired()
    wired.script.echo = True
    wired.script.noise = b"\x01\x03\xfe"
    wired.line.exchange.read(40000, 2)
    assert wired.ask() == DONE and wired.line.exchange.echoed
    wired.line.exchange.write_one(wired.script.at[703] + 2, 1)
    assert wired.ask() == DONE
    wired.script.silent = True
    wired.line.exchange.write_one(wired.script.at[703] + 2, 0)
    assert wired.ask() == NO_ANSWER, "its own echo confirmed a write"
