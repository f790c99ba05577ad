"""A HAL on the emulated RP2040 that evaluates expressions sent over its own USB link."""

import subprocess
from pathlib import Path

from hil.bench.rp2040.pico import STOP_BYTES, Build, Inputs, Pico, State

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("__init__", "hal/__init__", "hal/scheduler", "hal/analog", "hal/health",
           "hal/micro", "hal/rp2", "protocol/__init__", "protocol/codes", "protocol/errors")
INTERLOCK = 3
ZERO_RAW = 2047
CHUNK = 512
MAIN = """\
import board, machine, micropython, time
from element.hal import rp2
hal = rp2.open_board(board)
data = b""
hal.link_uart.write(b"= ready\\n")
while True:
    hal._wait(50)
    data += hal.link_uart.read()
    while b"\\n" in data:
        line, data = data.split(b"\\n", 1)
        try:
            text = repr(eval(line.decode()))
        except Exception as error:
            text = "! " + repr(error)
        hal.link_uart.write(("= " + text + "\\n").encode())
"""


class PicoShell:
    """A Pico whose main.py is MAIN; its world is `inputs`."""

    def __init__(self, pico: Pico) -> None:
        self.pico = pico
        self.inputs = Inputs(pins={INTERLOCK: False}, adc_raw=(ZERO_RAW, 0, 0, 0, 876))
        self._said = b""
        self.sent0 = self.sent1 = b""  # what the board has sent on its UARTs

    def run(self, ms: float, usb: bytes = b"", stop: int = 0) -> State:
        """Let the board run; what it says over USB is kept."""
        inputs = Inputs(pins=self.inputs.pins, adc_raw=self.inputs.adc_raw, usb=usb,
                        uart0=self.inputs.uart0, uart1=self.inputs.uart1,
                        usb_plugged=self.inputs.usb_plugged)
        self.inputs.uart0 = self.inputs.uart1 = b""
        state = self.pico.advance(self.pico.now_us + ms * 1000, inputs, stop)
        self._said += state.usb
        self.sent0 += state.uart0
        self.sent1 += state.uart1
        return state

    def until(self, mark: bytes, ms_max: float = 5000, usb: bytes = b"") -> bytes:
        """Run until the board has said mark; return everything up to its end."""
        end_us = self.pico.now_us + ms_max * 1000
        while mark not in self._said:
            assert self.pico.now_us < end_us, f"no {mark!r} in {self._said!r}"
            self.run(20, usb, STOP_BYTES)
            usb = b""
        at = self._said.index(mark) + len(mark)
        out, self._said = self._said[:at], self._said[at:]
        return out

    def raw(self, source: str, ms_max: float = 10_000) -> bytes:
        """Run source in the raw REPL and return what it printed. Raises AssertionError."""
        self.until(b"OK", ms_max, source.encode() + b"\x04")
        out = self.until(b"\x04", ms_max)[:-1]
        error = self.until(b"\x04>", ms_max)[:-2]
        assert error == b"", error.decode(errors="replace")
        return out

    def ready(self) -> None:
        """Wait for MAIN."""
        self.until(b"= ready")

    def __call__(self, expression: str, ms_max: float = 5000) -> str:
        """Evaluate an expression on the board; return its repr."""
        self.until(b"= ", ms_max, expression.encode() + b"\n")
        return self.until(b"\n", ms_max).decode().strip()


def install(pico: Pico, board: str, folder: Path) -> None:
    """Put the HAL, a board file and MAIN on the flash of a fresh board, through the raw REPL."""
    shell = PicoShell(pico)
    pico.power_on()
    shell.until(b">>> ", usb=b"\r\n")
    shell.until(b"raw REPL; CTRL-B to exit\r\n>", usb=b"\x01")
    shell.raw("import os\nfor d in ('element', 'element/hal', 'element/protocol'): os.mkdir(d)")
    files = {"board.py": board.encode(), "main.py": MAIN.encode()}
    for name in MODULES:
        out = folder / "x.mpy"
        subprocess.run([str(pico.build.mpy_cross), "-march=armv6m", "-o", str(out),
                        str(ROOT / "firmware" / "element" / f"{name}.py")], check=True, timeout=60)
        files[f"element/{name}.mpy"] = out.read_bytes()
    for name, data in files.items():
        shell.raw(f"f = open({name!r}, 'wb')")
        for at in range(0, len(data), CHUNK):
            shell.raw(f"f.write({data[at:at + CHUNK]!r})")
        shell.raw("f.close()")
    pico.power_off()


__all__ = ["Build", "PicoShell", "install"]
