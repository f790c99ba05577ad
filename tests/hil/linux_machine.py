"""An emulated Raspberry Pi for the linux port: ptys, a GPIO chip by preload, a tree of files."""

import contextlib
import mmap
import os
import pty
import struct
import subprocess
import threading
import tty
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
HEAD = struct.Struct("<IIII32s")
LINE = struct.Struct("<IIIIII")
LINE_COUNT = 64
OPEN = 2  # a line to which nothing is connected
SETTINGS = """

BMS_UART = {bms!r}
LINK_UART = {link!r}
SENSE_ADC = {sense!r}
DC_LINK_ADC = {dc_link!r}
DEVICES = {devices!r}
"""


def build_shim(folder: Path) -> Path:
    """Compile the preloaded stand-in with the machine's own linux/gpio.h."""
    out = folder / "gpio_shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(out),
                    str(HERE / "gpio_shim.c"), "-ldl"], check=True, timeout=60)
    return out


class Machine:
    """One machine: its devices, and the processes that run on it."""

    def __init__(self, folder: Path, shim: Path, micropython: Path) -> None:
        self.folder = folder
        self._shim = shim
        self._micropython = micropython
        self.bms_fd, self._bms_tty_fd = pty.openpty()
        self.link_fd, self._link_tty_fd = pty.openpty()
        for fd in (self.bms_fd, self.link_fd):
            tty.setraw(fd)
            os.set_blocking(fd, False)
        self.state = folder / "gpio"
        self.state.write_bytes(bytes(HEAD.size + LINE_COUNT * LINE.size))
        with self.state.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        for index in range(LINE_COUNT):
            self._put(index, 1, OPEN)
        self.adc = folder / "iio"
        self.pwm = folder / "pwmchip0"
        for channel in (0, 1):
            (self.pwm / f"pwm{channel}").mkdir(parents=True)
            for name in ("period", "duty_cycle", "enable"):
                self.pwm.joinpath(f"pwm{channel}", name).write_text("0\n")
        self.adc.mkdir()
        for channel, scale in ((0, "0.125000000"), (1, "0.125000000")):
            (self.adc / f"in_voltage{channel}_scale").write_text(scale + "\n")
        self.volts(0, 1650)
        self.volts(1, 0)
        (folder / "gpiochip0").write_bytes(b"")
        (folder / "watchdog").write_bytes(b"")
        (folder / "serial").write_text("10000000deadbeef\0")
        (folder / "board").mkdir()
        (folder / "flash").mkdir()
        self.devices: dict[str, Any] = {
            "gpio": str(folder / "gpiochip0"), "pwm": str(self.pwm), "pwm_channels": (0, 1),
            "watchdog": str(folder / "watchdog"), "boot_status": str(folder / "bootstatus"),
            "state": str(folder / "state"), "id": str(folder / "serial"),
        }
        self.write_board()

    def write_board(self, extra: str = "") -> None:
        """Write the board file: the real one, with this machine's paths."""
        text = (ROOT / "boards" / "linux" / "board.py").read_text(encoding="utf-8")
        text += SETTINGS.format(
            bms=os.ttyname(self._bms_tty_fd), link=os.ttyname(self._link_tty_fd),
            sense=str(self.adc / "in_voltage0_raw"), dc_link=str(self.adc / "in_voltage1_raw"),
            devices=self.devices)
        (self.folder / "board" / "board.py").write_text(text + extra, encoding="utf-8")

    def volts(self, channel: int, mv: float) -> None:
        """Put a voltage on an analogue input; 0.125 mV a count, as an ADS1115 at 4.096 V."""
        path = self.adc / f"in_voltage{channel}_raw"
        path.write_text(f"{round(mv / 0.125)}\n")

    def _put(self, line: int, field: int, value: int) -> None:
        struct.pack_into("<I", self._map, HEAD.size + line * LINE.size + 4 * field, value)

    def line(self, number: int) -> dict[str, int]:
        """Return what is known of a line."""
        values = LINE.unpack_from(self._map, HEAD.size + number * LINE.size)
        names = ("level", "external", "owned", "output", "pull_up", "set_count")
        return dict(zip(names, values, strict=True))

    def connect(self, line: int, level: int) -> None:
        """Connect an input: 0 to ground, 1 to the supply, OPEN to nothing."""
        self._put(line, 1, level)

    def set_level(self, line: int, level: int) -> None:
        """Leave a level behind, as a process that died does."""
        self._put(line, 0, level)

    def forget_owners(self) -> None:
        """Do what the kernel does when a process dies: its lines have no owner any more."""
        for index in range(LINE_COUNT):
            self._put(index, 2, 0)

    def fail_set(self, fail: bool) -> None:
        """Let every attempt to set a line fail."""
        struct.pack_into("<I", self._map, 12, fail)

    @property
    def head(self) -> tuple[int, int, int, str]:
        """Return (watchdog time-out in s, how often opened, refused requests, consumer)."""
        timeout_s, opens, refused, _, consumer = HEAD.unpack_from(self._map)
        return timeout_s, opens, refused, consumer.split(b"\0")[0].decode()

    def duty(self, channel: int) -> tuple[int, int, int]:
        """Return (period, duty, enable) of a PWM channel."""
        folder = self.pwm / f"pwm{channel}"
        # a file keeps what a shorter number does not cover; an attribute takes the first line
        return tuple(int(  # type: ignore[return-value]
            (folder / name).read_text().split("\n", maxsplit=1)[0])
            for name in ("period", "duty_cycle", "enable"))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the interpreter with this machine's devices."""
        environment = {
            "MICROPYPATH": f"{ROOT / 'firmware'}:{self.folder / 'board'}:.frozen",
            "PATH": "/usr/bin:/bin", "LD_PRELOAD": str(self._shim),
            "SHIM_STATE": str(self.state), "SHIM_GPIO": str(self.folder / "gpiochip0"),
            "SHIM_WATCHDOG": str(self.folder / "watchdog"),
        }
        return subprocess.Popen(
            [str(self._micropython), "-X", "heapsize=1m", *arguments],
            cwd=self.folder / "flash", env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)

    def close(self) -> None:
        """Close the lines."""
        for fd in (self.bms_fd, self._bms_tty_fd, self.link_fd, self._link_tty_fd):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._map.close()


class Shell:
    """A HAL on the machine that evaluates expressions."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.process = machine.start(str(HERE / "hal_shell.py"))
        self.first = self._answer()

    def _answer(self) -> str:
        process = self.process
        assert process.stdout is not None
        killer = threading.Timer(20, process.kill)  # no answer is a failure, not a hang
        killer.start()
        try:
            for line in process.stdout:
                if line.startswith("= "):
                    return line[2:].strip()
            return "ended"
        finally:
            killer.cancel()

    def __call__(self, expression: str) -> str:
        """Evaluate an expression in the process; return its repr."""
        assert self.process.stdin is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """Kill the process; its lines lose their owner, as the kernel would see to."""
        self.process.kill()
        self.process.communicate(timeout=10)
        self._machine.forget_owners()
