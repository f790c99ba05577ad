"""Talk to the emulated board's raw REPL in emulated time: run code, get what it printed."""

import time

from element.protocol.errors import BusError

from .pico import STOP_BYTES, Inputs, Pico

PROMPT = b">>> "
_INTERRUPT = b"\r\x03\x03"
_RAW = b"\r\x01"
_RAW_BANNER = b"raw REPL; CTRL-B to exit\r\n>"
_END = b"\x04"
BOOT_US_MAX = 20_000_000
STEP_US = 500_000
CODE_CHUNK = 256


class RawREPL:
    """The raw REPL of a board that runs nothing else. Raises BusError for every failure."""

    def __init__(self, pico: Pico, inputs: Inputs | None = None) -> None:
        """inputs: what the world does to the board meanwhile; its USB bytes are ours."""
        self.pico = pico
        self._inputs = inputs or Inputs()
        self._received = b""

    def enter(self, interrupt: bool = True) -> None:
        """Wait for the start to end, stop what runs, and enter the raw REPL."""
        end_us = self.pico.now_us + BOOT_US_MAX
        while not self._ready():
            self._advance(b"", end_us)
        self._advance((_INTERRUPT if interrupt else b"") + _RAW, end_us)
        self._until(_RAW_BANNER, end_us)

    def execute(self, code: str, emulated_s_max: float, wall_s_max: float = 600.0) -> str:
        """Run code; return what it printed, with the traceback of what it raised."""
        end_us = self.pico.now_us + emulated_s_max * 1e6
        end_s = time.monotonic() + wall_s_max
        self._received = b""
        self._advance(code.encode() + _END, end_us)
        self._until(b"OK", end_us, end_s)
        output = self._until(_END, end_us, end_s)
        errors = self._until(_END + b">", end_us, end_s)
        return (output + errors).decode(errors="replace").replace("\r\n", "\n")

    def _ready(self) -> bool:
        state = self.pico.state
        return state is not None and state.usb_ready and state.idle

    def _advance(self, data: bytes, end_us: float) -> None:
        pico = self.pico
        if pico.now_us >= end_us:
            raise BusError("the REPL does not answer", repr(self._received[-200:]))
        inputs = Inputs(self._inputs.pins, self._inputs.adc_raw, usb=data)
        state = pico.advance(min(end_us, pico.now_us + STEP_US), inputs, STOP_BYTES)
        if not state.powered:
            raise BusError("the power was cut", pico.last_words())
        self._received += state.usb

    def _until(self, mark: bytes, end_us: float, end_s: float | None = None) -> bytes:
        """Return what comes before mark, and remove both."""
        while mark not in self._received:
            if end_s is not None and time.monotonic() > end_s:
                raise BusError("too slow", repr(self._received[-200:]))
            self._advance(b"", end_us)
        before, _, self._received = self._received.partition(mark)
        return before
