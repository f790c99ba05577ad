"""The rp2 port in the emulated RP2040: the stock image, its real registers, its 240 KB."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from element.protocol import codes
from hil.bench.rp2040.pico import RESET_TIMER, Build, Pico
from tests.hil.pico_shell import INTERLOCK, ROOT, PicoShell, install

ENABLE, PRECHARGE, DISCHARGE, CHARGE, LED = 2, 8, 6, 7, 25
OUTPUTS = 1 << ENABLE | 1 << PRECHARGE | 1 << DISCHARGE | 1 << CHARGE
BROKEN_MA = 1_000_000
WATCHDOG_MS = 2000
BOARD = (ROOT / "boards" / "rpi_pico" / "board.py").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flash with the HAL on it."""
    folder = tmp_path_factory.mktemp("image")
    with Pico(Build.of_checkout(), folder / "flash.bin", log=folder / "log") as pico:
        install(pico, BOARD, folder)
    return folder / "flash.bin"


@pytest.fixture
def pico(image: Path, tmp_path: Path) -> Iterator[Pico]:
    """A board with it, not switched on."""
    shutil.copy(image, tmp_path / "flash.bin")
    with Pico(Build.of_checkout(), tmp_path / "flash.bin", log=tmp_path / "log") as pico:
        yield pico


@pytest.fixture
def hal(pico: Pico) -> PicoShell:
    """A board that is up."""
    shell = PicoShell(pico)
    pico.power_on()
    shell.ready()
    return shell


def test_outputs_are_never_high_before_they_are_asked_to_be(pico: Pico) -> None:
    shell = PicoShell(pico)
    state = pico.power_on()
    assert state.enable_mask & OUTPUTS == 0  # inputs: the pull-downs hold them
    seen_high = 0
    for _ in range(60):
        seen_high |= shell.run(10).seen_high
    shell.ready()
    state = shell.run(10)
    assert (seen_high | state.seen_high) & (OUTPUTS | 1 << LED) == 0
    assert state.pin(ENABLE) is False and state.pin(PRECHARGE) is False
    assert state.duty(DISCHARGE) == state.duty(CHARGE) == 0.0
    assert not state.watchdog


def test_outputs_follow_and_are_read_back(hal: PicoShell) -> None:
    for on in (True, False):
        hal(f"hal.enable_set({on}), hal.precharge_set({on})")
        state = hal.run(1)
        assert (state.pin(ENABLE), state.pin(PRECHARGE), state.pin(LED)) == (on, on, on)
        assert hal("hal.enable_is()") == str(on)


def test_duty_is_one_sided_and_signed(hal: PicoShell) -> None:
    for permille, sides in ((500, (0.5, 0)), (-250, (0, 0.25)), (1000, (1, 0)), (-1, (0, 0.001)),
                            (-3000, (0, 1)), (0, (0, 0))):
        hal(f"hal.duty_set({permille})")
        state = hal.run(1)
        assert state.duty(DISCHARGE) == pytest.approx(sides[0], abs=0.0005)
        assert state.duty(CHARGE) == pytest.approx(sides[1], abs=0.0005)
    unit = hal.run(1).slices[DISCHARGE >> 1]
    assert hal.run(1).clock_hz / (unit.top + 1) == pytest.approx(20_000, rel=0.01)


SENSED_MV_MA = (
    (1650, 0), (1666, 1000), (1634, -1000), (2610, 60_000), (690, -60_000), (3200, 96_875),
    (100, -96_875), (0, BROKEN_MA), (3300, BROKEN_MA), (40, BROKEN_MA), (3260, BROKEN_MA))


def test_sensed_current(hal: PicoShell) -> None:
    """16 mV/A around 1650 mV, both rails are over-current; one step of the ADC is 50 mA."""
    for mv, ma in SENSED_MV_MA:
        hal.inputs.adc_raw = (round(mv / 3300 * 4095), 0, 0, 0, 876)
        hal.run(1)
        assert int(hal("hal.sense_ma()")) == pytest.approx(ma, abs=51), mv


def test_dc_link(hal: PicoShell) -> None:
    for mv in (0, 24_000, 51_200, 58_400, 82_000):
        hal.inputs.adc_raw = (2047, round(mv / 25 / 3300 * 4095), 0, 0, 876)
        hal.run(1)
        assert int(hal("hal.dc_link_mv()")) == pytest.approx(mv, abs=25), mv


def test_the_interlock_is_sound_only_when_closed(hal: PicoShell) -> None:
    for pins, sound in (({INTERLOCK: False}, "True"), ({INTERLOCK: True}, "False"),
                        ({}, "False"), ({INTERLOCK: False}, "True")):
        hal.inputs.pins = pins  # {}: the wire is broken, the pull-up alone drives the pin
        hal.run(1)
        assert hal("hal.interlock_ok()") == sound


def test_a_tick_allocates_nothing(hal: PicoShell) -> None:
    hal("hal.watchdog_feed()")  # the first one starts it
    for raw in (0, 100, 2047, 4000, 4095):
        hal.inputs.adc_raw = (raw, 4095, 0, 0, 876)
        hal.run(1)
        for call in ("hal.sense_ma()", "hal.dc_link_mv()", "hal.interlock_ok()",
                     "hal.enable_is()", "hal.enable_set(True)", "hal.duty_set(-999)",
                     "hal.duty_set(777)", "hal.precharge_set(True)", "hal.sense_age_ms()",
                     "hal.watchdog_feed()", "hal._look()", "hal._wait(3)"):
            out = hal(f"(micropython.heap_lock(), {call}, micropython.heap_unlock())[2]")
            assert out in ("None", "0"), f"{call}: {out}"


def test_a_starved_watchdog_switches_off_and_is_told_from_a_wanted_reset(hal: PicoShell) -> None:
    assert int(hal("hal.reset_cause()")) == codes.RESET_POWER_ON
    hal("hal.enable_set(True), hal.duty_set(500)")
    # it does not run without food for longer than WATCHDOG_MS, and feeds keep it
    for _ in range(3):
        hal("(time.sleep_ms(1500), hal.watchdog_feed())")
    assert hal.pico.state is not None and hal.pico.state.reset_count == 0
    fed_us = hal.pico.now_us
    hal.until(b"= ready", usb=b"time.sleep_ms(60000)\n")
    assert hal.pico.state.reset_count == 1
    assert hal.pico.now_us - fed_us < (WATCHDOG_MS + 1000) * 1000
    assert int(hal("hal.reset_cause()")) == codes.RESET_WATCHDOG
    state = hal.run(1)
    assert state.pin(ENABLE) is False and state.duty(DISCHARGE) == 0.0
    # a wanted one, although the watchdog runs and the last reset was its own
    hal("hal.enable_set(True)")
    hal.until(b"= ready", usb=b"hal.reset()\n")
    assert int(hal("hal.reset_cause()")) == codes.RESET_SOFTWARE
    hal.until(b"= ready", usb=b"machine.reset()\n")
    assert int(hal("hal.reset_cause()")) == codes.RESET_SOFTWARE
    # in charge of the watchdog, an unexpected reset is one that nobody asked for
    hal("hal.watchdog_feed()")
    hal.until(b"= ready", usb=b"machine.reset()\n")
    assert int(hal("hal.reset_cause()")) == codes.RESET_WATCHDOG
    hal.pico.power_off()
    hal.pico.power_on()
    hal.ready()
    assert int(hal("hal.reset_cause()")) == codes.RESET_POWER_ON


def test_the_reset_after_loading_an_image_is_no_trip(pico: Pico) -> None:
    """The boot ROM restarts the chip by the watchdog's timer when a UF2 has been copied."""
    shell = PicoShell(pico)
    pico.power_on(reset_reason=RESET_TIMER)
    shell.ready()
    assert int(shell("hal.reset_cause()")) == codes.RESET_SOFTWARE


def test_a_stuck_generator_makes_no_key(pico: Pico) -> None:
    shell = PicoShell(pico)
    pico.power_on()
    pico.set_entropy_stuck(True)
    said = shell.until(b">>> ")  # main.py ended: nothing runs, nothing conducts
    assert b"SignatureError" in said and b"entropy" in said, said
    state = shell.run(10)
    assert state.pin(ENABLE) is False and state.duty(DISCHARGE) == 0.0


def test_a_generator_that_gets_stuck_later_is_noticed_in_the_next_draw(hal: PicoShell) -> None:
    draws = {hal("hal.entropy(32)") for _ in range(5)}
    assert len(draws) == 5
    hal.pico.set_entropy_stuck(True)
    assert "SignatureError" in hal("hal.entropy(4)")


def test_uart_bytes_go_both_ways_without_loss_or_waiting(hal: PicoShell) -> None:
    every = bytes(range(256))
    hal.inputs.uart0 = every
    hal.run(300)  # 267 ms at 9600 baud
    assert hal("hal.bms_uart.read()") == repr(every)
    # 2000 bytes are two seconds on the line: the board goes on meanwhile
    before_us = hal.pico.now_us
    hal("hal.bms_uart.write(bytes(2000))")
    longest_ms = int(hal("max([(lambda t: (hal._wait(0), time.ticks_diff(time.ticks_ms(), t))[1])"
                         "(time.ticks_ms()) for _ in range(200)])"))
    assert longest_ms <= 3
    while len(hal.sent0) < 2000 and hal.pico.now_us - before_us < 4_000_000:
        hal.run(10)
    assert hal.sent0 == bytes(2000)
    # the gaps between its pieces cost less than a tenth
    assert 2_080_000 <= hal.pico.now_us - before_us < 2_300_000


def test_a_host_that_reads_nothing_stops_nothing(hal: PicoShell) -> None:
    """The cable's other end hangs: each look stays short, the old bytes are given up."""
    probe = ("[hal.link_uart.write(bytes(1000)) or (lambda t: (hal._wait(10), "
             "time.ticks_diff(time.ticks_ms(), t))[1])(time.ticks_ms()) for _ in range(100)]")
    hal.inputs.usb_plugged = True
    hal.run(5, (f"globals().update(took={probe})\n").encode())
    hal.inputs.usb_plugged = False
    hal.run(3000)
    hal.inputs.usb_plugged = True
    hal.run(1000)
    took = [int(one) for one in re.findall(r"\d+", hal("took"))]
    assert len(took) == 100 and max(took) <= 20, took
    assert int(hal("hal.link_uart.lost_count")) > 50_000


def test_one_plain_write_would_have_waited(hal: PicoShell) -> None:
    """Why the port writes byte by byte: the same host, the same image, one write."""
    hal.run(5, b"globals().update(took=(lambda t: (time.sleep_ms(50), "
               b"__import__('sys').stdout.buffer.write(bytes(600)), "
               b"time.ticks_diff(time.ticks_ms(), t))[2])(time.ticks_ms()))\n")
    hal.inputs.usb_plugged = False
    hal.run(3000)
    hal.inputs.usb_plugged = True
    hal.run(500)
    assert int(hal("took")) >= 500


def test_ctrl_c_is_a_byte(hal: PicoShell) -> None:
    hal.run(20, b"\x03\x03")
    assert "SyntaxError" in hal("1")  # the two bytes came before the 1; nothing was interrupted
    assert hal("1") == "1"
    hal("hal.repl_on()")
    hal.run(100, b"\x03")
    assert b"KeyboardInterrupt" in hal.until(b">>> ")


def test_the_log_goes_out_as_text_that_a_frame_may_follow(hal: PicoShell) -> None:
    hal.run(5, b"hal.log('[12] a line')\n")
    assert b"[12] a line\r\n\x00= None" in hal.until(b"= None")


def test_idle_is_idle(hal: PicoShell) -> None:
    """Two lines are looked at 200 times a second, and the CPU sleeps between."""
    before = hal.run(100)
    after = hal.run(2000)
    share = (after.busy_cycles - before.busy_cycles) / (after.clock_hz * 2.0)
    assert share < 0.1, share


def test_with_the_link_on_a_uart_usb_is_the_console(pico: Pico) -> None:
    shell = PicoShell(pico)
    pico.power_on()
    shell.ready()
    shell("(lambda f: (f.write('LINK = \"uart\"\\n'), f.close()))(open('board.py', 'a'))")
    shell("globals().update(source=open('main.py').read().replace('link_uart', 'console_uart'))")
    shell("(lambda f: (f.write(source), f.close()))(open('main.py', 'w'))")
    shell.run(500)
    pico.power_off()
    pico.power_on()
    shell.ready()
    assert shell("hal.console_uart is hal._usb") == "True"
    shell.inputs.uart1 = bytes(range(200))
    shell.run(50)
    assert shell("hal.link_uart.read()") == repr(bytes(range(200)))
    shell("hal.link_uart.write(b'hello')")
    shell.run(20)
    assert shell.sent1 == b"hello"


def test_memory_and_boot_time(hal: PicoShell) -> None:
    """What the HAL leaves of the heap, its lines' buffers included, and how soon it is there."""
    assert hal.pico.now_us < 1_000_000
    assert int(hal("(__import__('gc').collect(), __import__('gc').mem_free())[1]")) > 190_000
