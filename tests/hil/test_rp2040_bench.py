"""The emulated Pico on the bench: a port for mpremote, a BMS on its line, a place in a site."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.bench.board_process import BoardSpec
from hil.bench.rp2040.board import PicoBoard
from hil.bench.rp2040.littlefs_image import make_flash
from hil.bench.rp2040.served import Battery, Element, ServedPico
from hil.bench.rp2040.wiring import Wiring, load_board
from hil.bench.session import Options, Session
from hil.scenarios.load import load_scenario
from tests.hil.rp2040_console import Console, new_console

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "boards" / "rpi_pico" / "board.py"
MPREMOTE = Path(sys.executable).with_name("mpremote")
COMMAND_S_MAX = 60
ONE_ELEMENT = """\
scenario: pico
description: One element, its board an emulated Pico.
record_interval_s: 10
elements:
  - {name: wall, kind: converter, chemistry: LFP, series_count: 16, capacity_ah: 100,
     rating_w: 2500, zone: 1, current_a_max: 60, cell_mv_min: 2800, cell_mv_max: 3600}
phases:
  - {name: discovery, signal: idle, duration_s: 35}  # a handshake on this chip
  - {name: ramp, signal: ramp, duration_s: 48, power_kw: 2}
  - {name: release, signal: idle, duration_s: 10}
"""
ASK = """\
import time
from machine import UART, Pin
u = UART(0, 9600, tx=Pin(0), rx=Pin(1), rxbuf=256)
good = 0
for i in range(5):
    u.write(b"\\xdd\\xa5\\x03\\x00\\xff\\xfd\\x77")
    time.sleep_ms(250)
    r = u.read() or b""
    if r[:3] == b"\\xdd\\x03\\x00" and r[-1] == 0x77 and len(r) == r[3] + 7 \\
            and (sum(r[2:-3]) + (r[-3] << 8 | r[-2])) & 0xFFFF == 0:
        good += 1
print(good, r[4] << 8 | r[5])
"""


def mpremote(port: str, *words: str) -> str:
    """Run mpremote on a port and return what it printed."""
    result = subprocess.run([str(MPREMOTE), "connect", port, *words], capture_output=True,
                            text=True, timeout=COMMAND_S_MAX, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.strip()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPico]:
    """A served board with an empty file system."""
    folder = tmp_path_factory.mktemp("served")
    with ServedPico(folder / "flash.bin", log=folder / "log") as pico:
        yield pico


def test_mpremote_talks_to_it_as_to_a_board(served: ServedPico, tmp_path: Path) -> None:
    port = served.port
    assert mpremote(port, "exec", "import sys; print(sys.platform, 6 * 7)") == "rp2 42"
    data = bytes(range(256)) * 40
    (tmp_path / "data.bin").write_bytes(data)
    mpremote(port, "fs", "cp", str(tmp_path / "data.bin"), ":data.bin")
    digest = hashlib.sha256(data).hexdigest()
    assert mpremote(port, "fs", "sha256sum", ":data.bin").split()[-1] == digest
    before = served.state.reset_count
    mpremote(port, "reset")
    served.wait(0.5)
    assert served.state.reset_count == before + 1
    assert "data.bin" in mpremote(port, "fs", "ls")


def test_a_served_board_comes_back_after_a_power_cut(served: ServedPico) -> None:
    mpremote(served.port, "exec", "f = open('cut', 'w'); f.write('x'); f.close()")
    served.cut_power()
    assert not served.state.powered
    served.power_on()
    served.wait(0.5)
    assert mpremote(served.port, "exec", "import machine; print('cut' in __import__('os')"
                    ".listdir(), machine.reset_cause())") == "True 1"


def test_the_served_battery_follows_the_pins(served: ServedPico) -> None:
    code = ("from machine import Pin, PWM, ADC; import time; e = Pin(2, Pin.OUT, value=1); "
            "d = PWM(Pin(6), freq=20000, duty_u16=32768); time.sleep_ms(600); "
            "print(ADC(26).read_u16(), Pin(3, Pin.IN, Pin.PULL_UP).value())")
    raw, interlock = mpremote(served.port, "exec", code).split()
    # half duty of 60 A is 30 A: 1650 mV and 16 mV an ampere
    current_a = (int(raw) / 65535 * 3300 - 1650) / 16
    assert 27 < current_a < 33 and interlock == "0"
    with served.lock:
        served.element.interlock_ok = False
    code = ("from machine import Pin; p = Pin(3, Pin.IN, Pin.PULL_UP); print(p.value()); "
            "Pin(2, Pin.OUT, value=0); Pin(6, Pin.OUT, value=0)")
    assert mpremote(served.port, "exec", code) == "1"


def test_serve_prints_a_port_and_ends_cleanly(tmp_path: Path) -> None:
    link = tmp_path / "pico"
    process = subprocess.Popen(
        [sys.executable, "-m", "hil.bench.rp2040.serve", "--link", str(link)], cwd=ROOT,
        stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline().strip() == str(link)
        assert mpremote(str(link), "exec", "print(1 + 1)") == "2"
        process.send_signal(signal.SIGINT)
        assert process.wait(COMMAND_S_MAX) == 0
        assert not os.path.lexists(link)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A board at its REPL, in virtual time."""
    console = new_console(tmp_path_factory.mktemp("pico"))
    yield console.start()
    console.pico.close()


def test_an_emulated_bms_answers_on_uart0(console: Console) -> None:
    pico = console.pico
    pico.rx_speed = 8
    console.again()
    element = Element(Battery())
    console.send(ASK)
    output = b""
    zero_us = pico.now_us
    wiring = Wiring(load_board(BOARD))
    while b"\x04" not in output and pico.now_us - zero_us < 5e6:
        now_ms = round((pico.now_us - zero_us) / 1000)
        element.advance(now_ms)
        inputs = wiring.inputs(0, 0, True)
        inputs.uart0 = element.take(now_ms)
        state = pico.advance(pico.now_us + 1000, inputs)
        if state.uart0:
            element.bms.feed(state.uart0, now_ms)
        output += state.usb
    words = output.replace(b"OK", b"").split(b"\r\n")[0].split()
    assert words[0] == b"5", output
    assert abs(int(words[1]) * 10 - element.pack.voltage_v * 1000) < 200


TINY = """\
import time, board
from machine import ADC, Pin, PWM
loop = Pin(board.INTERLOCK, Pin.IN, Pin.PULL_UP)
enable = Pin(board.ENABLE, Pin.OUT, value=0)
duty = PWM(Pin(board.PWM_CHARGE), freq=board.PWM_HZ, duty_u16=0)
while True:
    enable(not loop())
    duty.duty_u16(0 if loop() else 32768)
    print(board.STAGE, ADC(board.DC_LINK_ADC).read_u16() >> 4)
    if loop():
        with open("opened", "a") as f:
            f.write("x" * 2000)
    time.sleep_ms(20)
"""


def test_a_board_of_the_bench_is_pins_lines_and_a_power_switch(tmp_path: Path) -> None:
    spec = BoardSpec("tiny", Path(), ROOT / "firmware", Path(), tmp_path, "converter", "jbd",
                     b"\x01\x02\x03\x04\x05\x06\x07\x08", bytes(32), 2)
    board = PicoBoard(spec, board=BOARD)
    make_flash(board.pico.flash, board.pico.build.image,
               {"main.py": TINY.encode(), "board.py": BOARD.read_bytes()})
    try:
        board.start(5000)
        outputs, now_ms, link = board.receive(), 5000, b""
        while outputs is not None and now_ms < 6000:
            assert outputs.wake_ms > now_ms and outputs.fed and not outputs.reset
            now_ms = outputs.wake_ms
            assert board.send(now_ms, 0, 41_250, True, b"", b"", b"")
            outputs = board.receive()
            link += outputs.link_tx if outputs is not None else b""
        assert outputs is not None and outputs.enable and outputs.duty_permille == -500
        assert b"converter 2047\r\n" in link or b"converter 2048\r\n" in link
        board.pico.cut_power_at(1, "middle")
        while outputs is not None and now_ms < 7000:
            now_ms = outputs.wake_ms
            assert board.send(now_ms, 0, -1, False, b"", b"", b"")
            outputs = board.receive()
        assert outputs is None and not board.send(now_ms + 1, 0, -1, False, b"", b"", b"")
        board.stop()
        board.start(now_ms + 1500)
        outputs = board.receive()
        assert outputs is not None and not outputs.enable and board.running
    finally:
        board.close()


def test_the_firmware_follows_a_ramp_on_the_emulated_pico(tmp_path: Path) -> None:
    path = tmp_path / "pico.yaml"
    path.write_text(ONE_ELEMENT, encoding="utf-8")
    session = Session(Options(load_scenario(path), 1, "virtual", tmp_path / "out"),
                      lambda *_: None)
    rig = session._run.result.site.rigs[0]
    board = PicoBoard(rig.board.spec)
    rig.board = board
    try:
        _, results = session.execute()
        assert board.pico.reset_causes == [] and board.restart_count == 0
    finally:
        board.close()
    assert results["passed"], json.dumps(results["limits"])
    assert results["statements"]["failed"] == 0
    assert results["elements"][0]["restarts"] == 0
    assert results["segments"][0]["e2_pct"] < 3


def test_the_served_board_is_never_ahead_of_the_wall(served: ServedPico) -> None:
    began_us = served.state.time_us
    end_s = time.monotonic() + 60  # a machine with other work is slow, and that is all
    while served.state.time_us - began_us <= 100_000:
        assert served.behind_s > -0.001
        served.wait(0.02)
        assert time.monotonic() < end_s
