"""The linux port on an emulated machine: real ptys, termios, kernel structures, MicroPython.

The GPIO chip is `gpio_shim.c`, preloaded, compiled with the machine's own linux/gpio.h; PWM and
IIO are files in a folder. What is not emulated: a real chip's driver, real time under load.
"""

import ast
import configparser
import os
import shutil
import signal
import subprocess
import termios
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from element.protocol import codes
from hil.devices.jbd import JBDEmulator
from hil.plant.cell import LFP
from hil.plant.pack import Imbalance, Pack
from tests.hil.linux_machine import OPEN, ROOT, Machine, Shell, build_shim

ENABLE, PRECHARGE, HEARTBEAT, LED, INTERLOCK = 17, 27, 22, 23, 24
BROKEN_MA = 1_000_000
UNIT = ROOT / "boards" / "linux" / "cellwall-element.service"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preloaded stand-in, compiled once."""
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def machine(tmp_path: Path, shim: Path, micropython: Path) -> Any:
    """A machine whose interlock loop is closed."""
    machine = Machine(tmp_path, shim, micropython)
    machine.connect(INTERLOCK, 0)
    yield machine
    machine.close()


@pytest.fixture
def hal(machine: Machine) -> Any:
    """A HAL on it."""
    shell = Shell(machine)
    assert shell.first == "ready"
    yield shell
    shell.end()


def constants() -> dict[str, int]:
    """Return the numbers of gpiochip.py, which CPython cannot import."""
    source = (ROOT / "firmware/element/hal/gpiochip.py").read_text(encoding="utf-8")
    module = ast.parse(source)
    out: dict[str, int] = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                out[node.targets[0].id] = int(eval(ast.unparse(node.value), {}, dict(out)))
            except (NameError, TypeError):
                continue
    return out


def test_the_compiler_agrees_with_the_packed_structures(tmp_path: Path) -> None:
    wanted = {
        "GET_LINE": "(unsigned)GPIO_V2_GET_LINE_IOCTL",
        "GET_VALUES": "(unsigned)GPIO_V2_LINE_GET_VALUES_IOCTL",
        "SET_VALUES": "(unsigned)GPIO_V2_LINE_SET_VALUES_IOCTL",
        "FLAG_INPUT": "GPIO_V2_LINE_FLAG_INPUT", "FLAG_OUTPUT": "GPIO_V2_LINE_FLAG_OUTPUT",
        "FLAG_BIAS_PULL_UP": "GPIO_V2_LINE_FLAG_BIAS_PULL_UP",
        "REQUEST_SIZE": "sizeof(struct gpio_v2_line_request)",
        "CONSUMER_AT": "offsetof(struct gpio_v2_line_request, consumer)",
        "FLAGS_AT": "offsetof(struct gpio_v2_line_request, config.flags)",
        "LINE_COUNT_AT": "offsetof(struct gpio_v2_line_request, num_lines)",
        "FD_AT": "offsetof(struct gpio_v2_line_request, fd)",
        "O_RDWR": "O_RDWR", "_O_NOCTTY": "O_NOCTTY", "_O_NONBLOCK": "O_NONBLOCK",
        "_O_CLOEXEC": "O_CLOEXEC",
    }
    lines = "".join(f'printf("{name} %llu\\n", (unsigned long long)({text}));\n'
                    for name, text in wanted.items())
    lines += 'printf("values %zu\\n", sizeof(struct gpio_v2_line_values));\n'
    lines += 'printf("timeout %u\\n", (unsigned)WDIOC_SETTIMEOUT);\n'
    source = tmp_path / "sizes.c"
    source.write_text("#define _GNU_SOURCE\n#include <stddef.h>\n#include <stdio.h>\n"
                      "#include <fcntl.h>\n#include <linux/gpio.h>\n#include <linux/watchdog.h>\n"
                      "int main(void) {\n" + lines + "return 0; }\n")
    subprocess.run(["cc", "-o", str(tmp_path / "sizes"), str(source)], check=True, timeout=60)
    out = subprocess.run([str(tmp_path / "sizes")], check=True, capture_output=True, text=True,
                         timeout=10).stdout
    said = {name: int(value) for name, value in (line.split() for line in out.splitlines())}
    assert said.pop("values") == 16
    assert said.pop("timeout") == 0xC0045706
    ours = constants()
    assert said == {name: ours[name] for name in wanted}


def test_every_output_is_low_before_anything_else(machine: Machine) -> None:
    for line in (ENABLE, PRECHARGE, HEARTBEAT, LED):
        machine.set_level(line, 1)
    # what follows the outputs fails: they are off all the same
    (machine.adc / "in_voltage0_scale").write_text("none\n")
    shell = Shell(machine)
    assert "ValueError" in shell.first
    for line in (ENABLE, PRECHARGE, HEARTBEAT, LED):
        assert machine.line(line)["level"] == 0 and machine.line(line)["output"] == 1
    shell.end()


def test_outputs_follow_and_are_read_back(machine: Machine, hal: Shell) -> None:
    assert machine.head == (0, 0, 0, "cellwall")
    assert hal("hal.enable_is()") == "False"
    hal("hal.enable_set(True)")
    assert machine.line(ENABLE)["level"] == 1 == machine.line(LED)["level"]
    assert hal("hal.enable_is()") == "True"
    hal("hal.precharge_set(True)")
    assert machine.line(PRECHARGE)["level"] == 1
    machine.set_level(ENABLE, 0)  # something else pulls it down: read back, not remembered
    assert hal("hal.enable_is()") == "False"
    hal("hal.enable_set(False)")
    hal("hal.precharge_set(False)")
    assert machine.line(ENABLE)["level"] == 0 == machine.line(PRECHARGE)["level"]


def test_duty_is_one_sided_and_signed(machine: Machine, hal: Shell) -> None:
    assert machine.duty(0) == machine.duty(1) == (50_000, 0, 1)
    for permille, sides in ((500, (25_000, 0)), (-250, (0, 12_500)), (1000, (50_000, 0)),
                            (-5000, (0, 50_000)), (0, (0, 0))):
        hal(f"hal.duty_set({permille})")
        assert (machine.duty(0)[1], machine.duty(1)[1]) == sides


@pytest.mark.parametrize(("mv", "ma"), [
    (1650, 0), (1666, 1000), (1634, -1000), (2610, 60_000), (690, -60_000), (3210, 97_500),
    (0, BROKEN_MA), (3300, BROKEN_MA), (30, BROKEN_MA), (3270, BROKEN_MA),
])
def test_sensed_current(machine: Machine, hal: Shell, mv: int, ma: int) -> None:
    """16 mV/A around 1650 mV; a voltage no sound sensor gives is over-current."""
    machine.volts(0, mv)
    sensed_ma = int(hal("hal.sense_ma()"))
    assert sensed_ma == ma if ma == BROKEN_MA else abs(sensed_ma - ma) <= max(20, abs(ma) // 500)


def test_a_dead_sensor_is_over_current_and_a_dead_link_sensor_is_an_empty_link(
        machine: Machine, hal: Shell) -> None:
    (machine.adc / "in_voltage0_raw").write_text("")
    assert int(hal("hal.sense_ma()")) == BROKEN_MA
    machine.volts(1, 2048)
    assert abs(int(hal("hal.dc_link_mv()")) - 51_200) < 100
    (machine.adc / "in_voltage1_raw").write_text("garbage")
    assert hal("hal.dc_link_mv()") == "0"


def test_the_interlock_is_sound_only_when_closed(machine: Machine, hal: Shell) -> None:
    for level, sound in ((0, "True"), (1, "False"), (OPEN, "False"), (0, "True")):
        machine.connect(INTERLOCK, level)
        assert hal("hal.interlock_ok()") == sound
    assert machine.line(INTERLOCK)["pull_up"] == 1


def test_lines_have_their_speed_and_are_raw(machine: Machine, hal: Shell) -> None:
    for fd, speed in ((machine.bms_fd, termios.B9600), (machine.link_fd, termios.B115200)):
        iflag, oflag, cflag, lflag, ispeed, ospeed, _ = termios.tcgetattr(fd)
        assert (ispeed, ospeed) == (speed, speed)
        assert (iflag, oflag, lflag) == (0, 0, 0)
        assert cflag & termios.CSIZE == termios.CS8
        assert not cflag & (termios.PARENB | termios.CSTOPB | termios.CRTSCTS)
        assert cflag & termios.CREAD and cflag & termios.CLOCAL
    every = bytes(range(256))
    hal(f"hal.bms_uart.write({every!r})")
    hal("hal._wait(0)")
    assert os.read(machine.bms_fd, 512) == every
    os.write(machine.link_fd, every)
    time.sleep(0.05)
    hal("hal._wait(5)")
    assert hal("hal.link_uart.read()") == repr(every)


def test_a_line_that_nobody_reads_blocks_nothing_and_counts_what_it_loses(
        machine: Machine, hal: Shell) -> None:
    started_s = time.monotonic()
    for _ in range(200):
        assert hal("hal.bms_uart.write(bytes(1024))") == "None"
        hal("hal._wait(1)")
    assert time.monotonic() - started_s < 5
    assert int(hal("hal.bms_uart.lost_count")) > 0
    assert int(hal("len(hal.bms_uart.tx)")) <= 4096


def test_a_line_that_goes_away_comes_back(machine: Machine, hal: Shell) -> None:
    """Unplugged: poll says so at once, for ever; the port closes it and tries to open it."""
    import pty
    import tty

    old = machine.folder / "adapter"
    ends = [pty.openpty(), pty.openpty()]
    for one, other in ends:
        tty.setraw(one)
        tty.setraw(other)
    old.symlink_to(os.ttyname(ends[0][1]))
    hal(f"hal.bms_uart._close() or setattr(hal.bms_uart, '_path', {str(old)!r})")
    hal("__import__('time').sleep_ms(1100)")
    hal("hal._wait(1)")
    hal("hal.bms_uart.write(b'one')")
    hal("hal._wait(0)")
    assert os.read(ends[0][0], 10) == b"one"
    for fd in ends[0]:
        os.close(fd)
    hal("hal._wait(5)")
    assert hal("hal.bms_uart.file") == "None"
    old.unlink()
    old.symlink_to(os.ttyname(ends[1][1]))
    hal("__import__('time').sleep_ms(1100)")
    hal("hal.bms_uart.write(b'two')")
    hal("hal._wait(1)")
    hal("hal._wait(1)")
    assert os.read(ends[1][0], 10) == b"two"
    for fd in ends[1]:
        os.close(fd)


def test_the_watchdog_runs_before_anything_conducts_and_never_stops(
        machine: Machine, hal: Shell) -> None:
    dog = machine.folder / "watchdog"
    assert machine.head[1] == 0
    hal("hal.enable_set(False)")
    assert machine.head[1] == 0
    hal("hal.enable_set(True)")
    assert machine.head[:2] == (2, 1)
    for beat in (1, 0, 1):
        hal("hal.watchdog_feed()")
        assert machine.line(HEARTBEAT)["level"] == beat
    assert dog.read_bytes() == b"\0\0\0"
    assert hal("hal.reset()") == "ended"
    assert b"V" not in dog.read_bytes()
    assert machine.line(ENABLE)["level"] == 0


def cause_after(machine: Machine, *expressions: str) -> int:
    """Start a HAL, evaluate, kill it; return the cause that the next one sees."""
    shell = Shell(machine)
    for expression in expressions:
        shell(expression)
    shell.end()
    shell = Shell(machine)
    cause = int(shell("hal.reset_cause()"))
    shell.end()
    return cause


def test_reset_causes(machine: Machine) -> None:
    shell = Shell(machine)
    assert int(shell("hal.reset_cause()")) == codes.RESET_POWER_ON
    shell.end()
    assert cause_after(machine, "hal.watchdog_feed()") == codes.RESET_WATCHDOG
    assert cause_after(machine, "hal.watchdog_feed()", "hal.reset()") == codes.RESET_SOFTWARE
    assert cause_after(machine) == codes.RESET_UNKNOWN  # it never ran its control loop
    # the machine itself was reset by its watchdog: /run is empty, the kernel tells
    (machine.folder / "state").unlink()
    (machine.folder / "bootstatus").write_text("32\n")
    shell = Shell(machine)
    assert int(shell("hal.reset_cause()")) == codes.RESET_WATCHDOG
    shell.end()


def test_a_pin_that_fails_ends_the_process_all_the_same(machine: Machine, hal: Shell) -> None:
    machine.fail_set(True)
    assert "OSError" in hal("hal.enable_set(False)")
    assert hal("hal.reset()") == "ended"


def test_off_switches_off_what_a_dead_process_left(machine: Machine) -> None:
    shell = Shell(machine)
    shell("hal.enable_set(True)")
    shell("hal.duty_set(700)")
    shell.end()  # SIGKILL
    assert machine.line(ENABLE)["level"] == 1 and machine.duty(0)[1] == 35_000
    shutil.copy(ROOT / "boards" / "linux" / "off.py", machine.folder / "board")
    process = machine.start(str(machine.folder / "board" / "off.py"))
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0, out
    assert machine.line(ENABLE)["level"] == 0 == machine.line(LED)["level"]
    assert machine.duty(0)[1] == machine.duty(1)[1] == 0


def serve_bms(machine: Machine, seconds: float) -> JBDEmulator:
    """Answer on the BMS line as a JBD at rest does."""
    rng = Random(1)
    pack = Pack(LFP, 16, 100.0, rng, soc=0.5, imbalance=Imbalance(0.0, 0.0, 0.0))
    bms = JBDEmulator(pack, rng, 16, current_of=lambda: 0.0)
    started_s = time.monotonic()
    while (passed_s := time.monotonic() - started_s) < seconds:
        now_ms = int(passed_s * 1000)
        bms.update(now_ms)
        try:
            data = os.read(machine.bms_fd, 512)
        except BlockingIOError:
            data = b""
        if data:
            bms.feed(data, now_ms)
        answer = bms.take(now_ms)
        if answer:
            os.write(machine.bms_fd, answer)
        time.sleep(0.002)
    return bms


def test_the_agent_runs_and_conducts_nothing(machine: Machine) -> None:
    """Unenrolled: it polls its BMS, feeds the watchdog, and leaves everything off."""
    process = machine.start("-c", "import board\nfrom element import agent\nagent.main(board)\n")
    bms = serve_bms(machine, 6.0)
    assert process.poll() is None, process.communicate()[0]
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=10)
    assert "failed" not in out and "Traceback" not in out and "bms lost" not in out, out
    assert bms.bad_frames_count == 0 and not bms.fet_charge and not bms.fet_discharge
    # enable is never set; the heartbeat of the control loop is the proof that it ran
    assert machine.line(ENABLE)["level"] == 0 == machine.line(PRECHARGE)["level"]
    assert machine.duty(0)[1] == machine.duty(1)[1] == 0
    assert machine.line(HEARTBEAT)["set_count"] > 30
    assert len((machine.folder / "watchdog").read_bytes()) > 30
    assert (machine.folder / "flash" / "keys.cbor").exists()


def test_the_unit_starts_the_board_and_makes_it_safe_afterwards(tmp_path: Path) -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT.read_text(encoding="utf-8"))
    service = unit["Service"]
    assert service["Restart"] == "always" and float(service["RestartSec"]) <= 1
    assert "off.py" in service["ExecStopPost"] or "off.py" in UNIT.read_text(encoding="utf-8")
    assert service["RuntimeDirectory"] == "cellwall-element"
    assert service["RuntimeDirectoryPreserve"] == "restart"
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: the unit was only parsed")
    # every program it starts must exist to be verified
    text = UNIT.read_text(encoding="utf-8").replace("/usr/bin/micropython", "/bin/true")
    copy = tmp_path / UNIT.name
    copy.write_text(text, encoding="utf-8")
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", str(copy)],
                            capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in (result.stdout + result.stderr).splitlines() if UNIT.name in line]
    assert ours == [] and result.returncode == 0, result.stderr
