"""The emulated RP2040 as a chip: what MicroPython sees of it, and what the bench sees."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.bench.rp2040.pico import HARNESS, RESET_FORCED, RESET_TIMER, Build, Inputs, Pico
from tests.hil.rp2040_console import Console, new_console

WDT_RESET = 3
PWRON_RESET = 1


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """One emulator process for the module: translations are kept over power cycles."""
    console = new_console(tmp_path_factory.mktemp("pico"))
    yield console
    console.pico.close()


@pytest.fixture
def console(emulator: Console) -> Console:
    """A board that was just erased and switched on."""
    return emulator.start()


def test_the_translator_agrees_with_the_interpreter_on_random_code() -> None:
    build = Build.of_checkout()
    result = subprocess.run(
        [str(build.folder / "bin" / "node"), str(HARNESS.with_name("selfcheck.mjs")),
         str(build.folder / "node_modules" / "rp2040js"), "12000", "11"],
        capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout == "ok 12000\n", result.stdout + result.stderr


def test_it_is_the_stock_board(console: Console) -> None:
    out = console.run(
        "import sys, os, gc, machine, binascii\n"
        "gc.collect()\n"
        "print(sys.implementation[0], sys.implementation[1][:2], sys.implementation[2])\n"
        "print(machine.freq(), binascii.hexlify(machine.unique_id()).decode())\n"
        "print(gc.mem_free(), os.statvfs('/')[:4])\n"
        "import asyncio, cryptolib, hashlib, rp2\n"
        "print(binascii.hexlify(hashlib.sha256(b'abc').digest()).decode()[:8], 1 / 3)")
    lines = out.splitlines()
    assert lines[0] == "micropython (1, 25) Raspberry Pi Pico with RP2040"
    assert lines[1] == "125000000 " + console.pico.unique_id.hex()
    free, blocks = re.match(r"(\d+) \((.*)\)", lines[2]).groups()  # type: ignore[union-attr]
    assert int(free) > 220_000 and blocks.startswith("4096, 4096, 352, ")
    assert lines[3] == "ba7816bf 0.3333333"  # single precision


def test_outputs_and_what_is_read_back(console: Console) -> None:
    out = console.run(
        "from machine import Pin\n"
        "a = Pin(2, Pin.OUT, value=1)\n"
        "b = Pin(8, Pin.OUT, value=0)\n"
        "print(a.value(), b.value())")
    state = console.wait(1)
    assert out == "1 0"
    assert state.pin(2) is True and state.pin(8) is False and state.pin(9) is None
    console.run("a.value(0); a.value(1); a.value(0)")
    state = console.wait(1)
    assert state.pin(2) is False


def test_a_pulse_between_two_looks_is_seen(console: Console) -> None:
    console.run("from machine import Pin\na = Pin(2, Pin.OUT, value=0)")
    console.wait(1)
    console.send("a.value(1); a.value(0)")
    state = console.wait(100)
    assert state.pin(2) is False and state.seen_high >> 2 & 1 and state.seen_low >> 2 & 1


def test_inputs_and_pulls(console: Console) -> None:
    code = ("from machine import Pin\n"
            "print(Pin(3, Pin.IN, Pin.PULL_UP).value(), Pin(9, Pin.IN, Pin.PULL_DOWN).value())")
    assert console.run(code) == "1 0"
    console.inputs.pins = {3: False, 9: True}
    try:
        assert console.run(code) == "0 1"
    finally:
        console.inputs.pins = {}


def test_an_edge_interrupts(console: Console) -> None:
    console.run("from machine import Pin\nseen = []\n"
                "p = Pin(3, Pin.IN, Pin.PULL_UP)\n"
                "p.irq(lambda pin: seen.append(pin.value()), Pin.IRQ_FALLING | Pin.IRQ_RISING)")
    console.pico.advance(console.pico.now_us + 5000, Inputs({3: False}))
    console.wait(5)
    assert console.run("print(seen)") == "[0, 1]"


def test_pwm_duty(console: Console) -> None:
    console.run("from machine import Pin, PWM\n"
                "a = PWM(Pin(6), freq=20000, duty_u16=16384)\n"
                "b = PWM(Pin(7), freq=20000, duty_u16=0)")
    state = console.wait(1)
    assert abs(state.duty(6) - 0.25) < 0.001 and state.duty(7) == 0.0
    console.run("a.duty_u16(65535); b.duty_u16(655)")
    state = console.wait(1)
    assert state.duty(6) == 1.0 and abs(state.duty(7) - 0.01) < 0.001
    console.run("a.deinit()")
    assert console.wait(1).duty(6) == 0.0


def test_analogue_inputs(console: Console) -> None:
    console.inputs.adc_raw = (0, 1000, 2048, 4095, 876)
    out = console.run("from machine import ADC\n"
                      "print([ADC(i).read_u16() >> 4 for i in (0, 1, 2, 3, 4)])")
    assert out == "[0, 1000, 2048, 4095, 876]"


def test_serial_bytes_take_their_time_both_ways(console: Console) -> None:
    console.run("from machine import UART, Pin\n"
                "u = UART(0, 9600, tx=Pin(0), rx=Pin(1), rxbuf=256, txbuf=256)\n"
                "u.write(bytes(range(96)))")
    sent = b""
    while len(sent) < 96:
        sent += console.wait(1).uart0
    assert sent == bytes(range(96))
    # 96 frames of ten bits at 9600 baud are 100 ms, in each direction
    began_us = console.pico.now_us
    console.wait(1, uart0=bytes(range(96)))
    assert int(console.run("print(u.any())")) < 96
    console.wait(100)
    assert console.run("print(u.read() == bytes(range(96)))") == "True"
    assert console.pico.now_us - began_us > 100_000


def test_uart1_and_a_pin_that_is_not_wired(console: Console) -> None:
    console.run("from machine import UART, Pin\nu = UART(1, 115200, tx=Pin(4), rx=Pin(5))")
    assert console.send("u.write(b'stage')").uart1 + console.wait(5).uart1 == b"stage"
    console.pico.power_off()
    console.again().run("from machine import UART, Pin\n"
                        "u = UART(1, 115200, tx=Pin(8), rx=Pin(9))")
    assert console.send("u.write(b'stage')").uart1 + console.wait(5).uart1 == b""


def test_a_board_without_a_pc_runs_and_is_found_when_the_cable_comes(console: Console) -> None:
    pico = console.pico
    pico.power_off()
    pico.power_on(usb_plugged=False)
    state = pico.advance(pico.now_us + 500_000, Inputs(usb_plugged=False))
    assert state.idle and not state.usb_ready
    assert console.enter().run("print(1 + 1)") == "2"
    # unplugged in the middle of a long answer: nothing moves, and nothing is lost when it returns
    console.send("for i in range(300): print(i)")
    quiet = pico.advance(pico.now_us + 100_000, Inputs(usb_plugged=False))
    assert pico.advance(pico.now_us + 100_000, Inputs(usb_plugged=False)).usb == b""
    out = quiet.usb + console.wait(3000).usb
    assert out.endswith(b"298\r\n299\r\n\x04\x04>")


def test_a_starved_watchdog_resets_and_a_fed_one_does_not(console: Console) -> None:
    pico = console.pico
    assert console.run("import machine\nprint(machine.reset_cause())") == str(PWRON_RESET)
    before = len(pico.reset_causes)
    console.run("import time\nw = machine.WDT(timeout=400)\n"
                "for i in range(5):\n  time.sleep_ms(300)\n  w.feed()")
    state = console.wait(300)
    assert state.watchdog and 0 < state.watchdog_left_us < 110_000
    assert len(pico.reset_causes) == before
    state = console.wait(150)
    assert pico.reset_causes[before:] == [RESET_TIMER] and not state.watchdog
    assert console.enter().run("import machine\nprint(machine.reset_cause())") == str(WDT_RESET)


def test_a_wanted_reset_and_what_scratch_registers_keep(console: Console) -> None:
    pico = console.pico
    before = len(pico.reset_causes)
    console.send("import machine\nmachine.mem32[0x4005800c] = 0x1234\nmachine.reset()")
    console.wait(300)
    assert pico.reset_causes[before:] == [RESET_FORCED]
    code = "import machine\nprint(machine.mem32[0x40058008], machine.mem32[0x4005800c])"
    assert console.enter().run(code) == f"{RESET_FORCED} {0x1234}"
    pico.power_off()
    assert console.again().run(code) == "0 0"


def test_outputs_drop_in_a_reset(console: Console) -> None:
    console.run("from machine import Pin\na = Pin(2, Pin.OUT, value=1)")
    assert console.wait(1).pin(2) is True
    console.send("import machine\nmachine.reset()")
    assert console.wait(100).pin(2) is None


def test_a_lockup_stands_still_until_the_watchdog(console: Console) -> None:
    console.send("import machine\nw = machine.WDT(timeout=300)\n"
                 "machine.mem32[0x20000000]\n"
                 "@micropython.asm_thumb\ndef crash():\n    data(2, 0xdeff)\n"
                 "crash()")
    assert console.wait(200).locked_up
    state = console.wait(300)
    assert not state.locked_up and console.pico.reset_causes[-1] == RESET_TIMER


def test_machine_code_from_the_heap_runs(console: Console) -> None:
    out = console.run(
        "def make(constant):\n"
        "    source = '@micropython.viper\\ndef f(x: int) -> int:\\n  return x * %d' % constant\n"
        "    scope = {}\n    exec(source, scope)\n    return scope['f']\n"
        "print([make(i)(7) for i in range(40)] == [7 * i for i in range(40)])")
    assert out == "True"


def test_entropy_differs_and_a_stuck_generator_goes_round(console: Console) -> None:
    code = ("import os\nd = os.urandom(600)\n"
            "print(len(set(d)), [p for p in range(1, 256) if d[p:] == d[:-p]][:1])")
    kinds, ring = console.run(code).split(" ", 1)
    assert int(kinds) > 200 and ring == "[]"
    console.pico.set_entropy_stuck(True)
    try:
        # MicroPython shifts the bit through a register with feedback: constant bits, a short ring
        assert console.run(code).split(" ", 1)[1] != "[]"
    finally:
        console.pico.set_entropy_stuck(False)


def trace(folder: Path, seed: int) -> list[object]:
    """Return everything that a board with this seed does in a short life with some work."""
    folder.mkdir()
    states: list[object] = []
    with Pico(Build.of_checkout(), folder / "flash.bin", seed=seed) as pico:
        pico.power_on()
        code = (b"import os, time\r\nfrom machine import UART\r\nu = UART(0, 9600)\r\n"
                b"with open('f', 'w') as f: print(f.write(str(os.urandom(32))))\r\n\r\n"
                b"print(open('f').read(), time.ticks_us(), u.write(b'abc'))\r\n")
        for step in range(40):
            states.append(pico.advance((step + 1) * 25_000, Inputs(
                usb=code if step == 8 else b"", uart0=b"xyz" if step % 3 else b"")))
    assert (folder / "flash.bin").stat().st_size == 2 * 1024 * 1024
    return [*states, (folder / "flash.bin").read_bytes()]


def test_a_run_is_a_function_of_its_inputs_and_its_seed(tmp_path: Path) -> None:
    first = trace(tmp_path / "a", 5)
    assert trace(tmp_path / "b", 5) == first
    assert trace(tmp_path / "c", 6) != first
